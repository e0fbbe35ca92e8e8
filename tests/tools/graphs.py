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


_LEFT = {"1": (0, 0), "2": (0, 420), "3": (340, 0), "4": (340, 180), "5": (700, 0), "6": (1080, 0)}

GRAPHS = {
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
                invert_mask=False,
            ),
            "5": _node(
                "Raiha_SavePicture",
                images=["4", 0],
                filename_prefix="raiha/harmonized",
                bit_depth="8",
                source=["1", 2],
            ),
            "6": _node("Raiha_Compare", before=["1", 0], after=["4", 0]),
        },
        places={"1": (0, 0), "2": (0, 420), "3": (340, 0), "4": (680, 0), "5": (1020, 0), "6": (1020, 440)},
        note=PLAIN_NOTE,
        note_at=(340, 420),
    ),
    "harmonize_with_gallery": Graph(
        nodes={
            **_picture("grapefruit"),
            **_searches("palapeli_citrus-fruits.jpg"),
            "7": _node("Raiha_LoadHarmonizer", harmonizer="raiha-plus"),
            "8": _node(
                "Raiha_Harmonize",
                composite=["1", 0],
                mask=["2", 0],
                harmonizer=["7", 0],
                strength=1.0,
                references=["6", 0],
                invert_mask=False,
            ),
            "9": _node(
                "Raiha_SavePicture",
                images=["8", 0],
                filename_prefix="raiha/harmonized",
                bit_depth="8",
                source=["1", 2],
            ),
            "10": _node("Raiha_Compare", before=["1", 0], after=["8", 0]),
            "11": _node("PreviewAny", source=["6", 2]),
        },
        places={
            **_LEFT,
            "7": (1080, 480),
            "8": (1460, 0),
            "9": (1800, 0),
            "10": (1800, 440),
            "11": (1460, 440),
        },
        note=GALLERY_NOTE,
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
                "Raiha_SavePicture", images=["7", 1], filename_prefix="raiha/references", bit_depth="8"
            ),
            "9": _node("PreviewImage", images=["7", 0]),
            "10": _node("PreviewAny", source=["7", 2]),
        },
        places={**_LEFT, "7": (1460, 0), "8": (1800, 0), "9": (1800, 440), "10": (1460, 440)},
        note=GALLERY_NOTE,
        note_at=(340, 480),
    ),
}
