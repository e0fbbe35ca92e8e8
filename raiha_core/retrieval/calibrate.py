"""Thresholds for a feature space on a gallery: how alike unrelated photos are there (eq. 3).

A threshold belongs to a space and to the number of patches compared, so the paper's 0.7 means nothing
for another encoder. Foregrounds of some photos are compared with other photos of the gallery; what their
best cosines exceed in 1, 5 or 20 % of the cases are the thresholds at these false-positive rates.
Shapes: Q queries, M photos compared, F foreground patches of all queries, P patches per photo, D numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from ..features.spec import FeatureSpec
from ..gallery.protocol import Gallery
from ..masks import foreground_patches

RATES = (0.01, 0.05, 0.20)
DEFAULT_RATE = 0.05  # whose threshold a gallery then uses
_FEWEST_PHOTOS = 20  # below, 1 % of the pairs is no number
_ENOUGH_QUERIES, _ENOUGH_PHOTOS = 200, 500
_BOX_SIDES = (0.25, 0.65)  # of the photo's; in the median about a fifth of its area, as real masks have
_BLOCK = 16  # photos per matrix product, at most
_SCORES = 2**24  # of one matrix product, at most (64 MB), unless a single photo has more
_RESAMPLES = 200  # of the bootstrap
_INTERVAL = (0.05, 0.95)
_COPY = 0.999  # best cosine of one picture saved under two names, within float16; unrelated photos stay below


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """The threshold at one false-positive rate, and what a search with it finds in this gallery."""

    false_positive_rate: float
    threshold: float
    low: float  # 90 % bootstrap interval over queries, because the pairs of one query are not independent
    high: float
    qualifying_median: float  # photos of the gallery per query, own photo and group left out
    qualifying_p10: float
    qualifying_p90: float
    empty: float  # share of queries that find nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What `calibrate` measured, with everything that it depends on."""

    spec: FeatureSpec
    gallery: str  # fingerprint
    photos: int
    seed: int
    queries: int
    compared: int  # photos that each query was compared with, at most
    foregrounds: str  # "masks" or "boxes"
    levels: tuple[Level, ...]
    default_rate: float
    copies: int  # pairs left out, because they are nearly the same picture

    @property
    def default(self) -> Level:
        """The level whose threshold a gallery uses."""
        return next(v for v in self.levels if v.false_positive_rate == self.default_rate)

    def to_json(self) -> dict[str, object]:
        """Everything, with the three values that a store reads back as its thresholds."""
        return {
            "content_threshold": self.default.threshold,
            "appearance_threshold": self.spec.appearance_threshold,
            "threshold_source": self.source(),
            "spec": self.spec.to_json(),
            "gallery": self.gallery,
            "photos": self.photos,
            "seed": self.seed,
            "queries": self.queries,
            "compared": self.compared,
            "foregrounds": self.foregrounds,
            "copies": self.copies,
            "levels": [asdict(level) for level in self.levels],
            "report": self.report(),
        }

    def source(self) -> str:
        """One line for the spec."""
        return (
            f"calibrated: {100 * self.default_rate:g} % of other photos pass ({self.queries} queries, "
            f"{self.compared} of {self.photos} photos, seed {self.seed})"
        )

    def report(self) -> str:
        """For people: the levels, and how far they may be trusted."""
        lines = [f"{self.spec.name}: {self.queries} queries ({self.foregrounds}) on {self.photos} photos"]
        for v in self.levels:
            lines.append(
                f"  {100 * v.false_positive_rate:g} % of other photos pass at {v.threshold:.3f} "
                f"(90 % interval {v.low:.3f}-{v.high:.3f}); a search finds {v.qualifying_median:.0f} photos "
                f"in the median ({v.qualifying_p10:.0f}-{v.qualifying_p90:.0f}), "
                f"and nothing in {100 * v.empty:.0f} % of the cases"
            )
        lines.append(
            "  'Other photo' stands for 'unrelated photo': true matches among them count as false, so the "
            "real rates are lower than these, and the thresholds rather too high."
        )
        if self.copies:
            lines.append(
                f"  {self.copies} pairs of nearly the same picture (cosine >= {_COPY:g}) were left out."
            )
        if self.foregrounds == "boxes":
            lines.append("  No masks were given: boxes in the middle of photos stood in for objects.")
        if self.compared < self.photos:
            lines.append(
                f"  Counts are scaled up from {self.compared} photos drawn at random; 'nothing' is in these."
            )
        if self.queries < _ENOUGH_QUERIES or self.compared < _ENOUGH_PHOTOS:
            lines.append(
                f"  Fewer than {_ENOUGH_QUERIES} queries or {_ENOUGH_PHOTOS} photos: a rough guide only."
            )
        return "\n".join(lines)


