"""A run's summary as Markdown, with the protocol, the counts and every exclusion in its header."""

from collections.abc import Mapping
from typing import Any

from .protocols import DESCRIPTIONS, Protocol


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A pipe table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def pair(values: Mapping[str, float]) -> str:
    return f"{values['mse']:.2f} / {values['psnr']:.2f}"


def _line(name: str, grouped: Mapping[str, Any], subsets: list[str]) -> list[str]:
    overall = grouped["overall"]
    cells = [f"{overall[m]:.2f}" for m in ("mse", "psnr", "fmse", "fpsnr")] + [f"{overall['ssim']:.4f}"]
    return [name, str(overall["n"]), *cells, *(pair(grouped["subsets"][s]) for s in subsets)]


def _gain(found: Mapping[str, Any]) -> str:
    d = found["difference"]
    return (
        f"{d['mean']:+.3f} dB [{d['low']:+.3f}, {d['high']:+.3f}], p = {found['p_value']:.2g}; "
        f"better {found['above']}, same {found['same']}, worse {found['below']}"
    )


def _harm(summary: Mapping[str, Any]) -> list[str]:
    lines = ["", "PSNR against the composite (95 % bootstrap interval over photos, sign-flip p):", ""]
    lines += [f"- {name}: {_gain(v['against_composite'])}" for name, v in summary["variants"].items()]
    gains = summary.get("references_against_none")
    if gains:
        lines += ["", "PSNR against the same weights without a reference, same images:", ""]
        lines += [f"- {name}: {_gain(found)}" for name, found in gains.items()]
    return lines


def _bins(summary: Mapping[str, Any]) -> list[str]:
    names = list(summary["composite"]["bins"])
    rows = []
    for title, grouped in [("composite", summary["composite"]), *summary["variants"].items()]:
        cells = [grouped["bins"].get(name) for name in names]
        text = ["-" if c is None else f"{pair(c)} / {c['fmse']:.1f} (n = {c['n']})" for c in cells]
        rows.append([title, *text])
    return ["", "By foreground ratio, MSE / PSNR / fMSE:", "", markdown(["", *names], rows)]


def report(summary: Mapping[str, Any], title: str, protocol: Protocol, notes: list[str]) -> str:
    """The run as a page of Markdown."""
    composite = summary["composite"]
    subsets = list(composite["subsets"])
    header = ["", "n", "MSE", "PSNR", "fMSE", "fPSNR", "SSIM", *(f"{s} MSE / PSNR" for s in subsets)]
    rows = [_line("composite", composite, subsets)]
    for name, grouped in summary["variants"].items():
        known = [s for s in subsets if s in grouped["subsets"]]
        line = _line(name, grouped, known)
        if known != subsets:
            by = dict(zip(known, line[7:], strict=True))
            line = line[:7] + [by.get(s, "-") for s in subsets]
        rows.append(line)
    lines = [f"# {title}", "", f"Protocol **{protocol}**: {DESCRIPTIONS[protocol.name]}."]
    lines += [f"**{note}**" for note in notes]
    lines += ["", markdown(header, rows)]
    if runs := summary.get("runs"):
        spread = runs["overall"]
        lines += [
            "",
            f"{runs['count']} runs of random references, mean (sample deviation): "
            + ", ".join(
                f"{m.upper()} {spread[m]['mean']:.3f} ({spread[m]['std']:.3f})" for m in ("mse", "psnr")
            ),
        ]
    return "\n".join([*lines, *_harm(summary), *_bins(summary)]) + "\n"
