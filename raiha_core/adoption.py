"""An authors' file opened where it lies: converted once, and kept beside it where that can be written."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from . import checkpoint
from .checkpoint import LoadedCheckpoint, Metadata
from .convert import convert
from .models.blocks import Operations
from .models.hdnet_files import METHODS
from .models.presets import filed
from .regular import file_digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Adopted:
    """The network, and what its user is to know."""

    loaded: LoadedCheckpoint
    line: str  # what it is, its licence, whether commercial use is allowed, and where it is kept


def adopt(path: Path, *, operations: Operations = nn) -> Adopted:
    """Open an authors' file by its tensors.

    Args: operations: the namespace of layer classes.
    Raises: as `convert.convert`.
    """
    kept = conversion_of(path)
    if not is_conversion(kept, path):
        network, metadata = convert(path, operations=operations)
        try:
            if kept.exists():
                raise FileExistsError(kept)  # of somebody else's weights
            checkpoint.save(kept, network, metadata)
        except OSError:
            loaded = LoadedCheckpoint(
                network=network,
                preset=metadata.preset,
                config=network.config,
                metadata=metadata,
                spec=metadata.spec,
            )
            return Adopted(loaded=loaded, line=_line(path, metadata, "it is held in memory alone"))
    loaded = checkpoint.load(kept, operations=operations)
    return Adopted(loaded=loaded, line=_line(path, loaded.metadata, f"it is kept as {kept.name}"))


def conversion_of(path: Path) -> Path:
    """Where the conversion of an authors' file is kept."""
    return path.with_suffix(".safetensors")


def converted_from(kept: Path) -> str:
    """The name of the authors' file that a weight file of ours was made from; "" where it was not."""
    try:
        return checkpoint.read_metadata(kept).notes.get("converted_from", "")
    except (OSError, ValueError):
        return ""


def is_conversion(kept: Path, path: Path) -> bool:
    """Whether a weight file of ours was made from this authors' file, and that file is still the same."""
    try:
        return checkpoint.read_metadata(kept).notes.get("sha256", "").split(" ")[0] == file_digest(path)
    except (OSError, ValueError):
        return False


def _line(path: Path, metadata: Metadata, where: str) -> str:
    card = filed()[metadata.preset].published
    if card is None:
        what = f"{METHODS[metadata.preset]}: the licence of its weights is the authors'"
    else:
        what = f"{card.method}, {card.origin}: {card.use}"
    return f"{path.name} is {what}; {where}"
