"""Encoders and harmonizers inside ComfyUI: where their files lie, and who decides on their memory.

Networks rest and run where ComfyUI's memory manager says; what has no weights needs no manager.
"""

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ..raiha_core.adoption import adopt, conversion_of, converted_from
from ..raiha_core.clips import PER_FRAME, corrected, look_at, require_mode, steady
from ..raiha_core.controls import Controls
from ..raiha_core.features.encoders import ENCODERS, Encoder, build_encoder
from ..raiha_core.features.host import HostEncoder
from ..raiha_core.features.patches import PatchFeatures
from ..raiha_core.features.references import Reference
from ..raiha_core.gallery.protocol import PatchEncoder
from ..raiha_core.harmonizer import (
    DEFAULT_MODEL,
    WITHOUT_WEIGHTS,
    Harmonizer,
    NetworkHarmonizer,
    absence,
    load_harmonizer,
    shipped_weights,
)
from ..raiha_core.mask_shape import shaped
from ..raiha_core.model_folders import user_weights
from ..raiha_core.pipeline import Harmonized, HarmonizeWarning, harmonize_with_beliefs
from ..raiha_core.score import SECOND, Score, score, second_opinion
from .compat import ProgressBar, folder_paths, model_management, model_patcher, operations

_LOG = logging.getLogger("raiha")
_FOLDERS = {"raiha": {".safetensors", ".pth"}, "raiha_encoders": {".safetensors", ".pth"}}
NO_FILE = "(its own)"
USUAL_ENCODER = "lite0"  # the encoder that comes with the pack
_PLANES = 24  # float32 planes of the photo's size that rendering at full size may hold at once
GivenForFrames = Sequence[Reference] | Callable[[int], Sequence[Reference]]
CLIP_VISION = "comfy"  # the encoder is the model in the clip_vision socket


def register_folders() -> None:
    """Make `models/raiha` (harmonizers) and `models/raiha_encoders` known to ComfyUI."""
    for name, endings in _FOLDERS.items():
        # A configuration file may have named the folder already, with an empty set that means all files.
        folder_paths.folder_names_and_paths.setdefault(name, ([], set()))[1].update(endings)
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))


def encoder_names() -> list[str]:
    """The embedded encoder first: it needs no download."""
    return [*ENCODERS, CLIP_VISION]


def encoder_files() -> list[str]:
    return [NO_FILE, *folder_paths.get_filename_list("raiha_encoders")]


def harmonizer_names() -> list[str]:
    """What ships with the pack first, then what needs no weights, then the user's files.

    An authors' .pth and what it was converted to are one entry.
    """
    files = folder_paths.get_filename_list("raiha")
    offered = [file for file in files if not (file.endswith(".pth") and _is_converted(file, files))]
    # brought by `raiha fetch` where it did not know of this ComfyUI
    elsewhere = [name for name in user_weights() if f"{name}.safetensors" not in files]
    return list(dict.fromkeys([*shipped_weights(), *WITHOUT_WEIGHTS, *offered, *elsewhere]))


def _is_converted(file: str, files: list[str]) -> bool:
    kept = conversion_of(Path(file)).as_posix()
    if kept not in files:
        return False
    return converted_from(Path(folder_paths.get_full_path_or_raise("raiha", kept))) == Path(file).name


def harmonizer_problem(name: str) -> str:
    """Why there is no harmonizer of that name, in one sentence; "" where there is one.

    A .pth may be named by a workflow after its conversion has taken its place in the list.
    """
    if name in harmonizer_names() or name in folder_paths.get_filename_list("raiha"):
        return ""
    return absence(name.removesuffix(".safetensors"), harmonizer_names())


class ManagedEncoder:
    """A patch encoder that ComfyUI moves between devices."""

    def __init__(self, encoder: PatchEncoder, patcher: object) -> None:
        self.encoder = encoder
        self.patcher = patcher
        self.spec = encoder.spec

    def resident(self) -> PatchEncoder:
        """The encoder, brought to where it computes: for a loop over many pictures, also from threads.

        Valid until the node that asked for it returns.
        """
        model_management.load_models_gpu([self.patcher])
        return self.encoder

    def encode(self, images: Tensor) -> PatchFeatures:
        """(B, 3, H, W) sRGB 0..1, any size -> features on the pictures' device."""
        return self.resident().encode(images)


