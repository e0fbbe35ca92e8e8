"""Many methods side by side, from their scores image by image: one table for each protocol.

    python train/method_table.py --methods pctnet=runs/pctnet_C raiha=runs/raiha_C --published --out TABLE
    ... --pictures pctnet raiha --data iHarmony4

A method is a finished run of evaluate.py, or NAME@PROTOCOL=FILE.csv with columns id, mse, psnr (and subset);
--published adds the per-image scores that were published of others. Within a table all means are over the
images that all its methods have. Differences are in dB of PSNR, image by image, against the first method,
with 95 % bootstrap intervals over photos and the p-value of a sign-flip test. Beside it cost.png shows
parameters and multiply-adds against the score, and pictures.jpg where two methods differ most.
"""

import argparse
import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from raiha_core import checkpoint
from raiha_core.data.iharmony4 import SUBSETS
from raiha_core.durable import write_text
from raiha_core.models.cost import macs, on_meta, parameters
from raiha_core.models.presets import PRESETS

from ..command import command_parser, exit_code
from .beside import PER_IMAGE
from .intervals import bootstrap_mean, paired
from .predictors import weights_file
from .published import composite_published, peers, test_names
from .run_settings import SETTINGS_FILE
from .summary import SAME_DB, scene
from .tables import markdown

COST_SIZE = 256  # px, of the multiply-adds


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageScore:
    """One method on one image."""

    subset: str
    mse: float
    psnr: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """A method under one protocol."""

    name: str
    protocol: str
    scores: dict[str, ImageScore]  # by the image's id
    model: str = ""  # preset or weight file that made them, where that is known

    def cost(self) -> tuple[int, int] | None:
        """Parameters, and multiply-adds at 256 px; None where the network is not known."""
        path = weights_file(self.model) if self.model else None
        if path is not None:
            found = checkpoint.load(path)
            preset, config = PRESETS[found.preset], found.config
        elif self.model in PRESETS:
            preset, config = PRESETS[self.model], PRESETS[self.model].config
        else:
            return None
        return parameters(on_meta(preset, config)), macs(preset, COST_SIZE, config=config)


def read_method(given: str) -> Method:
    """A method from NAME[@PROTOCOL]=PATH. Raises: ValueError naming what is missing or no score."""
    name, _, path = given.partition("=")
    name, _, protocol = name.partition("@")
    if not name or not path:
        raise ValueError(f"a method is NAME[@PROTOCOL]=PATH, got '{given}'")
    file, model = Path(path), ""
    if file.is_dir():
        try:
            settings = json.loads((file / SETTINGS_FILE).read_text(encoding="utf-8"))
            own, model = settings["protocol"], settings["model"]
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"'{file}' is not a finished run: {error}") from None
        if protocol and protocol != own:
            raise ValueError(f"'{file}' was scored under protocol {own}, not {protocol}")
        file, protocol = file / "per_image.csv", own
    if not protocol:
        raise ValueError(f"'{given}' does not say its protocol: NAME@PROTOCOL=FILE.csv")
    try:
        with file.open(newline="", encoding="utf-8") as text:
            scores = {
                row["id"]: ImageScore(
                    subset=row.get("subset") or "", mse=float(row["mse"]), psnr=float(row["psnr"])
                )
                for row in csv.DictReader(text)
            }
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"'{file}' holds no scores per image: {error!r}") from None
    if not scores:
        raise ValueError(f"'{file}' holds no image")
    return Method(name=name, protocol=protocol, scores=scores, model=model)


def published_methods() -> list[Method]:
    """What was published image by image, the untouched composite included."""
    preset_of = {method: preset for preset, method in reversed(PER_IMAGE.items())}
    found = []
    for (name, protocol), rows in peers(test_ids()).items():
        scores = {row.id: ImageScore(subset=row.subset, mse=row.mse, psnr=row.psnr) for row in rows}
        model = preset_of.get(name, "")
        found.append(Method(name=f"{name} (published)", protocol=protocol, scores=scores, model=model))
    subsets = {key: score.subset for key, score in found[0].scores.items()}
    composite = {
        key: ImageScore(subset=subsets[key], mse=mse, psnr=psnr)
        for key, (mse, psnr) in composite_published().items()
        if key in subsets
    }
    return [Method(name="composite (published)", protocol="C-float", scores=composite), *found]


def test_ids() -> list[str]:
    return [Path(name).stem for name in test_names()]


def by_protocol(methods: Iterable[Method]) -> dict[str, list[Method]]:
    """Methods of each protocol, in their order. Raises: ValueError where two share a name."""
    found: dict[str, list[Method]] = {}
    for method in methods:
        beside = found.setdefault(method.protocol, [])
        if any(other.name == method.name for other in beside):
            raise ValueError(f"two methods under protocol {method.protocol} are named '{method.name}'")
        beside.append(method)
    return found


