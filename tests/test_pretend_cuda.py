"""The pretend CUDA device raises and counts as it says. Without a compiler: skipped, with the reason."""

import pytest

from tests import pretend_cuda

pytestmark = pytest.mark.skipif(bool(pretend_cuda.available()), reason=pretend_cuda.available())

ITSELF = """
import torch
from tests.pretend_cuda import DeviceMixError, pretending

def refused(call):
    try:
        call()
    except (DeviceMixError, TypeError):
        return True
    return False

with pretending() as log:
    x = torch.arange(4.0, device="cuda")
    assert str(x.device) == "cuda:0" and str((2 * x + torch.tensor(1.0)).device) == "cuda:0"
    assert not log.waits
    assert refused(lambda: x + torch.ones(4)), "add"
    assert refused(lambda: torch.ones(4)[x.long()]), "index"
    assert refused(lambda: torch.rand(4, device="cuda", generator=torch.Generator())), "generator"
    assert refused(lambda: x.numpy()), "numpy"
    assert not log.waits, log.waits
    assert (2 * x).sum().item() == 12 and float(x[x > 1].sum()) == 5 and (x > 1).any()
    assert sum(log.waits.values()) == 4, log.waits  # three answers, and a size that depends on values
    assert x.cpu().tolist() == [0, 1, 2, 3]
    assert not log.doubles
    x.double()
    assert len(log.doubles) == 1
    layer = torch.nn.Linear(4, 2).to("cuda")
    optimizer = torch.optim.Adam(layer.parameters())
    before = layer.weight.detach().clone()
    layer(x).sum().backward()
    optimizer.step()
    assert str(layer.weight.grad.device) == "cuda:0"
    assert not torch.equal(before, layer.weight)
    torch.use_deterministic_algorithms(True)
    try:
        x.cumsum(0)
    except RuntimeError as error:
        assert "does not have a deterministic implementation" in str(error)
    else:
        raise AssertionError("cumsum of floats has no fixed order on CUDA")
    torch.use_deterministic_algorithms(False)
    drawn = torch.rand(3, device="cuda", generator=torch.Generator("cuda").manual_seed(1))
    assert drawn.shape == (3,)
"""


def test_the_device_refuses_what_cuda_refuses_and_counts_waits_and_doubles():
    pretend_cuda.run(ITSELF)


PRESETS_STEP = """
import torch
from tests.network_cases import small_config
from raiha_core.models.presets import PRESETS
from raiha_core import precision, render
from raiha_core.value_reading import unread
from raiha_train.loop.schedule import Average
from tests.pretend_cuda import pretending

precision.WITHOUT_DOUBLE.add("cuda")
torch.manual_seed(0)
for name, preset in PRESETS.items():
    config = small_config(name)
    network = preset.build(config=config, pretrained=False)
    image, mask = torch.rand(2, 3, config.size, config.size), torch.zeros(2, 1, config.size, config.size)
    mask[..., 8:24, 8:24] = 1
    needs = config.requirements
    content = torch.rand(2, needs.content_dim, 4, 4) if needs.content_dim else None
    with pretending() as log:
        network.to("cuda")
        image, mask = image.to("cuda"), mask.to("cuda")
        content = None if content is None else content.to("cuda")
        optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-3)
        average = Average(network, 0.9)
        log.clear()
        with unread():
            prediction = network(image, mask, content)
            new = render.apply(prediction, image, mask)
        new.sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update(network, 1)
        print(name, sum(log.waits.values()), len(log.doubles), *log.waits, *log.doubles, sep="|")
        average.exchange(network)
        tensors = [*network.state_dict().values(), *average.state.values()]
        assert {str(t.device) for t in tensors} == {"cuda:0"}, name
        for state in optimizer.state.values():
            assert {str(t.device) for key, t in state.items() if key != "step"} == {"cuda:0"}, name
"""


def test_no_preset_mixes_devices_waits_or_needs_float64_in_a_training_step():
    for line in pretend_cuda.run(PRESETS_STEP).splitlines():
        name, waits, doubles, *places = line.split("|")
        assert (waits, doubles) == ("0", "0"), (name, places)


