"""Heads on pooled features say what their network says; chosen composites have the moments asked for."""

from dataclasses import replace

import pytest
import torch

from raiha_core.models.plus import PlusConfig
from raiha_core.render import LabTransfer, Prediction, apply
from raiha_train.heads.chosen_changes import choose, moments, tilt
from raiha_train.heads.head import Head
from raiha_train.heads.head_trials import trial_table
from raiha_train.heads.kinds import KindColours, kind_numbers
from raiha_train.heads.pooled import object_pixels, pool
from raiha_train.heads.rawness import RAWNESS_COUNT, Retoucher
from raiha_train.heads.trial import HeadBudget, psnr_of, squared_errors, train_head
from raiha_train.losses.terms import LossConfig
from raiha_train.seeds import generator

CONFIG = PlusConfig(
    size=64,
    width=8,
    hidden=16,
    local_map=False,
    references="gated",
    shrinkage=12.0,
    learned_shrinkage=True,
    detail=True,
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    built = CONFIG.build(name="small", pretrained=False)
    for part in (built.colour, built.learned_shrinkage, built.detail.out):  # they start at nothing
        torch.nn.init.normal_(part.weight, std=0.1)
    return built.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def scene():
    pictures = torch.rand(3, 3, 64, 64, generator=generator("heads"))
    mask = torch.zeros(3, 1, 64, 64)
    mask[0, :, 10:40, 10:40], mask[1, :, 30:60, 5:30], mask[2, :, 20:50, 20:60] = 1, 1, 1
    return pictures, mask


def test_a_head_on_pooled_features_is_its_network(network, scene):
    # Oracle: the network itself, on the pictures.
    wanted = network(*scene).lab
    found = Head(network, 5).eval()(pool(network, *scene), torch.randn(3, 5))
    for name in ("centre", "scale", "shift"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=1e-4, atol=1e-5)
    assert wanted.shift.abs().max() > 0.1


def test_a_network_with_more_than_a_head_is_refused(network):
    whole = replace(CONFIG, local_map=True).build(name="whole", pretrained=False)
    with pytest.raises(ValueError, match="the head of 'whole' reads more than pooled features"):
        Head(whole)


def test_errors_are_those_of_the_whole_picture(network, scene):
    # Oracle: the picture rendered and rounded, and the sum of its squared errors.
    pictures, mask = ((255 * scene[0]).round() / 255, scene[1])
    lab = LabTransfer(
        centre=torch.full((3, 3), 40.0), scale=torch.full((3, 3), 1.1), shift=torch.full((3, 3), 3.0)
    )
    truth = pictures.flip(0)
    new = (apply(Prediction(lab=lab), pictures, mask) * 255).round()
    wanted = ((new - 255 * truth).square() * mask).sum((1, 2, 3))
    inside = mask[:, 0] > 0
    both = torch.cat((pictures, truth), 1)
    pixels = torch.cat([(255 * both[b][:, inside[b]]).round().byte().T for b in range(3)])
    rows = {"pixels": pixels, "counts": inside.sum((1, 2))}
    torch.testing.assert_close(squared_errors(lab, rows), wanted.double(), rtol=1e-4, atol=1.0)
    assert float(psnr_of(torch.tensor([3 * 256 * 256.0]).double())) == pytest.approx(48.13, abs=0.01)


def test_a_head_learns_what_a_further_number_says(network, scene):
    # Each picture's truth is lighter or darker by a number that only the further input tells.
    rows = {name: value.repeat(16, *[1] * (value.ndim - 1)) for name, value in pool(network, *scene).items()}
    count = len(rows["numbers"])
    told = torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0)[:, None]
    pictures = torch.cat((scene[0], scene[0], scene[1]), 1).repeat(16, 1, 1, 1)
    pixels = object_pixels(pictures, scene[1].repeat(16, 1, 1, 1), 32, generator("p"))
    pixels[:, 3:6] = (pixels[:, 3:6] * 0.6 + 0.2 + 0.15 * told[:, :, None, None]).clamp(0, 1)
    pixels[:, :3] = pixels[:, :3] * 0.6 + 0.2
    rows |= {"pixels": (255 * pixels).round().byte(), "conspicuous": torch.zeros(count)}
    budget = HeadBudget(steps=60, batch=16, rate=3e-2, weight_decay=0.0, warmup_steps=5)
    head = train_head(network, rows, told, LossConfig(kind="root"), budget, 0)
    shift = head(rows, told).shift[:, 0]
    assert float(shift[::2].mean() - shift[1::2].mean()) > 5
    assert head.standard.seen == network.scale.seen  # what the network measures keeps its scale


