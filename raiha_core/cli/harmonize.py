"""`raiha harmonize`: one composite, or a folder of them."""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ..clips import MODES, PER_FRAME, Look, corrected, look_at, steady
from ..features.encoders import Encoder, build_encoder
from ..features.references import Belief, Reference
from ..features.spec import require_same_space
from ..gallery.protocol import Gallery
from ..gallery.store import open_gallery
from ..gallery.writer import is_disk_full
from ..harmonizer import DEFAULT_MODEL, Harmonizer, load_harmonizer
from ..images import list_folder_files, note_on_writing, read_picture, require_writable, write_picture
from ..mask_shape import shaped
from ..pipeline import harmonize_with_beliefs
from ..regular import file_digest
from ..retrieval.candidates import Candidates
from ..retrieval.search import references as load_references
from ..retrieval.search import search
from .encoder_options import add_encoder_weights
from .errors import sentence
from .outputs import require_apart, require_place
from .pairs import Job, add_mask_options, folder_jobs, mask_notes_told, read_pair
from .reading import add_reading_options, reading_of, with_remedy
from .values import count, device
from .wheel import add_control_options, controls_of

TOP_K = 4


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "harmonize",
        description="Harmonize one composite, or a folder of composites. For a folder, masks are found by "
        "relative path, by equal stem, as NAME_mask.png (also beside NAME.png), or by iHarmony4's rule "
        "(NAME_VARIANT.jpg -> NAME.png); one mask serves all. Each result is OUT/STEM.png, sub-folders "
        "kept; finished ones are skipped unless --overwrite is given.",
        epilog="example: raiha harmonize composite.png --mask mask.png --gallery store -o result.png",
    )
    parser.add_argument("composite", type=Path, help="a picture, or a folder of pictures")
    parser.add_argument("--mask", type=Path, required=True, help="white = object; or a folder of masks")
    add_mask_options(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--gallery", type=Path, help="a store to retrieve references from")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="where the gallery's photos lie now")
    source.add_argument("--references", type=Path, nargs="+", metavar="FILE", help="reference pictures")
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"name or .safetensors file ({DEFAULT_MODEL})")
    add_encoder_weights(parser, "local weights of the encoder")
    add_control_options(parser)
    parser.add_argument(
        "--background", type=Path, metavar="FILE", help="a mask of what counts as background (all the rest)"
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="inside the mask as a published network's authors render at full size",
    )
    parser.add_argument(
        "--frames",
        choices=MODES,
        default=PER_FRAME,
        help="a folder's pictures, by name, are the frames of a clip: the first one's change for its whole "
        "shot, one for all, or smooth over time; all are done again where one is missing (per frame)",
    )
    parser.add_argument("--top-k", type=count, help="references from the gallery (4, or the model's limit)")
    parser.add_argument("--by", choices=("both", "content", "illumination"), help="of the search (both)")
    parser.add_argument("--random", type=int, metavar="SEED", help="draw references at random")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the result, or a folder")
    parser.add_argument("--bit-depth", type=int, choices=(8, 16), help="of the result (as the input)")
    add_reading_options(parser)
    parser.add_argument("--device", type=device, default="cpu")
    parser.add_argument("--overwrite", action="store_true", help="do finished files of a folder again")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(run=run)


