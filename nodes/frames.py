"""References of the frames of a batch or a clip: searched for where a shot starts, and kept while as good."""

from collections.abc import Sequence

from torch import Tensor

from ..raiha_core.retrieval.candidates import Candidates
from ..raiha_core.retrieval.kept import Find, KeptReferences
from ..raiha_core.retrieval.search import search
from .compat import ProgressBar, model_management
from .models import ManagedEncoder, one_frame
from .sockets import GalleryObject

_MOST = 4


def search_of(gallery: GalleryObject, encoder: ManagedEncoder) -> Find:
    """A search of the gallery as Retrieve References makes it at its defaults."""

    def find(pixels: Tensor, mask: Tensor, within: Candidates | None) -> Candidates:
        return search(gallery, pixels, mask, encoder=encoder, by="both", top_k=_MOST, within=within)

    return find


def found_for_all(pixels: Tensor, weight: Tensor, find: Find) -> tuple[Candidates | None, ...]:
    """What is found for each frame of a batch (B, 3, H, W) with masks (B or 1, 1, H, W).

    None for frames without an object. Tells its progress, and can be cancelled after each frame.
    Raises: ValueError where no frame has an object; what `find` raises.
    """
    if not (weight > 0).any():
        raise ValueError("the masks of all frames are empty: there is no object to find references for")
    kept, found = KeptReferences(), []
    frames = max(len(pixels), len(weight))
    progress = ProgressBar(frames)
    for place in range(frames):
        model_management.throw_exception_if_processing_interrupted()
        picture, mask = one_frame(pixels, place).float(), one_frame(weight, place).float()
        found.append(kept.of(picture, mask, find) if (mask > 0).any() else None)
        progress.update_absolute(place + 1, frames)
    return tuple(found)


def frame_lines(found: Sequence[Candidates | None]) -> str:
    """Which photos each run of frames has, one line for each run."""
    runs: list[tuple[int, str]] = []
    for place, one in enumerate(found, 1):
        names = "no object" if one is None else ", ".join(item.photo.id for item in one.items) or "none"
        if not runs or runs[-1][1] != names:
            runs.append((place, names))
    ends = [start - 1 for start, _ in runs[1:]] + [len(found)]
    return "\n".join(
        f"frames {start} to {end}: {names}" for (start, names), end in zip(runs, ends, strict=True)
    )
