"""Rows of the reproduced tables: which run each of ours comes from, and how a line is filled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .plan import NO_REFERENCE


@dataclass(frozen=True, kw_only=True, slots=True)
class RowSpec:
    """One row of ours."""

    title: str
    model: str  # "composite", "statistics", or the name that a checkpoint is given under
    variant: str = NO_REFERENCE  # or "runs": mean and deviation over the draws of references
    references: bool = False  # whether the run guides by the table's list
    list_name: str | None = None  # another list than the table's
    run: str = ""  # folder of the run; rows that differ in the variant alone share it
    protocols: tuple[str, ...] = ("B", "C")  # that it is measured under, where none are asked for


def _row(title: str, model: str, run: str = "", **options: Any) -> RowSpec:
    return RowSpec(title=title, model=model, run=run or model.replace("/", "_"), **options)


def _pair(title: str, model: str) -> list[RowSpec]:
    """The same weights without and with references: only the difference proves that they help."""
    return [
        _row(f"{title}, no reference", model, references=True),
        _row(title, model, references=True, variant="runs"),
    ]


SPECS: dict[str, list[RowSpec]] = {
    "1": [
        # also under A, beside the networks that know 256 pixels only
        _row("composite", "composite", protocols=("B", "C", "A")),
        _row("statistics", "statistics"),
        _row("HDNet (ours)", "hdnet"),
        _row("Raiha (ours)", "raiha"),
        _row("raiha-plus", "raiha-plus"),
    ],
    "2": [
        _row("composite", "composite"),
        *_pair("statistics", "statistics"),
        _row("HDNet (ours)", "hdnet"),
        *_pair("Raiha (ours)", "raiha"),
        *_pair("raiha-plus", "raiha-plus"),
    ],
    "3": [
        _row(
            "trained without augmented references", "raiha_no_augmentation", references=True, variant="runs"
        ),
        _row("trained without retrieved references", "raiha_no_retrieval", references=True, variant="runs"),
        _row("without SGF", "raiha_no_sgf", references=True, variant="runs"),
        _row(
            "references of other light, 0.7 <= eps_a < 0.8",
            "raiha",
            run="raiha_light_07",
            references=True,
            variant="runs",
            list_name="light_07",
        ),
        _row(
            "references of other light, 0.8 <= eps_a < 0.9",
            "raiha",
            run="raiha_light_08",
            references=True,
            variant="runs",
            list_name="light_08",
        ),
        _row("no reference at inference", "raiha", references=True),
        _row("Raiha (ours)", "raiha", references=True, variant="runs"),
    ],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TableLine:
    """One line of a table. `scores`: subset or "average" -> mse, psnr, and their deviations if any."""

    method: str
    source: str  # "ours", "peer" or "paper"
    protocol: str
    count: int = 0
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    note: str = ""
    published: str = ""  # the published figure of a network measured here, and by which ruler

    @classmethod
    def of_groups(
        cls, method: str, source: str, protocol: str, grouped: Mapping[str, Any], count: int
    ) -> "TableLine":
        """From means overall and per subset, as `summary.grouped` gives them."""
        parts = {"average": grouped["overall"], **grouped["subsets"]}
        scores = {name: {m: part[m] for m in ("mse", "psnr")} for name, part in parts.items()}
        return cls(method=method, source=source, protocol=protocol, count=count, scores=scores)

    @classmethod
    def of_runs(
        cls, method: str, protocol: str, runs: Mapping[str, Any], variants: Mapping[str, Any]
    ) -> "TableLine":
        """From mean and deviation over runs of reference choice."""
        scores = {}
        for name, spread in {"average": runs["overall"], **runs["subsets"]}.items():
            scores[name] = {m: spread[m]["mean"] for m in ("mse", "psnr")}
            scores[name] |= {f"{m}_std": spread[m]["std"] for m in ("mse", "psnr")}
        count = next(v["overall"]["n"] for k, v in variants.items() if k.startswith("run "))
        return cls(method=method, source="ours", protocol=protocol, count=int(count), scores=scores)

    def cell(self, name: str) -> str:
        """'MSE (deviation) / PSNR (deviation)', '-' where there is none."""
        values = self.scores.get(name)
        if not values:
            return "-"
        texts = []
        for metric in ("mse", "psnr"):
            std = values.get(f"{metric}_std")
            texts.append(f"{values[metric]:.2f}" + ("" if std is None else f" ({std:.2f})"))
        return " / ".join(texts)
