"""A full-size photo harmonized: this revision against another one, in one run.

    python train/bench/full_size.py OTHER [--megapixels 24] [--repeats 3]

OTHER is a checkout of the revision to compare with (`git worktree add OTHER 21294e4`); it runs with this
environment's packages. Each measurement is a process of its own on one thread, the two revisions in turns.
Time is the least of all repeats, of wall clock and of the processor. Memory is what the process takes at
its highest beyond what it held with network and picture loaded; the result is part of it, and stands beside.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
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


def main() -> int:
    parser = argparse.ArgumentParser(description="A full-size photo: this revision against another.")
    parser.add_argument("other", type=Path, help="a checkout of the other revision")
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
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
