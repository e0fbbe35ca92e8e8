"""The engines by name, opened on an export or for a new one."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from .. import durable
from ..gallery.protocol import Gallery
from .candidate_source import CandidateSource, note_export, require_export
from .lance import LanceSource
from .pgvector import PgvectorSource

SOURCES: dict[str, Callable[[Path], CandidateSource]] = {
    "pgvector": PgvectorSource,
    "lancedb": LanceSource,
}


def export_to_engine(gallery: Gallery, folder: Path, engine: str) -> None:
    """Fill an engine's database below a folder with a gallery's patches; the gallery is only read.

    Raises: ValueError where the engine is not installed, or the folder holds something else.
    """
    notes = folder / "export.json"
    if folder.exists() and not notes.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds something else: export to an empty folder")
    if notes.exists():
        notes.unlink()  # what is there is no whole export until this one is done
    durable.make_folder(folder)
    with closing(SOURCES[engine](folder)) as source:
        source.fill(gallery)
    note_export(folder, engine, gallery)


@contextmanager
def opened_export(gallery: Gallery, folder: Path, engine: str) -> Iterator[CandidateSource]:
    """The engine on an export of this very gallery. Raises: ValueError where there is none."""
    require_export(folder, engine, gallery)
    with closing(SOURCES[engine](folder)) as source:
        yield source
