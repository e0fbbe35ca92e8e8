"""`raiha score`: how much of a composite seems wrong, or which of a folder's most."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..features.encoders import Encoder, build_encoder
from ..harmonizer import DEFAULT_MODEL, Harmonizer, load_harmonizer
from ..images import list_folder_files
from ..models.style_code import StyleEncoder
from ..score import in_words, score, second_opinion
from .encoder_options import add_encoder_weights
from .errors import sentence
from .pairs import Job, add_mask_options, folder_jobs, mask_notes_told, read_pair
from .reading import add_reading_options, reading_of
from .values import device


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "score",
        description="Say how much seems wrong with a composite: the mean CIELAB distance, over the object, "
        "between it and what the harmonizer would make of it; 0 is nothing. For the network that ships it "
        "is also told how many right pictures score less: half are below 3, one in ten above 11. Where "
        "BargainNet's encoder is here (`raiha fetch bargainnet-encoder`), its harmony of object and "
        "background is a second opinion, 0 to 1. Of a folder, the composites that seem "
        "most wrong come first; masks are found as `raiha harmonize` finds them.",
        epilog="example: raiha score composite.png --mask mask.png",
    )
    parser.add_argument("composite", type=Path, help="a picture, or a folder of pictures")
    parser.add_argument("--mask", type=Path, required=True, help="white = object; or a folder of masks")
    add_mask_options(parser)
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"name or .safetensors file ({DEFAULT_MODEL})")
    add_encoder_weights(parser, "local weights of the encoder")
    add_reading_options(parser)
    parser.add_argument("--device", type=device, default="cpu")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    for path in (arguments.composite, arguments.mask):
        if not path.exists():
            raise ValueError(f"{path} does not exist")
    folder = arguments.composite.is_dir()
    if folder:
        for note in list_folder_files(arguments.composite).notes():
            print(f"raiha: note: {arguments.composite}: {note}", file=sys.stderr)
        # nothing is written: the outputs' folder only has to be none that is there
        jobs = folder_jobs(arguments.composite, arguments.mask, arguments.composite / "none", True)[0]
    elif arguments.mask.is_dir():
        raise ValueError(f"{arguments.composite} is not a folder, so --mask must be a file: {arguments.mask}")
    else:
        jobs = [Job(arguments.composite, arguments.mask, arguments.composite)]
    harmonizer = load_harmonizer(arguments.model, arguments.device)
    encoder = None
    if harmonizer.spec is not None:
        encoder = build_encoder(
            harmonizer.spec.encoder, weights=arguments.encoder_weights, device=arguments.device
        )
    second = second_opinion(arguments.device)
    reports, failed = [], []
    for job in tqdm(jobs, unit="picture", disable=not (folder and sys.stderr.isatty())):
        try:
            reports.append(_of_file(job, harmonizer, encoder, second, arguments))
        except (ValueError, OSError) as error:  # one bad picture must not lose the others
            if not folder:
                raise
            failed.append({"composite": str(job.composite), "error": sentence(error)})
            tqdm.write(f"raiha: {sentence(error)}", file=sys.stderr)
    _say(sorted(reports, key=lambda report: -report["change"]), failed, arguments)
    return 1 if failed else 0


def _of_file(
    job: Job,
    harmonizer: Harmonizer,
    encoder: Encoder | None,
    second: StyleEncoder | None,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    picture, meant = read_pair(
        job.composite,
        job.mask,
        reading_of(arguments),
        label=arguments.label,
        invert=arguments.invert_mask,
        label_may_lack=arguments.composite.is_dir(),
    )
    with mask_notes_told():
        (found,) = score(
            picture.pixels.to(arguments.device),
            meant.mask.to(arguments.device),
            harmonizer,
            encoder=encoder,
            second=second,
        )
    return {
        "composite": str(job.composite),
        "mask": str(job.mask),
        "model": harmonizer.name,
        **{name: None if value is None else round(value, 4) for name, value in asdict(found).items()},
        "unit": "CIELAB",
        "words": in_words(found),
        "notes": [*picture.notes, *meant.notes],
    }


def _say(reports: list[dict[str, Any]], failed: list[dict[str, str]], arguments: argparse.Namespace) -> None:
    if arguments.json:
        whole = {"scores": reports, "failed": failed}
        print(json.dumps(whole if arguments.composite.is_dir() else reports[0]))
        return
    for report in reports:
        print(f"{report['composite']}  {report['words']}")
        for note in report["notes"]:
            print(f"  note: {note}", file=sys.stderr)