class Clip:
    """Frames that are steadied together: first all are looked at, then each is done again and written.

    Memory holds some hundred numbers for each frame, and one frame.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.looks: dict[Path, Look] = {}
        self.wanted: dict[Path, Tensor] = {}
        self.known = False  # whether all frames were looked at

    def settle(self) -> None:
        changes = steady(list(self.looks.values()), self.mode) if self.looks else []
        self.wanted = dict(zip(self.looks, changes, strict=True))
        self.known = True

    def frame(self, job: Job, composite: Tensor, harmonized: Tensor, mask: Tensor) -> Tensor:
        """The frame as it shall be; as it came, while the others are not known."""
        if not self.known:
            self.looks[job.composite] = look_at(composite, harmonized, mask)
        elif job.composite in self.looks:
            return corrected(harmonized, mask, self.looks[job.composite], self.wanted[job.composite])
        return harmonized


@dataclass(frozen=True, slots=True)
class Tools:
    """What is loaded once and serves every picture."""

    harmonizer: Harmonizer
    gallery: Gallery | None
    encoder: Encoder | None
    references: tuple[Reference, ...]
    top_k: int


def _top_k(harmonizer: Harmonizer, asked: int | None) -> int:
    """How many references to retrieve: as asked, else 4 or what a model that reads them itself takes.

    Raises: ValueError where such a model takes fewer than asked.
    """
    most = harmonizer.max_references or None
    if most is not None and asked is not None and asked > most:
        raise ValueError(
            f"--top-k {asked}, but the model '{harmonizer.name}' takes at most {most} references"
        )
    return asked or (TOP_K if most is None else min(TOP_K, most))


def _require_gallery(arguments: argparse.Namespace) -> None:
    """Raises: ValueError naming an option of the search that would be ignored."""
    for name in ("top_k", "by", "random", "photos"):
        if getattr(arguments, name) is not None and arguments.gallery is None:
            raise ValueError(f"--{name.replace('_', '-')} belongs to a search: name a --gallery too")


def load_tools(arguments: argparse.Namespace) -> Tools:
    _require_gallery(arguments)
    harmonizer = load_harmonizer(arguments.model, arguments.device)
    top_k = _top_k(harmonizer, arguments.top_k)
    gallery = None
    if arguments.gallery:
        gallery = open_gallery(arguments.gallery, photos=arguments.photos, max_pixels=arguments.max_pixels)
    if gallery is not None and harmonizer.spec is not None:
        require_same_space(
            harmonizer.spec,
            gallery.spec,
            f"the model '{harmonizer.name}'",
            f"the gallery {arguments.gallery}",
        )
    encoder = None
    needed = gallery.spec if gallery is not None else harmonizer.spec
    if needed is not None:
        encoder = build_encoder(needed.encoder, weights=arguments.encoder_weights, device=arguments.device)
    given = tuple(_reference(path, encoder, arguments) for path in arguments.references or ())
    return Tools(harmonizer, gallery, encoder, given, top_k)


def _reference(path: Path, encoder: Encoder | None, arguments: argparse.Namespace) -> Reference:
    reading = reading_of(arguments)
    with with_remedy(reading):
        picture = read_picture(path, max_pixels=reading.max_pixels, allow_damaged=reading.allow_damaged)
    features = encoder.encode(picture.pixels.to(arguments.device)) if encoder else None
    return Reference(id=path.name, image=picture.pixels, features=features)


def harmonize_file(
    job: Job, tools: Tools, arguments: argparse.Namespace, clip: "Clip | None" = None
) -> dict[str, object]:
    """Read, retrieve, harmonize, write. Returns: the report of one picture.

    Args: clip: what is known of the other frames, where the picture is one of a clip.
    """
    started = time.perf_counter()
    folder = arguments.composite.is_dir()  # in one frame of many the object may be out of sight
    picture, meant = read_pair(
        job.composite,
        job.mask,
        reading_of(arguments),
        label=arguments.label,
        invert=arguments.invert_mask,
        label_may_lack=folder,
    )
    mask, notes = meant.mask, meant.notes
    background = None
    if arguments.background is not None:
        background = read_pair(job.composite, arguments.background, reading_of(arguments))[1].mask
    depth = arguments.bit_depth or picture.bit_depth
    require_writable(job.output, alpha=picture.alpha is not None, bit_depth=depth)  # before the work
    with mask_notes_told():
        references, features = tools.references, None
        if not (mask > 0).any():
            references, notes = (), (*notes, f"{job.mask} is empty: {job.composite} comes back unchanged")
        elif tools.gallery is not None:
            found = _found(tools.gallery, job, picture.pixels, mask, tools, arguments)
            references, notes = load_references(found, encoder=tools.encoder), (*notes, *found.notes)
            features = found.query.features
        result = harmonize_with_beliefs(
            picture.pixels.to(arguments.device),
            mask.to(arguments.device),
            references,
            tools.harmonizer,
            encoder=tools.encoder,
            features=features,
            strength=arguments.strength,
            controls=controls_of(arguments),
            background=None if background is None else background.to(arguments.device),
            exact=arguments.exact,
        )
    image = result.image.cpu()
    if clip is not None:
        controls = controls_of(arguments)
        image = clip.frame(job, picture.pixels, image, shaped(mask, controls.grow, controls.feather))
    if clip is None or clip.known:
        write_picture(job.output, image, bit_depth=arguments.bit_depth, source=picture.source)
    notes = (*picture.notes, *notes, *result.notes, *note_on_writing(job.output))
    return {
        "composite": str(job.composite),
        "mask": str(job.mask),
        "output": str(job.output),
        "model": tools.harmonizer.name,
        "references": _used(references, result.beliefs[0]),
        "notes": list(notes),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _found(
    gallery: Gallery,
    job: Job,
    pixels: Tensor,
    mask: Tensor,
    tools: Tools,
    arguments: argparse.Namespace,
) -> Candidates:
    return search(
        gallery,
        pixels,
        mask,
        encoder=tools.encoder,
        by=arguments.by or "both",
        top_k=tools.top_k,
        seed=arguments.random,
        exclude_sha256=[file_digest(job.composite)],
        query_id=job.composite.name,
        device=arguments.device,
    )


def _used(references: Sequence[Reference], beliefs: Sequence[Belief]) -> list[dict[str, object]]:
    """What ranked each reference, and how far the result followed it.

    `belief` is null where the model read the references by itself, or nothing was done.
    """
    entries: list[dict[str, object]] = []
    for place, reference in enumerate(references):
        entry: dict[str, object] = {
            "id": reference.id,
            "score": None if reference.score is None else round(reference.score, 4),
            "belief": None,
        }
        if beliefs:
            belief = beliefs[place]
            parts = {"lightness": belief.lightness, "colour": belief.colour, "contrast": belief.contrast}
            entry["belief"] = {name: round(value, 4) for name, value in parts.items()}
            if belief.reason:
                entry["reason"] = belief.reason
        entries.append(entry)
    return entries


def _notes(report: dict[str, object]) -> list[str]:
    notes = report["notes"]
    assert isinstance(notes, list)
    return notes


def _say(report: dict[str, object], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(report))
        return
    used = report["references"]
    assert isinstance(used, list)
    named = ", ".join(_named(entry) for entry in used) if used else "none"
    print(f"{report['output']}  ({report['seconds']} s, model {report['model']}, references: {named})")
    for note in _notes(report):
        print(f"  note: {note}", file=sys.stderr)


def _named(entry: dict[str, Any]) -> str:
    """A reference with the largest part of the way that it was followed, where the gate followed it."""
    if entry["belief"] is None:
        return entry["id"]
    return f"{entry['id']} (followed {max(entry['belief'].values()):.0%})"


def _naming(error: Exception, job: Job) -> str:
    """The error's sentence; it begins with the composite where it speaks of no file of this job."""
    text = sentence(error)
    known = any(str(path) in text for path in (job.composite, job.mask, job.output))
    return text if known else f"{job.composite}: {text}"


