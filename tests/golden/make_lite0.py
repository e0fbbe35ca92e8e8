"""Makes lite0.safetensors: what the embedded encoder gave when its constants were fixed.

Run only when the feature space is meant to change (then every gallery must be rebuilt):
python tests/golden/make_lite0.py
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from raiha_core.features.encoders import build_encoder, lite0_network
from raiha_core.features.weights import lite0_path, read_state
from raiha_core.images import read_picture

HERE = Path(__file__).parent
PHOTO = HERE.parents[1] / "assets" / "scenes" / "photos" / "skimage_coffee.jpg"
PATCHES = list(range(3, 144, 7))  # of 12 x 12, all over the grid


@torch.no_grad()
def classify(normalised: Tensor) -> Tensor:
    """The network's map, then the classifier beside its weights: (B, 3, s, s) -> (B, 1000) logits."""
    state = read_state(lite0_path())
    x = F.conv2d(lite0_network()(normalised), state["_conv_head.weight"])
    norm = [state[f"_bn1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    x = F.relu6(F.batch_norm(x, *norm, eps=1e-3)).mean((2, 3))
    return F.linear(x, state["_fc.weight"], state["_fc.bias"])


@torch.no_grad()
def main() -> None:
    encoder = build_encoder("lite0")
    pixels = read_picture(PHOTO).pixels
    part = (pixels[..., 60:220, 120:330] * 255).round().to(torch.uint8)
    features = encoder.encode(part.float() / 255)
    whole = encoder.encode(pixels)
    logits = classify(part[..., :160, :192].float() / 127.5 - 1)[0]
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
