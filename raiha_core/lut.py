"""The change of an object's look as a table of colours, `.cube`, for programs that grade pictures.

Only a change that is the same everywhere, a function of the colour alone, can be such a table.
Shapes: n x n x n colours. Source of the format: Adobe's "Cube LUT Specification" 1.0 (2013), red fastest.
"""

from pathlib import Path

import torch
from torch import Tensor

from .controls import Controls
from .durable import write_text
from .render import Prediction, apply

SIZES = 2, 129  # what programs read; 33 and 65 are usual


def global_lut(
    transform: Prediction | None, size: int = 33, strength: float = 1.0, controls: Controls | None = None
) -> Tensor:
    """What becomes of each colour where the mask is 1.

    Args: transform: `pipeline.Harmonized.transform`; size: n; strength, controls: those of the harmonizing.
    Returns: (n, n, n, 3) float32, blue x green x red, sRGB to sRGB, 0..1.
    Raises: ValueError where the change is not the same everywhere, and why; for a size out of range.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"the side of a .cube must lie in {SIZES[0]}..{SIZES[1]}, got {size}")
    if why := _why_not_global(transform, strength, controls or Controls()):
        raise ValueError(f"no .cube can hold this change: {why}")
    assert transform is not None
    level = torch.linspace(0, 1, size)
    blue, green, red = torch.meshgrid(level, level, level, indexing="ij")
    chart = torch.stack((red, green, blue)).reshape(1, 3, size, size * size)
    done = apply(transform, chart, torch.ones_like(chart[:, :1]), strength)
    return done.reshape(3, size, size, size).permute(1, 2, 3, 0)


def _why_not_global(transform: Prediction | None, strength: float, controls: Controls) -> str:
    """A clause; "" where the change is a function of the colour alone."""
    if controls.change_pixels or strength > 1:
        return "strength above 1, and light, colour, contrast, limit and hue set apart, work on the picture"
    if transform is None:
        return "it is mixed of several answers, differs over the object, or nothing was harmonized"
    if transform.step is not None or transform.dense is not None:
        return "this harmonizer changes each place in its own way"
    if transform.affine is not None and transform.affine.shape[-2:] != (1, 1):
        return "this harmonizer changes each place in its own way"
    return ""


def write_cube(path: str | Path, lut: Tensor, title: str = "Raiha") -> None:
    """Write a table (n, n, n, 3), blue x green x red, as text with six decimals, whole or not at all.

    Raises: ValueError for another shape; OSError.
    """
    if lut.ndim != 4 or lut.shape[-1] != 3 or len({*lut.shape[:3]}) != 1:
        raise ValueError(f"a table must be (n, n, n, 3), got {tuple(lut.shape)}")
    quoted = title.replace('"', "'")
    lines = [
        f'TITLE "{quoted}"',
        f"LUT_3D_SIZE {len(lut)}",
        "DOMAIN_MIN 0.0 0.0 0.0",
        "DOMAIN_MAX 1.0 1.0 1.0",
    ]
    lines += ["{:.6f} {:.6f} {:.6f}".format(*colour) for colour in lut.reshape(-1, 3).tolist()]
    write_text(Path(path), "\n".join(lines) + "\n")
