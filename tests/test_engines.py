"""Vector databases as sources of candidates. Oracle: the exact search; what is answered is never wrong."""

import json

import numpy as np
import pytest
import torch

from raiha_core.engines.candidate_source import SourceSearch, note_export, require_export
from raiha_core.engines.measure import measure_engine
from raiha_core.engines.registry import SOURCES, export_to_engine, opened_export
from raiha_core.retrieval.search import query_from_patches, search_many
from tests.retrieval_cases import make_gallery, make_spec, random_patches

NEEDS = {"pgvector": "pgserver", "lancedb": "lancedb"}
SPEC = make_spec(grid=3, dim=8)


def gallery_of(count=60, seed=1):
    return make_gallery(SPEC, *random_patches(SPEC, count, seed))


def query_of(gallery, row=0):
    mask = torch.zeros(1, 1, 9, 9)
    mask[..., 3:6, 3:6] = 1
    stored = gallery.gather([row])
    return query_from_patches(stored.content[0], stored.histogram[0], mask, gallery.spec)


class HalfSource:
    """Proposes the photos of even rows, so that it must miss the others."""

    name = "half"

    def __init__(self, photos):
        self.photos = photos

    def fill(self, gallery):
        raise AssertionError("not asked for")

    def propose(self, patches, count):
        return np.arange(0, self.photos, 2)

    def close(self):
        pass


@pytest.mark.parametrize("by", ["content", "both", "illumination", "likeness"])
def test_what_is_proposed_is_compared_exactly_and_nothing_else(by):
    gallery = gallery_of()
    query = query_of(gallery)
    ways = {"by": by, "top_k": None, "appearance_threshold": 0.5, "content_threshold": 0.3}
    truth = search_many(gallery, [query], **ways)[0]
    found = search_many(gallery, [query], searcher=SourceSearch(source=HalfSource(60)), **ways)[0]
    # in words, by which NaN is NaN
    assert repr(list(found.hits)) == repr([hit for hit in truth.hits if hit.row % 2 == 0])
    assert found.hits


def test_recall_is_measured_not_assumed():
    gallery = gallery_of()
    found = measure_engine(HalfSource(60), gallery, queries=3, count=5, content_threshold=0.5)
    assert 0.2 < found.recall < 0.8
    assert found.wrong == 0
    assert found.least_recall <= found.recall
    assert (found.photos, found.queries, found.proposed) == (60, 3, 30)


def test_an_export_of_another_gallery_is_refused(tmp_path):
    gallery = gallery_of()
    with pytest.raises(ValueError, match="no whole export"):
        require_export(tmp_path, "lancedb", gallery)
    note_export(tmp_path, "lancedb", gallery)
    require_export(tmp_path, "lancedb", gallery)
    with pytest.raises(ValueError, match="an export for lancedb, not for pgvector"):
        require_export(tmp_path, "pgvector", gallery)
    with pytest.raises(ValueError, match="has changed since it was exported"):
        require_export(tmp_path, "lancedb", gallery_of(seed=2, count=61))
    (tmp_path / "export.json").write_text(json.dumps({"engine": 3}))
    with pytest.raises(ValueError, match=r"export\.json is damaged"):
        require_export(tmp_path, "lancedb", gallery)


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        export_to_engine(gallery_of(), tmp_path, "lancedb")
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


@pytest.mark.parametrize("engine", sorted(SOURCES))
def test_a_real_engine_finds_all_of_a_small_gallery(engine, tmp_path):
    """Few photos and all neighbours asked for: then nothing may be missed."""
    pytest.importorskip(
        NEEDS[engine], reason=f"the extra '{engine}' is not installed: `make test-engines` has it"
    )
    gallery = gallery_of()
    export_to_engine(gallery, tmp_path / engine, engine)
    with opened_export(gallery, tmp_path / engine, engine) as source:
        found = measure_engine(source, gallery, queries=4, count=60 * SPEC.patches, content_threshold=0.6)
        near = source.propose(query_of(gallery, 7).content[4:5], 1)
    assert found.wrong == 0
    assert near.tolist() == [7]  # a photo's own patch is the nearest to itself
    assert found.qualify > 0
    if engine == "lancedb":  # compared one by one; an inverted file looks into some of its lists
        assert found.recall == 1
    assert found.recall > 0.5
