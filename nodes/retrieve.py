"""Nodes that look for references: by the object's content, by the background's light; and that show them."""

import math
import warnings

from torch import Tensor

from ..raiha_core.mask_meaning import MaskWarning
from ..raiha_core.retrieval.candidates import Candidates
from ..raiha_core.retrieval.request import BY, LIKENESS
from ..raiha_core.retrieval.search import search
from .compat import io
from .frames import found_for_all, frame_lines
from .models import ManagedEncoder, encoder_named
from .notes import show_notes
from .sockets import (
    CandidateList,
    EncoderSocket,
    GalleryObject,
    GallerySocket,
    ReferenceList,
    References,
    StoredGallery,
    require,
)
from .tensors import from_pair, invert_input

_RANKED, _RANDOM = "best first", "random"


def _shared_inputs() -> list[io.Input]:
    return [
        io.Image.Input("composite", tooltip="The picture with the pasted object."),
        io.Mask.Input("mask", tooltip="White marks the pasted object."),
        GallerySocket.Input("gallery", tooltip="The photos to search in."),
        EncoderSocket.Input("encoder", tooltip="The encoder that the gallery was built with."),
        io.Int.Input(
            "top_k",
            default=4,
            min=0,
            max=64,
            tooltip="How many photos to keep; 0 keeps all that qualify, as the first of two searches needs.",
        ),
    ]


def _order_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "order",
            options=[_RANKED, _RANDOM],
            default=_RANKED,
            tooltip="Which of the photos that qualify to keep: the best, or a draw as in the paper.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**32 - 1,
            control_after_generate=False,  # the page would else draw a new seed at every run
            tooltip="Of the random draw.",
        ),
        io.String.Input(
            "exclude",
            default="",
            multiline=True,
            optional=True,
            tooltip="Photos to leave out, such as the composite's own: names in the gallery, one per line.",
        ),
        CandidateList.Input(
            "within", optional=True, tooltip="An earlier search: only its photos are considered."
        ),
        invert_input(),
    ]


def _threshold(name: str, tooltip: str) -> io.Input:
    return io.Float.Input(
        name,
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.01,
        advanced=True,
        tooltip=f"{tooltip} 0 takes the gallery's own value.",
    )


def _outputs() -> list[io.Output]:
    return [
        ReferenceList.Output("references", display_name="references", tooltip="For Harmonize."),
        CandidateList.Output(
            "candidates", display_name="candidates", tooltip="For a second search among these photos."
        ),
        io.String.Output("report", display_name="report", tooltip="Which photos were found, and why."),
    ]


def _search(
    node: type[io.ComfyNode],
    by: str,
    composite: Tensor,
    mask: Tensor,
    gallery: object,
    encoder: object,
    top_k: int,
    thresholds: tuple[float, float],
    order: str,
    seed: int,
    exclude: str,
    within: object,
    invert_mask: bool,
) -> io.NodeOutput:
    photos: GalleryObject = require(gallery, StoredGallery, "gallery")
    eyes = require(encoder, ManagedEncoder, "encoder")
    before = None if within is None else require(within, Candidates, "within")
    pixels, weight, notes = from_pair(composite, mask, invert=invert_mask)
    shown = show_notes(node, notes)
    content, appearance = thresholds

    def find(picture: Tensor, region: Tensor, earlier: Candidates | None) -> Candidates:
        return search(
            photos,
            picture.float(),
            region.float(),
            encoder=eyes,
            by=by,
            top_k=top_k or None,
            seed=seed if order == _RANDOM else None,
            content_threshold=content or None,
            appearance_threshold=appearance or None,
            exclude_ids=[line.strip() for line in exclude.splitlines() if line.strip()],
            within=earlier or before,
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MaskWarning)  # the node shows them
        if max(len(pixels), len(weight)) == 1:
            found = find(pixels, weight, None)
            given, lines = References(found, eyes), candidate_lines(found)
        else:
            each = found_for_all(pixels, weight, find)
            found = next(one for one in each if one is not None)
            given, lines = References(found, eyes, each), frame_lines(each)
    return io.NodeOutput(given, found, "\n".join([*notes, lines]), ui=shown or None)


