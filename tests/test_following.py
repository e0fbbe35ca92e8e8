"""References followed by any network's answer: a transfer, a map, pixels; and what leaves answers alone."""

from dataclasses import replace

import pytest
import torch

from raiha_core import checkpoint, render
from raiha_core.color import srgb_to_lab
from raiha_core.features.patches import PatchFeatures
from raiha_core.features.references import Reference
from raiha_core.harmonizer import NetworkHarmonizer, StatisticsHarmonizer, load_harmonizer, shipped_gate
from raiha_core.masked_statistics import RegionStatistics, measure
from raiha_core.models.following import NO_MATCH, NOT_COMPARED, UNMATCHED, blend, follow, transfer_of
from raiha_core.models.reference_gate import FARTHEST_STEP, LEAST_BELIEF, FittedGate, ReferenceGate, Weighed
from raiha_core.models.reference_measurement import reference_quality
from raiha_core.models.statistics import Statistics, measure_object, steps_towards
from raiha_core.pipeline import harmonize, harmonize_with_beliefs
from raiha_core.render import LabTransfer, Prediction
from tests.network_cases import SPEC as NETWORK_SPEC
from tests.network_cases import contents, fill, pairs, small
from tests.statistics_cases import GREEN, RED, SPEC, box, lab_colour, lab_mean, match, painted, reference

MASK = box((64, 64), (0.25, 0.75))


def believing(bias: float = 8.0) -> FittedGate:
    """A gate that believes every reference alike, leaves the light alone, and holds nothing back."""
    gate = ReferenceGate()
    with torch.no_grad():
        gate.to_belief.bias.fill_(bias)
        gate.light_share.fill_(0.0)
        gate.usual_error.fill_(1000.0)
    return FittedGate(gate.requires_grad_(False), SPEC)


def share(bias: float = 8.0) -> float:
    return (float(torch.tensor(bias).sigmoid()) - LEAST_BELIEF) / (1 - LEAST_BELIEF)


def still(count: int = 1) -> Prediction:
    zero = torch.zeros(count, 3)
    return Prediction(lab=LabTransfer(centre=zero, scale=zero + 1, shift=zero))


def scene(noise: float = 0.0):
    """A dark object on grey, and a row of two references that show it in other colours."""
    image = painted(MASK, lab_colour(40, 10, 0), lab_colour(60), noise)
    first = lab_colour(68).expand(1, 3, 64, 64).clone()
    first[..., :32, :] = lab_colour(55, 20, 5)
    pair = tuple(match(5, cell) for cell in range(8))
    return image, [
        reference(first, pair, (match(0, 12),)),
        reference(lab_colour(50, 0, 30).expand(1, 3, 64, 64), (match(6, 3),)),
    ]


def network(name: str = "hdnet", **changes: object) -> NetworkHarmonizer:
    built = fill(small(name, **changes)).eval().requires_grad_(False)
    about = checkpoint.describe(built, name)
    loaded = checkpoint.LoadedCheckpoint(
        network=built, preset=name, config=built.config, metadata=about, spec=None, gate=believing(0.0)
    )
    return NetworkHarmonizer(name, loaded)


# ---- what a believed reference does


def test_a_believed_reference_gives_the_object_its_colours():
    image, rows = scene(0.01)
    guided = follow(still(), image, MASK, [rows[:1]], believing())[0].lab
    torch.testing.assert_close(guided.shift, share() * torch.tensor([[15.0, 10.0, 5.0]]), atol=0.6, rtol=0)
    # the reference is flat and the object noisy: as flat as the limit of ratios lets it
    variance = measure_object(image, MASK).colour.variance
    wanted = (2.0 / (variance + 2.0)).sqrt().clamp_min(0.5)
    torch.testing.assert_close(guided.scale, 1 + share() * (wanted - 1), atol=0.02, rtol=0)
    assert float(guided.scale.min()) < 0.95


