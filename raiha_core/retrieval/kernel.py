"""The compiled inner loops of a search, where they were built and the processor has what they need.

`kernel.c` is built by `pip install .` where a C compiler is; without it a search gives the same answer by
torch, only later. RAIHA_SEARCH in the environment says which to take: "torch", or "plain", "avx2" or
"avx512" of the kernel.
"""

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CHOICE = "RAIHA_SEARCH"
LEVELS = ("plain", "avx2", "avx512")  # as `kernel.c` numbers them
TORCH = "torch"


@dataclass(frozen=True, slots=True)
class Compiled:
    """The library, and which of its levels is taken."""

    library: ctypes.CDLL
    level: int

    @property
    def name(self) -> str:
        return LEVELS[self.level]


@cache
def _library() -> ctypes.CDLL | None:
    """The library, None where it was not built or does not load. Raises: nothing."""
    try:
        library = ctypes.CDLL(str(Path(__file__).with_name("kernel.compiled")))
        library.raiha_best_level.restype = ctypes.c_int64
        library.raiha_search.restype = ctypes.c_int64
    except (OSError, AttributeError):  # not there, of another system, or of another version of ours
        return None
    return library


def kernel() -> Compiled | None:
    """What a search runs on; None stands for torch.

    Without a choice the plain level is not taken: torch has faster products than a plain loop.
    Raises: ValueError where RAIHA_SEARCH asks for what is not here.
    """
    wanted, library = os.environ.get(CHOICE, ""), _library()
    if wanted not in ("", TORCH, *LEVELS):
        raise ValueError(f"{CHOICE} must be one of {', '.join((TORCH, *LEVELS))}, got '{wanted}'")
    if wanted == TORCH:
        return None
    if library is None:
        if wanted:
            raise ValueError(
                f"{CHOICE} is '{wanted}', but the kernel is not built: install with a C compiler"
            )
        return None
    best = int(library.raiha_best_level())
    if wanted and LEVELS.index(wanted) > best:
        raise ValueError(f"{CHOICE} is '{wanted}', but this processor has '{LEVELS[best]}' at most")
    level = LEVELS.index(wanted) if wanted else best
    return Compiled(library, level) if wanted or level > 0 else None


def running() -> str:
    """What a search runs on, in words: "kernel (avx2)" or "torch"."""
    found = kernel()
    return TORCH if found is None else f"kernel ({found.name})"
