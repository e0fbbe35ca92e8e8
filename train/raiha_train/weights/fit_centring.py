"""Fits the constants of features/centring.py: the mean patch of photos and its main directions.

Example: python train/fit_centring.py PHOTOS --size 384 --out raiha_core/features/constants
The shipped files were fitted on 5,337 photos of 14 public sets; they hold derived numbers only. A second
run on the same files gives the same bytes on the same machine. Shapes: P patches, C channels.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from raiha_core.durable import durable_path
from raiha_core.features.encoders import lite0_network
from raiha_core.features.patches import normalise
from raiha_core.features.preprocessing import Preprocessing
from raiha_core.images import list_photos, read_picture

DIRECTIONS = 128  # the largest shipped projection


@torch.no_grad()
def patch_moments(photos: list[Path], size: int) -> tuple[int, Tensor, Tensor]:
    """Moments of the patch vectors of photos, each vector scaled to length 1.

    Args: size: side in pixels of the square that the encoder (`lite0`) sees.
    Returns: how many vectors, their sum (C,) and the sum of their outer products (C, C), float64, C = 320.
    Raises: ValueError or OSError naming a photo that cannot be read.
    """
    network = lite0_network()
    preprocessing = Preprocessing(size=size, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
    count, total, outer = 0, torch.zeros(320, dtype=torch.float64), torch.zeros(320, 320, dtype=torch.float64)
    for path in tqdm(photos, unit="photo"):
        raw = network(preprocessing.apply(read_picture(path).pixels))
        vectors = normalise(raw, 1)[0].flatten(1).to(torch.float64)  # (C, P)
        count += vectors.shape[1]
        total += vectors.sum(1)
        outer += vectors @ vectors.T
    return count, total, outer


def fit_directions(count: int, total: Tensor, outer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), directions (D, C) by falling variance, and each direction's share of the variance."""
    mean = total / count
    covariance = outer / count - torch.outer(mean, mean)
    variance, vectors = torch.linalg.eigh(covariance)  # rising
    basis = vectors.flip(1)[:, :DIRECTIONS].T
    # The sign of an eigenvector is arbitrary and differs between libraries: the largest entry is positive.
    largest = basis.abs().argmax(1, keepdim=True)
    basis = basis * basis.gather(1, largest).sign()
    return mean, basis, variance.flip(0)[:DIRECTIONS] / variance.sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__.splitlines()[2])
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--size", type=int, default=384, help="input size of the encoder: 384 or 256")
    parser.add_argument("--every", type=int, default=1, help="use every n-th photo only")
    parser.add_argument("--out", type=Path, required=True, help="folder for lite0-SIZE-s32.safetensors")
    arguments = parser.parse_args()
    photos = list_photos(arguments.photos)[:: arguments.every]
    mean, basis, share = fit_directions(*patch_moments(photos, arguments.size))
    path = arguments.out / f"lite0-{arguments.size}-s32.safetensors"
    with durable_path(path) as temporary:
        save_file(
            {"mean": mean.float().contiguous(), "basis": basis.float().contiguous()},
            temporary,
            metadata={"photos": str(len(photos)), "size": str(arguments.size)},
        )
    held = ", ".join(f"{n}: {100 * share[:n].sum():.0f} %" for n in (8, 16, 32, 64, 128))
    print(f"{path}: {len(photos)} photos, mean of length {mean.norm():.3f}, variance held {held}")
