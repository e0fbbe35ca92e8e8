"""Published figures: the paper's tables, the official lists, and per-image scores of other methods."""

import csv
import gzip
import io
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from raiha_core.data.raharmony4 import Listed, parse_references

from .metrics import psnr

FIGURES = Path(__file__).with_name("published_figures")

# Column prefix -> name and protocol of the published per-image scores.
PEERS = {
    "PCTNet_ViT_FR": ("PCT-Net ViT", "C-float"),
    "PCTNet_CNN_FR": ("PCT-Net CNN", "C-float"),
    "DCCF_FR": ("DCCF", "C-float"),
    "harmonizer_FR": ("Harmonizer", "full size, background counted in MSE, peak = maximum of the truth"),
    "R2R_256gt": ("R2R", "256, truth outside (near A)"),
}
REBUILT = ("Harmonizer, rebuilt from its fMSE", "C-float")


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerScore:
    """One method on one image, as published."""

    id: str
    subset: str
    mse: float
    psnr: float


def _text(name: str) -> str:
    with gzip.open(FIGURES / f"{name}.gz", "rt", encoding="utf-8", newline="") as file:
        return file.read()


def paper_tables() -> dict[str, dict]:  # type: ignore[type-arg]
    """'1', '2', '3' -> title, count of images, and rows with a method, a protocol and scores."""
    return json.loads((FIGURES / "paper_tables.json").read_text(encoding="utf-8"))


def official_list_text() -> str:
    """The published RAHarmony4 test list, byte for byte."""
    return _text("RAHarmony4_test.jsonl")


def official_list() -> list[Listed]:
    return parse_references(official_list_text(), "RAHarmony4_test.jsonl")


def test_names() -> list[str]:
    """The 7,404 lines of IHD_test.txt."""
    return _text("IHD_test.txt").split()


def peer_rows() -> list[dict[str, str]]:
    """The published per-image table, one dict a row."""
    return list(csv.DictReader(io.StringIO(_text("per_image_peers_7404.csv"))))


def composite_published() -> dict[str, tuple[float, float]]:
    """Id -> (MSE, PSNR) of the untouched composite under C."""
    return {r["name"]: (float(r["comp_FR_MSE"]), float(r["comp_FR_PSNR"])) for r in peer_rows()}


def peers(ids: Collection[str]) -> dict[tuple[str, str], list[PeerScore]]:
    """(method, protocol) -> its published scores on these images."""
    wanted = set(ids)
    rows = [row for row in peer_rows() if row["name"] in wanted]
    found: dict[tuple[str, str], list[PeerScore]] = {}
    for prefix, key in PEERS.items():
        found[key] = [
            PeerScore(
                id=r["name"],
                subset=r["subset"],
                mse=float(r[f"{prefix}_MSE"]),
                psnr=float(r[f"{prefix}_PSNR"]),
            )
            for r in rows
        ]
        if prefix == "harmonizer_FR":
            found[REBUILT] = [_rebuilt(r) for r in rows]
    return found


def _rebuilt(row: dict[str, str]) -> PeerScore:
    """Harmonizer under C: MSE = fMSE times the foreground ratio, peak 255."""
    mse = float(row["harmonizer_FR_fMSE"]) * float(row["mask_area"]) / (int(row["H"]) * int(row["W"]))
    decibels = float(psnr(torch.tensor(mse, dtype=torch.float64)))
    return PeerScore(id=row["name"], subset=row["subset"], mse=mse, psnr=decibels)
