"""The transformer of PCT-Net ViT, the Harmony Transformer and their kin: norms after, no dropout.

Source: arXiv:1706.03762. Shapes: B images, N tokens, S keys, D width, H heads.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..precision import widen, without_autocast
from .blocks import Operations

# Names of our tensors -> those of torch's TransformerEncoderLayer; the projections of queries, keys and
# values are one tensor there, which `published.split_projections` takes apart.
LAYER_KEYS = (
    (r"\.attention\.to_(query|key|value)\.(weight|bias)$", r".self_attn.in_proj_\2 (\1)"),
    (r"\.attention\.to_out\.", r".self_attn.out_proj."),
    (r"\.widen\.", r".linear1."),
    (r"\.narrow\.", r".linear2."),
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
