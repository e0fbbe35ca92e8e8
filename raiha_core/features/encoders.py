"""Patch encoders (eq. 2): name -> builder, and the one class that turns pictures into PatchFeatures.

Sources: EfficientNet-Lite0 in `efficientnet`, DINOv2/v3 through timm, DVT as in arXiv:2412.13916. Only this
file and models/backbone.py import timm, and only inside builders of timm's networks. Shapes: B images, C
channels of the network, D numbers kept per patch, g patches per side, s pixels per side of the square that
the network sees.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..regular import file_digest
from .centring import Centring, read_centring
from .denoiser import Denoiser, denoiser_state
from .efficientnet import LITE0, EfficientNet, from_package_names
from .encoder_files import backbone_file, denoiser_file, find_weights
from .histogram import hsv_histograms
from .host_layers import use_layers, with_strays
from .patches import PatchFeatures, normalise
from .preprocessing import Preprocessing, check_images, shows_one_colour
from .spec import FeatureSpec
from .tv_ops import ensure_torchvision
from .weights import LITE0_SHA256, lite0_path, load_strictly, read_state, tensor_digest

_HALF = (0.5, 0.5, 0.5)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_UNMEASURED = "not measured for this encoder: a stand-in until `raiha calibrate STORE`"

# eps_c per encoder at stricter settings, for whoever wants fewer and surer photos; the default lies in
# the spec. Measured on 5,337 photos: about 1 % of unrelated photos pass `strict`, and a fifth of the
# queries then find nothing.
STRICT_THRESHOLDS = {"lite0": 0.74, "lite0-fast": 0.70, "lite0-pca128": 0.80, "lite0-pca64": 0.86}


class Encoder(nn.Module):
    """A frozen network with its preprocessing and normalisation; `spec` names the space of its numbers.

    `network` maps (B, 3, s, s) to (B, C, g, g). It stays in evaluation mode whatever holds it.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: FeatureSpec,
        preprocessing: Preprocessing,
        centring: Centring | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.preprocessing = preprocessing
        self.centring = centring
        # where it computes; None: where its weights lie. A host's casting layers may rest elsewhere.
        self.compute_device: torch.device | None = None
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "Encoder":
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """Where pictures are brought to."""
        return self.compute_device or next(self.parameters()).device

    @torch.no_grad()
    def tokens(self, images: Tensor) -> Tensor:
        """The network's own numbers, neither centred nor normalised: (B, C, g, g) float32.

        Args: images: sRGB (B, 3, H, W), floating point, values 0..1, any size.
        Raises: ValueError for another shape or type, or values that are not finite.
        """
        x = self.preprocessing.apply(images.to(self.device))
        # Half precision would move features by more than galleries allow, so autocast stops here.
        with torch.autocast(x.device.type, enabled=False):
            return self.network(x).float()

    @torch.no_grad()
    def encode(self, images: Tensor) -> PatchFeatures:
        """Content and appearance of every patch, on the encoder's device, computed in float32.

        Args: images: sRGB (B, 3, H, W), floating point, values 0..1, any size; the patch grid is laid
            over the whole picture, so patches have its aspect ratio.
        Returns: vectors of length 1; an image of one single colour shows nothing and has zeros. On the
            CPU an image's numbers are the same bits in every batch.
        Raises: ValueError for another shape or type, or values that are not finite.
        """
        check_images(images)
        # Convolutions of other batch sizes round differently, and a batch saves no time on the CPU.
        step = 1 if self.device.type == "cpu" else len(images)
        parts = [self._encode(part) for part in images.split(step)]
        content, appearance = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return PatchFeatures(content, appearance, self.spec)

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        images = images.to(self.device)
        raw = self.tokens(images)
        content = normalise(raw, 1) if self.centring is None else self.centring.to(raw.device).apply(raw)
        content = content.masked_fill(shows_one_colour(images)[:, None, None, None], 0)
        return content, hsv_histograms(images, self.spec.grid, self.spec.histogram)


# ---- EfficientNet-Lite0, the embedded default


def lite0_state(weights: Path | None = None) -> dict[str, Tensor]:
    """EfficientNet-Lite0's ImageNet weights for `EfficientNet(LITE0)`, from the installed package or a copy.

    Raises: ValueError where the weights are missing or are not the known file.
    """
    path = lite0_path() if weights is None else weights
    if not path.is_file() or file_digest(path) != LITE0_SHA256:
        raise ValueError(
            f"{path} is not the EfficientNet-Lite0 weights file of SHA-256 {LITE0_SHA256[:16]}..."
        )
    return from_package_names(read_state(path))


