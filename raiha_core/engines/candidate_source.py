"""The one face of all engines: which photos an engine proposes, and the exact search among those alone.

What is answered is exact of the photos that were proposed; a photo that an engine passes over is missed. How
many those are is measured (`gallery bench`), never assumed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import durable
from ..gallery.protocol import Gallery
from ..reasons import reason
from ..regular import read_regular
from ..retrieval.parted_search import PhotosDone, SearchWork, WholeSearch
from ..retrieval.ranking import Hit

_NOTES = "export.json"
_LARGEST = 1 << 20  # bytes of it


class CandidateSource(Protocol):
    """A database that holds the patches of one gallery."""

    @property
    def name(self) -> str:
        """As users call it."""

    def fill(self, gallery: Gallery) -> None:
        """Take in all patches, in place of what was there, and index them."""

    def propose(self, patches: Tensor, count: int) -> NDArray[np.int64]:
        """Rows of the gallery's photos that are near some of the query's patches (m, D).

        Args: count: how many neighbours each patch asks for.
        """

    def close(self) -> None:
        """Let go of the database; what is on the disk stays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSearch:
    """A `Searcher` that compares, exactly, the photos that an engine proposes for each query."""

    source: CandidateSource
    count: int = 1000  # neighbours of each patch of the object

    def scan(
        self, gallery: Gallery, work: SearchWork, allowed: Tensor, progress: PhotosDone | None
    ) -> list[list[Hit]]:
        """The qualifying photos among those that the engine proposes for the object's patches."""
        return WholeSearch().scan(gallery, work, self._proposed(work, allowed), progress)

    def bounds(
        self, gallery: Gallery, work: SearchWork, allowed: Tensor, progress: PhotosDone | None
    ) -> NDArray[np.float64]:
        """Bounds of the proposed photos' content, -inf for all others."""
        return WholeSearch().bounds(gallery, work, self._proposed(work, allowed), progress)

    def _proposed(self, work: SearchWork, allowed: Tensor) -> Tensor:
        found = torch.zeros_like(allowed)
        for number, query in enumerate(work.queries):
            patches = query.background if work.request.by == "illumination" else query.foreground
            if bool(patches.any()):
                found[number, self.source.propose(query.content[patches], self.count)] = True
        return found & allowed


def note_export(folder: Path, engine: str, gallery: Gallery) -> None:
    """Write down what a database holds, once it holds it."""
    text = json.dumps({"engine": engine, "gallery": gallery.fingerprint, "photos": len(gallery)}, indent=1)
    durable.write_text(folder / _NOTES, text + "\n")


def require_export(folder: Path, engine: str, gallery: Gallery) -> None:
    """Raises: ValueError where a folder holds no whole export of this gallery as it is now."""
    remedy = f"export it to {engine} again (`raiha gallery export`)"
    try:
        said = json.loads(read_regular(folder / _NOTES, _LARGEST))
        engine_there, of = said["engine"], said["gallery"]
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no whole export of a gallery; {remedy}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / _NOTES} is damaged: {reason(error)}; {remedy}") from None
    if engine_there != engine:
        raise ValueError(f"{folder} is an export for {engine_there}, not for {engine}")
    if of != gallery.fingerprint:
        raise ValueError(f"'{gallery.name}' has changed since it was exported to {folder}; {remedy}")
