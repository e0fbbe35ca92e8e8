"""An ad-hoc gallery: pictures that are already in memory, such as an image batch in ComfyUI.

Shapes: N pictures, P patches each, D content numbers, K histogram bins.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from ..features.patches import StoredPatches, store
from ..features.spec import FeatureSpec
from ..reasons import reason
from .index import PatchIndex
from .manifest import Photo
from .protocol import Block, PatchEncoder, content_fingerprint, rows_of_photos
from .shots import view_of


class MemoryGallery:
    """Pictures and their rounded features in memory; the same face as a gallery on disk."""

    def __init__(
        self,
        name: str,
        spec: FeatureSpec,
        photos: Sequence[Photo],
        images: Sequence[Tensor],
        patches: StoredPatches,
    ) -> None:
        self.name = name
        self.notes: tuple[str, ...] = ()
        self.spec = spec
        self.photos = tuple(photos)  # sorted by id, as are the rows of `patches` and `images`
        self.fingerprint = content_fingerprint(spec, self.photos)
        self._images = tuple(images)
        self._patches = patches

    index: PatchIndex | None = None  # pictures in memory are few: they are scanned

    def __len__(self) -> int:
        return len(self.photos)

    def blocks(self, size: int) -> Iterator[Block]:
        if size < 1:
            raise ValueError(f"a block needs at least 1 photo, got {size}")
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            rows = torch.arange(part.start, part.stop)
            yield Block(rows, self._patches.content[part], self._patches.histogram[part])

    def gather(self, rows: Sequence[int]) -> Block:
        index = torch.as_tensor(rows, dtype=torch.int64).reshape(-1)
        if len(index) and (int(index.min()) < 0 or int(index.max()) >= len(self)):
            raise IndexError(f"rows {index.tolist()} are not all in 0..{len(self) - 1}")
        return Block(index, self._patches.content[index], self._patches.histogram[index])

    def rows_of(self, kind: str, names: Collection[str]) -> dict[str, list[int]]:
        return rows_of_photos(self.photos, kind, names)

    def trouble(self, row: int, *, quick: bool = False) -> str:
        return ""

    def load(self, row: int) -> Tensor:
        return self._images[row]


def memory_gallery(
    images: Tensor | Sequence[Tensor],
    encoder: PatchEncoder,
    *,
    ids: Sequence[str] | None = None,
    name: str = "images",
) -> MemoryGallery:
    """A gallery of pictures in memory.

    Args:
        images: (N, 3, H, W), or N pictures (1, 3, H, W) of any sizes; sRGB 0..1. They are kept, not copied.
        ids: N different names; by default their numbers, "000000" and so on.
    Raises: ValueError naming the picture where it has another shape, or its features are not finite.
    """
    pictures = [image[None] for image in images] if isinstance(images, Tensor) else list(images)
    names = [f"{n:06d}" for n in range(len(pictures))] if ids is None else list(ids)
    if len(names) != len(pictures) or len(set(names)) != len(names):
        raise ValueError(f"{len(pictures)} pictures need as many different ids, got {len(set(names))}")
    order = sorted(range(len(names)), key=names.__getitem__)
    photos, content, histogram = [], [], []
    for n in order:
        picture = pictures[n]
        if picture.ndim != 4 or picture.shape[:2] != (1, 3) or picture.numel() == 0:
            raise ValueError(f"picture '{names[n]}' must be (1, 3, H, W), got {tuple(picture.shape)}")
        try:
            with torch.no_grad():
                patches = store(encoder.encode(picture))  # one by one: sizes differ, results must not
        except ValueError as error:
            raise ValueError(f"picture '{names[n]}': {reason(error)}") from None
        photos.append(_photo(names[n], picture))
        content.append(patches.content)
        histogram.append(patches.histogram)
    spec = encoder.spec
    empty = StoredPatches(
        torch.zeros(0, spec.patches, spec.dim, dtype=torch.float16),
        torch.zeros(0, spec.patches, spec.histogram.bins, dtype=torch.uint8),
    )
    together = StoredPatches(torch.cat([empty.content, *content]), torch.cat([empty.histogram, *histogram]))
    return MemoryGallery(name, spec, photos, [pictures[n] for n in order], together)


def picture_digest(picture: Tensor) -> str:
    """SHA-256 of a picture (1, 3, H, W): what a photo of such a gallery has in place of its file's."""
    pixels = picture.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
    height, width = picture.shape[2:]
    return hashlib.sha256(f"{height}x{width} ".encode() + pixels).hexdigest()


def _photo(name: str, picture: Tensor) -> Photo:
    height, width = picture.shape[2:]
    return Photo(
        id=name,
        path="",
        size=4 * picture.numel(),
        mtime_ns=0,
        sha256=picture_digest(picture),
        width=width,
        height=height,
        view=view_of(picture),
    )
