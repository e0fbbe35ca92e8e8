"""What a network costs: parameters, and multiply-adds counted on shapes alone.

Shapes: B = 1 image, K references, D content numbers, g x g content grid.
"""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..features.references import ReferenceBatch
from ..features.spec import FeatureSpec
from .network import NetworkConfig
from .presets import Preset

CONTENT_GRID = 12  # of the embedded encoder; networks that resample the content do not care
ANY_DIM = 320  # numbers per patch where a network takes any


def parameters(network: nn.Module) -> int:
    """All numbers of a network, those that are never trained included (as the public counts do)."""
    return sum(parameter.numel() for parameter in network.parameters())


def trainable(network: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def on_meta(preset: Preset, config: NetworkConfig | None = None) -> nn.Module:
    """A preset's network without memory: shapes only, in evaluation mode."""
    with torch.device("meta"):
        return preset.build(config=config, pretrained=False).to("meta").eval()


def macs(preset: Preset, size: int, references: int = 0, config: NetworkConfig | None = None) -> int:
    """Multiply-adds of convolutions and matrix products, attention included, for one size x size picture.

    Encoders of content features are not in it. Nothing is computed: the network runs on the meta device.
    """
    network = on_meta(preset, config)
    needs = (config or preset.config).requirements
    dim = needs.content_dim or ANY_DIM
    with torch.device("meta"):
        image, mask = torch.empty(1, 3, size, size), torch.empty(1, 1, size, size)
        reads = needs.content_without_references or (needs.content and references > 0)
        content = torch.empty(1, dim, CONTENT_GRID, CONTENT_GRID) if reads else None
        batch = None
        if references:
            batch = ReferenceBatch(
                images=torch.empty(1, references, 3, size, size),
                present=torch.ones(1, references, dtype=torch.bool),
                content=None if content is None else content[:, None].expand(-1, references, -1, -1, -1),
                spec=None if content is None else _SHAPE_ONLY,
            )
    # fused attention hides its products from the counter
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(image, mask, content, batch)
    return counter.get_total_flops() // 2


_SHAPE_ONLY = FeatureSpec(
    name="shapes",
    encoder="none",
    layer="none",
    input_size=CONTENT_GRID,
    grid=CONTENT_GRID,
    dim=ANY_DIM,
    weights="",
    content_threshold=1.0,
    threshold_source="none: nothing is compared",
)
