"""A clip harmonized from one video file to another, a frame at a time.

Modes that steady the object look at all frames first and then do each again: memory holds some hundred
numbers for each frame, and one frame.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

from torch import Tensor

from ..clips import PER_FRAME, corrected, look_at, require_mode, steady
from ..mask_meaning import Meaning, Origin, understand
from .reader import VideoPicture, VideoReader
from .writer import writing

_BLACK, _WHITE = 16 / 255, 239 / 255  # of a mask that went through a codec, which blurs and rings


@dataclass(frozen=True, slots=True)
class FrameMasks:
    """The masks of a clip's frames: one for all, or one for each."""

    count: int | None  # None: one for all
    each: Callable[[], Iterator[Tensor]]  # (1, 1, h, w), from the first on at each call


def one_mask(mask: Tensor) -> FrameMasks:
    """Args: mask: (1, 1, h, w)."""
    return FrameMasks(None, lambda: repeat(mask))


def masks_of_video(reader: VideoReader) -> FrameMasks:
    """White marks the object; what the codec left near black and white counts as these."""

    def each() -> Iterator[Tensor]:
        for picture in reader.pictures():
            yield ((picture.grey - _BLACK) / (_WHITE - _BLACK)).clamp_(0, 1)

    return FrameMasks(reader.count, each)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipWork:
    """What is done to each frame, and what the frames have to do with each other."""

    # starts a pass over the frames; what it gives harmonizes (1, 3, H, W) by its mask (1, 1, H, W)
    begin: Callable[[], Callable[[Tensor, Tensor], Tensor]]
    edged: Callable[[Tensor], Tensor]  # the mask outside which nothing changes, from the mask as understood
    mode: str = PER_FRAME
    invert: bool = False  # black marks the object
    origin: Origin = field(default_factory=Origin)
    lossless: bool = False
    progress: Callable[[int, int], None] = lambda done, total: None  # what it raises ends the work

    def __post_init__(self) -> None:
        require_mode(self.mode)


class _Meanings:
    """Masks as they are meant; one for all frames is looked at once."""

    def __init__(self, work: ClipWork) -> None:
        self._work = work
        self._last: tuple[Tensor, Meaning] | None = None
        self.notes: dict[str, None] = {}

    def of(self, pixels: Tensor, mask: Tensor) -> Tensor:
        if self._last is None or self._last[0] is not mask:
            meant = understand(pixels, mask, invert=self._work.invert, origin=self._work.origin)
            self._last = mask, meant
            self.notes |= dict.fromkeys(meant.notes)
        return self._last[1].mask


def harmonize_clip(
    reader: VideoReader, masks: FrameMasks, target: Path, work: ClipWork
) -> tuple[int, tuple[str, ...]]:
    """Write `target`: the clip with its object at home, its sound and times kept.

    Returns: how many frames it has, and what should be said.
    Raises: ValueError in one sentence where frames and masks are of different number, or cannot be read,
        understood or written; OSError from the file system. `target` is then what it was.
    """
    if masks.count is not None and masks.count != reader.count:
        raise ValueError(f"{reader.name} has {reader.count} frames, but there are {masks.count} masks")
    meanings = _Meanings(work)
    total = reader.count * (1 if work.mode == PER_FRAME else 2)
    looks = []
    if work.mode != PER_FRAME:
        answer, given = work.begin(), masks.each()
        for picture in reader.pictures():
            pixels, mask = _pair(picture, given, meanings, reader)
            looks.append(look_at(pixels, answer(pixels, mask), work.edged(mask)))
            work.progress(len(looks), total)
    wanted = steady(looks, work.mode) if looks else []
    answer, given, done = work.begin(), masks.each(), 0
    with writing(target, reader, lossless=work.lossless) as file:
        for stream, part in reader.parts():
            if not isinstance(part, VideoPicture):
                file.copy(stream, part)
                continue
            pixels, mask = _pair(part, given, meanings, reader)
            after, edged = answer(pixels, mask), work.edged(mask)
            if wanted:
                after = corrected(after, edged, looks[done], wanted[done])
            file.write(stream, part, pixels, after, edged)
            done += 1
            work.progress(len(looks) + done, max(total, len(looks) + done))
    return done, (*reader.notes, *meanings.notes)


def _pair(
    picture: VideoPicture, given: Iterator[Tensor], meanings: _Meanings, reader: VideoReader
) -> tuple[Tensor, Tensor]:
    pixels = picture.pixels.contiguous()
    mask = next(given, None)
    if mask is None:
        raise ValueError(f"{reader.name} has more frames than there are masks")
    return pixels, meanings.of(pixels, mask)
