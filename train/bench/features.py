"""What encoders cost: milliseconds per image, patches and bytes, beside the bare network in the same run.

Example: python train/bench/features.py lite0 lite0-fast --repeats 7
Transformers run on random weights: time does not depend on the numbers. On the CPU the figures are CPU
time of all threads, which other processes disturb less than wall time; on a GPU they are wall time.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file
from torch import Tensor

from raiha_core.features import encoders
from raiha_core.features.encoders import Encoder, build_encoder
from raiha_core.features.histogram import hsv_histograms
from raiha_core.features.patches import store

_COLUMNS = "| encoder | input | patches | bytes | bare network ms | squaring ms | histograms ms | encode ms |"


def median_ms(call: Callable[[], object], repeats: int, device: str) -> float:
    """Median time of a call in milliseconds, after one call that warms up."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    call()
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(1000 * (clock() - start))
    return sorted(times)[len(times) // 2]


def build_on(name: str, device: str) -> Encoder:
    """The encoder, with random weights where it would need a download."""
    if name not in encoders.TRANSFORMERS:
        return build_encoder(name, device=device)
    recipe = encoders.TRANSFORMERS[name]
    model = encoders._timm().create_model(recipe.model, pretrained=False, num_classes=0)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        save_file(model.state_dict(), path)
        return build_encoder(name, weights=path, device=device)


@torch.no_grad()
def encoder_row(name: str, photo: Tensor, repeats: int, device: str) -> str:
    encoder = build_on(name, device)
    photo = photo.to(device)
    square = encoder.preprocessing.apply(photo)
    spec = encoder.spec
    kept = store(encoder.encode(photo))
    size = kept.content.nbytes + kept.histogram.nbytes
    times = [
        median_ms(lambda: encoder.network(square), repeats, device),
        median_ms(lambda: encoder.preprocessing.apply(photo), repeats, device),
        median_ms(lambda: hsv_histograms(photo, spec.grid, spec.histogram), repeats, device),
        median_ms(lambda: encoder.encode(photo), repeats, device),
    ]
    grid = f"{spec.grid}x{spec.grid}x{spec.dim}"
    return (
        f"| {name} | {spec.input_size} | {grid} | {size:,} | " + " | ".join(f"{t:.1f}" for t in times) + " |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__.splitlines()[2])
    parser.add_argument("encoders", nargs="*", default=["lite0", "lite0-fast", "lite0-pca128", "lite0-pca64"])
    parser.add_argument(
        "--size", type=int, nargs=2, default=(683, 1024), help="height and width of the photo"
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    photo = torch.rand(1, 3, *arguments.size, generator=torch.Generator().manual_seed(0))
    height, width = arguments.size
    print(f"photo {width}x{height}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(_COLUMNS)
    print("|---" * 8 + "|")
    for name in arguments.encoders:
        print(encoder_row(name, photo, arguments.repeats, arguments.device), flush=True)


if __name__ == "__main__":
    main()
