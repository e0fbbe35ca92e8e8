"""Nodes that change the object's look: choose a harmonizer, set the one without weights, run it."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ..raiha_core.clips import MODES, PER_FRAME
from ..raiha_core.controls import BY_GATE, UNLIMITED
from ..raiha_core.features.references import Belief, Reference
from ..raiha_core.harmonizer import DEFAULT_MODEL, StatisticsHarmonizer
from ..raiha_core.models.statistics import StatisticsConfig
from ..raiha_core.sheet import believed
from .compat import io
from .models import (
    ManagedEncoder,
    ManagedHarmonizer,
    encoder_named,
    harmonizer_names,
    harmonizer_problem,
    load_named_harmonizer,
    usual_harmonizer,
    weights_fingerprint,
)
from .notes import show_notes
from .sockets import (
    HarmonizerSocket,
    Look,
    LookSocket,
    NamedPhoto,
    PictureReferences,
    ReferenceList,
    References,
    require,
)
from .tensors import alpha_of, from_pair, invert_input, to_image
from .wheel import control_inputs, controls_of, local_light_input

_LOG = logging.getLogger("raiha")
PAINTED = "what the background mask leaves out was painted over with the background's colours"
USUAL_TRUST = 0.7  # of `reference_trust`: references are followed as far as the gate believes them


class LoadHarmonizer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_LoadHarmonizer",
            display_name="Load Harmonizer (Raiha)",
            category="Raiha",
            description="Chooses what harmonizes: the network that comes with the pack, colour statistics, "
            "which need no weights, or a network from a file in models/raiha: a .safetensors of ours, or the "
            ".pth of a published network's authors, which is converted when it is first used.",
            search_aliases=["load model", "harmonization model", "checkpoint"],
            inputs=[
                io.Combo.Input(
                    "harmonizer",
                    options=harmonizer_names(),
                    default=DEFAULT_MODEL,
                    tooltip="raiha-plus comes with the pack, and raiha-plus-steady for clips and for objects "
                    "that are moved by hand; statistics needs no weights; seam, without weights too, "
                    "is for repainted regions that go on as their surroundings; others "
                    "are read from models/raiha. "
                    "What an authors' .pth is, and its licence, is told in the log.",
                ),
            ],
            outputs=[
                HarmonizerSocket.Output("harmonizer", display_name="harmonizer", tooltip="For Harmonize.")
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, harmonizer: str | None = None) -> str:
        return weights_fingerprint("raiha", harmonizer)

    @classmethod
    def validate_inputs(cls, harmonizer: str | None = None) -> bool | str:
        # in place of the host's look at the list, which knows neither of conversions nor of what can be had
        return True if harmonizer is None else harmonizer_problem(harmonizer) or True

    @classmethod
    def execute(cls, harmonizer: str) -> io.NodeOutput:
        return io.NodeOutput(load_named_harmonizer(harmonizer))


def _frames_input() -> io.Input:
    return io.Combo.Input(
        "frames",
        options=list(MODES),
        default=PER_FRAME,
        optional=True,
        advanced=True,
        tooltip="Of a batch: each frame for itself, the first one's change for its whole "
        "shot, one change for all, or smooth over time; scene cuts are found.",
    )


class Harmonize(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_Harmonize",  # stored in users' workflows: never rename
            display_name="Harmonize (Raiha)",
            category="Raiha",
            description="Changes the look of the masked object until it belongs to its background. "
            "Pixels outside the mask come out exactly as they went in.",
            search_aliases=[
                "harmonization",
                "harmonise",
                "match colors",
                "color match",
                "match lighting",
                "relight",
                "composite",
                "color transfer",
            ],
            inputs=[
                io.Image.Input("composite", tooltip="The picture with the pasted object; any size."),
                io.Mask.Input("mask", tooltip="White marks the pasted object; soft edges are welcome."),
                HarmonizerSocket.Input(
                    "harmonizer",
                    optional=True,
                    tooltip="From Load Harmonizer or Statistics Options; without one the pack's own network.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="0 leaves the object as it is, 1 takes the harmonizer's full answer, 2 twice it.",
                ),
                ReferenceList.Input(
                    "references",
                    optional=True,
                    tooltip="Photos that show the object's content under the background's light; "
                    "without them the background alone guides.",
                ),
                invert_input(),
                *control_inputs(),
                _frames_input(),
                local_light_input(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Image.Output(
                    "image", display_name="image", tooltip="The composite with its object at home."
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="How far each reference was followed, and why where it was not.",
                ),
                LookSocket.Output(
                    "look", display_name="look", tooltip="The change of colours, for Save Look as .cube."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        composite: Tensor,
        mask: Tensor,
        harmonizer: object = None,
        strength: float = 1.0,
        references: object = None,
        invert_mask: bool = False,
        light: float = 1.0,
        colour: float = 1.0,
        contrast: float = 1.0,
        reference_strength: float = BY_GATE,
        limit: float = UNLIMITED,
        keep_hue: bool = False,
        grow: int = 0,
        feather: int = 0,
        context: float = 0.0,
        background: Tensor | None = None,
        frames: str = PER_FRAME,
        local_light: float = 0.0,
    ) -> io.NodeOutput:
        if harmonizer is None:
            model = usual_harmonizer()
        else:
            model = require(harmonizer, ManagedHarmonizer, "harmonizer")
        controls = controls_of(
            light,
            colour,
            contrast,
            reference_strength,
            limit,
            keep_hue,
            grow,
            feather,
            context,
            local_light,
        )
        photos, encoder, given = _photos(references, model)
        pixels, weight, notes = from_pair(composite, mask, invert=invert_mask)
        if given is not None and not photos:
            _LOG.warning(
                "no photo of the gallery qualified, so the background alone guides: %s",
                "; ".join(given.candidates.notes) or "lower the thresholds or add photos",
            )
        behind = None
        if background is not None:
            behind = from_pair(composite, background)[1]
            notes = (*notes, PAINTED)
        count = max(len(pixels), len(weight))
        guides = photos if given is None else given.for_frames(count)
        result = model.run(pixels, weight, guides, encoder, strength, controls, behind, frames)
        if photos and controls.reference_strength == 0:
            report = "the references were not followed: reference_strength is 0"
        else:
            rows = [photos] * count if given is None else given.named(count)
            report = describe_beliefs(rows, result.beliefs)
        notes = (*notes, *result.notes)
        image = to_image(result.image, alpha_of(composite))
        shown = show_notes(cls, [*notes, *report.splitlines()])
        return io.NodeOutput(image, report, Look(result.transform, strength, controls), ui=shown or None)


def _photos(
    references: object, model: ManagedHarmonizer
) -> tuple[tuple[Reference, ...], ManagedEncoder | None, References | None]:
    """The pictures, the encoder that made their features, and the search that found them, if one did."""
    if references is None:
        return (), None, None
    if isinstance(references, PictureReferences):
        spec = model.harmonizer.spec if model.harmonizer.max_references else None
        encoder = None if spec is None else encoder_named(spec.encoder)
        return references.load(encoder), encoder, None
    given = require(references, References, "references")
    return given.load(), given.encoder, given


def describe_beliefs(
    photos: Sequence[Sequence[Reference | NamedPhoto]], beliefs: Sequence[Sequence[Belief]]
) -> str:
    """One line per reference: its score, how far the result followed it, and why where it did not.

    Of a batch the lines are repeated for each composite that has an object, under its number.
    """
    lines: list[str] = []
    for index, (own, row) in enumerate(zip(photos, beliefs, strict=True)):
        if len(beliefs) > 1 and row:
            lines.append(f"composite {index + 1}:")
        for photo, belief in zip(own, row, strict=False):
            score = "" if photo.score is None else f"score {photo.score:.2f}, "
            lines.append(f"{photo.id}: {score}{'; '.join(believed(belief))}")
    if not lines:
        names = dict.fromkeys(photo.id for own in photos for photo in own)
        lines = [f"{name}: read by the harmonizer itself" for name in names]
    return "\n".join(lines)


def reference_strength(trust: float) -> float:
    """`reference_trust`, 0..1, as a reference strength, -1..1; the usual one is 0, the gate's own belief."""
    below, above = USUAL_TRUST, 1 - USUAL_TRUST
    return (trust - USUAL_TRUST) / (below if trust < USUAL_TRUST else above)


