"""ComfyUI's CLIP_VISION as an encoder: a stand-in object with the attributes that ComfyUI's has."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from raiha_core.features.host import HostEncoder
from raiha_core.features.patches import normalise
from raiha_core.features.spec import require_same_space

HALF = [0.5, 0.5, 0.5]


class Model(nn.Module):
    """Patch embedding, a few empty blocks, extra tokens in front: the outside of a vision transformer."""

    def __init__(self, extra: int, patch: int = 4, width: int = 6, blocks: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.projection = nn.Conv2d(3, width, patch, patch)
        self.layer = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.extra = nn.Parameter(torch.full((extra, width), 100.0))

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, None]:
        tokens = self.projection(pixel_values).flatten(2).transpose(1, 2)
        extra = self.extra.expand(len(tokens), -1, -1)
        return torch.cat([extra, tokens], 1), None


def clip_vision(model: nn.Module, size: int = 24, kind: str | None = "dinov2") -> SimpleNamespace:
    host = SimpleNamespace(
        model=model,
        patcher=object(),
        load_device=torch.device("cpu"),
        image_size=size,
        image_mean=HALF,
        image_std=HALF,
    )
    if kind is not None:
        host.model_type = kind
    return host


@pytest.mark.parametrize("extra", [0, 1, 5])  # SigLIP; CLIP and DINOv2; DINOv3
def test_patch_tokens_are_found_behind_the_others(extra):
    model = Model(extra)
    encoder = HostEncoder(clip_vision(model))
    picture = torch.rand(2, 3, 24, 24)  # the model's own size: nothing is resampled
    features = encoder.encode(picture)
    with torch.no_grad():
        expected = normalise(model.projection(picture * 2 - 1), 1)
    torch.testing.assert_close(features.content, expected, atol=1e-5, rtol=0)
    assert features.appearance.shape == (2, 60, 6, 6)


def test_it_is_loaded_before_every_run():
    host, loaded = clip_vision(Model(1)), []
    encoder = HostEncoder(host, load=loaded.append)
    assert not loaded
    for _ in range(2):
        encoder.encode(torch.rand(1, 3, 30, 20))
    assert loaded == [host.patcher, host.patcher]


def test_the_spec_names_what_it_is():
    spec = HostEncoder(clip_vision(Model(1))).spec
    assert spec.name == "comfy-dinov2-6x3-24"
    assert (spec.encoder, spec.grid, spec.dim, spec.input_size) == ("comfy", 6, 6, 24)
    assert "not measured" in spec.threshold_source
    assert HostEncoder(clip_vision(Model(1), kind=None)).spec.name == "comfy-Model-6x3-24"  # older ComfyUI


def test_dinov3_gets_a_larger_square_than_it_was_trained_on():
    assert HostEncoder(clip_vision(Model(5, patch=16), size=224, kind="dinov3")).spec.grid == 28


def test_the_same_weights_in_half_precision_are_the_same_space():
    full, half, other = Model(1), Model(1).half().float(), Model(1)
    with torch.no_grad():
        full.load_state_dict(half.state_dict())  # weights as a file in half precision gives them
        other.projection.bias[0] += 0.1
    halved = Model(1)
    halved.load_state_dict(half.state_dict())
    specs = [HostEncoder(clip_vision(m)).spec for m in (full, halved.half(), other)]
    require_same_space(specs[0], specs[1], "one", "other")
    with pytest.raises(ValueError, match="weights"):
        require_same_space(specs[0], specs[2], "one", "other")


def test_models_without_a_square_grid_are_refused():
    with pytest.raises(ValueError, match=r"naflex.*no square patch grid"):
        HostEncoder(clip_vision(Model(0), size=-1, kind="siglip2_naflex"))
    with pytest.raises(ValueError, match="no square patch grid"):
        HostEncoder(clip_vision(nn.Linear(3, 3)))
    with pytest.raises(ValueError, match="gave 66 tokens, but its grid has 6 x 6"):
        HostEncoder(clip_vision(Model(30))).encode(torch.rand(1, 3, 24, 24))


def test_one_colour_shows_nothing():
    features = HostEncoder(clip_vision(Model(1))).encode(torch.full((1, 3, 24, 24), 0.4))
    assert not features.content.any()
