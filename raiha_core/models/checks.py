"""What a network may be handed, checked before any work is done.

Shapes: B composites, K references, D content numbers, h x w the network's size.
"""

import torch
from torch import Tensor

from ..features.references import ReferenceBatch
from ..features.spec import FeatureSpec, require_same_space
from ..masks import check_pair, repeated
from ..value_reading import may_read


def check_inputs(
    image: Tensor, mask: Tensor, references: ReferenceBatch | None, *, name: str, max_references: int
) -> tuple[Tensor, Tensor]:
    """The pair with equal batch sizes.

    Values (NaN, range, a mask without foreground) are looked at outside compiled and meta runs, and where
    nobody vouches for them (`value_reading.unread`): they need the numbers on the host.
    Raises: ValueError naming the shapes, values or counts that disagree.
    """
    looking = may_read(image)
    if looking:
        image, mask = check_pair(image, mask)
        empty = (~(mask.flatten(1) > 0).any(1)).nonzero().flatten().tolist()
        if empty:
            raise ValueError(f"the masks of images {empty} have no foreground: there is nothing to harmonize")
    else:
        batch = max(image.shape[0], mask.shape[0])
        image, mask = repeated(image, batch), repeated(mask, batch)
    if references is not None:
        _check_references(references, len(image), name, max_references, looking)
    return image, mask


def _check_references(
    references: ReferenceBatch, batch: int, name: str, max_references: int, looking: bool
) -> None:
    rows, most = references.present.shape
    if rows != batch:
        raise ValueError(f"{rows} rows of references for {batch} composites")
    if most > max_references:
        trained = f"at most {max_references}" if max_references else "none"
        raise ValueError(f"{most} references per composite, but '{name}' was built for {trained}")
    if looking and not torch.isfinite(references.images).all():
        raise ValueError("the references hold NaN or infinite values")


def check_content(
    content: Tensor | None,
    references: ReferenceBatch | None,
    batch: int,
    *,
    name: str,
    dim: int | None,
    spec: FeatureSpec | None,
) -> None:
    """Content features as a network with guidance needs them.

    Args: dim: the D it was built for, None where any will do; spec: the space it was trained in, if known.
    Raises: ValueError naming both sides where features are missing, of another size or of another space.
    """
    if content is None:
        raise ValueError(f"'{name}' is guided by content features, and none of the composite are given")
    if content.ndim != 4 or len(content) not in (1, batch):
        raise ValueError(f"content must be ({batch}, D, g, g), got {tuple(content.shape)}")
    if dim is not None and content.shape[1] != dim:
        raise ValueError(
            f"the composite's content has {content.shape[1]} numbers per patch, "
            f"but '{name}' was built for {dim}"
        )
    if references is None:
        return
    if references.content is None:
        raise ValueError(f"'{name}' is guided by content features, and the references have none")
    if spec is not None and references.spec is not None:
        require_same_space(spec, references.spec, f"the model '{name}'", "the references")
    if references.content.shape[2] != content.shape[1]:
        raise ValueError(
            f"the composite's content has {content.shape[1]} numbers per patch, "
            f"the references' {references.content.shape[2]}: they come from two encoders"
        )


def drop_absent(references: ReferenceBatch | None) -> ReferenceBatch | None:
    """None where no composite of the batch has a reference: zero references are exactly no references."""
    if references is None or references.present.shape[1] == 0:
        return None
    if may_read(references.present) and not references.present.any():
        return None
    return references
