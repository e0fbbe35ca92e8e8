"""Writes docs/references.jpg from shipped files: python tests/tools/make_references_picture.py

One flower, pasted with a wrong look, beside two galleries: photos of other things, and the same with another
photo of the flower among them.
"""

from pathlib import Path

import torch
from torch import Tensor

from raiha_core.color import lab_to_srgb, srgb_to_lab
from raiha_core.drawing import Panel, compose, fit, to_pil
from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.memory import memory_gallery
from raiha_core.images import read_picture
from raiha_core.pipeline import harmonize_with_beliefs
from raiha_core.retrieval.search import references, search
from raiha_core.sheet import believed

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT / "assets" / "scenes" / "photos"
FLOWER = "sklearn_flower.jpg"
MODEL = "raiha-plus"
SIDE = 340


def flower() -> tuple[Tensor, Tensor, Tensor]:
    """The photo, the mask of its flower by colour, and the flower dark and blue as if from elsewhere."""
    photo = read_picture(PHOTOS / FLOWER).pixels
    lab = srgb_to_lab(photo)
    mask = ((lab[:, 2:3] > 8) & (lab[:, :1] > 25)).float()
    rows = torch.arange(mask.shape[-2])[:, None] < 0.82 * mask.shape[-2]  # the second flower stays
    mask = mask * rows
    mask = torch.nn.functional.avg_pool2d(mask, 9, 1, 4).gt(0.5).float()
    wrong = lab * torch.tensor([0.62, 0.45, 0.35]).view(1, 3, 1, 1)
    wrong = lab_to_srgb(wrong + torch.tensor([0.0, 4.0, -14.0]).view(1, 3, 1, 1)).clamp(0, 1)
    return photo, mask, torch.where(mask > 0, wrong, photo)


def main() -> None:
    encoder = build_encoder("lite0")
    photo, mask, composite = flower()
    others = [path for path in sorted(PHOTOS.glob("*.jpg")) if path.name != FLOWER]
    pictures = {path.name: read_picture(path).pixels for path in others}
    again = photo[..., 40:, 150:560].flip(-1)  # another view of the same flower
    columns = [
        [
            Panel(fit(to_pil(part), SIDE, SIDE), name)
            for part, name in ((composite, "Composite"), (photo, "The truth"))
        ]
    ]
    for title, some in (
        ("Photos of other things", pictures),
        ("One of the same flower", pictures | {"again": again}),
    ):
        gallery = memory_gallery(list(some.values()), encoder, ids=list(some))
        found = search(gallery, composite, mask, encoder=encoder, by="likeness", top_k=2)
        guides = references(found)
        done = harmonize_with_beliefs(composite, mask, guides, MODEL)
        panels = [Panel(fit(to_pil(done.image), SIDE, SIDE), title, ("what comes out",))]
        for guide, belief in zip(guides, done.beliefs[0], strict=True):
            lines = tuple(believed(belief))
            panels.append(Panel(fit(to_pil(guide.image), SIDE, SIDE), f"score {guide.score:.2f}", lines))
            print(title, guide.id, guide.score, lines)
        columns += [panels[:1], panels[1:]]
    compose(columns, "Two galleries, one composite", f"model '{MODEL}'", ()).save(
        ROOT / "docs" / "references.jpg", quality=85
    )


if __name__ == "__main__":
    main()
