"""Shipped cut-outs pasted into shipped scenes, the light of each object left wrong.

    python workflows/scenes.py        # writes assets/demo/

Each composite is an 8-bit RGB PNG with a mask of equal size, so every way of running a workflow
reads the same pixels. Sources and licences: assets/scenes/manifest.jsonl.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

ASSETS = Path(__file__).resolve().parents[1] / "assets"


@dataclass(frozen=True, kw_only=True, slots=True)
class Paste:
    name: str
    scene: str
    cutout: str
    height: float  # of the object, as a share of the scene's height
    foot: tuple[float, float]  # where the object's bottom centre stands, as shares of width and height
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)  # linear light, the wrong light it was shot under


PASTES = (
    Paste(
        name="grapefruit",
        scene="palapeli_citrus-fruits.jpg",
        cutout="palapeli_grapefruit_slice.png",
        height=0.4704,
        foot=(0.3047, 0.7663),
        gains=(0.5, 0.62, 0.95),  # dull and cold, as lit from the front and not through from behind
    ),
    Paste(
        name="tree",
        scene="lomiri_picosdeeuropa_by_Aitzol_Berasategi.jpg",
        cutout="tuxpaint_Christmas_Tree_photo.png",
        height=0.62,
        foot=(0.22, 0.86),
        gains=(1.9, 1.0, 0.55),  # as under a tungsten lamp
    ),
    Paste(
        name="pie",
        scene="skimage_coffee.jpg",
        cutout="tuxpaint_Mince_Pie.png",
        height=0.36,
        foot=(0.83, 0.98),
        gains=(0.75, 1.0, 1.6),  # as in the shade of a blue sky
    ),
    Paste(
        name="truck",
        scene="lomiri_sunset_by_Aitzol_Berasategi.jpg",
        cutout="tuxpaint_firetruck.png",
        height=0.3,
        foot=(0.42, 0.97),
    ),
)


def recolour(cutout: Image.Image, gains: tuple[float, float, float]) -> Image.Image:
    pixels = np.asarray(cutout, dtype=np.float64) / 255
    linear = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    linear[..., :3] = np.clip(linear[..., :3] * gains, 0, 1)
    pixels[..., :3] = np.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )[..., :3]
    return Image.fromarray(np.round(pixels * 255).astype(np.uint8), "RGBA")


def paste_cutout(paste: Paste) -> tuple[Image.Image, Image.Image]:
    """The composite (RGB) and its soft mask (L), at the scene's size."""
    scene = Image.open(ASSETS / "scenes" / "photos" / paste.scene).convert("RGB")
    cutout = Image.open(ASSETS / "scenes" / "cutouts" / paste.cutout).convert("RGBA")
    cutout = cutout.crop(cutout.getchannel("A").getbbox())
    height = round(scene.height * paste.height)
    size = (round(cutout.width * height / cutout.height), height)
    cutout = recolour(cutout.resize(size, Image.Resampling.LANCZOS), paste.gains)
    corner = (
        round(scene.width * paste.foot[0] - cutout.width / 2),
        round(scene.height * paste.foot[1] - height),
    )
    mask = Image.new("L", scene.size)
    mask.paste(cutout.getchannel("A"), corner)
    layer = Image.new("RGB", scene.size)
    layer.paste(cutout.convert("RGB"), corner)
    return Image.composite(layer, scene, mask), mask


def write(paste: Paste, folder: Path) -> tuple[Path, Path]:
    """NAME.png and NAME_mask.png in `folder`."""
    composite, mask = paste_cutout(paste)
    paths = folder / f"{paste.name}.png", folder / f"{paste.name}_mask.png"
    composite.save(paths[0])
    # Three equal channels: a grey PNG loses its top level in some hosts' loaders.
    Image.merge("RGB", (mask, mask, mask)).save(paths[1])
    return paths


def write_repaint(folder: Path) -> tuple[Path, Path]:
    """repaint.png and repaint_mask.png: a scene of which a region drifted, as after inpainting.

    The region is what a repaint would have given, but for 7, 3 and -5 levels that fade to a third across it.
    """
    scene = Image.open(ASSETS / "scenes" / "photos" / "lomiri_picosdeeuropa_by_Aitzol_Berasategi.jpg")
    scene = scene.convert("RGB")
    mask = Image.new("L", scene.size)
    brush = ImageDraw.Draw(mask)
    for at, radius in ((0.42, 58), (0.55, 70), (0.68, 56)):
        x, y = scene.width * at, scene.height * 0.25
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    mask = mask.filter(ImageFilter.BoxBlur(1.5))
    share = np.asarray(mask, dtype=np.float64)[..., None] / 255
    fade = np.linspace(1.4, 0.2, scene.width)[None, :, None]
    pixels = np.asarray(scene, dtype=np.float64) + share * fade * np.array([7.0, 3.0, -5.0])
    paths = folder / "repaint.png", folder / "repaint_mask.png"
    Image.fromarray(np.round(pixels.clip(0, 255)).astype(np.uint8)).save(paths[0])
    Image.merge("RGB", (mask, mask, mask)).save(paths[1])
    return paths


def write_clip(folder: Path) -> tuple[Path, Path]:
    """pan.mp4 and pan_mask.mp4: a pan over the tree's composite, with grain that differs by frame."""
    import av

    paths = folder / "pan.mp4", folder / "pan_mask.mp4"
    noise = np.random.default_rng(0)
    composite, mask = (
        part.convert("RGB") for part in paste_cutout(next(p for p in PASTES if p.name == "tree"))
    )
    width, height, top = 384, 288, 70
    for path, picture, quality, grain in zip(paths, (composite, mask), (26, 20), (2.0, 0.0), strict=True):
        whole = np.asarray(picture, dtype=np.float64)
        with av.open(str(path), "w") as file:
            stream = file.add_stream("libx264", rate=12, options={"crf": str(quality), "preset": "slow"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.thread_count = 1
            for place in range(24):
                left = round(place / 23 * 40)
                seen = whole[top : top + height, left : left + width]
                seen = seen + grain * noise.standard_normal((height, width, 1))
                shown = av.VideoFrame.from_ndarray(seen.round().clip(0, 255).astype(np.uint8), format="rgb24")
                file.mux(stream.encode(shown))
            file.mux(stream.encode(None))
    return paths


if __name__ == "__main__":
    (ASSETS / "demo").mkdir(exist_ok=True)
    for entry in PASTES:
        write(entry, ASSETS / "demo")
    write_repaint(ASSETS / "demo")
    write_clip(ASSETS / "demo")
