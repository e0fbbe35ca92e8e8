"""A few int8 numbers per patch, from which no cosine of eq. 3 or 5 can be larger than it seems.

With W orthonormal, a = q W and b = x W, the cosine is q.x = a.b. The first H columns of b are stored as
whole numbers n with b_k = n_k / s_k + r_k, the rest in blocks t of which only the lengths |b_t| are stored,
and so is e = |r|. By Cauchy and Schwarz, for every q and x,

    q.x = sum_k a_k n_k / s_k + a_H.r + sum_t a_t.b_t  <=  sum_k a_k n_k / s_k + |a_H| e + sum_t |a_t| |b_t|.

Lengths and e are stored rounded up, so the right side only grows; it is one product of the stored numbers
with a column made from q. Any W keeps the bound; one that gathers the energy in front makes it tight.
`SLACK` is larger than all that float64 loses on the way and than a W that is orthonormal to within
`DEFECT` may add; `rounding` is what the float32 product itself may lose, and `WholeQuery` carries what is
lost where the column is rounded to whole numbers.

Shapes: n photos of P patches, D content numbers, m patches of a query, K stored numbers per patch.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

_HEAD = 91  # H; with 4 tail lengths and 1 error these are 96 numbers
TAILS = 4
LONGEST_VECTOR = 1.02  # of a stored vector; a longer one was never normalised, and its photo is scanned
DEFECT = 1e-9  # of the rotation from an orthonormal one, any entry
SLACK = 1e-6
_ROOM = 1.5  # photos that come later may have larger numbers than those of the first build
_ERRORS = 24  # the largest error that a stored number can tell, in units of the usual one
_LEAST = 0.3  # of what the widest column can tell
_WHOLE = 32767  # of int16; products with 127 of up to 500 numbers stay within int32


@dataclass(frozen=True)
class Rotation:
    """What all indexes of a gallery share: fixed at its first build, because any rotation is right."""

    basis: Tensor  # (D, D) float64, orthonormal, columns by falling energy
    scale: Tensor  # (H,) float64, s

    def __post_init__(self) -> None:
        if self.basis.ndim != 2 or self.basis.shape[0] != self.basis.shape[1]:
            raise ValueError(f"a rotation is square, got {tuple(self.basis.shape)}")
        if self.scale.shape != (self.head,):
            raise ValueError(f"a rotation of {self.dim} has {self.head} scales, got {len(self.scale)}")
        defect = (self.basis.T @ self.basis - torch.eye(self.dim, dtype=torch.float64)).abs().amax().item()
        if not defect <= DEFECT or not bool(((self.scale > 0) & self.scale.isfinite()).all()):
            raise ValueError(f"no rotation: off by {defect:g}, scales {self.scale.tolist()!r:.80}")

    @property
    def dim(self) -> int:
        return len(self.basis)

    @property
    def head(self) -> int:
        return min(_HEAD, self.dim)

    @cached_property
    def tails(self) -> tuple[slice, ...]:
        """Blocks of the columns behind the head, growing by a constant factor."""
        head, dim = self.head, self.dim
        edges = sorted({round(head * (dim / head) ** (step / TAILS)) for step in range(TAILS + 1)})
        return tuple(slice(first, last) for first, last in pairwise(edges))

    @property
    def columns(self) -> int:
        """K."""
        return self.head + len(self.tails) + 1

    @property
    def most_error(self) -> float:
        return _ERRORS * (self.scale.reciprocal().square().sum().item() / 12) ** 0.5

    @cached_property
    def digest(self) -> str:
        parts = [part.contiguous().numpy().tobytes() for part in (self.basis, self.scale)]
        return hashlib.sha256(b"".join(parts)).hexdigest()


def fit_rotation(content: Tensor) -> Rotation:
    """The rotation that gathers most of the energy of some photos (n, P, D) float16 in front."""
    flat = content.reshape(-1, content.shape[-1]).double().nan_to_num(0, 0, 0)
    _, vectors = torch.linalg.eigh(flat.T @ flat)
    basis = vectors.flip(1).contiguous()
    head = (flat @ basis[:, :_HEAD]).abs()
    largest = head.amax(0) if len(flat) else torch.zeros(min(_HEAD, len(basis)), dtype=torch.float64)
    widest = max(largest.amax().item(), _LEAST)
    # a column that was hardly used may be used by a later photo
    return Rotation(basis, 127 / (_ROOM * largest).clamp(_LEAST * widest, LONGEST_VECTOR))


def encode_photos(rotation: Rotation, content: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers of photos (n, P, D) float16. Returns: (n, P, K) int8, and (n,) bool: whom they cover.

    A photo is not covered where a vector is not finite, too long, or too far from what int8 can tell.
    """
    rotated = content.double() @ rotation.basis
    head = rotated[..., : rotation.head]
    whole = (head * rotation.scale).round().clamp(-127, 127)
    error = (head - whole / rotation.scale).norm(dim=-1) * (127 / rotation.most_error)
    lengths = [rotated[..., tail].norm(dim=-1) * (127 / LONGEST_VECTOR) for tail in rotation.tails]
    up = torch.stack([*lengths, error], -1).ceil()
    covered = (rotated.norm(dim=-1) <= LONGEST_VECTOR) & (up <= 127).all(-1) & torch.isfinite(rotated).all(-1)
    numbers = torch.cat([whole, up], -1).nan_to_num(0, 0, 0).clamp(-127, 127)
    return numbers.to(torch.int8), covered.all(1)


