"""The preset `seam`: oracles are photos whose region was changed by formula, so the truth is known."""

import pytest
import torch

from raiha_core.cli.main import main
from raiha_core.images import read_picture, write_picture
from raiha_core.mask_shape import shaped
from raiha_core.models.seam import SeamConfig, seam
from raiha_core.pipeline import harmonize
from raiha_core.render import apply

SIDE = 160
LINE = torch.linspace(0, 1, SIDE)


def photo(grain: float = 0.004) -> torch.Tensor:
    """Slow waves and a little grain: (1, 3, SIDE, SIDE), between 0.2 and 0.8."""
    y, x = LINE[:, None], LINE[None, :]
    waves = torch.stack([0.5 + 0.2 * torch.sin(5 * x + c) * torch.cos(4 * y - c) for c in range(3)])[None]
    return waves + grain * torch.randn(waves.shape, generator=torch.Generator().manual_seed(3))


def disc(radius: float = 0.28) -> torch.Tensor:
    far = ((LINE[:, None] - 0.45) ** 2 + (LINE[None, :] - 0.55) ** 2).sqrt()
    return (far < radius).float()[None, None]


def error(image: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> float:
    """Root mean squared levels inside the mask."""
    inside = (mask > 0).expand_as(image)
    return float((255 * (image - truth)[inside]).square().mean().sqrt())


def taken_away(composite: torch.Tensor, mask: torch.Tensor, config: SeamConfig | None = None) -> torch.Tensor:
    return apply(seam(composite, mask, config), composite, mask)


def drifts(truth: torch.Tensor) -> dict[str, torch.Tensor]:
    shift = torch.tensor((5.0, -3.0, 7.0))[None, :, None, None] / 255
    mean = truth.mean((2, 3), keepdim=True)
    return {
        "shift": truth + shift,
        "slope": truth + shift * (0.4 + 1.2 * LINE),
        "contrast": mean + 1.05 * (truth - mean) + shift,
    }


@pytest.mark.parametrize("kind", ["shift", "slope", "contrast"])
@pytest.mark.parametrize("soft", [0, 9])
def test_a_drifted_region_comes_back(kind, soft):
    truth, mask = photo(), shaped(disc(), feather=soft)
    composite = truth + mask * (drifts(truth)[kind] - truth)
    before, after = error(composite, truth, mask), error(taken_away(composite, mask), truth, mask)
    assert after < 0.25 * before
    result = harmonize(composite, mask, model="seam")
    outside = (mask == 0).expand_as(result)
    assert torch.equal(result[outside], composite[outside])


def test_where_nothing_jumps_nothing_is_done():
    truth, mask = photo(), disc()
    assert error(taken_away(truth, mask), truth, mask) < 0.1


def test_where_nothing_is_certain_nothing_is_done():
    # Oracle: a jump of 4 levels is a twentieth of the grain's deviation, on some 300 pairs.
    truth, mask = photo(grain=0.3).clamp(0.05, 0.95), disc(0.12)
    composite = truth + mask * 4 / 255
    assert error(taken_away(composite, mask), composite, mask) < 2


def test_an_edge_of_the_photo_along_the_border_is_no_seam():
    # the region is an object 60 levels darker: no drift is that large
    truth, mask = photo(), disc()
    composite = truth - mask * 60 / 255
    assert error(taken_away(composite, mask), composite, mask) < 3


def test_black_and_white_stay_so():
    truth, mask = photo(), disc()
    composite = truth + mask * 6 / 255
    composite[..., 70, 88], composite[..., 72, 88] = 0, 1
    result = taken_away(composite, mask)
    assert (result[..., 70, 88] == 0).all()
    assert (result[..., 72, 88] == 1).all()
    assert (result[..., 74, 88] < composite[..., 74, 88]).all()


@pytest.mark.parametrize("full", [False, True])
def test_a_mask_without_a_border_changes_nothing(full):
    composite = photo()
    mask = torch.full((1, 1, SIDE, SIDE), float(full))
    assert torch.equal(taken_away(composite, mask), composite)


def test_pairs_thinned_out_find_nearly_the_same():
    truth, mask = photo(), disc()
    composite = drifts(truth)["shift"] * mask + truth * (1 - mask)
    whole, thin = taken_away(composite, mask), taken_away(composite, mask, SeamConfig(most_pairs=60))
    assert 0 < error(thin, whole, mask) < 1.5


def test_a_batch_is_refused_and_so_are_settings_out_of_range():
    two = photo().expand(2, -1, -1, -1)
    with pytest.raises(ValueError, match="one picture at a time, got 2 pictures"):
        seam(two, disc())
    with pytest.raises(ValueError, match="tail must be above 0, got 0"):
        SeamConfig(tail=0)
    with pytest.raises(ValueError, match="caution must not be negative"):
        SeamConfig(caution=-1)
    with pytest.raises(ValueError, match="patch must be at least 1"):
        SeamConfig(patch=0)


def test_the_command_knows_it(tmp_path):
    truth, mask = photo(), disc()
    write_picture(tmp_path / "in.png", truth + mask * 6 / 255)
    write_picture(tmp_path / "mask.png", mask.expand(-1, 3, -1, -1))
    call = [tmp_path / "in.png", "--mask", tmp_path / "mask.png", "-o", tmp_path / "out.png"]
    assert main(["harmonize", *map(str, call), "--model", "seam"]) == 0
    assert error(read_picture(tmp_path / "out.png").pixels, truth, mask) < 1.5
