"""Writes docs/models.md from the presets themselves: python tests/tools/make_models_docs.py"""

from pathlib import Path

from raiha_core.models.cost import macs, on_meta, parameters
from raiha_core.models.presets import PRESETS, Preset

PATH = Path(__file__).resolve().parents[2] / "docs" / "models.md"
HEAD = """# The networks

Made from the presets by `tests/tools/make_models_docs.py`; a test compares. `raiha models` prints the same,
with what is on your disk. How to add one: [extending.md](extending.md).

"""
TAIL = """
- **Two presets have no weights** and are always here: `statistics`, colour statistics of a ring around the
  object, and `seam`, for regions that continue their surroundings, as after inpainting: it takes away what
  jumps across the region's border, smoothly inside, and does nothing where texture leaves that uncertain
  (`train/bench/seam.py`). Give it the mask by which the repaint was blended in.
- **Weights.** `raiha fetch NAME` brings the authors' file from their repository, verifies it by git's digest
  before it is read, converts it, and says its licence. Where the table says "by hand", their file lies on a
  cloud drive: `raiha convert FILE.pth -o NAME.safetensors` opens it; BargainNet's two files are given as the
  folder that holds both. In ComfyUI a `.pth` in `models/raiha` is offered as it is.
- **Scores are the authors', or recomputed from their per-image figures; none was measured with this code**,
  and figures under different protocols are not comparable. The networks were compared with the authors' own
  code with weights by formula (`tests/tools/parity.py`), to 1e-5 of the 0..1 picture at 256 pixels. **None
  of them has met its real file in our tests**: these files cannot be had where the tests run. Parity is no
  score. Intrinsic's public code and weights are a later network than the one whose scores the papers print,
  as its row says.
- **BargainNet's encoder alone** can be fetched (`raiha fetch bargainnet-encoder`): it harmonizes nothing and
  is a second opinion on how much seems wrong ([score.md](score.md)).
- **Commercial use** is what the licence of the weights' repository says; what the networks were trained on
  (iHarmony4 holds photos for research) is another question, and yours to ask.
- **Full size.** What a network says at 256 pixels is rendered at the photo's own size, strip by strip, inside
  the mask only; outside, the input comes back to the bit. PCT-Net's numbers are enlarged bilinearly from the
  cells inside the object, so that nothing bleeds in at the rim; its authors enlarge bicubically from all
  cells, and its CNN blends by its attention alone where we keep the mask's soft edge. `raiha harmonize
  --exact` does as they do. With weights by formula, whose maps are rougher than trained ones, the two differ
  on a shipped photo by up to 1.7 levels in the mean inside the object (CNN) and 17 (ViT); Harmonizer's
  filters are the same both ways.
- **CDTNet's** three files hold tensors of the same names and shapes, and none says at which size its base
  works: 256 pixels (`cdtnet`, taken where nothing is said), 512 (`cdtnet-512`), or no base at all, the colour
  tables alone (`cdtnet-sim`). The authors' own files are told by their digests; of another, `raiha convert
  --as PRESET` says what it is. Its refinement looks two pixels around each, and the whole photo is refined
  strip by strip. With `--exact` the answer is the authors' at full size to 3e-6 (formula weights, a shipped
  photo); without, it differs only where the mask is soft, because the mask blends once more: by 1.6 levels in
  the mean over the object, its soft edge included (0.4 for the tables alone).
- **HT and D-HT** know 256 pixels only, so their change is enlarged and not their picture, with and without
  `--exact`. Their public code is the journal's version (TPAMI 2022); the D-HT of printed tables, 37.55 dB, is
  the network of ICCV 2021, whose files do not open here. An object that touches every 8x8 patch leaves D-HT
  no light to read: the public code gives NaN, here all patches are read.
"""


def _row(preset: Preset) -> str:
    network = on_meta(preset)
    card = preset.published
    cost = f"{parameters(network) / 1e6:.3f} | {macs(preset, 256) / 1e9:.2f}"
    if card is None:
        return f"| `{preset.name}` | {preset.about} | - | {cost} | - | - | - |"
    scores = "; ".join(f"{value:.2f} ({name})" for name, value in card.scores.items()) or "-"
    use = {True: "allowed", False: "not allowed", None: "not stated"}[card.commercial]
    how = "" if card.can_be_fetched else ", by hand"
    link = f"[{card.method}](https://github.com/{card.repository})"
    return f"| `{preset.name}` | {link} | {card.year} | {cost} | {scores} | {card.licence}{how} | {use} |"


def page() -> str:
    """The whole page."""
    heads = (
        "preset",
        "method",
        "year",
        "million parameters",
        "GMAC at 256",
        "published score",
        "licence of the weights",
        "commercial use",
    )
    lines = [f"| {' | '.join(heads)} |", "| --- | --- | ---: | ---: | ---: | --- | --- | --- |"]
    return HEAD + "\n".join([*lines, *(_row(preset) for preset in PRESETS.values())]) + "\n" + TAIL


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8", newline="\n")
