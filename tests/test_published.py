"""The field's networks: what their authors' code says with the same weights, under the authors' names."""

import hashlib
import math
from itertools import product

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from raiha_core import render
from raiha_core.convert import convert_state
from raiha_core.enlargement import Window
from raiha_core.models.cdtnet import CDTNet, CDTNetConfig, looked_up
from raiha_core.models.cost import on_meta, parameters
from raiha_core.models.mirrored_conv import SampleNorm
from raiha_core.models.photo_filters import PhotoFilters
from raiha_core.models.presets import PRESETS
from raiha_core.models.transformer import sine_positions
from tests.golden.make_published import FILE, answer
from tests.network_cases import PUBLISHED, fill, pairs, small
from tests.published_weights import layout, picture, state

# Of the authors' own constructors: parameters, and a digest of the names, shapes and types they save.
THEIRS = {
    "pctnet-cnn": (2_185_736, "6f52d948e3d56b05"),
    "pctnet-vit": (4_809_896, "dff0083a5e0f56a9"),
    "harmonizer": (4_726_882, "625c4c4498b21e86"),
    "issam256": (2_185_340, "5764bdad93f903b0"),
    "idih256": (8_301_284, "7a6e3f21c14e3843"),
    "idih256-deeplab": (34_455_813, "b5fe435d022f9618"),
    "idih256-hrnet18s": (12_811_093, "9c5efc22524ca5e9"),
    "rainnet": (54_759_043, "b9c2211722eb31c7"),
    "s2crnet": (1_145_472, "ef7bcf7b1db3715d"),
    "dccf-issam": (2_186_462, "140bf03aa5f27fd3"),
    "dccf-idih": (8_302_307, "e2ef7dce27867fc9"),
    "cdtnet": (2_744_400, "54151daf511aa34f"),
    "cdtnet-512": (2_744_400, "54151daf511aa34f"),
    "cdtnet-sim": (2_744_400, "54151daf511aa34f"),
    "bargainnet": (58_695_700, "a3c98f43eb05a479"),
    "intrinsic": (33_775_982, "fec826c299e82f50"),
    "ht": (4_772_867, "97314fca6f0843c0"),
    "dht": (21_771_718, "6df858411344bb2b"),
    "s2crnet-vgg": (15_334_848, "ef030879c0580a55"),
}

IDLE = {
    "pctnet-cnn": ("unet.to_rgb.",),
    "dccf-issam": ("unet.to_rgb.",),
    "cdtnet-sim": ("unet.decoder.", "unet.attention_map.", "unet.to_rgb.", "refinement."),
    "s2crnet": ("stages.0.unlabelled.", "stages.1.unlabelled."),
    "s2crnet-vgg": ("stages.0.unlabelled.", "stages.1.unlabelled."),
}


@pytest.fixture(scope="module")
def networks():
    """Narrow ones, and both PCT-Nets and Harmonizer as they are."""
    whole = ("pctnet-cnn", "pctnet-vit", "harmonizer", "s2crnet", "s2crnet-vgg")
    return {
        name: convert_state(state(name), "by formula", name)[1] if name in whole else fill(small(name)).eval()
        for name in PUBLISHED
    }


def test_every_published_network_is_compared():
    assert set(THEIRS) == set(PUBLISHED) == set(load_file(FILE))


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_says_what_the_authors_code_says(name):
    # Oracle: tests/tools/parity.py ran the authors' code beside ours with these weights before it was kept.
    golden = load_file(FILE)[name]
    said = answer(name)
    torch.testing.assert_close(said, golden, rtol=0, atol=1e-5)
    image, mask = picture()
    assert ((said - image[..., ::8, ::8]).abs() * (mask[..., ::8, ::8] > 0)).mean() > 0.005


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_shapes_and_counts_are_the_authors(name):
    count, digest = THEIRS[name]
    lines = sorted(
        f"{key} {tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
        for key, tensor in layout(name).items()
    )
    assert parameters(on_meta(PRESETS[name])) == count
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", PUBLISHED)
def test_strips_are_the_whole_and_outside_is_the_input(networks, name, exact, monkeypatch):
    image, mask = picture(150, 203)
    with torch.no_grad():
        said = networks[name](*(render.shrink(x, (256, 256), antialias=False) for x in (image, mask)))
    whole = render.apply(said, image, mask, exact=exact)
    monkeypatch.setattr(render, "STRIP_PIXELS", 203 * 7)
    strips = render.apply(said, image, mask, exact=exact)
    torch.testing.assert_close(strips, whole, rtol=0, atol=1e-6)
    outside = (mask == 0).expand_as(image)
    assert torch.equal(whole[outside], image[outside])
    assert (whole - image).abs().max() > 0.05


