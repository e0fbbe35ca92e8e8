"""The batch type that training and evaluation share."""

import pytest
import torch

from raiha_core.features.references import ReferenceBatch
from raiha_train.data.batch import Batch


def batch(ids, size=(6, 5)):
    b = len(ids)
    return Batch(
        composite=torch.rand(b, 3, *size),
        mask=torch.ones(b, 1, *size),
        target=torch.rand(b, 3, *size),
        ids=tuple(ids),
    )


def test_moving_takes_everything_along():
    references = ReferenceBatch(
        images=torch.rand(1, 2, 3, 4, 4),
        present=torch.tensor([[True, False]]),
        content=None,
        spec=None,
    )
    one = batch("a")
    moved = Batch(
        composite=one.composite, mask=one.mask, target=one.target, ids=one.ids, references=references
    ).to("meta")
    tensors = (moved.composite, moved.mask, moved.target, moved.references.images, moved.references.present)
    assert all(tensor.device.type == "meta" for tensor in tensors)
    assert moved.ids == ("a",)


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match="1 ids"):
        Batch(
            composite=torch.zeros(2, 3, 4, 4),
            mask=torch.zeros(2, 1, 4, 4),
            target=torch.zeros(2, 3, 4, 4),
            ids=("a",),
        )
