"""What each preset says about stored inputs, with weights by formula: tests/golden/networks.safetensors.

    python tests/golden/make_networks.py

Run it only when numbers are meant to change, and say in the commit which and why.
"""

import sys
from dataclasses import fields
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from raiha_core.models.network import Network  # noqa: E402
from tests.network_cases import OWN, content_for, contents, fill, noise, references, small  # noqa: E402

SIZE = (24, 32)
Case = tuple[Network, Tensor, Tensor, Tensor | None, object]


def cases(name: str) -> dict[str, Case]:
    """A network and its inputs, without references and, where it reads them, with two (or one)."""
    network = fill(small(name)).eval()
    image = noise((1, 3, *SIZE), 501) / 2 + 0.5
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., 6:18, 9:25] = 1
    mask[..., 6, 9:25] = 0.5
    found: dict[str, Case] = {name: (network, image, mask, content_for(network, 1), None)}
    most = min(2, network.config.requirements.max_references)
    if most:
        found[f"{name}, {most} references"] = (network, image, mask, contents(1), references(1, most, 32))
    return found


def numbers(
    network: Network, image: Tensor, mask: Tensor, content: Tensor | None, batch: object
) -> dict[str, Tensor]:
    """Everything a prediction holds, by name."""
    with torch.no_grad():
        said = network(image, mask, content, batch)
    parts = {"dense": said.dense, "affine": said.affine}
    if said.lab is not None:
        parts |= {"scale": said.lab.scale, "shift": said.lab.shift}
    if said.step is not None:
        parts |= {field.name: getattr(said.step, field.name) for field in fields(said.step)}
    return {key: value for key, value in parts.items() if isinstance(value, Tensor)}


if __name__ == "__main__":
    save_file(
        {
            f"{key}/{part}": value.contiguous()
            for name in OWN
            for key, case in cases(name).items()
            for part, value in numbers(*case).items()
        },
        ROOT / "tests/golden/networks.safetensors",
    )