def shared_images(methods: Sequence[Method]) -> list[str]:
    """Ids that every method has, in the first one's order. Raises: ValueError where there is none."""
    ids = [key for key in methods[0].scores if all(key in method.scores for method in methods[1:])]
    if not ids:
        names = ", ".join(method.name for method in methods)
        raise ValueError(f"no image was scored of all of {names}")
    return ids


def _mean(method: Method, ids: Sequence[str]) -> str:
    scores = [method.scores[key] for key in ids]
    return f"{sum(s.mse for s in scores) / len(ids):.2f} / {sum(s.psnr for s in scores) / len(ids):.2f}"


def _against(first: Method, method: Method, ids: Sequence[str]) -> list[str]:
    if method is first:
        return ["", "", ""]
    before, after = ([m.scores[key].psnr for key in ids] for m in (first, method))
    found = paired(before, after, [scene(key) for key in ids], same=SAME_DB)
    gain = found.difference
    return [
        f"{gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]",
        f"{found.p_value:.2g}",
        f"{found.above}/{found.same}/{found.below}",
    ]


def protocol_table(protocol: str, methods: Sequence[Method], costs: dict[str, tuple[int, int] | None]) -> str:
    """One protocol's methods as Markdown, against the first of them."""
    ids = shared_images(methods)
    of = {key: next((m.scores[key].subset for m in methods if m.scores[key].subset), "") for key in ids}
    named = set(of.values()) - {""}
    subsets = [s for s in SUBSETS if s in named] + sorted(named - set(SUBSETS))
    header = ["method", "parameters", f"multiply-adds, {COST_SIZE} px", "MSE / PSNR", "PSNR, 95 %"]
    counts = {s: sum(found == s for found in of.values()) for s in subsets}
    header += [f"{s} ({counts[s]})" for s in subsets]
    header += [f"over {methods[0].name}, dB", "p", "better/same/worse"]
    rows = []
    for method in methods:
        cost = costs.get(method.name)
        sure = bootstrap_mean([method.scores[key].psnr for key in ids], [scene(key) for key in ids])
        row = [method.name, *("", "")] if cost is None else [method.name, f"{cost[0]:,}", f"{cost[1]:,}"]
        row += [_mean(method, ids), f"[{sure.low:.2f}, {sure.high:.2f}]"]
        row += [_mean(method, [key for key in ids if of[key] == s]) for s in subsets]
        rows.append(row + _against(methods[0], method, ids))
    left = {method.name: len(method.scores) - len(ids) for method in methods}
    said = [f"{name} {count}" for name, count in left.items() if count]
    more = f" Scored beyond them, and left out: {', '.join(said)}." if said else ""
    text = f"The {len(ids)} images that all have; means over images.{more}"
    return f"### Protocol {protocol}\n\n{text}\n\n{markdown(header, rows)}\n"


def compare_methods(arguments: argparse.Namespace) -> None:
    """Write the tables, the plot and, where asked for, the pictures."""
    methods = [read_method(given) for given in arguments.methods]
    methods += published_methods() if arguments.published else []
    if not methods:
        raise ValueError("there is nothing to compare: give --methods or --published")
    found = by_protocol(methods)
    arguments.out.mkdir(parents=True, exist_ok=True)
    costs = {method.name: method.cost() for method in methods}
    pages = [protocol_table(protocol, group, costs) for protocol, group in found.items()]
    write_text(arguments.out / "methods.md", "\n".join(pages))
    print("\n".join(pages))
    from .method_pictures import draw_costs, draw_differences  # matplotlib takes a second to import

    draw_costs(arguments.out / "cost.png", found, costs)
    if arguments.pictures:
        if arguments.data is None:
            raise ValueError("--pictures shows images of a data set: give it with --data")
        first, second = (_named(name, arguments, methods) for name in arguments.pictures)
        draw_differences(arguments.out / "pictures.jpg", first, second, arguments.data, arguments.count)


def _named(name: str, arguments: argparse.Namespace, methods: Sequence[Method]) -> tuple[Method, Path | None]:
    """A method and the folder of its outputs, if one was named."""
    folders = dict(given.partition("=")[::2] for given in arguments.predictions)
    for method in methods:
        if method.name == name:
            return method, Path(folders[name]) if name in folders else None
    raise ValueError(f"there is no method '{name}'; there are {', '.join(m.name for m in methods)}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--methods", nargs="*", default=[], metavar="NAME[@PROTOCOL]=PATH")
    parser.add_argument("--published", action="store_true", help="add what was published image by image")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", nargs=2, metavar="NAME", help="show where these two differ most")
    parser.add_argument("--data", type=Path, help="of the pictures: iHarmony4, or composite/, mask/, real/")
    parser.add_argument(
        "--predictions",
        nargs="*",
        default=[],
        metavar="NAME=FOLDER",
        help="outputs of methods whose run names no model that is here",
    )
    parser.add_argument("--count", type=int, default=6, help="of pictures (6)")
    arguments = parser.parse_args(argv)
    return exit_code("method_table", lambda: compare_methods(arguments))
