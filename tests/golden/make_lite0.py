"""Makes lite0.safetensors: what the embedded encoder gave when its constants were fixed.

Run only when the feature space is meant to change (then every gallery must be rebuilt):
python tests/golden/make_lite0.py
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from raiha_core.features.encoders import build_encoder, lite0_classifier
from raiha_core.images import read_picture

HERE = Path(__file__).parent
PHOTO = HERE.parents[1] / "assets" / "scenes" / "photos" / "skimage_coffee.jpg"
PATCHES = list(range(3, 144, 7))  # of 12 x 12, all over the grid


@torch.no_grad()
def main() -> None:
    encoder = build_encoder("lite0")
    pixels = read_picture(PHOTO).pixels
    part = (pixels[..., 60:220, 120:330] * 255).round().to(torch.uint8)
    features = encoder.encode(part.float() / 255)
    whole = encoder.encode(pixels)
    logits = lite0_classifier()(part[..., :160, :192].float() / 127.5 - 1)[0]
    best = logits.topk(10)
    save_file(
        {
            "image": part,
            "content": features.content[0].flatten(1).T[PATCHES].contiguous(),
            "appearance": features.appearance[0].contiguous(),
            "photo_content": whole.content[0].flatten(1).T[PATCHES].contiguous(),
            "logits": best.values,
            "classes": best.indices,
        },
        HERE / "lite0.safetensors",
    )


if __name__ == "__main__":
    main()
