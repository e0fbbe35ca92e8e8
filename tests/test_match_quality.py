"""How well a reference matches: by hand from three numbers, and by a loop from a network's own inputs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raiha_core import masks
from raiha_core.features.match_quality import batch_match_quality, match_quality
from tests.network_cases import SPEC, contents, pairs, references

NAN = math.nan


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((1.0, 1.0, 1.0), 1.0),
        ((1.0, 1.0, NAN), 1.0),
        ((0.8, 0.5, NAN), 0.6),  # 0.8 * 0.75
        ((0.8, 0.5, 0.96), math.sqrt(0.6 * 0.96)),
        ((-0.3, 0.0, NAN), 0.025),  # the floor 0.05, halved by no coverage
    ],
)
def test_match_quality_by_hand(scores, expected):
    assert match_quality(*scores) == pytest.approx(expected, abs=1e-12)


@given(*[st.floats(0, 1)] * 3, st.sampled_from([0, 1, 2]), st.floats(0, 1))
def test_match_quality_rises_with_each_score(content, coverage, illumination, which, more):
    scores = [content, coverage, illumination]
    better = list(scores)
    better[which] = max(scores[which], more)
    assert 0 < match_quality(*scores) <= match_quality(*better) <= 1


def test_of_a_batch_it_is_the_slow_loops():
    mask = pairs(2)[1]
    content, batch = contents(2), references(2, 3, present=torch.tensor([[True] * 3, [True, False, True]]))
    # one reference of the second composite shows its own patches
    batch.content[1, 2] = content[1]
    found = batch_match_quality(mask, content, batch)
    own = masks.foreground_patches(mask, SPEC.grid)
    perfect = 0
    for b in range(2):
        for k in range(3):
            if not batch.present[b, k]:
                assert found[b, k] == 0
                continue
            best = [
                max(
                    float(content[b].flatten(1)[:, p] @ batch.content[b, k].flatten(1)[:, q])
                    for q in range(16)
                )
                for p in range(16)
                if own[b, p]
            ]
            covered = sum(value >= SPEC.content_threshold for value in best) / len(best)
            assert float(found[b, k]) == pytest.approx(match_quality(max(best), covered, NAN), abs=1e-5)
            perfect += float(found[b, k]) > 0.999
    assert perfect == 1
    assert torch.equal(batch_match_quality(mask, None, batch), batch.present.float())
