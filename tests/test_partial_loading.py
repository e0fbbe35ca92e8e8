"""ComfyUI leaves a model, or a part of it, on the CPU where memory is short: every network must run so.

ComfyUI's own model_management, model_patcher and ops move the models, on the pretend CUDA device; what they
import beside them and never call here is stubbed. Runs where COMFYUI_PATH names a checkout.
"""

import os

import pytest

from tests import pretend_cuda

CHECKOUT = os.environ.get("COMFYUI_PATH", "")
WHY_NOT = pretend_cuda.available() or ("" if CHECKOUT else "needs a ComfyUI checkout: set COMFYUI_PATH")
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

HOST = """
import importlib.abc, importlib.machinery, os, sys, types

import torch

class Stub(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})

class Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "comfy_aimdo" or name == "comfy.model_base":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Stub(spec.name)

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Stubs())
sys.path.insert(0, os.environ["COMFYUI_PATH"])
import comfy.cli_args

comfy.cli_args.args.cpu = True  # while it looks for devices
import comfy.model_management as management
from comfy.model_patcher import ModelPatcher
from comfy.ops import manual_cast as operations

GIB, CUDA = 1 << 30, torch.device("cuda:0")
management.cpu_state = management.CPUState.GPU
management.get_torch_device = lambda: CUDA
free = 8 * GIB
management.get_free_memory = lambda device=None, torch_free_too=False: (free,) * 2 if torch_free_too else free
management.get_total_memory = lambda device=None, torch_total_too=False: 16 * GIB
management.soft_empty_cache = lambda force=False: None
torch.cuda.synchronize = lambda *_: None

def place(model, how):
    # under --novram; or half of the model where there is room for half
    patcher = ModelPatcher(model, load_device=CUDA, offload_device=torch.device("cpu"))
    if how == "none":
        management.vram_state = management.VRAMState.NO_VRAM
        management.load_models_gpu([patcher])
    else:
        patcher.load(CUDA, lowvram_model_memory=patcher.model_size() // 2)
    return patcher

def share_on_cpu(model):
    sizes = [(p.device.type, p.numel()) for p in model.parameters()]
    return sum(n for kind, n in sizes if kind == "cpu") / sum(n for _, n in sizes)
"""
NETWORKS = (
    HOST
    + """
from raiha_core import render
from raiha_core.models.presets import PRESETS
from tests.network_cases import fill, small_config
from tests.pretend_cuda import pretending

for name, preset in PRESETS.items():
    config = small_config(name)
    torch.manual_seed(0)
    network = preset.build(operations=operations, config=config, pretrained=name == "raiha-plus")
    network = fill(network.eval().requires_grad_(False))
    image, mask = torch.rand(1, 3, config.size, config.size), torch.zeros(1, 1, config.size, config.size)
    mask[..., 8:24, 8:24] = 1
    dim = config.requirements.content_dim
    content = torch.rand(1, dim, 4, 4) if dim else None
    expected = render.apply(network(image, mask, content), image, mask)
    for how in ("none", "half"):
        with pretending():
            patcher = place(network, how)
            share = share_on_cpu(network)
            there = [None if x is None else x.to(CUDA) for x in (image, mask, content)]
            found = render.apply(network(*there), *there[:2]).cpu()
            management.unload_all_models()
            patcher.detach()
        print(name, how, share, float((found - expected).abs().max()), sep="|")
"""
)


def test_every_network_runs_with_none_and_with_half_of_its_weights_on_the_device():
    lines = [line.split("|") for line in pretend_cuda.run(NETWORKS).splitlines() if "|" in line]
    assert len(lines) > 40
    for name, how, share, apart in lines:
        assert float(apart) < 1e-5, name
        if how == "none" or name.startswith("cdtnet"):  # its tables are most of it, and no layer's
            assert float(share) > 0.5, (name, share)
        else:
            assert 0 < float(share) < 1, (name, share)


ENCODER = (
    HOST
    + """
from raiha_core.features.encoders import build_encoder
from tests.pretend_cuda import pretending

encoder = build_encoder("lite0", operations=operations)
image = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
expected = encoder.encode(image).content
for how in ("none", "half"):
    with pretending():
        patcher = place(encoder.network, how)
        encoder.compute_device = CUDA
        found = encoder.encode(image.to(CUDA)).content.cpu()
        share = share_on_cpu(encoder.network)
        management.unload_all_models()
        patcher.detach()
    print(how, share, float((found - expected).abs().max()), sep="|")
"""
)


