"""Flicker of a harmonized object in a clip: this project's modes beside what others do, in one run.

    python train/bench/video.py PHOTO [--model raiha-plus] [--frames 48] [--side 320]
    python train/bench/video.py PHOTO --gallery FOLDER [--by likeness] [--curve FILE.csv]

From one photo four clips: still with noise, a pan, light that fades, and a cut from the pan to another scene.
The object's region is the photo's own, miscoloured alike in all frames, so the truth is known. Flicker: mean
absolute second difference of the object's mean Lab over the frames of each shot. Error: mean Lab distance of
the object's mean to the truth's. `exponential` smooths the answers' changes with a factor of 0.2. `matching`
is what artists use today: mean and deviation of Lab to those of the first frame's background, each frame by
its own statistics, or all by those of all together (KJNodes' uniform mode, re-made here). `late` is the first
frame after the cut from which on the error is within 1 of what each frame for itself has there.
With --gallery: the pan again with references out of a folder of photos, of which the photo itself is none,
searched anew for each frame or kept while they are as good; how often the set of photos changes, and how
often the whole gallery was searched.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from raiha_core import clips
from raiha_core.clips import FIRST, MEAN, MODES, PER_FRAME, SMOOTH, Look
from raiha_core.color import srgb_to_lab
from raiha_core.controls import BY_GATE, Controls
from raiha_core.features.encoders import Encoder, build_encoder
from raiha_core.gallery.memory import memory_gallery
from raiha_core.gallery.protocol import Gallery
from raiha_core.harmonizer import Harmonizer, load_harmonizer
from raiha_core.images import list_photos, read_picture
from raiha_core.pipeline import harmonize
from raiha_core.resizing import bilinear
from raiha_core.retrieval.kept import KeptReferences
from raiha_core.retrieval.request import LIKENESS
from raiha_core.retrieval.search import Candidates, search
from raiha_core.retrieval.search import references as load_references

_GAIN = (1.2, 1.0, 0.8)  # of the object, in sRGB values
EXPONENTIAL = "exponential"
MATCHING = {"matching, each frame": False, "matching, uniform": True}


def make_clip(photo: Tensor, kind: str, frames: int, side: int) -> Tensor:
    """(T, 3, side, side) of the truth."""
    generator = torch.Generator().manual_seed(7)
    wide = bilinear(photo, (side, side + frames), antialias=True).clamp(0, 1)
    made = []
    for t in range(frames):
        frame = wide[..., t : t + side] if kind in ("pan", "cut") else wide[..., :side]
        if kind == "cut" and t >= frames // 2:
            frame = (frame * torch.tensor([0.35, 0.45, 0.6])[:, None, None]).flip(
                -1
            )  # another scene, at dusk
        if kind == "fade":
            frame = frame * (1 - 0.6 * t / (frames - 1))
        made.append((frame + torch.randn(frame.shape, generator=generator) * 0.03).clamp(0, 1))
    return torch.cat(made)


def miscoloured(frame: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask > 0, (frame * torch.tensor(_GAIN)[:, None, None]).clamp(0, 1), frame)


def steadied(answers: list[Tensor], looks: list[Look], mask: Tensor, mode: str) -> list[Tensor]:
    if mode in MODES:
        wanted = clips.steady(looks, mode)
    else:
        wanted = [looks[0].change]
        for look in looks[1:]:
            wanted.append(torch.lerp(wanted[-1], look.change, 0.2))
    return [
        clips.corrected(answer, mask, look, change)
        for answer, look, change in zip(answers, looks, wanted, strict=True)
    ]


def colours(frames: list[Tensor], mask: Tensor) -> Tensor:
    """(T, 3) mean Lab of the object."""
    inside = mask[0, 0] > 0
    return torch.stack([srgb_to_lab(frame)[0][:, inside].mean(1) for frame in frames])


def matched_colours(composites: list[Tensor], mask: Tensor, uniform: bool) -> Tensor:
    """(T, 3) mean Lab of the object after colour matching to the first frame's background."""
    inside = mask[0, 0] > 0
    labs = [srgb_to_lab(frame)[0] for frame in composites]
    goal = labs[0][:, ~inside]
    objects = [lab[:, inside] for lab in labs]
    found = []
    for own in objects:
        source = torch.cat(objects, 1) if uniform else own
        gain = goal.std(1) / source.std(1)
        found.append((own.mean(1) - source.mean(1)) * gain + goal.mean(1))
    return torch.stack(found)


def flicker_of(found: Tensor, cut: int | None) -> float:
    """Mean absolute second difference within the shots of (T, 3)."""
    shots = [found] if cut is None else [found[:cut], found[cut:]]
    return torch.cat([shot.diff(n=2, dim=0).abs().flatten() for shot in shots]).mean().item()


def lateness(found: Tensor, alone: Tensor, goal: Tensor, cut: int) -> int:
    """Frames after the cut until the error is that of the frame's own answer."""
    errors, usual = ((one[cut:] - goal[cut:]).square().sum(1).sqrt() for one in (found, alone))
    far = (errors > usual + 1).nonzero().flatten()
    return int(far[-1]) + 1 if len(far) else 0


