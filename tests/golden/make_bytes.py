"""What the project answers today, to the byte: tests/golden/bytes.json and bytes.safetensors.

    python tests/golden/make_bytes.py

Run it only when answers are meant to change, and say in the commit which and why. Whole answers are kept as
digests, which hold for one torch version, thread count and processor; elsewhere a sample of the numbers is
compared.
"""

import hashlib
import json
import platform
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from raiha_core.features.encoders import build_encoder  # noqa: E402
from raiha_core.gallery.build import build  # noqa: E402
from raiha_core.gallery.store import open_gallery  # noqa: E402
from raiha_core.harmonizer import load_harmonizer  # noqa: E402
from raiha_core.images import read_mask, read_picture  # noqa: E402
from raiha_core.pipeline import harmonize  # noqa: E402
from raiha_core.retrieval.search import references, search  # noqa: E402
from tests.golden.make_networks import cases, numbers  # noqa: E402
from tests.network_cases import OWN  # noqa: E402

SAMPLE = 400  # numbers kept of each answer
MODELS = ("statistics", "raiha-plus")
COMPOSITES = ("grapefruit", "truck")
LOOSE = 0.45  # content threshold: below lite0's own, so that several shipped photos qualify


def place() -> str:
    """Where digests hold: torch, thread count, and the processor, whose vector units choose the kernels."""
    names = [
        line.split(":", 1)[1].strip()
        for line in (Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ())
        if line.startswith("model name")
    ]
    processor = names[0] if names else platform.processor() or platform.machine()
    kernels = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, {processor}, {kernels}"


def sample(values: Tensor) -> Tensor:
    """Numbers from all over a tensor, float32."""
    flat = values.flatten()
    return flat[:: max(1, len(flat) // SAMPLE)].float().contiguous()


def digest(values: Tensor) -> str:
    data = values.contiguous().cpu().numpy().tobytes()
    return hashlib.sha256(f"{values.dtype} {tuple(values.shape)}".encode() + data).hexdigest()


@torch.no_grad()
def network_answers() -> dict[str, Tensor]:
    """Every preset with weights by formula."""
    return {
        f"network/{key}/{part}": value
        for name in OWN
        for key, case in cases(name).items()
        for part, value in numbers(*case).items()
    }


def _scene_gallery(folder: Path) -> Path:
    build(ROOT / "assets/scenes/photos", folder / "store", encoder=build_encoder("lite0"))
    return folder / "store"


def shipped_answers() -> tuple[dict[str, Tensor], dict[str, object]]:
    """The features of the shipped photos, what is found for two composites, and both models' answers."""
    tensors: dict[str, Tensor] = {}
    found: dict[str, object] = {}
    encoder = build_encoder("lite0")
    with tempfile.TemporaryDirectory() as folder:
        gallery = open_gallery(_scene_gallery(Path(folder)))
        found["photos"] = [[photo.id, photo.sha256, photo.width, photo.height] for photo in gallery.photos]
        for block in gallery.blocks(8):
            for row, content, histogram in zip(block.rows, block.content, block.histogram, strict=True):
                tensors[f"store/{gallery.photos[int(row)].id}/content"] = content
                tensors[f"store/{gallery.photos[int(row)].id}/histogram"] = histogram
        for name in COMPOSITES:
            pixels = read_picture(ROOT / f"assets/demo/{name}.png").pixels
            mask = read_mask(ROOT / f"assets/demo/{name}_mask.png")
            hits = search(gallery, pixels, mask, encoder=encoder, content_threshold=LOOSE)
            given = references(hits, encoder=encoder)
            found[f"search/{name}"] = [
                [item.id, [[m.query_patch, m.photo_patch] for m in item.content_matches]] for item in given
            ]
            for model in MODELS:
                harmonizer = load_harmonizer(model)
                tensors[f"{model}/{name}"] = harmonize(pixels, mask, (), harmonizer)
                tensors[f"{model}/{name}/references"] = harmonize(
                    pixels, mask, given, harmonizer, encoder=encoder
                )
    return tensors, found


def answers() -> tuple[dict[str, Tensor], dict[str, object]]:
    """All tensors and all plain results."""
    torch.set_num_threads(1)
    tensors, found = shipped_answers()
    return tensors | network_answers(), found


if __name__ == "__main__":
    TENSORS, FOUND = answers()
    here = Path(__file__).parent
    kept = {"place": place(), "digests": {k: digest(v) for k, v in TENSORS.items()}, "found": FOUND}
    (here / "bytes.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    save_file({key: sample(value) for key, value in TENSORS.items()}, here / "bytes.safetensors")