def lite0_network(weights: Path | None = None, operations: Any = nn) -> nn.Module:
    """The part that gives patches: (B, 3, s, s) normalised by 0.5 / 0.5 -> (B, 320, s/32, s/32), linear."""
    features = EfficientNet(LITE0, operations)
    load_strictly(features, lite0_state(weights), "EfficientNet-Lite0")
    return _LastMap(features).eval()


class _LastMap(nn.Module):
    """The deepest map alone."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[-1]


def _build_lite0(
    name: str,
    size: int,
    components: int | None,
    threshold: float,
    weights: Path | None,
    operations: Any,
) -> Encoder:
    centring = read_centring(f"lite0-{size}-s32", components)
    label = "c320" if components is None else f"pca{components}"
    spec = FeatureSpec(
        name=f"lite0-{size}-s32-{label}",
        encoder=name,
        layer="stride 32, linear, centred",
        input_size=size,
        grid=size // 32,
        dim=320 if components is None else components,
        weights=LITE0_SHA256[:16],
        centring=centring.digest,
        content_threshold=threshold,
        threshold_source=_LITE0_SOURCE,
    )
    preprocessing = Preprocessing(size=size, interpolation="bicubic", mean=_HALF, std=_HALF)
    return Encoder(lite0_network(weights, operations), spec, preprocessing, centring)


# Reference measurement for 0.60, 0.67 and 0.75; on 1,335 photos 0.54 at 256 gave the rates of 0.60 at 384.
_LITE0_SOURCE = (
    "measured on photos with class labels: 4-6 % of those without the object's class pass, 40-50 % with it"
)


# ---- vision transformers


def _timm() -> ModuleType:
    ensure_torchvision()
    import timm

    return timm


@dataclass(frozen=True, kw_only=True, slots=True)
class Transformer:
    """A vision transformer of timm: patch tokens of its last block, after its final norm."""

    model: str  # timm's name, with the tag of its weights
    size: int  # s
    patch: int  # pixels per side, divides size
    width: int  # C
    interpolation: str = "bicubic"
    content_threshold: float = 0.6
    threshold_source: str = _UNMEASURED


_DVT = Transformer(
    model="vit_base_patch14_reg4_dinov2.lvd142m",
    size=448,
    patch=14,
    width=768,
    interpolation="bilinear",
    content_threshold=0.7,
    threshold_source="the paper's eps_c 0.7 and eps_a 0.9 (arXiv:2412.13916)",
)


class _PatchTokens(nn.Module):
    """A timm transformer's patch tokens on their grid, then through a denoiser if there is one."""

    def __init__(self, transformer: Any, denoiser: nn.Module | None = None) -> None:
        super().__init__()
        self.transformer = transformer
        self.denoiser = denoiser

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, s, s) -> (B, C, g, g)
        found: Tensor = with_strays(self, x, self._features)
        return found

    def _features(self, x: Tensor) -> Tensor:
        tokens = self.transformer.forward_features(x)[:, self.transformer.num_prefix_tokens :]
        side = round(tokens.shape[1] ** 0.5)
        features = tokens.transpose(1, 2).unflatten(2, (side, side))
        return features if self.denoiser is None else self.denoiser(features)


def transformer_network(recipe: Transformer, weights: Path | None = None, operations: Any = nn) -> nn.Module:
    """timm's transformer without its head, filled from a local file or through timm's hub.

    Args: weights: timm's own file or the authors' (.safetensors or .pth); operations: layer classes.
    Raises: ValueError where the file does not fit, or where there is none and the hub cannot be reached.
    """
    timm = _timm()
    model = timm.create_model(recipe.model, pretrained=False, num_classes=0, dynamic_img_size=True)
    family = timm.models.eva if "dinov3" in recipe.model else timm.models.vision_transformer
    state = _hub_state(recipe.model) if weights is None else read_state(weights)
    source = f"timm/{recipe.model}" if weights is None else str(weights)
    load_strictly(model, family.checkpoint_filter_fn(state, model), source)
    return use_layers(model, operations)


def _hub_state(model: str) -> dict[str, Tensor]:
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)  # offline it would announce each of its retries before our one sentence
    try:
        return _timm().models.load_state_dict_from_hf(f"timm/{model}", filename="model.safetensors")
    except Exception as error:  # the hub's client raises types of its own, from several libraries
        raise ValueError(
            f"the weights of {model} could not be fetched from the hub ({type(error).__name__}); "
            f"fetch model.safetensors of huggingface.co/timm/{model} and pass its path as `weights`"
        ) from error
    finally:
        log.setLevel(level)


