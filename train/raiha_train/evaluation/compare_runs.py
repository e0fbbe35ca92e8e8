"""Two runs on the same images: differences per metric, with intervals."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

from .intervals import paired
from .run_settings import SETTINGS_FILE
from .summary import METRICS, SAME_DB, scene


def _read(run: Path) -> tuple[str, dict[str, dict[str, str]]]:
    """Protocol and per-image rows of a run."""
    try:
        protocol = json.loads((run / SETTINGS_FILE).read_text(encoding="utf-8"))["protocol"]
        with open(run / "per_image.csv", newline="", encoding="utf-8") as file:
            rows = {row["id"]: row for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"'{run}' is not a finished run: {error}") from None
    return protocol, rows


def compare_runs(first: Path, second: Path) -> dict[str, object]:
    """Second minus first on the images that both have.

    Raises: ValueError where a run is unfinished, protocols differ, or no image is shared.
    """
    (protocol, a), (other, b) = _read(first), _read(second)
    if protocol != other:
        raise ValueError(f"'{first}' was scored under protocol {protocol}, '{second}' under {other}")
    shared = [name for name in b if name in a]
    if not shared:
        raise ValueError(f"'{first}' and '{second}' share no image")
    groups = [scene(name) for name in shared]
    found: dict[str, object] = {
        "first": str(first),
        "second": str(second),
        "protocol": protocol,
        "images": len(shared),
        "only_first": len(a) - len(shared),
        "only_second": len(b) - len(shared),
    }
    for metric in METRICS:
        values = ([float(rows[name][metric]) for name in shared] for rows in (a, b))
        found[metric] = asdict(paired(*values, groups, same=SAME_DB if "psnr" in metric else 0.0))
    return found
