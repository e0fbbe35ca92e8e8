"""Give photos without a mask that of their salient object, so that objects are recoloured and not spots.

    python train/mask_photos.py --photos GATHERED --model u2net.onnx

Writes the masks into a folder of GATHERED named after the model, and names them in its manifest.jsonl; a
killed run goes on. A photo whose object is not plain to see stays without a mask.
MODEL is U2-Net (arXiv:2005.09007) as ONNX: ImageNet's mean and deviation, first output the saliency. It is
the file u2net.onnx that the packages of `rembg` carry or fetch. OpenCV runs it; nothing is unpickled.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from raiha_core.data.pictures import decode_rgb
from raiha_core.durable import durable_path, write_text
from raiha_core.images import list_photos

from ..command import command_parser, exit_code
from ..data.opencv_resizing import opencv_resize
from ..data.photos import read_manifest

SALIENCY_SIDE = 256  # it learned at 288; 320, the usual, takes 1.6 times as long
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALLEST, LARGEST = 0.02, 0.70  # of the photo's area
# so much of the saliency must lie in the object, and so high its mean there must be
PLAIN = 0.85


class Salience:
    """U2-Net's saliency, 0..1, of a photo."""

    def __init__(self, model: Path) -> None:
        """Raises: ValueError naming a file that is no ONNX network; OSError where there is none."""
        self.model = model
        self.name = f"masks_{model.stem}_{hashlib.sha256(model.read_bytes()).hexdigest()[:8]}"
        try:
            self.network = cv2.dnn.readNetFromONNX(str(model))
        except cv2.error as error:
            raise ValueError(f"{model} is no ONNX network: {error.err}") from None
        self.output = self.network.getUnconnectedOutLayersNames()[0]

    def __call__(self, photo: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) sRGB -> (H, W). Raises: ValueError naming the model where it is not of U2-Net's kind."""
        small = opencv_resize(photo, (SALIENCY_SIDE, SALIENCY_SIDE), "area").astype(np.float32)
        normal = (small / max(small.max(), 1.0) - MEAN) / DEVIATION  # brightest is 1, as it was trained
        try:
            self.network.setInput(normal.transpose(2, 0, 1)[None].astype(np.float32))
            found = self.network.forward(self.output)
        except cv2.error as error:
            raise ValueError(
                f"{self.model} takes no picture (1, 3, {SALIENCY_SIDE}, {SALIENCY_SIDE}): {error.err}"
            ) from None
        if found.shape != (1, 1, SALIENCY_SIDE, SALIENCY_SIDE) or not np.isfinite(found).all():
            raise ValueError(
                f"{self.model} answers {found.shape}, "
                f"needed is a map (1, 1, {SALIENCY_SIDE}, {SALIENCY_SIDE})"
            )
        back = opencv_resize(found[0, 0], (photo.shape[1], photo.shape[0]), "linear")
        return np.clip(back, 0, 1)


def plain_object(salience: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """The object's mask, 0 or 255, (H, W); None where it is too small, too large or not plain to see."""
    inside = salience > 0.5
    if not SMALLEST <= inside.mean() <= LARGEST:
        return None
    if min(salience[inside].sum() / salience.sum(), salience[inside].mean()) < PLAIN:
        return None
    return (255 * inside).astype(np.uint8)


def manifest_rows(photos: Path, masks: Path) -> list[dict[str, Any]]:
    """The rows of the folder's manifest, or every photo below it, but the masks, where it has none."""
    manifest = photos / "manifest.jsonl"
    if manifest.is_file():
        return read_manifest(manifest)
    found = (path for path in list_photos(photos) if masks not in path.parents)
    return [{"image": path.relative_to(photos).as_posix()} for path in found]


def mask_all(photos: Path, salience: Salience) -> str:
    """Find the masks that are missing, name them in the manifest, and say how many there are."""
    folder = photos / salience.name
    rows = manifest_rows(photos, folder)
    folder.mkdir(exist_ok=True)
    masked = {row["image"] for row in rows if row.get("mask")}
    given = 0
    for row in tqdm(rows, unit="img", disable=not sys.stderr.isatty()):
        if row["image"] in masked:
            continue
        name = hashlib.sha256(row["image"].encode()).hexdigest()[:16]
        path, none = folder / f"{name}.png", folder / f"{name}.none"
        if not path.is_file() and not none.is_file():
            try:
                photo = decode_rgb(photos / row["image"])
            except ValueError as error:
                print(f"mask_photos: {error}, left without a mask", file=sys.stderr)
                continue
            mask = plain_object(salience(photo))
            if mask is None:
                write_text(none, "no plain object\n")
            else:
                with durable_path(path) as temporary:
                    Image.fromarray(mask).save(temporary, format="PNG")
        if path.is_file():
            row |= {"mask": f"{folder.name}/{path.name}", "mask_by": salience.model.stem}
            given += 1
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    write_text(photos / "manifest.jsonl", lines)
    without = sum(not row.get("mask") for row in rows)
    return f"{given} photos got a mask, {without} have none; {len(rows)} rows in {photos}"


def mask_folder(arguments: argparse.Namespace) -> None:
    """Give photos of a folder the masks that they lack, and print how many got one.

    Args: arguments: with `photos`, the folder, and `model`, U2-Net's ONNX file.
    Raises: ValueError where the folder is missing or the model is no such network; OSError.
    """
    if not arguments.photos.is_dir():
        raise ValueError(f"there is no folder of photos {arguments.photos}")
    print(mask_all(arguments.photos, Salience(arguments.model)))


def main(argv: list[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="a folder of gather_photos.py, or any")
    parser.add_argument("--model", type=Path, required=True, help="U2-Net as ONNX")
    arguments = parser.parse_args(argv)
    return exit_code("mask_photos", lambda: mask_folder(arguments))
