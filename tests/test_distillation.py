"""A teacher: what it is asked, and that a run learns from the weights it began with."""

import pytest
import torch
from safetensors.torch import load_file

from raiha_core import checkpoint
from raiha_core.render import LabTransfer
from raiha_train.loop import train
from raiha_train.losses.distillation import Summaries, fixed, taught, unlike
from raiha_train.losses.steadiness import apart
from raiha_train.losses.terms import LossConfig, total
from tests.network_cases import fill, pairs, small
from tests.test_train_loop import photos  # noqa: F401  a fixture
from tests.training_cases import PLUS, arguments, write_config

pytestmark = pytest.mark.usefixtures("one_thread")


def test_unlike_is_the_share_of_variance_that_is_missed():
    teacher = torch.tensor([[1.0, 10.0], [3.0, 30.0], [5.0, 20.0]])
    assert float(unlike(teacher, teacher)) == 0
    means = teacher.mean(0).expand_as(teacher)
    assert float(unlike(means, teacher)) == pytest.approx(1)
    half = (teacher + means) / 2
    assert float(unlike(half, teacher)) == pytest.approx(0.25)
    assert float(unlike(half * 7, teacher * 7)) == pytest.approx(0.25)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    image, mask, _ = pairs(2, 64, 64)
    teacher = fixed(fill(small("raiha-plus", local_map=False)))
    scale, shift, summary = taught(teacher, image, mask)
    with Summaries(teacher) as summaries:
        own = teacher(image, mask).lab
    assert own is not None
    assert torch.equal(summaries.found[0], summary)
    same = LabTransfer(centre=own.centre, scale=scale, shift=shift)
    assert torch.equal(apart(own, same, image, mask, 3.0), torch.full((2,), 3 / 255))
    other = LabTransfer(centre=own.centre, scale=scale, shift=shift + 5)
    assert bool((apart(own, other, image, mask, 3.0) > 4 / 255).all())
    # outside the block nothing is listened to
    teacher(image, mask)
    assert len(summaries.found) == 1


def test_the_terms_are_weighted_in_and_named():
    target, mask = torch.full((2, 3, 8, 8), 0.4), torch.ones(2, 1, 8, 8)
    config = LossConfig(kind="root", distil=0.5, alike=0.25)
    teaching = {"distil": torch.tensor(0.1), "alike": torch.tensor(0.8)}
    plain, _ = total(target, target, mask, LossConfig(kind="root"))
    loss, terms = total(target, target, mask, config, teaching=teaching)
    assert float(loss - plain) == pytest.approx(0.5 * 2 * 0.1 + 0.25 * 0.8)
    assert float(terms["distil"]) == pytest.approx(0.2)
    assert float(terms["alike"]) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="the term 'distil' has a weight, but there is no teacher"):
        total(target, target, mask, config)


def test_a_run_learns_from_the_weights_it_began_with_and_keeps_no_teacher(tmp_path, photos):  # noqa: F811
    first = write_config(tmp_path, "first", PLUS, steps=2)
    assert train.main(arguments(first, photos, tmp_path / "runs" / "first")) == 0
    weights = tmp_path / "runs" / "first" / "last.safetensors"
    loss = "LossConfig(distil=1.0, alike=1.0, steady=1.0)"
    student = f"{PLUS[:-1]}, antialias=True)"
    second = write_config(tmp_path, "second", student, start='"first"', loss=loss, steps=3)
    output = tmp_path / "runs" / "second"
    assert train.main(arguments(second, photos, output)) == 0
    old, new = (checkpoint.load(path).network for path in (weights, output / "last.safetensors"))
    assert old.state_dict().keys() == new.state_dict().keys()
    state = load_file(output / "states" / "step_00000003" / "network.safetensors")
    assert not any("teacher" in name for name in state)
    assert any(not torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))

    alone = write_config(tmp_path, "alone", PLUS, loss=loss, steps=3)
    with pytest.raises(ValueError, match="the run begins without weights"):
        train.main(arguments(alone, photos, tmp_path / "runs" / "alone"))
    single = write_config(tmp_path, "single", PLUS, loss=loss, micro_batch=1)
    with pytest.raises(ValueError, match="micro_batch must be 2 or more"):
        train.main(arguments(single, photos, tmp_path / "runs" / "single"))
