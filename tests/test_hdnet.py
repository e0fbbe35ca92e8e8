"""The U-Net family: exact counts, and its dynamic convolutions against slow loops."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from raiha_core.models import local_dynamic
from raiha_core.models.cost import macs, on_meta, parameters, trainable
from raiha_core.models.global_dynamic import GlobalDynamic
from raiha_core.models.hdnet import UNet, UNetConfig
from raiha_core.models.local_dynamic import LocalDynamic
from raiha_core.models.presets import PRESETS
from tests.network_cases import fill, pairs, small

RAIHA = PRESETS["raiha"].config
RELEASED = PRESETS["raiha-released"].config
LAYERS_0_TO_6 = 8_042_577_920  # one encoder pass at 256, g = 32

# config, parameters, {references: multiply-adds at 256}; counted on the public code, or by its formulae
COUNTS = {
    "hdnet": (UNetConfig(), 10_414_389, {0: 28_959_917_824}),
    "hdnet without LD": (UNetConfig(local_dynamic="none"), 10_283_061, {0: 28_557_264_640}),
    "hdnet, 4 channels": (UNetConfig(mask_input=True), 10_414_677, {}),
    "hdnet, g = 16": (UNetConfig(width=16), 2_606_245, {0: 7_349_556_096}),
    "hdnet, g = 16, without LD": (UNetConfig(width=16, local_dynamic="none"), 2_573_349, {}),
    "hdnet-lite": (PRESETS["hdnet-lite"].config, 652_893, {0: 1_892_177_344}),
    "hdnet-lite without LD": (UNetConfig(width=8, local_dynamic="none"), 644_637, {}),
    "raiha-released": (RELEASED, 11_461_173, {0: 31_510_054_656, 1: 65_167_247_104}),
    "raiha-released, g = 16": (replace(RELEASED, width=16), 2_965_797, {0: 8_389_743_488}),
    "raiha-released, g = 8": (replace(RELEASED, width=8), 791_709, {0: 2_353_550_784}),
    "raiha": (RAIHA, 11_461_173, {k: 30_838_966_016 + 12_203_327_488 * k for k in (0, 1, 2, 4)}),
    "raiha, untied": (replace(RAIHA, tied=False), 12_117_045, {}),
    "raiha, cosine": (replace(RAIHA, guidance="cosine", content_dim=0), 11_067_959, {}),
    "rcl on hdnet": (PRESETS["rcl"].config, 11_027_637, {}),
    "rcl on raiha": (replace(RAIHA, style_fusion=True, max_references=0), 12_074_421, {}),
    "cosine, ESF with 5 shares, affine head": (
        replace(RAIHA, guidance="cosine", content_dim=0, style_fusion=True, head="affine"),
        11_680_261,
        {},
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_the_published_count(name):
    config, wanted, _ = COUNTS[name]
    network = on_meta(PRESETS["hdnet"], config)
    assert parameters(network) == wanted
    # the public counts hold 28 g + 6 numbers that are never used; ours keeps them, frozen
    assert trainable(network) == wanted - (28 * config.width + 6)


@pytest.mark.parametrize("name", [name for name in COUNTS if COUNTS[name][2]])
def test_multiply_adds_are_the_published_count(name):
    config, _, wanted = COUNTS[name]
    for references, count in wanted.items():
        assert macs(PRESETS["hdnet"], 256, references, config) == count


def test_the_contrasts_encoder_pass_costs_what_is_said():
    with torch.device("meta"):
        network = UNet(UNetConfig())
        image = torch.empty(1, 3, 256, 256)
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        maps = network.contrast_features(image)
    assert counter.get_total_flops() // 2 == LAYERS_0_TO_6
    assert [tuple(m.shape[1:]) for m in maps] == [
        (32, 256, 256), (128, 128, 128), (256, 64, 64), (256, 64, 64), (256, 32, 32)
    ]  # fmt: skip


def test_a_transposed_3x3_is_a_convolution_by_the_flipped_weight():
    # what makes the table's decoder layers plain convolutions
    layer = torch.nn.ConvTranspose2d(4, 5, 3, 1, 1, bias=False)
    x = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight.transpose(0, 1).flip(2, 3), padding=1))


def test_global_dynamic_is_its_formula():
    torch.manual_seed(0)
    layer = fill(GlobalDynamic(3, "area").double())
    g = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 4, 5, generator=g, dtype=torch.float64)
    mask = torch.rand(2, 1, 4, 5, generator=g, dtype=torch.float64)
    wanted = torch.empty_like(x)
    for b in range(2):
        u = torch.sigmoid(layer.squeeze.weight[:, :, 0, 0] @ x[b].mean((1, 2)) + layer.squeeze.bias)
        kernels = []
        for half in (0, 1):  # foreground first
            rows = slice(half * 9, half * 9 + 9)
            flat = layer.kernels.weight[rows, :, 0, 0] @ u[2 * half : 2 * half + 2] + layer.kernels.bias[rows]
            kernels.append(flat.reshape(3, 3))  # out-major
        for i in range(4):
            for j in range(5):
                m = mask[b, 0, i, j]
                wanted[b, :, i, j] = m * (kernels[0] @ x[b, :, i, j]) + (1 - m) * (kernels[1] @ x[b, :, i, j])
    torch.testing.assert_close(layer(x, mask), wanted, rtol=0, atol=1e-10)
    assert torch.autograd.gradcheck(
        lambda t: layer(t, mask[:1, :, :2, :2]), x[:1, :, :2, :2].clone().requires_grad_()
    )


def local_case():
    g = torch.Generator().manual_seed(2)
    x = torch.randn(1, 3, 3, 4, generator=g, dtype=torch.float64)
    mask = torch.zeros(1, 1, 3, 4, dtype=torch.float64)
    mask[0, 0, 1, 1:3] = torch.tensor([1.0, 0.5])
    return x, mask


def test_local_dynamic_of_the_paper_is_its_formula():
    layer = fill(LocalDynamic(3, "paper", "area").double())
    x, mask = local_case()
    wanted = x.clone()
    back = [x[0, :, i, j] for i in range(3) for j in range(4) if mask[0, 0, i, j] == 0]
    for i, j in ((1, 1), (1, 2)):
        q = x[0, :, i, j]
        cosines = sorted(
            ((float(F.cosine_similarity(q, b, 0)), n) for n, b in enumerate(back)), reverse=True
        )[:4]
        weights = torch.softmax(20 * torch.tensor([c for c, _ in cosines], dtype=torch.float64), 0)
        v = sum(w * back[n] for w, (_, n) in zip(weights, cosines, strict=True))
        fused = layer.fuse.weight[:, :, 0, 0] @ torch.cat((v, q)) + layer.fuse.bias
        wanted[0, :, i, j] = mask[0, 0, i, j] * fused + (1 - mask[0, 0, i, j]) * q
    torch.testing.assert_close(layer(x, mask), wanted, rtol=0, atol=1e-6)  # 1e-8 beside the norms
    assert torch.autograd.gradcheck(lambda t: layer(t, mask), x.clone().requires_grad_())


def test_queries_may_be_read_a_few_at_a_time(monkeypatch):
    layer = fill(LocalDynamic(3, "paper", "area").double())
    x, mask = local_case()
    whole = layer(x, mask)
    monkeypatch.setattr(local_dynamic, "QUERIES", 5)
    torch.testing.assert_close(layer(x, mask), whole)


def test_local_dynamic_as_released_is_its_formula():
    layer = fill(LocalDynamic(3, "released", "nearest").double())
    x, mask = local_case()
    mask = mask.round()
    q, b = (x * mask).flatten(2)[0].T, (x * (1 - mask)).flatten(2)[0].T  # (N, C)
    scores = q @ b.T
    best, index = scores.max(1)
    weight = torch.softmax(best, 0)  # over all query positions: their sum is 1
    wanted = x.clone()
    for n in range(12):
        if mask.flatten()[n]:
            pair = torch.cat((weight[n] * b[index[n]], q[n]))
            wanted[0, :, n // 4, n % 4] = layer.fuse.weight[:, :, 0, 0] @ pair + layer.fuse.bias
    torch.testing.assert_close(layer(x, mask), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["paper", "released"])
def test_local_dynamic_without_background_is_finite(kind):
    layer = fill(LocalDynamic(3, kind, "area"))
    x = torch.randn(1, 3, 3, 4, generator=torch.Generator().manual_seed(3), requires_grad=True)
    out = layer(x, torch.ones(1, 1, 3, 4))
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert torch.isfinite(x.grad).all()


def test_skips_are_the_activated_maps():
    # the public code's activations work in place, so its skips are lrelu-ed
    network = fill(small("hdnet"))
    encoded = network.encode(pairs(1)[0], None)
    torch.testing.assert_close(encoded.skips[0], F.leaky_relu(encoded.raw[0], 0.2))
    torch.testing.assert_close(encoded.skips[3], F.leaky_relu(F.instance_norm(encoded.raw[3], eps=1e-5), 0.2))


def test_the_mask_channel_is_read_and_references_have_none():
    network = fill(small("hdnet", mask_input=True)).eval()
    image, mask, _ = pairs(1)
    assert not torch.equal(network.encode(image, mask).raw[0], network.encode(image, None).raw[0])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"guidance": "cosine"}, "needs attention"),
        ({"attention": "tokens", "guidance": "concat"}, "content_dim"),
        ({"content_dim": 5}, "content_dim"),
        ({"attention": "pixels", "max_references": 2}, "2 references"),
        ({"max_references": 1}, "need attention or style_fusion"),
        ({"width": 0}, "width"),
    ],
)
def test_configs_that_make_no_sense_are_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        UNetConfig(**changes)
