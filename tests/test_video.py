"""Video files: what the mask leaves out is what was stored, and what is not looked at stays.

Oracles: H.273's formulas in float64; PyAV's own reading of the files; pictures harmonized one by one.
"""

import re
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from raiha_core.video import planes
from raiha_core.video.harmonized import ClipWork, FrameMasks, harmonize_clip, masks_of_video, one_mask
from raiha_core.video.reader import VideoReader
from raiha_core.video.writer import writing
from tests.video_cases import (
    HEIGHT,
    INSIDE,
    TIMES,
    WIDTH,
    Kind,
    av,
    make_clip,
    pictures,
    planes_of,
    served,
    stored,
)

KINDS = {
    "h264": Kind(),
    "turned": Kind(rotation=90),
    "full range, BT.601": Kind(format="yuvj420p", matrix=5, range=2),
    "10 bits, 4:2:2, BT.2020": Kind(ending=".mkv", format="yuv422p10le", matrix=9),
    "odd size": Kind(ending=".mkv", codec="ffv1", size=(31, 47)),
    "rgb": Kind(ending=".mkv", codec="ffv1", format="bgr0", matrix=0, range=2),
    "alpha": Kind(ending=".mkv", codec="ffv1", format="yuva420p"),
    "grey": Kind(ending=".mkv", codec="ffv1", format="gray", range=2),
    "no sound": Kind(sound=False),
}


def darkened(pixels, mask):
    return torch.where(mask > 0, pixels * 0.7, pixels)


def work_of(answer=darkened, **options):
    return ClipWork(begin=lambda: answer, edged=lambda mask: mask, **options)


def mask_of(height=HEIGHT, width=WIDTH):
    mask = torch.zeros(1, 1, height, width)
    mask[(..., *INSIDE)] = 1
    return mask


@pytest.mark.parametrize("name", KINDS)
def test_without_loss_only_samples_of_the_mask_change(name, tmp_path):
    kind = KINDS[name]
    source = make_clip(tmp_path / f"clip{kind.ending}", kind)
    height, width = kind.size[::-1] if kind.rotation else kind.size
    mask = mask_of(height, width)
    count, notes = harmonize_clip(
        VideoReader(source), one_mask(mask), tmp_path / "out.mkv", work_of(lossless=True)
    )
    before, after = stored(source), stored(tmp_path / "out.mkv")
    assert (count, notes) == (len(TIMES), ())
    assert after.codec == "ffv1"
    assert after.times == pytest.approx(before.times, abs=0.0011)  # .mkv counts milliseconds
    assert after.tags == before.tags
    assert after.sound == before.sound
    inside = np.rot90(mask[0, 0].numpy() > 0, -kind.rotation // 90)
    for old, new in zip(before.planes, after.planes, strict=True):
        assert [plane.shape for plane in old] == [plane.shape for plane in new]
        for part, (one, other) in enumerate(zip(old, new, strict=True)):
            if part == 3:
                assert (one == other).all()  # alpha
                continue
            place = served(one.shape, inside)
            assert (one == other)[~place].all()
            assert part or (one != other)[inside].mean() > 0.9


def test_h264_keeps_times_rate_sound_and_the_picture_nearly(tmp_path):
    source = make_clip(tmp_path / "clip.mp4", times=range(0, 200, 40))
    harmonize_clip(VideoReader(source), one_mask(mask_of()), tmp_path / "out.mp4", work_of())
    before, after = stored(source), stored(tmp_path / "out.mp4")
    assert (after.codec, after.rate, after.times) == ("h264", 25, before.times)
    assert after.sound == before.sound
    luma = [np.stack([frame[0] for frame in one.planes]) for one in (before, after)]
    away = np.ones((HEIGHT, WIDTH), bool)
    away[6:23, 10:31] = False
    assert np.abs(luma[0] - luma[1])[:, away].mean() < 3
    assert (luma[0] - luma[1])[(slice(None), *INSIDE)].mean() > 20


def frame_of(name, matrix, full, seed=0, size=(18, 26)):
    """A frame of random samples, all codes allowed."""
    frame = av.VideoFrame(size[1], size[0], name)
    rng = np.random.default_rng(seed)
    for part in frame.format.components:
        plane, kind = frame.planes[part.plane], "u1" if part.bits <= 8 else "<u2"
        row = plane.line_size // np.dtype(kind).itemsize
        plane.update(rng.integers(0, 1 << part.bits, (plane.height, row)).astype(kind))
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame


@pytest.mark.parametrize(
    ("matrix", "red", "blue"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)]
)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("name", "bits"), [("yuv444p", 8), ("yuv444p10le", 10)])
def test_samples_are_colours_by_their_matrix_and_range(matrix, red, blue, full, name, bits):
    frame = frame_of(name, matrix, full)
    step = 2 ** (bits - 8)
    black, white, span = (0, 2**bits - 1, 2**bits - 1) if full else (16 * step, 219 * step, 224 * step)
    y, u, v = floats_of(frame)
    y, u, v = (y - black) / white, (u - 128 * step) / span, (v - 128 * step) / span
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    torch.testing.assert_close(
        planes.srgb_of(frame)[0].double(), torch.from_numpy(np.stack([r, g, b])), rtol=0, atol=1e-5
    )


