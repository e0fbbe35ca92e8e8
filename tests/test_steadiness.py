"""The steadiness term: what a view changes, what two answers differ by, and that training lessens it."""

import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image

from raiha_core import render
from raiha_core.render import LabTransfer, Prediction
from raiha_train.loop import train
from raiha_train.losses.steadiness import FARTHEST, MOST_NOISE, NOTICEABLE, ZOOM, another_view, apart
from raiha_train.losses.terms import LossConfig, total
from tests.network_cases import pairs
from tests.test_train_loop import photos  # noqa: F401  a fixture
from tests.training_cases import PLUS, UNET, arguments, write_config

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_view_is_moved_by_less_than_its_bound_and_mirrored_half_of_the_time():
    # a ramp says how far it was moved: its values are its places
    ramp = torch.linspace(0.1, 0.9, 64).expand(200, 3, 64, 64).contiguous()
    mask = torch.zeros(200, 1, 64, 64)
    mask[..., 20:40, 10:30] = 1
    new, region = another_view(ramp, mask, torch.Generator().manual_seed(0))
    assert new.shape == ramp.shape
    assert 0 <= float(new.min()) <= float(new.max()) <= 1
    mirrored = new[:, 0, :, :8].mean((1, 2)) > 0.5
    assert 60 < int(mirrored.sum()) < 140
    straight = torch.where(mirrored[:, None, None, None], new.flip(-1), new)
    step = 0.8 / 63  # of the ramp, per pixel
    columns = straight[..., 28:36].mean((1, 2))  # of 64; beyond the edge the ramp does not go on
    moved = (columns.mean(1) - 0.5).abs() / step
    assert 0.5 * FARTHEST < float(moved.max()) <= FARTHEST + 0.1
    zoom = (columns[:, -1] - columns[:, 0]) / (7 * step)
    assert 1 - ZOOM - 0.05 < float(zoom.min()) < 1 - ZOOM / 2 < 1 + ZOOM / 2 < float(zoom.max()) < 1.05 + ZOOM
    noise = straight[..., 28:36] - straight[..., 28:36].mean((1, 2), keepdim=True)
    assert 0.5 * MOST_NOISE < float(noise.std((1, 2, 3)).max()) < 1.1 * MOST_NOISE
    area = region.sum((1, 2, 3)) / mask.sum((1, 2, 3))  # the object stays within the picture, nearly
    assert 0.9 / (1 + ZOOM) ** 2 < float(area.median()) < 1.1 / (1 - ZOOM) ** 2


def test_an_object_that_would_leave_the_picture_stays():
    image = torch.rand(64, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(64, 1, 48, 48)
    mask[..., 20:23, :2] = 1  # at the edge: a view may move it by 16 pixels
    new, region = another_view(image, mask, torch.Generator().manual_seed(0))
    assert (region.sum((1, 2, 3)) >= 0.5 * mask.sum((1, 2, 3))).all()
    stayed = (region == mask).flatten(1).all(1)
    assert 10 < int(stayed.sum()) < 54
    assert ((new - image)[stayed].abs().mean() * 255) < MOST_NOISE * 255


def test_answers_are_apart_by_about_what_their_pictures_are():
    # Oracle: root mean square of the rendered difference, in grey levels; the closed form is about right
    image, mask, _ = pairs(1)
    image, mask = 0.3 + 0.4 * image, (mask > 0.5).float()
    centre, one, none = torch.tensor([[50.0, 0.0, 0.0]]), torch.ones(1, 3), torch.zeros(1, 3)
    still = LabTransfer(centre=centre, scale=one, shift=none)
    brighter = LabTransfer(centre=centre, scale=one, shift=torch.tensor([[4.0, 0.0, 0.0]]))
    found = apart(still, brighter, image, mask)
    a, b = (render.apply(Prediction(lab=t), image, mask) for t in (still, brighter))
    wanted = ((a - b).square() * mask).sum().div(3 * mask.sum()).sqrt()
    assert float(found) == pytest.approx(float(wanted), rel=0.2)
    assert float(apart(still, still, image, mask)) == pytest.approx(NOTICEABLE / 255)


def test_the_term_is_weighted_in_and_named():
    target, mask = torch.full((2, 3, 8, 8), 0.4), torch.ones(2, 1, 8, 8)
    config = LossConfig(kind="root", steady=0.5)
    plain, _ = total(target, target, mask, LossConfig(kind="root"))
    loss, terms = total(target, target, mask, config, steadiness=torch.tensor(0.1))
    assert float(loss - plain) == pytest.approx(0.5 * 2 * 0.1)
    assert float(terms["steady"]) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="the steadiness term has a weight, but its value is not given"):
        total(target, target, mask, config)


def test_a_run_with_it_trains_and_a_unet_is_refused(tmp_path, photos):  # noqa: F811
    config = write_config(tmp_path, "one", PLUS, steps=3, loss="LossConfig(steady=1.0)")
    assert train.main(arguments(config, photos, tmp_path / "runs" / "one")) == 0
    config = write_config(tmp_path, "two", UNET, steps=3, loss="LossConfig(steady=1.0)")
    with pytest.raises(ValueError, match="steadiness and a teacher compare Lab transfers without references"):
        train.main(arguments(config, photos, tmp_path / "runs" / "two"))


def test_the_bench_says_who_holds_the_limits(tmp_path, capsys):
    """`statistics` holds them; the oracle of the plot is that it is one."""
    bench = runpy.run_path(str(Path(__file__).parents[1] / "train" / "bench" / "steadiness.py"))
    call = ["--models", "statistics", "--scenes", "1", "--frames", "2", "--plot", str(tmp_path / "pan.png")]
    assert bench["main"](call) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("| firetruck | statistics |")
    assert row.endswith("| yes |")
    assert Image.open(tmp_path / "pan.png").width > 500


def test_the_bench_measures_what_moves(monkeypatch):
    """A harmonizer that adds what the object's place says: a pixel is a level, a mirror what it is apart."""
    bench = runpy.run_path(str(Path(__file__).parents[1] / "train" / "bench" / "steadiness.py"))

    def adds_its_place(picture, mask, *, model):
        column = (mask[0, 0] > 0.5).nonzero()[:, 1].float().mean()
        return picture + column / 255

    moves = bench["moves"]
    monkeypatch.setitem(moves.__globals__, "harmonize", adds_its_place)
    cutout, background = torch.ones(1, 4, 10, 10), torch.full((1, 3, 50, 100), 0.4)
    found = moves(lambda offset: bench["pasted"](background, cutout, 20 + offset, 20), None)
    assert found["pixel"] == pytest.approx(1, abs=0.01)
    assert found["mirror"] == pytest.approx(99 - 2 * 24.5, abs=0.01)
    assert found["size"] == pytest.approx(2.5, abs=0.3)
    assert found["noise"] == pytest.approx(0, abs=0.01)