@pytest.mark.parametrize("name", PUBLISHED)
def test_strength_and_half_precision_pictures(networks, name):
    image, mask = picture(40, 56)
    with torch.no_grad():
        said = networks[name](image, mask)
    full = render.apply(said, image, mask)
    half = render.apply(said, image, mask, 0.5)
    torch.testing.assert_close(half, image + 0.5 * (full - image), rtol=0, atol=1e-6)
    narrow = render.apply(said, image.half(), mask)
    assert narrow.dtype == torch.float16
    torch.testing.assert_close(narrow.float(), full, rtol=0, atol=4e-3)


def test_pctnet_enlarges_as_torch_does_where_exact_is_asked_for(networks):
    # Oracle: the authors' full-size path, written out: bicubic maps, the transform, the attention.
    image, mask = picture(150, 203)
    with torch.no_grad():
        step = networks["pctnet-cnn"](*(render.shrink(x, (256, 256)) for x in (image, mask))).step
    big = [
        torch.nn.functional.interpolate(x, size=(150, 203), mode="bicubic", align_corners=False)
        for x in (step.parameters, step.attention)
    ]
    matrix, offset = big[0][:, :9].unflatten(1, (3, 3)), big[0][:, 9:]
    new = (image + torch.einsum("brchw,bchw->brhw", matrix, image) + offset).clamp(0, 1)
    wanted = (image + big[1] * (new - image)).clamp(0, 1)
    got = render.apply(render.Prediction(step=step), image, mask, exact=True)
    inside = (mask > 0).expand_as(image)
    torch.testing.assert_close(got[inside], wanted[inside], rtol=0, atol=1e-5)


def filtered(arguments, image):
    step = PhotoFilters(arguments=torch.tensor([arguments]))
    full = torch.ones_like(image[:, :1])
    return render.apply(render.Prediction(step=step), image, full)


@pytest.mark.parametrize(
    ("place", "amount", "pixel", "wanted"),
    [
        # Oracles in closed form on a picture of one colour c, whose means are c.
        (1, 0.5, (0.2, 0.3, 0.4), (0.4, 0.6, 0.8)),  # 1 / (1 - 0.5) = 2
        (1, -0.5, (0.2, 0.3, 0.4), (0.1, 0.15, 0.2)),
        (2, -0.5, (0.2, 0.3, 0.4), (0.25, 0.3, 0.35)),  # half way to the mean of the three
        (3, -1.0, (0.2, 0.3, 0.4), (0.3, 0.3, 0.3)),  # the middle of the largest and the smallest
        (4, 1.0, (0.2, 0.3, 0.4), (0.36, 0.51, 0.64)),  # 1 - (1 - c)^2
        (5, 1.0, (0.2, 0.3, 0.4), (1.0, 1.0, 1.0)),  # c^0
        (5, -1.0, (0.2, 0.3, 0.4), (0.04, 0.09, 0.16)),
    ],
)
def test_each_filter_on_one_colour(place, amount, pixel, wanted):
    arguments = [0.0] * 6
    arguments[place] = amount
    image = torch.tensor(pixel)[None, :, None, None].expand(1, 3, 4, 5).clone()
    got = filtered(arguments, image)[0, :, 0, 0]
    torch.testing.assert_close(got, torch.tensor(wanted), rtol=0, atol=2e-5)


def test_temperature_and_contrast_look_at_the_whole_photo():
    # Oracle: the same object in front of another background, outside the mask, comes out differently.
    image, mask = picture(48, 64)
    other = image * (mask > 0) + 0.9 * (mask == 0)
    for place in (0, 2):
        arguments = torch.zeros(1, 6)
        arguments[0, place] = 0.5
        said = render.Prediction(step=PhotoFilters(arguments=arguments))
        first, second = (render.apply(said, x, (mask > 0).float()) for x in (image, other))
        inside = (mask > 0).expand_as(image)
        assert (first - second)[inside].abs().max() > 0.01


def test_filters_at_rest_leave_the_picture():
    image, _ = picture(40, 56)
    torch.testing.assert_close(filtered([0.0] * 6, image), image, rtol=0, atol=1e-5)


def test_a_colour_table_is_read_between_its_entries():
    # Oracle: trilinear by hand, the last entry standing for 1.000001; red varies fastest in a table.
    table = state("cdtnet")["lut.LUT1.LUT"]
    image = picture(5, 7)[0]
    got = looked_up(image, table[None])
    for y, x in ((0, 0), (2, 3), (4, 6)):
        place = image[0, :, y, x].double() * 32 / 1.000001
        wanted = torch.zeros(3, dtype=torch.float64)
        for corner in product((0, 1), repeat=3):
            share = [p % 1 if c else 1 - p % 1 for p, c in zip(place, corner, strict=True)]
            red, green, blue = (int(p) + c for p, c in zip(place, corner, strict=True))
            wanted += table[:, blue, green, red].double() * share[0] * share[1] * share[2]
        torch.testing.assert_close(got[0, :, y, x].double(), wanted, rtol=0, atol=1e-6)
    still = CDTNet(CDTNetConfig()).colour.tables[0]
    torch.testing.assert_close(looked_up(image, still[None]), image / 1.000001, rtol=0, atol=1e-6)
    white = torch.ones(1, 3, 1, 1)
    assert torch.isfinite(looked_up(white, table[None])).all()


