"""The node that pastes a cut-out; in its picture the object is dragged, scaled and turned."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..raiha_core.cutout import MEANINGS, object_alpha
from ..raiha_core.mask_shape import LARGEST
from ..raiha_core.paste import ANCHORS, FLIPS, LARGEST_SCALE, Placement, paste_object, trimmed
from ..raiha_core.render import shrink
from .compat import io, ui
from .sockets import Layers
from .tensors import alpha_of, from_image, from_mask, to_image, to_mask

_SHOWN = 640  # longest side of the pictures that the page draws
_FAR = 65536.0


def _number(name: str, default: float, least: float, most: float, step: float, tooltip: str) -> io.Input:
    return io.Float.Input(name, default=default, min=least, max=most, step=step, tooltip=tooltip)


def _placement_inputs() -> list[io.Input]:
    return [
        _number("x", 0.0, -_FAR, _FAR, 0.1, "Pixels from anchor to anchor, to the right."),
        _number("y", 0.0, -_FAR, _FAR, 0.1, "Pixels from anchor to anchor, downwards."),
        _number("scale", 1.0, 0.001, LARGEST_SCALE, 0.01, "1 takes the cut-out's own pixels."),
        _number("rotation", 0.0, -360.0, 360.0, 0.5, "Degrees clockwise, about the object's middle."),
        io.Combo.Input("flip", options=list(FLIPS), default="none", tooltip="Mirrors the object."),
        io.Combo.Input(
            "anchor",
            options=list(ANCHORS),
            default="centre",
            tooltip="The point of background and object that x and y are between.",
        ),
    ]


class PasteObject(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_PasteObject",
            display_name="Paste Object (Raiha)",
            category="Raiha",
            description="Pastes a cut-out into a background and makes the mask. After the first "
            "run the object can be dragged, scaled (wheel or corner) and turned (handle) in the node's own "
            "picture. The old background's colour is taken out of soft edges.",
            search_aliases=["paste object", "composite", "place", "overlay", "layer", "insert object"],
            has_intermediate_output=True,
            inputs=[
                io.Image.Input("background", optional=True, tooltip="The picture to paste into."),
                io.Image.Input(
                    "object", optional=True, tooltip="The cut-out: with alpha, or with a mask beside it."
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="What of the cut-out is the object; see mask_means."
                ),
                *_placement_inputs(),
                io.Int.Input(
                    "feather",
                    default=0,
                    min=0,
                    max=LARGEST,
                    tooltip="Pixels over which the object fades inwards from its edge.",
                ),
                io.Combo.Input(
                    "mask_means",
                    options=list(MEANINGS),
                    default="auto",
                    tooltip="Whether the mask is 1 on the object or, as from LoadImage, where it is "
                    "transparent; auto looks at which of them reaches the border.",
                ),
                Layers.Input(
                    "layers",
                    optional=True,
                    tooltip="From Add Layer, in place of background and object: the top layer is the object.",
                ),
                io.Boolean.Input(
                    "clean_edges",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="Take the old background's colour out of soft edges.",
                ),
            ],
            outputs=[
                io.Image.Output("composite", display_name="composite", tooltip="For Harmonize."),
                io.Mask.Output("mask", display_name="mask", tooltip="The object in it: 1 = pasted object."),
            ],
        )

    @classmethod
    def execute(
        cls,
        x: float,
        y: float,
        scale: float,
        rotation: float,
        flip: str,
        anchor: str,
        feather: int,
        mask_means: str,
        background: Tensor | None = None,
        object: Tensor | None = None,
        mask: Tensor | None = None,
        layers: object = None,
        clean_edges: bool = True,
    ) -> io.NodeOutput:
        placement = Placement(
            x=x, y=y, scale=scale, rotation=rotation, flip=flip, anchor=anchor, feather=feather
        )
        if layers is not None:
            scene, things, alphas = _of_layers(layers)
        else:
            if background is None or object is None:
                raise ValueError("connect 'background' and 'object', or 'layers' from Add Layer")
            scene, things = from_image(background), from_image(object)
            alphas = _alphas(things, alpha_of(object), mask, mask_means)
        count = max(len(scene), len(things))
        if {len(scene), len(things)} - {1, count}:
            raise ValueError(f"{len(scene)} backgrounds and {len(things)} objects: give equal counts, or one")
        done = [
            paste_object(
                scene[n % len(scene)][None],
                things[n % len(things)][None],
                alphas[n % len(alphas)][None],
                placement,
                clean=clean_edges,
            )
            for n in range(count)
        ]
        composite, found = (
            torch.cat(parts) for parts in ([d.composite for d in done], [d.mask for d in done])
        )
        return io.NodeOutput(
            to_image(composite), to_mask(found), ui={"raiha_paste": (_shown(scene, things, alphas),)}
        )


def _alphas(things: Tensor, own: Tensor | None, mask: Tensor | None, means: str) -> Tensor:
    beside = None if mask is None else from_mask(mask).to(things)
    if beside is not None and len(beside) not in (1, len(things)):
        raise ValueError(f"{len(things)} objects and {len(beside)} masks: give one mask, or one for each")
    found = []
    for n in range(len(things)):
        given = None if beside is None else beside[n % len(beside)][None]
        found.append(object_alpha(things[n][None], None if own is None else own[n][None], given, means))
    return torch.cat(found)


def _shown(scene: Tensor, things: Tensor, alphas: Tensor) -> dict[str, Any]:
    """What the page needs to draw the scene and the object on it."""
    thing, alpha = trimmed(things[:1].float(), alphas[:1].float())
    pictures = {}
    for name, pixels in (("background", scene[:1].float()), ("object", torch.cat((thing, alpha), 1))):
        share = min(1.0, _SHOWN / max(pixels.shape[-2:]))
        size = tuple(max(1, round(side * share)) for side in pixels.shape[-2:])
        small = shrink(pixels.clamp(0, 1), size).movedim(1, -1)
        pictures[name] = ui.PreviewImage(small).as_dict()["images"][0]
    sizes = {"width": scene.shape[-1], "height": scene.shape[-2]}
    return {**pictures, **sizes, "object_width": thing.shape[-1], "object_height": thing.shape[-2]}


def _of_layers(document: object) -> tuple[Tensor, Tensor, Tensor]:
    """The lower layers as one scene, and the top layer on a clear sheet of its size: its own place is kept.

    x and y of the widgets then move it from where it lies.
    """
    items = document.get("layers") if isinstance(document, dict) else None
    if not items or len(items) < 2:
        raise ValueError("'layers' must come from Add Layer, with a background and an object above it")
    items = sorted((i for i in items if i.get("visible", True)), key=lambda i: i.get("z_index", 0))
    for item in items:
        if item.get("blend_mode", "normal") not in (None, "normal") or item.get("rotation"):
            raise ValueError(
                f"layer '{item.get('name', '')}' is turned or blended otherwise than 'normal': Paste Object "
                "takes layers as they lie, and turns the object itself"
            )
    base = items[0]["image"]
    width, height = document.get("canvas") or (base.shape[2], base.shape[1])
    scene = torch.zeros(1, 3, height, width)
    for item in items[:-1]:
        pixels, alpha = _sheet(item, width, height)
        scene = torch.lerp(scene, pixels, alpha)
    thing, alpha = _sheet(items[-1], width, height)
    return scene, thing, alpha


def _sheet(item: dict[str, Any], width: int, height: int) -> tuple[Tensor, Tensor]:
    """One layer's colours and alpha on a clear sheet of the canvas' size."""
    image = item["image"][:1]
    pixels, alpha = from_image(image).float(), alpha_of(image)
    alpha = pixels.new_ones(1, 1, *pixels.shape[-2:]) if alpha is None else alpha.float()
    if item.get("mask") is not None:
        clear = from_mask(item["mask"])[:1].float()
        alpha = alpha * (1 - shrink(clear, (pixels.shape[-2], pixels.shape[-1])))
    alpha = alpha * float(item.get("opacity", 1.0))
    size = (int(item.get("h") or pixels.shape[-2]), int(item.get("w") or pixels.shape[-1]))
    pixels, alpha = shrink(pixels, size), shrink(alpha, size)
    for axis, name in ((-1, "flip_h"), (-2, "flip_v")):
        if item.get(name):
            pixels, alpha = pixels.flip(axis), alpha.flip(axis)
    x, y = int(item.get("x", 0)), int(item.get("y", 0))
    place = (x, width - x - size[1], y, height - y - size[0])  # what lies outside is cut
    return F.pad(pixels, place), F.pad(alpha, place)
