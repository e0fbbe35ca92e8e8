"""What is known of a published network and of its authors' weights: names, licence, source, score.

Source: the authors' repositories, at the commits named in each network's file.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

KeyRules = tuple[tuple[str, str], ...]  # pattern and replacement, applied in order


def key_rules(text: str) -> KeyRules:
    """Rules from lines of `pattern -> replacement`; `(nothing)` stands for an empty replacement.

    Raises: ValueError where a line is no such rule.
    """
    found = []
    for line in text.strip().splitlines():
        pattern, arrow, new = line.strip().partition(" -> ")
        if not arrow:
            raise ValueError(f"no rule of keys: '{line.strip()}'")
        found.append((pattern, "" if new == "(nothing)" else new))
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A method whose authors gave their weights away."""

    method: str  # the name that papers print
    year: int
    citation: str
    repository: str  # owner/name on GitHub
    commit: str
    keys: KeyRules  # names of our tensors -> names of theirs
    licence: str  # of the weights, as their repository states it
    commercial: bool | None  # whether that licence allows commercial use; None: nothing is stated
    file: str | None = None  # the weights, as a path inside the repository; None: not kept there
    blob: str | None = None  # git's digest of that file
    # how the names of our tensors begin that inference never reads, and that a file may leave out
    idle: tuple[str, ...] = ()
    # where the weights are several files: how the names of each file's tensors begin in `keys`
    parts: tuple[str, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)  # as published; the protocol is in the name

    def __post_init__(self) -> None:
        if (self.file is None) != (self.blob is None):
            raise ValueError(f"{self.method}: a file needs its digest, got {self.file!r} and {self.blob!r}")

    @property
    def can_be_fetched(self) -> bool:
        return self.file is not None

    @property
    def origin(self) -> str:
        """Where it comes from, in one line."""
        return f"{self.repository} at {self.commit[:7]}"

    @property
    def by_hand(self) -> str:
        """How a file comes here that no repository keeps."""
        return (
            f"the weights of {self.method} are in no repository: get them from the authors "
            f"(github.com/{self.repository}), and `raiha convert` opens them"
        )

    @property
    def use(self) -> str:
        """The licence in words for the user."""
        if self.commercial is None:
            return "no licence is stated, so ask the authors before any commercial use"
        allowed = "allows" if self.commercial else "does not allow"
        return f"its licence, {self.licence}, {allowed} commercial use"


def their_name(ours: str, keys: KeyRules) -> str:
    """The authors' name of one of our tensors."""
    for pattern, replacement in keys:
        ours = re.sub(pattern, replacement, ours)
    return ours


def split_projections(state: dict[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
    """`in_proj_weight` (3D, D) of torch's attention as three tensors, `in_proj_weight (query)` and so on.

    Only where the parts are wanted; a tensor that cannot be cut in three stays, and is refused by name.
    """
    cut = {name.removesuffix(" (query)") for name in wanted if name.endswith(" (query)")}
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in cut and value.ndim and value.shape[0] % 3 == 0:
            parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
            found |= {f"{name} ({part})": piece for part, piece in parts}
        else:
            found[name] = value
    return found
