"""What every network of the table keeps, whoever thought of it: references, guarantees, precision.

Layer classes, batches, sizes and inputs are in test_presets.py; what authors' code says in test_published.py.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from raiha_core import checkpoint, render
from raiha_core.harmonizer import NetworkHarmonizer
from raiha_core.models.presets import PRESETS
from raiha_core.models.reference_gate import LEAST_BELIEF, FittedGate, ReferenceGate
from raiha_core.pipeline import harmonize, harmonize_with_beliefs
from tests.network_cases import contents, fill, pairs, references, small
from tests.statistics_cases import DIM, SPEC, box, features, lab_colour, lab_mean, match, painted, reference

READ_THEMSELVES = [name for name, preset in PRESETS.items() if preset.requirements.references]
# What the one pair of backgrounds tells in `scene`: lightness 60, and 450 or 64 squared Lab units from what
# the reference's halves show
TOLD = 0.6 * (1 - math.exp(-(450 + 64) / 2 / 400))
# What the reference shows: 15 lighter, 10 redder, 5 yellower, less of its light (8 brighter) what is told
SHOWN = torch.tensor([[15.0 - 8.0 * TOLD / (1 + TOLD), 10.0, 5.0]])


def believing(bias: float) -> FittedGate:
    """A gate that believes every reference alike, and takes the light's difference whole."""
    gate = ReferenceGate()
    with torch.no_grad():
        gate.to_belief.bias.fill_(bias)
        gate.light_share.fill_(1.0)
    return FittedGate(gate.requires_grad_(False), SPEC)


def harmonizer(name: str) -> NetworkHarmonizer:
    changes = {"content_dim": DIM} if PRESETS[name].requirements.content_dim else {}
    network = fill(small(name, **changes)).eval().requires_grad_(False)
    about = checkpoint.describe(network, name)
    loaded = checkpoint.LoadedCheckpoint(
        network=network, preset=name, config=network.config, metadata=about, spec=None
    )
    return NetworkHarmonizer(name, loaded)


@pytest.fixture(scope="module")
def harmonizers():
    return {name: harmonizer(name) for name in PRESETS}


def known(name: str):
    """Patch features of the composite, for the networks that read some."""
    return features(contents(1, DIM)) if PRESETS[name].requirements.content else None


def scene():
    """A dark object on grey, its mask, and a reference whose matched patches show it in other colours."""
    mask = box((64, 64), (0.25, 0.75))
    image = painted(mask, lab_colour(40, 10, 0), lab_colour(60), 0.02)
    shows = lab_colour(68).expand(1, 3, 64, 64).clone()
    shows[..., :32, :] = lab_colour(55, 20, 5)
    return image, mask, reference(shows, tuple(match(5, cell) for cell in range(8)), (match(0, 12),))


def test_which_networks_read_references_themselves():
    assert READ_THEMSELVES == ["raiha", "raiha-released", "raiha-plus"]


@pytest.mark.parametrize("name", PRESETS)
def test_the_one_gate_moves_every_answer_towards_what_references_show(harmonizers, name, monkeypatch):
    # Oracle: the mean of the object, from the answer alone to what is shown, as far as that is believed.
    model = harmonizers[name]
    monkeypatch.setattr(model, "usual_error", 1000.0)  # grey levels: no step is too long for such a network
    image, mask, shows = scene()
    asked = {"features": known(name), "as_stored": True}
    request = True if name in READ_THEMSELVES else None  # there the gate comes on request only
    answer = harmonize(image, mask, [shows], model, gate=False, **asked)
    if request is None:
        assert torch.equal(answer, harmonize(image, mask, (), model, **asked))
    else:
        assert torch.equal(answer, harmonize(image, mask, [shows], model, **asked))
    shown, before = lab_mean(image, mask) + SHOWN, lab_mean(answer, mask)
    for bias in (0.0, 6.0):
        model.gate = believing(bias)
        done = harmonize_with_beliefs(image, mask, [shows], model, gate=request, **asked)
        belief = (torch.tensor(bias).sigmoid().item() - LEAST_BELIEF) / (1 - LEAST_BELIEF)
        assert done.beliefs[0][0].colour == pytest.approx(belief)
        left = 1 - belief
        after = lab_mean(done.image, mask)
        # where the network painted colours that the moved picture cannot hold, the mean falls short
        assert (after - shown).norm() / (before - shown).norm() == pytest.approx(left, abs=0.12)
        outside = (mask == 0).expand_as(image)
        assert torch.equal(done.image[outside], image[outside])


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", PRESETS)
def test_strips_are_the_whole_and_outside_is_the_input_at_another_size(harmonizers, name, exact, monkeypatch):
    model = harmonizers[name]
    image, mask, _ = pairs(1, 90, 131)
    asked = {"features": known(name), "as_stored": True, "exact": exact}
    whole = harmonize(image, mask, (), model, **asked)
    monkeypatch.setattr(render, "STRIP_PIXELS", 131 * 7)
    torch.testing.assert_close(harmonize(image, mask, (), model, **asked), whole, rtol=0, atol=1e-6)
    outside = (mask == 0).expand_as(image)
    assert outside.any()
    assert torch.equal(whole[outside], image[outside])
    assert (whole - image).abs().max() > 0.01


class Statistics(TorchDispatchMode):
    """Watches the types that sums over many positions are taken in, and stored ones are kept in."""

    PLAIN = ("aten.mean.", "aten.var", "aten.std", "aten._softmax.", "aten.sum.")
    NORMS = ("aten.native_batch_norm.", "aten.native_layer_norm.", "aten.native_group_norm.")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        said = func(*args, **(kwargs or {}))
        given = args[0] if args else None
        name = str(func)
        if isinstance(given, torch.Tensor) and given.is_floating_point():
            if name.startswith(self.PLAIN):  # a sum that is asked for in float32 is taken in it
                first = said[0] if isinstance(said, tuple) else said
                self.seen.append((name, first.dtype))
            elif name.startswith(self.NORMS):
                stored = name.startswith("aten.native_batch_norm") and not args[5]
                self.seen.append((name, args[3].dtype if stored else said[1].dtype))
        return said


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", PRESETS)
def test_statistics_are_taken_in_float32_under_autocast(harmonizers, name, training):
    network = harmonizers[name].network
    image, mask, _ = pairs(2)
    reads = network.config.requirements.references
    batch = replace(references(2, 1, dim=DIM), spec=SPEC) if reads else None
    content = contents(2, DIM) if network.config.requirements.content else None
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.train(training)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), Statistics() as watched:
        network(image, mask, content, batch)
    network.eval().load_state_dict(before)  # norms learned from it
    assert watched.seen
    assert {kind for _, kind in watched.seen} == {torch.float32}, watched.seen
