"""A tiny iHarmony4 made from smooth noise, in the published layout; for the tests of everything around it."""

from pathlib import Path

import numpy as np
from PIL import Image

# subset, image id, masks, variants, size (width, height): names as the published ones are built
PHOTOS = (
    ("HAdobe5k", "a0041", 1, 2, (72, 48)),
    ("HAdobe5k", "a3630", 1, 1, (48, 64)),
    ("HCOCO", "c17089", 2, 1, (64, 56)),
    ("HFlickr", "f160", 1, 1, (56, 40)),
    ("Hday2night", "d18959-20120615-084228", 1, 2, (60, 44)),
)
GALLERY = (  # training reals, also the references of the list
    ("HAdobe5k", "a0100"),
    ("HCOCO", "c437938"),
    ("HFlickr", "f161"),  # a sibling of f160
    ("Hday2night", "d18959-20120620-120000"),  # the same camera
    ("Hday2night", "d2000-20110101-101010"),
)


def photo(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Smooth colours, (H, W, 3) uint8."""
    small = np.random.default_rng(seed).integers(30, 226, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))


def make(root: Path) -> Path:
    """Write the data set. Returns: `root`; `refs.jsonl` in it is a reference list."""
    names, lines, train = [], [], []
    for seed, (subset, image, masks, variants, size) in enumerate(PHOTOS):
        real = photo(seed, size)
        save(root / subset / "real_images" / f"{image}.jpg", real)
        stored = np.asarray(Image.open(root / subset / "real_images" / f"{image}.jpg"))
        for m in range(1, masks + 1):
            mask = np.zeros((size[1], size[0]), dtype=np.uint8)
            mask[10 * m : 10 * m + 12, 8:40] = 255
            if subset == "HCOCO":
                mask[10 * m - 1, 8:40] = 90  # a grey edge, as only HCOCO has
            save(root / subset / "masks" / f"{image}_{m}.png", mask)
            for v in range(1, variants + 1):
                shift = np.array([24 * v, -18, 12 * v])
                changed = np.clip(stored * 0.8 + shift, 0, 255)
                weight = mask[..., None] / 255
                composite = np.round(stored + weight * (changed - stored)).astype(np.uint8)
                name = f"{subset}/composite_images/{image}_{m}_{v}.jpg"
                save(root / name, composite)
                names.append(name)
    for seed, (subset, image) in enumerate(GALLERY):
        save(root / subset / "real_images" / f"{image}.jpg", photo(100 + seed, (64, 48)))
        train.append(f"{subset}/composite_images/{image}_1_1.jpg")
    (root / "IHD_test.txt").write_text("".join(f"{n}\n" for n in names), encoding="utf-8")
    (root / "IHD_train.txt").write_text("".join(f"{n}\n" for n in train), encoding="utf-8")
    pool = [f"{subset}/real_images/{image}.jpg" for subset, image in GALLERY]
    for n, name in enumerate(names[:-1]):
        refs = ", ".join(f'"{pool[(n + k) % len(pool)]}"' for k in range(n % 4 + 1))
        stem = name.replace("composite_images", "masks").rsplit("_", 1)[0]
        lines.append(f'{{"input": "{name}", "mask": "{stem}.png", "refs": [{refs}]}}\n')
    (root / "refs.jsonl").write_text("".join(lines), encoding="utf-8")
    return root
