"""Writes the README's pictures from shipped files: python tests/tools/make_readme_pictures.py"""

import tempfile
from pathlib import Path

from raiha_core.drawing import Panel, compose, fit, to_pil
from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.build import build
from raiha_core.gallery.store import open_gallery
from raiha_core.images import read_mask, read_picture
from raiha_core.pipeline import harmonize_with_beliefs
from raiha_core.retrieval.search import references, search
from raiha_core.sheet import captions, matches_sheet

ASSETS = Path(__file__).resolve().parents[2] / "assets"
MODEL = "raiha-plus"
SIDE = 330
OWN_SCENE = {"grapefruit": "palapeli_citrus-fruits.jpg"}


def main() -> None:
    encoder = build_encoder("lite0")
    columns = []
    with tempfile.TemporaryDirectory() as folder:
        build(ASSETS / "scenes" / "photos", Path(folder) / "gallery", encoder=encoder)
        gallery = open_gallery(Path(folder) / "gallery")
        for name in ("pie", "truck", "grapefruit"):
            composite = read_picture(ASSETS / "demo" / f"{name}.png").pixels
            mask = read_mask(ASSETS / "demo" / f"{name}_mask.png")
            own = [OWN_SCENE[name]] if name in OWN_SCENE else None
            found = search(gallery, composite, mask, encoder=encoder, exclude_ids=own) if own else None
            guides = references(found) if found else ()
            done = harmonize_with_beliefs(composite, mask, guides, MODEL)
            result = done.image
            how = f"harmonized with {len(guides)} reference" if guides else "harmonized without a reference"
            pictures = [fit(to_pil(picture), SIDE, SIDE) for picture in (composite, result)]
            columns.append([Panel(pictures[0], "Composite"), Panel(pictures[1], "Result", (how,))])
            if found:
                sheet = matches_sheet(
                    composite,
                    mask,
                    guides,
                    grid=found.grid,
                    title="Why this reference",
                    subtitle=f"{found.qualified} of {found.considered} photos qualify",
                    captions=captions(found, done.beliefs[0]),
                    result=result,
                )
                to_pil(sheet).save(ASSETS / "readme_sheet.jpg", quality=90)
    title = "Pasted objects, before and after"
    compose(columns, title, f"model '{MODEL}'", ()).save(ASSETS / "readme.jpg", quality=88)


if __name__ == "__main__":
    main()
