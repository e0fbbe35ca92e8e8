"""What retrieval needs of a gallery, wherever its features lie.

Shapes: n photos in a block, P patches per photo, D content numbers, K histogram bins.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..features.patches import PatchFeatures
from ..features.spec import FeatureSpec
from .index import PatchIndex
from .manifest import Photo

__all__ = ["Block", "Gallery", "PatchEncoder", "Photo", "Progress", "content_fingerprint", "rows_of_photos"]


Progress = Callable[[int, int, str], object]  # done, total, id of the photo just done


@dataclass(frozen=True, slots=True)
class Block:
    """The stored features of a few photos: the numbers that eqs. 3 and 5 are about."""

    rows: Tensor  # (n,) int64, indices into `Gallery.photos`
    content: Tensor  # (n, P, D) float16
    histogram: Tensor  # (n, P, K) uint8

    def __len__(self) -> int:
        return len(self.rows)


class Gallery(Protocol):
    """Photos with their patch features. Row r everywhere means `photos[r]`."""

    @property
    def spec(self) -> FeatureSpec:
        """The feature space, with the thresholds that hold for this gallery."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a search should say of the gallery, in sentences: that an interrupted build is not seen."""

    @property
    def photos(self) -> Sequence[Photo]:
        """Live photos, sorted by id."""

    @property
    def index(self) -> PatchIndex | None:
        """What lets a search pass over photos without reading them; None where there is nothing."""

    @property
    def fingerprint(self) -> str:
        """Hex digest that changes whenever the gallery's content does."""

    def __len__(self) -> int: ...

    def blocks(self, size: int) -> Iterator[Block]:
        """All photos in the order of `photos`, at most `size` at a time. May be views: do not write."""

    def gather(self, rows: Sequence[int]) -> Block:
        """The photos at `rows`, in that order. Raises: IndexError for a row that is not there."""

    def rows_of(self, kind: str, names: Collection[str]) -> dict[str, list[int]]:
        """Rows of the photos whose `kind` ("sha256", "group" or "id") is one of `names`, by name."""

    def trouble(self, row: int, *, quick: bool = False) -> str:
        """Why the photo cannot be loaded, in one sentence; "" where it can. `quick` reads no file."""

    def load(self, row: int) -> Tensor:
        """The photo's pixels at full size, (1, 3, H, W) float32 sRGB 0..1.

        Raises: ValueError or OSError naming the file where it is gone or no longer the same.
        """


class PatchEncoder(Protocol):
    """Anything that turns pictures into patch features of one space."""

    @property
    def spec(self) -> FeatureSpec: ...

    def encode(self, images: Tensor) -> PatchFeatures:
        """(B, 3, H, W) sRGB 0..1 of any size -> features. A photo's result must not depend on B."""


def content_fingerprint(spec: FeatureSpec, photos: Iterable[Photo]) -> str:
    """SHA-256 of the feature space and of which pictures, under which ids and groups, are there.

    Features follow from a picture's bytes and the space, so they need not be read.
    """
    identity = {k: v for k, v in spec.to_json().items() if "threshold" not in k}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    for photo in photos:
        digest.update(json.dumps([photo.id, photo.sha256, photo.group]).encode())
    return digest.hexdigest()


def rows_of_photos(photos: Iterable[Photo], kind: str, names: Collection[str]) -> dict[str, list[int]]:
    """Rows of the photos whose `kind` ("sha256", "group" or "id") is one of `names`, by name."""
    found: dict[str, list[int]] = {}
    if names:
        wanted = set(names)
        for row, photo in enumerate(photos):
            name = getattr(photo, kind)
            if name in wanted:
                found.setdefault(name, []).append(row)
    return found
