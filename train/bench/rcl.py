"""What style fusion and the region-wise contrast are worth: four networks, equal budget, several seeds.

Example: python train/bench/rcl.py --data GATHERED --illuminants CCHARMONY --score TRIPLES --out runs/rcl

The base is hdnet at a quarter of its width, without and with external style fusion and the contrastive
loss, all on the same made pairs in the same order. Each run is train.py's own, scored by evaluate.py over
TRIPLES (protocol A); a finished run is not done again. Small on purpose: it says whether the ideas help a
small network that trains for minutes, not what they give at the papers' scale.
"""

import csv
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np

from raiha_train.command import command_parser
from raiha_train.evaluation.intervals import bootstrap_mean

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = '''"""One of four: see bench/rcl.py."""
from raiha_train.experiment import Experiment, Optimisation
from raiha_train.losses.contrastive import ContrastConfig
from raiha_train.data.augment import CropConfig
from raiha_train.losses.terms import LossConfig
from raiha_core.models.hdnet import UNetConfig

EXPERIMENT = Experiment(
    name="{name}",
    preset="{preset}",
    network=UNetConfig(width=8, style_fusion={fusion}, size={size}),
    source="synthesis",
    size={size},
    packed=160,
    batch=16,
    micro_batch=16,
    steps={steps},
    seed={seed},
    optimisation=Optimisation(rate=1e-3, schedule="cosine", warmup_steps=20, ema=0.99),
    loss=LossConfig(contrast={contrast}),
    contrast=ContrastConfig(channels=(8, 32, 64, 64, 64), erosion=1),
    crop=CropConfig(smallest=0.6),
    region_share=0.05,
    validate_every={steps},
    sample_every={steps},
    save_every={steps},
)
'''
VARIANTS = {
    "base": (False, 0.0),
    "style fusion": (True, 0.0),
    "contrast": (False, 0.01),
    "both": (True, 0.01),
}


def scores(folder: Path) -> np.ndarray:
    """PSNR of every picture of a run of evaluate.py that was recoloured, in the order of their names."""
    with (folder / "per_image.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # a composite of make_held_out.py that is right already has no decibels to compare
    found = {row["id"]: float(row["psnr"]) for row in rows if not row["id"].startswith("untouched-")}
    return np.array([found[name] for name in sorted(found)])


def run_script(command: list[str]) -> None:
    subprocess.run([sys.executable, *command], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--illuminants", type=Path, required=True)
    parser.add_argument("--score", type=Path, required=True, help="composite/, mask/, real/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    for folder in ("data", "illuminants", "score", "out"):  # the runs start at the project's root
        setattr(arguments, folder, getattr(arguments, folder).resolve())
    (arguments.out / "configs").mkdir(parents=True, exist_ok=True)
    found: dict[str, list[np.ndarray]] = {name: [] for name in VARIANTS}
    for seed, (variant, (fusion, contrast)) in product(arguments.seeds, VARIANTS.items()):
        name = f"{variant.replace(' ', '_')}_{arguments.size}px_{arguments.steps}_{seed}"
        config = arguments.out / "configs" / f"{name}.py"
        config.write_text(
            CONFIG.format(
                name=name,
                preset="rcl" if fusion else "hdnet",
                fusion=fusion,
                contrast=contrast,
                size=arguments.size,
                steps=arguments.steps,
                seed=seed,
            ),
            encoding="utf-8",
        )
        weights = arguments.out / name / "last.safetensors"
        if not weights.is_file():
            command = ["train/train.py", str(config), "--output", str(arguments.out / name)]
            command += ["--data", str(arguments.data), "--illuminants", str(arguments.illuminants)]
            run_script([*command, "--cache", str(arguments.out / "cache"), "--tracker", "none", "--resume"])
        scored = arguments.out / f"{name}_scores"
        if not (scored / "per_image.csv").is_file():
            command = ["train/evaluate.py", "--data", str(arguments.score), "--model", str(weights)]
            run_script([*command, "--protocol", "A", "--out", str(scored), "--quiet", "--no-plots"])
        found[variant].append(scores(scored))
        print(f"{variant}, seed {seed}: {found[variant][-1].mean():.2f} dB", file=sys.stderr)
    count = found["base"][0].size
    print(f"{arguments.steps} steps of 16 at {arguments.size} px, {count} pictures, protocol A\n")
    print("| network | PSNR per seed | mean | minus base, paired over pictures |\n|---|---|---|---|")
    base = np.mean(found["base"], 0)
    for variant, runs in found.items():
        each = ", ".join(f"{r.mean():.2f}" for r in runs)
        gain = bootstrap_mean(np.mean(runs, 0) - base)
        paired = "" if variant == "base" else f"{gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
        print(f"| {variant} | {each} | {np.mean(runs):.2f} | {paired} |")


if __name__ == "__main__":
    main()
