"""A folder of another method's outputs, matched to a data set by file name."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from raiha_core.data.item import Triple
from raiha_core.data.pictures import PICTURE_ENDINGS, decode_rgb, picture_size

from ..data.batch import as_batch
from .protocols import SIZE, Protocol
from .run_settings import digest_of


class PredictionFolder:
    """Composite id -> file. The name of a file without its ending and `suffix` is the composite's."""

    def __init__(self, files: dict[str, Path], notes: tuple[str, ...]) -> None:
        self.files = files
        self.notes = notes  # what was left out or ignored, for the table's header

    def digest(self) -> str:
        """Changes when a file is replaced."""
        stats = ((name, path.stat()) for name, path in sorted(self.files.items()))
        return digest_of(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)

    def read(self, item: Triple) -> Tensor:
        """(1, 3, H, W) uint8."""
        return as_batch(decode_rgb(self.files[item.id]))


def _list(folder: Path, suffix: str) -> dict[str, Path]:
    """Id -> file of every picture in the folder and below."""
    if not folder.is_dir():
        raise ValueError(f"the folder of predictions '{folder}' does not exist")
    found: dict[str, Path] = {}
    doubles: list[tuple[Path, Path]] = []
    for path in sorted(folder.rglob("*")):
        if (
            path.suffix.lower() not in PICTURE_ENDINGS
            or not path.stem.endswith(suffix)
            or path.name.startswith(".")
        ):
            continue
        name = path.stem.removesuffix(suffix)
        if name in found:
            doubles.append((found[name], path))
        found.setdefault(name, path)
    if doubles:
        first, second = doubles[0]
        raise ValueError(f"{len(doubles)} predictions stand twice, the first are '{first}' and '{second}'")
    return found


def _endings(files: dict[str, Path]) -> dict[str, Path]:
    """Files whose ending is not the most frequent one: a sign of mixed-up outputs."""
    counts: dict[str, int] = {}
    for path in files.values():
        counts[path.suffix.lower()] = counts.get(path.suffix.lower(), 0) + 1
    usual = max(counts, key=lambda ending: (counts[ending], ending), default="")
    return {name: path for name, path in files.items() if path.suffix.lower() != usual}


def _wrong_sizes(items: Sequence[Triple], files: dict[str, Path], protocol: Protocol) -> dict[str, str]:
    """Id -> sentence for every prediction whose size the protocol cannot score."""
    wrong = {}
    for item in items:
        if item.id not in files:
            continue
        expected = picture_size(item.composite_path) if protocol.full_size else (SIZE, SIZE)
        actual = picture_size(files[item.id])
        if actual != expected:
            sizes = f"is {actual[0]}x{actual[1]}, {protocol} expects {expected[0]}x{expected[1]}"
            wrong[item.id] = f"'{files[item.id]}' {sizes}"
    return wrong


def index(
    folder: Path,
    items: Sequence[Triple],
    protocol: Protocol,
    *,
    suffix: str = "",
    allow_missing: bool = False,
) -> PredictionFolder:
    """The folder's files by composite id.

    Raises: ValueError that says how many predictions are missing, extra, of another ending or size, and
        which is the first. With `allow_missing` such files are left out and counted in `notes`.
    """
    found = _list(folder, suffix)
    known = {item.id for item in items}
    files = {name: path for name, path in found.items() if name in known}
    extra = sorted(set(found) - known)
    missing = [item.id for item in items if item.id not in files]
    odd = _endings(files)
    wrong = _wrong_sizes([item for item in items if item.id not in odd], files, protocol)
    problems = []
    if missing:
        problems.append(
            f"{len(missing)} of {len(items)} items have no prediction, the first is '{missing[0]}'"
        )
    if extra:
        problems.append(f"{len(extra)} predictions belong to no item, the first is '{found[extra[0]]}'")
    if odd:
        usual = next(path.suffix for name, path in files.items() if name not in odd)
        problems.append(
            f"{len(odd)} predictions have another ending than the other {len(files) - len(odd)} "
            f"({usual}), the first is '{odd[min(odd)]}'"
        )
    if wrong:
        other = "A" if protocol.name == "A-full" else "A-full"
        hint = f"; --protocol {other} scores pictures of the other size" if protocol.name[0] == "A" else ""
        problems.append(
            f"{len(wrong)} predictions have another size, the first: {next(iter(wrong.values()))}{hint}"
        )
    if problems and not allow_missing:
        raise ValueError(f"'{folder}': {'; '.join(problems)}. --allow-missing scores the rest")
    kept = {name: path for name, path in files.items() if name not in odd and name not in wrong}
    if not kept:
        raise ValueError(f"'{folder}' holds no prediction that can be scored: {'; '.join(problems)}")
    return PredictionFolder(kept, tuple(problems))
