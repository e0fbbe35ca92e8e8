"""What harmonizing a 1080p video file takes in memory, by its length.

    python train/bench/clip_memory.py 16 64 160

A cheap change stands in place of a network: what is measured is the way of the frames, decoding, masks,
encoding. Each length is a process of its own; the figure is its peak beyond what it held before.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

HEIGHT, WIDTH = 1080, 1920


def write_pan(path: Path, frames: int) -> None:
    """A pan over blocks of colour."""
    import av
    import numpy as np

    blocks = np.random.default_rng(0).integers(0, 200, (HEIGHT // 8, WIDTH // 8, 3))
    scene = blocks.repeat(8, 0).repeat(8, 1).astype(np.uint8)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for place in range(frames):
            shown = av.VideoFrame.from_ndarray(np.roll(scene, 4 * place, 1), format="rgb24")
            file.mux(stream.encode(shown))
        file.mux(stream.encode(None))


def harmonize_one(folder: Path) -> tuple[float, float]:
    """MiB beyond the start, and seconds."""
    import psutil

    from raiha_core.video.harmonized import ClipWork, harmonize_clip, one_mask
    from raiha_core.video.reader import VideoReader

    torch.set_num_threads(1)
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., 300:700, 600:1100] = 1
    work = ClipWork(
        begin=lambda: lambda pixels, inside: torch.where(inside > 0, pixels * 0.8, pixels),
        edged=lambda inside: inside,
    )
    before, started = psutil.Process().memory_info().rss, time.perf_counter()
    with torch.inference_mode():
        harmonize_clip(VideoReader(folder / "clip.mp4"), one_mask(mask), folder / "out.mp4", work)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (peak - before) / 2**20, time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory of a clip by its length.")
    parser.add_argument("frames", type=int, nargs="*", default=[16, 64, 160])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        print(*harmonize_one(arguments.folder))
        return 0
    print("| frames | MiB | s |\n| ---: | ---: | ---: |")
    for frames in arguments.frames:
        with tempfile.TemporaryDirectory() as name:
            write_pan(Path(name) / "clip.mp4", frames)
            command = [sys.executable, __file__, "--folder", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        memory, seconds = (float(part) for part in done.stdout.split()[-2:])
        print(f"| {frames} | {memory:.0f} | {seconds:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
