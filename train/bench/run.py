"""All benches that need nothing but the project, small, one after the other: what `make bench` prints.

Example: python train/bench/run.py --only features loader
Every table names its settings and is compared within itself: a busy machine makes all of its rows slower.
Larger settings, real photos and a GPU: call the scripts one by one; each has --help with an example.
"""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from raiha_core.durable import write_text
from raiha_core.images import list_photos
from raiha_core.resizing import resize_codes
from raiha_train.command import command_parser

BENCHES = Path(__file__).resolve().parent
CHECKOUT = BENCHES.parents[1]
SCENE_PHOTOS = CHECKOUT / "assets" / "scenes" / "photos"


def triples(folder: Path) -> Path:
    """The shipped photos with a brighter box each, as composite/, mask/, real/: something to score."""
    import numpy as np
    from PIL import Image

    for name in ("composite", "mask", "real"):
        (folder / name).mkdir(parents=True)
    for path in list_photos(SCENE_PHOTOS):
        real = resize_codes(np.asarray(Image.open(path).convert("RGB")), (256, 192), Image.Resampling.BICUBIC)
        mask = np.zeros(real.shape[:2], np.uint8)
        mask[60:130, 90:170] = 255
        brighter = np.clip(real * 1.3 + 8, 0, 255)
        composite = np.where(mask[..., None] > 0, brighter, real).astype(np.uint8)
        for kind, pixels in (("composite", composite), ("mask", mask), ("real", real)):
            Image.fromarray(pixels).save(folder / kind / f"{path.stem}.png")
    return folder


def benches(scratch: Path) -> dict[str, list[list[str]]]:
    """Name -> commands, without the interpreter, that make its tables."""

    def bench(name: str, *rest: str) -> list[str]:
        return [str(BENCHES / f"{name}.py"), *rest]

    return {
        "startup": [bench("startup")],
        "features": [bench("features", "lite0", "lite0-fast", "--repeats", "3")],
        "gallery": [
            bench("gallery", str(SCENE_PHOTOS), "--workers", "1", "--repeats", "1", "--synthetic", "5000")
        ],
        "retrieval": [
            bench("retrieval", "--photos", "500", "--queries", "4", "--no-faiss"),
        ],
        "models": [bench("models", "--sizes", "256", "--repeats", "1")],
        "statistics": [bench("statistics_preset", "--data", str(triples(scratch / "triples")))],
        "step": [
            bench("step", "hdnet-lite", "raiha-plus", "--size", "128", "--batch", "2", "--repeats", "2")
        ],
        "loader": [bench("loader", "--config", "hdnet", "--batch", "2", "--repeats", "2")],
        "synthesis": [bench("synthesis", "--size", "128", "--pictures", "64")],
        "loop": [bench("loop", "--steps", "40")],
    }


def run(commands: list[list[str]]) -> tuple[str, bool]:
    """What the last of the commands prints, and whether all of them worked."""
    for command in commands:
        done = subprocess.run(
            [sys.executable, *command], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            return f"failed: {' '.join(command)}\n{done.stderr.strip()[-1500:]}", False
    return done.stdout.strip(), True


def main(argv: list[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the benches")
    parser.add_argument(
        "--out", type=Path, default=CHECKOUT / "bench_output", help="where the tables are kept"
    )
    arguments = parser.parse_args(argv)
    parts, good = [], True
    with TemporaryDirectory() as scratch:
        known = benches(Path(scratch))
        wanted = arguments.only or list(known)
        if unknown := sorted(set(wanted) - set(known)):
            parser.error(f"no bench {', '.join(unknown)}; known: {', '.join(known)}")
        for name in wanted:
            begun = time.perf_counter()
            text, fine = run(known[name])
            good &= fine
            parts.append(f"## {name}\n\n{text}\n\n({time.perf_counter() - begun:.0f} s)\n")
            print(parts[-1], flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "bench.md", "\n".join(parts))
    print(f"kept in {arguments.out / 'bench.md'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
