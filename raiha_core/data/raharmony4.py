"""RAHarmony4: which reference photos belong to which composite of iHarmony4.

Source: the Raiha paper, III-B and IV-A, its published list and its loader. One JSON object a line:
{"input": "SUBSET/composite_images/NAME.jpg", "mask": "SUBSET/masks/NAME.png",
 "refs": ["SUBSET/real_images/PHOTO.jpg"]}
The list that the authors train with, IHD_train_all.jsonl in iHarmony4's folder, names every training
composite; its "refs" may be empty. Their loader draws one of them, as ours does.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..durable import write_text
from ..opening import read_list_text
from ..reasons import reason
from ..regular import stays_inside
from .iharmony4 import parse_name, triple
from .item import Triple, require_unique

TRAIN_REFERENCES = "IHD_train_all.jsonl"
LISTED_COUNTS = {"HAdobe5k": 586, "HFlickr": 174, "HCOCO": 1465, "Hday2night": 23}
KEYS = ("input", "mask", "refs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One line of a list; paths are relative to the data root, best reference first."""

    input: str
    mask: str
    refs: tuple[str, ...]

    def to_line(self) -> str:
        return json.dumps({"input": self.input, "mask": self.mask, "refs": list(self.refs)})


def _parse(line: str, empty: bool) -> Listed:
    data = json.loads(line)
    if not isinstance(data, dict) or set(data) != set(KEYS):
        raise ValueError(f"the keys must be {', '.join(KEYS)}")
    refs = data["refs"]
    if not isinstance(data["input"], str):
        raise ValueError("'input' must be a path")
    if not isinstance(refs, list) or not (refs or empty) or not all(isinstance(ref, str) for ref in refs):
        raise ValueError(f"'refs' must be a list of {'paths' if empty else 'at least one path'}")
    if outside := [ref for ref in refs if not stays_inside(ref)]:
        raise ValueError(f"'{outside[0]:.200}' leads out of the data folder")
    if len(set(refs)) != len(refs):
        raise ValueError("a reference stands twice")
    if data["mask"] != parse_name(data["input"]).mask_path:
        raise ValueError(f"'{data['mask']}' is not the mask of '{data['input']}'")
    return Listed(input=data["input"], mask=data["mask"], refs=tuple(refs))


def parse_references(text: str, name: str, *, empty: bool = False) -> list[Listed]:
    """The entries of a list's text, in order.

    Args: empty: whether a composite may have no reference, as in the list that the authors train with.
    Raises: ValueError with `name` and the first bad line, or an input that stands twice.
    """
    listed = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            listed.append(_parse(line, empty))
        except (ValueError, RecursionError) as error:  # JSONDecodeError is one
            why = reason(error) if isinstance(error, RecursionError) else error
            raise ValueError(f"'{name}', line {number}: {why}") from None
    require_unique([triple(Path(), entry.input) for entry in listed])
    return listed


def read_references(path: Path, *, empty: bool = False) -> list[Listed]:
    """The entries of an official or own list, in order.

    Args: empty: as `parse_references`.
    Raises: ValueError naming the file and the first bad line, or an input that stands twice.
    """
    try:
        text = read_list_text(path)
    except FileNotFoundError:
        raise ValueError(f"the list '{path}' does not exist") from None
    return parse_references(text, str(path), empty=empty)


def write_references(path: Path, listed: Sequence[Listed]) -> None:
    """Replace a list; the same entries give the same bytes."""
    write_text(path, "".join(f"{entry.to_line()}\n" for entry in listed))


def listed_triples(root: Path, listed: Sequence[Listed]) -> list[Triple]:
    """The composites of a list, in its order."""
    return [triple(root, entry.input) for entry in listed]


def seeded_generator(seed: int, name: str) -> np.random.Generator:
    """A generator that depends on the seed and the item, never on its position in a list."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))


def draw_reference(entry: Listed, seed: int) -> str:
    """Run `seed` of the paper's evaluation: one of the item's references, uniformly."""
    return entry.refs[int(seeded_generator(seed, entry.input).integers(len(entry.refs)))]


def draw_other_photo(entry: Listed, pool: Sequence[str], seed: int) -> str:
    """A photo of `pool` (sorted) that is none of the item's references nor its own real photo.

    Raises: ValueError naming the item where the pool holds nothing else.
    """
    own = {*entry.refs, parse_name(entry.input).real_path}
    others = [path for path in pool if path not in own]
    if not others:
        raise ValueError(f"no photo is left to draw at random for '{entry.input}'")
    return others[int(seeded_generator(seed, f"random:{entry.input}").integers(len(others)))]
