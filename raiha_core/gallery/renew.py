"""Making a gallery's derived files anew, on request: an answer never changes by it, only its speed."""

from pathlib import Path

from .index import build_index
from .writer import Writer, disk_trouble


def renew(store: str | Path) -> int:
    """Fit the rotation to the gallery as it is now, and make all indexes again.

    A kill on the way leaves indexes of the old rotation, which are passed over, and photos that are scanned.
    Returns: how many shards it did.
    Raises: ValueError where there is no gallery, it is damaged, or another process writes it; OSError.
    """
    with Writer(Path(store), None) as writer, disk_trouble(writer.layout.root):
        return build_index(writer.layout, writer.state, renew=True)
