"""The denoiser of Denoising Vision Transformers: removes what a ViT says about position, not content.

Source: arXiv:2401.02957 and `Jiawei-Yang/Denoising-ViT` (MIT), dvt/models/online_denoiser.py, read for
facts. Shapes: B images, h x w patch grid, N = h * w, D width, H heads.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..resizing import bicubic

_EPS = 1e-6


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, operations: Any) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = operations.Linear(width, 3 * width)
        self.proj = operations.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, D) -> (B, N, D)
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        return self.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))


class _Mlp(nn.Module):
    def __init__(self, width: int, operations: Any) -> None:
        super().__init__()
        self.fc1 = operations.Linear(width, 4 * width)
        self.fc2 = operations.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Block(nn.Module):
    """Pre-norm transformer block without LayerScale, dropout or final norm."""

    def __init__(self, width: int, heads: int, operations: Any) -> None:
        super().__init__()
        self.norm1 = operations.LayerNorm(width, eps=_EPS)
        self.attn = _Attention(width, heads, operations)
        self.norm2 = operations.LayerNorm(width, eps=_EPS)
        self.mlp = _Mlp(width, operations)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Denoiser(nn.Module):
    """One learned position table and one block after the ViT's last norm; 8,139,264 parameters by default."""

    def __init__(self, width: int = 768, heads: int = 12, positions: int = 37, operations: Any = nn) -> None:
        super().__init__()
        self.positions = positions  # per side, of the table
        self.pos_embed = nn.Parameter(torch.zeros(1, positions * positions, width))
        self.denoiser = _Block(width, heads, operations)

    def forward(self, features: Tensor) -> Tensor:
        """Patch features (B, D, h, w) of the ViT, not normalised -> the same, denoised."""
        h, w = features.shape[-2:]
        table: Tensor = rearrange(self.pos_embed, "b (h w) d -> b d h w", h=self.positions)
        if (h, w) != (self.positions, self.positions):
            table = bicubic(table, (h, w), antialias=True)
        tokens = rearrange(features + table, "b d h w -> b (h w) d")
        return rearrange(self.denoiser(tokens), "b (h w) d -> b d h w", h=h)


def denoiser_state(content: dict, source: str) -> dict[str, Tensor]:
    """The denoiser's tensors in an opened checkpoint: under "denoiser" as the authors save it, or bare.

    Keys of the backbone ("vit.") are left out, as on their side. Raises: ValueError naming `source`.
    """
    inner = content.get("denoiser", content)
    if not isinstance(inner, dict):
        raise ValueError(f"{source} holds no denoiser")
    state = {name: value for name, value in inner.items() if not name.startswith("vit.")}
    if "pos_embed" not in state:
        raise ValueError(f"{source} holds no denoiser: the tensor 'pos_embed' is missing")
    return state
