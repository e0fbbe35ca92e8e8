"""References in hand: pictures that are given as such, and pictures of those that were found."""

from torch import Tensor

from ..raiha_core.features.references import Reference
from ..raiha_core.mask_meaning import understand
from ..raiha_core.sheet import captions, matches_sheet, overlay
from .compat import io
from .retrieve import candidate_lines
from .sockets import (
    PictureReferences,
    ReferenceList,
    References,
    require,
)
from .tensors import from_image, from_mask, from_pair, invert_input, on_squares, to_image


class PicturesAsReferences(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_PicturesAsReferences",
            display_name="Pictures as References (Raiha)",
            category="Raiha",
            description="Any pictures as references, a batch or a list, without gallery or threshold: "
            "Harmonize compares them with the object and follows them as far as it believes them, or as far "
            "as its reference_strength says.",
            search_aliases=["reference image", "match lighting", "color match", "style reference"],
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="Pictures that show how the object should look."),
                io.Mask.Input(
                    "masks",
                    optional=True,
                    tooltip="White says where to look; one for each picture, or one for all.",
                ),
            ],
            outputs=[ReferenceList.Output("references", display_name="references", tooltip="For Harmonize.")],
        )

    @classmethod
    def execute(cls, images: list[Tensor], masks: list[Tensor] | None = None) -> io.NodeOutput:
        pictures = [one[None].float().clamp(0, 1) for batch in images for one in from_image(batch)]
        places = [one[None].float() for batch in masks or () for one in from_mask(batch)]
        if places and len(places) not in (1, len(pictures)):
            raise ValueError(f"{len(pictures)} pictures and {len(places)} masks: give one, or one for each")
        found = []
        for n, picture in enumerate(pictures):
            where = None
            if places:
                where = understand(picture, places[n % len(places)]).mask
                if not (where > 0.5).any():
                    raise ValueError(f"the mask of picture {n + 1} is empty: white says where to look")
            found.append(Reference(id=f"picture {n + 1}", image=picture, where=where, by_hand=True))
        return io.NodeOutput(PictureReferences(tuple(found)))


class ReferencesToImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_ReferencesToImages",
            display_name="References to Images (Raiha)",
            category="Raiha",
            description="Shows what was found and why: the photos as a batch, their scores, and a sheet with "
            "the composite, the photos, and frames around the patches that match.",
            search_aliases=["show references", "explain", "matches", "preview retrieval"],
            inputs=[
                ReferenceList.Input("references", tooltip="From a retrieval node."),
                io.Image.Input("composite", tooltip="The picture that was searched for, for the sheet."),
                io.Mask.Input("mask", tooltip="Its mask, for the sheet."),
                io.Int.Input(
                    "size",
                    default=512,
                    min=64,
                    max=4096,
                    tooltip="Side of the batch's square pictures; photos keep their aspect on black.",
                ),
                io.Boolean.Input(
                    "frames", default=True, tooltip="Draw the matched patches onto the batch's pictures too."
                ),
                invert_input(),
            ],
            outputs=[
                io.Image.Output(
                    "images", display_name="images", tooltip="One picture per photo; one black one for none."
                ),
                io.Image.Output("sheet", display_name="sheet", tooltip="Composite and photos, with frames."),
                io.String.Output("scores", display_name="scores", tooltip="The scores, one line per photo."),
            ],
        )

    @classmethod
    def execute(
        cls,
        references: object,
        composite: Tensor,
        mask: Tensor,
        size: int,
        frames: bool,
        invert_mask: bool = False,
    ) -> io.NodeOutput:
        given = require(references, References, "references")
        found = given.candidates
        pixels, weight, _ = from_pair(composite, mask, invert=invert_mask)  # the search has said its notes
        photos = given.load()
        pictures = [overlay(photo, grid=found.grid) if frames else photo.image for photo in photos]
        sheet = matches_sheet(
            pixels.float().clamp(0, 1),
            weight.float(),
            photos,
            grid=found.grid,
            title="References",
            captions=captions(found),
        )
        return io.NodeOutput(to_image(on_squares(pictures, size)), to_image(sheet), candidate_lines(found))
