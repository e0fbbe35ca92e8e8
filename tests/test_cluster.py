"""Search and building over a real local Ray cluster. Oracle: one machine, for every way to ask."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from raiha_core.cli import main
from raiha_core.cluster import cluster_search
from raiha_core.cluster.cluster_search import ClusterSearch
from raiha_core.cluster.connection import LOCAL, join, leave
from raiha_core.cluster.parts_build import PartRules, build_parts
from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.build import build
from raiha_core.gallery.united import open_united
from raiha_core.retrieval.search import search_many
from tests.gallery_fakes import digest
from tests.test_build_raharmony4 import call as lists_call  # noqa: F401
from tests.test_build_raharmony4 import root  # noqa: F401
from tests.test_united import assert_same_answers, queries_of, stores  # noqa: F401

ray = pytest.importorskip("ray", reason="Ray, the extra 'ray', is not installed: `make test-engines` has it")
ASSETS = Path(__file__).parent.parent / "assets"


@pytest.fixture(scope="module", autouse=True)
def cluster():
    os.environ["RAY_AUTH_MODE"] = "disabled"  # else Ray leaves a token in the home of whoever tests
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 else the workers of a busy machine wait for ever
    ray.init(
        address=LOCAL,
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80_000_000,
        log_to_driver=False,
    )
    yield
    leave()


@pytest.fixture(scope="module")
def galleries(stores):  # noqa: F811
    return [open_united(store) for store in stores]


@pytest.fixture(scope="module")
def searcher(galleries):
    return ClusterSearch(galleries[0], LOCAL, shards=3)


def asked(gallery, searcher=None, **options):
    found = search_many(
        gallery, queries_of(gallery), by="content", content_threshold=0.3, searcher=searcher, **options
    )
    return [[(item.row, item.score) for item in one.items] for one in found]


def test_shards_answer_as_one_machine(galleries, searcher):
    assert len(searcher.shards) == 4  # 19 photos in three parts, at most seven in each share
    assert sum(map(len, searcher.shards)) == 19
    assert_same_answers(galleries[0], galleries[1], searcher)


def test_one_store_is_parted_by_rows(galleries):
    search = ClusterSearch(galleries[1], LOCAL, shards=3)
    assert [(shard.start, shard.stop) for shard in search.shards] == [(0, 6), (6, 12), (12, 19)]
    assert asked(galleries[1], search) == asked(galleries[1])


def test_a_worker_killed_in_the_middle_is_replaced_and_its_shard_searched_again(galleries, searcher):
    victim = searcher.workers()[1]
    os.kill(victim, signal.SIGSTOP)  # so that its part of the search is certainly under way
    answers = []
    search = threading.Thread(target=lambda: answers.append(asked(galleries[0], searcher)))
    search.start()
    search.join(1)
    assert search.is_alive()
    os.kill(victim, signal.SIGKILL)
    search.join(120)
    assert answers == [asked(galleries[0])]
    assert victim not in searcher.workers()


def test_a_shard_that_no_worker_can_search_fails_the_query_by_name(galleries, searcher, monkeypatch):
    monkeypatch.setattr(cluster_search, "ATTEMPTS", 1)
    os.kill(searcher.workers()[2], signal.SIGKILL)
    shard = searcher.shards[2]
    with pytest.raises(
        ConnectionError, match=rf"photos {shard.start}\.\.{shard.stop - 1} of .*{shard.store}"
    ):
        asked(galleries[0], searcher)


def test_an_error_of_the_search_is_raised_as_itself(galleries, monkeypatch):
    """A store that is not what the search was set up for: no answer of other photos."""
    search = ClusterSearch(galleries[1], LOCAL, shards=1)
    with pytest.raises(ValueError, match="is not the gallery that the cluster was set up for"):
        asked(galleries[0].parts[0].gallery, search)
    monkeypatch.setitem(galleries[1].__dict__, "fingerprint", "of another day")
    other = ClusterSearch(galleries[1], LOCAL, shards=1)
    with pytest.raises(ValueError, match="has changed since the search was set up"):
        asked(galleries[1], other)


def test_no_cluster_is_told_with_its_address(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: (_ for _ in ()).throw(ConnectionError("refused")))
    with pytest.raises(ConnectionError, match=r"no Ray cluster answers at '10\.0\.0\.1:6379': refused"):
        join("10.0.0.1:6379")


def test_parts_are_built_by_workers_as_in_one_go(tmp_path):
    """Oracle: one build of the whole folder: same ids, contents, groups and features."""
    photos = tmp_path / "photos"
    for name in ("coffee", "sunset"):
        (photos / name / "deep").mkdir(parents=True)
        source = next((ASSETS / "scenes/photos").glob(f"*{name}*.jpg"))
        (photos / name / "deep/1.jpg").write_bytes(source.read_bytes())
        (photos / name / "2.jpg").write_bytes(source.read_bytes())
    reports = build_parts(photos, tmp_path / "all", LOCAL, PartRules(group_by="folder"))
    assert [report.added for report in reports] == [2, 2]
    build(photos, tmp_path / "whole", encoder=build_encoder("lite0"), group_by="folder")
    one, other = open_united(tmp_path / "all"), open_united(tmp_path / "whole")
    assert digest(one) == digest(other)
    assert one.photos[0].group == other.photos[0].group != ""
    again = build_parts(photos, tmp_path / "all", LOCAL, PartRules(group_by="folder"))
    assert [(report.added, report.unchanged) for report in again] == [(0, 2), (0, 2)]


def test_the_command_line_answers_alike_with_a_cluster(tmp_path, capsys):
    build(ASSETS / "scenes/photos", tmp_path / "store", encoder=build_encoder("lite0"))
    command = ["retrieve", str(ASSETS / "demo/tree.png"), "--mask", str(ASSETS / "demo/tree_mask.png")]
    command += ["--gallery", str(tmp_path / "store"), "--json"]
    answers = []
    for more in ([], ["--cluster", LOCAL]):
        assert main([*command, *more]) == 0
        answers.append(json.loads(capsys.readouterr().out) | {"seconds": 0})
    assert answers[0] == answers[1]
    assert answers[0]["photos"]


def test_lists_for_the_trainer_are_the_same_bytes(lists_call, tmp_path):  # noqa: F811
    """`train/build_raharmony4.py` over a cluster, beside one machine."""
    for out, more in (("one", []), ("many", ["--cluster", LOCAL])):
        code, said = lists_call(*more, out=out)
        assert code == 0, said.err
    for name in ("references.jsonl", "scores.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