def test_the_refinement_looks_two_pixels_around_each_and_not_further(networks):
    # Oracle: what changes when one pixel of the background does, its thumbnail and the tables as they were.
    image, mask = picture(60, 80)
    with torch.no_grad():
        said = networks["cdtnet"](image, mask)
    step = said.step
    everywhere = Window(slice(0, 60), slice(0, 80))
    other = image.clone()
    other[..., 30, 40] = 1 - other[..., 30, 40]
    with torch.no_grad():
        first, second = (step.start(x, mask, exact=True)(x, everywhere) for x in (image, other))
    rows, columns = ((first - second).abs().amax((0, 1)) > 0).nonzero().unbind(1)
    reach = max((rows - 30).abs().max(), (columns - 40).abs().max())
    assert reach == step.halo


def test_the_authors_soft_edge_and_ours(networks):
    # Where the mask is 1 both ways are one; where it is soft, ours gives less of the change.
    image, mask = picture(64, 64)
    for name in ("cdtnet", "cdtnet-sim"):
        with torch.no_grad():
            said = networks[name](image, mask)
        ours, theirs = (render.apply(said, image, mask, exact=exact) for exact in (False, True))
        full = (mask == 1).expand_as(image)
        torch.testing.assert_close(ours[full], theirs[full], rtol=0, atol=1e-6)
        assert not torch.allclose(ours, theirs, rtol=0, atol=1e-3)


def test_positions_count_rows_and_columns_from_one():
    # Oracle: the formula, number by number.
    got = sine_positions(3, 5, 16)
    for y, x, number in product(range(3), range(5), range(16)):
        count = (y if number < 8 else x) + 1
        angle = count / 10000 ** (2 * (number % 8 // 2) / 8)
        wanted = (math.cos if number % 2 else math.sin)(angle)
        assert got[y * 5 + x, number] == pytest.approx(wanted, abs=1e-6)


def test_a_picture_is_normed_as_a_whole():
    # Oracle: numpy on one picture; 4 channels of 5 x 6.
    x = torch.rand(2, 4, 5, 6) * 3
    norm = SampleNorm(4)
    with torch.no_grad():
        norm.gamma.copy_(torch.arange(1.0, 5.0))
        norm.beta.fill_(0.5)
        got = norm(x).numpy()
    for row, picture_ in zip(got, x.numpy(), strict=True):
        plain = (picture_ - picture_.mean()) / (picture_.std(ddof=1) + 1e-5)
        wanted = plain * np.arange(1, 5, dtype=np.float32)[:, None, None] + 0.5
        np.testing.assert_allclose(row, wanted, rtol=0, atol=1e-5)


def test_the_object_does_not_light_its_picture():
    network = fill(small("dht")).eval()
    image, mask, _ = pairs(1)
    hard = (mask > 0.5).float()
    touched = torch.nn.functional.interpolate(torch.nn.functional.max_pool2d(hard, 8), scale_factor=8)
    other = torch.rand_like(image)
    with torch.no_grad():
        wanted = network.lights(image, hard)
        same = network.lights(image + touched * (other - image), hard)
        changed = network.lights(image + (1 - touched) * (other - image), hard)
    assert torch.equal(same, wanted)
    assert (changed - wanted).abs().max() > 1e-2


def test_an_object_on_every_patch_gives_a_finite_picture():
    # The authors' code gives NaN: no patch is left to read the light from.
    network = fill(small("dht")).eval()
    image, _, _ = pairs(2)
    full = torch.ones(2, 1, 64, 64)
    full[1, :, 0, 0] = 0  # one pixel of the background in a patch of the object
    with torch.no_grad():
        assert torch.isfinite(network(image, full).dense).all()


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_learns(name):
    # The gradient reaches every tensor but those that the authors' own inference never reads, and helps.
    network = small(name).train()
    image, mask, truth = pairs(2, 32, 32)
    # six numbers for a whole picture: any step that is not small leaves the valley it starts in
    optimiser = torch.optim.Adam(network.parameters(), 2e-5 if name == "harmonizer" else 1e-3)
    losses = []
    for _ in range(4):
        new = render.apply(network(image, mask), image, mask)
        losses.append(((new - truth).square() * mask).mean())
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    idle = {key for key, p in network.named_parameters() if p.grad is None}
    assert idle == {key for key, _ in network.named_parameters() if key.startswith(IDLE.get(name, "-"))}
    assert min(losses[1:]) < losses[0]
