"""Seconds per query of the exact search, native and in torch, beside brute force and faiss in the same run.

Example: python train/bench/retrieval.py STORE --photos 1000 5000 --json rows.json --plot speed.png

STORE is a gallery of real photos (several may be given): speed depends on how features spread, so random
vectors show nothing. Without one, the shipped scenes are encoded. Queries are photos of the store with their
masks (--masks FOLDER with STEM.png), or with a box in the middle. Where there are too few photos, copies
moved by noise fill up, never exact duplicates. `--shares` adds rows at the thresholds which those
shares of the photos reach, and rows of random vectors: there the plan must not lose to brute force.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from raiha_core.durable import write_text
from raiha_core.features.encoders import STRICT_THRESHOLDS, build_encoder
from raiha_core.features.patches import StoredPatches, normalise
from raiha_core.gallery.bound import encode_photos, fit_rotation
from raiha_core.gallery.index import PatchIndex, ShardIndex
from raiha_core.gallery.manifest import Photo
from raiha_core.gallery.memory import MemoryGallery, memory_gallery
from raiha_core.gallery.protocol import Gallery
from raiha_core.gallery.shards import Shard
from raiha_core.gallery.store import open_gallery
from raiha_core.images import list_photos, read_mask, read_picture
from raiha_core.retrieval.bounded_torch import TorchSearch
from raiha_core.retrieval.query import Query, query_from_patches
from raiha_core.retrieval.request import Request
from raiha_core.retrieval.scan import scan
from raiha_train.evaluation.search_engines import EngineAnswer, SearchEngine, engines

_SCENES = Path(__file__).resolve().parents[2] / "assets" / "scenes" / "photos"
NOISE = 0.03  # per number of a unit vector with 320: cosine of about 0.88 with the original
_SAMPLE = 256  # photos by which the share of pruned patches is told
MOST_LEAST = 0.01  # the lowest threshold asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchTiming:
    """One line of the table."""

    engine: str
    photos: int
    real: int  # of these; the others are copies moved by noise, or random vectors
    mode: str
    threshold: float
    qualify: float  # share of the photos, mean over queries
    seconds: float  # CPU seconds per query, the best of the repeats, mean over queries
    ratio: float  # of brute force to this
    equal: bool  # the set, and where the engine ranks: scores and order, of every query
    memory: float  # MB read beside the gallery's own features
    pruned: float  # share of the patches that the bound passes over


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


def as_one(galleries: Sequence[Gallery]) -> MemoryGallery:
    """Several galleries of one space as one, in memory; of equal files the first."""
    photos, content, histogram, seen = [], [], [], set()
    for gallery in galleries:
        rows = [row for row, photo in enumerate(gallery.photos) if photo.sha256 not in seen]
        seen |= {gallery.photos[row].sha256 for row in rows}
        block = gallery.gather(rows)
        photos += [gallery.photos[row] for row in rows]
        content.append(block.content)
        histogram.append(block.histogram)
    patches = StoredPatches(torch.cat(content), torch.cat(histogram))
    return MemoryGallery("photos", galleries[0].spec, photos, [], patches)


def scenes() -> MemoryGallery:
    """The shipped photos, encoded now."""
    pictures = [read_picture(path).pixels for path in list_photos(_SCENES)]
    return memory_gallery(pictures, build_encoder("lite0"))


def with_index(gallery: MemoryGallery) -> MemoryGallery:
    """The same gallery with an index in memory, as a store has one for each shard."""
    block = next(gallery.blocks(len(gallery)))
    rotation = fit_rotation(block.content[:: max(1, len(block) // 500)])
    parts = [encode_photos(rotation, part) for part in block.content.split(64)]
    numbers, covered = (torch.cat(each) for each in zip(*parts, strict=True))
    shard = Shard(block.content, block.histogram, torch.empty(0))
    places = np.zeros(len(gallery), dtype=np.int64), np.arange(len(gallery))
    gallery.index = PatchIndex(rotation, [shard], [ShardIndex(numbers, covered.to(torch.uint8))], *places)
    return gallery


def random_gallery(like: Gallery, size: int) -> MemoryGallery:
    """Vectors of no structure, which no bound can tell apart."""
    spec, generator = like.spec, torch.Generator().manual_seed(1)
    content = normalise(torch.randn(size, spec.patches, spec.dim, generator=generator), 2).half()
    histogram = like.gather([row % len(like) for row in range(size)]).histogram
    photos = [_copy(like.photos[row % len(like)], row) for row in range(size)]
    return MemoryGallery("random", spec, photos, [], StoredPatches(content, histogram))


def _best_of(work: Callable[[], EngineAnswer], repeats: int) -> tuple[float, EngineAnswer]:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        answer = work()
        times.append(time.process_time() - start)
    return min(times), answer


def _is_equal(answer: EngineAnswer, truth: list) -> bool:
    if isinstance(answer, Tensor):
        return answer.nonzero()[:, 0].tolist() == [hit.row for hit in truth]
    return repr(answer) == repr(truth)


class _Bench:
    """One gallery and its queries; the truth is a scan of all photos without an index."""

    def __init__(self, gallery: MemoryGallery, queries: Sequence[Query], real: int, repeats: int) -> None:
        self.gallery, self.queries, self.real, self.repeats = gallery, queries, real, repeats
        self._truth: dict[tuple[int, Request], list] = {}

    def truth(self, number: int, request: Request) -> list:
        if (number, request) not in self._truth:
            index, self.gallery.index = self.gallery.index, None
            everyone = torch.ones(1, len(self.gallery), dtype=torch.bool)
            found = scan(self.gallery, [self.queries[number]], request, everyone)[0]
            self.gallery.index = index
            self._truth[number, request] = found
        return self._truth[number, request]

    def request(self, by: str, threshold: float) -> Request:
        appearance = self.gallery.spec.appearance_threshold
        return Request(by=by, content_threshold=threshold, appearance_threshold=appearance)

    def rows(self, engine: SearchEngine, asked: Sequence[Sequence[Request]]) -> list[SearchTiming]:
        """A row per question; `ratio` is filled in by `compared`. Args: asked: of each row, per query."""
        engine.search(self.queries[0], asked[0][0])  # warms caches and allocator
        found = []
        for requests in asked:
            by, times, equal, share = requests[0].by, [], True, []
            for number, (query, request) in enumerate(zip(self.queries, requests, strict=True)):
                seconds, answer = _best_of(
                    lambda query=query, request=request: engine.search(query, request), self.repeats
                )
                truth = self.truth(number, request)
                times.append(seconds)
                equal &= _is_equal(answer, truth)
                share.append(len(truth) / len(self.gallery))
            found.append(
                SearchTiming(
                    engine=engine.name,
                    photos=len(self.gallery),
                    real=self.real,
                    mode=by,
                    threshold=statistics.mean(request.content_threshold for request in requests),
                    qualify=statistics.mean(share),
                    seconds=statistics.mean(times),
                    ratio=1.0,
                    equal=equal,
                    memory=engine.megabytes,
                    pruned=self._pruned(requests),
                )
            )
        return found

    def _pruned(self, requests: Sequence[Request]) -> float:
        index = self.gallery.index
        assert index is not None
        some = np.linspace(0, len(self.gallery) - 1, min(_SAMPLE, len(self.gallery))).astype(int)
        left = [
            TorchSearch([query], request, index).left(0, some)
            for query, request in zip(self.queries, requests, strict=True)
        ]
        return 1 - statistics.mean(left)

    def thresholds_of(self, shares: Sequence[float]) -> list[list[float]]:
        """Per share of the photos and query: the content threshold that this share reaches."""
        everyone = torch.ones(1, len(self.gallery), dtype=torch.bool)
        found: list[list[float]] = [[] for _ in shares]
        for query in self.queries:
            request = self.request("content", MOST_LEAST)
            best = np.sort([hit.content for hit in scan(self.gallery, [query], request, everyone)[0]])[::-1]
            for number, share in enumerate(shares):
                place = min(len(best) - 1, round(share * len(self.gallery)))
                at = float(best[place]) if share else min(1.0, float(best[0]) + 0.05)
                found[number].append(min(1.0, max(MOST_LEAST, at)))
        return found


def compared(rows: Sequence[SearchTiming], brute: Sequence[SearchTiming]) -> list[SearchTiming]:
    """The rows of an engine with their ratio to brute force's rows of the same questions."""
    return [
        SearchTiming(**{**asdict(row), "ratio": plain.seconds / row.seconds})
        for row, plain in zip(rows, brute, strict=True)
    ]


