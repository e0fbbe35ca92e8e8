"""References: pictures that show how the pasted object may look under the background's light.

Shapes: B composites, K references, D content numbers, h x w patch grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..resizing import bilinear
from .patches import PatchFeatures
from .spec import FeatureSpec, require_same_space


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A pair of patches that speaks for a reference; indices are row-major on the spec's grid."""

    query_patch: int
    photo_patch: int
    content: float  # cosine of the content features
    appearance: float  # cosine of the HSV histograms


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """One reference picture of any size, and what retrieval found in it."""

    id: str
    image: Tensor  # (1, 3, H, W) sRGB 0..1
    score: float | None = None  # by which retrieval ranked it, 0..1; None: nobody searched
    features: PatchFeatures | None = None  # batch 1
    content_matches: tuple[Match, ...] = ()  # object patch <-> photo patch (eq. 3)
    illumination_matches: tuple[Match, ...] = ()  # background patch <-> photo patch (eq. 5)
    # of the photo's patches, row-major: best cosine with an object patch minus best with a background patch;
    # () where nobody compared them, or no background patch is clear of the object
    similarity_margin: tuple[float, ...] = ()
    # of every object patch, and of every background patch clear of the object, the partner most alike in
    # content, however little alike; () where nobody compared them: then the matches are all there is
    object_pairs: tuple[Match, ...] = ()
    background_pairs: tuple[Match, ...] = ()
    # of pictures given by hand: where to look in it, (1, 1, H, W) of 0..1; None: everywhere
    where: Tensor | None = None
    # and whether its most alike patches count where none reaches the encoder's threshold
    by_hand: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Belief:
    """How far a result followed one reference: shares of the way, 0..1; those of all add up to at most 1."""

    lightness: float = 0.0
    colour: float = 0.0  # Lab a and b
    contrast: float = 0.0  # the spread of lightness and colour
    reason: str = ""  # why all three are near 0, in plain words; "" where they are not

    @property
    def largest(self) -> float:
        return max(self.lightness, self.colour, self.contrast)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceBatch:
    """References as a network reads them: padded to K, absent ones marked.

    A composite with no reference has a row of False in `present`.
    """

    images: Tensor  # (B, K, 3, H, W) sRGB 0..1; zeros where absent
    present: Tensor  # (B, K) bool
    content: Tensor | None  # (B, K, D, h, w), unit length; None where no encoder is used
    spec: FeatureSpec | None  # of `content`

    def __post_init__(self) -> None:
        if self.images.ndim != 5 or self.images.shape[:2] != self.present.shape:
            raise ValueError(
                f"references {tuple(self.images.shape)} and their flags {tuple(self.present.shape)} disagree"
            )
        if (self.content is None) != (self.spec is None):
            raise ValueError("reference features and their spec come together or not at all")

    def to(self, device: torch.device | str) -> "ReferenceBatch":
        """The same references on a device; pinned memory is copied without waiting."""
        tensors = {name: getattr(self, name).to(device, non_blocking=True) for name in ("images", "present")}
        content = None if self.content is None else self.content.to(device, non_blocking=True)
        return replace(self, content=content, **tensors)


def collate(
    references: Sequence[Sequence[Reference]], size: tuple[int, int], with_features: bool
) -> ReferenceBatch | None:
    """One row of references per composite -> padded tensors at `size` (height, width).

    Returns: None where no composite has a reference.
    Raises: ValueError where features are asked for and missing, or belong to two spaces.
    """
    most = max((len(row) for row in references), default=0)
    if most == 0:
        return None
    images = torch.zeros(len(references), most, 3, *size)
    present = torch.zeros(len(references), most, dtype=torch.bool)
    content: Tensor | None = None
    spec: FeatureSpec | None = None
    for b, row in enumerate(references):
        for k, reference in enumerate(row):
            images[b, k] = bilinear(reference.image.float(), size, antialias=True)[0].clamp(0, 1)
            present[b, k] = True
            if not with_features:
                continue
            if reference.features is None:
                raise ValueError(f"reference '{reference.id}' has no features, and the model needs them")
            if spec is None or content is None:
                spec = reference.features.spec
                content = torch.zeros(len(references), most, spec.dim, spec.grid, spec.grid)
            require_same_space(spec, reference.features.spec, "the first reference", f"'{reference.id}'")
            content[b, k] = reference.features.content[0]
    return ReferenceBatch(images=images, present=present, content=content, spec=spec)
