"""Which kind of data set a folder is, and its items."""

from pathlib import Path

from . import folder, iharmony4
from .item import Triple
from .raharmony4 import listed_triples, read_references


def read_root(root: Path, list_file: Path | None = None) -> list[Triple]:
    """Items of a data set: three folders of triples, or iHarmony4's layout with one of its lists.

    Args:
        list_file: a text list or a RAHarmony4 list (.jsonl); relative paths start at `root`, then at
            the current folder. Left out: `IHD_test.txt`.
    Raises: ValueError where the folder or list is missing or the folder is neither layout; where a text list
        is empty, or a list has a bad line or names an item twice; where a triple is incomplete; where
        `list_file` is given for triples.
    """
    if not root.is_dir():
        raise ValueError(f"the data folder '{root}' does not exist")
    if folder.is_triple_folder(root):
        if list_file is not None:
            raise ValueError(f"'{root}' holds triples by equal name; a list needs iHarmony4's layout")
        return folder.read_triples(root)
    if list_file is None:
        list_file = Path(iharmony4.TEST_LIST)
        if not (root / list_file).is_file():
            raise ValueError(
                f"'{root}' is neither iHarmony4 (no {iharmony4.TEST_LIST}) nor triples "
                f"(no folders {', '.join(folder.FOLDERS)})"
            )
    path = root / list_file if (root / list_file).is_file() else list_file
    if path.suffix == ".jsonl":
        return listed_triples(root, read_references(path))
    items = iharmony4.read_iharmony4(root, path.resolve())
    if not items:
        raise ValueError(f"the list '{path}' is empty")
    return items
