"""Nodes that make galleries: load an encoder, open a store, build one from a folder, take an image batch."""

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from ..raiha_core.gallery.build import BuildReport, build
from ..raiha_core.gallery.layout import Layout
from ..raiha_core.gallery.memory import memory_gallery
from ..raiha_core.gallery.store import open_gallery
from ..raiha_core.gallery.united import is_united, listed_parts, open_united
from ..raiha_core.images import list_photos
from .compat import ProgressBar, folder_paths, io, model_management
from .models import (
    NO_FILE,
    USUAL_ENCODER,
    ManagedEncoder,
    encoder_files,
    encoder_named,
    encoder_names,
    load_encoder,
    weights_fingerprint,
)
from .reading import MAX_PIXELS, max_pixels_input, reading_inputs
from .sockets import EncoderSocket, GallerySocket, require
from .tensors import from_image
from .wording import nodes_named, of_nodes

_EXAMPLE_PHOTOS = Path(__file__).resolve().parent.parent / "assets" / "scenes" / "photos"
_EXAMPLES, _BELOW, _INPUT = "(example photos)", "(folder below)", "input: "
_PATH_BELOW = "(path below)"
_PLAIN_NAME = re.compile(r"[\w][\w .-]{0,99}")


def _galleries() -> Path:
    """Where the pack keeps galleries: the user's folder, because an update deletes the pack's own."""
    return Path(folder_paths.get_user_directory(), "raiha", "galleries")


def _gallery_names() -> list[str]:
    root = _galleries()
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _photo_folders() -> list[str]:
    with os.scandir(folder_paths.get_input_directory()) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir())
    return [_EXAMPLES, _BELOW, *(f"{_INPUT}{name}" for name in folders)]


