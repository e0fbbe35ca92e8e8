"""Clips: what is steadied, where cuts are, and that nothing else changes."""

import pytest
import torch

from raiha_core import clips
from raiha_core.clips import FIRST, MEAN, PER_FRAME, SMOOTH, Look, steady
from workflows.run import pack


def looks_of(values, shades=None, seen=None):
    """Looks whose first number is as given; their small frames are grey."""
    shades = shades or [50.0] * len(values)
    seen = seen or [True] * len(values)
    return [
        Look(torch.full((6,), float(value)), torch.zeros(3), torch.full((3, 12, 12), float(shade)), there)
        for value, shade, there in zip(values, shades, seen, strict=True)
    ]


def first_numbers(looks, mode):
    return torch.stack(steady(looks, mode))[:, 0]


def test_per_frame_changes_nothing():
    values = torch.randn(9, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first_numbers(looks_of(values), PER_FRAME), values)


def test_mean_and_first_are_what_they_say():
    looks = looks_of([1, 2, 6, 10], [10, 10, 80, 80])  # a cut in the middle
    assert first_numbers(looks, MEAN).tolist() == [4.75] * 4
    assert first_numbers(looks, FIRST).tolist() == [1, 1, 6, 6]


def test_smooth_follows_even_fades_exactly_and_cuts_at_once():
    # Oracle: a straight line is its own weighted line, and no frame knows of another shot's.
    values = [0.1 * t for t in range(30)] + [7 - 0.2 * t for t in range(20)]
    looks = looks_of(values, [20.0] * 30 + [60.0] * 20)
    torch.testing.assert_close(first_numbers(looks, SMOOTH), torch.tensor(values), rtol=0, atol=1e-5)


def test_smooth_takes_noise_away():
    noise = torch.randn(80, generator=torch.Generator().manual_seed(2))
    smooth = first_numbers(looks_of(noise), SMOOTH)
    assert smooth.diff().diff().abs().mean() < noise.diff().diff().abs().mean() / 20


def test_a_fade_is_no_cut_and_a_sudden_change_is_one():
    fade = looks_of([0] * 60, [float(t) for t in range(60)])
    assert clips.shots(fade) == [slice(0, 60)]
    fast = looks_of([0] * 8, [10.0 * t for t in range(8)])  # a quick pan from its first frame on
    assert clips.shots(fast) == [slice(0, 8)]
    cut = looks_of([0] * 9, [30.0] * 4 + [60.0] * 5)
    assert clips.shots(cut) == [slice(0, 4), slice(4, 9)]


def test_frames_without_an_object_neither_count_nor_change():
    looks = looks_of([9, 1, 9, 1], seen=[False, True, False, True])
    assert first_numbers(looks, MEAN)[1] == 1
    assert first_numbers(looks, SMOOTH)[1].item() == pytest.approx(1)
    picture, mask = torch.rand(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    assert torch.equal(clips.corrected(picture, mask, looks[0], torch.ones(6)), picture)


def test_the_object_changes_as_it_shall_and_the_rest_keeps_its_bits():
    generator = torch.Generator().manual_seed(4)
    composite = 0.3 + 0.3 * torch.rand(1, 3, 40, 40, generator=generator)
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 8:30, 8:30] = 1
    look = clips.look_at(composite, composite, mask)
    torch.testing.assert_close(look.change, torch.zeros(6), rtol=0, atol=1e-6)
    wanted = torch.tensor([5.0, 2, -3, 0, 0, 0])
    done = clips.corrected(composite, mask, look, wanted)
    torch.testing.assert_close(clips.look_at(composite, done, mask).change[:3], wanted[:3], rtol=0, atol=0.05)
    assert torch.equal(done[(mask == 0).expand_as(done)], composite[(mask == 0).expand_as(done)])


def test_an_unknown_mode_is_named():
    with pytest.raises(ValueError, match="'twice'"):
        steady(looks_of([1]), "twice")


@pytest.fixture(scope="module")
def clip_nodes(tmp_path_factory):
    host = pack("workflows.host").Host(tmp_path_factory.mktemp("clip"))
    return host, pack("nodes.harmonize"), pack("nodes.models")


def _clip(frames):
    """A still scene (T, 24, 32, 3) whose light flickers, and its mask (1, 24, 32)."""
    generator = torch.Generator().manual_seed(5)
    scene = 0.3 + 0.3 * torch.rand(1, 24, 32, 3, generator=generator)
    gain = 1 + 0.2 * torch.rand(frames, 1, 1, 1, generator=generator)
    mask = torch.zeros(1, 24, 32)
    mask[:, 6:18, 8:20] = 1
    return torch.where(mask[..., None] > 0, scene, scene * gain), mask


def test_a_batch_on_the_node_is_its_frames_and_modes_steady_it(clip_nodes):
    host, nodes, models = clip_nodes
    clip, mask = _clip(7)
    with host.session():
        model = models.load_named_harmonizer("statistics")

        def run(pictures, **options):
            return nodes.Harmonize.execute(pictures, mask, model, **options).args[0]

        alone = torch.cat([run(one[None]) for one in clip])
        assert torch.equal(run(clip), alone)
        inside = mask[0] > 0
        for mode in (FIRST, MEAN, SMOOTH):
            done = run(clip, frames=mode)
            assert torch.equal(done[:, ~inside], clip[:, ~inside])

            def flicker(pictures):
                return pictures[:, inside].mean(1).diff(n=2, dim=0).abs().mean()

            assert flicker(done) < flicker(alone) / 3


def test_a_batch_tells_its_progress_and_stops_within_one_frame(clip_nodes):
    host, nodes, models = clip_nodes
    clip, mask = _clip(6)
    told = []
    with host.session() as session:
        session.node_id = "1"

        def on_progress(_node, done, total):
            told.append((done, total))
            session.interrupted = done == 2

        session.on_progress = on_progress
        with pytest.raises(pack("workflows.host_session").InterruptProcessingException):
            nodes.Harmonize.execute(clip, mask, models.load_named_harmonizer("statistics"))
    assert told == [(1, 6), (2, 6)]
