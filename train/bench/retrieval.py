"""Seconds per query of the exact search, beside a brute force of the same features in the same run.

    python train/bench/retrieval.py STORE [--masks FOLDER] [--sizes 1000 10000] [--queries 8]

STORE is a gallery of real photos: speed depends on how features spread, so random vectors show nothing.
Queries are photos of the store with their masks (FOLDER/STEM.png), or with a box in the middle where there
is none; a query's own photo and its group are excluded. Where the store holds fewer photos than asked for,
it is repeated with noise, and the table says so.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from raiha_core.durable import write_text
from raiha_core.features.encoders import STRICT_THRESHOLDS
from raiha_core.features.patches import StoredPatches, normalise
from raiha_core.gallery.manifest import Photo
from raiha_core.gallery.memory import MemoryGallery
from raiha_core.gallery.protocol import Gallery
from raiha_core.gallery.store import open_gallery
from raiha_core.images import read_mask
from raiha_core.retrieval.request import Request
from raiha_core.retrieval.scan import scan
from raiha_core.retrieval.search import Exclusion, Query, query_from_patches, search_many

NOISE = 0.03  # per number of a unit vector with 320: cosine of about 0.88 with the original
PHOTOS_AT_ONCE = 32  # photos per step of the brute force; the fastest of 16, 32, 64, 128 here


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchTiming:
    """One line of the table; seconds are CPU seconds per query."""

    photos: int
    repeated: bool  # the gallery was filled up with noisy copies
    by: str
    threshold: float
    qualify_median: float
    brute: float  # median over queries
    search: float
    search_p90: float
    search_wall: float
    batched: float  # all queries in one pass, mean
    sets_differ: int  # queries for which the float32 brute force finds another set


def masks_of(gallery: Gallery, folder: Path | None, count: int) -> list[tuple[int, Tensor]]:
    """(row, mask) of `count` photos spread over the gallery: object masks of 1-60 % area, or a box."""
    box = torch.zeros(1, 1, 12, 12)
    box[..., 4:8, 4:8] = 1
    found = []
    step = max(1, len(gallery) // (8 * count)) if folder else max(1, len(gallery) // count)
    for row in range(0, len(gallery), step):
        path = folder / f"{Path(gallery.photos[row].id).stem}.png" if folder else None
        if path is None or path.is_file():
            mask = box if path is None else read_mask(path)
            if 0.01 <= mask.mean() <= 0.6:
                found.append((row, mask))
    return found[:: max(1, len(found) // count)][:count]


def resized(gallery: Gallery, size: int, queries: Sequence[int]) -> tuple[MemoryGallery, list[int], bool]:
    """The first photos of the gallery in memory, the queries' among them, with noisy copies to fill up.

    Returns: the gallery, the rows of the queries in it, and whether copies were needed.
    """
    others = [row for row in range(len(gallery)) if row not in set(queries)]
    rows = sorted([*queries, *others[: max(0, size - len(queries))]])
    block = gallery.gather(rows)
    content, histogram = [block.content], [block.histogram]
    photos = [gallery.photos[row] for row in rows]
    generator = torch.Generator().manual_seed(0)
    repeated = len(rows) < size
    while len(photos) < size:
        take = min(len(rows), size - len(photos))
        noise = NOISE * torch.randn(block.content[:take].shape, generator=generator)
        content.append(normalise(block.content[:take] + noise, 2).half())
        histogram.append(block.histogram[:take])
        photos += [_copy(photo, len(photos)) for photo in photos[:take]]
    patches = StoredPatches(torch.cat(content), torch.cat(histogram))
    memory = MemoryGallery(f"{size} photos", gallery.spec, photos, [], patches)
    return memory, [rows.index(row) for row in queries], repeated


def _group(photo: Photo) -> str:
    return photo.group or photo.id  # a photo and its noisy copies


def _copy(photo: Photo, number: int) -> Photo:
    values = {**asdict(photo), "id": f"~{number:07d}", "sha256": f"copy {number}", "group": _group(photo)}
    return Photo(**values)


def brute_force(gallery: Gallery, query: Query, by: str, eps_c: float, eps_a: float) -> Tensor:
    """What one would write first: every product in float32, then compare and reduce. Returns: (N,) bool."""
    objects, behind = query.content[query.foreground].float(), query.content[query.background].float()
    colours = normalise(query.histogram[query.background].float(), 1)
    found = []
    buffer = torch.empty(PHOTOS_AT_ONCE * gallery.spec.patches, gallery.spec.dim)
    for block in gallery.blocks(PHOTOS_AT_ONCE):
        shape = (-1, len(block), gallery.spec.patches)
        wide = buffer[: len(block) * gallery.spec.patches].copy_(block.content.flatten(0, 1))
        good = (objects @ wide.T).view(shape).amax(2).amax(0) >= eps_c
        if by == "both":
            light = normalise(block.histogram.flatten(0, 1).float(), 1)
            pairs = (behind @ wide.T >= eps_c) & (colours @ light.T >= eps_a)
            good &= pairs.view(shape).any(2).any(0)
        found.append(good)
    return torch.cat(found)


def _seconds(work: Callable[[], object]) -> tuple[float, float, object]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def time_searches(
    gallery: Gallery, queries: Sequence[Query], rows: Sequence[int], by: str, eps_c: float, repeated: bool
) -> SearchTiming:
    eps_a = gallery.spec.appearance_threshold
    photos = [gallery.photos[row] for row in rows]
    excluded = [Exclusion(ids=[photo.id], groups=[_group(photo)]) for photo in photos]
    options = {"by": by, "content_threshold": eps_c}
    request = Request(by=by, content_threshold=eps_c, appearance_threshold=eps_a)
    search_many(gallery, queries[:1], **options)  # warms caches and allocator
    brute, single, wall, qualify, differ = [], [], [], [], 0
    for query, exclusion in zip(queries, excluded, strict=True):
        cpu, _, plain = _seconds(lambda query=query: brute_force(gallery, query, by, eps_c, eps_a))
        brute.append(cpu)
        cpu, waited, answers = _seconds(
            lambda query=query, exclusion=exclusion: search_many(
                gallery, [query], exclude=exclusion, **options
            )
        )
        single.append(cpu)
        wall.append(waited)
        qualify.append(answers[0].qualified)
        everyone = torch.ones(1, len(gallery), dtype=torch.bool)
        truth = torch.zeros(len(gallery), dtype=torch.bool)
        truth[[hit.row for hit in scan(gallery, [query], request, everyone)[0]]] = True
        differ += not torch.equal(truth, plain)
    batched = _seconds(lambda: search_many(gallery, queries, exclude=excluded, **options))[0] / len(queries)
    return SearchTiming(
        photos=len(gallery),
        repeated=repeated,
        by=by,
        threshold=eps_c,
        qualify_median=statistics.median(qualify),
        brute=statistics.median(brute),
        search=statistics.median(single),
        search_p90=sorted(single)[int(0.9 * (len(single) - 1))],
        search_wall=statistics.median(wall),
        batched=batched,
        sets_differ=differ,
    )


def table(rows: Sequence[SearchTiming]) -> str:
    """Markdown, one line per gallery size, question and threshold."""
    lines = [
        "| photos | search | content threshold | qualify (median) | brute force s | search s (p90; wall) | "
        "speed | all queries at once, s each |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        size = f"{row.photos:,}" + (" (noisy copies)" if row.repeated else "")
        lines.append(
            f"| {size} | {row.by} | {row.threshold:g} | {row.qualify_median:g} | {row.brute:.3f} | "
            f"{row.search:.3f} ({row.search_p90:.3f}; {row.search_wall:.3f}) | "
            f"{row.brute / row.search:.1f}x | {row.batched:.3f} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> list[SearchTiming]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--masks", type=Path, help="folder with STEM.png per photo (default: a box)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    stored = open_gallery(arguments.store)
    asked = masks_of(stored, arguments.masks, arguments.queries)
    thresholds = [stored.spec.content_threshold]
    thresholds += [t for t in [STRICT_THRESHOLDS.get(stored.spec.encoder)] if t is not None]
    rows = []
    for size in arguments.sizes:
        gallery, places, repeated = resized(stored, size, [row for row, _ in asked])
        block = gallery.gather(places)
        queries = [
            query_from_patches(content, histogram, mask, gallery.spec, query_id=gallery.photos[place].id)
            for place, content, histogram, (_, mask) in zip(
                places, block.content, block.histogram, asked, strict=True
            )
        ]
        for by in ("content", "both"):
            rows += [time_searches(gallery, queries, places, by, eps, repeated) for eps in thresholds]
    patches = statistics.median(int(query.foreground.sum()) for query in queries)
    print(
        f"{stored.spec.name}, {len(asked)} queries of {patches:g} object patches (median), "
        f"{arguments.threads} thread(s), CPU seconds per query\n"
    )
    print(table(rows))
    print(
        f"\nqueries for which the float32 brute force finds another set: {sum(r.sets_differ for r in rows)}"
    )
    if arguments.out:
        write_text(arguments.out, json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return rows


if __name__ == "__main__":
    main()
