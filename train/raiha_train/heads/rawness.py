"""How far a photo is from a retoucher's rendition: what a network fitted on FiveK would do to it.

Source: the 3D lookup tables of Zeng et al., TPAMI 2022 (arXiv:2009.14468), weights from their repository
(`pretrained_models/sRGB`, Apache-2.0); re-derived, nothing of their code is here. They were fitted on photos
that HAdobe5k's pictures come from: what uses this has to be reported without that subset too.
Shapes: B pictures of h x w.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raiha_core.color import srgb_to_lab
from raiha_core.features.weights import read_state
from raiha_core.masked_statistics import weighted_mean
from raiha_core.resizing import area_means, bilinear, in_table

RAWNESS_COUNT = 3 + 2 * 3  # the weights, and the change of Lab that is wanted, outside and inside the object
_SIDE = 256  # of the picture that the classifier reads
_SMALL = 64  # side at which the tables are looked up
_CONVOLUTIONS = (1, 4, 7, 10, 13)  # numbers of their layers; a norm follows two later, but for the last


class Retoucher(nn.Module):
    """Three weights of three lookup tables, from a picture."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: holds classifier.pth and LUTs.pth. Raises: ValueError where one is another."""
        super().__init__()
        state = read_state(folder / "classifier.pth")
        tables: Any = torch.load(folder / "LUTs.pth", map_location="cpu", weights_only=True)
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        try:
            for number in _CONVOLUTIONS:
                weight = state[f"model.{number}.weight"]
                layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, 2, 1)
                layer.load_state_dict({"weight": weight, "bias": state[f"model.{number}.bias"]})
                self.layers.append(layer)
                if number != _CONVOLUTIONS[-1]:
                    norm = nn.InstanceNorm2d(weight.shape[0], affine=True)
                    found = {part: state[f"model.{number + 2}.{part}"] for part in ("weight", "bias")}
                    norm.load_state_dict(found)
                    self.norms.append(norm)
            self.last = nn.Conv2d(128, 3, 8)
            self.last.load_state_dict({part: state[f"model.16.{part}"] for part in ("weight", "bias")})
            self.tables: Tensor
            self.register_buffer("tables", torch.stack([tables[str(i)]["LUT"] for i in range(3)]))
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"{folder} holds other weights than those of the lookup tables: {error}"
            ) from None
        self.eval().requires_grad_(False)

    def weights(self, image: Tensor) -> Tensor:
        """sRGB (B, 3, h, w), 0..1 -> (B, 3)."""
        x = bilinear(image, (_SIDE, _SIDE))
        for i, layer in enumerate(self.layers):
            x = F.leaky_relu(layer(x), 0.2)
            if i < len(self.norms):
                x = self.norms[i](x)
        return self.last(x).flatten(1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """(B, 3, h, w) sRGB 0..1, (B, 1, h, w) -> (B, RAWNESS_COUNT), Lab as units of 1/100."""
        weights = self.weights(image)
        small, inside = area_means(image, (_SMALL, _SMALL)), area_means(mask, (_SMALL, _SMALL))
        table = torch.einsum("bi,icxyz->bcxyz", weights, self.tables)  # indexed by blue, green, red
        wanted = in_table(table, (small * 2 - 1).movedim(1, -1)[:, None])[:, :, 0].clamp(0, 1)
        change = (srgb_to_lab(wanted) - srgb_to_lab(small)) / 100
        means = [weighted_mean(change, region).flatten(1) for region in (1 - inside, inside)]
        return torch.cat((weights, *means), 1)
