"""The one type in which data travels to a network in training, and bytes as tensors."""

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from raiha_core.data.pictures import Bytes
from raiha_core.features.references import ReferenceBatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """B triples of one size, sRGB 0..1, and their references."""

    composite: Tensor  # (B, 3, H, W)
    mask: Tensor  # (B, 1, H, W), 1 = pasted object
    target: Tensor  # (B, 3, H, W) the real photo
    ids: tuple[str, ...]
    references: ReferenceBatch | None = None

    def __post_init__(self) -> None:
        b, _, h, w = self.composite.shape
        if self.target.shape != (b, 3, h, w) or self.mask.shape != (b, 1, h, w) or len(self.ids) != b:
            raise ValueError(
                f"a batch of {tuple(self.composite.shape)} does not go with targets "
                f"{tuple(self.target.shape)}, masks {tuple(self.mask.shape)} and {len(self.ids)} ids"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device; pinned memory is copied without waiting."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("composite", "mask", "target")
        }
        references = self.references
        if references is not None:
            references = replace(
                references,
                images=references.images.to(device, non_blocking=True),
                present=references.present.to(device),
                content=None if references.content is None else references.content.to(device),
            )
        return replace(self, references=references, **moved)


def as_batch(pixels: Bytes) -> Tensor:
    """(H, W, 3) -> (1, 3, H, W), (H, W) -> (1, 1, H, W); uint8, sharing memory."""
    array = pixels if pixels.flags.writeable else pixels.copy()  # torch warns about read-only memory
    return rearrange(torch.from_numpy(array), "h w ... -> 1 (...) h w")
