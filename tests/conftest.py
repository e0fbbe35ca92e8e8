"""What tests share: tiny galleries, and examples that do not change.

Property tests draw the same examples every time, however slow the machine.

Set HYPOTHESIS_PROFILE=explore to look for new ones.
"""

import os

import pytest
import torch
from hypothesis import settings

from raiha_core.gallery import shards
from raiha_core.gallery.build import build
from tests.gallery_fakes import FakeEncoder, write_photos
from workflows.run import pack

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture
def photos(tmp_path):
    """Eleven tiny photos, two of them equal."""
    return write_photos(tmp_path / "photos")


@pytest.fixture
def place(photos, tmp_path):
    """The store of a gallery of them."""
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    return tmp_path / "store"


@pytest.fixture
def small_shards(monkeypatch):
    """Four photos in a shard, so that these galleries have several."""
    monkeypatch.setattr(shards, "_MOST_PHOTOS", 4)


@pytest.fixture
def one_thread():
    """The same bits on every machine, whatever its number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_curves(monkeypatch):
    """Trainings without their pictures of curves, which take longer than the steps."""
    from raiha_train.loop import run

    monkeypatch.setattr(run, "draw_curves", lambda output: None)


@pytest.fixture(scope="module")
def schemas(host):
    """The schema of each node by its id; `host` is the module's own."""
    with host.session():
        return {found.define_schema().node_id: found.define_schema() for found in pack("nodes").NODES}
