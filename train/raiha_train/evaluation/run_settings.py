"""What decides a run's numbers, kept beside them: a run is continued only with the same settings."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import raiha_core
from raiha_core.durable import write_text
from raiha_core.regular import file_digest

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Equal settings give equal numbers; where the files lie is not part of them."""

    protocol: str
    model: str  # preset, file name, "composite" or "predictions"
    model_digest: str  # of the weights or of the listing of predictions; "" where there are none
    strength: float
    rendering: str  # of full size, "ours" or "authors"; "" where nothing is rendered
    items: str  # digest of the ids in their order
    references: str  # digest of the list; "" without one
    seeds: int
    encoder: str  # that matches references to composites; "" without a list
    code: str  # digest of our sources: scores of two code versions are not mixed


def digest_of(parts: Iterable[str | bytes]) -> str:
    """SHA-256 of the parts in order, its first 16 hex digits."""
    total = hashlib.sha256()
    for part in parts:
        total.update((part.encode() if isinstance(part, str) else part) + b"\0")
    return total.hexdigest()[:16]


def weights_digest(path: Path) -> str:
    """SHA-256 of a weight file, its first 16 hex digits."""
    return file_digest(path)[:16]


def code_digest() -> str:
    """Of every source file of the core and of this package."""
    roots = Path(raiha_core.__file__).parent, Path(__file__).parents[1]
    return digest_of(path.read_bytes() for root in roots for path in sorted(root.rglob("*.py")))


def claim(out: Path, settings: Mapping[str, object], overwrite: bool, logs: Iterable[str]) -> None:
    """Make `out` this run's folder.

    Args:
        settings: all that decides the run's numbers, JSON values.
        logs: files of an earlier run, relative to `out`, to be dropped when it is started anew.
    Raises: ValueError that shows the difference where `out` holds a run with other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / SETTINGS_FILE
    new = json.loads(json.dumps(settings))  # as it will be read back
    if path.is_file() and not overwrite:
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise ValueError(f"'{path}' is not readable; --overwrite starts anew") from None
        changed = [f"{k}: {old.get(k)!r} there, {v!r} now" for k, v in new.items() if old.get(k) != v]
        if changed:
            raise ValueError(
                f"'{out}' holds a run with other settings ({'; '.join(changed)}); "
                "choose another folder or pass --overwrite"
            )
        return
    for name in logs:
        (out / name).unlink(missing_ok=True)
    write_text(path, json.dumps(new, indent=2) + "\n")