@pytest.mark.parametrize("kind", ["lab", "affine", "dense", "dense at another size"])
def test_every_kind_of_answer_lands_between_itself_and_the_references(kind):
    # Oracle: the mean of the object in the rendered picture, which the belief moves that far.
    image, rows = scene(0.02)
    step = torch.tensor([[4.0, -6.0, 8.0]])
    lab = LabTransfer(centre=lab_mean(image, MASK), scale=torch.ones(1, 3), shift=step)
    answer = {
        "lab": Prediction(lab=lab),
        "affine": Prediction(
            affine=torch.tensor([0, 0, 0, 0, 0, 0, 0, 0, 0, 0.05, -0.1, 0.1]).view(1, 12, 1, 1)
        ),
        "dense": Prediction(dense=lab(image).clamp(0, 1)),
        "dense at another size": Prediction(dense=render.shrink(lab(image).clamp(0, 1), (48, 48))),
    }[kind]
    bias = 0.4
    moved, beliefs = follow(answer, image, MASK, [rows[:1]], believing(bias))
    alone, new = (lab_mean(render.apply(p, image, MASK), MASK) for p in (answer, moved))
    shown = lab_mean(image, MASK) + torch.tensor([[15.0, 10.0, 5.0]])
    torch.testing.assert_close(new, alone + share(bias) * (shown - alone), atol=0.35, rtol=0)
    assert beliefs[0][0].colour == pytest.approx(share(bias))
    assert (new - alone).norm() > 2
    outside = (MASK == 0).expand_as(image)
    assert torch.equal(render.apply(moved, image, MASK)[outside], image[outside])


def test_contrast_of_pixels_is_moved_too():
    image, _ = scene(0.05)
    answer = Prediction(dense=image.clone())
    measured = measure_object(image, MASK)
    weighed = Weighed(
        total=torch.tensor([[0.0, 0.0, 0.5]]),
        parts=torch.ones(1, 1, 3),
        shift=torch.zeros(1, 3),
        scale=torch.full((1, 3), 0.6),
    )
    moved = blend(answer, measured, weighed, transfer_of(answer, measured))
    new = render.apply(moved, image, MASK)
    before, after = (measure(srgb_to_lab(x), MASK) for x in (image, new))
    torch.testing.assert_close(after.variance.sqrt(), 0.8 * before.variance.sqrt(), rtol=0.05, atol=0.05)
    torch.testing.assert_close(after.mean, before.mean, atol=0.2, rtol=0)


def test_no_step_is_longer_than_the_way_believed_of_some_usual_errors():
    image, rows = scene(0.02)
    step = follow(still(), image, MASK, [rows[:1]], believing(), usual_error=4.0)[0].lab
    limit = FARTHEST_STEP * 4.0 / torch.tensor([6.2, 1.2, 1.2]).sqrt() / 3**0.5
    assert float(limit[0]) < 15
    assert float(limit[1]) < 10
    wanted = share() * torch.minimum(share() * limit, torch.tensor([15.0, 10.0, 5.0]))
    torch.testing.assert_close(step.shift[0], wanted, atol=0.05, rtol=0.02)
    free = follow(still(), image, MASK, [rows[:1]], believing(), usual_error=4.0, share=1.0)[0].lab
    torch.testing.assert_close(free.shift, torch.tensor([[15.0, 10.0, 5.0]]), atol=0.6, rtol=0)


def test_the_belief_shown_is_the_belief_used():
    # Oracle: the answer again from the beliefs and each reference followed alone.
    image, rows = scene()
    gate = believing(-0.5)
    with torch.no_grad():
        gate.gate.to_belief.weight[:, 3] = torch.tensor([0.6, -0.3, 0.0])  # the number of pairs
    answer = Statistics().predict(image, MASK)
    moved, (beliefs,) = follow(answer, image, MASK, [rows], gate)
    shift = answer.lab.shift.clone()
    for one, belief in zip(rows, beliefs, strict=True):
        whole = follow(still(), image, MASK, [[one]], believing(8.0))[0].lab.shift / share(8.0)
        shares = torch.tensor([[belief.lightness, belief.colour, belief.colour]])
        shift = shift + shares * (whole - answer.lab.shift)
        assert belief.reason == ""
    torch.testing.assert_close(moved.lab.shift, shift, atol=1e-3, rtol=1e-3)
    assert beliefs[0].lightness > beliefs[1].lightness > 0.05
    assert beliefs[0].colour < beliefs[1].colour


