"""A few int8 numbers per patch, from which no cosine of eq. 3 or 5 can be larger than it seems.

With W orthonormal, a = q W and b = x W, the cosine is q.x = a.b. The first H columns of b are stored as
whole numbers n with b_H = n / s + r, the rest in blocks t of which only the lengths |b_t| are stored,
and so is e = |r|. By Cauchy and Schwarz, for every q and x,

    q.x = a_H.n / s + a_H.r + sum_t a_t.b_t  <=  a_H.n / s + |a_H| e + sum_t |a_t| |b_t|.

Lengths and e are stored rounded up, so the right side only grows; it is one product of the stored numbers
with a column made from q. Any W keeps the bound; one that gathers the energy in front makes it tight.
`SLACK` is larger than all that float64 loses on the way and than a W that is orthonormal to within
`DEFECT` may add; `rounding` is what the float32 product itself may lose.

Shapes: n photos of P patches, D content numbers, m patches of a query, K stored numbers per patch.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

HEAD = 59  # H; with 4 tail lengths and 1 error these are 64 numbers
TAILS = 4
LONGEST = 1.02  # of a stored vector; a longer one was never normalised, and its photo is scanned
DEFECT = 1e-9  # of the rotation from an orthonormal one, any entry
SLACK = 1e-6
_ROOM = 1.25  # photos that come later may have larger numbers than those of the first build
_ERRORS = 4  # the largest error that a stored number can tell, in units of the usual one


@dataclass(frozen=True)
class Rotation:
    """What all indexes of a gallery share: fixed at its first build, because any rotation is right."""

    basis: Tensor  # (D, D) float64, orthonormal, columns by falling energy
    scale: float  # s

    def __post_init__(self) -> None:
        if self.basis.ndim != 2 or self.basis.shape[0] != self.basis.shape[1]:
            raise ValueError(f"a rotation is square, got {tuple(self.basis.shape)}")
        defect = (self.basis.T @ self.basis - torch.eye(self.dim, dtype=torch.float64)).abs().amax().item()
        if not defect <= DEFECT or not 0 < self.scale < float("inf"):
            raise ValueError(f"no rotation: off by {defect:g}, scale {self.scale:g}")

    @property
    def dim(self) -> int:
        return len(self.basis)

    @property
    def head(self) -> int:
        return min(HEAD, self.dim)

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
        return _ERRORS * (self.head / 12) ** 0.5 / self.scale

    @cached_property
    def digest(self) -> str:
        numbers = self.basis.contiguous().numpy().tobytes()
        return hashlib.sha256(numbers + repr(self.scale).encode()).hexdigest()


def fit_rotation(content: Tensor) -> Rotation:
    """The rotation that gathers most of the energy of some photos (n, P, D) float16 in front."""
    flat = content.reshape(-1, content.shape[-1]).double().nan_to_num(0, 0, 0)
    _, vectors = torch.linalg.eigh(flat.T @ flat)
    basis = vectors.flip(1).contiguous()
    largest = (flat @ basis[:, :HEAD]).abs().amax().item() if len(flat) else 0.0
    return Rotation(basis, 127 / (min(_ROOM * largest, LONGEST) or 1.0))


def encode_photos(rotation: Rotation, content: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers of photos (n, P, D) float16. Returns: (n, P, K) int8, and (n,) bool: whom they cover.

    A photo is not covered where a vector is not finite, too long, or too far from what int8 can tell.
    """
    rotated = content.double() @ rotation.basis
    head = rotated[..., : rotation.head]
    whole = (head * rotation.scale).round().clamp(-127, 127)
    error = (head - whole / rotation.scale).norm(dim=-1) * (127 / rotation.most_error)
    lengths = [rotated[..., tail].norm(dim=-1) * (127 / LONGEST) for tail in rotation.tails]
    up = torch.stack([*lengths, error], -1).ceil()
    covered = (rotated.norm(dim=-1) <= LONGEST) & (up <= 127).all(-1) & torch.isfinite(rotated).all(-1)
    numbers = torch.cat([whole, up], -1).nan_to_num(0, 0, 0).clamp(-127, 127)
    return numbers.to(torch.int8), covered.all(1)


def encode_query(rotation: Rotation, content: Tensor) -> Tensor:
    """(m, D) float16 -> (K, m) float32, whose product with stored numbers is the bound."""
    rotated = content.double() @ rotation.basis
    head = rotated[:, : rotation.head]
    lengths = [rotated[:, tail].norm(dim=1) * (LONGEST / 127) for tail in rotation.tails]
    error = head.norm(dim=1) * (rotation.most_error / 127)
    return torch.cat([head.T / rotation.scale, torch.stack([*lengths, error])]).float().contiguous()


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
