"""Small clips, made by PyAV itself, and what is in a video file."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from raiha_core.video.planes import in_format

av = pytest.importorskip("av", reason="PyAV, the extra 'video', is not installed")

HEIGHT, WIDTH = 32, 48
TIMES = (0, 40, 100, 120, 200)  # milliseconds: no constant rate
MILLISECOND = Fraction(1, 1000)
INSIDE = (slice(8, 21), slice(12, 29))  # rows and columns of the object, no whole cells of 2 x 2


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a clip is stored."""

    ending: str = ".mp4"
    codec: str = "libx264"
    format: str = "yuv420p"
    matrix: int = 1
    range: int = 1  # 1: video's, 2: all codes
    rotation: int = 0
    size: tuple[int, int] = (HEIGHT, WIDTH)
    curve: int = 1
    sound: bool = True


def pictures(kind=Kind(), frames=len(TIMES)):  # noqa: B008  frozen
    """uint8 (T, H, W, 3)."""
    rng = np.random.default_rng(3)
    scene = rng.integers(40, 200, (*kind.size, 3))
    return np.stack([scene + 5 * place for place in range(frames)]).astype(np.uint8)


def make_clip(path, kind=Kind(), shots=None, times=TIMES):
    """Write a clip. Args: shots: uint8 (T, H, W, 3) in place of `pictures`."""
    shots = pictures(kind, len(times)) if shots is None else shots
    with av.open(str(path), "w") as file:
        options = {"crf": "10"} if kind.codec == "libx264" else {}
        stream = file.add_stream(kind.codec, rate=25, options=options)
        stream.height, stream.width = shots.shape[1:3]
        stream.pix_fmt = kind.format
        if kind.rotation:
            stream.set_display_rotation(kind.rotation)
        codec = stream.codec_context
        codec.colorspace, codec.color_range, codec.color_trc = kind.matrix, kind.range, kind.curve
        codec.time_base = MILLISECOND
        voice = file.add_stream("aac", rate=48000, layout="mono") if kind.sound else None
        for time, shot in zip(times, shots, strict=True):
            frame = av.VideoFrame.from_ndarray(shot, format="rgb24")
            frame = in_format(frame, kind.format)
            frame.colorspace, frame.color_range, frame.color_trc = kind.matrix, kind.range, kind.curve
            frame.pts, frame.time_base = time, MILLISECOND
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if voice is not None:
            tone = np.sin(np.arange(9600) / 20)[None].astype(np.float32) / 3
            sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 48000, 0
            file.mux(voice.encode(sound))
            file.mux(voice.encode(None))
    return path


def planes_of(frame):
    """(rows, columns) int64 of each component."""
    found = []
    for part in frame.format.components:
        plane = frame.planes[part.plane]
        codes = np.frombuffer(plane, np.uint8 if part.bits <= 8 else "<u2").reshape(plane.height, -1)
        found.append(codes[:, : plane.width].astype(np.int64))
    return found


@dataclass(frozen=True)
class Stored:
    codec: str
    rate: Fraction
    times: list  # of the frames, from the first one on
    tags: list  # rotation, matrix, range of each frame
    planes: list  # of each frame, in a format with a plane for each component
    sound: list  # packets


def stored(path):
    """All that is in a file, by PyAV alone."""
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        frames = list(file.decode(video))
        codec, rate = video.codec.canonical_name, video.average_rate
        shown = [frame.pts * frame.time_base for frame in frames]
        tags = [(frame.rotation, frame.colorspace, frame.color_range) for frame in frames]
        planar = [in_format(f, "gbrp") if f.format.name == "bgr0" else f for f in frames]
    with av.open(str(path)) as file:
        audio = file.streams.audio
        sound = [bytes(packet) for packet in file.demux(audio[0]) if packet.size] if audio else []
    return Stored(
        codec, rate, [time - shown[0] for time in shown], tags, [planes_of(f) for f in planar], sound
    )


def served(shape, mask):
    """Which samples of a plane serve a pixel of the mask (H, W)."""
    down, across = -(-mask.shape[0] // shape[0]), -(-mask.shape[1] // shape[1])
    padded = np.zeros((shape[0] * down, shape[1] * across), bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return padded.reshape(shape[0], down, shape[1], across).any((1, 3))
