"""Pictures that explain: a composite beside its references, with the patches that matched.

A frame has one colour and one label on both sides: a number for a patch of the object (eq. 3, solid), a
letter for a patch of the background (eq. 5, dashed). Public functions take and give sRGB tensors.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image
from torch import Tensor

from .drawing import Colour, Frame, Panel, compose, draw_frames, fit, from_pil, outline, to_pil
from .features.references import Belief, Match, Reference
from .retrieval.candidates import Candidates

# Colours that stay apart on most photos, and for most colour-blind eyes; the labels tell them apart besides.
OBJECT_COLOURS = ((255, 153, 0), (250, 224, 60), (255, 92, 92), (240, 130, 220), (150, 214, 60))
BACKGROUND_COLOURS = ((70, 170, 255), (0, 205, 170), (170, 150, 255))
MAIN, CARD = 640, 330  # longest side of a large and of a small picture, in pixels

Chosen = dict[tuple[str, int], Frame]  # ("content" or "illumination", query patch) -> its frame


def believed(belief: Belief) -> tuple[str, ...]:
    """How far a result followed a reference, in words: one short line, and a second one for the reason."""
    parts = f"lightness {belief.lightness:.0%}, colour {belief.colour:.0%}, contrast {belief.contrast:.0%}"
    line = f"followed: {parts}" if belief.largest > 0 else "not followed"
    return (line, belief.reason) if belief.reason else (line,)


def captions(candidates: Candidates, beliefs: Sequence[Belief] = ()) -> list[tuple[str, ...]]:
    """The scores of each candidate in words, two short lines; and how far the result followed it.

    Args: beliefs: one for each candidate, where there is a result.
    """
    found: list[tuple[str, ...]] = []
    for place, item in enumerate(candidates.items):
        light = "" if math.isnan(item.illumination) else f", light {item.light:.3f}"
        found.append(
            (
                f"content {item.content:.2f}{light}",
                f"{item.coverage:.0%} of the object found, score {item.score:.3f}",
                *(believed(beliefs[place]) if beliefs else ()),
            )
        )
    return found


def matches_sheet(
    composite: Tensor,
    mask: Tensor,
    references: Sequence[Reference],
    *,
    grid: int,
    title: str,
    subtitle: str = "",
    captions: Sequence[Sequence[str]] | None = None,
    result: Tensor | None = None,
) -> Tensor:
    """The composite, its references with the matched patches, and the result where there is one.

    Args:
        composite, result: sRGB (1, 3, H, W), values 0..1. mask: (1, 1, H, W).
        references: best first; their matches are indices of patches, 0..grid**2 - 1, row by row.
        grid: patches per side of the feature space that the matches belong to.
        captions: lines below each reference; without them its score is shown, where it has one.
    Returns: sRGB (1, 3, h, w) in 8-bit steps; h and w follow from what is shown.
    Raises: ValueError where there are not as many captions as references, or for a batch.
    """
    if captions is not None and len(captions) != len(references):
        raise ValueError(f"{len(captions)} captions for {len(references)} references")
    chosen = choose_patches(references, grid)
    scores = ["" if one.score is None else f"score {one.score:.2f}" for one in references]
    lines = captions or [(score,) for score in scores]
    main = draw_frames(outline(fit(to_pil(composite), MAIN, MAIN), mask), list(chosen.values()), grid)
    columns = [[Panel(main, "Composite", ("the pasted object is outlined",))]]
    cards = [
        Panel(_card(reference, chosen, grid), reference.id, tuple(lines[rank]), CARD)
        for rank, reference in enumerate(references)
    ]
    across = (len(cards) + 1) // 2  # two rows, best first along the upper one
    columns += [cards[place::across] for place in range(across)]
    if not cards:
        empty = Image.new("RGB", (CARD, CARD * 2 // 3), (236, 234, 229))
        columns.append([Panel(empty, "No reference", ("no photo of the gallery qualifies",), CARD)])
    if result is not None:
        after = Panel(fit(to_pil(result), MAIN, MAIN), "Result", ("changed inside the outline only",))
        if main.width >= main.height:
            columns[0].append(after)  # below the composite: easy to compare, and no paper is wasted
        else:
            columns.append([after])
    return from_pil(compose(columns, title, subtitle, _legend(chosen)))


def overlay(reference: Reference, *, grid: int) -> Tensor:
    """A reference at its own size with frames around its matched patches: (1, 3, H, W) -> the same.

    grid: patches per side of the feature space that the matches belong to.
    """
    frames = reference_frames(reference, choose_patches([reference], grid))
    return from_pil(draw_frames(to_pil(reference.image), frames, grid))


def _card(reference: Reference, chosen: Chosen, grid: int) -> Image.Image:
    return draw_frames(fit(to_pil(reference.image), CARD, CARD), reference_frames(reference, chosen), grid)


def _legend(chosen: Chosen) -> list[tuple[bool, Colour, str]]:
    kinds = {kind for kind, _ in chosen}
    legend: list[tuple[bool, Colour, str]] = []
    if "content" in kinds:
        legend.append((False, OBJECT_COLOURS[0], "part of the object, and where a photo shows the same"))
    if "illumination" in kinds:
        text = "part of the background, and where a photo shows the same in the same light"
        legend.append((True, BACKGROUND_COLOURS[0], text))
    return legend


# ---- which patches are marked


def choose_patches(references: Sequence[Reference], grid: int) -> Chosen:
    """The query patches worth showing: every reference's strongest pair of each kind first, then
    patches that many references match, spread over the picture. More frames would hide the picture.
    """
    chosen: Chosen = {}
    for kind, colours, labels in (
        ("content", OBJECT_COLOURS, "123456789"),
        ("illumination", BACKGROUND_COLOURS, "abcdefghi"),
    ):
        picked = _pick([_matches(reference, kind) for reference in references], len(colours), grid)
        for order, patch in enumerate(picked):
            chosen[kind, patch] = Frame(patch, colours[order], labels[order], kind == "illumination")
    return chosen


def reference_frames(reference: Reference, chosen: Chosen) -> list[Frame]:
    """The reference's side of the chosen pairs."""
    return [
        replace(chosen[kind, match.query_patch], patch=match.photo_patch)
        for kind in ("content", "illumination")
        for match in _matches(reference, kind)
        if (kind, match.query_patch) in chosen
    ]


def _matches(reference: Reference, kind: str) -> tuple[Match, ...]:
    return reference.content_matches if kind == "content" else reference.illumination_matches


def _strength(match: Match) -> float:
    return match.content + match.appearance


def _pick(per_reference: Sequence[Sequence[Match]], most: int, grid: int) -> list[int]:
    total: dict[int, float] = {}
    for match in (match for matches in per_reference for match in matches):
        total[match.query_patch] = total.get(match.query_patch, 0) + _strength(match)
    best = [max(matches, key=_strength).query_patch for matches in per_reference if matches]
    picked = list(dict.fromkeys(best))[:most]

    def apart(patch: int) -> int:  # steps to the nearest patch that is picked already
        steps = [max(abs(patch // grid - p // grid), abs(patch % grid - p % grid)) for p in picked]
        return min(steps, default=grid)

    for least in (3, 2, 1):
        for patch in sorted(total, key=lambda patch: (-total[patch], patch)):
            if len(picked) < most and apart(patch) >= least:
                picked.append(patch)
    return picked