def time_engines(bench: _Bench, asked: Sequence[Sequence[Request]], faiss: bool) -> list[SearchTiming]:
    rows: list[SearchTiming] = []
    brute: dict[str, list[SearchTiming]] = {}
    for engine in engines(bench.gallery, faiss=faiss):
        for by in engine.by:
            mine = [requests for requests in asked if requests[0].by == by]
            if not mine:
                continue
            timed = bench.rows(engine, mine)
            brute.setdefault(by, timed)
            rows += compared(timed, brute[by])
            print(table(rows[-len(timed) :], header=len(rows) == len(timed)), flush=True)
    return rows


def time_shares(bench: _Bench, shares: Sequence[float]) -> list[SearchTiming]:
    each = bench.thresholds_of(shares)
    return time_engines(bench, [[bench.request("content", eps) for eps in one] for one in each], False)


def table(rows: Sequence[SearchTiming], *, header: bool = True) -> str:
    """Markdown, one line per engine, gallery and question."""
    lines = [
        "| engine | photos (real) | mode | content threshold | qualify | s per query | brute force / it | "
        "equal | MB | pruned |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.engine} | {row.photos:,} ({row.real:,}) | {row.mode} | {row.threshold:.3f} | "
            f"{row.qualify:.1%} | {row.seconds:.4f} | {row.ratio:.1f}x | {'yes' if row.equal else 'no'} | "
            f"{row.memory:.0f} | {row.pruned:.1%} |"
        )
    return "\n".join(lines if header else lines[2:])


