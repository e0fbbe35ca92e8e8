"""LD: each object cell reads from the background cells that resemble it most.

Source: arXiv:2211.08639 and its public code, which differ.
Shapes: B images, C channels, h x w map, N = h*w cells.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from ..background import complement, touched_cells
from ..precision import widen, without_autocast
from .blocks import MaskResize, Operations, resize_mask

LocalKind = Literal["paper", "released"]
NEIGHBOURS = 4  # K: the paper's value is not public to us; this one is ours
_SHARPNESS = 20.0  # of the cosine, ours
QUERIES = 2048  # read at a time


class LocalDynamic(nn.Module):
    """Local dynamic module.

    `paper`: K = 4 nearest background cells by cosine, softmax over those K.
    `released`: K = 1 by plain products of masked cells, softmax over the N *query positions*, so that
        all weights of a picture sum to 1 and most object cells receive next to nothing.
    """

    def __init__(
        self, channels: int, kind: LocalKind, mask_resize: MaskResize, operations: Operations = nn
    ) -> None:
        super().__init__()
        self.kind: LocalKind = kind
        self.mask_resize: MaskResize = mask_resize
        self.fuse = operations.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, h, w) and the mask (B, 1, H, W) -> (B, C, h, w), changed inside the mask only."""
        size = (x.shape[-2], x.shape[-1])
        inside = resize_mask(widen(mask), size, self.mask_resize).to(widen(x).dtype)
        with without_autocast(x):
            if self.kind == "released":
                query = widen(x) * inside
                read = _read_released(query, widen(x) * complement(inside))
            else:
                query = widen(x)
                read = _read_nearest(query, touched_cells(mask, size))
        fused = self.fuse(torch.cat((read, query), 1).to(x.dtype))
        return (inside * fused + complement(inside) * widen(x)).to(x.dtype)


def _read_nearest(x: Tensor, foreground: Tensor) -> Tensor:
    """(B, C, h, w), cells of the object (B, N) -> what each cell reads; 0 where there is no background."""
    cells = rearrange(x, "b c h w -> b (h w) c")
    unit = cells / (cells.norm(dim=2, keepdim=True) + 1e-8)
    # some queries at a time: at 1024 pixels all pairs would be a gigabyte
    read = torch.cat([_nearest(q, unit, cells, foreground) for q in unit.split(QUERIES, 1)], 1)
    return rearrange(read, "b (h w) c -> b c h w", h=x.shape[-2])


def _nearest(query: Tensor, key: Tensor, value: Tensor, hidden: Tensor) -> Tensor:
    """Softmax over the K nearest keys: unit vectors (B, Q, C), (B, N, C), values (B, N, C) -> (B, Q, C)."""
    logits = (_SHARPNESS * query @ key.transpose(1, 2)).masked_fill(hidden[:, None, :], float("-inf"))
    best, index = logits.topk(min(NEIGHBOURS, value.shape[1]), dim=2)  # (B, Q, K)
    found = best > float("-inf")
    weight = best.masked_fill(~found, -1e4).softmax(2) * found  # no key: 0, and no NaN on the way
    places = rearrange(index, "b q k -> b (q k) 1").expand(-1, -1, value.shape[2])
    chosen = torch.gather(value, 1, places).unflatten(1, index.shape[1:])  # (B, Q, K, C)
    return (weight[..., None] * chosen).sum(2)


def _read_released(query: Tensor, support: Tensor) -> Tensor:
    """Both (B, C, h, w), zero outside their region. A zero cell can win where all products are negative."""
    q, b = query.flatten(2), support.flatten(2)  # (B, C, N)
    best, index = (q.transpose(1, 2) @ b).max(2)  # (B, N)
    weight = best.softmax(1)[:, None]  # over the query positions: the public code's axis
    chosen = torch.gather(b, 2, index[:, None].expand(-1, b.shape[1], -1))
    return (weight * chosen).unflatten(2, (query.shape[-2], query.shape[-1]))
