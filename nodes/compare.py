"""The node that shows before and after under one slider, and how far each pixel moved."""

import torch
from torch import Tensor

from ..raiha_core.color import srgb_to_lab
from ..raiha_core.render import shrink
from .compat import io, ui
from .sockets import compare_view
from .tensors import from_image, to_image

_SHOWN = 2048  # longest side of what the slider shows
_FULL = 40.0  # Lab units that the gain map shows as its brightest


class Compare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_Compare",
            display_name="Compare (Raiha)",
            category="Raiha",
            description="Shows two pictures under a slider, and makes a gain map: what changed, and how far.",
            search_aliases=["before after", "side by side", "difference", "slider", "gain map"],
            is_output_node=True,
            inputs=[
                io.Image.Input("before", tooltip="Such as the composite."),
                io.Image.Input("after", tooltip="Such as the harmonized picture, of the same size."),
                compare_view(),
            ],
            outputs=[
                io.Image.Output(
                    "side_by_side", display_name="side by side", tooltip="Before left, after right."
                ),
                io.Image.Output(
                    "gain_map",
                    display_name="gain map",
                    tooltip="Black where nothing changed; red what became lighter, blue what became darker, "
                    "green what changed its colour; full at 40 Lab units.",
                ),
            ],
        )

    @classmethod
    def execute(cls, before: Tensor, after: Tensor, compare_view: object = None) -> io.NodeOutput:
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
        shown = {"a_images": _preview(first), "b_images": _preview(second)}
        # the classic canvas has no slider; there both stand on the node
        shown["images"] = [*shown["a_images"], *shown["b_images"]]
        pair = [one.expand(batch, -1, -1, -1) for one in (first, second)]
        return io.NodeOutput(to_image(torch.cat(pair, 3)), to_image(gain_map(*pair)), ui=shown)


def gain_map(before: Tensor, after: Tensor) -> Tensor:
    """What changed, and how far: (B, 3, H, W) twice -> the same, 0..1, black where nothing did."""
    change = srgb_to_lab(after) - srgb_to_lab(before)
    colour = change[:, 1:].square().sum(1).sqrt()
    parts = (change[:, 0].clamp_min(0), colour, (-change[:, 0]).clamp_min(0))
    return (torch.stack(parts, 1) / _FULL).clamp(0, 1)


def _preview(pictures: Tensor) -> list[dict[str, str]]:
    """Files for the page, no larger than a screen has use for."""
    share = min(1.0, _SHOWN / max(pictures.shape[-2:]))
    size = tuple(max(1, round(side * share)) for side in pictures.shape[-2:])
    return list(ui.PreviewImage(to_image(shrink(pictures.clamp(0, 1), size))).as_dict()["images"])