def _transformer_encoder(name: str, recipe: Transformer, network: nn.Module) -> Encoder:
    spec = FeatureSpec(
        name=f"{name}-{recipe.size}",
        encoder=name,
        layer="last block, final norm, patch tokens",
        input_size=recipe.size,
        grid=recipe.size // recipe.patch,
        dim=recipe.width,
        weights=tensor_digest(network.state_dict()),
        content_threshold=recipe.content_threshold,
        threshold_source=recipe.threshold_source,
    )
    preprocessing = Preprocessing(
        size=recipe.size, interpolation=recipe.interpolation, mean=_IMAGENET_MEAN, std=_IMAGENET_STD
    )
    return Encoder(network, spec, preprocessing)


def _build_transformer(name: str, recipe: Transformer, weights: Path | None, operations: Any) -> Encoder:
    return _transformer_encoder(name, recipe, _PatchTokens(transformer_network(recipe, weights, operations)))


def _build_dvt(weights: Path | None, operations: Any) -> Encoder:
    """The paper's encoder: `weights` is the denoiser's checkpoint, its backbone comes through the hub;

    or a folder with `denoiser.pth` and `backbone.safetensors` (endings .pth or .safetensors), so that
    nothing is fetched.
    """
    if weights is None:
        raise ValueError(
            "'dvt-b14' needs the denoiser's checkpoint as `weights`: fetch the ViT-B/14 file with registers "
            "from folder voc_denoised of huggingface.co/jjiaweiyang/DVT; or pass a folder that holds it as "
            f"denoiser.pth beside backbone.safetensors (timm/{_DVT.model})"
        )
    backbone, checkpoint = None, weights
    if weights.is_dir():
        backbone = _in(weights, "backbone", backbone_file(weights))
        checkpoint = _in(weights, "denoiser", denoiser_file(weights))
    denoiser = Denoiser(operations=operations)
    load_strictly(denoiser, denoiser_state(read_state(checkpoint), str(checkpoint)), str(checkpoint))
    network = _PatchTokens(transformer_network(_DVT, backbone, operations), denoiser)
    return _transformer_encoder("dvt-b14", _DVT, network)


def _in(folder: Path, stem: str, found: Path | None) -> Path:
    if found is None:
        raise ValueError(f"the folder {folder} holds neither {stem}.safetensors nor {stem}.pth")
    return found


TRANSFORMERS = {
    "dinov2-s14": Transformer(model="vit_small_patch14_dinov2.lvd142m", size=448, patch=14, width=384),
    "dinov2-b14": Transformer(model="vit_base_patch14_dinov2.lvd142m", size=448, patch=14, width=768),
    "dinov3-s16": Transformer(model="vit_small_patch16_dinov3.lvd1689m", size=448, patch=16, width=384),
    "dinov3-b16": Transformer(model="vit_base_patch16_dinov3.lvd1689m", size=448, patch=16, width=768),
}


# ---- the registry

# local weights, if any, and the namespace of layer classes
Builder = Callable[[Path | None, Any], Encoder]

ENCODERS: dict[str, Builder] = {
    "lite0": partial(_build_lite0, "lite0", 384, None, 0.60),
    "lite0-fast": partial(_build_lite0, "lite0-fast", 256, None, 0.54),
    "lite0-pca128": partial(_build_lite0, "lite0-pca128", 384, 128, 0.67),
    "lite0-pca64": partial(_build_lite0, "lite0-pca64", 384, 64, 0.75),
    **{name: partial(_build_transformer, name, recipe) for name, recipe in TRANSFORMERS.items()},
    "dvt-b14": _build_dvt,
}


def build_encoder(
    name: str = "lite0",
    *,
    weights: Path | None = None,
    device: str | torch.device = "cpu",
    operations: Any = nn,
) -> Encoder:
    """An encoder by name, frozen, on `device`.

    Args:
        name: a key of ENCODERS.
        weights: a local file in place of the package's or the hub's; for `dvt-b14` the denoiser's
            checkpoint, or a folder with `denoiser.pth` and `backbone.safetensors`; or a folder that holds
            such for several encoders. None: as `encoder_files.find_weights` finds them.
        operations: the layer classes; ComfyUI hands in its casting ones, so that it may keep weights where
            memory is.
    Raises: ValueError naming an unknown encoder, a file that does not fit, or the file to fetch.
    """
    if name == "comfy":
        raise ValueError("features of 'comfy' are made by ComfyUI's CLIP_VISION models; use the nodes there")
    if name not in ENCODERS:
        raise ValueError(f"there is no encoder '{name}'; known are {', '.join(ENCODERS)}")
    return ENCODERS[name](find_weights(name, None if weights is None else Path(weights)), operations).to(
        device
    )
