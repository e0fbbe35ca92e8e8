"""Nodes that read and write pictures without ComfyUI's losses: 16 bit, ICC, EXIF orientations, rounding."""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..raiha_core.codecs.formats import readable_endings
from ..raiha_core.codecs.source import PictureSource
from ..raiha_core.images import open_picture, write_picture
from ..raiha_core.mask_files import open_mask_file
from .compat import folder_paths, io, metadata_allowed, model_management, ui
from .examples import EXAMPLE, choice_problem, chosen_file, file_choices
from .notes import show_notes
from .reading import MAX_PIXELS, damage_notes, damage_remedy_told, reading_inputs
from .sockets import SourceSocket, require
from .tensors import alpha_of, from_image, from_mask, to_image, to_mask

_PICTURE = "picture"
_AUTOMATIC, _OPAQUE, _TRANSPARENT = "automatic", "opaque", "transparent"


def _choices() -> list[str]:
    return file_choices(readable_endings())


def _path(name: str) -> Path:
    return chosen_file(name, readable_endings(), _PICTURE)


def _validate(name: str | None) -> bool | str:
    return choice_problem(name, readable_endings(), _PICTURE)


def _fingerprint(name: str | None) -> str:
    if name is None:
        return ""
    return hashlib.sha256(_path(name).read_bytes()).hexdigest()


def _mask_means() -> io.Input:
    """What alpha says; new inputs are optional and stand last."""
    return io.Combo.Input(
        "mask_means",
        options=[_AUTOMATIC, _OPAQUE, _TRANSPARENT],
        default=_AUTOMATIC,
        optional=True,
        tooltip="Which alpha marks the object. automatic: opaque, as in a cut-out; in what ComfyUI's mask "
        "editor saved, what was painted, which it stores as transparent.",
    )


def _transparent_is_object(name: str, mask_means: str) -> bool:
    """Whether alpha 0 is the object; the mask editor's files are known by ComfyUI's names for them."""
    if mask_means != _AUTOMATIC:
        return mask_means == _TRANSPARENT
    file = name.replace("\\", "/").rsplit("/", 1)[-1]
    # of the files that it saves at once, the layer of paint is opaque where something was painted
    return file.startswith("clipspace-") and not file.startswith("clipspace-paint-")


def _preview(name: str, pixels: Tensor) -> ui.PreviewImage | None:
    """Examples need one; pictures of the input folder are shown by the page itself."""
    return ui.PreviewImage(to_image(pixels)) if name.startswith(EXAMPLE) else None


def _shown(preview: ui.PreviewImage | None, notes: dict[str, tuple[str, ...]]) -> dict[str, object] | None:
    """What the page gets of a loader: its picture, its notes, None without both."""
    return {**({} if preview is None else preview.as_dict()), **notes} or None