def test_the_chosen_changes_have_the_moments_that_are_wanted():
    # Oracle: the moments that a known tilt gives; a change that closes the gap to the ring is likelier.
    g = generator("chosen")
    away = 15 * torch.randn(300, 1, 3, generator=g)  # ring minus true object
    change = 15 * torch.randn(300, 6, 3, generator=g)
    candidates = moments(away + change, change)
    known = torch.tensor([0.0] * 6 + [-0.2] * 6 + [0.8] * 3)
    wanted = ((candidates @ known).softmax(1)[..., None] * candidates).sum(1).mean(0)
    tilted = tilt(candidates, wanted, penalty=1e-4)
    chances = (candidates @ tilted).softmax(1)
    reached = (chances[..., None] * candidates).sum(1).mean(0)
    before = (candidates.mean((0, 1)) - wanted).abs().max()
    assert (reached - wanted).abs().max() < 0.05 * before
    picks = choose(candidates, tilted, g)
    assert picks.shape == (300,)
    assert len(picks.unique()) == 6


def test_a_photos_own_colour_is_not_among_what_it_is_told():
    shares = torch.zeros(6, 4)
    shares[:3, 0], shares[3:, 1] = 1, 1
    truth = torch.tensor([[10.0, 0, 0]] * 3 + [[80.0, 0, 0]] * 3)
    own = ring = torch.zeros(6, 3)
    numbers, colours = kind_numbers(shares, own, ring, truth, ["a", "a", "b", "c", "d", "e"], folds=5)
    changed = truth.clone()
    changed[:2] = 60.0
    again, _ = kind_numbers(shares, own, ring, changed, ["a", "a", "b", "c", "d", "e"], folds=5)
    torch.testing.assert_close(numbers[:2], again[:2])  # both photos of group a
    assert not torch.equal(numbers[2], again[2])
    # three photos of a kind count beside the two of the mean of all: (3 * 80 + 2 * 45) / 5
    told = colours(shares[5:], own[5:], ring[5:])[0]
    assert float(told[0]) == pytest.approx(66.0)
    assert isinstance(colours, KindColours)


def test_rawness_is_read_from_the_authors_files_and_wrong_ones_are_named(tmp_path):
    def save(bias):
        widths, state = (3, 16, 32, 64, 128, 128), {}
        for i, number in enumerate((1, 4, 7, 10, 13)):
            state[f"model.{number}.weight"] = torch.zeros(widths[i + 1], widths[i], 3, 3)
            state[f"model.{number}.bias"] = torch.zeros(widths[i + 1])
            if number != 13:
                state[f"model.{number + 2}.weight"] = torch.ones(widths[i + 1])
                state[f"model.{number + 2}.bias"] = torch.zeros(widths[i + 1])
        state["model.16.weight"], state["model.16.bias"] = torch.zeros(3, 128, 8, 8), bias
        torch.save(state, tmp_path / "classifier.pth")
        steps = torch.linspace(0, 1, 33)
        blue, green, red = torch.meshgrid(steps, steps, steps, indexing="ij")
        same = torch.stack((red, green, blue))
        torch.save(
            {"0": {"LUT": same}, "1": {"LUT": same * 0 + 0.1}, "2": {"LUT": same * 0}}, tmp_path / "LUTs.pth"
        )

    image = torch.rand(2, 3, 32, 32, generator=generator("raw")) * 0.6 + 0.1
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., 8:20, 8:20] = 1
    save(torch.tensor([1.0, 0.0, 0.0]))
    found = Retoucher(tmp_path)(image, mask)  # the table of the colours themselves: nothing is wanted
    assert found.shape == (2, RAWNESS_COUNT)
    torch.testing.assert_close(found[:, 3:], torch.zeros(2, 6), rtol=0, atol=1e-4)
    save(torch.tensor([1.0, 1.0, 0.0]))
    assert (Retoucher(tmp_path)(image, mask)[:, [3, 6]] > 0.05).all()  # brighter, outside and inside
    torch.save({"0": {"LUT": torch.zeros(3, 2, 2, 2)}}, tmp_path / "LUTs.pth")
    with pytest.raises(ValueError, match="other weights than those of the lookup tables"):
        Retoucher(tmp_path)


def test_the_table_pairs_each_trial_with_the_base():
    counts = {"held": torch.tensor([10, 10, 10])}
    untouched = {"held": torch.tensor([3e5, 3e5, 0.0]).double()}
    base = torch.tensor([[2e5, 1e5, 30.0]]).double()
    lines = trial_table({"base": {"held": base}, "half": {"held": base / 2}}, untouched, counts).splitlines()
    assert "| +3.01 [+3.01, +3.01] | 2 / 0 | +3.01 |" in lines[4]
    assert lines[3].endswith("| 1 |")
