"""Give photos without a mask that of their salient object, so that objects are recoloured and not spots.

    python train/mask_photos.py --photos GATHERED --model u2net.onnx --out MASKED

Reads GATHERED/manifest.jsonl and writes MASKED/manifest.jsonl, which names the same photos (by links) and
the masks that were found; a killed run goes on. A photo whose object is not plain to see keeps no mask.
MODEL is U2-Net (arXiv:2005.09007) as ONNX: ImageNet's mean and deviation, first output the saliency. It is
the file u2net.onnx that the packages of `rembg` carry or fetch. OpenCV runs it; nothing is unpickled.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from raiha_core.data.pictures import decode_rgb
from raiha_core.durable import durable_path, write_text

SIDE = 256  # it learned at 288; 320, the usual, takes 1.6 times as long
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALLEST, LARGEST = 0.02, 0.70  # of the photo's area
PLAIN = (
    0.85  # of the saliency lies in the object, and so much is its mean there: else the object is not plain
)


class Salience:
    """U2-Net's saliency, 0..1, of a photo."""

    def __init__(self, model: Path) -> None:
        """Raises: ValueError naming a file that is no ONNX network."""
        try:
            self.network = cv2.dnn.readNetFromONNX(str(model))
        except cv2.error as error:
            raise ValueError(f"{model} is no ONNX network: {error.err}") from None
        self.output = self.network.getUnconnectedOutLayersNames()[0]

    def __call__(self, photo: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) sRGB -> (H, W). Raises: ValueError where the network is not U2-Net's kind."""
        small = cv2.resize(photo, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        normal = (small / max(small.max(), 1.0) - MEAN) / DEVIATION  # brightest is 1, as it was trained
        self.network.setInput(normal.transpose(2, 0, 1)[None].astype(np.float32))
        found = self.network.forward(self.output)
        if found.shape != (1, 1, SIDE, SIDE) or not np.isfinite(found).all():
            raise ValueError(f"the network answers {found.shape}, needed is a map (1, 1, {SIDE}, {SIDE})")
        back = cv2.resize(found[0, 0], photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.clip(back, 0, 1)


def plain_object(salience: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """The object's mask, 0 or 255, (H, W); None where it is too small, too large or not plain to see."""
    inside = salience > 0.5
    if not SMALLEST <= inside.mean() <= LARGEST:
        return None
    if min(salience[inside].sum() / salience.sum(), salience[inside].mean()) < PLAIN:
        return None
    return (255 * inside).astype(np.uint8)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder with a manifest.jsonl")
    parser.add_argument("--model", type=Path, required=True, help="U2-Net as ONNX")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    try:
        return mask_all(arguments.photos, Salience(arguments.model), arguments.out)
    except (ValueError, OSError) as problem:
        print(f"mask_photos: {problem}", file=sys.stderr)
        return 1


def mask_all(photos: Path, salience: Salience, out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    (out / "found").mkdir(exist_ok=True)
    for name in ("images", "masks"):
        if not (out / name).exists():
            os.symlink((photos / name).resolve(), out / name, target_is_directory=True)
    entries = [
        json.loads(line) for line in (photos / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    known = {entry["image"] for entry in entries if entry.get("mask")}
    given = 0
    for entry in tqdm(entries, unit="img", disable=not sys.stderr.isatty()):
        if entry["image"] in known:
            continue
        name = f"{Path(entry['image']).stem}.png"
        path, none = out / "found" / name, out / "found" / f"{name}.none"
        if not path.is_file() and not none.is_file():
            mask = plain_object(salience(decode_rgb(photos / entry["image"])))
            if mask is None:
                write_text(none, "no plain object\n")
            else:
                with durable_path(path) as temporary:
                    Image.fromarray(mask).save(temporary, format="PNG")
        if path.is_file():
            entry |= {"mask": f"found/{name}", "mask_by": "u2net"}
            given += 1
    write_text(out / "manifest.jsonl", "".join(json.dumps(e, sort_keys=True) + "\n" for e in entries))
    without = sum(not entry.get("mask") for entry in entries)
    print(f"{given} photos got a mask, {without} have none; {len(entries)} rows in {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
