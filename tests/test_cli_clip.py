"""`raiha harmonize --frames`: a folder of frames is steadied, and its length costs no memory."""

import numpy as np
import pytest
from PIL import Image

from raiha_core.cli import harmonize as command
from raiha_core.cli import main

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
