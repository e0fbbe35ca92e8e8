"""Raiha's own socket types, and the check of what arrives through them.

ComfyUI does not check custom sockets: an API client may put a string there, and it arrives as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ..raiha_core.codecs.source import PictureSource
from ..raiha_core.controls import Controls
from ..raiha_core.features.references import Reference
from ..raiha_core.gallery.memory import MemoryGallery
from ..raiha_core.gallery.store import StoredGallery
from ..raiha_core.render import Prediction
from ..raiha_core.retrieval.candidates import Candidates, references
from .compat import io
from .models import ManagedEncoder, ManagedHarmonizer

GalleryObject = StoredGallery | MemoryGallery
T = TypeVar("T")
KEPT_NUMBERS = 2**26  # of decoded references, 256 MB: larger ones are decoded again by each node


@dataclass(frozen=True, slots=True)
class NamedPhoto:
    """A reference in a report, without its picture."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class References:
    """Candidates whose pictures are read when they are needed, so that a chain of searches reads none."""

    candidates: Candidates
    encoder: ManagedEncoder
    frames: tuple[Candidates | None, ...] = ()  # of a batch, what each frame has; else `candidates` for all
    _loaded: list[tuple[Reference, ...]] = field(default_factory=list, repr=False, compare=False)

    def load(self) -> tuple[Reference, ...]:
        """The pictures with features and matches, decoded once for all nodes that ask.

        Raises: ValueError or OSError naming a lost photo.
        """
        if self._loaded:
            return self._loaded[0]
        found = references(self.candidates, encoder=self.encoder)
        if sum(reference.image.numel() for reference in found) <= KEPT_NUMBERS:
            self._loaded.append(found)
        return found

    def for_frames(self, count: int) -> Callable[[int], tuple[Reference, ...]]:
        """What loads the references of a frame of so many.

        Raises: ValueError where another number of frames was searched for.
        """
        if not self.frames:
            return lambda place: self.load()
        if len(self.frames) != count:
            raise ValueError(f"references were searched for {len(self.frames)} frames, but here are {count}")

        def load_frame(place: int) -> tuple[Reference, ...]:
            found = self.frames[place]
            return () if found is None else references(found, encoder=self.encoder)

        return load_frame

    def named(self, count: int) -> list[tuple[NamedPhoto, ...]]:
        """The references of each frame of so many, by name alone."""
        return [
            () if found is None else tuple(NamedPhoto(item.photo.id, item.score) for item in found.items)
            for found in self.frames or [self.candidates] * count
        ]


@dataclass(frozen=True, slots=True)
class PictureReferences:
    """Pictures given by hand; Harmonize compares them with the object when it runs."""

    photos: tuple[Reference, ...]

    def load(self, encoder: ManagedEncoder | None = None) -> tuple[Reference, ...]:
        """The pictures, with features where a network reads them by itself."""
        if encoder is None:
            return self.photos
        return tuple(replace(photo, features=encoder.encode(photo.image)) for photo in self.photos)


@dataclass(frozen=True, slots=True)
class Look:
    """What was made of the colours of one picture's object, and as what it was asked for."""

    transform: Prediction | None
    strength: float
    controls: Controls


GallerySocket = io.Custom("RAIHA_GALLERY")
EncoderSocket = io.Custom("RAIHA_ENCODER")
CandidateList = io.Custom("RAIHA_CANDIDATES")
ReferenceList = io.Custom("RAIHA_REFERENCES")
HarmonizerSocket = io.Custom("RAIHA_HARMONIZER")
SourceSocket = io.Custom("RAIHA_SOURCE")
LookSocket = io.Custom("RAIHA_LOOK")
Layers = io.Custom("LAYERS")  # ComfyUI's own, by name: older hosts have none


def compare_view() -> io.Input:
    """The widget in which ComfyUI's page shows a slider; older hosts have none and show nothing there."""
    tooltip = "The slider; nothing to set."
    kind = getattr(io, "ImageCompare", None)
    if kind is None:
        return io.Custom("IMAGECOMPARE").Input("compare_view", optional=True, tooltip=tooltip)
    return kind.Input("compare_view", optional=True, tooltip=tooltip)


_MADE_BY = {
    StoredGallery: "a gallery node (Load, Build, Images to Gallery)",
    ManagedEncoder: "Load Encoder (Raiha)",
    PictureSource: "Load Picture (Raiha)",
    Candidates: "a retrieval node",
    References: "a retrieval node",
    Look: "Harmonize (Raiha)",
    PictureReferences: "Pictures as References (Raiha)",
    ManagedHarmonizer: "Load Harmonizer (Raiha) or Statistics Options (Raiha)",
}


def require(value: object, kind: type[T], name: str) -> T:
    """The value of socket `name`, if it is of that kind. Raises: ValueError saying which node makes one."""
    kinds = GalleryObject if kind is StoredGallery else kind
    if not isinstance(value, kinds):
        raise ValueError(
            f"'{name}' must come from {_MADE_BY[kind]}, got {type(value).__name__} {value!r:.60}"
        )
    return value
