"""`raiha harmonize` of a video file."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..images import list_photos
from ..mask_files import read_mask_file
from ..mask_meaning import Origin, SeveralLabelsError
from ..mask_shape import shaped
from ..retrieval.candidates import references as load_references
from ..retrieval.kept import KeptReferences
from ..video.harmonized import ClipWork, FrameMasks, harmonize_clip, masks_of_video, one_mask
from ..video.reader import VideoReader, is_video
from ..video.writer import require_video_ending
from .outputs import require_place
from .pairs import mask_notes_told
from .reading import reading_of, with_remedy
from .tools import Tools, find_references, harmonized_as_asked, load_tools
from .wheel import controls_of


class _Frames:
    """What becomes of one frame after the other, in one pass over them."""

    def __init__(self, tools: Tools, background: Tensor | None, arguments: argparse.Namespace) -> None:
        self._tools, self._background, self._arguments = tools, background, arguments
        self._kept = KeptReferences()
        self.used: dict[str, int] = {}  # reference -> frames
        self.notes: dict[str, None] = {}

    def begin(self) -> Callable[[Tensor, Tensor], Tensor]:
        self._kept, self.used = KeptReferences(), {}
        return self._answer

    def _answer(self, pixels: Tensor, mask: Tensor) -> Tensor:
        tools, features, references = self._tools, None, self._tools.references
        if not (mask > 0).any():
            return pixels
        with mask_notes_told():
            if tools.gallery is not None:
                own = self._arguments.composite
                find = partial(find_references, tools.gallery, own, tools, self._arguments)
                found = self._kept.of(pixels, mask, find)
                references, features = load_references(found, encoder=tools.encoder), found.query.features
                self.notes |= dict.fromkeys(found.notes)
            background = self._background
            result = harmonized_as_asked(
                pixels, mask, references, features, background, tools, self._arguments
            )
        for reference in references:
            self.used[reference.id] = self.used.get(reference.id, 0) + 1
        self.notes |= dict.fromkeys(result.notes)
        return result.image.cpu()


def _read_mask(path: Path, arguments: argparse.Namespace) -> Tensor:
    reading = reading_of(arguments)
    try:
        with with_remedy(reading):
            return read_mask_file(
                path,
                max_pixels=reading.max_pixels,
                allow_damaged=reading.allow_damaged,
                label=arguments.label,
            ).values
    except SeveralLabelsError as error:
        raise ValueError(f"{error} (--label N)") from None


def _masks(arguments: argparse.Namespace) -> FrameMasks:
    path = arguments.mask
    if path.is_dir():
        files = list_photos(path)

        def each() -> Iterator[Tensor]:
            for file in files:
                yield _read_mask(file, arguments)

        return FrameMasks(len(files), each)
    if is_video(path):
        if arguments.label is not None:
            raise ValueError("--label belongs to a picture of labels; a video holds none")
        return masks_of_video(VideoReader(path))
    return one_mask(_read_mask(path, arguments))


def run_clip(arguments: argparse.Namespace) -> int:
    """Raises: ValueError in one sentence, as all commands."""
    started = time.perf_counter()
    source, target = arguments.composite, arguments.output
    require_video_ending(target)
    if arguments.bit_depth is not None:
        raise ValueError("--bit-depth belongs to pictures: a video keeps its own")
    if not arguments.mask.exists():
        raise ValueError(f"{arguments.mask} does not exist")
    require_place(target, [source, *([] if arguments.mask.is_dir() else [arguments.mask])])
    reader, masks = VideoReader(source), _masks(arguments)
    tools = load_tools(arguments)
    background = None if arguments.background is None else _read_mask(arguments.background, arguments)
    frames = _Frames(tools, background, arguments)
    controls = controls_of(arguments)
    with tqdm(unit="frame", disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        work = ClipWork(
            begin=frames.begin,
            edged=lambda mask: shaped(mask, controls.grow, controls.feather),
            mode=arguments.frames,
            invert=arguments.invert_mask,
            origin=Origin(
                mask=str(arguments.mask), composite=str(source), remedy="--invert-mask turns it round"
            ),
            lossless=arguments.lossless,
            progress=progress,
        )
        with torch.inference_mode():
            count, notes = harmonize_clip(reader, masks, target, work)
    report = {
        "composite": str(source),
        "mask": str(arguments.mask),
        "output": str(target),
        "model": tools.harmonizer.name,
        "frames": count,
        "references": [{"id": name, "frames": number} for name, number in frames.used.items()],
        "notes": list(dict.fromkeys((*notes, *frames.notes))),
        "seconds": round(time.perf_counter() - started, 3),
    }
    _say(report, arguments.json)
    return 0


def _say(report: dict[str, object], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report))
        return
    used = report["references"]
    assert isinstance(used, list)
    named = ", ".join(f"{entry['id']} ({entry['frames']})" for entry in used) or "none"
    frames, seconds, model = report["frames"], report["seconds"], report["model"]
    print(f"{report['output']}  ({frames} frames, {seconds} s, model {model}, references: {named})")
    notes = report["notes"]
    assert isinstance(notes, list)
    for note in notes:
        print(f"  note: {note}", file=sys.stderr)
