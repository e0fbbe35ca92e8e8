"""What each published network makes of a picture with weights by formula: golden/published.safetensors.

    python tests/golden/make_published.py [NAME ...]

Run it only after `tests/tools/parity.py` has found parity with the authors' code. With names, the
answers of the others stay.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from raiha_core.convert import convert_state  # noqa: E402
from tests.network_cases import PUBLISHED  # noqa: E402
from tests.published_weights import picture, rendered, state  # noqa: E402

FILE = ROOT / "tests/golden/published.safetensors"
EVERY = 8  # rows and columns of the picture that are kept


@torch.no_grad()
def answer(name: str) -> Tensor:
    """The picture at 256 pixels as the authors' own code gives it, thinned out: (1, 3, 32, 32)."""
    image, mask = picture()
    network = convert_state(state(name), "weights by formula", name)[1]
    return rendered(network, image, mask)[..., ::EVERY, ::EVERY].contiguous()


if __name__ == "__main__":
    names = sys.argv[1:] or PUBLISHED
    kept = load_file(FILE) if sys.argv[1:] else {}
    torch.set_num_threads(1)
    save_file(kept | {name: answer(name) for name in names}, FILE)
