"""`raiha-plus`, ours: it corrects the ring statistics by pretrained features, region colours and references.

Order of what it says: a transfer of Lab statistics (exact at every size), then a small 3x4 colour map.
Untrained, the correction is nothing and the answer is that of the `statistics` preset.
Shapes: B images, K references, D content numbers, d decoder width, h x w the network's size.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..background import complement
from ..color import srgb_to_lab
from ..enlargement import shrink
from ..features.references import ReferenceBatch
from ..masked_statistics import masked_moments, measure
from ..precision import widen
from ..records import LATER
from ..regions import ring
from ..remembered import once
from ..render import LabTransfer, Prediction
from .backbone import LITE0_NAME, STRIDES, Backbone
from .blocks import Operations, resize_mask, zero_initialise
from .checks import check_content
from .coring import cored
from .local_map import LocalMap
from .network import Network, NetworkConfig, Requirements
from .reference_colour_attention import LearnedReferences
from .region_colour import COUNT, FAR, RunningScale, region_colour_descriptor
from .statistics import LEVELS_PER_LAB, StatisticsConfig, ring_statistics_transfer

PLUS_MULTIPLE = STRIDES[-1]
SHIFT_STEP, SHIFT_BOUND = 10.0, 40.0  # Lab units: per raw unit at the start, and the most there is
SCALE_BOUND = 0.7  # of the logarithm: deviations are halved or doubled at most
SHRINKAGE_BOUND = 2.0  # of the logarithm: from a seventh of the usual shrinkage to seven times as much
TRANSFER_NUMBERS = 6  # log scale and shift of the ring transfer, as inputs


def _to_multiple(image: Tensor) -> Tensor:
    """Resized to sides that are multiples of 32: a map of parameters must cover the picture exactly."""
    height, width = (max(1, round(side / PLUS_MULTIPLE)) * PLUS_MULTIPLE for side in image.shape[-2:])
    return shrink(image, (height, width)).to(image.dtype)


def correct(base: LabTransfer, raw: Tensor) -> LabTransfer:
    """The ring transfer, trusted more or less per Lab channel, and corrected.

    Args: raw (B, 12): trust in the shift (3) and in the scale (3), 0 is full and -inf none; shift (3) and log
        scale (3) of the correction, 0 is none.
    """
    trust = 1 + torch.tanh(raw[:, :6])  # 0..2
    shift = SHIFT_BOUND * torch.tanh(raw[:, 6:9] * (SHIFT_STEP / SHIFT_BOUND))
    scale = SCALE_BOUND * torch.tanh(raw[:, 9:] / SCALE_BOUND)
    return LabTransfer(
        centre=base.centre,
        # a power keeps the base's own bits at trust 1
        scale=base.scale.clamp_min(1e-3) ** trust[:, 3:] * scale.exp(),
        shift=base.shift * trust[:, :3] + shift,
    )


def wiener_gain(transfer: LabTransfer, image: Tensor, mask: Tensor, shrinkage: Tensor) -> Tensor:
    """The share of a change that is made: (B, 1), d^2 / (d^2 + shrinkage^2) for a change of d grey levels.

    d is the root mean squared change over the object, by the transfer's closed form: Wiener's gain where
    changes are noise of `shrinkage` grey levels and nothing is wrong.
    """
    variance = measure(once(srgb_to_lab, image), mask).variance
    squares = transfer.shift.square() + (transfer.scale - 1).square() * variance
    size = (squares * squares.new_tensor(LEVELS_PER_LAB)).sum(1, keepdim=True)
    return size / (size + shrinkage**2)


class Detail(nn.Module):
    """What the object and its neighbourhood are, from the two deepest maps; nothing before it has learned."""

    def __init__(self, channels: tuple[int, ...], width: int, hidden: int, operations: Operations) -> None:
        super().__init__()
        d = width
        self.squeeze = nn.ModuleList(operations.Linear(c, d) for c in channels[-2:])
        self.out = operations.Linear(2 * 4 * d, hidden, bias=False)
        zero_initialise(self.out)

    def forward(self, levels: list[Tensor], mask: Tensor) -> Tensor:
        """Backbone maps and mask (B, 1, h, w) -> what to add to the vector, (B, hidden)."""
        near = ring(mask, FAR)
        found = []
        for level, squeeze in zip(levels[-2:], self.squeeze, strict=True):
            size = (level.shape[-2], level.shape[-1])
            regions = [resize_mask(region, size, "area") for region in (mask, near, complement(mask))]
            inside, beside, outside = (
                squeeze(masked_moments(level, region)[0].flatten(1).to(level.dtype)) for region in regions
            )
            found += [inside, beside, outside, inside - beside]
        return self.out(torch.cat(found, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class PlusConfig(NetworkConfig):
    """Independent switches; each ablation is one changed field."""

    size: int = 256
    backbone: str = LITE0_NAME
    frozen_stages: int = 2  # the stem and the first two groups of blocks keep their ImageNet weights
    width: int = 64  # d
    hidden: int = 256  # of the vector that sums up the picture
    dropout: float = 0.15
    statistics: StatisticsConfig = field(default_factory=StatisticsConfig)
    residual: bool = True  # start from the ring statistics; False: from the untouched composite
    region_colour: bool = True  # the 98 numbers of `region_colour_descriptor` as inputs
    local_map: bool = True  # a 3x4 transform per pixel behind the global one
    style_fusion: bool = True
    max_references: int = 4
    # learned: the network reads them itself (`LearnedReferences`); gated: the gate follows its answer
    references: Literal["learned", "gated"] = "learned"
    # grey levels: a change of this size is halved, a much smaller one left out, a much larger one kept
    # (Wiener's shrinkage); what is nearly right should stay. 0: never
    shrinkage: float = field(default=0.0, metadata=LATER)
    # learn for each picture how much to shrink, from `shrinkage` at the start
    learned_shrinkage: bool = field(default=False, metadata=LATER)
    # finer features too, and what is next to the object apart from what is far away
    detail: bool = field(default=False, metadata=LATER)
    # the trunk smooths what it halves: a shift by a pixel, noise and another size change the answer less
    antialias: bool = field(default=False, metadata=LATER)
    # but in training, the trunk's maps are the mean of the picture's and of its mirror image's, for twice the
    # time: a mirror changes nothing in the transfer, and only what the local map adds of itself
    mirrored: bool = field(default=False, metadata=LATER)
    # grey levels: finer detail than this is noise to the trunk (`coring`)
    coring: float = field(default=0.0, metadata=LATER)
    # of what the network is shown, that the object is at least: a part of the picture around a small object
    least_share: float = field(default=0.0, metadata=LATER)

    def __post_init__(self) -> None:
        if self.size < PLUS_MULTIPLE or min(self.width, self.hidden) < 1:
            raise ValueError(f"size must be >= {PLUS_MULTIPLE}, width and hidden >= 1: {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if not self.coring >= 0:
            raise ValueError(f"coring must not be negative, got {self.coring}")
        if self.max_references < 0 or self.frozen_stages < 0:
            raise ValueError(f"max_references and frozen_stages must not be negative: {self}")
        if not 0 <= self.least_share < 1:
            raise ValueError(f"least_share must lie in [0, 1), got {self.least_share}")
        if not self.shrinkage >= 0:
            raise ValueError(f"shrinkage must not be negative, got {self.shrinkage}")
        if self.learned_shrinkage and self.shrinkage == 0:
            raise ValueError("learned_shrinkage is a factor of shrinkage, which is 0")
        if self.references not in ("learned", "gated"):
            raise ValueError(f"references must be 'learned' or 'gated', got '{self.references}'")

    @property
    def learns_references(self) -> bool:
        return self.max_references > 0 and self.references == "learned"

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            size=self.size,
            multiple=PLUS_MULTIPLE,
            content=self.learns_references,
            max_references=self.max_references if self.learns_references else 0,
            least_share=self.least_share,
        )

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "Plus":
        return Plus(self, name=name, operations=operations, pretrained=pretrained)


class Plus(Network):
    """The network; the call is the same as for the U-Net family."""

    config: PlusConfig

    def __init__(
        self, config: PlusConfig, *, name: str = "plus", operations: Operations = nn, pretrained: bool = True
    ) -> None:
        super().__init__(config, name)
        self.backbone = Backbone(
            config.backbone,
            config.frozen_stages,
            antialias=config.antialias,
            operations=operations,
            pretrained=pretrained,
        )
        d, hidden, deep = config.width, config.hidden, self.backbone.channels[-1]
        numbers = TRANSFER_NUMBERS + (COUNT if config.region_colour else 0)
        self.scale = RunningScale(numbers)
        self.squeeze = operations.Linear(deep, d)  # of the deepest map, per region
        self.vector = operations.Linear(numbers + 3 * d, hidden)
        self.detail = Detail(self.backbone.channels, d, hidden, operations) if config.detail else None
        self.from_references = LearnedReferences(hidden, operations) if config.learns_references else None
        self.mixer = operations.Linear(hidden, hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.colour = operations.Linear(hidden, 12)  # trust in the ring (6) and correction (6)
        self.learned_shrinkage = operations.Linear(hidden, 1) if config.learned_shrinkage else None
        self.decoder: LocalMap | None = None
        if config.local_map:
            self.decoder = LocalMap(
                self.backbone.channels,
                d,
                hidden,
                operations,
                style_fusion=config.style_fusion,
                with_references=config.learns_references,
            )
        zero_initialise(self.colour)
        if self.learned_shrinkage is not None:
            zero_initialise(self.learned_shrinkage)

    def predict(
        self, image: Tensor, mask: Tensor, content: Tensor | None, references: ReferenceBatch | None
    ) -> Prediction:
        """The look of the object.

        Args:
            image: composite (B, 3, h, w), sRGB 0..1, any size; mask (B, 1, h, w), values 0..1.
            content: retrieval features (B, D, g, g); read only where there are references. Any encoder
                will do, as long as composite and references share it.
            references: at most `config.max_references` per composite.
        Returns: a Lab transfer (B, 3) thrice, and an affine map (B, 12, h', w') where the config has one.
        Raises: ValueError as `checks.check_inputs` and `checks.check_content`.
        """
        if references is not None:
            check_content(content, references, len(image), name=self.name, dim=None, spec=self.feature_spec)
        wide_mask = widen(mask)
        base = self._base(widen(image), wide_mask)
        levels = self._levels(_to_multiple(image))
        seen: tuple[Tensor, Tensor] | None = None
        if references is not None and content is not None and self.from_references is not None:
            shown = content.expand(len(image), -1, -1, -1)
            seen = self.from_references(widen(image), wide_mask, shown, references)
        summary = self._summary(image, wide_mask, levels, base, seen)
        lab = correct(base, widen(self.colour(summary)))
        affine = None
        if self.decoder is not None:
            affine = self.decoder(levels, wide_mask, summary, None if seen is None else seen[0])
        if self.config.shrinkage > 0:
            share = wiener_gain(lab, widen(image), wide_mask, self._shrinkage(summary))
            still = torch.lerp(torch.ones_like(lab.scale), lab.scale, share)
            lab = LabTransfer(centre=lab.centre, scale=still, shift=lab.shift * share)
            affine = None if affine is None else affine * share[..., None, None]
        return Prediction(lab=lab, affine=affine)

    def _levels(self, image: Tensor) -> list[Tensor]:
        """The trunk's maps of a picture whose sides are multiples of 32."""
        image = cored(image, self.config.coring)
        if self.training or not self.config.mirrored:
            return self.backbone(image)
        both = self.backbone(torch.cat((image, image.flip(-1))))
        halves = [level.chunk(2) for level in both]
        return [(seen + mirrored.flip(-1)) / 2 for seen, mirrored in halves]

    def _base(self, image: Tensor, mask: Tensor) -> LabTransfer:
        if self.config.residual:
            return ring_statistics_transfer(image, mask, self.config.statistics)
        still = image.new_zeros(len(image), 3)
        found = ring_statistics_transfer(image, mask, self.config.statistics)
        return LabTransfer(centre=found.centre, scale=still + 1, shift=still)

    def _shrinkage(self, summary: Tensor) -> Tensor:
        """Grey levels, (B, 1) or one number for all."""
        usual = summary.new_tensor(self.config.shrinkage, dtype=torch.float32)
        if self.learned_shrinkage is None:
            return usual
        return usual * torch.exp(
            SHRINKAGE_BOUND * torch.tanh(widen(self.learned_shrinkage(summary)) / SHRINKAGE_BOUND)
        )

    def _summary(
        self,
        image: Tensor,
        mask: Tensor,
        levels: list[Tensor],
        base: LabTransfer,
        seen: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Everything that is known of the picture as a whole: (B, hidden)."""
        numbers = [base.scale.clamp_min(1e-3).log(), base.shift / SHIFT_STEP]
        if self.config.region_colour:
            numbers.append(region_colour_descriptor(image, mask))
        deep = levels[-1]
        vector = self.scale(torch.cat(numbers, 1).float()).to(deep.dtype)
        inside = resize_mask(mask, (deep.shape[-2], deep.shape[-1]), "area")
        foreground, background = (
            self.squeeze(masked_moments(deep, region)[0].flatten(1).to(deep.dtype))
            for region in (inside, complement(inside))
        )
        x = self.vector(torch.cat((vector, foreground, background, foreground - background), 1))
        if seen is not None and self.from_references is not None:
            x = x + self.from_references.to_summary(seen[1].to(x.dtype))
        if self.detail is not None:
            x = x + self.detail(levels, mask)
        return F.gelu(self.mixer(self.dropout(F.gelu(x))))