def floats_of(frame):
    return [plane.astype(float) for plane in planes_of(frame)]


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv411p", "yuv444p10le", "gbrp", "gray"])
@pytest.mark.parametrize("size", [(18, 26), (17, 25)])
def test_a_change_is_added_and_no_change_keeps_colours_beyond_rgb(name, size):
    frame = frame_of(name, 1, False, size=size)
    before = planes.srgb_of(frame).clamp(0, 1)
    all_of_it = torch.ones(1, 1, *size)
    same = planes.changed(frame, before, before, all_of_it)
    for old, new in zip(floats_of(frame), floats_of(same), strict=True):
        assert (old == new).all()
    calm = planes.changed(frame, before, torch.full_like(before, 0.4), all_of_it)
    before = planes.srgb_of(calm)
    lighter = planes.changed(calm, before, before + torch.tensor([0.1, 0.1, 0.1])[:, None, None], all_of_it)
    difference = planes.srgb_of(lighter) - before
    assert difference.median().item() == pytest.approx(0.1, abs=0.005)


def test_players_guess_the_matrix_by_the_height():
    assert planes.Coding.of(frame_of("yuv420p", 2, False, size=(720, 16))).red == 0.2126
    assert planes.Coding.of(frame_of("yuv420p", 2, False, size=(576, 16))).red == 0.299


@pytest.mark.parametrize(
    ("kind", "target", "lossless", "said"),
    [
        (KINDS["alpha"], "out.mp4", False, "has alpha, which H.264 has not, but an .mkv"),
        (KINDS["rgb"], "out.mp4", True, "'gbrp', which H.264 cannot hold, but an .mkv"),
        (KINDS["odd size"], "out.mp4", True, "of odd size"),
        (replace(KINDS["h264"], curve=16), "out.mp4", False, "high dynamic range (PQ)"),
        (KINDS["h264"], "out.webm", False, "ends with .mp4, .mov or .mkv"),
    ],
)
def test_what_cannot_be_read_or_written_is_one_sentence(kind, target, lossless, said, tmp_path):
    source = make_clip(tmp_path / f"clip{kind.ending}", kind)
    height, width = kind.size
    masks, work = one_mask(mask_of(height, width)), work_of(lossless=lossless)
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        harmonize_clip(VideoReader(source), masks, tmp_path / target, work)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]  # nothing half done is left


@pytest.mark.parametrize("name", ["odd size", "rgb"])
def test_h264_takes_the_others_in_its_own_way(name, tmp_path):
    source = make_clip(tmp_path / "clip.mkv", KINDS[name])
    mask = mask_of(*KINDS[name].size)
    harmonize_clip(VideoReader(source), one_mask(mask), tmp_path / "out.mp4", work_of())
    pixels = [next(VideoReader(tmp_path / file).pictures()).pixels for file in ("clip.mkv", "out.mp4")]
    light = [picture.mean(1, keepdim=True) for picture in pixels]  # 4:2:0 loses the noise of colours
    assert (light[0] - light[1])[mask == 0].mean().abs() < 0.01
    assert (light[0] - light[1])[mask > 0].mean() > 0.08


