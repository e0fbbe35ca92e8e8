"""The transformer of PCT-Net ViT, the Harmony Transformer and their kin: norms after, no dropout.

Source: arXiv:1706.03762, arXiv:2005.12872 (positions, decoder).
Shapes: B images of h x w, N tokens, S keys, D width, H heads, C channels.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..precision import widen, without_autocast
from .blocks import Operations
from .published import key_rules

PATCH = 4  # pixels along the side of one
# Names of our tensors -> those of torch's TransformerEncoderLayer and TransformerDecoderLayer, where the
# projections of queries, keys and values are one tensor, which `published.split_projections` takes apart.
LAYER_KEYS = key_rules(
    r"""
    \.attention\.to_(query|key|value)\.(weight|bias)$ -> .self_attn.in_proj_\2 (\1)
    \.attention\.to_out\. -> .self_attn.out_proj.
    \.reading\.to_(query|key|value)\.(weight|bias)$ -> .multihead_attn.in_proj_\2 (\1)
    \.reading\.to_out\. -> .multihead_attn.out_proj.
    \.widen\. -> .linear1.
    \.narrow\. -> .linear2.
    """
)


class LayerNorm(nn.LayerNorm):
    """torch's layer, in float32 at least."""

    def forward(self, x: Tensor) -> Tensor:  # (..., D) -> (..., D) in the input's type
        wide = widen(x)
        with without_autocast(x):
            y = F.layer_norm(wide, self.normalized_shape, self.weight.to(wide), self.bias.to(wide), self.eps)
        return y.to(x.dtype)


class Attention(nn.Module):
    """Multi-head attention; logits and softmax in float32 at least."""

    def __init__(self, width: int, heads: int, operations: Operations = nn) -> None:
        super().__init__()
        self.heads = heads
        self.to_query = operations.Linear(width, width)
        self.to_key = operations.Linear(width, width)
        self.to_value = operations.Linear(width, width)
        self.to_out = operations.Linear(width, width)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None
    ) -> Tensor:  # (B, N, D), (B, S, D), (B, S, D), (B, 1, 1 or N, S) bool -> (B, N, D)
        q, k, v = (
            widen(rearrange(layer(x), "b n (h d) -> b h n d", h=self.heads))
            for layer, x in ((self.to_query, query), (self.to_key, key), (self.to_value, value))
        )
        with without_autocast(query):
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.to_out(rearrange(y, "b h n d -> b n (h d)").to(query.dtype))


class EncoderLayer(nn.Module):
    """Self-attention, then two linear layers, each added and normalised."""

    def __init__(self, width: int, heads: int, hidden: int, operations: Operations = nn) -> None:
        super().__init__()
        self.attention = Attention(width, heads, operations)
        self.widen = operations.Linear(width, hidden)
        self.narrow = operations.Linear(hidden, width)
        self.norm1 = LayerNorm(width)
        self.norm2 = LayerNorm(width)

    def forward(
        self, x: Tensor, place: Tensor | None = None, allowed: Tensor | None = None
    ) -> Tensor:  # (B, N, D); `place` (N, D) is added to queries and keys only -> (B, N, D)
        placed = x if place is None else x + place
        x = self.norm1(x + self.attention(placed, placed, x, allowed))
        return self.norm2(x + self.narrow(F.gelu(self.widen(x))))


class DecoderLayer(nn.Module):
    """Self-attention, attention to other tokens, then two linear layers, each added and normalised."""

    def __init__(self, width: int, heads: int, hidden: int, operations: Operations = nn) -> None:
        super().__init__()
        self.attention = Attention(width, heads, operations)
        self.reading = Attention(width, heads, operations)
        self.widen = operations.Linear(width, hidden)
        self.narrow = operations.Linear(hidden, width)
        self.norm1 = LayerNorm(width)
        self.norm2 = LayerNorm(width)
        self.norm3 = LayerNorm(width)

    def forward(
        self, x: Tensor, seen: Tensor, place: Tensor, seen_place: Tensor, allowed: Tensor | None = None
    ) -> Tensor:
        """(B, N, D) and what it reads (B, S, D) -> (B, N, D).

        Args: place (N, D), seen_place (S, D): added to queries and keys only; allowed (B, 1, 1, S) bool:
            what may be read.
        """
        placed = x + place
        x = self.norm1(x + self.attention(placed, placed, x))
        x = self.norm2(x + self.reading(x + place, seen + seen_place, seen, allowed))
        return self.norm3(x + self.narrow(F.gelu(self.widen(x))))


class Decoder(nn.Module):
    """Layers one after the other, and a norm."""

    def __init__(self, width: int, layers: int, heads: int, operations: Operations = nn) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(width, heads, 2 * width, operations) for _ in range(layers))
        self.norm = LayerNorm(width)

    def forward(
        self, x: Tensor, seen: Tensor, place: Tensor, seen_place: Tensor, allowed: Tensor | None = None
    ) -> Tensor:  # as `DecoderLayer`
        for layer in self.layers:
            x = layer(x, seen, place, seen_place, allowed)
        return self.norm(x)


def sine_positions(height: int, width: int, dim: int) -> Tensor:
    """Where each cell of a grid lies, counted from 1: (h w, D), a half for the row, a half for the column.

    Of each half, sines and cosines in turn, their wave lengths from 2 pi to nearly 20000 pi.
    """
    half = dim // 2
    length = 10000 ** (torch.arange(0, half, 2) / half)
    halves = []
    for axis, side in enumerate((height, width)):
        angle = torch.arange(1, side + 1)[:, None] / length  # (side, D / 4)
        waves = torch.stack((angle.sin(), angle.cos()), 2).flatten(1)
        halves.append(waves[:, None] if axis == 0 else waves[None])
    return torch.cat([part.expand(height, width, -1) for part in halves], 2).flatten(0, 1)


class PatchTransformer(nn.Module):
    """Patches of picture and mask through a transformer, back to maps of C channels."""

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        channels: int,
        *,
        places: bool = False,
        operations: Operations = nn,
    ) -> None:
        """Args: places: whether it knows where each patch lies."""
        super().__init__()
        self.places = places
        self.embed = operations.Linear(4 * PATCH * PATCH, width)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, 2 * width, operations) for _ in range(layers))
        self.out = operations.ConvTranspose2d(width, channels, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:  # (B, 4, h, w) -> (B, C, h, w), -1..1
        height, width = x.shape[-2] // PATCH, x.shape[-1] // PATCH
        tokens = self.embed(rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=PATCH, q=PATCH))
        place = sine_positions(height, width, tokens.shape[-1]).to(tokens) if self.places else None
        for layer in self.layers:
            tokens = layer(tokens, place)
        return torch.tanh(self.out(rearrange(tokens, "b (h w) d -> b d h w", h=height)))