# ---- any network


def test_a_network_of_pixels_gets_references_and_only_where_they_are_believed():
    harmonizer = network()
    assert harmonizer.max_references == 0
    image, rows = scene(0.02)
    alone = harmonize(image, MASK, (), harmonizer)
    done = harmonize_with_beliefs(image, MASK, rows[:1], harmonizer)
    shown = lab_mean(image, MASK) + torch.tensor([[15.0, 10.0, 5.0]])
    before, after = ((lab_mean(x, MASK) - shown).norm() for x in (alone, done.image))
    assert after < 0.75 * before
    assert done.beliefs[0][0].lightness == pytest.approx(share(0.0))
    assert torch.equal(harmonize(image, MASK, rows, harmonizer, gate=False), alone)
    harmonizer.gate = believing(-8.0)
    assert (harmonize(image, MASK, rows, harmonizer) - alone).abs().max() < 0.01


def test_networks_that_read_references_themselves_get_the_gate_on_request():
    harmonizer = network("rcl", max_references=2)
    image, rows = scene(0.02)
    own = harmonize_with_beliefs(image, MASK, rows, harmonizer)
    assert own.beliefs == ((),)
    both = harmonize_with_beliefs(image, MASK, rows, harmonizer, gate=True)
    assert len(both.beliefs[0]) == 2
    assert (both.image - own.image).abs().max() > 0.01
    with pytest.raises(ValueError, match="3 references, but 'rcl' takes at most 2"):
        harmonize(image, MASK, [*rows, rows[0]], harmonizer)


def test_without_matches_the_answers_own_bits_come_out_and_the_reason_says_so():
    image, mask, _ = pairs(2)
    harmonizer = network("raiha-plus", references="gated")
    alone = harmonize(image, mask, (), harmonizer)
    picture = GREEN.expand(1, 3, 32, 32)
    searched, given = reference(picture), Reference(id="given", image=picture)
    done = harmonize_with_beliefs(image, mask, [[searched], []], harmonizer)
    assert torch.equal(done.image, alone)
    assert [belief.reason for belief in done.beliefs[0]] == [NO_MATCH]
    direct = follow(still(), image[:1], mask[:1], [[searched, given]], believing())[1][0]
    assert [belief.reason for belief in direct] == [NO_MATCH, NOT_COMPARED]
    assert done.beliefs[1] == ()
    moved = harmonize(image, mask, [[reference(picture, (match(5, 0),)), searched], []], harmonizer)
    assert (moved[0] - alone[0]).abs().max() > 0.01
    assert torch.equal(moved[1], alone[1])


def test_an_unbelieved_reference_says_why():
    image, rows = scene()
    (belief,) = follow(still(), image, MASK, [rows[:1]], believing(-6.0))[1][0]
    assert belief.reason == "references like it were seldom right"
    gate = believing(-1.0)
    with torch.no_grad():
        gate.gate.to_belief.weight[:, 3] = 4.0  # the number of pairs
    first, second = follow(still(), image, MASK, [rows], gate)[1][0]
    assert first.reason == ""
    assert second.reason.startswith("another one is believed more: ")


