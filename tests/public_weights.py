"""State dicts with the key names and shapes of the authors' HDNet and Raiha files, filled by formula."""

import torch
from torch import Tensor

from tests.network_cases import lively, noise

G = 2  # width; the published files have 32
DVT = 768  # content numbers of released Raiha, fixed in its code
SIDE = 32
KINDS = ("hdnet", "raiha")


def shapes(kind: str, g: int = G) -> dict[str, tuple[int, ...]]:
    """Key -> shape, as section 4 of the reference lists them."""
    found: dict[str, tuple[int, ...]] = {"model_layer0.weight": (g, 3, 3, 3)}
    encoder = {
        1: (2, 1, 4),
        2: (4, 2, 3),
        3: (8, 4, 4),
        4: (8, 8, 3),
        5: (8, 8, 4),
        6: (8, 8, 3),
        71: (8, 8, 3),
    }
    decoder = {72: (8, 8, 3), 8: (16, 8, 3), 9: (16, 8, 4), 10: (16, 8, 3), 11: (16, 4, 4), 12: (8, 2, 3)}
    decoder[13] = (4, 1, 4)
    for level, (c_out, c_in, k) in encoder.items():
        found[f"model_layer{level}.1.weight"] = (c_out * g, c_in * g, k, k)
    for level, (c_in, c_out, k) in decoder.items():
        found[f"model_layer{level}.1.weight"] = (c_in * g, c_out * g, k, k)
    for level in decoder:
        if kind == "hdnet" or level not in (72, 8):
            for part in ("foreground_gamma", "foreground_beta", "background_gamma", "background_beta"):
                found[f"model_layer{level}norm.{part}"] = (decoder[level][1] * g,)
    for level, factor in ((11, 8), (12, 4), (13, 2)):
        c = factor * g
        found[f"model_layer{level}att.conv_kernel.1.weight"] = (4, c, 1, 1)
        found[f"model_layer{level}att.conv_kernel.1.bias"] = (4,)
        found[f"model_layer{level}att.conv_kernel.3.weight"] = (2 * c * c, 2, 1, 1)
        found[f"model_layer{level}att.conv_kernel.3.bias"] = (2 * c * c,)
        found[f"model_layer{level}att.conv_guide.weight"] = (2, c, 1, 1)
        found[f"model_layer{level}att.conv_guide.bias"] = (2,)
    found |= {"model_out.1.weight": (2 * g, 3, 3, 3), "model_out.1.bias": (3,)}
    if kind == "hdnet":
        return found | {"LD.linear.weight": (8 * g, 16 * g, 1), "LD.linear.bias": (8 * g,)}
    return found | {
        "DVTATT.K_conv.weight": (16 * g, 16 * g + DVT, 1, 1),
        "DVTATT.K_conv.bias": (16 * g,),
        "DVTATT.fuse.weight": (16 * g, 32 * g, 1, 1),
    }


def state(kind: str, g: int = G) -> dict[str, Tensor]:
    """Numbers by formula: the same in the script that asks the public code and in the test."""
    return {key: lively(shape, i) for i, (key, shape) in enumerate(sorted(shapes(kind, g).items()))}


def inputs() -> dict[str, Tensor]:
    """Two composites with masks, content, and one reference each, sRGB 0..1."""
    mask = torch.zeros(2, 1, SIDE, SIDE)
    mask[0, :, 4:20, 8:24] = 1
    mask[1, :, 9:22, 3:17] = 1
    return {
        "image": noise((2, 3, SIDE, SIDE), 1001) / 2 + 0.5,
        "mask": mask,
        "content": noise((2, DVT, SIDE // 8, SIDE // 8), 1002),
        "reference": noise((2, 3, SIDE, SIDE), 1003) / 2 + 0.5,
        "reference_content": noise((2, DVT, SIDE // 8, SIDE // 8), 1004),
    }
