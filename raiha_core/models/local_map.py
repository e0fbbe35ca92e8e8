"""The 3x4 colour transform per cell that `raiha-plus` may put behind its global one; the shipped has none.

Source: this project. Shapes: B images, d decoder width, h x w the network's size, g x g content grid.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import widen
from ..resizing import bilinear
from .blocks import Operations, resize_mask, zero_initialise
from .heads import bounded_affine
from .reference_colour_attention import MAP_NUMBERS
from .style_fusion import StyleFusion, background_style


class LocalMap(nn.Module):
    """A light way up from stride 32 to 4, steered by the summary, to a 3x4 transform per cell."""

    def __init__(
        self,
        channels: tuple[int, ...],
        width: int,
        hidden: int,
        operations: Operations,
        *,
        style_fusion: bool,
        with_references: bool,
    ) -> None:
        super().__init__()
        d = width
        self.side = nn.ModuleList(operations.Conv2d(c + 1, d, 1) for c in channels)
        self.steer = nn.ModuleList(operations.Linear(hidden, d) for _ in channels)
        self.local = nn.ModuleList(operations.Conv2d(d, d, 3, 1, 1, groups=d) for _ in channels)
        self.widen = nn.ModuleList(operations.Conv2d(d, 2 * d, 1) for _ in channels)
        self.narrow = nn.ModuleList(operations.Conv2d(2 * d, d, 1) for _ in channels)
        self.styles: nn.ModuleList | None = None
        if style_fusion:
            self.styles = nn.ModuleList(
                StyleFusion(d, "area", with_references=False, operations=operations) for _ in channels[:-1]
            )
            for style in self.styles:
                cast("StyleFusion", style).start()
        self.places = operations.Conv2d(MAP_NUMBERS, d, 1, bias=False) if with_references else None
        self.out = operations.Conv2d(d, 12, 1)
        zero_initialise(self.out)

    def forward(self, levels: list[Tensor], mask: Tensor, summary: Tensor, places: Tensor | None) -> Tensor:
        """Backbone maps, mask, summary (B, hidden), places (B, 15, g, g) -> (B, 12, h/4, w/4)."""
        x = None
        for i in reversed(range(len(levels))):
            size = (levels[i].shape[-2], levels[i].shape[-1])
            inside = resize_mask(mask, size, "area").to(levels[i].dtype)
            # the backbone's early maps are ten times as loud as a new layer expects
            side = self.side[i](torch.cat((_channel_norm(levels[i]), inside), 1))
            if x is None:
                x = side
                if places is not None and self.places is not None:
                    shown = bilinear(places, size)
                    x = x + self.places(shown.to(x.dtype))
            else:
                x = bilinear(x, size)
                if self.styles is not None:
                    x = self.styles[i](x, mask, background_style(side, mask, "area"))
                x = x + side
            x = x + self.steer[i](summary)[..., None, None]
            x = x + self.narrow[i](F.gelu(self.widen[i](_channel_norm(self.local[i](x)))))
        assert x is not None
        return bounded_affine(widen(self.out(F.gelu(_channel_norm(x)))))


def _channel_norm(x: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over the channels of each cell."""
    variance, mean = torch.var_mean(widen(x), 1, unbiased=False, keepdim=True)
    return ((widen(x) - mean) * (variance + 1e-5).rsqrt()).to(x.dtype)
