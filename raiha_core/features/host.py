"""ComfyUI's CLIP_VISION as a patch encoder, so that an artist's installed model and its memory serve.

Nothing of ComfyUI is imported: the object is used by what it offers (`model`, `patcher`, `load_device`,
`image_size`, `image_mean`, `image_std`), and whoever has ComfyUI hands in how to load it. Its own
`encode_image` is not used: it rounds to 8 bits and fails for DINOv3. Source: ComfyUI's
comfy/clip_vision.py, read for its attributes; tried in ComfyUI 0.33.0 with small random models.
Shapes: B images, T tokens, C width, g patches per side.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .histogram import hsv_histograms
from .patches import PatchFeatures, normalise
from .preprocessing import Preprocessing, shows_one_colour
from .spec import FeatureSpec

_MOST_EXTRA_TOKENS = 16  # class and register tokens; more means that the tokens are no square grid
_SAMPLED_TENSORS, _SAMPLED_VALUES = 8, 1024
_DINOV3_SIZE = 448  # it takes any multiple of its patch; the 224 of its training gives only 14 x 14


class HostEncoder:
    """A CLIP_VISION model of ComfyUI behind the same two names as our encoders: `spec` and `encode`."""

    def __init__(self, clip_vision: Any, *, load: Callable[[Any], object] | None = None) -> None:
        """Reads what the model is; runs nothing.

        Args:
            clip_vision: what ComfyUI's CLIPVisionLoader gives (DINOv2, DINOv3, CLIP, SigLIP).
            load: called with `clip_vision.patcher` before each run; ComfyUI's
                `model_management.load_model_gpu`. None where the model is always ready.
        Raises: ValueError for a model that has no square grid of patches.
        """
        self._host = clip_vision
        self._load = load
        self.spec = _identify(clip_vision)
        self.preprocessing = Preprocessing(
            size=self.spec.input_size,
            interpolation="bicubic",
            mean=tuple(clip_vision.image_mean),
            std=tuple(clip_vision.image_std),
        )

    @torch.no_grad()
    def encode(self, images: Tensor) -> PatchFeatures:
        """Content and appearance of every patch, on the CPU.

        The model's last hidden state: after its final norm for DINOv2, DINOv3 and SigLIP, before it for
        CLIP. ComfyUI may run it in half precision, so two machines agree within about 1e-2 only.
        Args: images: sRGB (B, 3, H, W), floating point, values 0..1, any size.
        Raises: ValueError for another shape or type, values that are not finite, or unexpected tokens.
        """
        if self._load is not None:
            self._load(self._host.patcher)
        x = self.preprocessing.apply(images.to(self._host.load_device))
        tokens = self._host.model(pixel_values=x)[0].to("cpu", torch.float32)  # (B, T, C)
        grid = self.spec.grid
        extra = tokens.shape[1] - grid * grid
        if not 0 <= extra <= _MOST_EXTRA_TOKENS:
            raise ValueError(
                f"'{self.spec.name}' gave {tokens.shape[1]} tokens, but its grid has {grid} x {grid} patches"
            )
        raw = tokens[:, extra:].transpose(1, 2).unflatten(2, (grid, grid))  # (B, C, g, g)
        here = images.to("cpu", torch.float32)
        content = normalise(raw, 1).masked_fill(shows_one_colour(here)[:, None, None, None], 0)
        return PatchFeatures(content, hsv_histograms(here, grid, self.spec.histogram), self.spec)


def _identify(clip_vision: Any) -> FeatureSpec:
    model: nn.Module = clip_vision.model
    kind = str(getattr(clip_vision, "model_type", "") or type(model).__name__)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3]
    size = _DINOV3_SIZE if "dinov3" in kind.lower() else int(clip_vision.image_size)
    if not convolutions or size <= 0:
        raise ValueError(
            f"this CLIP_VISION model ({kind}) has no square patch grid; use DINOv2, DINOv3, CLIP or SigLIP"
        )
    patch, width = int(convolutions[0].kernel_size[0]), convolutions[0].out_channels
    depth = max((len(m) for m in model.modules() if isinstance(m, nn.ModuleList)), default=0)
    return FeatureSpec(
        name=f"comfy-{kind}-{width}x{depth}-{size}",
        encoder="comfy",
        layer="last hidden state",
        input_size=size,
        grid=size // patch,
        dim=width,
        weights=_sampled_digest(model.state_dict()),
        content_threshold=0.6,
        threshold_source="not measured for this encoder: a stand-in until the gallery is calibrated",
    )


def _sampled_digest(state: dict[str, Tensor]) -> str:
    """Over a few values of a few weights, because file names are the user's and whole models are large.

    As bfloat16, because ComfyUI keeps the same file in different types on different machines.
    """
    names = sorted(state)
    digest = hashlib.sha256()
    for name in names[:: max(1, len(names) // _SAMPLED_TENSORS)]:
        values = state[name].detach().flatten()[:_SAMPLED_VALUES].to(torch.bfloat16).to("cpu", torch.float32)
        digest.update(f"{name} {tuple(state[name].shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]