def candidate_lines(found: Candidates) -> str:
    """The answer in lines of text: counts, one line per photo, then the reasons for what is empty."""
    if found.by == LIKENESS:
        lines = [f"the {len(found)} most alike of {found.considered} photos, none cut off"]
    else:
        lines = [
            f"{len(found)} of {found.qualified} photos that qualify, {found.considered} compared "
            f"(content >= {found.content_threshold:g}, light >= {found.appearance_threshold:g})"
        ]
    for place, item in enumerate(found.items, 1):
        light = "" if math.isnan(item.light) else f", light {item.light:.3f}"
        lines.append(
            f"{place}. {item.photo.id}: content {item.content:.3f}, covers {item.coverage:.0%} of the object"
            f"{light}, score {item.score:.3f}"
        )
    return "\n".join([*lines, *found.notes])


class RetrieveByContent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_RetrieveByContent",
            display_name="Retrieve by Content (Raiha)",
            category="Raiha",
            description="Finds photos that show what the pasted object shows (eq. 3 of the paper).",
            search_aliases=["search photos", "similar object", "retrieval", "reference"],
            inputs=[
                *_shared_inputs(),
                _threshold("content_threshold", "How alike two patches must look to show the same thing."),
                *_order_inputs(),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        composite: Tensor,
        mask: Tensor,
        gallery: object,
        encoder: object,
        top_k: int,
        content_threshold: float,
        order: str,
        seed: int,
        exclude: str = "",
        within: object = None,
        invert_mask: bool = False,
    ) -> io.NodeOutput:
        thresholds = (content_threshold, 0.0)
        return _search(
            cls,
            "content",
            composite,
            mask,
            gallery,
            encoder,
            top_k,
            thresholds,
            order,
            seed,
            exclude,
            within,
            invert_mask,
        )


class RetrieveByIllumination(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_RetrieveByIllumination",
            display_name="Retrieve by Illumination (Raiha)",
            category="Raiha",
            description="Finds photos with a place that looks like the composite's background, under the "
            "same light (eq. 5 of the paper). Chained behind Retrieve by Content it keeps the photos that "
            "show the object's content under the background's light.",
            search_aliases=["search photos", "same light", "illumination", "retrieval", "reference"],
            inputs=[
                *_shared_inputs(),
                _threshold("content_threshold", "How alike two patches must look to show the same thing."),
                _threshold("appearance_threshold", "How alike their colours must be to show the same light."),
                *_order_inputs(),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        composite: Tensor,
        mask: Tensor,
        gallery: object,
        encoder: object,
        top_k: int,
        content_threshold: float,
        appearance_threshold: float,
        order: str,
        seed: int,
        exclude: str = "",
        within: object = None,
        invert_mask: bool = False,
    ) -> io.NodeOutput:
        thresholds = (content_threshold, appearance_threshold)
        return _search(
            cls,
            "illumination",
            composite,
            mask,
            gallery,
            encoder,
            top_k,
            thresholds,
            order,
            seed,
            exclude,
            within,
            invert_mask,
        )


class RetrieveReferences(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_RetrieveReferences",
            display_name="Retrieve References (Raiha)",
            category="Raiha",
            description="Finds the photos of a gallery that are most like the object under the background's "
            "light, with the gallery's own encoder.",
            search_aliases=["search photos", "reference", "match lighting", "similar", "retrieval"],
            inputs=[
                GallerySocket.Input("gallery", tooltip="The photos to search in."),
                io.Image.Input("composite", tooltip="The picture with the pasted object."),
                io.Mask.Input("mask", tooltip="White marks the pasted object."),
                io.Combo.Input(
                    "by",
                    options=list(BY),
                    default=LIKENESS,
                    tooltip="Likeness ranks all photos, the most alike first, and Harmonize decides whom to "
                    "believe. The others are the paper's: only photos whose content, light or both reach the "
                    "thresholds.",
                ),
                io.Int.Input("top_k", default=4, min=1, max=64, tooltip="How many photos to keep."),
                io.String.Input(
                    "exclude",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="Photos to leave out, such as the scene's own: names in the gallery, one a line.",
                ),
                EncoderSocket.Input(
                    "encoder", optional=True, tooltip="Only for a gallery of ComfyUI's own vision models."
                ),
                invert_input(),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        gallery: object,
        composite: Tensor,
        mask: Tensor,
        by: str,
        top_k: int,
        exclude: str = "",
        encoder: object = None,
        invert_mask: bool = False,
    ) -> io.NodeOutput:
        photos: GalleryObject = require(gallery, StoredGallery, "gallery")
        eyes = encoder_named(photos.spec.encoder) if encoder is None else encoder
        return _search(
            cls,
            by,
            composite,
            mask,
            photos,
            eyes,
            top_k,
            (0.0, 0.0),
            _RANKED,
            0,
            exclude,
            None,
            invert_mask,
        )
