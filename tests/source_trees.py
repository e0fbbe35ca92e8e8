"""The project's own sources, parsed: what tests of the house read."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


def python_files(folder: Path) -> list[Path]:
    hidden = (".", "__pycache__")
    files = [
        path
        for path in folder.rglob("*.py")
        if not any(p.startswith(hidden) for p in path.parts[len(folder.parts) :])
    ]
    return sorted(files)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))
