"""A clip harmonized as a clip: read and written frame by frame, so that its length costs no memory."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..raiha_core.clips import MODES, SMOOTH
from ..raiha_core.controls import BY_GATE, UNLIMITED, Controls
from ..raiha_core.features.references import Reference
from ..raiha_core.mask_meaning import Origin
from ..raiha_core.mask_shape import shaped
from ..raiha_core.retrieval.candidates import references as load_references
from ..raiha_core.retrieval.kept import KeptReferences
from ..raiha_core.video.harmonized import ClipWork, FrameMasks, harmonize_clip, masks_of_video, one_mask
from ..raiha_core.video.reader import VideoReader
from .compat import InputImpl, ProgressBar, folder_paths, io, model_management
from .frames import search_of
from .models import ManagedEncoder, ManagedHarmonizer, encoder_named, one_frame, usual_harmonizer
from .notes import show_notes
from .sockets import (
    GallerySocket,
    HarmonizerSocket,
    PictureReferences,
    ReferenceList,
    References,
    StoredGallery,
    require,
)
from .tensors import alpha_of, from_image, from_mask, from_pair, invert_input, to_image
from .wheel import control_inputs, controls_of, local_light_input

_NOT_A_VIDEO = (
    "'{name}' must come from Load Video, Create Video or another node that gives a VIDEO, got {kind}"
)


def _inputs() -> list[io.Input]:
    return [
        io.Video.Input("video", tooltip="The clip with the pasted object."),
        io.Mask.Input(
            "mask", optional=True, tooltip="White marks the object: one mask, or one for each frame."
        ),
        io.Video.Input(
            "mask_video", optional=True, tooltip="In place of mask: a clip that is white on the object."
        ),
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
        io.Combo.Input(
            "frames",
            options=list(MODES),
            default=SMOOTH,
            tooltip="Each frame for itself, the first one's change for its whole shot, one change for all, "
            "or smooth over time; scene cuts are found. All but the first do each frame twice.",
        ),
        io.Boolean.Input(
            "lossless",
            default=False,
            tooltip="Nothing is lost in writing the clip: an .mkv, which many players do not show.",
        ),
        ReferenceList.Input("references", optional=True, tooltip="Photos that guide all frames."),
        GallerySocket.Input(
            "gallery",
            optional=True,
            tooltip="In place of references: searched where a shot starts; what is found is kept while it is "
            "as good.",
        ),
        invert_input(),
        *control_inputs(),
        local_light_input(),
    ]


class HarmonizeVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_HarmonizeVideo",
            display_name="Harmonize Video (Raiha)",
            category="Raiha",
            description="Harmonize for a clip: frame by frame, steadied over time, with its sound, its times "
            "and all that the mask leaves out as they were. However long it is, it needs no more memory.",
            search_aliases=["video", "clip", "harmonization", "match lighting", "relight", "deflicker"],
            inputs=_inputs(),
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Video.Output("video", display_name="video", tooltip="The clip, its object at home."),
                io.String.Output("report", display_name="report", tooltip="What was done and used."),
            ],
        )

    @classmethod
    def execute(
        cls,
        video: Any,
        strength: float,
        frames: str,
        lossless: bool,
        mask: Tensor | None = None,
        mask_video: Any = None,
        harmonizer: object = None,
        references: object = None,
        gallery: object = None,
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
        local_light: float = 0.0,
    ) -> io.NodeOutput:
        if (mask is None) == (mask_video is None):
            raise ValueError("connect either 'mask' or 'mask_video', which says where the object is")
        if references is not None and gallery is not None:
            raise ValueError("connect either 'references' or 'gallery', which is searched for them")
        model = (
            usual_harmonizer() if harmonizer is None else require(harmonizer, ManagedHarmonizer, "harmonizer")
        )
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
        guide = _Guide(model, references, gallery, strength, controls, background)
        if not hasattr(video, "get_active_trim_window"):
            raise ValueError(_NOT_A_VIDEO.format(name="video", kind=type(video).__name__))
        masks = _masks(mask, mask_video)
        if isinstance(video, InputImpl.VideoFromComponents):
            result, count, notes = _in_memory(video, masks, guide, frames, invert_mask)
        else:
            result, count, notes = _in_files(video, masks, guide, frames, invert_mask, lossless)
        report = "\n".join([f"{count} frames", *guide.used_lines(), *notes, *guide.notes])
        return io.NodeOutput(result, report, ui=show_notes(cls, report.splitlines()) or None)


class _Guide:
    """What harmonizes a frame, and the references that it takes."""

    def __init__(
        self,
        model: ManagedHarmonizer,
        references: object,
        gallery: object,
        strength: float,
        controls: Controls,
        background: Tensor | None,
    ) -> None:
        self.model, self.strength, self.controls = model, strength, controls
        self.background = None if background is None else from_mask(background)[:1].float()
        self._photos: tuple[Reference, ...] = ()
        self.encoder: ManagedEncoder | None = None
        self._kept = KeptReferences()
        self._gallery = None if gallery is None else require(gallery, StoredGallery, "gallery")
        self._used: dict[str, int] = {}  # reference -> frames
        self.notes: dict[str, None] = {}
        if isinstance(references, PictureReferences):
            spec = model.harmonizer.spec if model.harmonizer.max_references else None
            self.encoder = None if spec is None else encoder_named(spec.encoder)
            self._photos = references.load(self.encoder)
        elif references is not None:
            given = require(references, References, "references")
            self._photos, self.encoder = given.load(), given.encoder
        elif self._gallery is not None:
            self.encoder = encoder_named(self._gallery.spec.encoder)

    def begin(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Start a pass over the frames: the search knows of none before them."""
        self._used, self._kept = {}, KeptReferences()
        return self._harmonized

    def edged(self, mask: Tensor) -> Tensor:
        return shaped(mask, self.controls.grow, self.controls.feather)

    def photos_for(self, pixels: Tensor, mask: Tensor) -> tuple[Reference, ...]:
        """The references of the frame that follows the last one asked for."""
        photos = self._photos
        if self._gallery is not None:
            assert self.encoder is not None
            found = self._kept.of(pixels, mask, search_of(self._gallery, self.encoder))
            photos = load_references(found, encoder=self.encoder)
            self.notes |= dict.fromkeys(found.notes)
        for photo in photos:
            self._used[photo.id] = self._used.get(photo.id, 0) + 1
        return photos

    def _harmonized(self, pixels: Tensor, mask: Tensor) -> Tensor:
        model_management.throw_exception_if_processing_interrupted()
        if not (mask > 0).any():
            return pixels
        photos = self.photos_for(pixels, mask)
        result = self.model.run(
            pixels, mask, photos, self.encoder, self.strength, self.controls, self.background
        )
        self.notes |= dict.fromkeys(result.notes)
        return result.image.to("cpu", torch.float32)

    def used_lines(self) -> list[str]:
        return [f"{name}: reference of {count} frames" for name, count in self._used.items()]


