"""What a gallery costs: photos per second of a build beside a plain loop, and opening a large one.

Example: python train/bench/gallery.py assets/scenes/photos --workers 1 2 --synthetic 50000
All rows of a table come from one run; a busy machine makes them slower together. Memory is the growth of
this process's resident set, sampled; pages of mapped shards count as long as the system keeps them.
CPU seconds are of all threads: where other programs want the cores, only they can be compared.
"""

import argparse
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import torch

from raiha_core.features.encoders import Encoder, build_encoder
from raiha_core.features.patches import StoredPatches, normalise, store
from raiha_core.features.spec import FeatureSpec
from raiha_core.gallery.build import build
from raiha_core.gallery.check import check
from raiha_core.gallery.info import info
from raiha_core.gallery.layout import Layout
from raiha_core.gallery.manifest import Entry, Folder, Photo
from raiha_core.gallery.store import StoredGallery, open_gallery
from raiha_core.gallery.writer import Writer
from raiha_core.images import list_photos, read_picture


@contextmanager
def peak_memory() -> Iterator[Callable[[], float]]:
    """Gives a function that says by how many MB the resident set grew at most since the start."""
    process, done = psutil.Process(), threading.Event()
    start = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: (max(peak, process.memory_info().rss) - start) / 1e6
    finally:
        done.set()
        thread.join()


def timed(call: Callable[[], object]) -> tuple[float, float, float]:
    """Seconds, CPU seconds and MB of one call."""
    with peak_memory() as grown:
        start, cpu = time.perf_counter(), time.process_time()
        call()
        return time.perf_counter() - start, time.process_time() - cpu, grown()


def plain_loop(photos: Path, encoder: Encoder, threads: int) -> None:
    """The same work without a store: read, encode, round, one photo after the other."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for path in list_photos(photos):
            store(encoder.encode(read_picture(path).pixels))
    finally:
        torch.set_num_threads(before)


def bench_build(photos: Path, encoder: Encoder, workers: list[int], repeats: int) -> None:
    count = len(list_photos(photos))
    plain_loop(photos, encoder, 1)  # warms up the network and the page cache
    print(f"{count} photos, encoder {encoder.spec.name}, best of {repeats}, rounds interleaved\n")
    print("| what | seconds | photos/s | CPU seconds | MB |\n|---|---|---|---|---|")
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(repeats):
        for threads in (1, torch.get_num_threads()):
            name = f"plain loop, {threads} torch threads"
            rows.setdefault(name, []).append(timed(lambda n=threads: plain_loop(photos, encoder, n)))
        for n in workers:
            with TemporaryDirectory() as folder:
                place = Path(folder) / "store"

                def run(place: Path = place, n: int = n) -> None:
                    build(photos, place, encoder=encoder, workers=n)

                rows.setdefault(f"build, {n} workers", []).append(timed(run))
                rows.setdefault("build again, nothing new", []).append(timed(run))
    for name, results in rows.items():
        seconds, cpu = (min(result[n] for result in results) for n in (0, 1))
        memory = max(result[2] for result in results)
        print(f"| {name} | {seconds:.3f} | {count / seconds:.1f} | {cpu:.3f} | {memory:.0f} |")


def write_synthetic(place: Path, spec: FeatureSpec, count: int) -> None:
    """A store of random features, written by the same writer as a build."""
    generator = torch.Generator().manual_seed(0)
    variants = 64  # the numbers do not matter for the time, and drawing them all would take minutes
    content = normalise(torch.randn(variants, spec.patches, spec.dim, generator=generator), 2).half()
    histogram = torch.randint(0, 256, (variants, spec.patches, spec.histogram.bins), generator=generator).to(
        torch.uint8
    )
    with Writer(place, spec) as writer:
        writer.set_folder(0, Folder("", "/photos", ""))
        writer.begin(count, count)
        for n in range(count):
            photo = Photo(
                id=f"{n // 1000:03d}/{n:07d}.jpg",
                path="",
                size=200_000 + n,
                mtime_ns=1_700_000_000_000_000_000 + n,
                sha256=f"{n:064x}",
                width=1024,
                height=683,
                group="",
            )
            row = slice(n % variants, n % variants + 1)
            writer.add(Entry(photo, 0, "", 0), StoredPatches(content[row], histogram[row]))
        writer.end([], [])


def bench_open(spec: FeatureSpec, count: int) -> None:
    with TemporaryDirectory() as folder:
        place = Path(folder) / "store"
        layout = Layout(place)
        print(f"\n{count} synthetic photos, {spec.name}\n")
        print("| what | seconds | CPU seconds | MB |\n|---|---|---|---|")
        print_row("write", lambda: write_synthetic(place, spec, count))
        found = info(place)
        print(
            f"-> {found.shards} shards, {found.bytes / 1e6:.0f} MB, manifest "
            f"{layout.manifest.stat().st_size / 1e6:.1f} MB"
        )
        galleries: list[StoredGallery] = []
        print_row("open", lambda: galleries.append(open_gallery(place)))
        gallery = galleries[0]
        print_row("fingerprint", lambda: gallery.fingerprint)
        chosen = torch.randint(0, count, (64,), generator=torch.Generator().manual_seed(1)).tolist()
        print_row("gather 64 photos at random", lambda: gallery.gather(chosen))
        print_row("read all, blocks of 64", lambda: read_all(gallery))
        print_row("check every byte", lambda: check(place, with_photos=False))


def read_all(gallery: StoredGallery) -> int:
    return sum(int(block.content.view(torch.int16).sum()) for block in gallery.blocks(64))


def print_row(name: str, call: Callable[[], object]) -> None:
    seconds, cpu, memory = timed(call)
    print(f"| {name} | {seconds:.3f} | {cpu:.3f} | {memory:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__.splitlines()[2])
    parser.add_argument("photos", type=Path, help="folder of photos to build from")
    parser.add_argument("--encoder", default="lite0")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--synthetic", type=int, default=50_000, help="photos of the synthetic store; 0 skips it"
    )
    parser.add_argument("--dim", type=int, default=64, help="numbers per patch of the synthetic store")
    arguments = parser.parse_args()
    encoder = build_encoder(arguments.encoder)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    bench_build(arguments.photos, encoder, arguments.workers, arguments.repeats)
    if arguments.synthetic:
        spec = replace(encoder.spec, name=f"synthetic-c{arguments.dim}", dim=arguments.dim)
        bench_open(spec, arguments.synthetic)


if __name__ == "__main__":
    main()
