"""Region-wise contrast: the harmonized object must share the background's style, not the pasted one's.

Our own formulation: the abstract of arXiv:2205.14058 names regions, positives from the truth's background
and samples from the output's foreground; descriptors, layers, temperature and negatives are ours. Read
literally, the output's foreground is the *anchor*, pulled towards its positive.
Shapes: B images, L layers with C channels and h x w cells, Z projected numbers, N anchors, M negatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as distributed
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from raiha_core.masked_statistics import weighted_moments
from raiha_core.resizing import bilinear, moving_means

STYLE_VARIANCE_FLOOR = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastConfig:
    """What is compared with what. `channels` and `windows` go with `UNet.contrast_features`."""

    # regions: positive is the truth's background; patches: background windows of like content;
    # fg-truth: the control, positive is the truth's own foreground
    positives: Literal["regions", "patches", "fg-truth"] = "regions"
    channels: tuple[int, ...] = (32, 128, 256, 256, 256)
    windows: tuple[int, ...] = (7, 7, 5, 5, 3)  # side in cells, per layer; only for patches
    width: int = 256  # Z
    temperature: float = 0.07
    erosion: int = 4  # pixels: mixed edges tell nothing
    minimum_cells: int = 16  # per region and layer, else the image is left out there
    positions: int = 256  # windows drawn per region, layer and image; only for patches
    sharpness: float = 20.0  # of the content cosine that weighs positive windows
    unlike: float = 0.3  # a window of lower content cosine is a negative

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.windows):
            raise ValueError(f"{len(self.channels)} channels and {len(self.windows)} windows")
        if any(window % 2 == 0 for window in self.windows):
            raise ValueError(f"windows must be odd, got {self.windows}")
        if self.temperature <= 0:
            raise ValueError(f"the temperature must be positive, got {self.temperature}")


def info_nce(positive: Tensor, negatives: Tensor, exists: Tensor, temperature: float) -> Tensor:
    """-log of the positive's share among itself and the negatives.

    Args: positive (N,) similarities; negatives (N, M); exists (N, M) bool.
    Returns: (N,); 0 where there are no negatives, log(1 + n) where n of them equal the positive.
    """
    others = (negatives / temperature).masked_fill(~exists, float("-inf"))
    return torch.cat((positive[:, None] / temperature, others), 1).logsumexp(1) - positive / temperature


def eroded_regions(mask: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """Sure foreground and sure background: mask (B, 1, H, W) -> two of (B, 1, H, W) bool.

    The picture's frame is no edge.
    """
    side = 2 * pixels + 1
    foreground = F.max_pool2d(1 - (mask >= 1).float(), side, 1, pixels) == 0
    background = F.max_pool2d((mask > 0).float(), side, 1, pixels) == 0
    return foreground, background


def whole_cells(region: Tensor, size: tuple[int, int]) -> Tensor:
    """Cells that lie in a region with all their pixels: (B, 1, H, W) bool -> (B, 1, h, w) bool."""
    return F.adaptive_max_pool2d(1 - region.float(), size) == 0


def region_style(features: Tensor, region: Tensor) -> Tensor:
    """Mean and log deviation over a region: (B, C, h, w), (B, 1, h, w) bool -> (B, 2C) float32."""
    mean, variance = weighted_moments(features.float(), region.float(), floor=1.0)  # a cell
    return torch.cat((mean, 0.5 * (variance + STYLE_VARIANCE_FLOOR).log()), 1).flatten(1)


def window_styles(features: Tensor, region: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """The same over every window x window square, and which squares lie in the region with all their cells.

    Returns: (B, 2C, h, w) float32, (B, h, w) bool.
    """
    wide = features.float()
    pad = window // 2
    mean = moving_means(wide, window)
    centre = wide.mean((2, 3), keepdim=True).detach()  # squares of small numbers lose less
    shifted = wide - centre
    variance = moving_means(shifted.square(), window) - moving_means(shifted, window).square()
    style = torch.cat((mean, 0.5 * (variance.clamp_min(0) + STYLE_VARIANCE_FLOOR).log()), 1)
    outside = F.pad(1 - region.float(), (pad, pad, pad, pad), value=1.0)
    return style, F.max_pool2d(outside, window, 1)[:, 0] == 0


def gather_keys(keys: Tensor) -> tuple[Tensor, int]:
    """Keys of all processes in rank order, and where this one's begin; keys carry no gradient."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return keys, 0
    parts = [torch.empty_like(keys) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, keys.contiguous())
    return torch.cat(parts), distributed.get_rank() * len(keys)