def unquoted(text: str) -> str:
    """A path as it was meant: file managers copy it between quotes."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].strip()
    return text


def _photo_folder(photos: str, folder: str) -> Path:
    """The folder that the two widgets name. Raises: ValueError where they name none."""
    if photos == _EXAMPLES:
        return _EXAMPLE_PHOTOS
    if photos.startswith(_INPUT):
        return Path(folder_paths.get_input_directory(), photos.removeprefix(_INPUT))
    if not unquoted(folder):
        raise ValueError("type the photo folder's path into 'folder', or choose another entry of 'photos'")
    return Path(unquoted(folder)).expanduser()


def _store_fingerprint(store: Path) -> str:
    """Changes when a store does; holds no path, because it ends up in saved pictures."""
    found: list[object] = []
    layouts = [Layout(store)]
    if is_united(store):
        with suppress(ValueError):  # of a damaged list, which the node tells when it runs
            parts = listed_parts(store)
            found, layouts = [[name for name, _ in parts]], [Layout(part) for _, part in parts]
    for layout in layouts:
        for path in (layout.spec, layout.manifest, layout.calibration):
            state = path.stat() if path.is_file() else None
            found.append(None if state is None else (state.st_size, state.st_mtime_ns))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _state_of(path: Path) -> tuple[int, int, int]:
    """Size and times of a file; zeros for a link that leads nowhere."""
    try:
        state = path.stat()
    except OSError:
        return 0, 0, 0
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _describe(report: BuildReport) -> str:
    counts = ", ".join(
        f"{count} {name}"
        for name in ("added", "changed", "renewed", "unchanged", "removed")
        if (count := getattr(report, name))
    )
    bad = [f"skipped {file.id}: {file.reason}" for file in report.bad]
    more = [*report.notes, *(f"still unfinished: {work}" for work in report.unfinished)]
    return "\n".join([f"{report.photos} photos ({counts}) in {report.seconds:.1f} s", *bad, *more])


class LoadEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_LoadEncoder",
            display_name="Load Encoder (Raiha)",
            category="Raiha",
            description="The network that sees what a patch of a picture shows. lite0 comes with the pack; "
            "the DINO encoders are fetched once, or read from models/raiha_encoders; comfy takes the "
            "model in the clip_vision socket.",
            search_aliases=["features", "dinov2", "efficientnet", "load model"],
            inputs=[
                io.Combo.Input(
                    "encoder",
                    options=encoder_names(),
                    default="lite0",
                    tooltip="lite0 needs no download. A gallery can only be searched with its own encoder.",
                ),
                io.Combo.Input(
                    "weights",
                    options=encoder_files(),
                    default=NO_FILE,
                    optional=True,
                    tooltip="A weights file of models/raiha_encoders in place of the encoder's own.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="ComfyUI's own vision model, used where the encoder is 'comfy'.",
                ),
            ],
            outputs=[
                EncoderSocket.Output("encoder", display_name="encoder", tooltip="For galleries and searches.")
            ],
        )

    @classmethod
    def fingerprint_inputs(
        cls, encoder: str | None = None, weights: str | None = NO_FILE, clip_vision: None = None
    ) -> str:
        return weights_fingerprint("raiha_encoders", weights)

    @classmethod
    def execute(cls, encoder: str, weights: str = NO_FILE, clip_vision: object = None) -> io.NodeOutput:
        return io.NodeOutput(load_encoder(encoder, weights, clip_vision))


class LoadGallery(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_LoadGallery",
            display_name="Load Gallery (Raiha)",
            category="Raiha",
            description="Opens a gallery that Build Gallery or `raiha gallery build` has made.",
            search_aliases=["photos", "reference", "open gallery", "database"],
            inputs=[
                io.Combo.Input(
                    "gallery",
                    options=[*_gallery_names(), _PATH_BELOW],
                    tooltip="A gallery of ComfyUI's user folder, or the path below.",
                ),
                io.String.Input(
                    "path",
                    default="",
                    optional=True,
                    placeholder="/path/to/gallery",
                    tooltip="The folder of a gallery elsewhere; read only with the entry '(path below)'.",
                ),
                io.String.Input(
                    "photos",
                    default="",
                    optional=True,
                    placeholder="/path/to/photos",
                    tooltip="Where its photos lie now, if they were moved; empty where they were.",
                ),
                max_pixels_input(),
            ],
            outputs=[
                GallerySocket.Output("gallery", display_name="gallery", tooltip="The photos to search in."),
                io.String.Output("report", display_name="report", tooltip="How many photos, which encoder."),
            ],
        )

    @classmethod
    def fingerprint_inputs(
        cls,
        gallery: str | None = None,
        path: str | None = "",
        photos: str | None = "",
        max_pixels: int | None = None,
    ) -> str:
        return _store_fingerprint(cls._store(gallery or "", path or "-"))

    @staticmethod
    def _store(gallery: str, path: str) -> Path:
        if gallery != _PATH_BELOW:
            return _galleries() / gallery
        if not unquoted(path):
            raise ValueError("type the gallery's path into 'path', or choose another entry of 'gallery'")
        return Path(unquoted(path)).expanduser()

    @classmethod
    def execute(
        cls, gallery: str, path: str = "", photos: str = "", max_pixels: int = MAX_PIXELS
    ) -> io.NodeOutput:
        moved = Path(unquoted(photos)).expanduser() if unquoted(photos) else None
        with nodes_named():
            found = open_united(cls._store(gallery, path), photos=moved, max_pixels=max_pixels)
        report = [f"{len(found)} photos with features '{found.spec.name}'", *map(of_nodes, found.notes)]
        return io.NodeOutput(found, "\n".join(report))


class BuildGallery(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_BuildGallery",
            display_name="Build Gallery (Raiha)",
            category="Raiha",
            description="Makes a folder of photos searchable. The photos are only read; a second run reads "
            "only what is new, and an interrupted one goes on where it stopped.",
            search_aliases=["photos", "index folder", "reference", "database"],
            is_output_node=True,
            inputs=[
                EncoderSocket.Input(
                    "encoder",
                    optional=True,
                    tooltip="What sees the photos; without one the encoder that comes with the pack.",
                ),
                io.Combo.Input(
                    "photos",
                    options=_photo_folders(),
                    default=_EXAMPLES,
                    tooltip="The pack's example photos, a folder of ComfyUI's input, or the path below.",
                ),
                io.String.Input(
                    "name",
                    default="examples",
                    tooltip="Its name in ComfyUI's user folder; an existing gallery is brought up to date.",
                ),
                io.String.Input(
                    "folder",
                    default="",
                    optional=True,
                    placeholder="/path/to/photos",
                    tooltip="A folder of photos anywhere; read only with the entry '(folder below)'.",
                ),
                *reading_inputs(),
            ],
            outputs=[
                GallerySocket.Output("gallery", display_name="gallery", tooltip="The photos to search in."),
                io.String.Output(
                    "report", display_name="report", tooltip="What was read, and what could not be."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(
        cls,
        encoder: None = None,
        photos: str | None = None,
        name: str | None = None,
        folder: str | None = "",
        max_pixels: int | None = None,
        allow_damaged: bool | None = None,
    ) -> str:
        source = _photo_folder(photos or _BELOW, folder or "")
        files = [(path.relative_to(source).as_posix(), *_state_of(path)) for path in list_photos(source)]
        store = _store_fingerprint(_galleries() / (name or ""))
        return hashlib.sha256(json.dumps([files, store]).encode()).hexdigest()

    @classmethod
    def execute(
        cls,
        photos: str,
        name: str,
        folder: str = "",
        encoder: object = None,
        max_pixels: int = MAX_PIXELS,
        allow_damaged: bool = False,
    ) -> io.NodeOutput:
        eyes = (
            encoder_named(USUAL_ENCODER) if encoder is None else require(encoder, ManagedEncoder, "encoder")
        )
        if not _PLAIN_NAME.fullmatch(name):
            raise ValueError(f"'{name}' cannot name a gallery: use letters, digits, spaces, '.', '-' and '_'")
        store = _galleries() / name
        bar: ProgressBar | None = None

        def progress(done: int, total: int, photo: str) -> None:
            nonlocal bar
            bar = bar or ProgressBar(total)
            bar.update_absolute(done, total)

        with nodes_named():
            report = build(
                _photo_folder(photos, folder),
                store,
                encoder=eyes.resident(),
                max_pixels=max_pixels,
                allow_damaged=allow_damaged,
                progress=progress,
                interrupted=model_management.throw_exception_if_processing_interrupted,
            )
            made = open_gallery(store, max_pixels=max_pixels)
        return io.NodeOutput(made, of_nodes(_describe(report)))


class ImagesToGallery(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_ImagesToGallery",
            display_name="Images to Gallery (Raiha)",
            category="Raiha",
            description="Makes images searchable as they are, a batch or a list of any sizes, without a "
            "folder on disk. The composite itself is never found among them.",
            search_aliases=["batch", "reference images", "ad-hoc gallery"],
            is_input_list=True,  # a list of images is one gallery, not one each
            inputs=[
                io.Image.Input("images", tooltip="The photos to search in: a batch, or a list."),
                EncoderSocket.Input("encoder", tooltip="What sees the photos; searches need the same one."),
            ],
            outputs=[
                GallerySocket.Output("gallery", display_name="gallery", tooltip="The photos to search in.")
            ],
        )

    @classmethod
    def execute(cls, images: list[Tensor], encoder: list[object]) -> io.NodeOutput:
        eyes = [require(one, ManagedEncoder, "encoder") for one in encoder]
        if any(one.spec != eyes[0].spec for one in eyes):
            raise ValueError("a gallery has one encoder, and a list of different ones came in")
        pictures = [one[None] for batch in images for one in from_image(batch).float()]
        return io.NodeOutput(memory_gallery(pictures, eyes[0].resident()))