def test_the_encoder_runs_so_too():
    lines = [line.split("|") for line in pretend_cuda.run(ENCODER).splitlines() if "|" in line]
    assert [line[0] for line in lines] == ["none", "half"]
    for how, share, apart in lines:
        assert float(apart) < 1e-5
        assert float(share) == 1 if how == "none" else 0 < float(share) < 1, share


TRANSFORMERS = (
    HOST
    + """
from dataclasses import replace
from functools import partial
from pathlib import Path
from safetensors.torch import save_file
from raiha_core.features import encoders
from raiha_core.features.denoiser import Denoiser
from tests.pretend_cuda import pretending

folder = Path(sys.argv[1])
timm = encoders._timm()
timm.create_model = partial(timm.create_model, depth=2)  # of the real width
small = {name: replace(recipe, size=7 * recipe.patch) for name, recipe in encoders.TRANSFORMERS.items()}
encoders.TRANSFORMERS.update(small)
encoders._DVT = replace(encoders._DVT, size=7 * 14)
image = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
for name in ("dinov2-s14", "dinov3-s16", "dvt-b14"):
    recipe = small.get(name, encoders._DVT)
    torch.manual_seed(0)
    place_of = folder / name
    place_of.mkdir()
    backbone = place_of / "backbone.safetensors"
    made = timm.create_model(recipe.model, pretrained=False, num_classes=0, dynamic_img_size=True)
    for tensor in made.parameters():
        torch.nn.init.normal_(tensor.detach(), std=0.1)
    save_file(made.state_dict(), backbone)
    denoiser = Denoiser()
    torch.nn.init.normal_(denoiser.pos_embed)
    save_file(denoiser.state_dict(), place_of / "denoiser.safetensors")
    weights = place_of if name == "dvt-b14" else backbone
    build = encoders.ENCODERS[name]
    build = partial(encoders._build_transformer, name, recipe) if name in small else build
    plain, encoder = build(weights, torch.nn), build(weights, operations)
    assert plain.spec == encoder.spec
    expected = plain.encode(image).content
    assert torch.equal(encoder.encode(image).content, expected)
    for how in ("none", "half"):
        with pretending():
            patcher = place(encoder.network, how)
            encoder.compute_device = CUDA
            found = encoder.encode(image.to(CUDA)).content.cpu()
            share = share_on_cpu(encoder.network)
            management.unload_all_models()
            patcher.detach()
        encoder.compute_device = None
        print(name, how, share, float((found - expected).abs().max()), sep="|")
"""
)


def test_the_vision_transformers_run_so_too(tmp_path):
    lines = [line.split("|") for line in pretend_cuda.run(TRANSFORMERS, str(tmp_path)).splitlines()]
    lines = [line for line in lines if len(line) == 4]
    assert len(lines) == 6
    for name, how, share, apart in lines:
        assert float(apart) < 1e-5, name
        assert float(share) > 0.95 if how == "none" else 0 < float(share) < 1, (name, share)


BACKBONES = (
    HOST
    + """
from raiha_core.models.backbone import Backbone
from tests.pretend_cuda import pretending

image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
for name in ("resnet18", "tf_efficientnet_b0"):  # plain layers, and subclasses that do more
    torch.manual_seed(0)
    plain = Backbone(name, 0, pretrained=False).eval().requires_grad_(False)
    network = Backbone(name, 0, pretrained=False, operations=operations).eval().requires_grad_(False)
    network.load_state_dict(plain.state_dict())
    expected = plain(image)
    assert all(torch.equal(a, b) for a, b in zip(network(image), expected))
    for how in ("none", "half"):
        with pretending():
            patcher = place(network, how)
            found = [level.cpu() for level in network(image.to(CUDA))]
            share = share_on_cpu(network)
            management.unload_all_models()
            patcher.detach()
        print(name, how, share, max(float((a - b).abs().max()) for a, b in zip(found, expected)), sep="|")
"""
)


def test_other_trunks_of_raiha_plus_run_so_too():
    lines = [line.split("|") for line in pretend_cuda.run(BACKBONES).splitlines() if "|" in line]
    assert len(lines) == 4
    for name, how, share, apart in lines:
        assert float(apart) < 1e-4, name
        assert float(share) > 0.9 if how == "none" else 0 < float(share) < 1, (name, share)