def calibrate(
    gallery: Gallery,
    *,
    masks: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    queries: int = 200,
    photos: int | None = 2000,
    false_positive_rates: Sequence[float] = RATES,
    default_rate: float = DEFAULT_RATE,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Measure the content threshold at each false-positive rate, from the gallery's own features.

    Args:
        masks: foregrounds by photo id, each (1, 1, H, W) in 0..1; None takes boxes in the middle.
        seed: of the draw of queries, boxes and photos, and of the bootstrap.
        queries: at most this many photos are queries.
        photos: at most this many are compared with (None: all); fewer are faster, 2,000 take half a minute.
        false_positive_rates: each in (0, 1); default_rate is one of them.
        progress: called with photos compared so far and their number.
    Raises: ValueError for a gallery that is too small or all of one group, or for bad rates.
    """
    if default_rate not in false_positive_rates or not all(0 < f < 1 for f in false_positive_rates):
        raise ValueError(
            f"rates must lie in (0, 1) and hold {default_rate}, got {tuple(false_positive_rates)}"
        )
    if queries < 1 or (photos is not None and photos < 1):
        raise ValueError(f"queries and photos must be at least 1, got {queries} and {photos}")
    if len(gallery) < _FEWEST_PHOTOS:
        raise ValueError(
            f"gallery '{gallery.name}' has {len(gallery)} photos; at least {_FEWEST_PHOTOS} are needed"
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    query_rows, chosen = _draw_queries(gallery, masks, queries, generator)
    count = len(gallery) if photos is None else min(photos, len(gallery))
    rows = np.sort(generator.choice(len(gallery), count, replace=False))
    best = _best_cosines(gallery, query_rows, chosen, rows, progress)
    best[_related(gallery, query_rows, rows)] = np.nan
    copies = int((best >= _COPY).sum())
    best[best >= _COPY] = np.nan
    levels = _levels(best, len(gallery), sorted(false_positive_rates), generator)
    return Calibration(
        spec=gallery.spec,
        gallery=gallery.fingerprint,
        photos=len(gallery),
        seed=seed,
        queries=len(query_rows),
        compared=count,
        foregrounds="boxes" if masks is None else "masks",
        levels=levels,
        default_rate=default_rate,
        copies=copies,
    )


def _draw_queries(
    gallery: Gallery, masks: Mapping[str, Tensor] | None, queries: int, generator: np.random.Generator
) -> tuple[list[int], Tensor]:
    """Rows of the query photos, rising, and their foreground patches (Q, P) bool."""
    grid = gallery.spec.grid
    known = [r for r, photo in enumerate(gallery.photos) if masks is None or photo.id in masks]
    drawn = sorted(generator.choice(known, min(queries, len(known)), replace=False).tolist()) if known else []
    rows, foregrounds = [], []
    for row in drawn:
        mask = _middle_box(generator) if masks is None else masks[gallery.photos[row].id]
        patches = foreground_patches(mask, grid)[0]
        if patches.any():
            rows.append(row)
            foregrounds.append(patches)
    if not rows:
        raise ValueError(
            f"none of the masks belongs to a photo of gallery '{gallery.name}', or all are empty"
        )
    return rows, torch.stack(foregrounds)


def _middle_box(generator: np.random.Generator) -> Tensor:
    """A mask (1, 1, 96, 96) with a box of random sides around its middle, as objects mostly lie."""
    size = 96
    low, high = _BOX_SIDES
    height, width = (max(1, round(size * side)) for side in generator.uniform(low, high, 2))
    top, left = (size - height) // 2, (size - width) // 2
    mask = torch.zeros(1, 1, size, size)
    mask[..., top : top + height, left : left + width] = 1
    return mask


def _best_cosines(
    gallery: Gallery,
    query_rows: list[int],
    chosen: Tensor,
    rows: np.ndarray,
    progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    """(Q, M): for each query and photo the largest cosine of a foreground patch with any patch."""
    parts = [
        gallery.gather([row]).content[0].to(torch.float32)[mask]
        for row, mask in zip(query_rows, chosen, strict=True)
    ]
    patches = torch.cat(parts)  # (F, D)
    lengths = [len(part) for part in parts]
    best = torch.empty(len(parts), len(rows))
    step = max(1, min(_BLOCK, _SCORES // (len(patches) * gallery.spec.patches)))
    for start in range(0, len(rows), step):
        block = gallery.gather(rows[start : start + step].tolist()).content.to(torch.float32)  # (n, P, D)
        scores = (patches @ block.flatten(0, 1).T).unflatten(1, block.shape[:2]).amax(2)  # (F, n)
        best[:, start : start + step] = torch.stack([own.amax(0) for own in scores.split(lengths)])
        if progress is not None:
            progress(min(start + step, len(rows)), len(rows))
    return best.numpy().astype(np.float64)


def _related(gallery: Gallery, query_rows: list[int], rows: np.ndarray) -> np.ndarray:
    """(Q, M) bool: pairs of the same photo, the same bytes or the same group."""
    own, others = ([gallery.photos[r] for r in side] for side in (query_rows, rows.tolist()))
    hashes, groups = (np.array([getattr(p, name) for p in others]) for name in ("sha256", "group"))
    return np.stack([(hashes == p.sha256) | ((groups == p.group) & (p.group != "")) for p in own])


def _levels(
    best: np.ndarray, photos: int, rates: Sequence[float], generator: np.random.Generator
) -> tuple[Level, ...]:
    compared = np.isfinite(best).sum(1)
    best, compared = best[compared > 0], compared[compared > 0]
    if not len(best):
        raise ValueError("all photos of the gallery belong to one group: there is nothing to compare with")
    draws = [
        _thresholds(best[generator.integers(len(best), size=len(best))], rates) for _ in range(_RESAMPLES)
    ]
    lows, highs = np.quantile(np.stack(draws), _INTERVAL, axis=0)
    levels = []
    for rate, t, low, high in zip(rates, _thresholds(best, rates), lows, highs, strict=True):
        if t <= 0:
            raise ValueError(f"at a rate of {rate} the threshold would be {t:.3f}, which is not above 0")
        hits = (best >= t).sum(1)
        # As many photos as a search could find: all but the query's own, if only some were compared.
        median, p10, p90 = np.quantile(hits / compared * (photos - 1), (0.5, 0.1, 0.9))
        levels.append(
            Level(
                false_positive_rate=float(rate),
                threshold=float(min(t, 1.0)),  # a duplicate may exceed 1 by its rounding to float16
                low=float(low),
                high=float(high),
                qualifying_median=float(median),
                qualifying_p10=float(p10),
                qualifying_p90=float(p90),
                empty=float((hits == 0).mean()),
            )
        )
    return tuple(levels)


def _thresholds(best: np.ndarray, rates: Sequence[float]) -> np.ndarray:
    """For each rate the observed value that this share of the pairs reaches; more do where values tie."""
    values = best[np.isfinite(best)]
    ordered = np.sort(values)
    reached = np.floor(np.asarray(rates) * len(ordered) + 1e-9).astype(int)  # pairs that may reach it
    return ordered[len(ordered) - np.maximum(reached, 1)]
