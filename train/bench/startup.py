"""What it costs to begin: CPU seconds until the first picture is decoded, beside those of `import torch`.

Example: python train/bench/startup.py
Each row is a fresh interpreter; all rows take turns, and the median of the rounds is printed. CPU seconds are
the whole process's, the interpreter's own start in them; the ratio is to the first row.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
# opening the picture ends the process: what came before was for it
UNTIL_DECODED = """
import os, sys, time
def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith("grapefruit.png"):
        os.write(1, f"CPU {time.process_time()}".encode())
        os._exit(0)
sys.addaudithook(watch)
"""
AT_EXIT = """
import atexit, os, time
atexit.register(lambda: os.write(1, f"CPU {time.process_time()}".encode()))
"""
COMMAND = "from raiha_core.cli import main\nmain({!r}.split())"
STARTS = {
    "import torch": f"{AT_EXIT}import torch",
    "Python of README, up to the first decode": f"""{UNTIL_DECODED}
from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.build import build
from raiha_core.gallery.store import open_gallery
from raiha_core.images import read_mask, read_picture, write_picture
from raiha_core.pipeline import harmonize
from raiha_core.retrieval.search import references, search
read_picture("assets/demo/grapefruit.png")
""",
    "raiha harmonize, up to the first decode": UNTIL_DECODED
    + COMMAND.format(
        "harmonize assets/demo/grapefruit.png --mask assets/demo/grapefruit_mask.png -o not_written.png"
    ),
    "raiha --help": AT_EXIT + COMMAND.format("--help"),
    "raiha --version": AT_EXIT + COMMAND.format("--version"),
}


def time_start(code: str) -> tuple[float, float]:
    """CPU seconds and seconds of one fresh interpreter. Raises: RuntimeError with what it said."""
    # users' files are compiled once; where Python may not keep that, the ratio would be of compiling
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=kept | {"PYTHONPATH": str(_ROOT)},
    )
    wall = time.perf_counter() - start
    if done.returncode or "CPU " not in done.stdout:
        raise RuntimeError(f"no time came back: {done.stderr.strip()[-500:]}")
    return float(done.stdout.rsplit("CPU ", 1)[1].split()[0]), wall


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="fresh interpreters per row (default 5)")
    arguments = parser.parse_args(argv)
    for code in STARTS.values():  # compiled files and the disk's cache are there for all of them
        time_start(code)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in STARTS}
    for _ in range(arguments.rounds):
        for name, code in STARTS.items():
            found[name].append(time_start(code))
    print(f"median of {arguments.rounds} rounds, Python {sys.version.split()[0]}")
    print(f"{'':42} {'CPU s':>7} {'s':>7} {'of import torch':>16}")
    base = 0.0
    for name, times in found.items():
        cpu, wall = (statistics.median(part) for part in zip(*times, strict=True))
        base = base or cpu
        print(f"{name:42} {cpu:7.2f} {wall:7.2f} {cpu / base:16.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
