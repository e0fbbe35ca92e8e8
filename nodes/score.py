"""The node that says how much seems wrong with a composite."""

from torch import Tensor

from ..raiha_core.harmonizer import DEFAULT_MODEL
from ..raiha_core.score import in_words
from .compat import io
from .models import ManagedHarmonizer, load_named_harmonizer
from .notes import show_notes
from .sockets import HarmonizerSocket, require
from .tensors import from_pair, invert_input


class ScoreComposite(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_Score",
            display_name="Score Composite (Raiha)",
            category="Raiha",
            description="Says how much seems wrong with the masked object, as the size of the change that a "
            "harmonizer would make of it; nothing is changed.",
            search_aliases=["harmony score", "quality", "does it belong", "rate composite"],
            is_output_node=True,
            inputs=[
                io.Image.Input("composite", tooltip="The picture with the pasted object; any size."),
                io.Mask.Input("mask", tooltip="White marks the pasted object; soft edges are welcome."),
                HarmonizerSocket.Input(
                    "harmonizer",
                    optional=True,
                    tooltip="Whose change is measured; without one, that of the network that comes with the "
                    "pack, of which it is known how much right pictures score.",
                ),
                invert_input(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Float.Output(
                    "score",
                    display_name="score",
                    tooltip="Mean CIELAB distance over the object between it and the answer: half of right "
                    "pictures score below 3, one in ten above 11. Of a batch the largest.",
                ),
                io.String.Output(
                    "report", display_name="report", tooltip="A line for each composite: how much, and how."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, composite: Tensor, mask: Tensor, harmonizer: object = None, invert_mask: bool = False
    ) -> io.NodeOutput:
        if harmonizer is None:
            harmonizer = load_named_harmonizer(DEFAULT_MODEL)
        model = require(harmonizer, ManagedHarmonizer, "harmonizer")
        pixels, weight, notes = from_pair(composite, mask, invert=invert_mask)
        found = model.score(pixels, weight)
        lines = [in_words(each) for each in found]
        if len(lines) > 1:
            lines = [f"composite {number}: {line}" for number, line in enumerate(lines, 1)]
        shown = show_notes(cls, [*notes, *lines])
        return io.NodeOutput(max(each.change for each in found), "\n".join(lines), ui=shown or None)
