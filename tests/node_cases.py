"""Small prompts and a small host for the tests of the nodes."""

import numpy as np
from PIL import Image

from tests.golden.make_node_ids import ROOT
from workflows.run import pack

Host = pack("workflows.host").Host
PHOTOS = ("skimage_coffee", "sklearn_flower", "palapeli_citrus-fruits")


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def make_host(base):
    """A host with three small photos in input/photos, a composite and its mask in input/."""
    host = Host(base)
    folder = host.folder("input") / "photos"
    folder.mkdir()
    for name in PHOTOS:
        photo = Image.open(ROOT / "assets" / "scenes" / "photos" / f"{name}.jpg")
        photo.resize((96, 64)).save(folder / f"{name}.png")
    composite = np.asarray(Image.open(folder / "skimage_coffee.png")).copy()
    mask = np.zeros((64, 96), np.uint8)
    mask[20:44, 30:60] = 255
    composite[mask > 0] //= 2
    Image.fromarray(composite).save(host.folder("input") / "composite.png")
    Image.fromarray(mask).save(host.folder("input") / "mask.png")
    return host


PAIR = {
    "1": node("Raiha_LoadPicture", image="composite.png"),
    "2": node("Raiha_LoadMask", image="mask.png"),
}
ENCODER = {"3": node("Raiha_LoadEncoder", encoder="lite0-fast")}
HARMONIZER = {"7": node("Raiha_LoadHarmonizer", harmonizer="statistics")}


def small_gallery(name="small"):
    return node("Raiha_BuildGallery", encoder=["3", 0], photos="input: photos", name=name)


def search(kind, gallery="4", **inputs):
    return node(
        f"Raiha_RetrieveBy{kind}",
        **{"composite": ["1", 0], "mask": ["2", 0], "gallery": [gallery, 0], "encoder": ["3", 0]},
        **{"top_k": 0, "content_threshold": 0.1, "order": "best first", "seed": 0},
        **inputs,
    )


def saved(host, history, node_id):
    """Paths of the pictures that a node saved."""
    return [
        host.folder("output") / e["subfolder"] / e["filename"] for e in history.outputs[node_id]["images"]
    ]
