"""remembered.py: a question about one tensor is asked once, and again after the tensor was written to."""

import torch

from raiha_core import render
from raiha_core.models import statistics
from raiha_core.models.statistics import Statistics
from raiha_core.remembered import once, remembering


def test_a_question_is_asked_once_about_one_tensor_inside_the_block_only():
    asked = []

    def doubled(x, factor):
        asked.append(factor)
        return factor * x

    x = torch.ones(3)
    assert torch.equal(once(doubled, x, 2), 2 * x)
    once(doubled, x, 2)
    assert asked == [2, 2]
    with remembering():
        first = once(doubled, x, 2)
        assert once(doubled, x, 2) is first
        assert once(doubled, x, 3) is not first
        assert once(doubled, torch.ones(3), 2) is not first  # an equal one is another one
        x.mul_(5)
        assert torch.equal(once(doubled, x, 2), torch.full((3,), 10.0))
        asked.clear()
        learnt = torch.ones(3, requires_grad=True)
        once(doubled, learnt, 2), once(doubled, learnt, 2)
        assert asked == [2, 2]  # each has its own gradient
    asked.clear()
    once(doubled, x, 2), once(doubled, x, 2)
    assert asked == [2, 2]


def test_what_a_network_says_and_what_is_rendered_are_the_same_with_and_without(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    image, mask = torch.rand(2, 3, 40, 56, generator=generator), torch.zeros(2, 1, 40, 56)
    mask[0, :, 10:30, 10:40], mask[1, :, 5:15, 5:20], mask[1, :, 25:35, 30:50] = 1, 1, 1

    def answer():
        prediction = Statistics()(image, mask)
        return prediction.lab, render.apply(prediction, image, mask)

    plain, picture = answer()
    asked, real = [], statistics.srgb_to_lab

    def counting(image):
        asked.append(image)
        return real(image)

    for module in (render, statistics):
        monkeypatch.setattr(module, "srgb_to_lab", counting)
    with remembering():
        shared, same = answer()
        again, _ = answer()
    assert len(asked) == 1  # the measuring and the rendering of both
    for part in ("centre", "scale", "shift"):
        assert torch.equal(getattr(plain, part), getattr(shared, part))
        assert torch.equal(getattr(plain, part), getattr(again, part))
    # a strip's last pixels are rounded as they fall into the processor's vectors
    torch.testing.assert_close(picture, same, atol=2e-6, rtol=0)
