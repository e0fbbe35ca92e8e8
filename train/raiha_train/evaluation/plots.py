"""A run's plots: composite against result per image, and scores by foreground ratio."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from raiha_core.durable import durable_path

from .intervals import bootstrap_mean
from .metrics import BIN_NAMES, foreground_bin
from .plan import ScoringPlan
from .summary import Table, headline_rows, scene, subsets_of, untouched_rows

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#555555")  # told apart by the colour-blind too
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 130}


def _save(figure: Figure, path: Path) -> None:
    with durable_path(path) as temporary:
        figure.savefig(temporary)


def scatter(table: Table, plan: ScoringPlan, order: Sequence[str], title: str, protocol: str) -> Figure:
    """PSNR of the composite against that of the result; below the diagonal is harm."""
    before = {row.id: row for row in untouched_rows(table, order)}
    after = headline_rows(table, plan, order)
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    shown = subsets_of([row for row, _ in after]) or [""]
    for colour, subset in zip(COLOURS, shown, strict=False):
        points = [(before[r.id].scores.psnr, s["psnr"]) for r, s in after if r.subset == subset]
        size = 18 if len(after) < 500 else 4
        label = f"{subset or 'all'} (n = {len(points)})"
        axes.scatter(*zip(*points, strict=True), s=size, color=colour, alpha=0.7, linewidths=0, label=label)
    ends = [min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])]
    axes.plot(ends, ends, color="#999999", linewidth=1, zorder=0)
    axes.annotate(
        "unchanged",
        (ends[1], ends[1]),
        xytext=(-4, -14),
        textcoords="offset points",
        ha="right",
        color="#777777",
    )
    axes.set(xlabel="PSNR of the composite (dB)", ylabel="PSNR of the result (dB)", xlim=ends, ylim=ends)
    axes.set_title(f"{title}, protocol {protocol}", loc="left")
    axes.legend(frameon=False, loc="upper left")
    return figure


def bin_bars(table: Table, plan: ScoringPlan, order: Sequence[str], title: str, protocol: str) -> Figure:
    """fPSNR and fMSE by foreground ratio, composite beside result, with 95 % intervals."""
    after = headline_rows(table, plan, order)
    before = {row.id: row for row in untouched_rows(table, order)}
    bins = [foreground_bin(r.scores.foreground_ratio) for r, _ in after]
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    for axes, (metric, name) in zip(
        figure.subplots(1, 2), (("fpsnr", "fPSNR (dB)"), ("fmse", "fMSE")), strict=True
    ):
        series = (
            ("composite", "#bbbbbb", [getattr(before[r.id].scores, metric) for r, _ in after]),
            ("result", COLOURS[0], [s[metric] for _, s in after]),
        )
        for offset, (label, colour, values) in zip((-0.2, 0.2), series, strict=True):
            for b in range(len(BIN_NAMES)):
                chosen = [i for i, found in enumerate(bins) if found == b]
                if not chosen:
                    continue
                ends = bootstrap_mean([values[i] for i in chosen], [scene(after[i][0].id) for i in chosen])
                error = [[ends.mean - ends.low], [ends.high - ends.mean]]
                axes.bar(b + offset, ends.mean, 0.38, color=colour, label=label)
                axes.errorbar(b + offset, ends.mean, error, color="#333333", linewidth=1, capsize=2)
        counts = [bins.count(b) for b in range(len(BIN_NAMES))]
        axes.set_xticks(
            range(len(BIN_NAMES)), [f"{n}\nn = {c}" for n, c in zip(BIN_NAMES, counts, strict=True)]
        )
        axes.set(ylabel=name)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    figure.axes[1].legend(named.values(), named.keys(), frameon=False)
    figure.suptitle(f"{title}, protocol {protocol}, by foreground ratio", x=0.01, ha="left", fontsize=10)
    return figure


def write_plots(
    out: Path, table: Table, plan: ScoringPlan, order: Sequence[str], title: str, protocol: str
) -> None:
    """`scatter.png` and `bins.png` in `out`."""
    with mpl.rc_context(STYLE):
        _save(scatter(table, plan, order, title, protocol), out / "scatter.png")
        _save(bin_bars(table, plan, order, title, protocol), out / "bins.png")