def _look_at_all(jobs: Sequence[Job], tools: Tools, arguments: argparse.Namespace, clip: Clip) -> None:
    for job in tqdm(jobs, unit="frame", desc="looking", disable=not sys.stderr.isatty()):
        # a frame that cannot be read is told when its turn comes
        with contextlib.suppress(ValueError, OSError):
            harmonize_file(job, tools, arguments, clip)
    clip.settle()


def run_folder(arguments: argparse.Namespace) -> int:
    for folder in (arguments.composite, arguments.mask):
        if folder.is_dir():
            require_apart(arguments.output, folder)
    listing = list_folder_files(arguments.composite)
    for note in listing.notes():
        print(f"raiha: note: {arguments.composite}: {note}", file=sys.stderr)
    jobs, skipped, no_composites = folder_jobs(
        arguments.composite, arguments.mask, arguments.output, arguments.overwrite
    )
    clip = None if arguments.frames == PER_FRAME else Clip(arguments.frames)
    if clip is not None and jobs and skipped:  # a frame depends on the others
        jobs, skipped, _ = folder_jobs(arguments.composite, arguments.mask, arguments.output, True)
    if no_composites and arguments.mask.resolve() != arguments.composite.resolve():
        number = f"{len(no_composites)} pictures among the composites are"
        print(f"raiha: note: {number} taken as masks by their names: {no_composites[0]}", file=sys.stderr)
    tools = load_tools(arguments) if jobs else None
    arguments.output.mkdir(parents=True, exist_ok=True)
    reports, failed = [], []
    if clip is not None and tools is not None:
        _look_at_all(jobs, tools, arguments, clip)
    for job in tqdm(jobs, unit="picture", disable=not sys.stderr.isatty()):
        assert tools is not None
        job.output.parent.mkdir(parents=True, exist_ok=True)
        try:
            reports.append(harmonize_file(job, tools, arguments, clip))
        except (ValueError, OSError) as error:  # one bad picture must not lose the others
            if is_disk_full(error):
                raise  # it would be the same with all that follow
            failed.append({"composite": str(job.composite), "error": _naming(error, job)})
            tqdm.write(f"raiha: {_naming(error, job)}", file=sys.stderr)
            continue
        for note in _notes(reports[-1]):
            tqdm.write(f"raiha: note: {job.composite}: {note}", file=sys.stderr)
    summary = {"done": reports, "skipped": len(skipped), "failed": failed, "passed_over": listing.passed_over}
    if arguments.json:
        print(json.dumps(summary))
    else:
        print(f"{len(reports)} harmonized, {len(skipped)} already there, {len(failed)} failed")
    return 1 if failed else 0


def run(arguments: argparse.Namespace) -> int:
    controls_of(arguments)  # a value that no picture can have is refused before any is read
    if arguments.composite.is_dir():
        if arguments.output.exists() and not arguments.output.is_dir():
            raise ValueError(
                f"{arguments.composite} is a folder, so --output must be one too: {arguments.output}"
            )
        if not arguments.mask.exists():
            raise ValueError(f"{arguments.mask} does not exist")
        return run_folder(arguments)
    if not arguments.composite.exists():
        raise ValueError(f"{arguments.composite} does not exist")
    if arguments.mask.is_dir():
        raise ValueError(f"{arguments.composite} is not a folder, so --mask must be a file: {arguments.mask}")
    if arguments.frames != PER_FRAME:
        raise ValueError(
            f"--frames '{arguments.frames}' is for a folder of frames: {arguments.composite} is a file"
        )
    job = Job(arguments.composite, arguments.mask, arguments.output)
    require_place(job.output, [job.composite, job.mask, *(arguments.references or ())])
    tools = load_tools(arguments)
    try:
        report = harmonize_file(job, tools, arguments)
    except ValueError as error:
        raise ValueError(_naming(error, job)) from error
    _say(report, arguments)
    return 0
