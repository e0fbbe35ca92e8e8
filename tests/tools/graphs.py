"""The graphs of the workflows that ship: what is connected to what, and where it stands on the canvas.

`export_workflows.py` turns them into workflows/*.json, workflows/api/*.json and workflows/*.jpg.
"""

from dataclasses import dataclass
from typing import Any

GALLERY_NOTE = """### A gallery of your own
The pack's example photos are enough to see how it works. Choose **(folder below)** in *Build Gallery* and
type a folder of yours: thousands of photos of many things under many lights. A threshold of 0 takes the
gallery's own value. *exclude* names the scene's own photo, which would be its own best reference."""

PLAIN_NOTE = """### Your own picture
Choose a picture of yours in both loaders: the composite, and its mask, white on the pasted object.
Without references the light around the object is all that guides."""


PASTE_NOTE = """### Paste and harmonize
1. Choose your background and your cut-out in the two loaders.
2. **Run** once: both appear in *Paste Object*.
3. Drag the object there; the wheel or a corner scales it, the round handle turns it.
4. **Run** again.
5. The result stands under the slider of *Compare*, and in ComfyUI's output folder.

Too much or too little? *strength* in *Harmonize*; *light*, *colour* and *contrast* apart are among its
advanced widgets."""

REFERENCE_NOTE = """### A picture as reference
Any picture that shows how the object should look. Harmonize follows it as far as it believes it; to say it
yourself, set **reference_strength** of *Harmonize* (an advanced widget) between 0 and 1."""

REPAINT_NOTE = """### A repainted region
After inpainting the region often differs by a few levels, and its border shows as a seam. **seam** in *Load
Harmonizer* takes that away. Choose your picture and **the mask by which the repaint was blended in**, soft
edge included; if you only have the mask that was painted, *grow* and *feather* in *Harmonize* bring it there.
Where texture leaves the difference uncertain, nothing is done."""

CLIP_NOTE = """### A clip
Choose your video, and a video of the same length that is white on the object; or connect *Load Mask* to
*mask* instead, for an object that stands still. **smooth** follows the light without flicker, and cuts are
found. However long the clip is, it needs no more memory. Sound and times stay."""

