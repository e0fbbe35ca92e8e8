"""Every preset: learns, keeps its numbers, and gives one answer however it is run."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from raiha_core import render
from raiha_core.models.hdnet import UNetConfig
from raiha_core.models.plus import PlusConfig
from raiha_core.models.presets import PRESETS, config_from_json, config_to_json
from raiha_train.losses.terms import LossConfig, total
from tests.golden.make_networks import cases, numbers
from tests.network_cases import OWN, SPEC, content_for, contents, fill, pairs, references, small, small_config

GOLDEN = Path(__file__).parent / "golden/networks.safetensors"
# batch, layout and padding change the order of sums; lively random weights magnify that
CLOSE = {"rtol": 0, "atol": 2e-4}


@pytest.fixture(scope="module")
def networks():
    return {name: fill(small(name)).eval() for name in PRESETS}


def picture(network, prediction, image, mask):
    return render.apply(prediction, image, mask)


def psnr(a, b):
    return -10 * ((a - b) ** 2).mean((1, 2, 3)).log10()


@pytest.mark.parametrize("name", OWN)
def test_each_preset_overfits_eight_pairs_beyond_40_db(name):
    # the pretrained trunk bears no larger step
    rate, steps = (0.003, 50) if name == "raiha-plus" else (0.01, 65)
    network = small(name).train()
    image, mask, truth = pairs(8, 32, 32)
    content = content_for(network, 8)
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], rate)
    torch.manual_seed(1)  # dropout
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        new = render.apply(network(image, mask, content), image, mask)
        loss, _ = total(new, truth, mask, LossConfig(kind="root"))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        got = psnr(render.apply(network.eval()(image, mask, content), image, mask), truth).mean()
    assert psnr(image, truth).mean() < 33
    assert got > 40


@pytest.mark.parametrize("name", OWN)
def test_golden_numbers(name):
    # A refactor that changes numbers is seen here; golden/make_networks.py made them.
    golden = load_file(GOLDEN)
    for key, case in cases(name).items():
        for part, value in numbers(*case).items():
            torch.testing.assert_close(
                value, golden[f"{key}/{part}"], rtol=1e-3, atol=1e-4, msg=f"{key}/{part}"
            )


def outputs(network, image, mask, content=None, batch=None):
    with torch.no_grad():
        return render.apply(network(image, mask, content, batch), image, mask)


@pytest.mark.parametrize("name", PRESETS)
def test_a_batch_is_its_rows_and_batch_one_broadcasts(networks, name):
    network = networks[name]
    image, mask, _ = pairs(3)
    content = content_for(network, 3)
    whole = outputs(network, image, mask, content)
    for b in range(3):
        row = None if content is None else content[b : b + 1]
        torch.testing.assert_close(
            outputs(network, image[b : b + 1], mask[b : b + 1], row), whole[b : b + 1], **CLOSE
        )
    one = None if content is None else content[:1]
    with torch.no_grad():
        shared = network(image, mask[:1], one)
    wide = outputs(
        network, image, mask[:1].expand(3, -1, -1, -1), None if one is None else one.expand(3, -1, -1, -1)
    )
    torch.testing.assert_close(render.apply(shared, image, mask[:1]), wide, **CLOSE)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [(16, 16), (40, 56), (33, 61)])
def test_any_size_gives_a_finite_picture_of_that_size(networks, name, size):
    network = networks[name]
    image, mask, _ = pairs(1, *size)
    with torch.no_grad():
        prediction = network(image, mask, content_for(network, 1))
    if prediction.dense is not None:
        assert prediction.dense.shape[-2:] == size
    new = render.apply(prediction, image, mask)
    assert torch.isfinite(new).all()
    assert (new - image).abs().max() > 0


@pytest.mark.parametrize("name", PRESETS)
def test_channels_last_is_the_same_answer(networks, name):
    network = networks[name]
    image, mask, _ = pairs(2)
    content = content_for(network, 2)
    wanted = outputs(network, image, mask, content)
    turned = fill(small(name)).eval().to(memory_format=torch.channels_last)
    got = outputs(turned, image.to(memory_format=torch.channels_last), mask, content)
    torch.testing.assert_close(got, wanted, **CLOSE)


@pytest.mark.parametrize("name", PRESETS)
def test_bfloat16_autocast_stays_near_float32(networks, name):
    # fp32 statistics keep the error at that of the products: 2 % of the range at these lively weights
    network = networks[name]
    image, mask, _ = pairs(2)
    content = content_for(network, 2)
    batch = references(2, 1) if network.config.requirements.references else None
    content = contents(2) if batch is not None else content
    wanted = outputs(network, image, mask, content, batch)
    exact = numbers(network, image, mask, content, batch)
    with torch.autocast("cpu", torch.bfloat16):
        got = outputs(network, image, mask, content, batch)
        rounded = numbers(network, image, mask, content, batch)
    assert got.dtype == torch.float32
    assert (got - wanted).abs().mean() < 0.02
    assert any(not torch.equal(exact[part], rounded[part]) for part in exact)


@pytest.mark.parametrize("name", PRESETS)
def test_half_precision_networks_answer_in_float32(name):
    network = fill(small(name)).eval().to(torch.bfloat16)
    image, mask, _ = pairs(1)
    content = content_for(network, 1)
    values = list(numbers(network, image.bfloat16(), mask.bfloat16(), content, None).values())
    assert values
    assert all(v.dtype == torch.float32 and torch.isfinite(v).all() for v in values)


@pytest.mark.skipif(
    shutil.which("gcc") is None and shutil.which("cl") is None, reason="torch.compile needs a compiler"
)
def test_torch_compile_is_the_same_answer(networks):
    # without code generation, for time's sake: what is tested is that the whole forward pass traces
    network = networks["hdnet"]
    image, mask, _ = pairs(1, 32, 32)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(image, mask).dense, network(image, mask).dense, **CLOSE)


class Casting:
    """A host's layers: weights stay in half precision, products run in the input's type."""

    class Conv2d(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, self.weight.to(x), None if self.bias is None else self.bias.to(x))

    class ConvTranspose2d(nn.ConvTranspose2d):
        def forward(self, x):
            bias = None if self.bias is None else self.bias.to(x)
            return nn.functional.conv_transpose2d(x, self.weight.to(x), bias, self.stride, self.padding)

    class Linear(nn.Linear):
        def forward(self, x):
            return nn.functional.linear(x, self.weight.to(x), None if self.bias is None else self.bias.to(x))

    class BatchNorm2d(nn.BatchNorm2d):
        def forward(self, x):
            numbers = (self.running_mean, self.running_var, self.weight, self.bias)
            return nn.functional.batch_norm(x, *(n.to(x) for n in numbers), self.training, eps=self.eps)


@pytest.mark.parametrize("name", PRESETS)
def test_a_hosts_casting_layers_are_used_throughout(networks, name):
    plain = networks[name]
    hosted = PRESETS[name].build(Casting, config=small_config(name), pretrained=False)
    hosted.load_state_dict(plain.state_dict())
    hosted.eval()
    for path, module in hosted.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm2d):
            assert type(module).__qualname__.startswith("Casting."), path
    image, mask, _ = pairs(1)
    content = content_for(plain, 1)
    torch.testing.assert_close(outputs(hosted, image, mask, content), outputs(plain, image, mask, content))
    half = outputs(hosted.to(torch.float16), image, mask, content)  # weights rounded, products in float32
    assert (half - outputs(plain, image, mask, content)).abs().mean() < 0.01


ABLATIONS = {
    "no local dynamic": ("hdnet", {"local_dynamic": "none"}),
    "no attention (SGF)": (
        "raiha",
        {"attention": "none", "guidance": "none", "content_dim": 0, "max_references": 0},
    ),
    "no reference": ("raiha", {"max_references": 0}),
    "no guidance": ("raiha", {"guidance": "none", "content_dim": 0}),
    "guidance by cosine": ("raiha", {"guidance": "cosine", "content_dim": 0}),
    "own projection for queries": ("raiha", {"tied": False}),
    "style fusion": ("raiha", {"style_fusion": True}),
    "affine head": ("raiha", {"head": "affine"}),
    "no style fusion": ("rcl", {"style_fusion": False}),
    "plus without region colours": ("raiha-plus", {"region_colour": False}),
    "plus without map": ("raiha-plus", {"local_map": False}),
    "plus without style fusion": ("raiha-plus", {"style_fusion": False}),
    "plus without references": ("raiha-plus", {"max_references": 0}),
    "plus without residual": ("raiha-plus", {"residual": False}),
}


@pytest.mark.parametrize("what", ABLATIONS)
def test_ablations_are_changed_fields(networks, what):
    name, changes = ABLATIONS[what]
    network = fill(small(name, **changes)).eval()
    image, mask, _ = pairs(1)
    changed = outputs(network, image, mask, content_for(network, 1))
    assert torch.isfinite(changed).all()
    base = networks[name]
    if "max_references" not in changes or "attention" in changes:  # no reference: the same network
        assert not torch.equal(changed, outputs(base, image, mask, content_for(base, 1)))


@pytest.mark.parametrize("name", PRESETS)
def test_bad_input_is_named_before_any_work(networks, name):
    network = networks[name]
    image, mask, _ = pairs(2)
    content = content_for(network, 2)
    cases = {
        "NaN or infinite": (torch.full_like(image, float("nan")), mask),
        r"mask values must lie in 0..1": (image, mask * 2),
        r"images \[1\] have no foreground": (image, mask * torch.tensor([1.0, 0.0])[:, None, None, None]),
        r"64x32": (image, mask[..., :32, :]),
        r"must be \(B, 3, H, W\)": (image[:, :2], mask),
        "batches must match": (image, mask[:1].expand(3, -1, -1, -1)),
    }
    for named, (x, m) in cases.items():
        with pytest.raises(ValueError, match=named):
            network(x, m, content)


def test_references_that_do_not_fit_are_named(networks):
    image, mask, _ = pairs(2)
    hdnet, raiha, plus = (networks[name] for name in ("hdnet", "raiha", "raiha-plus"))
    with pytest.raises(ValueError, match="1 references per composite, but 'hdnet' was built for none"):
        hdnet(image, mask, None, references(2, 1))
    for network in (raiha, plus):
        with pytest.raises(ValueError, match=r"5 references per composite, but '.*' was built for at most 4"):
            network(image, mask, contents(2), references(2, 5))
        with pytest.raises(ValueError, match="3 rows of references for 2 composites"):
            network(image, mask, contents(2), references(3, 1))
        with pytest.raises(ValueError, match="none of the composite are given"):
            network(image, mask, None, references(2, 1))
        with pytest.raises(ValueError, match="the references have none"):
            network(image, mask, contents(2), replace(references(2, 1), content=None, spec=None))
        nan = references(2, 1)
        with pytest.raises(ValueError, match="references hold NaN"):
            network(image, mask, contents(2), replace(nan, images=nan.images * float("nan")))
    with pytest.raises(ValueError, match="has 7 numbers per patch, but 'raiha' was built for 12"):
        raiha(image, mask, contents(2, 7))
    with pytest.raises(ValueError, match="none of the composite are given"):
        raiha(image, mask)


@pytest.mark.parametrize("name", ["raiha", "raiha-plus"])
def test_a_reference_of_another_encoder_names_both(name):
    network = small(name).eval()
    network.feature_spec = replace(SPEC, name="another-12", encoder="another")
    image, mask, _ = pairs(1)
    with pytest.raises(ValueError, match=r"'another-12'.*'test-12'.*encoder: another != test"):
        network(image, mask, contents(1), references(1, 1))


def test_requirements_follow_the_config():
    wanted = {
        "hdnet": (256, 8, False, False, 0),
        "raiha": (256, 8, True, True, 4),
        "raiha-released": (256, 8, True, True, 1),
        "raiha-plus": (256, 32, True, False, 4),
    }
    for name, (size, multiple, content, always, most) in wanted.items():
        needs = PRESETS[name].requirements
        assert (needs.size, needs.multiple, needs.content, needs.content_without_references) == (
            size, multiple, content, always,
        )  # fmt: skip
        assert needs.max_references == most
        assert needs.references == (most > 0)


def test_a_config_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="takes a UNetConfig, got PlusConfig"):
        PRESETS["hdnet"].build(config=PlusConfig())
    with pytest.raises(ValueError, match="takes a PlusConfig, got UNetConfig"):
        PRESETS["raiha-plus"].build(config=UNetConfig())


def test_files_from_before_a_field_was_known_have_its_default():
    config = config_to_json(PRESETS["raiha-plus"].config)
    later = ["shrinkage", "learned_shrinkage", "detail"]
    old = {name: value for name, value in config.items() if name not in later}
    assert config_from_json("raiha-plus", old) == PRESETS["raiha-plus"].config
    with pytest.raises(ValueError, match="lacks the fields: width"):
        config_from_json("raiha-plus", {name: value for name, value in old.items() if name != "width"})
