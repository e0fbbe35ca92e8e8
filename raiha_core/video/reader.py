"""A video file read frame by frame, through PyAV: nothing is held but the frame in hand."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from .planes import FULL, StoredFrame, UnreadFrameError, grey_of, in_format, planar_name, srgb_of

VIDEO_ENDINGS = (
    ".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".wmv",
)  # fmt: skip


def pyav() -> Any:
    """The library that reads and writes video. Raises: ValueError where it is not installed."""
    try:
        import av  # an extra: most users have no clips, and ComfyUI brings it
    except ImportError:
        raise ValueError("video files need PyAV, which is not installed: pip install av") from None
    return av


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_ENDINGS


@dataclass(frozen=True, slots=True)
class VideoPicture:
    """One frame of a video: as it is stored, and upright for who looks at it."""

    frame: StoredFrame  # planar, as stored
    turns: int  # quarter turns against the clock from stored to upright

    @property
    def pixels(self) -> Tensor:
        """(1, 3, H, W) upright sRGB in 0..1."""
        return torch.rot90(srgb_of(self.frame).clamp_(0, 1), self.turns, (2, 3))

    @property
    def grey(self) -> Tensor:
        """(1, 1, H, W) upright lightness in 0..1."""
        return torch.rot90(grey_of(self.frame), self.turns, (2, 3))

    def stored(self, upright: Tensor) -> Tensor:
        """A picture or mask of the upright frame, as the frame is stored."""
        return torch.rot90(upright, -self.turns, (2, 3))


class VideoReader:
    """A video file that may be gone through several times.

    Args: start, duration: seconds of the part that is read; 0 of `duration` is all that follows.
    """

    def __init__(
        self, source: Path | IO[bytes], *, start: float = 0.0, duration: float = 0.0, name: str = "the video"
    ) -> None:
        self._av = pyav()
        self._source, self._start, self._duration = source, start, duration
        self.name = str(source) if isinstance(source, Path) else name
        self._count: int | None = None
        self.notes: dict[str, None] = {}

    def _open(self) -> Any:
        if not isinstance(self._source, Path):
            self._source.seek(0)
        try:
            source = str(self._source) if isinstance(self._source, Path) else self._source
            container = self._av.open(source, metadata_errors="replace")
        except self._av.error.FFmpegError as error:
            raise ValueError(f"{self.name} cannot be read as a video: {error.strerror}") from error
        if not container.streams.video:
            container.close()
            raise ValueError(f"{self.name} holds no video")
        return container

    def _inside(self, stamp: int | None, base: Fraction | None) -> int:
        """-1 before the part that is read, 0 in it, 1 behind it."""
        if stamp is None or base is None:
            return 0
        time = float(stamp * base)
        if self._start > 0 and time < self._start - 1e-6:  # sound begins before 0, with its encoder's lead
            return -1
        return int(self._duration > 0 and time >= self._start + self._duration - 1e-6)

    @property
    def count(self) -> int:
        """How many frames there are: of a file that does not say so, its packets are counted."""
        if self._count is None:
            with self._open() as container:
                stream = container.streams.video[0]
                stamps = [packet.pts for packet in container.demux(stream) if packet.size]
                self._count = sum(self._inside(stamp, stream.time_base) == 0 for stamp in stamps)
        return self._count

    def pictures(self) -> Iterator[VideoPicture]:
        """The frames, in the order in which they are shown."""
        for _, part in self.parts(sound=False):
            yield part

    def parts(self, *, sound: bool = True) -> Iterator[tuple[Any, Any]]:
        """(stream, VideoPicture) and (stream, packet of sound), as the file mixes them.

        Raises: ValueError naming what is damaged, or of a kind that is not read.
        """
        with self._open() as container:
            video = container.streams.video[0]
            video.thread_type = "AUTO"
            streams = [video, *(container.streams.audio if sound else ())]
            if self._start > 0 and video.time_base:
                container.seek(int(self._start / video.time_base), stream=video)
            done = False
            first: tuple[int, int] | None = None
            for packet in container.demux(*streams):
                if packet.stream is not video and packet.stream.index != video.index:
                    if packet.dts is not None and self._inside(packet.pts, packet.time_base) == 0:
                        yield packet.stream, packet
                    continue
                for frame in () if done else self._decoded(packet):
                    place = self._inside(frame.pts, frame.time_base)
                    done = done or place > 0
                    if place == 0:
                        first = first or (frame.width, frame.height)
                        if first != (frame.width, frame.height):
                            raise ValueError(f"the frames of {self.name} change their size on the way")
                        yield video, self._picture(frame)

    def _decoded(self, packet: Any) -> list[StoredFrame]:
        try:
            return packet.decode()
        except self._av.error.FFmpegError as error:
            raise ValueError(f"{self.name} is damaged: {error.strerror}") from error

    def _picture(self, frame: StoredFrame) -> VideoPicture:
        turn = getattr(frame, "rotation", 0)
        if turn % 90:
            raise ValueError(f"{self.name} is turned by {turn} degrees, which is not read")
        if frame.interlaced_frame:
            self.notes["it is interlaced: its frames are taken as whole pictures"] = None
        try:
            name = planar_name(frame.format)
            if name != frame.format.name:
                frame = in_format(frame, name)
            if name.startswith("gray") and frame.color_range == 0:
                frame.color_range = FULL  # as all programs take grey; H.264 would have it be video's
            return VideoPicture(frame, turn // 90 % 4)
        except UnreadFrameError as error:
            raise ValueError(f"{self.name}: {error}") from None

    @property
    def is_mp4(self) -> bool:
        """Whether it is of the family of .mp4 and .mov."""
        with self._open() as container:
            return "mp4" in container.format.name

    @property
    def offset(self) -> float:
        """Seconds that are taken from all times of what is written."""
        return self._start

    def describe(self, output: Any) -> None:
        """Copy what the container says of the clip (title, date, and so on)."""
        with self._open() as container:
            for key, value in container.metadata.items():
                output.metadata[key] = value
