"""The tables that a run leaves: history.csv, a row per step, and validation.jsonl, a line per validation."""

import csv
import json
import sys
from pathlib import Path

import torch

from raiha_core.durable import write_text

HISTORY, VALIDATIONS = "history.csv", "validation.jsonl"
HISTORY_COLUMNS = (
    *("step", "loss", "learning_rate"),
    *("seconds", "data_wait", "peak_mib"),  # of the step: wall time, of it waiting for data, memory
)
MIB = 1 << 20


def peak_mib(device: torch.device) -> float:
    """MiB: most that the device held since the last call; on the CPU the most that the process ever had."""
    if device.type == "cuda" and torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak / MIB
    if sys.platform == "win32":
        return float("nan")
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def history_row(step: int, loss: float, rate: float, seconds: float, waited: float, mib: float) -> str:
    return f"{step},{loss!r},{rate!r},{seconds:.4f},{waited:.4f},{mib:.0f}"


def truncate_history(path: Path, step: int) -> None:
    """Drop the rows of steps that a resumed run will do again."""
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row and row[0] != "step" and int(row[0]) <= step]
    else:
        rows = []
    write_text(path, "\n".join(",".join(row) for row in [list(HISTORY_COLUMNS), *rows]) + "\n")


def truncate_validations(path: Path, step: int) -> None:
    """The same for validation.jsonl; a torn last line goes too."""
    if path.is_file():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        write_text(path, "".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= step))


def validation_table(path: Path) -> str:
    """The validations of a run, a line each; the last ten."""
    columns = ("step", "fmse", "fmse_composite", "fpsnr", "fpsnr_composite", "better")
    lines = ["".join(f"{name:>17}" for name in columns)]
    for line in path.read_text(encoding="utf-8").splitlines()[-10:]:
        row = json.loads(line)
        lines.append(
            "".join(f"{row[name]:>17.2f}" if name != "step" else f"{row[name]:>17}" for name in columns)
        )
    return "\n".join(lines)