def _share(name: str, default: float, tooltip: str) -> io.Input:
    return io.Float.Input(
        name,
        default=default,
        min=0.0,
        max=1.0,
        step=0.01,
        display_mode=io.NumberDisplay.slider,
        tooltip=tooltip,
    )


class StatisticsOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        usual = StatisticsConfig()
        return io.Schema(
            node_id="Raiha_StatisticsOptions",
            display_name="Statistics Options (Raiha)",
            category="Raiha",
            description="The harmonizer without weights, set by hand: how much of the surroundings' colour "
            "statistics the object takes over. As it stands, it is the harmonizer 'statistics'.",
            search_aliases=["color transfer", "reinhard", "mean", "contrast"],
            inputs=[
                _share("lightness", usual.lightness, "How much of the difference in lightness to close."),
                _share("chroma", usual.chroma, "How much of the difference in colour to close."),
                _share(
                    "deviation", usual.deviation, "How much of the surroundings' spread of colours to take."
                ),
                _share("contrast", usual.contrast, "How far the object's contrast follows its lightness."),
                _share(
                    "reference_trust",
                    USUAL_TRUST,
                    "How far references are followed: 0.7 as far as they are believed to be right, 0 not at "
                    "all, 1 all the way wherever a part of them matched.",
                ),
                io.Float.Input(
                    "ring",
                    default=usual.rings[0],
                    min=0.005,
                    max=1.0,
                    step=0.005,
                    tooltip="Width of the ring around the object that is measured, as a part of the "
                    "picture's sides; it widens where it holds too little.",
                ),
                io.Boolean.Input(
                    "cautious",
                    default=True,
                    tooltip="Follow large differences less: they are often the object's own colour.",
                ),
            ],
            outputs=[
                HarmonizerSocket.Output("harmonizer", display_name="harmonizer", tooltip="For Harmonize.")
            ],
        )

    @classmethod
    def execute(
        cls,
        lightness: float,
        chroma: float,
        deviation: float,
        contrast: float,
        reference_trust: float,
        ring: float,
        cautious: bool,
    ) -> io.NodeOutput:
        usual = StatisticsConfig()
        config = replace(
            usual,
            rings=(ring, *(wider for wider in usual.rings if wider > ring)),
            lightness=lightness,
            chroma=chroma,
            deviation=deviation,
            contrast=contrast,
            lightness_limit=usual.lightness_limit if cautious else None,
            chroma_limit=usual.chroma_limit if cautious else None,
        )
        strength = reference_strength(reference_trust)
        return io.NodeOutput(ManagedHarmonizer(StatisticsHarmonizer(config, reference_strength=strength)))