class RegionContrast(nn.Module):
    """The loss with its projection heads, one per layer; used in training only."""

    def __init__(self, config: ContrastConfig) -> None:
        super().__init__()
        self.config = config
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * c, config.width), nn.ReLU(), nn.Linear(config.width, config.width))
            for c in config.channels
        )
        for module in self.heads.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.02)
                nn.init.zeros_(module.bias)

    def project(self, layer: int, style: Tensor) -> Tensor:
        """Styles (N, 2C) of a layer -> (N, Z) of length 1."""
        return F.normalize(self.heads[layer](style), dim=1)

    def forward(
        self,
        new: Sequence[Tensor],
        target: Sequence[Tensor],
        composite: Sequence[Tensor],
        mask: Tensor,
        *,
        content: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The loss of a batch: a scalar, 0 where no image has large enough regions.

        Args:
            new, target, composite: L maps (B, C, h, w) each, of the output (with gradient), the truth
                and the composite; keys made of the last two are detached.
            mask: (B, 1, H, W), values 0..1.
            content: retrieval features (B, D, g, g), needed for patches.
            generator: on the mask's device, draws the windows; needed for patches.
        Raises: ValueError where the number of maps is not that of the config, or patches lack an input.
        """
        if not len(new) == len(target) == len(composite) == len(self.heads):
            raise ValueError(
                f"{len(new)}, {len(target)} and {len(composite)} maps for {len(self.heads)} layers"
            )
        foreground, background = eroded_regions(mask, self.config.erosion)
        terms = []
        for layer, maps in enumerate(zip(new, target, composite, strict=True)):
            size = (maps[0].shape[-2], maps[0].shape[-1])
            inside, outside = whole_cells(foreground, size), whole_cells(background, size)
            enough = torch.stack([r.sum((1, 2, 3)) >= self.config.minimum_cells for r in (inside, outside)])
            usable = enough.all(0)  # (B,)
            if self.config.positives == "patches":
                if content is None or generator is None:
                    raise ValueError("positives 'patches' need content features and a generator")
                terms.append(self._patches(layer, maps, inside, outside, usable, content, generator))
            else:
                terms.append(self._regions(layer, maps, inside, outside, usable))
        return torch.stack(terms).mean()

    def _regions(
        self,
        layer: int,
        maps: tuple[Tensor, Tensor, Tensor],
        inside: Tensor,
        outside: Tensor,
        usable: Tensor,
    ) -> Tensor:
        """One descriptor per region; negatives are the pasted look and other pictures' positives."""
        new, target, composite = maps
        anchor = self.project(layer, region_style(new, inside))
        with torch.no_grad():
            region = outside if self.config.positives == "regions" else inside
            positive = self.project(layer, region_style(target.detach(), region))
            pasted = self.project(layer, region_style(composite.detach(), inside))
            every, first = gather_keys(positive)
            every_usable, _ = gather_keys(usable)
        own = torch.arange(len(anchor), device=anchor.device) + first
        exists = every_usable.repeat(len(anchor), 1)
        exists = exists.scatter(1, own[:, None], value=False)  # its own is the positive
        negatives = torch.cat(((anchor * pasted).sum(1, keepdim=True), anchor @ every.T), 1)
        exists = torch.cat((torch.ones_like(exists[:, :1]), exists), 1)
        loss = info_nce((anchor * positive).sum(1), negatives, exists, self.config.temperature)
        return (loss * usable).sum() / usable.sum().clamp_min(1)

    def _patches(
        self,
        layer: int,
        maps: tuple[Tensor, Tensor, Tensor],
        inside: Tensor,
        outside: Tensor,
        usable: Tensor,
        content: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Windows of the object against windows of the same picture's background (PatchNCE's form)."""
        window = self.config.windows[layer]
        size = maps[0].shape[-2:]
        thing = F.normalize(bilinear(content.float(), (size[0], size[1])), dim=1)
        things = rearrange(thing, "b d h w -> b (h w) d")
        new, in_object = window_styles(maps[0], inside, window)
        target, in_back = window_styles(maps[1].detach(), outside, window)
        pasted, _ = window_styles(maps[2].detach(), inside, window)
        losses = []
        for b in usable.nonzero().flatten().tolist():
            anchors = _draw(in_object[b], self.config.positions, generator)
            keys = _draw(in_back[b], self.config.positions, generator)
            if not len(anchors) or not len(keys):
                continue
            z = self.project(layer, new[b].flatten(1)[:, anchors].T)
            with torch.no_grad():
                k = self.project(layer, target[b].flatten(1)[:, keys].T)
                own = self.project(layer, pasted[b].flatten(1)[:, anchors].T)
                alike = things[b][anchors] @ things[b][keys].T  # (N, M) content cosine
                positive = F.normalize((self.config.sharpness * alike).softmax(1) @ k, dim=1)
            exists = torch.cat((alike < self.config.unlike, torch.ones_like(alike[:, :1]).bool()), 1)
            negatives = torch.cat((z @ k.T, (z * own).sum(1, keepdim=True)), 1)
            losses.append(info_nce((z * positive).sum(1), negatives, exists, self.config.temperature).mean())
        return torch.stack(losses).mean() if losses else maps[0].sum() * 0


def _draw(allowed: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` places of (h, w) bool, without repetition: indices, row-major."""
    places = allowed.flatten().nonzero().flatten()
    order = torch.randperm(len(places), generator=generator, device=generator.device).to(places.device)
    return places[order[:count]]
