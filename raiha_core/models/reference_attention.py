"""SGF, semantic-guided fusion (eqs. 6-10): object cells read from background cells and reference cells.

Source: arXiv:2412.13916; open points as its public code has them, else ours (the docstrings say which).
Shapes: B images, C channels, h x w map, N = h*w cells, S keys: N of the composite, K*M of the references.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..precision import widen, without_autocast
from ..resizing import bilinear
from .blocks import Operations

Guidance = Literal["none", "concat", "cosine"]
_SHARPNESS = 20.0  # of the cosine of projected cells; the public code's value


def attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    """softmax(query keyᵀ) value (eq. 9) with a key mask; rows without a key give 0.

    Args:
        query: (B, N, D), already scaled; key: (B, S, D); value: (B, S, C); float32 or float64.
        allowed: (B, S), or (B, N, S) where it depends on the query; bool, false for keys that do not
            exist: their weight is exactly 0.
    Returns: (B, N, C).
    """
    pairs = allowed[:, None] if allowed.ndim == 2 else allowed  # (B, 1 or N, S)
    any_key = pairs.any(2, keepdim=True)
    # a row that may look at nothing is let look at everything and then zeroed, so that no NaN is ever made
    safe = pairs | ~any_key
    read = F.scaled_dot_product_attention(
        query[:, None], key[:, None], value[:, None], attn_mask=safe[:, None], scale=1.0
    )[:, 0]
    return torch.where(any_key, read, torch.zeros_like(read))


def unit(vectors: Tensor) -> Tensor:
    """Length 1 along the last axis; a zero vector stays zero."""
    return vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-8)


class ReferenceAttention(nn.Module):
    """Eqs. 6-10 with one of three guidances by the retrieval features c.

    `concat` (the paper): c joins e before the projection φ, which ties a checkpoint to one encoder.
    `cosine` (ours): the cosine of c enters the logits with a learned scale, whatever the encoder.
    `none`: φ sees e alone.
    """

    def __init__(
        self,
        channels: int,
        guidance: Guidance,
        content_dim: int = 0,
        *,
        tied: bool = True,
        project_twice: bool = False,
        operations: Operations = nn,
    ) -> None:
        super().__init__()
        self.guidance: Guidance = guidance
        self.project_twice = project_twice
        width = channels + (content_dim if guidance == "concat" else 0)
        self.to_key = operations.Conv2d(width, channels, 1)
        self.to_query = None if tied else operations.Conv2d(width, channels, 1)
        self.fuse = operations.Conv2d(2 * channels, channels, 1, bias=False)
        if guidance == "cosine":
            self.scale_e = nn.Parameter(torch.tensor(10.0))
            self.scale_c = nn.Parameter(torch.tensor(10.0))

    def keys(self, e: Tensor, content: Tensor | None) -> Tensor:
        """What the cells of a picture offer: e (B, C, h, w), c (B, D, g, g) -> (B, N, D'), of unit length."""
        return self._project(self.to_key, e, content)

    def queries(self, e: Tensor, content: Tensor | None, keys: Tensor) -> Tensor:
        """What the cells of the composite ask for, with the logits' scales in it. `keys` are its own."""
        if self.to_query is not None:
            found = self._project(self.to_query, e, content)
        elif self.project_twice:  # the public code does, and section 4's operation counts hold it
            found = self._project(self.to_key, e, content)
        else:
            found = keys
        if self.guidance != "cosine":
            return _SHARPNESS * found
        channels = e.shape[1]
        scales = (widen(self.scale_e).to(found), widen(self.scale_c).to(found))
        return torch.cat((scales[0] * found[..., :channels], scales[1] * found[..., channels:]), 2)

    def _project(self, layer: nn.Module, e: Tensor, content: Tensor | None) -> Tensor:
        if self.guidance == "none":
            return unit(widen(cells(layer(e))))
        if content is None:
            raise ValueError(
                f"this network's attention is guided by '{self.guidance}': it needs content features"
            )
        c = bilinear(widen(content), (e.shape[-2], e.shape[-1]))
        if self.guidance == "concat":  # eq. 8; c as the encoder gives it
            return unit(widen(cells(layer(torch.cat((e, c.to(e.dtype)), 1)))))
        return torch.cat((unit(widen(cells(layer(e)))), unit(cells(c).to(widen(e).dtype))), 2)

    def forward(
        self,
        e: Tensor,
        foreground: Tensor,
        content: Tensor | None,
        reference_keys: Tensor | None = None,
        reference_values: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Replace the object's cells by eq. 10; background cells pass unchanged.

        Args:
            e: (B, C, h, w); foreground: (B, N) bool; content: (B, D, g, g).
            reference_keys: (B, S', D') from `keys`; reference_values: (B, S', C), the references' raw e.
            present: (B, S') bool, false for padding.
        Returns: (B, C, h, w).
        """
        own_keys = self.keys(e, content)
        query = self.queries(e, content, own_keys)
        key, value, allowed = own_keys, widen(cells(e)), ~foreground
        if reference_keys is not None and reference_values is not None and present is not None:
            key = torch.cat((key, reference_keys), 1)  # eq. 7
            value = torch.cat((value, widen(reference_values)), 1)
            allowed = torch.cat((allowed, present), 1)
        with without_autocast(e):  # logits of 20 in half precision lose the order of keys
            read = attend(query, key, value, allowed)  # eq. 9: values are raw, unprojected, without c
        read = rearrange(read, "b (h w) c -> b c h w", h=e.shape[-2]).to(e.dtype)
        fused = self.fuse(torch.cat((read, e), 1))  # eq. 10
        return torch.where(foreground.unflatten(1, e.shape[-2:])[:, None], fused.to(e.dtype), e)


def cells(x: Tensor) -> Tensor:
    """A map as a row of cells: (B, C, h, w) -> (B, h*w, C), row-major."""
    return rearrange(x, "b c h w -> b (h w) c")
