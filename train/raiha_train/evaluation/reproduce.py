"""Tables I, II and III of the Raiha paper: ours beside the printed figures and the published peers.

    python train/reproduce.py --table 2 --data iHarmony4 --out runs/table2 \\
        --checkpoint hdnet=weights/hdnet.safetensors --checkpoint raiha=weights/raiha.safetensors

    python train/reproduce.py --table 1 --data iHarmony4 --out runs/table1

Table I runs every published network whose weights are here, each by the ruler of its published figure, which
stands beside it. Rows without weights say how they come here. Every figure of ours comes from evaluate.py,
whose runs lie in OUT/runs and go on where they were. docs/reproduce.md leads from an empty disk to Table II.
"""

import argparse
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raiha_core.data.raharmony4 import parse_references
from raiha_core.durable import write_text
from raiha_core.harmonizer import absence, shipped_weights
from raiha_core.model_folders import user_weights
from raiha_core.models.presets import PRESETS

from ..command import command_parser, exit_code
from . import evaluate, published
from .beside import network_rows, published_figure
from .protocols import PROTOCOLS
from .published_lines import paper_lines, peer_lines
from .table_rows import SPECS, RowSpec, TableLine
from .tables import markdown

TABLE_SUBSETS = ("HAdobe5k", "HFlickr", "HCOCO", "Hday2night", "average")
LIST = "RAHarmony4_test.jsonl"
RULER_DB = 0.01  # what rounding of the published column explains