def test_masks_may_be_a_video_or_one_for_each_frame(tmp_path):
    source = make_clip(tmp_path / "clip.mkv", KINDS["rgb"])
    shots = np.zeros((len(TIMES), HEIGHT, WIDTH, 3), np.uint8)
    for place, shot in enumerate(shots):
        shot[8:24, 4 + 4 * place : 20 + 4 * place] = 255
    masks = make_clip(tmp_path / "mask.mp4", Kind(sound=False), shots)
    harmonize_clip(
        VideoReader(source), masks_of_video(VideoReader(masks)), tmp_path / "out.mkv", work_of(lossless=True)
    )
    before, after = stored(source), stored(tmp_path / "out.mkv")
    for shot, old, new in zip(shots, before.planes, after.planes, strict=True):
        differs = (old[0] != new[0]) | (old[1] != new[1])
        assert differs[shot[..., 0] > 0].mean() > 0.95
        assert differs[shot[..., 0] == 0].mean() < 0.02  # the codec's rim
    two = FrameMasks(2, lambda: iter([mask_of()] * 2))
    with pytest.raises(ValueError, match="has 5 frames, but there are 2 masks"):
        harmonize_clip(VideoReader(source), two, tmp_path / "out.mkv", work_of())


def test_frames_are_not_held(tmp_path):
    source = make_clip(tmp_path / "clip.mp4", times=range(0, 800, 40))
    alive, most = weakref.WeakSet(), []

    def answer(pixels, mask):
        alive.add(pixels)
        most.append(len(alive))
        return darkened(pixels, mask)

    harmonize_clip(
        VideoReader(source), one_mask(mask_of()), tmp_path / "out.mp4", work_of(answer, mode="smooth")
    )
    assert len(most) == 40  # looked at, and done
    assert max(most) <= 2


def test_progress_is_told_and_may_stop_the_work_at_once(tmp_path):
    source = make_clip(tmp_path / "clip.mp4")
    told = []

    def progress(done, total):
        told.append((done, total))
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harmonize_clip(
            VideoReader(source),
            one_mask(mask_of()),
            tmp_path / "out.mp4",
            work_of(mode="mean of all", progress=progress),
        )
    assert told == [(done, 10) for done in range(1, 8)]
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_part_of_a_clip_is_read_and_begins_at_0(tmp_path):
    source = make_clip(tmp_path / "clip.mp4", times=range(0, 400, 40))
    part = VideoReader(source, start=0.1, duration=0.2)
    assert part.count == 5
    with writing(tmp_path / "out.mp4", part, lossless=True) as file:
        for stream, one in part.parts():
            if stream.type == "audio":
                file.copy(stream, one)
            else:
                file.write(stream, one, one.pixels, one.pixels, mask_of())
    whole, cut = stored(source), stored(tmp_path / "out.mp4")
    assert [(a == b).all() for a, b in zip(whole.planes[3], cut.planes[0], strict=True)] == [True] * 3
    assert cut.times == [time - whole.times[3] for time in whole.times[3:8]]
    assert 0 < len(cut.sound) < len(whole.sound)


def test_what_is_no_video_and_what_is_damaged_is_named(tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"no video at all" * 9)
    with pytest.raises(ValueError, match=r"no\.mp4 cannot be read as a video"):
        _ = VideoReader(tmp_path / "no.mp4").count


def test_pictures_of_rgb_are_exact():
    # Oracle: the bytes that the clip was made of.
    shots = pictures(KINDS["rgb"])
    frame = av.VideoFrame.from_ndarray(shots[0], format="rgb24")
    found = planes.srgb_of(planes.in_format(frame, "gbrp"))
    assert torch.equal(found[0], torch.from_numpy(shots[0]).permute(2, 0, 1).float() / 255)