def query_columns(rotation: Rotation, content: Tensor) -> Tensor:
    """(m, D) float16 -> (K, m) float64, whose product with stored numbers is the bound.

    Rounded to float32, the product loses what `rounding` says; to whole numbers, what `WholeQuery` says.
    """
    rotated = content.double() @ rotation.basis
    head = rotated[:, : rotation.head]
    lengths = [rotated[:, tail].norm(dim=1) * (LONGEST_VECTOR / 127) for tail in rotation.tails]
    error = head.norm(dim=1) * (rotation.most_error / 127)
    return torch.cat([head.T / rotation.scale[:, None], torch.stack([*lengths, error])])


@dataclass(frozen=True, slots=True)
class WholeQuery:
    """The columns in whole numbers: `score` = their product with stored numbers, exactly.

    A column times f, rounded, is off by d_k per number, and no stored number exceeds 127: hence
    bound <= (score + 127 sum_k |d_k|) / f.
    """

    numbers: Tensor  # (m, K) int16
    least: Tensor  # (m,) int32: a pair whose score is below cannot reach the threshold
    unit: Tensor  # (m,) float64: bound <= score * unit + slack
    slack: Tensor  # (m,) float64


def whole_query(columns: Tensor, threshold: float) -> WholeQuery:
    """(K, m) float64 columns -> whole numbers for products in int32."""
    columns = columns.T.contiguous()
    factor = _WHOLE / columns.abs().amax(1).clamp_min(1e-30)
    scaled = columns * factor[:, None]
    whole = scaled.round()
    lost = 127 * (scaled - whole).abs().sum(1)
    least = (factor * (threshold - SLACK) - lost).floor() - 1
    limits = torch.iinfo(torch.int32)
    return WholeQuery(
        whole.to(torch.int16),
        least.clamp(limits.min, limits.max).to(torch.int32),  # no score is as large as the latter
        factor.reciprocal(),
        lost / factor + SLACK,
    )


def rounding(rotation: Rotation) -> float:
    """How far a float32 product of a stored row and a query's column may lie below the bound.

    The absolute products add up to less than |a_H| (|b_H| + e) + |a_H| e' + sum |a_t| |b_t|', where
    a dash marks a number rounded up: below 3 + 2 `most_error`, as no vector is longer than 1.02.
    """
    mass = 3 + 3 * rotation.most_error + 0.02 * len(rotation.tails)
    unit = (rotation.columns + 2) * 2.0**-24
    # The "medium" setting allows bfloat16 inputs: 2^-8 relative to each factor.
    coarse = 2.0**-7 + 2.0**-15 if torch.get_float32_matmul_precision() == "medium" else 0.0
    return SLACK + mass * (unit / (1 - unit) + coarse)