def compare_modes(photo: Tensor, model: Harmonizer, frames: int, side: int, mask: Tensor) -> None:
    print("| clip | mode | flicker | of per frame | error | of per frame | late |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for kind in ("still", "pan", "fade", "cut"):
        truth = list(make_clip(photo, kind, frames, side).split(1))
        cut = frames // 2 if kind == "cut" else None
        composites = [miscoloured(frame, mask) for frame in truth]
        answers = [harmonize(frame, mask, model=model) for frame in composites]
        looks = [clips.look_at(*pair, mask) for pair in zip(composites, answers, strict=True)]
        goal, alone = colours(truth, mask), colours(answers, mask)
        found = {"truth": goal}
        for name, uniform in MATCHING.items():
            found[name] = matched_colours(composites, mask, uniform)
        for mode in (PER_FRAME, EXPONENTIAL, FIRST, MEAN, SMOOTH):
            found[mode] = colours(steadied(answers, looks, mask, mode), mask)
        usual = flicker_of(alone, cut), (alone - goal).square().sum(1).sqrt().mean().item()
        for mode, lab in found.items():
            flicker, error = flicker_of(lab, cut), (lab - goal).square().sum(1).sqrt().mean().item()
            late = "" if cut is None else str(lateness(lab, alone, goal, cut))
            shares = f"{flicker / usual[0]:.2f} | {error:.3f} | {error / max(usual[1], 1e-9):.2f}"
            print(f"| {kind} | {mode} | {flicker:.4f} | {shares} | {late} |", flush=True)


def with_references(
    composites: list[Tensor],
    mask: Tensor,
    model: Harmonizer,
    gallery: Gallery,
    encoder: Encoder,
    arguments: argparse.Namespace,
    keep: bool,
) -> tuple[list[Tensor], int, int]:
    """Answers, how often the set of photos changed, and searches of the whole gallery."""
    kept, searches, changes, last, answers = KeptReferences(), 0, 0, None, []

    def find(picture: Tensor, region: Tensor, within: Candidates | None) -> Candidates:
        nonlocal searches
        searches += within is None
        return search(gallery, picture, region, encoder=encoder, by=arguments.by, within=within)

    for frame in composites:
        found = kept.of(frame, mask, find) if keep else find(frame, mask, None)
        rows = {item.row for item in found.items}
        changes += last is not None and rows != last
        last = rows
        references = load_references(found, encoder=encoder)
        asked = Controls(reference_strength=arguments.reference_strength)
        answers.append(harmonize(frame, mask, references, model, encoder=encoder, controls=asked))
    return answers, changes, searches


def compare_references(photo: Tensor, model: Harmonizer, arguments: argparse.Namespace, mask: Tensor) -> None:
    encoder = build_encoder("lite0-fast")
    own = arguments.photo.resolve()
    pictures = [read_picture(path).pixels for path in list_photos(arguments.gallery) if path.resolve() != own]
    gallery = memory_gallery([bilinear(p, (384, 384), antialias=True) for p in pictures], encoder)
    truth = list(make_clip(photo, "pan", arguments.frames, arguments.side).split(1))
    composites = [miscoloured(frame, mask) for frame in truth]
    curves = {"truth": colours(truth, mask)}
    print("| references | mode | flicker | error | sets changed | searches |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    alone = [harmonize(frame, mask, model=model) for frame in composites]
    rows = [("none", alone, 0, 0)]
    for name, keep in (("anew for each frame", False), ("kept", True)):
        rows.append((name, *with_references(composites, mask, model, gallery, encoder, arguments, keep)))
    for name, answers, changes, searches in rows:
        looks = [clips.look_at(*pair, mask) for pair in zip(composites, answers, strict=True)]
        for mode in (PER_FRAME, SMOOTH):
            lab = curves[f"{name}, {mode}"] = colours(steadied(answers, looks, mask, mode), mask)
            error = (lab - curves["truth"]).square().sum(1).sqrt().mean().item()
            print(
                f"| {name} | {mode} | {flicker_of(lab, None):.4f} | {error:.3f} | {changes} | {searches} |",
                flush=True,
            )
    if arguments.curve is not None:
        lines = ["frame," + ",".join(f'"{name} {part}"' for name in curves for part in "Lab")]
        for place in range(arguments.frames):
            lines.append(f"{place}," + ",".join(f"{v:.3f}" for lab in curves.values() for v in lab[place]))
        arguments.curve.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Flicker of a harmonized object over a clip.")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model", default="raiha-plus")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--gallery", type=Path, metavar="FOLDER", help="of photos, for references in a pan")
    parser.add_argument("--by", default=LIKENESS, help="how the gallery is searched (likeness)")
    parser.add_argument(
        "--reference-strength", type=float, default=BY_GATE, help="0..1 (as the gate believes)"
    )
    parser.add_argument("--curve", type=Path, metavar="FILE", help="CSV of the object's Lab in each frame")
    arguments = parser.parse_args()
    photo = read_picture(arguments.photo).pixels
    model = load_harmonizer(arguments.model)
    side = arguments.side
    mask = torch.zeros(1, 1, side, side)
    mask[..., side // 3 : 2 * side // 3, side // 3 : 2 * side // 3] = 1
    if arguments.gallery is not None:
        compare_references(photo, model, arguments, mask)
    else:
        compare_modes(photo, model, arguments.frames, side, mask)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
