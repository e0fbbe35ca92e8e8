"""What `raiha harmonize` loads once, and what it asks of it for each picture or frame."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..features.encoders import Encoder, build_encoder
from ..features.patches import PatchFeatures
from ..features.references import Belief, Reference
from ..features.spec import require_same_space
from ..gallery.protocol import Gallery
from ..gallery.united import open_united
from ..harmonizer import Harmonizer, load_harmonizer
from ..images import read_picture
from ..pipeline import Harmonized, harmonize_with_beliefs
from ..regular import file_digest
from ..retrieval.candidates import Candidates
from ..retrieval.request import LIKENESS
from ..retrieval.search import search
from .reading import reading_of, with_remedy
from .wheel import controls_of

TOP_K = 4


@dataclass(frozen=True, slots=True)
class Tools:
    """What is loaded once and serves every picture."""

    harmonizer: Harmonizer
    gallery: Gallery | None
    encoder: Encoder | None
    references: tuple[Reference, ...]
    top_k: int


def _top_k(harmonizer: Harmonizer, asked: int | None) -> int:
    """How many references to retrieve: as asked, else 4 or what a model that reads them itself takes.

    Raises: ValueError where such a model takes fewer than asked.
    """
    most = harmonizer.max_references or None
    if most is not None and asked is not None and asked > most:
        raise ValueError(
            f"--top-k {asked}, but the model '{harmonizer.name}' takes at most {most} references"
        )
    return asked or (TOP_K if most is None else min(TOP_K, most))


def _require_gallery(arguments: argparse.Namespace) -> None:
    """Raises: ValueError naming an option of the search that would be ignored."""
    for name in ("top_k", "by", "random", "photos"):
        if getattr(arguments, name) is not None and arguments.gallery is None:
            raise ValueError(f"--{name.replace('_', '-')} belongs to a search: name a --gallery too")


def load_tools(arguments: argparse.Namespace) -> Tools:
    _require_gallery(arguments)
    harmonizer = load_harmonizer(arguments.model, arguments.device)
    top_k = _top_k(harmonizer, arguments.top_k)
    gallery = None
    if arguments.gallery:
        gallery = open_united(arguments.gallery, photos=arguments.photos, max_pixels=arguments.max_pixels)
    if gallery is not None and harmonizer.spec is not None:
        require_same_space(
            harmonizer.spec,
            gallery.spec,
            f"the model '{harmonizer.name}'",
            f"the gallery {arguments.gallery}",
        )
    encoder = None
    needed = gallery.spec if gallery is not None else harmonizer.spec
    if needed is not None:
        encoder = build_encoder(needed.encoder, weights=arguments.encoder_weights, device=arguments.device)
    given = tuple(_reference(path, encoder, arguments) for path in arguments.references or ())
    return Tools(harmonizer, gallery, encoder, given, top_k)


def _reference(path: Path, encoder: Encoder | None, arguments: argparse.Namespace) -> Reference:
    reading = reading_of(arguments)
    with with_remedy(reading):
        picture = read_picture(path, max_pixels=reading.max_pixels, allow_damaged=reading.allow_damaged)
    features = encoder.encode(picture.pixels.to(arguments.device)) if encoder else None
    return Reference(id=path.name, image=picture.pixels, features=features)


def find_references(
    gallery: Gallery,
    own: Path,
    tools: Tools,
    arguments: argparse.Namespace,
    pixels: Tensor,
    mask: Tensor,
    within: Candidates | None = None,
) -> Candidates:
    """The search that the options ask for. Args: own: the composite's file, which is not to be found."""
    return search(
        gallery,
        pixels,
        mask,
        encoder=tools.encoder,
        by=arguments.by or (LIKENESS if arguments.random is None else "both"),
        top_k=tools.top_k,
        seed=arguments.random,
        exclude_sha256=[file_digest(own)],
        query_id=own.name,
        within=within,
        device=arguments.device,
    )


def harmonized_as_asked(
    pixels: Tensor,
    mask: Tensor,
    references: Sequence[Reference],
    features: PatchFeatures | None,
    background: Tensor | None,
    tools: Tools,
    arguments: argparse.Namespace,
) -> Harmonized:
    """What the options ask for, on the device that they name. Shapes as in `pipeline.harmonize`."""
    return harmonize_with_beliefs(
        pixels.to(arguments.device),
        mask.to(arguments.device),
        references,
        tools.harmonizer,
        encoder=tools.encoder,
        features=features,
        strength=arguments.strength,
        controls=controls_of(arguments),
        background=None if background is None else background.to(arguments.device),
        exact=arguments.exact,
    )


def used_references(references: Sequence[Reference], beliefs: Sequence[Belief]) -> list[dict[str, object]]:
    """What ranked each reference, and how far the result followed it.

    `belief` is null where the model read the references by itself, or nothing was done.
    """
    entries: list[dict[str, object]] = []
    for place, reference in enumerate(references):
        entry: dict[str, object] = {
            "id": reference.id,
            "score": None if reference.score is None else round(reference.score, 4),
            "belief": None,
        }
        if beliefs:
            belief = beliefs[place]
            parts = {"lightness": belief.lightness, "colour": belief.colour, "contrast": belief.contrast}
            entry["belief"] = {name: round(value, 4) for name, value in parts.items()}
            if belief.reason:
                entry["reason"] = belief.reason
        entries.append(entry)
    return entries