def make_parser() -> argparse.ArgumentParser:
    parser = command_parser(__doc__)
    parser.add_argument("--table", choices=("1", "2", "3"), required=True)
    parser.add_argument("--data", type=Path, required=True, help="iHarmony4's folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="ROW=FILE",
        help="weights of a row; may be repeated",
    )
    parser.add_argument(
        "--references", type=Path, help=f"reference list (default: {LIST} in --data, else the official one)"
    )
    parser.add_argument(
        "--other-light",
        action="append",
        default=[],
        metavar="ROW=LIST",
        help="table 3: lists of references under other light",
    )
    parser.add_argument(
        "--protocols",
        nargs="+",
        choices=PROTOCOLS,
        help="of the rows measured here (default B C; a published network's are those of its figure)",
    )
    parser.add_argument("--b-size", type=int, default=256, help="B: side of the JPEG copies (256)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--encoder", default="lite0", help="matches references for models without a spec")
    parser.add_argument(
        "--encoder-weights",
        type=Path,
        metavar="FOLDER",
        help="of the encoder: a file or a folder (default: RAIHA_ENCODER_WEIGHTS, then the models' folder)",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--overwrite", action="store_true")
    return parser


def named_files(given: Sequence[str], option: str, known: Sequence[str]) -> dict[str, Path]:
    """ROW=FILE pairs. Raises: ValueError naming a row that the table does not have, or a missing file."""
    found = {}
    for text in given:
        name, _, file = text.partition("=")
        if name not in known:
            raise ValueError(f"{option} {text}: the table has no row '{name}'; rows are {', '.join(known)}")
        if not Path(file).is_file():
            raise ValueError(f"{option} {text}: '{file}' does not exist")
        found[name] = Path(file)
    return found


def reference_list(arguments: argparse.Namespace) -> Path:
    """The list to use; the official one is unpacked beside the tables where the data has none."""
    for path in (arguments.references, arguments.data / LIST):
        if path is not None and path.is_file():
            return path
    if arguments.references is not None:
        raise ValueError(f"the list '{arguments.references}' does not exist")
    path = arguments.out / LIST
    parse_references(text := published.official_list_text(), LIST)
    write_text(path, text)
    return path


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What the rows of one table are made from."""

    arguments: argparse.Namespace
    checkpoints: dict[str, Path]
    references: Path | None
    other_light: dict[str, Path]


def _model_of(spec: RowSpec, work: Work) -> str | None:
    """What `evaluate.py --model` gets; None where the row has no weights."""
    if spec.model in ("composite", "statistics"):
        return spec.model
    if path := work.checkpoints.get(spec.model):
        return str(path)
    return spec.model if spec.model in user_weights() | shipped_weights() else None


def _is_published(model: str) -> bool:
    return model in PRESETS and PRESETS[model].published is not None


def row_folder(spec: RowSpec, protocol: str, arguments: argparse.Namespace) -> Path:
    return arguments.out / "runs" / f"table{arguments.table}" / f"{spec.run}_{protocol}"


def measure_row(spec: RowSpec, protocol: str, work: Work) -> dict[str, Any] | str:
    """`scores.json` of the row's run, or the sentence that says why there is none."""
    arguments = work.arguments
    model = _model_of(spec, work)
    if model is None:
        if _is_published(spec.model):
            return absence(spec.model, [])
        return f"no checkpoint: --checkpoint {spec.model}=FILE"
    references = work.references
    if spec.list_name is not None:
        references = work.other_light.get(spec.list_name)
        if references is None:
            return f"no list: --other-light {spec.list_name}=FILE (build_raharmony4.py makes it)"
    folder = row_folder(spec, protocol, arguments)
    command = ["--data", str(arguments.data), "--model", model, "--protocol", protocol, "--out", str(folder)]
    if protocol == "B":
        command += ["--b-size", str(arguments.b_size)]
    if references is not None:
        guided = model != "composite" and spec.references
        command += ["--references" if guided else "--list", str(references.resolve())]
    command += ["--seeds", str(arguments.seeds), "--encoder", arguments.encoder, "--device", arguments.device]
    if arguments.encoder_weights is not None:
        command += ["--encoder-weights", str(arguments.encoder_weights)]
    command += ["--workers", str(arguments.workers), "--batch-size", str(arguments.batch_size)]
    command += ["--allow-missing", "--no-plots", "--quiet"]  # what is missing stands in the table's header
    command += ["--overwrite"] if arguments.overwrite else []
    return evaluate.run(evaluate.make_parser().parse_args(command))


def our_line(spec: RowSpec, protocol: str, scores: dict[str, Any] | str) -> TableLine:
    """One row of ours, from the variant that the row is about."""
    if isinstance(scores, str):
        return TableLine(method=spec.title, source="ours", protocol=protocol, note=scores)
    if spec.model == "composite":
        grouped, count = scores["composite"], scores["composite"]["overall"]["n"]
        return TableLine.of_groups(spec.title, "ours", scores["protocol"], grouped, int(count))
    if spec.variant == "runs":
        if "runs" not in scores:
            return TableLine(
                method=spec.title,
                source="ours",
                protocol=scores["protocol"],
                note="no reference of the list is there",
            )
        return TableLine.of_runs(spec.title, scores["protocol"], scores["runs"], scores["variants"])
    grouped = scores["variants"][spec.variant]
    return TableLine.of_groups(spec.title, "ours", scores["protocol"], grouped, int(grouped["overall"]["n"]))


def ruler_note(folder: Path) -> str:
    """The composite's own scores of a finished run under C beside the published ones; '' without any."""
    stated = published.composite_published()
    with open(folder / "per_image.csv", newline="", encoding="utf-8") as file:
        ours = {row["id"]: float(row["psnr"]) for row in csv.DictReader(file)}
    gaps = {name: abs(value - stated[name][1]) for name, value in ours.items() if name in stated}
    if not gaps:
        return ""
    worst = max(gaps, key=lambda name: (gaps[name], name))
    far = sum(gap > RULER_DB for gap in gaps.values())
    text = f"the composite's own PSNR under C differs from the published one by at most {gaps[worst]:.4f} dB"
    text += f" ('{worst}'; {len(gaps)} images)"
    if far:
        text += (
            f": {far} images are off by more than {RULER_DB} dB, so these files are not the published ones"
        )
    return text


def warnings(lines: Sequence[TableLine], count: int) -> list[str]:
    """What a reader must know before comparing two rows."""
    found = []
    protocols = list(dict.fromkeys(line.protocol for line in lines if line.scores))
    if len(protocols) > 1:
        found.append(
            f"protocols differ ({'; '.join(protocols)}): compare rows of one protocol only. The same "
            "prediction moves by up to 3 dB in the mean and 8 dB on one image between them; gaps under 1 dB "
            "across them carry no weight"
        )
    ours = max((line.count for line in lines if line.source == "ours"), default=0)
    if not ours:
        found.append("no row of ours could be measured: there are no weights for any")
    elif ours < count:
        found.append(
            f"ours and the per-image peers are means over {ours} images that are here, "
            f"the paper's rows over {count}"
        )
    if any(line.method == "Harmonizer" and line.source == "peer" for line in lines):
        found.append(
            "Harmonizer's published column counts the background in its MSE and takes the truth's maximum "
            "as peak; the rebuilt row is C"
        )
    if any(line.source == "paper" for line in lines):
        found.append("which protocol a printed row used is inferred from its script and figures, not stated")
    return found


def table_page(title: str, lines: Sequence[TableLine], notes: Sequence[str]) -> str:
    """The table as Markdown: a heading, the notes in bold, and a row per line.

    MSE is on codes 0..255, PSNR in dB. A line's note stands in the cell of its last subset; the column of
    published averages is there only if a line has one.
    """
    header = ["", "source", "protocol", "n", *(f"{s} MSE / PSNR" for s in TABLE_SUBSETS)]
    beside = any(line.published for line in lines)
    header += ["published average MSE / PSNR"] if beside else []
    rows = []
    for line in lines:
        cells = [line.cell(name) for name in TABLE_SUBSETS]
        if line.note:
            cells[-1] = line.note
        cells += [line.published or "-"] if beside else []
        rows.append([line.method, line.source, line.protocol, str(line.count or ""), *cells])
    return "\n".join([f"# {title}", "", *(f"- **{n}**" for n in notes), "", markdown(header, rows), ""])


def to_csv(lines: Sequence[TableLine]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f"{s}_{m}" for s in TABLE_SUBSETS for m in ("mse", "mse_std", "psnr", "psnr_std")]
    writer.writerow(["method", "source", "protocol", "n", *names, "note", "published"])
    for line in lines:
        cells = []
        for subset in TABLE_SUBSETS:
            values = line.scores.get(subset, {})
            cells += [repr(values[m]) if m in values else "" for m in ("mse", "mse_std", "psnr", "psnr_std")]
        about = [line.method, line.source, line.protocol, line.count or ""]
        writer.writerow([*about, *cells, line.note, line.published])
    return text.getvalue()


def measured_lines(specs: Sequence[RowSpec], work: Work) -> tuple[list[TableLine], list[str], list[str]]:
    """The rows measured here, protocol by protocol; what a reader must know of them; ids of the pictures."""
    lines: list[tuple[RowSpec, TableLine]] = []
    notes: list[str] = []
    done: dict[tuple[str, str], dict[str, Any] | str] = {}
    ids: list[str] = []
    asked = {spec: tuple(work.arguments.protocols or spec.protocols) for spec in specs}
    for protocol in dict.fromkeys(p for protocols in asked.values() for p in protocols):
        for spec in (spec for spec in specs if protocol in asked[spec]):
            key = spec.run, protocol
            if key not in done:
                done[key] = measure_row(spec, protocol, work)
            scores = done[key]
            lines.append((spec, our_line(spec, protocol, scores)))
            if isinstance(scores, str):
                continue
            notes += [note for note in scores["left_out"] if note not in notes]
            folder = row_folder(spec, protocol, work.arguments)
            ids = ids or evaluate.scored_ids(folder)
            if (spec.model, protocol) == ("composite", "C") and (note := ruler_note(folder)):
                notes.insert(0, note)
    return [replace(x, published=published_figure(spec.model, ids)) for spec, x in lines], notes, ids


def run(arguments: argparse.Namespace) -> Path:
    """One table. Returns: its Markdown file; the CSV lies beside it."""
    specs = SPECS[arguments.table] + (network_rows() if arguments.table == "1" else [])
    arguments.out.mkdir(parents=True, exist_ok=True)
    known = list(dict.fromkeys(s.model for s in specs if s.model not in ("composite", "statistics")))
    lists = [s.list_name for s in specs if s.list_name is not None]
    work = Work(
        arguments=arguments,
        checkpoints=named_files(arguments.checkpoint, "--checkpoint", known),
        references=None if arguments.table == "1" else reference_list(arguments),
        other_light=named_files(arguments.other_light, "--other-light", lists),
    )
    lines, notes, ids = measured_lines(specs, work)
    table = published.paper_tables()[arguments.table]
    lines += peer_lines(ids) + paper_lines(table)
    title = f"{table['title']}: ours, published per-image scores, and the paper"
    page = table_page(title, lines, [*warnings(lines, table["count"]), *notes])
    path = arguments.out / f"table{arguments.table}.md"
    write_text(path, page)
    write_text(path.with_suffix(".csv"), to_csv(lines))
    print(page)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    return exit_code("reproduce", lambda: run(arguments), kept="the same command goes on")
