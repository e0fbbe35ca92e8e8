"""Flat and noisy pictures of known Lab colours, and references, for the tests of the statistics preset."""

import torch
from torch import Tensor

from raiha_core.color import lab_to_srgb, srgb_to_lab
from raiha_core.features.patches import PatchFeatures
from raiha_core.features.references import Match, Reference
from raiha_core.features.spec import FeatureSpec
from raiha_core.masked_statistics import measure
from raiha_core.models.statistics import (
    StatisticsConfig,
)

GRID, DIM = 4, 5
SPEC = FeatureSpec(
    name="test",
    encoder="test",
    layer="",
    input_size=32,
    grid=GRID,
    dim=DIM,
    weights="",
    content_threshold=0.7,
    threshold_source="a test",
)
FULL_SHARE = StatisticsConfig(
    lightness=1.0, chroma=1.0, deviation=0.0, contrast=0.0, lightness_limit=None, chroma_limit=None
)


def lab_colour(lightness: float, a: float = 0.0, b: float = 0.0) -> Tensor:
    return lab_to_srgb(torch.tensor([lightness, a, b], dtype=torch.float32).view(1, 3, 1, 1))


RED, GREY, DARK, GREEN = lab_colour(50, 60, 40), lab_colour(60), lab_colour(30), lab_colour(55, -30, 30)


def box(size: tuple[int, int] = (96, 128), rows: tuple[float, float] = (0.3, 0.7)) -> Tensor:
    mask = torch.zeros(1, 1, *size)
    top, bottom = (round(r * size[0]) for r in rows)
    mask[..., top:bottom, round(rows[0] * size[1]) : round(rows[1] * size[1])] = 1
    return mask


def painted(mask: Tensor, inside: Tensor, outside: Tensor, noise: float = 0.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    image = torch.where(mask > 0, inside, outside)
    return (image + noise * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def lab_mean(image: Tensor, mask: Tensor) -> Tensor:
    return measure(srgb_to_lab(image), mask).mean


def features(content: Tensor) -> PatchFeatures:
    return PatchFeatures(content, torch.ones(1, SPEC.histogram.bins, GRID, GRID), SPEC)


def reference(
    image: Tensor, matches: tuple[Match, ...] = (), light: tuple[Match, ...] = (), score: float = 0.5
) -> Reference:
    content = torch.zeros(1, DIM, GRID, GRID)
    return Reference(
        id="photo",
        image=image,
        score=score,
        features=features(content),
        content_matches=matches,
        illumination_matches=light,
    )


def match(query: int, photo: int, content: float = 0.9) -> Match:
    return Match(query_patch=query, photo_patch=photo, content=content, appearance=0.95)