def plot(rows: Sequence[SearchTiming], path: Path) -> None:
    """Seconds per query over the number of photos, one line per engine, one panel per question."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = sorted({(row.mode, round(row.threshold, 3)) for row in rows if row.real})
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.5 * len(panels), 4), squeeze=False)
    for axis, (mode, threshold) in zip(axes[0], panels, strict=True):
        here = [row for row in rows if (row.mode, round(row.threshold, 3)) == (mode, threshold) and row.real]
        for name in dict.fromkeys(row.engine for row in here):
            line = sorted((row.photos, row.seconds) for row in here if row.engine == name)
            axis.plot(*zip(*line, strict=True), marker="o", label=name)
        axis.set(xscale="log", yscale="log", xlabel="photos", ylabel="CPU s per query")
        axis.set_title(f"{mode}, content {threshold:g}")
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(argv: Sequence[str] | None = None) -> list[SearchTiming]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", type=Path, nargs="*", metavar="STORE")
    parser.add_argument("--masks", type=Path, help="folder with STEM.png per photo (default: a box)")
    parser.add_argument("--photos", type=int, nargs="+", default=[1000, 5000], help="sizes (1000 5000)")
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2, help="of which the fastest counts (2)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shares", type=float, nargs="*", default=[], help="such as 0 0.01 0.05 0.25 1")
    parser.add_argument("--no-faiss", action="store_true", help="leave faiss out, whose indexes take long")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--plot", type=Path, help="draw them there")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    opened = [open_gallery(store, allow_partial=True) for store in arguments.stores]
    stored = as_one(opened) if opened else scenes()
    asked = masks_of(stored, arguments.masks, arguments.queries)
    thresholds = [stored.spec.content_threshold]
    thresholds += [t for t in [STRICT_THRESHOLDS.get(stored.spec.encoder)] if t is not None]
    print(f"{stored.spec.name}, {len(asked)} queries, {arguments.threads} thread(s), CPU seconds per query\n")
    rows: list[SearchTiming] = []
    for size in arguments.photos:
        gallery, places, _ = resized(stored, size, [row for row, _ in asked])
        queries = queries_of(gallery, places, [mask for _, mask in asked])
        bench = _Bench(with_index(gallery), queries, min(size, len(stored)), arguments.repeats)
        questions = [
            [bench.request(by, eps)] * len(queries) for by in ("content", "both") for eps in thresholds
        ]
        rows += time_engines(bench, questions, not arguments.no_faiss)
        if arguments.shares:
            rows += time_shares(bench, arguments.shares)
            random = with_index(random_gallery(stored, min(size, 1000)))
            rows += time_shares(_Bench(random, queries, 0, arguments.repeats), arguments.shares)
        if arguments.json:  # after every size, so that a kill loses little
            write_text(arguments.json, json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    if arguments.plot:
        plot(rows, arguments.plot)
    return rows


def queries_of(gallery: Gallery, places: Sequence[int], masks: Sequence[Tensor]) -> list[Query]:
    """Those of the photos at `places` with these masks that have a background."""
    block = gallery.gather(places)
    each = zip(places, block.content, block.histogram, masks, strict=True)
    found = [
        query_from_patches(content, histogram, mask, gallery.spec, query_id=gallery.photos[place].id)
        for place, content, histogram, mask in each
    ]
    return [query for query in found if query.background.any()]


if __name__ == "__main__":
    main()
