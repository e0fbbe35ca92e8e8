"""Weights that their authors keep in several files: put together, each file under its part's name.

Which part a file is, is told from its tensors. The main part calls for the others: they lie in the folder
that is named, or beside the file under the authors' names (`latest_net_G.pth`, `latest_net_E.pth`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Part:
    """One file's share of a method's weights."""

    method: str
    name: str
    all: tuple[str, ...]  # of the method; the first is the main one
    wanted: Mapping[str, Tensor]  # its tensors, by the names in the file

    def share(self, state: Tensors) -> float:
        """How much of it a state is, 0..1: tensors equal in name and shape, over those of either."""
        same = sum(key in state and state[key].shape == value.shape for key, value in self.wanted.items())
        return same / max(1, len(self.wanted.keys() | state.keys()))


def parts_of(method: str, names: tuple[str, ...], wanted: Mapping[str, Tensor]) -> list[Part]:
    """A method's parts. Args: wanted: every tensor that its files must hold, as PART.NAME."""
    found = []
    for name in names:
        start = f"{name}."
        own = {key.removeprefix(start): value for key, value in wanted.items() if key.startswith(start)}
        found.append(Part(method, name, names, own))
    return found


def part_of(state: Tensors, known: list[Part], near: float) -> Part | None:
    """The part that a state is; None where less than `near` of it fits any."""
    best = max(known, key=lambda part: part.share(state), default=None)
    return best if best is not None and best.share(state) >= near else None


def partners(path: Path, part: Part) -> list[Path]:
    """The file of the main part, and those of the others that lie beside it under the authors' names."""
    pattern = re.compile(rf"(^|[_.-]){re.escape(part.name)}$")
    others = [path.with_name(pattern.sub(rf"\g<1>{name}", path.stem) + path.suffix) for name in part.all]
    return [path, *(other for other in others if other != path and other.is_file())]


def joined(where: Path, found: Mapping[Path, tuple[Part, Tensors]]) -> tuple[Tensors, list[Path]]:
    """One state of all the parts, and the files it comes from, in the order of the parts.

    Raises: ValueError naming a part that is missing or there twice, or files of two methods.
    """
    files: dict[str, Path] = {}
    for path, (part, _) in found.items():
        if part.name in files:
            raise ValueError(f"{where} holds one part twice: {files[part.name].name} and {path.name}")
        files[part.name] = path
    first = next(iter(found.values()))[0]
    missing = [name for name in first.all if name not in files]
    if missing or len(found) != len(first.all):
        here = " and ".join(path.name for path in found)
        raise ValueError(
            f"{where} holds {here} of the weights of '{first.method}', which are {len(first.all)} files: "
            f"give the folder with all of them ({', '.join(f'..._{name}.pth' for name in first.all)})"
        )
    state = {f"{name}.{key}": value for name in first.all for key, value in found[files[name]][1].items()}
    return state, [files[name] for name in first.all]
