"""The main job on shipped pictures, from a folder of photos to a harmonized picture, with the reasons.

    python workflows/demo.py --out demo_output

Builds a gallery from the shipped photos, pastes a shipped cut-out whose light is wrong into a shipped
scene, retrieves references for it, harmonizes it, and writes one sheet. Then the same picture once more
through a ComfyUI workflow, headless. Prints what each stage took.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenes import ASSETS, PASTES, Paste, write

from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.build import build
from raiha_core.gallery.store import open_gallery
from raiha_core.harmonizer import DEFAULT_MODEL, load_harmonizer
from raiha_core.images import read_mask, read_picture, write_picture
from raiha_core.pipeline import harmonize_with_beliefs
from raiha_core.retrieval.search import references, search
from raiha_core.sheet import captions, matches_sheet

HERE = Path(__file__).resolve().parent
WORKFLOW = HERE / "api" / "harmonize_with_gallery.json"


@contextmanager
def stage(name: str, times: dict[str, float]) -> Iterator[None]:
    print(f"{name:<42}", end="", flush=True)
    started = time.perf_counter()
    yield
    times[name] = time.perf_counter() - started
    print(f"{times[name]:6.1f} s")


def run_demo(paste: Paste, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    times: dict[str, float] = {}
    with stage("load the encoder (embedded, no download)", times):
        encoder = build_encoder("lite0")
    with stage("build a gallery of the shipped photos", times):
        report = build(ASSETS / "scenes" / "photos", out / "gallery", encoder=encoder)
        gallery = open_gallery(out / "gallery")
    if report.bad:
        raise ValueError(f"shipped photos could not be read: {report.bad}")
    with stage("paste a cut-out whose light is wrong", times):
        composite_file, mask_file = write(paste, out)
        composite, mask = read_picture(composite_file).pixels, read_mask(mask_file)
    with stage(f"retrieve references among {len(gallery)} photos", times):
        # The scene itself is in the gallery; it would be its own best reference.
        found = search(gallery, composite, mask, encoder=encoder, exclude_ids=[paste.scene])
        guides = references(found)
    with stage(f"harmonize with '{DEFAULT_MODEL}'", times):
        result = harmonize_with_beliefs(composite, mask, guides, load_harmonizer(DEFAULT_MODEL))
    with stage("write the result and the sheet", times):
        write_picture(out / "result.png", result.image)
        sheet = matches_sheet(
            composite,
            mask,
            guides,
            grid=found.grid,
            title="Raiha: a pasted object, its references, and the harmonized picture",
            subtitle=f"{found.qualified} of {found.considered} photos qualify; features {found.spec.name}; "
            f"harmonizer '{DEFAULT_MODEL}'",
            captions=captions(found, result.beliefs[0]),
            result=result.image,
        )
        write_picture(out / "sheet.png", sheet)
    with stage("the same by a ComfyUI workflow, headless", times):
        call = [sys.executable, str(HERE / "run.py"), str(WORKFLOW), "--out", str(out / "workflow")]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"the workflow failed: {done.stderr.strip()}")
    print(f"{'all of it':<42}{sum(times.values()):6.1f} s\n")
    print(f"references: {', '.join(guide.id for guide in guides) or 'none: ' + '; '.join(found.notes)}")
    print(f"sheet:      {out / 'sheet.png'}\nresult:     {out / 'result.png'}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Build a gallery, retrieve, harmonize, and draw why.",
        epilog="example: python workflows/demo.py --out demo_output",
    )
    parser.add_argument("--out", type=Path, default=Path("demo_output"))
    parser.add_argument("--scene", choices=[paste.name for paste in PASTES], default=PASTES[0].name)
    arguments = parser.parse_args()
    try:
        run_demo(next(p for p in PASTES if p.name == arguments.scene), arguments.out)
    except KeyboardInterrupt:
        print("\ndemo: interrupted; the gallery goes on where it was next time", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
