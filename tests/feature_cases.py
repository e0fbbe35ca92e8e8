"""A small feature space for tests."""

from raiha_core.features.spec import FeatureSpec, HistogramSpec

SPEC = FeatureSpec(
    name="toy-64",
    encoder="toy",
    layer="last",
    input_size=64,
    grid=2,
    dim=5,
    weights="0",
    histogram=HistogramSpec(hue=3, saturation=2, value=4),
    content_threshold=0.6,
    threshold_source="chosen for the tests",
)
