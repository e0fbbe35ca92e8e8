"""The pack: every node, in the order of the menu, and what ComfyUI asks for them."""

from .clip_files import LoadClip
from .compare import Compare
from .compat import ComfyExtension, io
from .gallery import BuildGallery, ImagesToGallery, LoadEncoder, LoadGallery
from .harmonize import Harmonize, LoadHarmonizer, StatisticsOptions
from .look import SaveLook
from .models import register_folders
from .paste import PasteObject
from .pictures import LoadMask, LoadPicture, SavePicture
from .references import PicturesAsReferences, ReferencesToImages
from .retrieve import RetrieveByContent, RetrieveByIllumination, RetrieveReferences
from .score import ScoreComposite
from .video import HarmonizeVideo

NODES: list[type[io.ComfyNode]] = [
    LoadPicture,
    LoadMask,
    SavePicture,
    LoadEncoder,
    LoadGallery,
    BuildGallery,
    ImagesToGallery,
    RetrieveByContent,
    RetrieveByIllumination,
    ReferencesToImages,
    LoadHarmonizer,
    StatisticsOptions,
    Harmonize,
    Compare,
    ScoreComposite,
    PasteObject,
    RetrieveReferences,
    PicturesAsReferences,
    HarmonizeVideo,
    LoadClip,
    SaveLook,
]


class Raiha(ComfyExtension):
    async def on_load(self) -> None:
        register_folders()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)


async def comfy_entrypoint() -> Raiha:
    """What ComfyUI asks for the pack's nodes."""
    return Raiha()
