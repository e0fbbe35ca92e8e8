"""A video file written frame by frame, through PyAV; sound and times are those of the file that is read."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from ..durable import durable_path
from .planes import StoredFrame, changed, in_format
from .reader import VideoPicture, VideoReader, pyav

WRITTEN_ENDINGS = (".mp4", ".mov", ".mkv")
_QUALITY = "16"  # of H.264's scale, where 0 loses nothing and 23 is usual
_AHEAD = {"rc-lookahead": "8"}  # frames that the encoder holds back; its usual 40 are 0.3 GB of 1080p


@dataclass(frozen=True, slots=True)
class _Encoding:
    codec: str
    format: str
    options: dict[str, str]


class VideoWriter:
    """A video file like the one that is read: its times, its sound, its samples where nothing changed.

    H.264 in .mp4, .mov and .mkv; `lossless` ones are H.264 too, and FFV1 in .mkv. See `writing`.
    """

    def __init__(self, path: Path, container: Any, reader: VideoReader, lossless: bool) -> None:
        self._av, self._container = pyav(), container
        self._path, self._reader, self._lossless = path, reader, lossless
        self._streams: dict[int, Any] = {}  # of the input's streams of sound
        self._waiting: list[tuple[Any, Any]] = []  # sound before the first picture
        self._video: Any = None
        self._last: int | None = None
        self._durations: dict[int, int] = {}

    def finish(self) -> None:
        """Raises: ValueError where there was no frame."""
        if self._video is None:
            raise ValueError(f"{self._reader.name} holds no frame")
        self._mux_video(self._video.encode(None))

    def write(self, stream: Any, picture: VideoPicture, before: Tensor, after: Tensor, mask: Tensor) -> None:
        """Write a frame whose pixels, upright, have changed inside the mask.

        Raises: ValueError in one sentence for samples or sound that the file cannot hold.
        """
        stored = (picture.stored(part) for part in (before, after, mask))
        frame = changed(picture.frame, *stored)
        if self._video is None:
            self._start(stream, picture)
        if frame.format.name != self._encoding.format:
            frame = in_format(frame, self._encoding.format)
        self._stamp(frame, stream)
        self._durations[frame.pts] = picture.frame.duration
        self._mux_video(self._video.encode(frame))

    def _mux_video(self, packets: list[Any]) -> None:
        for packet in packets:  # encoders forget how long frames last
            packet.duration = self._durations.pop(packet.pts, 0)
            self._container.mux(packet)

    def _stamp(self, frame: StoredFrame, stream: Any) -> None:
        base = frame.time_base or stream.time_base
        stamp = frame.pts
        if stamp is None:  # a raw stream without times
            stamp = 0 if self._last is None else self._last + round(1 / (base * self._rate(stream)))
        else:
            stamp -= round(self._reader.offset / base)
        frame.pts = stamp if self._last is None else max(stamp, self._last + 1)
        frame.time_base, self._last = base, frame.pts
        frame.pict_type = 0  # the encoder chooses its own key frames

    @staticmethod
    def _rate(stream: Any) -> Fraction:
        return stream.average_rate or stream.guessed_rate or Fraction(25)

    def _start(self, stream: Any, picture: VideoPicture) -> None:
        frame = picture.frame
        self._encoding = encoding = self._encoding_of(frame)
        self._reader.describe(self._container)
        self._video = video = self._container.add_stream(
            encoding.codec, rate=self._rate(stream), options=encoding.options
        )
        video.width, video.height, video.pix_fmt = frame.width, frame.height, encoding.format
        video.codec_context.time_base = stream.time_base
        sample = frame if frame.format.name == encoding.format else in_format(frame, encoding.format)
        for name in ("colorspace", "color_range", "color_trc", "color_primaries"):
            setattr(video.codec_context, name, getattr(sample, name))
        if stream.sample_aspect_ratio:
            video.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio
        if picture.turns:
            if not hasattr(video, "set_display_rotation"):
                raise ValueError(f"{self._reader.name} is turned, which this version of PyAV cannot write")
            video.set_display_rotation(90 * picture.turns)
        for sound in stream.container.streams.audio:
            self._streams[sound.index] = self._sound(sound)
        for sound, packet in self._waiting:
            self._mux(sound, packet)

    def _sound(self, sound: Any) -> Any:
        codec = sound.codec_context.name if sound.codec_context else "an unknown codec"
        try:
            copy = self._container.add_stream_from_template(sound)
        except (ValueError, self._av.error.FFmpegError) as error:
            raise ValueError(
                f"{self._path} cannot hold the sound of {self._reader.name} ({codec}); an .mkv can"
            ) from error
        copy.metadata.update({key: value for key, value in sound.metadata.items() if key == "language"})
        return copy

    def copy(self, stream: Any, packet: Any) -> None:
        """Copy a packet of sound."""
        if self._video is None:
            self._waiting.append((stream, packet))
        else:
            self._mux(stream, packet)

    def _mux(self, stream: Any, packet: Any) -> None:
        shift = math.floor(self._reader.offset / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts -= shift
        packet.stream = self._streams[stream.index]
        self._container.mux(packet)

    def _encoding_of(self, frame: StoredFrame) -> _Encoding:
        """Raises: ValueError in one sentence for samples that the file cannot hold."""
        name, matroska = frame.format.name, self._path.suffix.lower() == ".mkv"
        if self._lossless and matroska:
            held = {"gbrp": "bgr0", "gbrap": "bgra"}.get(name, name)
            self._require(name, held, "ffv1", "FFV1")
            return _Encoding("ffv1", held, {"level": "3", "slicecrc": "1"})
        elsewhere = ", but an .mkv that loses nothing holds them"
        if "a" in name[:4] and not name.startswith("gray"):
            raise ValueError(f"{self._reader.name} has alpha, which H.264 has not{elsewhere}")
        if self._lossless:
            self._require(name, name, "libx264", "H.264", elsewhere, odd=self._is_odd(frame))
            return _Encoding("libx264", name, {"qp": "0", **_AHEAD})
        held = "yuv420p" if name.startswith("gbr") else name
        if (self._is_odd(frame) and "420" in held) or ("422" in held and frame.width % 2):
            held = held.replace("420", "444").replace("422", "444")
        self._require(name, held, "libx264", "H.264", elsewhere)
        return _Encoding("libx264", held, {"crf": _QUALITY, **_AHEAD})

    @staticmethod
    def _is_odd(frame: StoredFrame) -> bool:
        return bool(frame.width % 2 or frame.height % 2)

    def _require(
        self, name: str, held: str, codec: str, called: str, elsewhere: str = "", *, odd: bool = False
    ) -> None:
        known = {kind.name for kind in self._av.Codec(codec, "w").video_formats}
        if held not in known or (odd and "444" not in held and held != "gray"):
            size = " of odd size" if odd and held in known else ""
            raise ValueError(
                f"the frames of {self._reader.name} are '{name}'{size}, which {called} cannot hold{elsewhere}"
            )


@contextmanager
def writing(path: Path, reader: VideoReader, *, lossless: bool = False) -> Iterator[VideoWriter]:
    """A writer; the file takes its name when the block ends without error.

    Raises: ValueError for a name that no video has, and as the writer; OSError as the file system.
    """
    require_video_ending(path)
    with durable_path(path) as temporary, pyav().open(str(temporary), "w") as container:
        writer = VideoWriter(path, container, reader, lossless)
        yield writer
        writer.finish()


def require_video_ending(path: Path) -> None:
    """Raises: ValueError where a video is not written under such a name."""
    if path.suffix.lower() not in WRITTEN_ENDINGS:
        raise ValueError(f"{path} cannot be written: a video's name ends with .mp4, .mov or .mkv")
