"""Where a result may go: asked before the work, which a missing folder or a lost original would waste."""

import os
from collections.abc import Iterable
from pathlib import Path


def require_place(output: Path, inputs: Iterable[Path]) -> None:
    """Check that `output` can be made, and is none of the files that are read.

    Raises: ValueError naming the folder that is missing or may not be written, or the input that the
        result would replace.
    """
    folder = output.parent
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "does not exist"
        raise ValueError(f"{output} cannot be written: {folder} {reason}")
    if output.is_dir():
        raise ValueError(f"{output} is a folder; name the result's file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{output} cannot be written: no permission to write in {folder.resolve()}")
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            raise ValueError(f"the result would replace {path}, which is read; name another file")


def require_apart(output: Path, folder: Path) -> None:
    """Check that results do not go among the pictures of `folder`, whose next run would take them up.

    Raises: ValueError naming both.
    """
    inner, outer = output.resolve(), folder.resolve()
    if inner == outer or outer in inner.parents:
        raise ValueError(f"the results' folder {output} lies in {folder}, which is read; name another folder")