class LoadPicture(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_LoadPicture",
            display_name="Load Picture (Raiha)",
            category="Raiha",
            description="Reads a picture as it was meant: 16 bit stays 16 bit, declared colours become sRGB, "
            "every EXIF orientation is applied, and a damaged file is refused by name.",
            has_intermediate_output=True,  # its preview survives a run from the cache
            search_aliases=["load image", "16 bit", "icc", "exif", "open picture"],
            inputs=[
                io.Combo.Input(
                    "image",
                    options=_choices(),
                    upload=io.UploadType.image,
                    image_folder=io.FolderType.input,
                    tooltip="A picture of ComfyUI's input folder, or one of the pack's examples.",
                ),
                _mask_means(),
                *reading_inputs(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The picture, sRGB."),
                io.Mask.Output(
                    "alpha",
                    display_name="alpha",
                    tooltip="1 where the picture is opaque, so the object of a cut-out is 1 (ComfyUI's own "
                    "loader has it the other way round), and all 1 for a picture without alpha; 1 where "
                    "something was painted in ComfyUI's mask editor.",
                ),
                SourceSocket.Output(
                    "source",
                    display_name="source",
                    tooltip="What the file was: colour profile, alpha, metadata and its own codes, for Save "
                    "Picture (Raiha).",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, image: str | None = None) -> bool | str:
        return _validate(image)

    @classmethod
    def fingerprint_inputs(
        cls,
        image: str | None = None,
        mask_means: str | None = None,
        max_pixels: int | None = None,
        allow_damaged: bool | None = None,
    ) -> str:
        return _fingerprint(image)

    @classmethod
    def execute(
        cls,
        image: str,
        mask_means: str = _AUTOMATIC,
        max_pixels: int = MAX_PIXELS,
        allow_damaged: bool = False,
    ) -> io.NodeOutput:
        with damage_remedy_told(allow_damaged):
            picture = open_picture(_path(image), max_pixels=max_pixels, allow_damaged=allow_damaged)
        pixels = picture.pixels.to(model_management.intermediate_device())
        alpha = (
            pixels.new_ones(1, 1, *pixels.shape[-2:]) if picture.alpha is None else picture.alpha.to(pixels)
        )
        source = picture.source
        if _transparent_is_object(image, mask_means):
            alpha = 1 - alpha
            source = replace(source, alpha=None)  # it is a mask, and no part of the picture
        notes = [*damage_notes(image, picture.damage), *(f"{image}: {note}" for note in picture.notes)]
        for note in notes:
            logging.warning("Raiha: %s", note)
        shown = _shown(_preview(image, pixels), show_notes(cls, notes))
        return io.NodeOutput(to_image(pixels), to_mask(alpha), source, ui=shown)


class LoadMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_LoadMask",
            display_name="Load Mask (Raiha)",
            category="Raiha",
            description="Reads a mask from a picture: from its alpha if that varies, else from its grey "
            "values or its labels. White is the pasted object; soft edges and 16 bit are kept.",
            has_intermediate_output=True,
            search_aliases=["load mask", "image to mask", "alpha", "matte"],
            inputs=[
                io.Combo.Input(
                    "image",
                    options=_choices(),
                    upload=io.UploadType.image,
                    image_folder=io.FolderType.input,
                    tooltip="A picture whose alpha or grey values are the mask: white = pasted object.",
                ),
                _mask_means(),
                io.Int.Input(
                    "label",
                    default=0,
                    min=0,
                    max=65535,
                    optional=True,
                    tooltip="The object's value in a mask of labels, as VOC, DAVIS and label tools write "
                    "them; 0: the only one that there is.",
                ),
                *reading_inputs(),
            ],
            outputs=[io.Mask.Output("mask", display_name="mask", tooltip="1 = pasted object.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, image: str | None = None) -> bool | str:
        return _validate(image)

    @classmethod
    def fingerprint_inputs(
        cls,
        image: str | None = None,
        mask_means: str | None = None,
        label: int | None = None,
        max_pixels: int | None = None,
        allow_damaged: bool | None = None,
    ) -> str:
        return _fingerprint(image)

    @classmethod
    def execute(
        cls,
        image: str,
        mask_means: str = _AUTOMATIC,
        label: int = 0,
        max_pixels: int = MAX_PIXELS,
        allow_damaged: bool = False,
    ) -> io.NodeOutput:
        with damage_remedy_told(allow_damaged):
            found = open_mask_file(
                _path(image),
                max_pixels=max_pixels,
                allow_damaged=allow_damaged,
                label=label or None,
                transparent_is_object=_transparent_is_object(image, mask_means),
            )
        mask = found.values.to(model_management.intermediate_device())
        notes = [*damage_notes(image, found.damage), *found.notes]
        shown = _shown(_preview(image, mask.expand(-1, 3, -1, -1)), show_notes(cls, notes))
        return io.NodeOutput(to_mask(mask), ui=shown)


def _workflow_texts(node: type[io.ComfyNode]) -> dict[str, str]:
    """What ComfyUI's page reads from a picture: the prompt, and the graph with all that belongs to it."""
    hidden = getattr(node, "hidden", None)
    found = {} if getattr(hidden, "prompt", None) is None else {"prompt": json.dumps(hidden.prompt)}
    more = getattr(hidden, "extra_pnginfo", None) or {}
    return found | {str(name)[:79]: json.dumps(value) for name, value in more.items()}


class SavePicture(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_SavePicture",
            display_name="Save Picture (Raiha)",
            category="Raiha",
            description="Writes PNG files of 8 or 16 bit into ComfyUI's output folder. Values are rounded, "
            "where ComfyUI's own saver cuts them off. Dragged onto the page, a file restores its workflow.",
            search_aliases=["save image", "16 bit", "export"],
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures to save, one file each."),
                io.String.Input(
                    "filename_prefix",
                    default="raiha/harmonized",
                    tooltip="Start of the file names; a part before / is a folder below the output folder.",
                ),
                io.Combo.Input(
                    "bit_depth",
                    options=["8", "16"],
                    default="8",
                    tooltip="Bits per channel. 16 keeps what a 16-bit picture or a smooth sky needs.",
                ),
                io.Mask.Input("alpha", optional=True, tooltip="Written as the file's alpha: 1 = opaque."),
                SourceSocket.Input(
                    "source",
                    optional=True,
                    tooltip="Of Load Picture (Raiha): files get its colour profile, alpha and metadata, and "
                    "pixels that were not changed keep their codes.",
                ),
                io.Boolean.Input(
                    "keep_workflow",
                    default=True,
                    optional=True,
                    tooltip="Store the workflow in the file, as ComfyUI's own saver does; it holds the names "
                    "of your files and folders.",
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            outputs=[io.Image.Output("images", display_name="images", tooltip="The pictures, unchanged.")],
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        filename_prefix: str,
        bit_depth: str,
        alpha: Tensor | None = None,
        source: PictureSource | None = None,
        keep_workflow: bool = True,
    ) -> io.NodeOutput:
        pixels = from_image(images).float().cpu()
        if source is not None:
            require(source, PictureSource, "source")
        given = alpha_of(images) if alpha is None else from_mask(alpha)
        weights = None if given is None else given.float().cpu()
        if weights is not None and len(weights) not in (1, len(pixels)):
            raise ValueError(f"{len(pixels)} pictures and {len(weights)} alphas: give one, or one for each")
        height, width = pixels.shape[-2:]
        folder, file, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), width, height
        )
        texts = _workflow_texts(cls) if keep_workflow and metadata_allowed() else {}
        saved = []
        for index, picture in enumerate(pixels):
            name = f"{file.replace('%batch_num%', str(index))}_{counter + index:05}_.png"
            own = None if weights is None else weights[min(index, len(weights) - 1)][None]
            write_picture(
                Path(folder, name),
                picture[None],
                alpha=own,
                bit_depth=int(bit_depth),
                source=source,
                texts=texts,
            )
            saved.append(ui.SavedResult(name, subfolder, io.FolderType.output))
        return io.NodeOutput(images, ui=ui.SavedImages(saved))
