"""The node that shows before and after, side by side."""

import torch
from torch import Tensor

from .compat import io, ui
from .tensors import from_image, to_image


class Compare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_Compare",
            display_name="Compare (Raiha)",
            category="Raiha",
            description="Shows two pictures side by side.",
            search_aliases=["before after", "side by side", "difference"],
            is_output_node=True,
            inputs=[
                io.Image.Input("before", tooltip="Such as the composite."),
                io.Image.Input("after", tooltip="Such as the harmonized picture, of the same size."),
            ],
            outputs=[
                io.Image.Output(
                    "side_by_side", display_name="side by side", tooltip="Before left, after right."
                )
            ],
        )

    @classmethod
    def execute(cls, before: Tensor, after: Tensor) -> io.NodeOutput:
        first, second = from_image(before).float(), from_image(after).float()
        if first.shape[-2:] != second.shape[-2:]:
            sizes = [f"{one.shape[-1]}x{one.shape[-2]}" for one in (first, second)]
            raise ValueError(
                f"'before' is {sizes[0]} and 'after' is {sizes[1]}: they must have the same size"
            )
        batch = max(len(first), len(second))
        if {len(first), len(second)} - {1, batch}:
            raise ValueError(
                f"{len(first)} pictures before and {len(second)} after: give equal counts, or one"
            )
        pair = [one.expand(batch, -1, -1, -1) for one in (first, second)]
        beside = to_image(torch.cat(pair, 3))
        return io.NodeOutput(beside, ui=ui.PreviewImage(beside))
