"""Nodes that change the object's look: choose a harmonizer, set the one without weights, run it."""

import logging
from dataclasses import replace

from torch import Tensor

from ..raiha_core.harmonizer import DEFAULT_MODEL, StatisticsHarmonizer
from ..raiha_core.models.statistics import StatisticsConfig
from .compat import io
from .models import (
    ManagedHarmonizer,
    harmonizer_names,
    harmonizer_problem,
    load_named_harmonizer,
    weights_fingerprint,
)
from .notes import show_notes
from .sockets import HarmonizerSocket, ReferenceList, References, require
from .tensors import alpha_of, from_pair, invert_input, to_image

_LOG = logging.getLogger("raiha")


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
                    tooltip="raiha-plus comes with the pack, statistics needs no weights, others are read "
                    "from models/raiha. What an authors' .pth is, and its licence, is told in the log.",
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


class Harmonize(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_Harmonize",  # stored in users' workflows: never rename
            display_name="Harmonize (Raiha)",
            category="Raiha",
            description="Changes the look of the masked object until it belongs to its background. "
            "Pixels outside the mask come out exactly as they went in.",
            search_aliases=["harmonization", "match colors", "relight", "composite", "color transfer"],
            inputs=[
                io.Image.Input("composite", tooltip="The picture with the pasted object; any size."),
                io.Mask.Input("mask", tooltip="White marks the pasted object; soft edges are welcome."),
                HarmonizerSocket.Input("harmonizer", tooltip="From Load Harmonizer or Statistics Options."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="0 leaves the object as it is, 1 takes the harmonizer's full answer.",
                ),
                ReferenceList.Input(
                    "references",
                    optional=True,
                    tooltip="Photos that show the object's content under the background's light; "
                    "without them the background alone guides.",
                ),
                invert_input(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Image.Output(
                    "image", display_name="image", tooltip="The composite with its object at home."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        composite: Tensor,
        mask: Tensor,
        harmonizer: object,
        strength: float,
        references: object = None,
        invert_mask: bool = False,
    ) -> io.NodeOutput:
        model = require(harmonizer, ManagedHarmonizer, "harmonizer")
        given = None if references is None else require(references, References, "references")
        pixels, weight, notes = from_pair(composite, mask, invert=invert_mask)
        photos = () if given is None else given.load()
        if given is not None and not photos:
            _LOG.warning(
                "no photo of the gallery qualified, so the background alone guides: %s",
                "; ".join(given.candidates.notes) or "lower the thresholds or add photos",
            )
        result = model.run(pixels, weight, photos, None if given is None else given.encoder, strength)
        return io.NodeOutput(to_image(result, alpha_of(composite)), ui=show_notes(cls, notes) or None)


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
                    usual.reference_trust,
                    "How much a perfectly matching reference counts beside the surroundings.",
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
            reference_trust=reference_trust,
            lightness_limit=usual.lightness_limit if cautious else None,
            chroma_limit=usual.chroma_limit if cautious else None,
        )
        return io.NodeOutput(ManagedHarmonizer(StatisticsHarmonizer(config)))
