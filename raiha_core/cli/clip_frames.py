"""A folder's pictures as the frames of one clip."""

from pathlib import Path

from torch import Tensor

from ..clips import Look, corrected, look_at, steady
from ..retrieval.kept import KeptReferences
from .pairs import Job


class Clip:
    """Frames that are steadied together: first all are looked at, then each is done again and written.

    Memory holds some hundred numbers for each frame, and one frame.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.looks: dict[Path, Look] = {}
        self.wanted: dict[Path, Tensor] = {}
        self.known = False  # whether all frames were looked at
        self.kept = KeptReferences()

    def settle(self) -> None:
        changes = steady(list(self.looks.values()), self.mode) if self.looks else []
        self.wanted = dict(zip(self.looks, changes, strict=True))
        self.known = True
        self.kept = KeptReferences()  # the frames come again from the first

    def frame(self, job: Job, composite: Tensor, harmonized: Tensor, mask: Tensor) -> Tensor:
        """The frame as it shall be; as it came, while the others are not known."""
        if not self.known:
            self.looks[job.composite] = look_at(composite, harmonized, mask)
        elif job.composite in self.looks:
            return corrected(harmonized, mask, self.looks[job.composite], self.wanted[job.composite])
        return harmonized