class _OnDevice:
    """Our own encoder, wherever ComfyUI has put it; pictures go there, and features come back to them."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.spec = encoder.spec

    def encode(self, images: Tensor) -> PatchFeatures:
        found = self._encoder.encode(images)
        content, appearance = (part.to(images.device) for part in (found.content, found.appearance))
        return PatchFeatures(content, appearance, found.spec)


class ManagedHarmonizer:
    """A harmonizer, with ComfyUI's hold on its network if it has one."""

    def __init__(self, harmonizer: Harmonizer) -> None:
        self.harmonizer = harmonizer
        self._patcher = _patcher(harmonizer.network) if isinstance(harmonizer, NetworkHarmonizer) else None

    @property
    def name(self) -> str:
        return self.harmonizer.name

    def _placed(self, composite: Tensor, beside: Sequence[object] = ()) -> torch.device:
        """Where to compute: the network, and models `beside` it, are brought there."""
        if self._patcher is None:
            return composite.device
        # Together, because loading the second alone might push the first out again.
        working = _PLANES * composite[:, 0].numel() * 4
        model_management.load_models_gpu([self._patcher, *beside], memory_required=working)
        return self._patcher.load_device

    def score(self, composite: Tensor, mask: Tensor) -> tuple[Score, ...]:
        """`score` where ComfyUI computes, with BargainNet's opinion where its encoder's file is here."""
        device = self._placed(composite)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HarmonizeWarning)  # `from_pair` has the notes for the node
            second = second_opinion(device, _second_file())
            return score(composite.to(device), mask.to(device), self.harmonizer, second=second)

    def run(
        self,
        composite: Tensor,
        mask: Tensor,
        references: GivenForFrames,
        encoder: ManagedEncoder | None,
        strength: float,
        controls: Controls | None = None,
        background: Tensor | None = None,
        mode: str = PER_FRAME,
    ) -> Harmonized:
        """`harmonize_with_beliefs` where ComfyUI computes; the result lies where pictures are carried.

        A batch is done frame by frame, with progress, and can be cancelled after each; `mode` steadies it.
        Args: references: for all frames, or what gives those of a frame; asked for frames with an object.
        """
        require_mode(mode)
        frames = max(len(composite), len(mask))
        device = self._placed(composite[:1], [] if encoder is None else [encoder.patcher])
        carried = model_management.intermediate_device()
        asked = controls or Controls()

        def edged(place: int) -> Tensor:  # the mask outside which nothing changes
            return shaped(one_frame(mask, place), asked.grow, asked.feather)

        def harmonized(place: int) -> Harmonized:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", HarmonizeWarning)  # `from_pair` has the notes for the node
                return harmonize_with_beliefs(
                    one_frame(composite, place).to(device),
                    one_frame(mask, place).to(device),
                    _references_of(references, one_frame(mask, place), place),
                    self.harmonizer,
                    encoder=None if encoder is None else encoder.encoder,
                    strength=strength,
                    controls=controls,
                    background=None if background is None else one_frame(background, place).to(device),
                )

        if frames == 1:
            result = harmonized(0)
            return replace(result, image=result.image.to(carried))
        progress = ProgressBar(frames)
        image = torch.empty_like(composite.expand(frames, -1, -1, -1), device=carried)
        looks, beliefs, notes = [], [], {}
        for place in range(frames):
            model_management.throw_exception_if_processing_interrupted()
            found = harmonized(place)
            image[place] = found.image[0].to(carried)
            if mode != PER_FRAME:
                pair = (one_frame(composite, place).to(device), found.image)
                looks.append(look_at(*pair, edged(place).to(device)))
            beliefs.append(found.beliefs[0])
            notes |= dict.fromkeys(found.notes)
            progress.update_absolute(place + 1, frames)
        for place, wanted in enumerate(steady(looks, mode) if looks else ()):
            model_management.throw_exception_if_processing_interrupted()
            done, weight = image[place : place + 1].to(device), edged(place).to(device)
            image[place] = corrected(done, weight, looks[place], wanted)[0].to(carried)
        return Harmonized(image=image, beliefs=tuple(beliefs), notes=tuple(notes))


