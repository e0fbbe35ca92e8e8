"""Cut-outs pasted into held-out photos, to look at: nobody knows their truth, so no score is made of them.

Shapes: N pastes at side S.
"""

from pathlib import Path

import torch
from torch import Tensor

from raiha_core.images import list_photos, read_picture
from raiha_core.render import paste, shrink

from ..data.batch import Batch
from ..data.feed import Feed

CUTOUTS = Path(__file__).resolve().parents[3] / "assets" / "scenes" / "cutouts"
CUTOUT_SHARE = 0.45  # of the side, that the longer edge of a cut-out takes


def paste_cutouts(feed: Feed, count: int, folder: Path = CUTOUTS) -> Batch | None:
    """The first `count` cut-outs (RGBA) of a folder on photos of the feed; None where it holds none.

    The batch's target is the photo below, for the sheet only.
    """
    paths = [path for path in list_photos(folder) if path.suffix == ".png"][:count]
    if not paths:
        return None
    size = feed.experiment.size
    rows = [feed.rows[i % len(feed.rows)] for i in range(len(paths))]
    chosen = rows if feed.truth_of is None else [feed.truth_of[row] for row in rows]
    photos = shrink(feed.cache.gather(chosen)[0].float() / 255, (size, size))
    composites, masks = [], []
    for photo, path in zip(photos, paths, strict=True):
        composite, mask = _paste(photo[None], path)
        composites.append(composite)
        masks.append(mask)
    batch = Batch(
        composite=torch.cat(composites),
        mask=torch.cat(masks),
        target=photos,
        ids=tuple(path.name for path in paths),
    )
    return batch.to(feed.device)


def _paste(photo: Tensor, path: Path) -> tuple[Tensor, Tensor]:
    """A cut-out in the middle, a little below: composite (1, 3, S, S), mask (1, 1, S, S)."""
    picture = read_picture(path)
    size = photo.shape[-1]
    height, width = picture.pixels.shape[-2:]
    factor = CUTOUT_SHARE * size / max(height, width)
    small = (max(1, round(height * factor)), max(1, round(width * factor)))
    pixels = shrink(picture.pixels, small)
    alpha = shrink(torch.ones(1, 1, height, width) if picture.alpha is None else picture.alpha, small)
    top, left = round(0.6 * (size - small[0])), (size - small[1]) // 2
    place = (..., slice(top, top + small[0]), slice(left, left + small[1]))
    layer, mask = photo.clone(), torch.zeros_like(photo[:, :1])
    layer[place], mask[place] = pixels, alpha
    return paste(photo, layer, mask), mask