def _masks(mask: Tensor | None, mask_video: Any) -> FrameMasks:
    if mask is not None:
        each = from_mask(mask).float().cpu()  # where the frames of a file are
        if len(each) == 1:
            return one_mask(each)
        return FrameMasks(len(each), lambda: iter(each.split(1)))
    if not hasattr(mask_video, "get_active_trim_window"):
        raise ValueError(_NOT_A_VIDEO.format(name="mask_video", kind=type(mask_video).__name__))
    if isinstance(mask_video, InputImpl.VideoFromComponents):
        each = from_image(mask_video.get_components().images).mean(1, keepdim=True).float().cpu()
        return FrameMasks(len(each), lambda: iter(each.split(1)))
    return masks_of_video(_reader(mask_video, "the video of masks"))


def _reader(video: Any, name: str) -> VideoReader:
    source = video.get_stream_source()
    start, duration = video.get_active_trim_window()
    return VideoReader(
        Path(source) if isinstance(source, str) else source, start=start, duration=duration, name=name
    )


def _told(bar: ProgressBar, done: int, total: int) -> None:
    model_management.throw_exception_if_processing_interrupted()
    bar.update_absolute(done, total)


def _in_files(
    video: Any, masks: FrameMasks, guide: _Guide, mode: str, invert: bool, lossless: bool
) -> tuple[Any, int, tuple[str, ...]]:
    reader = _reader(video, "the clip")
    bar = ProgressBar(1)
    work = ClipWork(
        begin=guide.begin,
        edged=guide.edged,
        mode=mode,
        invert=invert,
        origin=Origin(composite="the clip", remedy="set invert_mask"),
        lossless=lossless,
        progress=lambda done, total: _told(bar, done, total),
    )
    ending = ".mp4" if reader.is_mp4 and not lossless else ".mkv"
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"raiha_{uuid.uuid4().hex}{ending}"
    count, notes = harmonize_clip(reader, masks, target, work)
    return InputImpl.VideoFromFile(str(target)), count, notes


def _in_memory(
    video: Any, masks: FrameMasks, guide: _Guide, mode: str, invert: bool
) -> tuple[Any, int, tuple[str, ...]]:
    """A clip that was made of pictures stays one: no codec comes between."""
    components = video.get_components()
    images = components.images
    if masks.count not in (None, len(images)):
        raise ValueError(f"the clip has {len(images)} frames, but there are {masks.count} masks")
    each = masks.each()
    together = torch.cat([next(each) for _ in range(masks.count or 1)])
    pixels, weight, notes = from_pair(images, together[:, 0], invert=invert)
    guide.begin()
    result = guide.model.run(
        pixels,
        weight,
        lambda place: guide.photos_for(pixels[place : place + 1].float(), one_frame(weight, place).float()),
        guide.encoder,
        guide.strength,
        guide.controls,
        guide.background,
        mode,
    )
    made = replace(components, images=to_image(result.image, alpha_of(images)))
    clip = InputImpl.VideoFromComponents(made, bit_depth=video.get_bit_depth())
    return clip, len(images), (*notes, *result.notes)
