"""Eqs. 3 and 5 for a block of photos at once, with the same answer as `oracle.py`, bit for bit.

The matrix product in float32 decides every pair whose score is clearly on one side of the threshold;
the few others are computed again in float64. Why that is exact:
- A product of two float16 numbers is a multiple of 2^-48. Sums of such products below 32 therefore fit
  into float64's 53 bits: a float64 dot product of vectors no longer than 4 is exact, in any order.
- A float32 dot product of D numbers, in any order, errs by at most g |q||x|, g = D u / (1 - D u),
  u = 2^-24. Outside threshold +- band(D) >= 2 g (1.01)^2 the float32 score decides.
- Histograms are whole numbers: a tie is settled in whole numbers.

Shapes: n photos of P patches, D content numbers, K bins, m patches of a query.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

UNIT = 2.0**-24  # rounding error of float32
PAIRS_AT_ONCE = 1 << 13  # bounds the memory of a re-check where a whole gallery sits on the threshold
APPEARANCE_BAND = 1e-4  # float32 cosine of K <= 800 normalised histogram numbers errs by less
TIE = 1e-12  # float64 cosine of whole numbers errs by less than 1e-15


@dataclass(frozen=True, slots=True)
class Vectors:
    """Stored vectors twice: as they are, and in float32 for the fast products."""

    exact: Tensor  # (m, D) float16
    fast: Tensor  # (m, D) float32, the same numbers

    def __len__(self) -> int:
        return len(self.exact)

    @property
    def band(self) -> float:
        return band(self.exact.shape[1], self.exact.device)


def vectors(stored: Tensor, room: Tensor | None = None) -> Vectors:
    """(..., D) float16 -> (m, D) twice; `room` is a float32 buffer of at least m rows to use again."""
    flat = stored.reshape(-1, stored.shape[-1])
    return Vectors(flat, flat.float() if room is None else room[: len(flat)].copy_(flat))


def band(dim: int, device: torch.device) -> float:
    """Half width of the zone around a threshold in which a float32 matrix product does not decide.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1; the factor 2 covers
    vectors slightly longer than 1 and the rounding of the threshold itself to float32.
    """
    error = 2 * dim * UNIT / (1 - dim * UNIT)
    # Tensor cores (TF32) keep float16 inputs exactly but cut each partial sum instead of rounding it.
    error *= 4 if device.type == "cuda" else 1
    # The "medium" setting allows bfloat16 inputs: 2^-8 relative to each factor.
    return error + (2.0**-7 + 2.0**-15 if torch.get_float32_matmul_precision() == "medium" else 0)


@dataclass(frozen=True, slots=True)
class Similarities:
    """Cosines of m query patches with all patches of n photos."""

    query: Vectors  # m
    photos: Vectors  # n * P, photo after photo
    scores: Tensor  # (m, n, P) float32, good to `band`
    best: np.ndarray  # (m, n): the largest over a photo's patches

    def partners(self, threshold: float) -> np.ndarray:
        """Which query patches have a partner, some patch at >= threshold, in which photo: (m, n) bool."""
        found = self.best >= threshold
        for i, r in np.argwhere(np.abs(self.best - threshold) <= self.query.band):
            cosines = self._of(r).double() @ self.query.exact[i].double()
            found[i, r] = cosines.amax().item() >= threshold
        return found

    def best_content(self, objects: slice, chosen: np.ndarray) -> np.ndarray:
        """Eq. 3's best cosine, exactly: of the query patches `objects` with each of the photos `chosen`.

        The true best pair lies within one band of its float32 score, and so does the one that seems best.
        """
        best = self.best[objects][:, chosen]
        least = best.max(0) - 2 * self.query.band
        found = np.full(len(chosen), -np.inf)
        i, k = np.nonzero(best >= least)
        device = self.scores.device
        pairs = torch.from_numpy(i + objects.start).to(device), torch.from_numpy(chosen[k]).to(device)
        close = self.scores[pairs] >= torch.from_numpy(least[k]).to(device)[:, None]  # (pairs, P)
        patches = close.shape[1]
        for part in close.nonzero().split(PAIRS_AT_ONCE):
            pair, j = part.unbind(1)
            first = self.query.exact[pairs[0][pair]].double()
            second = self.photos.exact[pairs[1][pair] * patches + j].double()
            np.maximum.at(found, k[pair.cpu().numpy()], (first * second).sum(1).cpu().numpy())
        return found

    def _of(self, photo: int) -> Tensor:
        patches = self.scores.shape[2]
        return self.photos.exact[photo * patches : (photo + 1) * patches]


def similarities(query: Vectors, photos: Vectors, patches: int) -> Similarities:
    """Compare m query vectors with n * patches vectors. Raises: ValueError where the photos hold NaN."""
    scores = (query.fast @ photos.fast.T).view(len(query), -1, patches)
    # From here on a few numbers per photo: numpy has a tenth of torch's cost per call.
    best = scores.amax(2).cpu().numpy()
    if not np.isfinite(best).all():
        raise ValueError("the stored features hold NaN or infinite values")
    return Similarities(query, photos, scores, best)


def content_cosines(query: Tensor, photos: Tensor) -> Tensor:
    """Exact cosines of all pairs: (m, D) and (n, P, D) float16 -> (n, m, P) float64."""
    return query.double() @ photos.double().transpose(1, 2)


def _root(squares: Tensor) -> Tensor:
    """Correctly rounded square roots of float64 numbers, at least 1.

    torch's own on the CPU may be one unit off, and differently so at the end of a block.
    """
    return torch.from_numpy(np.sqrt(squares.cpu().numpy())).to(squares.device).clamp_min(1)


def appearance_cosines(query: Tensor, photos: Tensor) -> Tensor:
    """Cosines of all pairs of histograms: (m, K) and (n, P, K) uint8 -> (n, m, P) float64.

    0 where a histogram is empty. Each is the correctly rounded quotient of whole numbers and a root.
    """
    first, second = query.double(), photos.double()
    squares = first.square().sum(1)[:, None] * second.square().sum(2)[:, None, :]
    return (first @ second.transpose(1, 2)) / _root(squares)


def settle_ties(reaches: Tensor, cosine: Tensor, first: Tensor, second: Tensor, threshold: float) -> Tensor:
    """Decide the pairs whose cosine float64 cannot tell from the threshold.

    Args: reaches: (M,) bool, changed in place; cosine: (M,) float64; first, second: (M, K) uint8.
    """
    for pair in ((cosine - threshold).abs() <= TIE).nonzero()[:, 0].tolist():
        a, b = first[pair].double(), second[pair].double()
        dot, squares = int((a @ b).item()), int((a @ a).item()) * int((b @ b).item())
        reaches[pair] = dot > 0 and dot * dot >= Fraction(threshold) ** 2 * squares
    return reaches


def appearance_of_pairs(first: Tensor, second: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """(M, K) and (M, K) uint8 -> cosine (M,) float64 and whether it reaches the threshold (M,) bool."""
    a, b = first.double(), second.double()
    squares = a.square().sum(1) * b.square().sum(1)
    cosine = (a * b).sum(1) / _root(squares)
    return cosine, settle_ties(cosine >= threshold, cosine, first, second, threshold)


def raise_light(
    best: Tensor,
    photo: Tensor,
    similar: Tensor,
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    threshold: float,
) -> None:
    """Raise the best appearance cosine of photos by pairs of histograms whose content reaches.

    The best pair of a photo is among those whose float32 cosine is nearly the largest: only these are
    computed exactly.

    Args: best: (n,) float64, changed in place; photo, similar: (M,) int64 and float32 cosines, good to
        `APPEARANCE_BAND`; first, second: histograms (any, K) uint8, and which of them, (M,).
    """
    most = torch.full(best.shape, -torch.inf, device=best.device).scatter_reduce_(0, photo, similar, "amax")
    near = (similar >= (most - 2 * APPEARANCE_BAND)[photo]).nonzero()[:, 0]
    for part in near.split(PAIRS_AT_ONCE):
        cosine, reaches = appearance_of_pairs(first[0][first[1][part]], second[0][second[1][part]], threshold)
        best.scatter_reduce_(0, photo[part][reaches], cosine[reaches], "amax")


def direction(histogram: Tensor) -> Tensor:
    """Histograms (..., K) uint8 -> float32, of length 1 where they are not empty."""
    wide = histogram.float()
    return wide / wide.norm(dim=-1, keepdim=True).clamp_min(1)


def illumination(
    content: Vectors,
    histogram: Tensor,
    photos: Vectors,
    photo_histograms: Tensor,
    patches: int,
    content_threshold: float,
    appearance_threshold: float,
) -> np.ndarray:
    """Eq. 5: the best appearance cosine among the pairs that reach both thresholds.

    Args:
        content: m vectors, and histogram: (m, K) uint8, of the query's background.
        photos: n * patches vectors, photo after photo. photo_histograms: (n * patches, K) uint8.
    Returns: (n,) float64, NaN for a photo without such a pair.
    """
    n, device = len(photos) // patches, photos.exact.device
    best = torch.full((n,), -torch.inf, dtype=torch.float64, device=device)
    if not len(content) or not n:
        return best.fill_(torch.nan).cpu().numpy()
    score = content.fast @ photos.fast.T  # (m, n * P)
    margin = content.band
    likely = score >= content_threshold - margin
    # Few photos hold a pair of similar content: the histograms of the others are not looked at.
    open_photos = likely.view(len(content), n, patches).any(2).any(0).nonzero()[:, 0]
    columns = (open_photos[:, None] * patches + torch.arange(patches, device=device)).flatten()
    similar = direction(histogram) @ direction(photo_histograms[columns]).T
    pairs = (likely[:, columns] & (similar >= appearance_threshold - APPEARANCE_BAND)).nonzero()
    for chunk in pairs.split(16 * PAIRS_AT_ONCE):
        i, j = chunk[:, 0], columns[chunk[:, 1]]
        alike = similar[i, chunk[:, 1]]
        unsure = (score[i, j] < content_threshold + margin).nonzero()[:, 0]
        good = torch.ones(len(i), dtype=torch.bool, device=device)
        exact = (content.exact[i[unsure]].double() * photos.exact[j[unsure]].double()).sum(1)
        good[unsure] = exact >= content_threshold
        i, j, alike = i[good], j[good], alike[good]
        raise_light(best, j // patches, alike, (histogram, i), (photo_histograms, j), appearance_threshold)
    return best.masked_fill_(best == -torch.inf, torch.nan).cpu().numpy()
