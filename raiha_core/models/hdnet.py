"""The U-Net family: HDNet, Raiha, Raiha as released, RCL, by switches of one config.

Source: arXiv:2211.08639 (base), arXiv:2412.13916 (attention); style fusion is our own (arXiv:2205.14058).
Layers carry the source's numbers: encoder 0-6, bottleneck 71 and 72, decoder 8-13.
Shapes: B images, K references, g width, D content numbers, h x w the network's size, N = (h/8)(w/8) cells.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..background import touched_cells
from ..features.match_quality import batch_match_quality
from ..features.references import ReferenceBatch
from ..render import Prediction
from . import released
from .blocks import MaskResize, Operations, initialise, instance_norm, pad_to_multiple
from .checks import check_content
from .global_dynamic import GlobalDynamic
from .heads import HEADS, HeadKind
from .local_dynamic import LocalDynamic, LocalKind
from .network import Network, NetworkConfig, Requirements
from .rain import RegionNorm
from .reference_attention import Guidance, ReferenceAttention, cells
from .style_fusion import StyleFusion, background_style, no_background, reference_shares, whole_style

_MULTIPLE = 8  # three halvings
# channels in units of g and kernel: 4 halves the size, 3 keeps it
ENCODER = ((1, 3), (2, 4), (4, 3), (8, 4), (8, 3), (8, 4), (8, 3))
# channels in, channels out, kernel, encoder layer of the skip that is joined behind it
DECODER = {
    "72": (8, 8, 3, 6),
    "8": (16, 8, 3, 5),
    "9": (16, 8, 4, 4),
    "10": (16, 8, 3, 3),
    "11": (16, 4, 4, 2),
    "12": (8, 2, 3, 1),
    "13": (4, 1, 4, 0),
}
CONTRAST_LAYERS = (0, 2, 3, 4, 6)  # whose raw outputs the region-wise contrast looks at (ours)


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetConfig(NetworkConfig):
    """Independent switches; each ablation of the papers is one changed field."""

    width: int = 32  # g
    mask_input: bool = False  # the mask as a fourth input channel
    mask_resize: MaskResize = "area"
    local_dynamic: LocalKind | Literal["none"] = "paper"
    attention: Literal["none", "tokens", "pixels"] = "none"  # SGF; how a reference enters it
    guidance: Guidance = "none"
    content_dim: int = 0  # D, only where guidance is "concat"
    tied: bool = True  # one projection for queries and keys
    style_fusion: bool = False  # ESF
    max_references: int = 0
    head: HeadKind = "dense"
    size: int = 256  # the side it is trained at; any other works

    def __post_init__(self) -> None:
        if self.width < 1 or self.size < _MULTIPLE:
            raise ValueError(f"width must be >= 1 and size >= {_MULTIPLE}, got {self.width} and {self.size}")
        if self.guidance != "none" and self.attention == "none":
            raise ValueError(f"guidance '{self.guidance}' needs attention 'tokens' or 'pixels', got 'none'")
        if (self.guidance == "concat") != (self.content_dim > 0):
            raise ValueError(
                f"content_dim belongs to guidance 'concat': got {self.content_dim} with '{self.guidance}'"
            )
        if self.max_references < 0 or (self.attention == "pixels" and self.max_references > 1):
            raise ValueError(f"attention '{self.attention}' cannot have {self.max_references} references")
        if self.max_references and self.attention == "none" and not self.style_fusion:
            raise ValueError("references need attention or style_fusion to enter by")

    @property
    def requirements(self) -> Requirements:
        guided = self.guidance != "none"
        return Requirements(
            size=self.size,
            multiple=_MULTIPLE,
            content=guided,
            content_dim=self.content_dim,
            content_without_references=guided,
            max_references=self.max_references,
        )

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "UNet":
        return UNet(self, name=name, operations=operations)


class Encoded(NamedTuple):
    """What the encoder leaves behind."""

    skips: list[Tensor]  # lrelu-ed, layers 0-6
    raw: list[Tensor]  # convolution outputs before their norm, layers 0-6


class Offered(NamedTuple):
    """What the references offer to the composite."""

    tokens: (
        tuple[Tensor, Tensor, Tensor] | tuple[None, None, None]
    )  # keys (B, S, D'), values (B, S, C), present (B, S)
    styles: list[Tensor]  # (B, K, 2C) of encoder layers 0-4; empty without style fusion
    shares: Tensor  # (B, K), summing to 1 or 0


class UNet(Network):
    """One harmonizer of the family; `forward` is the same call for all networks here."""

    config: UNetConfig

    def __init__(self, config: UNetConfig, *, name: str = "unet", operations: Operations = nn) -> None:
        super().__init__(config, name)
        g = config.width
        widths = [3 + config.mask_input] + [g * width for width, _ in ENCODER]
        self.encoder = nn.ModuleList(
            operations.Conv2d(c_in, c_out, kernel, kernel - 2, 1, bias=False)
            for c_in, c_out, (_, kernel) in zip(widths, widths[1:], ENCODER, strict=False)
        )
        self.bottleneck = operations.Conv2d(8 * g, 8 * g, 3, 1, 1, bias=False)
        self.decoder = nn.ModuleDict(
            {
                level: operations.ConvTranspose2d(c_in * g, c_out * g, kernel, kernel - 2, 1, bias=False)
                for level, (c_in, c_out, kernel, _) in DECODER.items()
            }
        )
        # a reference has no mask, so what it passes through too has plain instance norms
        plain = ("72", "8") if config.attention != "none" else ()
        self.norms = nn.ModuleDict(
            {
                level: RegionNorm(c_out * g, config.mask_resize)
                for level, (_, c_out, _, _) in DECODER.items()
                if level not in plain
            }
        )
        self.dynamics = nn.ModuleDict(
            {
                level: GlobalDynamic(c * g, config.mask_resize, operations)
                for level, c in (("11", 8), ("12", 4), ("13", 2))
            }
        )
        self.local: LocalDynamic | None = None
        self.attention: ReferenceAttention | None = None
        self.styles: nn.ModuleDict | None = None
        if config.local_dynamic != "none":
            self.local = LocalDynamic(8 * g, config.local_dynamic, config.mask_resize, operations)
        if config.attention != "none":
            self.attention = ReferenceAttention(
                16 * g,
                config.guidance,
                config.content_dim,
                tied=config.tied,
                project_twice=config.attention == "pixels",
                operations=operations,
            )
        if config.style_fusion:
            self.styles = _style_levels(config, operations)
        self.head = HEADS[config.head](2 * g, operations)
        initialise(self)
        for part in (self.head, *(self.styles.values() if self.styles is not None else ())):
            part.start()

    def predict(
        self, image: Tensor, mask: Tensor, content: Tensor | None, references: ReferenceBatch | None
    ) -> Prediction:
        """The look of the object at the network's size.

        Args:
            image: composite (B, 3, h, w), sRGB 0..1, any size; mask (B, 1, h, w), values 0..1.
            content: retrieval features (B, D, g, g) of the composite, where the config has guidance.
            references: at most `config.max_references` per composite.
        Returns: dense (B, 3, h, w), not yet blended, or affine; at least float32.
        Raises: ValueError as `checks.check_inputs` and `checks.check_content`.
        """
        config = self.config
        if config.guidance != "none":
            dim = config.content_dim if config.guidance == "concat" else None
            check_content(content, references, len(image), name=self.name, dim=dim, spec=self.feature_spec)
            content = content if content is None else content.expand(len(image), -1, -1, -1)
        if config.attention == "pixels" and references is not None:
            return self._forward_beside(image, mask, content, references)
        return self._forward(image, mask, content, references)

    def _forward(
        self, image: Tensor, mask: Tensor, content: Tensor | None, references: ReferenceBatch | None
    ) -> Prediction:
        height, width = image.shape[-2:]
        quality = None
        if references is not None and self.styles is not None:
            quality = batch_match_quality(mask, content, references)
        image, mask = pad_to_multiple(image, _MULTIPLE), pad_to_multiple(mask, _MULTIPLE)
        encoded = self.encode(image, mask)
        offered = None if references is None else self.read_references(references, image, quality)
        x = self.bottleneck(encoded.skips[6])
        if self.local is not None:
            x = self.local(x, mask)
        x = self._up("72", x, encoded, mask)
        x = self._up("8", x, encoded, mask)
        if self.attention is not None:
            foreground = touched_cells(mask, (x.shape[-2], x.shape[-1]))
            keys = (None, None, None) if offered is None else offered.tokens
            x = self.attention(x, foreground, content, *keys)
        for level in ("9", "10", "11", "12", "13"):
            x = self._up(level, x, encoded, mask, offered)
            if level in self.dynamics:
                x = self.dynamics[level](x, mask)
        prediction = self.head(torch.relu(x), mask)
        return _crop(prediction, height, width)

    def encode(self, image: Tensor, mask: Tensor | None) -> Encoded:
        """Layers 0-6 on sRGB 0..1 (B, 3, h, w), sides multiples of 8."""
        x = 2 * image - 1
        if self.config.mask_input:
            extra = torch.zeros_like(x[:, :1]) if mask is None else mask.to(x)
            x = torch.cat((x, extra), 1)
        skips, raw = [], []
        for layer, convolution in enumerate(self.encoder):
            x = convolution(x)
            raw.append(x)
            # The public code's activations work in place, so what it passes on is the activated map.
            x = F.leaky_relu(x if layer == 0 else instance_norm(x), 0.2)
            skips.append(x)
        return Encoded(skips, raw)

    def contrast_features(self, image: Tensor) -> list[Tensor]:
        """Raw maps of layers 0, 2, 3, 4, 6 for the region-wise contrast: (B, 3, h, w) -> 5 maps."""
        raw = self.encode(pad_to_multiple(image, _MULTIPLE), None).raw
        return [raw[layer] for layer in CONTRAST_LAYERS]

    def _up(
        self, level: str, x: Tensor, encoded: Encoded, mask: Tensor, offered: "Offered | None" = None
    ) -> Tensor:
        """One decoder level: relu, convolution, norm, style fusion, and the encoder's map in front."""
        skip = DECODER[level][3]
        x = self.decoder[level](torch.relu(x))
        x = self.norms[level](x, mask) if level in self.norms else instance_norm(x)
        if self.styles is not None and level in self.styles:
            fusion = cast("StyleFusion", self.styles[level])
            style = background_style(encoded.raw[skip], mask, self.config.mask_resize)
            if offered is not None and offered.styles:
                style = fusion.style(style, offered.styles[skip], offered.shares, no_background(mask))
            x = fusion(x, mask, style)
        return torch.cat((encoded.skips[skip], x), 1)

    def read_references(
        self, references: ReferenceBatch, like: Tensor, quality: Tensor | None = None
    ) -> Offered:
        """One pass per reference with statistics of its own: nothing leaks between pictures.

        Args: quality: of the match, (B, K), 0..1, by which their styles are mixed; None: all alike.
        """
        images = pad_to_multiple(references.images.to(like), _MULTIPLE).flatten(0, 1)  # (B*K, 3, h, w)
        encoded = self.encode(images, None)
        rows, most = references.present.shape
        present = references.present.to(like.device)
        styles: list[Tensor] = []
        if self.styles is not None:
            styles = [whole_style(raw).unflatten(0, (rows, most)) for raw in encoded.raw[:5]]
        match = present.float() if quality is None else quality.to(like.device)
        shares = reference_shares(match, present)
        if self.attention is None:
            return Offered((None, None, None), styles, shares)
        x = self.bottleneck(encoded.skips[6])
        for level in ("72", "8"):
            x = self.decoder[level](torch.relu(x))
            x = torch.cat((encoded.skips[DECODER[level][3]], instance_norm(x)), 1)
        content = None if references.content is None else references.content.flatten(0, 1).to(like.device)
        keys = self.attention.keys(x, content)  # (B*K, N, D')
        keys, values = (rearrange(t, "(b k) n d -> b (k n) d", b=rows) for t in (keys, cells(x)))
        cell_present = present.repeat_interleave(keys.shape[1] // most, 1)
        return Offered((keys, values, cell_present), styles, shares)

    def _forward_beside(
        self, image: Tensor, mask: Tensor, content: Tensor | None, references: ReferenceBatch
    ) -> Prediction:
        """The released reading: the reference as pixels beside the composite; rows without one go alone."""
        rows = references.present[:, 0].to(image.device)
        if not torch.compiler.is_compiling() and not rows.is_meta and not rows.all():
            alone = self._forward(
                image[~rows], mask[~rows], None if content is None else content[~rows], None
            )
            some = None if content is None else content[rows]
            paired = self._forward_beside(image[rows], mask[rows], some, released.select(references, rows))
            return released.merge(paired, alone, rows)
        width = image.shape[-1]
        image, mask = pad_to_multiple(image, _MULTIPLE), pad_to_multiple(mask, _MULTIPLE)
        wide = released.beside(image, mask, content, references)
        return released.left_half(self._forward(*wide, None), width)


def _style_levels(config: UNetConfig, operations: Operations) -> nn.ModuleDict:
    """One style fusion per decoder level that has an encoder map of its own width."""
    with_references = config.max_references > 0 and config.attention != "pixels"
    return nn.ModuleDict(
        {
            level: StyleFusion(
                DECODER[level][1] * config.width,
                config.mask_resize,
                with_references=with_references,
                operations=operations,
            )
            for level in ("9", "10", "11", "12", "13")
        }
    )


def _crop(prediction: Prediction, height: int, width: int) -> Prediction:
    """Without the padding; a prediction for the whole picture stays as it is."""

    def cut(x: Tensor | None) -> Tensor | None:
        return x if x is None or x.shape[-1] == 1 else x[..., :height, :width]

    return Prediction(dense=cut(prediction.dense), affine=cut(prediction.affine))
