"""What `method_table` draws: what methods cost against what they score, and where two of them differ most."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.figure import Figure
from torch import Tensor

from raiha_core.data.item import Triple
from raiha_core.durable import durable_path

from . import evaluate
from .method_table import COST_SIZE, Method, shared_images
from .plan import NONE
from .plots import COLOURS
from .predictors import NoPredictor, PredictionRequest, Predictor
from .protocols import PROTOCOLS, Protocol, composite_prediction
from .scoring import load_triple
from .sheets import cell, dimmed, levels_of, sheet

TITLES = ("object", "composite")  # of the first columns; then both methods, and the truth


def draw_costs(
    path: Path, groups: Mapping[str, Sequence[Method]], costs: Mapping[str, tuple[int, int] | None]
) -> None:
    """PSNR of every method whose cost is known against its parameters and multiply-adds, each protocol's own
    colour; nothing where no cost is known.

    Args: groups: methods by protocol; costs: parameters and multiply-adds by the method's name.
    """
    points = []
    for group in groups.values():
        ids = shared_images(group)
        for method in group:
            if (cost := costs.get(method.name)) is not None:
                decibels = sum(method.scores[key].psnr for key in ids) / len(ids)
                points.append((method, cost, decibels))
    if not points:
        return
    figure = Figure(figsize=(9, 4), layout="constrained")
    colours = dict(zip(groups, (COLOURS * len(groups))[: len(groups)], strict=True))
    names = ("parameters", f"multiply-adds at {COST_SIZE} px")
    for axes, (which, name) in zip(figure.subplots(1, 2, sharey=True), enumerate(names), strict=True):
        for method, cost, decibels in points:
            axes.scatter(cost[which], decibels, color=colours[method.protocol])
            axes.annotate(
                method.name, (cost[which], decibels), xytext=(5, 3), textcoords="offset points", fontsize=7
            )
        axes.set(xscale="log", xlabel=name)
        axes.margins(x=0.25)
    figure.axes[0].set_ylabel("PSNR (dB), over each protocol's shared images")
    shown = {method.protocol for method, _, _ in points}
    for protocol in (p for p in groups if p in shown):
        figure.axes[1].scatter([], [], color=colours[protocol], label=f"protocol {protocol}")
    figure.axes[1].legend(frameon=False, fontsize=7)
    with durable_path(path) as temporary:
        figure.savefig(temporary, dpi=130)


def most_different(first: Method, second: Method, count: int) -> list[str]:
    """Ids by how far their PSNR lies apart, the largest difference first, one way as good as the other."""
    ids = shared_images([first, second])
    return sorted(ids, key=lambda key: (-abs(second.scores[key].psnr - first.scores[key].psnr), key))[:count]


def draw_differences(
    path: Path, first: tuple[Method, Path | None], second: tuple[Method, Path | None], data: Path, count: int
) -> None:
    """The images where two methods differ most, a row each: object, composite, both results, truth.

    Args: first, second: of one protocol, with a folder of outputs; None: the run's model makes them again.
    Raises: ValueError where protocols differ, or a method's outputs cannot be had.
    """
    (one, _), (other, _) = first, second
    if one.protocol != other.protocol:
        raise ValueError(
            f"'{one.name}' was scored under {one.protocol}, '{other.name}' under {other.protocol}"
        )
    with TemporaryDirectory() as scratch:
        opened = [_open(method, folder, data, Path(scratch)) for method, folder in (first, second)]
        items = {item.id: item for item in opened[0][0]}
        rows = []
        for key in [k for k in most_different(one, other, len(one.scores)) if k in items][:count]:
            prepared = load_triple(opened[0][1], items[key])
            results = []
            for _, protocol, source in opened:
                results.append(levels_of(protocol, _answer(source, protocol, items[key])))
            before, after = one.scores[key].psnr, other.scores[key].psnr
            text = f"{key}: {before:.2f} and {after:.2f} dB ({after - before:+.2f}), protocol {one.protocol}"
            shown = (dimmed(prepared), prepared.composite, *results, prepared.truth)
            rows.append((text, [cell(pixels) for pixels in shown]))
    if not rows:
        raise ValueError(f"'{data}' holds none of the images that both methods were scored on")
    with durable_path(path) as temporary:
        sheet(rows, (*TITLES, one.name, other.name, "truth")).save(temporary, quality=90)


def _answer(source: Predictor, protocol: Protocol, item: Triple) -> Tensor:
    prepared = load_triple(protocol, item)
    if isinstance(source, NoPredictor):
        return composite_prediction(protocol, prepared)
    return source.predict([PredictionRequest(item, prepared, [NONE])])[0][0]


def _open(
    method: Method, folder: Path | None, data: Path, scratch: Path
) -> tuple[list[Triple], Protocol, Predictor]:
    """The items, the ruler, and what gives a method's outputs."""
    known = {str(Protocol(name=name)): name for name in PROTOCOLS}
    if method.protocol not in known:
        raise ValueError(f"pictures are made under {', '.join(known)}, not under {method.protocol}")
    if folder is None and method.model in ("", "predictions"):
        raise ValueError(f"'{method.name}' names no model: give its outputs with --predictions")
    source = ["--predictions", str(folder)] if folder else ["--model", method.model]
    call = ["--data", str(data), *source, "--protocol", known[method.protocol], "--allow-missing"]
    arguments = evaluate.make_parser().parse_args([*call, "--out", str(scratch)])
    setup, outputs = evaluate.prepare_run(arguments)
    return setup.items, setup.protocol, evaluate.make_source(arguments, setup, outputs)
