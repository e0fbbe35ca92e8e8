"""The mean patch of ordinary photos, and the directions in which patches differ from it.

Subtracting the mean makes cosines tell same things from other things a little better; projecting on
the first directions makes galleries smaller. Both are constants, fitted once by train/fit_centring.py
on 5,337 photos and never on a user's gallery, so that galleries stay comparable.
Shapes: B images, C encoder channels, D numbers kept.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from .patches import normalise
from .weights import tensor_digest

_FOLDER = Path(__file__).parent / "constants"


@dataclass(frozen=True, slots=True)
class Centring:
    """`mean` of unit patch vectors, and orthonormal rows to project on (None keeps all channels)."""

    mean: Tensor  # (C,)
    basis: Tensor | None  # (D, C), by falling variance

    @property
    def digest(self) -> str:
        """Identifies the constants in a FeatureSpec: 16 hex digits."""
        basis = {} if self.basis is None else {"basis": self.basis}
        return tensor_digest({"mean": self.mean, **basis})

    def to(self, device: torch.device) -> "Centring":
        return Centring(self.mean.to(device), None if self.basis is None else self.basis.to(device))

    def apply(self, raw: Tensor) -> Tensor:
        """(B, C, h, w) of any length -> (B, D, h, w) of length 1: normalise, subtract, project, normalise."""
        centred = normalise(raw, 1) - self.mean[:, None, None]
        if self.basis is not None:
            centred = torch.einsum("dc,bchw->bdhw", self.basis, centred)
        return normalise(centred, 1)


def read_centring(name: str, components: int | None = None) -> Centring:
    """Shipped constants by file stem, with the first `components` directions (None: no projection).

    Raises: ValueError where the file is not shipped or holds fewer directions.
    """
    path = _FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise ValueError(f"the constants {path} are missing; reinstall raiha, or run train/fit_centring.py")
    constants = load_file(path)
    if components is None:
        return Centring(constants["mean"], None)
    if components > len(constants["basis"]):
        raise ValueError(f"{path} holds {len(constants['basis'])} directions, {components} were asked for")
    return Centring(constants["mean"], constants["basis"][:components].clone())
