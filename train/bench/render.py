"""PCT-Net CNN at full size: its authors' own path against ours, in one run, with the same weights by formula.

    python train/bench/render.py CHECKOUT [--side 4096]

CHECKOUT is a clone of rakutentech/PCT-Net-Image-Harmonization; what it imports (kornia) must be importable.
Each row is a process of its own on one thread; it starts from the picture in 8 bits and ends with floats.
Memory is what the process takes beyond what it held with network and picture loaded.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from raiha_train.data.opencv_resizing import opencv_resize

_ROOT = Path(__file__).resolve().parents[2]
PATHS = ("theirs", "ours, full mask", "ours, disc of 15 %", "ours, full mask, exact", "ours, disc, exact")


def synthetic_photo(side: int, *, disc: bool) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) uint8 and a mask (H, W) float32: everything, or a disc of 15 % of the picture."""
    y, x = np.linspace(-1, 1, side, dtype=np.float32)[:, None], np.linspace(-1, 1, side, dtype=np.float32)
    picture = np.stack([127 + 100 * np.sin(a * x + b * y) for a, b in ((5, 2), (3, 7), (9, 4))], -1)
    inside = x * x + y * y <= 0.15 * 4 / np.pi
    return picture.astype(np.uint8), (inside if disc else np.ones((side, side))).astype(np.float32)


def theirs(picture: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    from raiha_core.features.tv_ops import ensure_torchvision

    ensure_torchvision()
    import torch
    from iharm.inference.predictor import Predictor
    from iharm.mconfigs import BMCONFIGS

    from tests.published_weights import state

    settings = BMCONFIGS["CNN_pct"]
    network = settings["model"](**settings["params"])
    network.load_state_dict(state("pctnet-cnn"), strict=True)
    predictor = Predictor(network, torch.device("cpu"))

    def run() -> object:
        small, small_mask = (opencv_resize(x, (256, 256), "linear") for x in (picture, mask))
        return predictor.predict(small, picture, small_mask, mask, return_numpy=False)

    return time_and_memory(run)


def ours(picture: np.ndarray, mask: np.ndarray, *, exact: bool) -> tuple[float, float]:
    import torch

    from raiha_core import render
    from raiha_core.convert import convert_state
    from tests.published_weights import state

    network = convert_state(state("pctnet-cnn"), "weights by formula")[1]

    def run() -> object:
        image = torch.from_numpy(picture).permute(2, 0, 1)[None].float().div_(255)
        weight = torch.from_numpy(mask)[None, None]
        with torch.inference_mode():
            small = (render.shrink(x, (256, 256), antialias=False) for x in (image, weight))
            return render.apply(network(*small), image, weight, exact=exact)

    return time_and_memory(run)


def time_and_memory(run: object) -> tuple[float, float]:
    """CPU seconds, and MiB beyond what the process holds now."""
    import psutil

    before = psutil.Process().memory_info().rss
    started = time.process_time()
    kept = run()  # type: ignore[operator]
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    del kept
    return seconds, (peak - before) / 2**20


def time_path(name: str, side: int) -> None:
    import torch

    torch.set_num_threads(1)
    picture, mask = synthetic_photo(side, disc="disc" in name)
    exact = "exact" in name
    print(json.dumps(theirs(picture, mask) if name == "theirs" else ours(picture, mask, exact=exact)))


def main() -> int:
    parser = argparse.ArgumentParser(description="Full-size PCT-Net CNN: the authors' path against ours.")
    parser.add_argument("checkout", type=Path, help="a clone of the authors' repository")
    parser.add_argument("--side", type=int, default=4096, help="pixels (4096)")
    parser.add_argument("--row", choices=PATHS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        time_path(arguments.row, arguments.side)
        return 0
    print(f"{arguments.side} x {arguments.side}, one thread, one process a row\n")
    print("| path | CPU s | extra MiB | of theirs |")
    print("| --- | ---: | ---: | --- |")
    first: tuple[float, float] | None = None
    # their packages and the weights by formula, which our tests hold, for the processes of the rows alone
    places = [str(arguments.checkout.resolve()), str(_ROOT), os.environ.get("PYTHONPATH", "")]
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}
    for name in PATHS:
        command = [sys.executable, __file__, str(arguments.checkout), "--side", str(arguments.side)]
        done = subprocess.run(
            [*command, "--row", name], check=True, capture_output=True, text=True, env=surroundings
        )
        said = done.stdout
        seconds, extra = json.loads(said.splitlines()[-1])
        first = first or (seconds, extra)
        shares = f"{seconds / first[0]:.0%} of the time, {extra / first[1]:.0%} of the memory"
        print(f"| {name} | {seconds:.2f} | {extra:.0f} | {shares} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
