"""References of a clip's frames stay while they are as good.

Oracle: scores made up frame by frame, for which it is said by hand what is kept.
"""

from types import SimpleNamespace

import pytest
import torch

from raiha_core.retrieval.candidates import Candidate, Candidates
from raiha_core.retrieval.kept import KeptReferences

SCENES = [torch.full((1, 3, 16, 16), value) for value in (0.2, 0.8)]
MASK = torch.zeros(1, 1, 16, 16)


class Gallery:
    def __init__(self):
        self.loaded = []

    def load(self, row):
        self.loaded.append(row)
        return torch.zeros(1, 3, 2, 2)


def candidate(row, score):
    return Candidate(
        photo=SimpleNamespace(id=f"{row}"),
        row=row,
        score=score,
        content=0.9,
        coverage=1.0,
        illumination=0.9,
        content_matches=(),
        illumination_matches=(),
    )


def answer(gallery, scores, rows):
    best = sorted(rows, key=lambda row: -scores[row])[:2]
    return Candidates(
        gallery=gallery,
        spec=None,
        items=tuple(candidate(row, scores[row]) for row in best if scores[row] > 0),
        by="both",
        content_threshold=0.7,
        appearance_threshold=0.9,
        considered=len(scores),
        qualified=len(best),
        excluded=0,
        grid=1,
        query=None,
        notes=(),
    )


def run(frames):
    """Rows and scores that each of (scene, scores of the photos) gets; how often all were searched."""
    kept, gallery, found = KeptReferences(), Gallery(), []
    for scene, scores in frames:

        def find(_composite, _mask, within, scores=scores):
            rows = range(len(scores)) if within is None else [item.row for item in within.items]
            return answer(gallery, scores, rows)

        got = kept.of(SCENES[scene], MASK, find)
        found.append({item.row: item.score for item in got.items})
        for item in got.items:
            got.gallery.load(item.row)
    return found, kept.searches, gallery.loaded


def test_others_that_are_hardly_better_change_nothing():
    found, searches, loaded = run([(0, [0.5, 0.48, 0.45]), (0, [0.46, 0.47, 0.5]), (0, [0.5, 0.44, 0.5])])
    assert found == [{0: 0.5, 1: 0.48}, {0: 0.46, 1: 0.47}, {0: 0.5, 1: 0.44}]  # the frame's own scores
    assert searches == 1
    assert loaded == [0, 1]  # a picture is decoded once


def test_what_has_become_worse_gives_way_to_what_is_better_by_a_margin():
    found, searches, _ = run([(0, [0.5, 0.5, 0.1]), (0, [0.1, 0.5, 0.5])])
    assert found[1] == {1: 0.5, 2: 0.5}
    assert searches == 2


def test_what_has_become_worse_stays_where_nothing_is_better():
    dim = [0.3, 0.3, 0.31]
    found, searches, _ = run([(0, [0.5, 0.5, 0.1]), (0, dim), (0, dim)])
    assert [set(rows) for rows in found] == [{0, 1}] * 3
    assert searches == 2  # asked once, and not for every frame that follows


def test_a_cut_asks_anew():
    found, searches, _ = run([(0, [0.5, 0.4, 0.3]), (1, [0.4, 0.3, 0.45]), (1, [0.5, 0.3, 0.45])])
    assert [set(rows) for rows in found] == [{0, 1}, {0, 2}, {0, 2}]
    assert searches == 2


def test_where_nothing_is_found_it_is_asked_again_after_a_while():
    frames = [(0, [0.0, 0.0])] * 12 + [(0, [0.5, 0.0])]
    found, searches, _ = run(frames)
    assert found == [{}] * 12 + [{0: 0.5}]
    assert searches == 2


def test_an_error_of_the_search_is_not_swallowed():
    def find(*_):
        raise ValueError("the gallery is gone")

    with pytest.raises(ValueError, match="gone"):
        KeptReferences().of(SCENES[0], MASK, find)
