"""`raiha harmonize --frames`: a folder of frames is steadied, and its length costs no memory."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.cli import harmonize as command
from raiha_core.cli import main
from raiha_core.pipeline import harmonize

FRAMES = 6


def _run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def frames(tmp_path):
    rng = np.random.default_rng(1)
    scene = rng.integers(60, 140, (40, 56, 3)).astype(float)
    mask = np.zeros((40, 56), np.uint8)
    mask[10:28, 14:36] = 255
    (tmp_path / "frames").mkdir()
    for place in range(FRAMES):
        lit = scene * (1 + 0.15 * (place % 2))  # the surroundings flicker, the object does not
        lit[mask > 0] = scene[mask > 0]
        Image.fromarray(lit.astype(np.uint8)).save(tmp_path / "frames" / f"{place:03}.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path


def _harmonize(frames, output, *more):
    options = ["--mask", frames / "mask.png", "--model", "statistics", *more]
    assert _run("harmonize", frames / "frames", "-o", frames / output, *options) == 0
    done = [np.asarray(Image.open(path)) for path in sorted((frames / output).iterdir())]
    assert len(done) == FRAMES
    return np.stack(done).astype(float)


def test_a_folder_of_frames_is_steadied(frames):
    mask = np.asarray(Image.open(frames / "mask.png")) > 0
    before = np.stack([np.asarray(Image.open(path)) for path in sorted((frames / "frames").iterdir())])
    alone = _harmonize(frames, "alone")

    def flicker(pictures):
        return np.abs(np.diff(pictures[:, mask].mean(1), n=2, axis=0)).mean()

    for mode in ("first frame", "mean of all", "smooth"):
        done = _harmonize(frames, mode, "--frames", mode)
        assert flicker(done) < flicker(alone) / 3
        assert (done[:, ~mask] == before[:, ~mask]).all()


def test_missing_frames_are_done_with_all_others(frames):
    whole = _harmonize(frames, "out", "--frames", "smooth")
    (frames / "out" / "002.png").unlink()
    assert (_harmonize(frames, "out", "--frames", "smooth") == whole).all()


def test_no_frame_is_kept(frames, monkeypatch):
    # Oracle: what the clip holds for a frame is some hundred numbers, whatever the frame's size.
    made = []

    class Watched(command.Clip):
        def __init__(self, mode):
            super().__init__(mode)
            made.append(self)

    monkeypatch.setattr(command, "Clip", Watched)
    _harmonize(frames, "out", "--frames", "smooth")
    (clip,) = made
    assert len(clip.looks) == FRAMES
    for look in clip.looks.values():
        kept = [look.change, look.centre, look.small]
        assert sum(part.untyped_storage().nbytes() for part in kept) < 4 * 500


def test_a_single_picture_is_no_clip(frames, capsys):
    picture = frames / "frames" / "000.png"
    assert (
        _run(
            "harmonize", picture, "--mask", frames / "mask.png", "-o", frames / "x.png", "--frames", "smooth"
        )
        == 1
    )
    assert "folder of frames" in capsys.readouterr().err


def test_a_video_is_its_frames_harmonized_one_by_one(tmp_path, capsys):
    # Oracle: each frame by harmonize, in an 8-bit RGB file that loses nothing.
    from tests.video_cases import INSIDE, Kind, make_clip, stored

    kind = Kind(ending=".mkv", codec="ffv1", format="bgr0", matrix=0, range=2)
    make_clip(tmp_path / "clip.mkv", kind)
    mask = np.zeros(kind.size, np.uint8)
    mask[INSIDE] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    arguments = ["--mask", tmp_path / "mask.png", "--model", "statistics", "--lossless", "--json"]
    assert _run("harmonize", tmp_path / "clip.mkv", "-o", tmp_path / "out.mkv", *arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["frames"], report["references"], report["notes"]) == (5, [], [])
    before, after = stored(tmp_path / "clip.mkv"), stored(tmp_path / "out.mkv")
    for old, new in zip(before.planes, after.planes, strict=True):
        pixels = torch.from_numpy(np.stack(old))[None].float() / 255
        wanted = harmonize(pixels, torch.from_numpy(mask)[None, None].float() / 255, model="statistics")
        assert torch.equal(torch.from_numpy(np.stack(new)), (wanted[0] * 255).round().long())
        assert (np.stack(new) != np.stack(old)).any()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-o", "out.png"], "ends with .mp4, .mov or .mkv"),
        (["-o", "out.mp4", "--bit-depth", "16"], "--bit-depth belongs to pictures"),
        (["-o", "clip.mp4"], "would replace"),
        (["-o", "out.mp4", "--label", "3"], "has no pixel of label 3"),
    ],
)
def test_what_a_video_cannot_be_asked_for(more, said, tmp_path, capsys, monkeypatch):
    from tests.video_cases import Kind, make_clip

    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mp4", Kind(sound=False))
    mask = np.zeros(Kind().size, np.uint8)
    mask[4:9, 4:9] = 255
    Image.fromarray(mask).save("mask.png")
    assert _run("harmonize", "clip.mp4", "--mask", "mask.png", "--model", "statistics", *more) == 1
    assert said in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "mask.png"}


def test_lossless_is_no_matter_of_pictures(frames, capsys):
    for composite in (frames / "frames", frames / "frames" / "000.png"):
        arguments = ["--mask", frames / "mask.png", "-o", frames / "out", "--lossless"]
        assert _run("harmonize", composite, *arguments) == 1
        assert "--lossless belongs to a video" in capsys.readouterr().err


def test_without_pyav_a_video_is_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for name in ("clip.mp4", "mask.png"):
        (tmp_path / name).write_bytes(b"")
    arguments = ["--mask", tmp_path / "mask.png", "-o", tmp_path / "out.mp4"]
    assert _run("harmonize", tmp_path / "clip.mp4", *arguments) == 1
    assert "need PyAV, which is not installed: pip install av" in capsys.readouterr().err
