"""Run the authors' own code on weights by formula and keep what it says: tests/golden/public.safetensors.

    python tests/golden/make_public.py HDNET_CHECKOUT RAIHA_CHECKOUT

Checkouts of chenhaoxing/HDNet (dcabe92) and SSRheart/Raiha (64da293), both MIT: run, not copied.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from tests.public_weights import G, inputs, state  # noqa: E402


def networks(checkout: Path) -> ModuleType:
    """Their models/networks.py, without the rest of their package."""
    sys.modules["imp"] = ModuleType("imp")  # imported there and unused; gone since Python 3.12
    for name in [n for n in sys.modules if n == "models" or n.startswith("models.")]:
        del sys.modules[name]
    package = ModuleType("models")
    package.__path__ = [str(checkout / "models")]
    sys.modules["models"] = package
    return importlib.import_module("models.networks")


def main(hdnet: Path, raiha: Path) -> None:
    x = inputs()
    image, reference = 2 * x["image"] - 1, 2 * x["reference"] - 1
    found = {}
    with torch.no_grad():
        theirs = networks(hdnet)
        network = theirs.HDNet(3, 3, G, norm_layer=theirs.RAIN)
        network.load_state_dict(state("hdnet"), strict=True)
        found["hdnet"] = network(image, x["mask"])
        theirs = networks(raiha)
        network = theirs.RHNet(3, 3, G, att=1)
        network.load_state_dict(state("raiha"), strict=True)
        found["raiha"] = network(image, x["mask"], x["content"])[0]
        wide = torch.cat((image, reference), 3), torch.cat((x["mask"], torch.zeros_like(x["mask"])), 3)
        content = torch.cat((x["content"], x["reference_content"]), 3)
        found["raiha_reference"] = network(*wide, content)[0][..., : image.shape[3]].contiguous()
    save_file(found, ROOT / "tests/golden/public.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
