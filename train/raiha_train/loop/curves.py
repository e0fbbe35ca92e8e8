"""Loss and validation curves of a run as one PNG, from the files it leaves; no tracker needed."""

import csv
import json
from pathlib import Path

import matplotlib

from raiha_core.durable import durable_path

CURVES = "curves.png"


def read_history(path: Path) -> tuple[list[int], list[float]]:
    """Steps and losses of history.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [int(row["step"]) for row in rows], [float(row["loss"]) for row in rows]


def read_validation(path: Path) -> list[dict[str, float]]:
    """The lines of validation.jsonl; none where there was no validation yet."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def smooth(values: list[float], share: float = 0.05) -> list[float]:
    """A running mean over `share` of all values, the early ones over what there is."""
    width = max(1, round(share * len(values)))
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return [
        (sums[i + 1] - sums[max(0, i + 1 - width)]) / (i + 1 - max(0, i + 1 - width))
        for i in range(len(values))
    ]


def draw_curves(output: Path) -> Path:
    """Write OUTPUT/curves.png from OUTPUT/history.csv and OUTPUT/validation.jsonl."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps, losses = read_history(output / "history.csv")
    points = read_validation(output / "validation.jsonl")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    left.plot(steps, losses, color="0.8", linewidth=0.8)
    left.plot(steps, smooth(losses), color="tab:blue")
    left.set(xlabel="step", ylabel="training loss")
    places = [point["step"] for point in points]
    right.plot(places, [point["fmse"] for point in points], marker="o", label="harmonized")
    right.plot(places, [point["fmse_composite"] for point in points], "--", color="0.5", label="composite")
    right.set(xlabel="step", ylabel="validation fMSE", ylim=(0, None))
    right.legend()
    figure.tight_layout()
    path = output / CURVES
    with durable_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)
    return path
