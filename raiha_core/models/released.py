"""How the authors' released code shows a reference: as pixels to the right of the composite.

Source: arXiv:2412.13916's public code; the paper itself says tokens (`reference_attention.py`).
Shapes: B images, D content numbers, h x w the network's size.
"""

import torch
from torch import Tensor

from ..features.references import ReferenceBatch
from ..render import Prediction
from ..resizing import bilinear


def beside(
    image: Tensor, mask: Tensor, content: Tensor | None, references: ReferenceBatch
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Composite and its one reference side by side: image, mask and content of twice the width.

    The mask is zero on the right. All statistics of the network then run over both halves, as in the
    source. Every row must have its reference; `references.images` is (B, 1, 3, h', w').
    """
    reference = bilinear(
        references.images[:, 0].to(image), (image.shape[-2], image.shape[-1]), antialias=True
    )
    wide_content = content
    if content is not None and references.content is not None:
        right = bilinear(references.content[:, 0].to(content), (content.shape[-2], content.shape[-1]))
        wide_content = torch.cat((content.expand(len(image), -1, -1, -1), right), 3)
    return (
        torch.cat((image, reference.clamp(0, 1)), 3),
        torch.cat((mask, torch.zeros_like(mask)), 3),
        wide_content,
    )


def left_half(prediction: Prediction, width: int) -> Prediction:
    """The part of a prediction that belongs to the composite; one number per picture stays as it is."""
    dense, affine = prediction.dense, prediction.affine
    return Prediction(
        dense=None if dense is None else dense[..., :width],
        affine=affine if affine is None or affine.shape[-1] == 1 else affine[..., :width],
    )


def select(references: ReferenceBatch, rows: Tensor) -> ReferenceBatch:
    """Some rows of a batch of references; `rows` is (B,) bool."""
    return ReferenceBatch(
        images=references.images[rows],
        present=references.present[rows],
        content=None if references.content is None else references.content[rows],
        spec=references.spec,
    )


def merge(with_reference: Prediction, without: Prediction, rows: Tensor) -> Prediction:
    """Two predictions back in the order of the batch; `rows` is (B,) bool, true for the first."""

    def joined(first: Tensor | None, second: Tensor | None) -> Tensor | None:
        if first is None or second is None:
            return None
        whole = first.new_empty(len(rows), *first.shape[1:])
        whole[rows], whole[~rows] = first, second.to(first)
        return whole

    return Prediction(
        dense=joined(with_reference.dense, without.dense),
        affine=joined(with_reference.affine, without.affine),
    )