COMPARE_NOTE = """### Compare harmonizers
On the left of the slider ours, on the right ComfyUI's own *Color Transfer*, which matches the whole cut-out
to the whole background before it is pasted. Place the object in the first *Paste Object*, and give the second
the same x, y and scale. To look at another harmonizer, connect *Load Harmonizer* to *Harmonize*."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    nodes: dict[str, dict[str, Any]]  # API format
    places: dict[str, tuple[int, int]]  # of the nodes' upper left corners
    note: str
    note_at: tuple[int, int]


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def _picture(name: str) -> dict[str, dict[str, Any]]:
    return {
        "1": _node("Raiha_LoadPicture", image=f"example: demo/{name}.png", mask_means="automatic"),
        "2": _node("Raiha_LoadMask", image=f"example: demo/{name}_mask.png", mask_means="automatic", label=0),
    }


WHEEL = {  # widgets of Harmonize that stay as they are
    "invert_mask": False,
    "light": 1.0,
    "colour": 1.0,
    "contrast": 1.0,
    "reference_strength": -1.0,
    "limit": 100.0,
    "keep_hue": False,
    "grow": 0,
    "feather": 0,
    "context": -1.0,
}


def _save(image: str, source: str) -> dict[str, Any]:
    return _node(
        "Raiha_SavePicture",
        images=[image, 0],
        filename_prefix="raiha/harmonized",
        bit_depth="8",
        source=[source, 2],
        keep_workflow=True,
    )


def _searches(own_photo: str) -> dict[str, dict[str, Any]]:
    """Content first, keeping all; then light among those. Nodes 3 to 6."""
    shared = {
        "composite": ["1", 0],
        "mask": ["2", 0],
        "gallery": ["4", 0],
        "encoder": ["3", 0],
        "content_threshold": 0.0,
        "order": "best first",
        "seed": 0,
        "invert_mask": False,
    }
    return {
        "3": _node("Raiha_LoadEncoder", encoder="lite0", weights="(its own)"),
        "4": _node(
            "Raiha_BuildGallery",
            encoder=["3", 0],
            photos="(example photos)",
            name="examples",
            folder="",
        ),
        "5": _node("Raiha_RetrieveByContent", **shared, top_k=0, exclude=own_photo),
        "6": _node(
            "Raiha_RetrieveByIllumination",
            **shared,
            top_k=4,
            appearance_threshold=0.0,
            exclude="",
            within=["5", 1],
        ),
    }


_BRIDGE = {
    "1": _node(
        "Raiha_LoadPicture",
        image="example: scenes/photos/palapeli_cincinnati-bridge.jpg",
        mask_means="automatic",
    ),
    "2": _node(
        "Raiha_LoadPicture",
        image="example: scenes/cutouts/tuxpaint_Christmas_Tree_photo.png",
        mask_means="automatic",
    ),
}


def _pasted(image: str) -> dict[str, Any]:
    """The cut-out of `_BRIDGE`, its colours from a node, upon its background."""
    return _node(
        "Raiha_PasteObject",
        background=["1", 0],
        object=[image, 0],
        mask=["2", 1],
        x=-90.0,
        y=-30.0,
        scale=0.9,
        rotation=0.0,
        flip="none",
        anchor="bottom",
        feather=0,
        mask_means="auto",
        clean_edges=True,
    )


BLUEPRINT = "Paste and Harmonize (Raiha)"  # subgraphs/*.json: nodes 3 and 4 of the first template as one
BLUEPRINT_WIDGETS = [
    *(("3", name) for name in ("x", "y", "scale", "rotation", "flip")),
    *(("4", name) for name in ("strength", "light", "colour", "contrast")),
]

_LEFT = {"1": (0, 0), "2": (0, 500), "3": (340, 0), "4": (340, 180), "5": (700, 0), "6": (1080, 0)}

GRAPHS = {
    "01_paste_and_harmonize": Graph(
        nodes={
            **_BRIDGE,
            "3": _pasted("2"),
            "4": _node("Raiha_Harmonize", composite=["3", 0], mask=["3", 1], strength=1.0, **WHEEL),
            "5": _save("4", "1"),
            "6": _node("Raiha_Compare", before=["3", 0], after=["4", 0]),
        },
        places={"1": (0, 0), "2": (0, 500), "3": (360, 0), "4": (780, 0), "5": (1140, 0), "6": (1140, 500)},
        note=PASTE_NOTE,
        note_at=(780, 620),
    ),
    "compare_harmonizers": Graph(
        nodes={
            **_BRIDGE,
            "3": _pasted("2"),
            "4": _node("Raiha_Harmonize", composite=["3", 0], mask=["3", 1], strength=1.0, **WHEEL),
            "5": _node(
                "ColorTransfer",
                image_target=["2", 0],
                image_ref=["1", 0],
                method="reinhard_lab",
                source_stats="per_frame",
                strength=1.0,
            ),
            "6": _pasted("5"),
            "7": _node("Raiha_Compare", before=["4", 0], after=["6", 0]),
            "8": _save("4", "1"),
        },
        places={
            "1": (0, 0),
            "2": (0, 500),
            "3": (360, 0),
            "4": (780, 0),
            "5": (360, 560),
            "6": (780, 560),
            "7": (1180, 0),
            "8": (1180, 480),
        },
        note=COMPARE_NOTE,
        note_at=(1620, 0),
    ),
    "repainted_region": Graph(
        nodes={
            **_picture("repaint"),
            "3": _node("Raiha_LoadHarmonizer", harmonizer="seam"),
            "4": _node(
                "Raiha_Harmonize",
                composite=["1", 0],
                mask=["2", 0],
                harmonizer=["3", 0],
                strength=1.0,
                **WHEEL,
            ),
            "5": _save("4", "1"),
            "6": _node("Raiha_Compare", before=["1", 0], after=["4", 0]),
        },
        places={"1": (0, 0), "2": (0, 500), "3": (340, 0), "4": (680, 0), "5": (1040, 0), "6": (1040, 500)},
        note=REPAINT_NOTE,
        note_at=(340, 420),
    ),
    "harmonize_a_clip": Graph(
        nodes={
            "1": _node("Raiha_LoadClip", file="example: demo/pan.mp4"),
            "2": _node("Raiha_LoadClip", file="example: demo/pan_mask.mp4"),
            "3": _node(
                "Raiha_HarmonizeVideo",
                video=["1", 0],
                mask_video=["2", 0],
                strength=1.0,
                frames="smooth",
                lossless=False,
                **WHEEL,
            ),
            "4": _node(
                "SaveVideo",
                video=["3", 0],
                filename_prefix="raiha/clip",
                **{"format": "auto", "format.codec": "auto"},
            ),
        },
        places={"1": (0, 0), "2": (0, 220), "3": (360, 0), "4": (720, 0)},
        note=CLIP_NOTE,
        note_at=(0, 440),
    ),
    "harmonize": Graph(
        nodes={
            **_picture("truck"),
            "3": _node("Raiha_LoadHarmonizer", harmonizer="raiha-plus"),
            "4": _node(
                "Raiha_Harmonize",
                composite=["1", 0],
                mask=["2", 0],
                harmonizer=["3", 0],
                strength=1.0,
                **WHEEL,
            ),
            "5": _save("4", "1"),
            "6": _node("Raiha_Compare", before=["1", 0], after=["4", 0]),
        },
        places={"1": (0, 0), "2": (0, 500), "3": (340, 0), "4": (680, 0), "5": (1040, 0), "6": (1040, 500)},
        note=PLAIN_NOTE,
        note_at=(340, 420),
    ),
    "harmonize_with_gallery": Graph(
        nodes={
            **_picture("grapefruit"),
            "3": _node("Raiha_BuildGallery", photos="(example photos)", name="examples", folder=""),
            "4": _node(
                "Raiha_RetrieveReferences",
                gallery=["3", 0],
                composite=["1", 0],
                mask=["2", 0],
                by="likeness",
                top_k=4,
                exclude="palapeli_citrus-fruits.jpg",
                invert_mask=False,
            ),
            "5": _node(
                "Raiha_Harmonize",
                composite=["1", 0],
                mask=["2", 0],
                strength=1.0,
                references=["4", 0],
                **WHEEL,
            ),
            "6": _save("5", "1"),
            "7": _node("Raiha_Compare", before=["1", 0], after=["5", 0]),
            "8": _node("PreviewAny", source=["4", 2]),
        },
        places={
            "1": (0, 0),
            "2": (0, 500),
            "3": (340, 0),
            "4": (680, 0),
            "5": (1020, 0),
            "6": (1360, 0),
            "7": (1360, 500),
            "8": (700, 520),
        },
        note=GALLERY_NOTE,
        note_at=(340, 480),
    ),
    "picture_as_reference": Graph(
        nodes={
            **_picture("grapefruit"),
            "3": _node(
                "Raiha_LoadPicture",
                image="example: scenes/photos/palapeli_citrus-fruits_detail.jpg",
                mask_means="automatic",
            ),
            "4": _node("Raiha_PicturesAsReferences", images=["3", 0]),
            "5": _node(
                "Raiha_Harmonize",
                composite=["1", 0],
                mask=["2", 0],
                strength=1.0,
                references=["4", 0],
                **WHEEL,
            ),
            "6": _save("5", "1"),
            "7": _node("Raiha_Compare", before=["1", 0], after=["5", 0]),
        },
        places={
            "1": (0, 0),
            "2": (0, 500),
            "3": (340, 0),
            "4": (680, 0),
            "5": (1020, 0),
            "6": (1360, 0),
            "7": (1360, 500),
        },
        note=REFERENCE_NOTE,
        note_at=(340, 480),
    ),
    "explain_retrieval": Graph(
        nodes={
            **_picture("grapefruit"),
            **_searches("palapeli_citrus-fruits.jpg"),
            "7": _node(
                "Raiha_ReferencesToImages",
                references=["6", 0],
                composite=["1", 0],
                mask=["2", 0],
                size=512,
                frames=True,
                invert_mask=False,
            ),
            "8": _node(
                "Raiha_SavePicture",
                images=["7", 1],
                filename_prefix="raiha/references",
                bit_depth="8",
                keep_workflow=True,
            ),
            "9": _node("PreviewImage", images=["7", 0]),
            "10": _node("PreviewAny", source=["7", 2]),
        },
        places={**_LEFT, "7": (1460, 0), "8": (1800, 0), "9": (1800, 440), "10": (1460, 440)},
        note=GALLERY_NOTE,
        note_at=(340, 480),
    ),
}