def _references_of(given: GivenForFrames, mask: Tensor, place: int) -> Sequence[Reference]:
    if not callable(given):
        return given
    return given(place) if (mask > 0).any() else ()


def one_frame(part: Tensor, place: int) -> Tensor:
    """A frame of a batch; a batch of one serves every frame."""
    return part[place : place + 1] if len(part) > 1 else part


def _second_file() -> Path | None:
    """The file of BargainNet's encoder among ComfyUI's models; None where it is not among them."""
    files = folder_paths.get_filename_list("raiha")
    named = [name for name in (f"{stem}.safetensors" for stem in SECOND) if name in files]
    return Path(folder_paths.get_full_path_or_raise("raiha", named[0])) if named else None


def weights_fingerprint(folder: str, file: str | None) -> str:
    """Changes when the user's file of that name does; "" for anything that is not such a file."""
    if file not in folder_paths.get_filename_list(folder):
        return ""
    state = os.stat(folder_paths.get_full_path_or_raise(folder, file))
    return f"{state.st_size}-{state.st_mtime_ns}"


def load_encoder(name: str, file: str = NO_FILE, clip_vision: object = None) -> ManagedEncoder:
    """An encoder by one of `encoder_names`: with its own weights, a file of `models/raiha_encoders`, or
    what ComfyUI's CLIPVisionLoader gives.

    Raises: ValueError where the name and what is connected do not belong together.
    """
    if (name == CLIP_VISION) != (clip_vision is not None):
        raise ValueError(
            f"'{CLIP_VISION}' needs a model from CLIPVisionLoader in 'clip_vision'"
            if clip_vision is None
            else f"'clip_vision' is connected but the encoder is '{name}': choose '{CLIP_VISION}'"
        )
    if name == CLIP_VISION:
        for part in ("model", "patcher", "load_device", "image_size"):
            if not hasattr(clip_vision, part):
                raise ValueError(
                    f"'clip_vision' must come from CLIPVisionLoader, got {type(clip_vision).__name__}"
                )
        return ManagedEncoder(HostEncoder(clip_vision), clip_vision.patcher)
    weights = None
    if file != NO_FILE:
        weights = Path(folder_paths.get_full_path_or_raise("raiha_encoders", file))
    encoder = build_encoder(name, weights=weights, operations=operations)
    patcher = _patcher(encoder.network)
    encoder.compute_device = patcher.load_device
    return ManagedEncoder(_OnDevice(encoder), patcher)


def load_named_harmonizer(name: str) -> ManagedHarmonizer:
    """A harmonizer by one of `harmonizer_names`."""
    files = folder_paths.get_filename_list("raiha")
    source: str | Path = name
    if name in files and name not in WITHOUT_WEIGHTS and name not in shipped_weights():
        source = Path(folder_paths.get_full_path_or_raise("raiha", name))
    if isinstance(source, Path) and source.suffix == ".pth":
        adopted = adopt(source, operations=operations)
        _LOG.info("%s", adopted.line)
        return ManagedHarmonizer(NetworkHarmonizer(source.stem, adopted.loaded))
    return ManagedHarmonizer(load_harmonizer(source, operations=operations))


@cache
def encoder_named(name: str) -> ManagedEncoder:
    """The encoder of a gallery, loaded once, for nodes that none is connected to.

    Raises: ValueError where it is ComfyUI's own, which has to be connected.
    """
    if name not in ENCODERS:
        raise ValueError(
            f"the gallery was built with '{name}': connect its encoder from Load Encoder (Raiha)"
        )
    return load_encoder(name)


@cache
def usual_harmonizer() -> ManagedHarmonizer:
    """The pack's own network, loaded once, for a Harmonize that nothing is connected to."""
    return load_named_harmonizer(DEFAULT_MODEL)


def _patcher(model: object) -> "model_patcher.CoreModelPatcher":
    # Looked up at every call: on NVIDIA cards ComfyUI replaces the class after the packs are loaded.
    return model_patcher.CoreModelPatcher(
        model,
        load_device=model_management.get_torch_device(),
        offload_device=model_management.unet_offload_device(),
    )
