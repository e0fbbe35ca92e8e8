"""The authors' code and ours, side by side, with the same weights by formula: the largest difference.

    python tests/tools/parity.py pctnet-cnn CHECKOUT

CHECKOUT is a clone of the repository that `raiha models NAME` names, at the commit it names; whatever the
authors import must be importable (kornia for Harmonizer). Nothing of theirs is kept here. What is compared
is the picture at 256 pixels, inside the mask, 0..1, on one thread: below 1e-5 is parity.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from raiha_core.convert import convert_state  # noqa: E402
from raiha_core.features.tv_ops import ensure_torchvision  # noqa: E402
from raiha_core.models.presets import SCORERS  # noqa: E402
from raiha_core.models.style_code import StyleCode, distance  # noqa: E402
from tests.published_weights import picture, rendered, state  # noqa: E402

Weights = dict[str, Tensor]
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def pctnet(config: str) -> Callable[[Weights, Tensor, Tensor], Tensor]:
    def run(weights: Weights, image: Tensor, mask: Tensor) -> Tensor:
        from iharm.mconfigs import BMCONFIGS

        settings = BMCONFIGS[config]["params"]
        network = BMCONFIGS[config]["model"](**settings).eval()
        network.load_state_dict(weights, strict=True)
        mean, deviation = (
            torch.tensor(settings["input_normalization"][key])[:, None, None] for key in ("mean", "std")
        )
        normal = (image - mean) / deviation
        return network(normal, normal, mask, mask)["images"] * deviation + mean

    return run


def harmonizer(weights: Weights, image: Tensor, mask: Tensor) -> Tensor:
    from src.model import Harmonizer

    network = Harmonizer().eval()
    network.load_state_dict(weights, strict=True)
    arguments = network.predict_arguments(image, mask)
    print("arguments:", *(round(float(a), 4) for a in arguments))
    return network.restore_image(image, mask, arguments)[-1]


def iharm(config: str) -> Callable[[Weights, Tensor, Tensor], Tensor]:
    def run(weights: Weights, image: Tensor, mask: Tensor) -> Tensor:
        import numpy as np

        if not hasattr(np, "int"):  # they were written for a numpy that had it
            np.int = int  # type: ignore[attr-defined]
        from iharm.mconfigs import ALL_MCONFIGS

        network = ALL_MCONFIGS[config]["model"](**ALL_MCONFIGS[config]["params"]).eval()
        network.load_state_dict(weights, strict=True)
        mean, deviation = (torch.tensor(numbers)[:, None, None] for numbers in IMAGENET)
        hard = (mask > 100 / 255).float()
        said = (network((image - mean) / deviation, hard)["images"] * deviation + mean).clamp(0, 1)
        return image + mask * (said - image)  # theirs is the whole picture; ours stays inside the mask

    return run


def rainnet(weights: Weights, image: Tensor, mask: Tensor) -> Tensor:
    from models.networks import RAIN, RainNet

    network = RainNet(input_nc=3, output_nc=3, ngf=64, norm_layer=RAIN, use_dropout=True).eval()
    network.load_state_dict(weights, strict=True)
    said = (network(2 * image - 1, (mask > 0.5).float()) + 1) / 2
    return image + mask * (said - image)


def s2crnet(weights: Weights, image: Tensor, mask: Tensor) -> Tensor:
    from models import S2CRNet
    from torchvision.models import squeezenet1_1

    network = S2CRNet(squeezenet1_1(), stack=True).eval()
    network.load_state_dict(weights, strict=True)
    close = close_by(image, mask)
    label = torch.tensor([[1.0, 0, 0, 0, 0]])
    said = network(image, torch.cat((image, mask), 1), close, label, True)[0][0]
    return image + mask * (said.clamp(0, 1) - image)


def s2crnet_vgg(weights: Weights, image: Tensor, mask: Tensor) -> Tensor:
    sys.modules["trilinear"] = trilinear()  # imported and not used
    from scripts.models.fusion_vgg import CreateNetFusion_vgg
    from torchvision.models import vgg16

    network = CreateNetFusion_vgg(vgg16(), stack=True).eval()
    network.load_state_dict(weights, strict=True)
    both = torch.cat((image, mask), 1)
    said = network(image, both, close_by(image, mask), torch.tensor([[1.0, 0, 0, 0, 0]]), True)[0][0]
    return image + mask * (said.clamp(0, 1) - image)


def close_by(image: Tensor, mask: Tensor) -> Tensor:
    """The box around the object at 256 pixels, as S2CRNet's data sets cut it: (1, 4, 256, 256)."""
    rows, columns = (mask[0, 0].amax(axis).nonzero().flatten() for axis in (1, 0))
    box = torch.cat((image, mask), 1)[..., rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return torch.nn.functional.interpolate(box, size=(256, 256), mode="bilinear", antialias=True)


def dccf(config: str) -> Callable[[Weights, Tensor, Tensor], Tensor]:
    def run(weights: Weights, image: Tensor, mask: Tensor) -> Tensor:
        from iharm.mconfigs import BMCONFIGS

        network = BMCONFIGS[config]["model"](**BMCONFIGS[config]["params"]).eval()
        network.load_state_dict(weights, strict=True)
        mean, deviation = (torch.tensor(numbers)[:, None, None] for numbers in IMAGENET)
        normal = (image - mean) / deviation
        return network(normal, normal, mask, mask, test=True)["images"] * deviation + mean

    return run


def trilinear() -> ModuleType:
    """In the place of CDTNet's extension for CUDA: its kernel's formula, for one picture on the CPU."""

    def forward(lut, x, output, dim, shift, step, *sizes):  # type: ignore[no-untyped-def]
        cell = torch.floor(x[0] / step).long()  # (3, H, W) of red, green, blue
        share = torch.fmod(x[0], step) / step
        total = torch.zeros_like(output[0])
        for corner in product((0, 1), repeat=3):
            at = [cell[c] + corner[c] for c in range(3)]
            weights = [share[c] if corner[c] else 1 - share[c] for c in range(3)]
            total += lut[:, at[2], at[1], at[0]] * (weights[0] * weights[1] * weights[2])
        output[0] = total
        return 1

    module = ModuleType("trilinear")
    module.forward = forward  # type: ignore[attr-defined]
    return module


def cdtnet(base: int, sim: bool = False) -> Callable[[Weights, Tensor, Tensor], Tensor]:
    def run(weights: Weights, image: Tensor, mask: Tensor) -> Tensor:
        sys.modules["trilinear"] = trilinear()
        os.chdir(sys.path[0])  # their constructor reads a file from where it is run
        from iharm.model.base import CDTNet

        network = CDTNet(4, batchnorm_from=2, attend_from=2, attention_mid_k=0.5, image_fusion=True, ch=32)
        network.load_state_dict(weights, strict=True)
        network.eval()  # which gives nothing back
        network.set_resolution(*image.shape[-2:], base, False)
        network.is_sim = sim
        return network(image, mask)["images"]

    return run


def bargainnet(weights: Weights, image: Tensor, mask: Tensor) -> Tensor:
    from models.bargainnet_model import StyleEncoder, UnetGenerator

    parts = {
        part: {k.removeprefix(f"{part}."): v for k, v in weights.items() if k.startswith(f"{part}.")}
        for part in ("G", "E")
    }
    generator = UnetGenerator(20, 3, 8, 64, torch.nn.BatchNorm2d, True, use_attention=True).eval()
    encoder = StyleEncoder(16).eval()
    generator.load_state_dict(parts["G"], strict=True)
    encoder.load_state_dict(parts["E"], strict=True)
    hard = (mask > 0.5).float()
    code = encoder(2 * image - 1, 1 - hard)
    print("code:", *(round(float(c), 3) for c in code.flatten()[:4]))
    inputs = torch.cat((2 * image - 1, hard, code.expand(1, 16, 256, 256)), 1)
    said = (generator(inputs) + 1) / 2
    return image + mask * (said - image)  # theirs is the whole picture


def intrinsic(weights: Weights, image: Tensor, mask: Tensor) -> Tensor:
    from types import SimpleNamespace

    from models.harmony_networks import BaseLTGDGenerator

    options = SimpleNamespace(
        device="cpu", n_downsample=2, input_nc=3, output_nc=3, ngf=64, activ="lrelu", pad_type="reflect",
        light_mlp_dim=8, illumination_n_res=4, inharmonyfree_norm="ln", ifm_n_res=0,
        inharmonyfree_embed_layers=2,
    )  # fmt: skip
    network = BaseLTGDGenerator(options).eval()
    network.load_state_dict(weights, strict=True)
    hard = (mask > 0.5).float()
    coarse = [torch.nn.functional.interpolate(hard, size=[side, side]) for side in (64, 32)]
    said = network(torch.cat((image, hard), 1), *coarse)[0]
    return image + mask * (said - image)


def bargainnet_distance(weights: Weights, image: Tensor, mask: Tensor) -> Tensor:
    """As `predict_harmony_score.py` measures it: the soft masks as they are."""
    from models.bargainnet_model import StyleEncoder

    encoder = StyleEncoder(16).eval()
    encoder.load_state_dict(weights, strict=True)
    codes = [encoder(2 * image - 1, region) for region in (1 - mask, mask)]
    return (codes[0] - codes[1]).square().sum().sqrt()


def harmony_transformer(kind: str) -> Callable[[Weights, Tensor, Tensor], Tensor]:
    def run(weights: Weights, image: Tensor, mask: Tensor) -> Tensor:
        import models.harmony_networks as theirs
        from models.ht_model import HTModel
        from util import util

        settings = Namespace(
            **dict.fromkeys(("tr_r_enc_head", "tr_i_dec_head", "tr_l_dec_head", "n_downsample"), 2),
            **dict.fromkeys(("tr_r_enc_layers", "tr_i_dec_layers", "tr_l_dec_layers"), 9),
            **dict.fromkeys(("input_nc", "output_nc"), 3),
            **dict.fromkeys(("ksize", "stride", "patch_pos_nc"), 4),
            **{"dim_forward": 2, "tr_act": "gelu", "ngf": 64, "activ": "lrelu", "pad_type": "reflect"},
            **{"device": "cpu", "light_element": 27, "light_use_mask": True, "light_with_tre": False},
            **{"patch_size": 8, "crop_size": 256},
        )
        network = getattr(theirs, f"{kind}Generator")(settings).eval()
        network.load_state_dict(weights, strict=True)
        hard = (mask > 0.5).float()
        both = torch.cat((image, hard), 1)
        if kind == "HT":
            place = HTModel.PatchPositionEmbeddingSine(None, settings)
            said = network(both, pixel_pos=place.flatten(1).T[:, None])
        else:
            pixels, patches = (
                make(settings).flatten(1).T[:, None]
                for make in (util.PositionEmbeddingSine, util.PatchPositionEmbeddingSine)
            )
            dark = image * (1 - hard)
            said = network(both, dark, pixel_pos=pixels, patch_pos=patches, mask=hard)[0]
        return image + mask * (said.clamp(0, 1) - image)

    return run


THEIRS: dict[str, Callable[[Weights, Tensor, Tensor], Tensor]] = {
    "pctnet-cnn": pctnet("CNN_pct"),
    "pctnet-vit": pctnet("ViT_pct"),
    "harmonizer": harmonizer,
    "issam256": iharm("improved_ssam256"),
    "idih256": iharm("improved_dih256"),
    "idih256-deeplab": iharm("deeplab_r34_idih256"),
    "idih256-hrnet18s": iharm("hrnet18s_idih256"),
    "rainnet": rainnet,
    "s2crnet": s2crnet,
    "dccf-issam": dccf("dccf_improved_ssam256_HR_clamp"),
    "dccf-idih": dccf("dccf_improved_dih256_HR_clamp"),
    "cdtnet": cdtnet(256),
    "cdtnet-512": cdtnet(512),
    "cdtnet-sim": cdtnet(256, sim=True),
    "bargainnet": bargainnet,
    "intrinsic": intrinsic,
    "ht": harmony_transformer("HT"),
    "dht": harmony_transformer("DHT"),
    "s2crnet-vgg": s2crnet_vgg,
}


@torch.no_grad()
def difference(name: str) -> float:
    """Largest absolute difference of the 0..1 pictures where the mask is above 0; of a scorer's distances."""
    weights, (image, mask) = state(name), picture()
    if name in SCORERS:
        said, network = bargainnet_distance(weights, image, mask), convert_state(weights, "formula")[1]
        assert isinstance(network, StyleCode)
        print(f"distance {float(said):.4f}")
        return float((distance(network.style, image, mask)[0] - said).abs())
    said = THEIRS[name](weights, image, mask).clamp(0, 1)
    network = convert_state(weights, "weights by formula", name)[1]
    ours = rendered(network, image, mask)
    inside = mask.expand_as(ours) > 0
    print(f"changed by {float((ours - image)[inside].abs().mean()):.3f} in the mean")
    return float((ours - said)[inside].abs().max())


if __name__ == "__main__":
    name, checkout = sys.argv[1:]
    torch.set_num_threads(1)
    ensure_torchvision()
    sys.path.insert(0, str(Path(checkout).resolve()))
    print(f"{name}: {difference(name):.2e}")
