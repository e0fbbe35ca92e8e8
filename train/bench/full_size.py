"""A full-size photo harmonized: this revision against another one, in one run.

    python train/bench/full_size.py OTHER [--megapixels 24] [--repeats 3] [--command [--share 0.15]]

OTHER is a checkout of the revision to compare with (`git worktree add OTHER 21294e4`); it runs with this
environment's packages. Each measurement is a process of its own on one thread, the two revisions in turns.
Time is the least of all repeats, of wall clock and of the processor. Memory is what the process takes at
its highest beyond what it held with network and picture loaded; the result is part of it, and stands beside.
With --command the whole command line is measured, from file to file: a PNG of 8 bits with grain, its mask
a disc of the picture's --share; memory is then all that the process held at its highest. OTHER may be `-`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def measure(root: Path, megapixels: float) -> dict[str, float | str]:
    """One harmonize call of the revision in `root`, which must come first on the path."""
    import hashlib

    import psutil
    import torch

    import raiha_core
    from raiha_core.harmonizer import load_harmonizer
    from raiha_core.pipeline import harmonize

    assert raiha_core.__file__ is not None
    if not Path(raiha_core.__file__).is_relative_to(root):
        raise ValueError(f"{raiha_core.__file__} is not of {root}")
    torch.set_num_threads(1)
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(1.5 * height)
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    composite = torch.empty(1, 3, height, width)
    for plane, (across, down) in zip(composite[0], ((5, 2), (3, 7), (9, 4)), strict=True):
        plane.copy_((across * x + down * y).sin_().mul_(0.4).add_(0.5))
    mask = (x * x + y * y <= 0.15 * 4 / torch.pi).float()[None, None]
    model = load_harmonizer("raiha-plus", "cpu")
    harmonize(composite[..., :64, :64].contiguous(), torch.ones(1, 1, 64, 64).tril(), model=model)  # loads
    before = psutil.Process().memory_info().rss
    wall, cpu = time.perf_counter(), time.process_time()
    result = harmonize(composite, mask, model=model)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "wall": wall,
        "cpu": cpu,
        "extra": (peak - before) / 2**20,
        "result": result.numel() * 4 / 2**20,
        "bytes": hashlib.sha256(result.numpy()).hexdigest(),
    }


def in_process(root: Path, megapixels: float) -> dict[str, float | str]:
    command = [sys.executable, __file__, str(root), "--megapixels", str(megapixels), "--row"]
    # a checkout's own packages come first, and `raiha_core` is found there and nowhere else
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join((str(root), str(root / "train")))}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=surroundings)
    return json.loads(done.stdout.splitlines()[-1])


def write_files(folder: Path, megapixels: float, share: float) -> tuple[Path, Path]:
    """A photo-like PNG and its mask, made by strips."""
    import numpy as np
    from PIL import Image, ImageDraw

    Image.MAX_IMAGE_PIXELS = None
    side = round((megapixels * 1e6) ** 0.5)
    noise = np.random.default_rng(0)
    picture, across = Image.new("RGB", (side, side)), np.linspace(-1, 1, side, dtype=np.float32)
    for top in range(0, side, 256):
        down = across[top : top + 256, None]
        waves = [127 + 100 * np.sin(a * across + b * down) for a, b in ((5, 2), (3, 7), (9, 4))]
        grain = noise.normal(0, 1.5, (len(down), side, 1)).astype(np.float32)
        codes = (np.stack(waves, -1) + grain).clip(0, 255).astype(np.uint8)
        picture.paste(Image.fromarray(codes), (0, top))
    radius = side * (share / np.pi) ** 0.5
    ends = (side / 2 - radius, side / 2 - radius, side / 2 + radius, side / 2 + radius)
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).ellipse(ends, fill=255)
    paths = folder / "picture.png", folder / "mask.png"
    for path, made in zip(paths, (picture, mask), strict=True):
        made.save(path, compress_level=1)
    return paths


def measure_command(root: Path, picture: Path, mask: Path) -> dict[str, float]:
    """`raiha harmonize` of the revision in `root`, as a process: seconds, and MiB at its highest."""
    inner = (
        "import resource, subprocess, sys, time, json; s = time.perf_counter();"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); t = time.perf_counter() - s;"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps({'wall': t, 'cpu': u.ru_utime + u.ru_stime, 'extra': u.ru_maxrss / 1024}))"
    )
    command = [sys.executable, "-m", "raiha_core", "harmonize", str(picture), "--mask", str(mask)]
    command += ["-o", str(picture.with_name("result.png"))]
    surroundings = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", inner, *command],
        **{"check": True, "capture_output": True, "text": True, "env": surroundings, "cwd": root},
    )
    return json.loads(done.stdout)


def by_command(other: Path | None, megapixels: float, share: float, repeats: int) -> None:
    roots = {"this": _ROOT} if other is None else {"other": other, "this": _ROOT}
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in roots}
    with tempfile.TemporaryDirectory() as folder:
        picture, mask = write_files(Path(folder), megapixels, share)
        for _ in range(repeats):
            for name, root in roots.items():
                rows[name].append(measure_command(root, picture, mask))
    print("| revision | wall s | CPU s | peak MiB |")
    print("| --- | ---: | ---: | ---: |")
    for name, found in rows.items():
        wall, cpu, extra = (min(row[key] for row in found) for key in ("wall", "cpu", "extra"))
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {extra:.0f} |")


def main() -> int:
    parser = argparse.ArgumentParser(description="A full-size photo: this revision against another.")
    parser.add_argument("other", type=Path, help="a checkout of the other revision; - for none, by command")
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--command", action="store_true", help="the whole command line, from file to file")
    parser.add_argument("--share", type=float, default=0.15, help="of the mask, with --command (0.15)")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.command:
        other = None if str(arguments.other) == "-" else arguments.other.resolve()
        by_command(other, arguments.megapixels, arguments.share, arguments.repeats)
        return 0
    other = arguments.other.resolve()
    if arguments.row:
        print(json.dumps(measure(other, arguments.megapixels)))
        return 0
    rows: dict[str, list[dict[str, float | str]]] = {"other": [], "this": []}
    for _ in range(arguments.repeats):
        for name, root in (("other", other), ("this", _ROOT)):
            rows[name].append(in_process(root, arguments.megapixels))
    print("| revision | wall s | CPU s | extra MiB | of it the result |")
    print("| --- | ---: | ---: | ---: | ---: |")
    least = {}
    for name, found in rows.items():
        least[name] = {
            key: min(float(row[key]) for row in found) for key in ("wall", "cpu", "extra", "result")
        }
        wall, cpu, extra, result = least[name].values()
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {extra:.0f} | {result:.0f} |")
    ratios = {key: least["this"][key] / least["other"][key] for key in ("wall", "cpu", "extra")}
    print("ratio: " + ", ".join(f"{key} {value:.2f}" for key, value in ratios.items()))
    print(f"same bytes: {rows['this'][0]['bytes'] == rows['other'][0]['bytes']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