def test_strength_goes_from_nothing_to_all_the_way():
    image, rows = scene()
    shifts = [
        float(follow(still(), image, MASK, [rows[:1]], believing(0.0), strength=s)[0].lab.shift[0, 1])
        for s in (-1, -0.5, 0, 0.5, 1)
    ]
    torch.testing.assert_close(
        torch.tensor(shifts),
        10 * torch.tensor([0, share(0) / 2, share(0), (1 + share(0)) / 2, 1]),
        atol=0.05,
        rtol=0,
    )
    with pytest.raises(ValueError, match=r"-1\.\.1, got 2"):
        follow(still(), image, MASK, [rows], believing(), strength=2)
    alone = harmonize(image, MASK, (), "statistics")
    never = StatisticsHarmonizer(reference_strength=-1)
    never.gate = believing()
    assert torch.equal(harmonize(image, MASK, rows, never), alone)


def test_another_feature_space_is_refused_by_both_names():
    image, rows = scene()
    other = FittedGate(believing().gate, replace(SPEC, name="another", dim=7))
    with pytest.raises(
        ValueError, match=r"the gate .*'another' but the gallery of reference 'photo' has 'test'"
    ):
        follow(still(), image, MASK, [rows], other)
    with pytest.raises(ValueError, match="1 rows of references for 2 composites"):
        follow(still(2), image.expand(2, -1, -1, -1), MASK.expand(2, -1, -1, -1), [rows], believing())


def test_the_shipped_gate_is_loaded_once_and_is_the_shipped_models():
    gate, plus = shipped_gate(), load_harmonizer("raiha-plus")
    assert gate is shipped_gate()
    assert torch.equal(gate.gate.to_belief.weight, plus.gate.gate.to_belief.weight)
    assert gate.gate.to_belief.weight.abs().max() > 0.1


# ---- no background


def test_a_mask_without_background_follows_its_references_whole():
    full = torch.ones_like(MASK)
    image = painted(full, RED, RED, 0.02)
    shown = reference(lab_colour(50, -20, 10).expand(1, 3, 64, 64), (match(5, 0),))
    plain = Reference(id="plain", image=lab_colour(70).expand(1, 3, 32, 32), score=0.1)
    harmonizer = network("raiha-plus", references="gated")
    done = harmonize_with_beliefs(image, full, [shown, plain], harmonizer)
    weights = torch.tensor([reference_quality(shown, 16), UNMATCHED])
    weights = weights / weights.sum()
    assert [belief.lightness for belief in done.beliefs[0]] == pytest.approx(weights.tolist())
    means = torch.stack([srgb_to_lab(one.image).mean((0, 2, 3)) for one in (shown, plain)])
    mean = (weights[:, None] * means).sum(0)
    target = RegionStatistics(
        mean[None], (weights[:, None] * (means - mean) ** 2).sum(0)[None], torch.ones(1)
    )
    found = measure_object(image, full).colour
    _, shift = steps_towards(
        found, target, replace(Statistics().config, lightness=1.0, chroma=1.0, deviation=1.0)
    )
    torch.testing.assert_close(lab_mean(done.image, full), found.mean + shift, atol=1.0, rtol=0)
    with pytest.raises(ValueError, match="covers the whole picture: without a background there must be"):
        harmonize(image, full, (), harmonizer)


# ---- what is known already is not computed again


def test_features_that_are_given_are_not_computed_again():
    harmonizer = network("raiha")
    image, mask, _ = pairs(1)
    with pytest.raises(ValueError, match="'raiha' reads patch features but names no encoder"):
        harmonize(image, mask, (), harmonizer)
    grid = NETWORK_SPEC.grid
    known = PatchFeatures(contents(1), torch.ones(1, NETWORK_SPEC.histogram.bins, grid, grid), NETWORK_SPEC)
    done = harmonize(image, mask, (), harmonizer, features=known, as_stored=True)
    with torch.no_grad():
        answer = harmonizer.network(image, mask, known.content)
    torch.testing.assert_close(done, render.apply(answer, image, mask))
    harmonizer.spec = replace(NETWORK_SPEC, name="another", weights="1")
    with pytest.raises(ValueError, match="'another' but the composite has"):
        harmonize(image, mask, (), harmonizer, features=known)
