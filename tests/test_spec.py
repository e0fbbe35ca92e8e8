"""FeatureSpec: what identifies a feature space, and what may change without changing it."""

import json
from dataclasses import replace

import pytest

from raiha_core.features.spec import (
    FeatureSpec,
    HistogramSpec,
    differences,
    require_same_space,
    spec_from_json,
)

SPEC = FeatureSpec(
    name="toy-64",
    encoder="toy",
    layer="last",
    input_size=64,
    grid=4,
    dim=8,
    weights="0123456789abcdef",
    histogram=HistogramSpec(hue=6, saturation=3, value=5),
    content_threshold=0.6,
    threshold_source="chosen for the tests",
)


def test_counts_follow_from_the_fields():
    assert SPEC.patches == 16
    assert SPEC.histogram.bins == 14
    assert HistogramSpec().bins == 60  # the documented default, 24 + 12 + 24


def test_survives_json_as_text():
    assert spec_from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.01, float("nan")])
@pytest.mark.parametrize("field", ["content_threshold", "appearance_threshold"])
def test_thresholds_outside_0_1_are_refused_by_name_and_value(field, threshold):
    with pytest.raises(ValueError, match=rf"{field} .*{threshold}"):
        replace(SPEC, **{field: threshold})


def test_threshold_1_is_allowed():
    assert replace(SPEC, content_threshold=1.0).content_threshold == 1.0


@pytest.mark.parametrize("field", ["hue", "saturation", "value", "pixels"])
def test_histograms_need_two_of_everything(field):
    with pytest.raises(ValueError, match=f"histogram {field} .* got 1"):
        HistogramSpec(**{field: 1})


def test_unknown_and_missing_fields_are_named():
    with pytest.raises(ValueError, match="the feature spec has unknown fields: colour, shape"):
        spec_from_json({**SPEC.to_json(), "shape": 1, "colour": 2})
    data = SPEC.to_json()
    del data["grid"]
    with pytest.raises(ValueError, match="grid"):
        spec_from_json(data)
    with pytest.raises(ValueError, match=r"the feature spec, 'histogram', has unknown fields: bins"):
        spec_from_json({**SPEC.to_json(), "histogram": {**data["histogram"], "bins": 3}})
    with pytest.raises(ValueError, match=r"the feature spec, 'dim', must be int, got '8'"):
        spec_from_json({**SPEC.to_json(), "dim": "8"})


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"encoder": "other"},
        {"layer": "first"},
        {"input_size": 32},
        {"grid": 2},
        {"dim": 9},
        {"weights": "f"},
        {"centring": "f"},
        {"histogram": HistogramSpec()},
        {"version": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_of_the_identity_makes_another_space(change):
    other = replace(SPEC, **change)
    found = differences(SPEC, other)
    assert len(found) == 1
    assert found[0].startswith(f"{next(iter(change))}: ")
    with pytest.raises(ValueError, match=r"the gallery has features 'toy-64' but the query has '"):
        require_same_space(SPEC, other, "the gallery", "the query")


def test_thresholds_may_change_within_a_space():
    other = replace(SPEC, content_threshold=0.7, appearance_threshold=0.8, threshold_source="calibrated")
    assert differences(SPEC, other) == []
    require_same_space(SPEC, other, "the gallery", "the query")
