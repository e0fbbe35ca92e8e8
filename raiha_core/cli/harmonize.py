"""`raiha harmonize`: one composite, or a folder of them."""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..clips import MODES, PER_FRAME
from ..durable import make_folder
from ..gallery.writer import is_disk_full
from ..harmonizer import DEFAULT_MODEL
from ..images import list_folder_files, note_on_writing, require_writable, write_picture
from ..lut import global_lut, write_cube
from ..mask_shape import shaped
from ..retrieval.request import BY
from ..retrieval.search import references as load_references
from ..stored import harmonize_stored, is_simple
from ..video.reader import is_video
from .clip import run_clip
from .clip_frames import Clip
from .encoder_options import add_encoder_weights
from .errors import sentence
from .outputs import require_apart, require_place
from .pairs import Job, add_mask_options, folder_jobs, mask_notes_told, read_pair
from .reading import add_reading_options, reading_of
from .tools import Tools, find_references, harmonized_as_asked, load_tools, used_references
from .values import count, device
from .wheel import add_control_options, controls_of


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "harmonize",
        description="Harmonize one composite, a folder of composites, or a clip. For a folder, masks are "
        "found by relative path, by equal stem, as NAME_mask.png (also beside NAME.png), or by iHarmony4's "
        "rule (NAME_VARIANT.jpg -> NAME.png); one mask serves all. Each result is OUT/STEM.png, sub-folders "
        "kept; finished ones are skipped unless --overwrite is given. Of a clip (a video file; OUT ends with "
        ".mp4, .mov or .mkv) sound and times are kept; its mask is a picture, a folder with one picture for "
        "each frame, or a video.",
        epilog="example: raiha harmonize composite.png --mask mask.png --gallery store -o result.png",
    )
    parser.add_argument("composite", type=Path, help="a picture, a folder of them, or a video")
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
    parser.add_argument(
        "--cube",
        type=Path,
        metavar="FILE",
        help="of one picture: the change as a table of colours too, where it is the same everywhere",
    )
    parser.add_argument(
        "--cube-size", type=int, default=33, metavar="N", help="colours of the table a side, 33 or 65 (33)"
    )
    parser.add_argument("--lossless", action="store_true", help="of a video: nothing is lost in writing it")
    parser.add_argument("--top-k", type=count, help="references from the gallery (4, or the model's limit)")
    parser.add_argument("--by", choices=BY, help="of the search, as raiha retrieve has it (likeness)")
    parser.add_argument("--random", type=int, metavar="SEED", help="draw references at random")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the result, or a folder")
    parser.add_argument("--bit-depth", type=int, choices=(8, 16), help="of the result (as the input)")
    add_reading_options(parser)
    parser.add_argument("--device", type=device, default="cpu")
    parser.add_argument("--overwrite", action="store_true", help="do finished files of a folder again")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(run=run)


def harmonize_file(
    job: Job, tools: Tools, arguments: argparse.Namespace, clip: Clip | None = None
) -> dict[str, object]:
    """Read, retrieve, harmonize, write. Returns: the report of one picture.

    Args: clip: what is known of the other frames, where the picture is one of a clip.
    """
    started = time.perf_counter()
    if clip is None and _in_its_codes(job, tools, arguments):
        return _told_of(job, tools, started)
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
            find = partial(find_references, tools.gallery, job.composite, tools, arguments)
            pair = (picture.pixels, mask)
            found = find(*pair) if clip is None else clip.kept.of(*pair, find)
            references, notes = load_references(found, encoder=tools.encoder), (*notes, *found.notes)
            features = found.query.features
        result = harmonized_as_asked(picture.pixels, mask, references, features, background, tools, arguments)
    image = result.image.cpu()
    if clip is not None:
        controls = controls_of(arguments)
        image = clip.frame(job, picture.pixels, image, shaped(mask, controls.grow, controls.feather))
    if clip is None or clip.known:
        write_picture(job.output, image, bit_depth=arguments.bit_depth, source=picture.source)
    notes = (*picture.notes, *notes, *result.notes, *note_on_writing(job.output))
    if arguments.cube is not None:
        controls = controls_of(arguments)
        lut = global_lut(result.transform, arguments.cube_size, arguments.strength, controls)
        write_cube(arguments.cube, lut, job.composite.stem)
    return _told_of(job, tools, started, used_references(references, result.beliefs[0]), notes)


def _told_of(
    job: Job,
    tools: Tools,
    started: float,
    references: Sequence[dict[str, Any]] = (),
    notes: Sequence[str] = (),
) -> dict[str, object]:
    return {
        "composite": str(job.composite),
        "mask": str(job.mask),
        "output": str(job.output),
        "model": tools.harmonizer.name,
        "references": list(references),
        "notes": list(notes),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _in_its_codes(job: Job, tools: Tools, arguments: argparse.Namespace) -> bool:
    """Harmonize a very large PNG in the memory of its codes, where nothing is asked that needs more."""
    more = (arguments.background, arguments.cube, arguments.bit_depth, arguments.label, tools.gallery)
    plain = all(one is None for one in more) and not (
        tools.references or arguments.exact or arguments.invert_mask or arguments.allow_damaged
    )
    if not plain or job.output.suffix.lower() != ".png":
        return False
    if not is_simple(tools.harmonizer, arguments.strength, controls_of(arguments)):
        return False
    return harmonize_stored(
        job.composite,
        job.mask,
        job.output,
        tools.harmonizer,
        strength=arguments.strength,
        max_pixels=arguments.max_pixels,
        device=arguments.device,
    )


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
    make_folder(arguments.output)
    reports, failed = [], []
    if clip is not None and tools is not None:
        _look_at_all(jobs, tools, arguments, clip)
    for job in tqdm(jobs, unit="picture", disable=not sys.stderr.isatty()):
        assert tools is not None
        make_folder(job.output.parent)
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
    if arguments.cube is not None and (arguments.composite.is_dir() or is_video(arguments.composite)):
        raise ValueError(f"--cube is of one picture, and {arguments.composite} holds several")
    if arguments.composite.is_dir():
        if arguments.lossless:
            raise ValueError("--lossless belongs to a video file; pictures lose nothing anyway")
        if arguments.output.exists() and not arguments.output.is_dir():
            raise ValueError(
                f"{arguments.composite} is a folder, so --output must be one too: {arguments.output}"
            )
        if not arguments.mask.exists():
            raise ValueError(f"{arguments.mask} does not exist")
        return run_folder(arguments)
    if not arguments.composite.exists():
        raise ValueError(f"{arguments.composite} does not exist")
    if is_video(arguments.composite):
        return run_clip(arguments)
    if arguments.lossless:
        raise ValueError(f"--lossless belongs to a video, which {arguments.composite} is not")
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
