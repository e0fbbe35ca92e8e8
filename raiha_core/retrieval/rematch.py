"""References compared anew with a composite: those of another feature space, and those nobody searched for.

The gate of references was fitted on the matches of one encoder. Pictures found by another one, or given by
hand, are matched again by that encoder, so that its numbers mean what they meant when it was fitted.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from ..features.encoders import build_encoder
from ..features.patches import store
from ..features.references import Match, Reference
from ..features.spec import FeatureSpec, differences
from ..gallery.protocol import PatchEncoder
from ..masks import coverage
from .explain import explain
from .query import Query, make_query

_ANY = -2.0  # below every cosine


def in_space(
    rows: Sequence[Sequence[Reference]], composite: Tensor, mask: Tensor, spec: FeatureSpec
) -> list[Sequence[Reference]]:
    """The references of each composite, those that need it matched anew in a feature space.

    Args: composite sRGB (B, 3, H, W), values 0..1; mask (B, 1, H, W), none of them empty; rows: one each.
    Raises: as `build_encoder`, where the space's encoder cannot be loaded.
    """
    found: list[Sequence[Reference]] = []
    for b, row in enumerate(rows):
        if not any(_foreign(reference, spec) for reference in row):
            found.append(row)
            continue
        encoder = _encoder(spec.encoder)
        picture, inside = (part[b : b + 1].float().cpu() for part in (composite, mask))
        query = make_query(picture.clamp(0, 1), inside, encoder=encoder)
        found.append([_matched(r, query, encoder) if _foreign(r, spec) else r for r in row])
    return found


@cache
def _encoder(name: str) -> PatchEncoder:
    return build_encoder(name)


def _foreign(reference: Reference, spec: FeatureSpec) -> bool:
    if reference.content_matches:
        return reference.features is not None and bool(differences(reference.features.spec, spec))
    return reference.score is None  # nobody searched, so nothing was compared


def _matched(reference: Reference, query: Query, encoder: PatchEncoder) -> Reference:
    features = encoder.encode(reference.image.float().cpu())
    rounded, spec = store(features), features.spec
    content, histogram = rounded.content[0], rounded.histogram[0]
    shown = torch.arange(spec.patches)
    if reference.where is not None:
        inside = coverage(reference.where, spec.grid)[0].flatten()
        shown = (inside >= min(0.5, float(inside.amax()))).nonzero()[:, 0]
    thresholds = spec.content_threshold, spec.appearance_threshold
    reasons = explain(query, content[shown], histogram[shown], *thresholds)
    if reference.by_hand and not reasons.content_matches:
        reasons = explain(query, content[shown], histogram[shown], _ANY, spec.appearance_threshold)
    margin = torch.full((spec.patches,), -1.0, dtype=torch.float64)  # elsewhere there is no object
    if reasons.similarity_margin:
        margin[shown] = margin.new_tensor(reasons.similarity_margin)
    return replace(
        reference,
        features=features,
        content_matches=_numbered(reasons.content_matches, shown),
        illumination_matches=_numbered(reasons.illumination_matches, shown),
        similarity_margin=tuple(margin.tolist()) if reasons.similarity_margin else (),
        object_pairs=_numbered(reasons.object_pairs, shown),
        background_pairs=_numbered(reasons.background_pairs, shown),
    )


def _numbered(matches: Sequence[Match], shown: Tensor) -> tuple[Match, ...]:
    """Matches with some of a picture's patches, by the numbers that these have among all."""
    return tuple(replace(match, photo_patch=int(shown[match.photo_patch])) for match in matches)