CONFIGS_STEP = """
import sys
from dataclasses import replace
from pathlib import Path

import torch

from raiha_core import precision
from raiha_core.features.patches import PatchFeatures
from raiha_core.models.presets import PRESETS
from raiha_core.value_reading import unread
from raiha_train.data.cache import open_cache
from raiha_train.data.feed import Feed
from raiha_train.data.photos import read_photos
from raiha_train.data.synthesis import Synthesis
from raiha_train.experiment import load_experiment
from raiha_train.loop.objective import Objective
from raiha_train.loop.optimizer import make_optimizer
from raiha_train.loop.validation import content_of
from tests.gallery_fakes import FakeEncoder
from tests.pretend_cuda import pretending
from tests.training_cases import write_photos


class Cells(FakeEncoder):
    # its colours alone, on any device and without a look at them
    def encode(self, images):
        cells = torch.nn.functional.adaptive_avg_pool2d(images, 3)
        return PatchFeatures(cells.repeat(1, 3, 1, 1)[:, :8], torch.cat([cells, 1 - cells], 1), self.spec)


torch.use_deterministic_algorithms(True)
precision.WITHOUT_DOUBLE.add("cuda")
folder = Path(sys.argv[1])
cache = open_cache(read_photos(write_photos(folder / "photos")), 40, folder / "cache")
for name in sys.argv[2:]:
    given = load_experiment(Path("train/configs") / f"{name}.py")
    torch.manual_seed(0)
    shares = replace(given.references, none=0.2, retrieved=0.0, augmented=0.8)
    network = replace(given.network, size=32)
    if getattr(network, "content_dim", 0):
        network = replace(network, content_dim=8)
    made = replace(
        given, network=network, size=32, packed=40, batch=4, micro_batch=4, source="synthesis",
        true_background=False, synthesis=replace(given.synthesis, illuminant=0.0),
        references=shares if given.encoder else given.references,
    )
    encoder = Cells() if made.encoder else None
    objective = Objective(PRESETS[made.preset].build(config=network, pretrained=False), made).train()
    with pretending() as log:
        device = torch.device("cuda")
        objective.to(device)
        synthesis = Synthesis(made.synthesis)
        feed = Feed(made, cache, range(6), device, synthesis=synthesis, encoder=encoder)
        optimizer = make_optimizer(objective, made)
        raws = [feed.raw(k) for k in range(2)]
        log.clear()
        for k, raw in enumerate(raws):
            with unread():
                batch = feed.finish(raw, k)
                content = content_of(objective.network, batch, encoder)
                loss, terms = objective(batch, content, torch.Generator(device).manual_seed(k))
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
            optimizer.step()
            torch.stack([loss.detach(), norm, *terms.values()]).cpu()
        print(name, sum(log.waits.values()) / len(raws), len(log.doubles), *log.waits, *log.doubles, sep="|")
"""


def test_a_training_step_waits_twice_at_most_and_passes_in_deterministic_mode(tmp_path):
    names = ["plus_small_data_256", "plus", "rcl", "raiha", "hdnet", "rainnet", "pctnet_cnn", "issam256"]
    for line in pretend_cuda.run(CONFIGS_STEP, str(tmp_path), *names).splitlines():
        name, waits, doubles, *places = line.split("|")
        assert float(waits) <= 2, (name, places)
        assert doubles == "0", (name, places)


ARTIST = """
import torch
from raiha_core import precision
from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.memory import memory_gallery
from raiha_core.harmonizer import load_harmonizer
from raiha_core.pipeline import harmonize
from raiha_core.retrieval.search import references, search
from raiha_core.score import score
from tests.pretend_cuda import pretending

precision.WITHOUT_DOUBLE.add("cuda")
draws = torch.Generator().manual_seed(0)
small = torch.rand(1, 3, 6, 8, generator=draws)
image = torch.nn.functional.interpolate(small, (72, 96), mode="bicubic").clamp(0, 1)
mask = torch.zeros(1, 1, 72, 96)
mask[..., 20:50, 30:70] = 1
photos = [image.flip(-1), (image * 0.8 + 0.1).clamp(0, 1)]


def both(device):
    encoder = build_encoder("lite0", device=device)
    model = load_harmonizer("raiha-plus", device)
    here, inside = image.to(device), mask.to(device)
    gallery = memory_gallery([p.to(device) for p in photos], encoder, ids=["a", "b"], name="two")
    low = {"content_threshold": 0.05, "appearance_threshold": 0.05}
    found = search(gallery, here, inside, encoder=encoder, device=device, **low)
    shown = references(found)
    plain = harmonize(here, inside, model=model)
    guided = harmonize(here, inside, shown, model=model, encoder=encoder)
    said = score(here, inside, model)
    return plain.cpu(), guided.cpu(), [r.id for r in shown], len(said)


expected = both("cpu")
with pretending() as log:
    there = both("cuda")
    assert not log.doubles, log.doubles
assert there[2] == expected[2] and len(there[2]) == 2, (expected[2], there[2])
assert there[3] == expected[3]
for one, other in zip(expected[:2], there[:2]):
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
assert float((expected[0] - expected[1]).abs().max()) > 0.05  # the references are followed
"""


def test_pictures_are_searched_harmonized_and_scored_there_as_on_the_cpu():
    pretend_cuda.run(ARTIST)
