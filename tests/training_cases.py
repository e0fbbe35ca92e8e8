"""A few small photos and experiments that train in seconds; for the tests of the training harness."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIZE = 32

HEADER = """
from raiha_train.experiment import Experiment, Optimisation, ReferenceShares
from raiha_train.losses.contrastive import ContrastConfig
from raiha_train.data.augment import CropConfig
from raiha_train.data.synthesis import SynthesisConfig
from raiha_train.losses.terms import LossConfig
from raiha_core.models.hdnet import UNetConfig
from raiha_core.models.plus import PlusConfig
"""
UNET = 'preset="hdnet", network=UNetConfig(width=2, size=32)'
PLUS = (
    'preset="raiha-plus", network=PlusConfig(size=32, frozen_stages=6, width=8, hidden=16, max_references=0)'
)
COMMON = """
    source="synthesis", size=32, packed=40, batch=4, micro_batch=2, steps=8,
    optimisation=Optimisation(rate=1e-3, schedule="cosine", warmup_steps=2, ema=0.9, clip=0.5),
    synthesis=SynthesisConfig(illuminant=0), crop=CropConfig(smallest=0.7),
    validation_share=0.3, validation_pictures=4, validate_every=4, sample_every=100, save_every=3,
"""


def write_config(folder: Path, name: str, network: str = UNET, **changes: object) -> Path:
    """A config file of a tiny experiment; `changes` are fields of it, as source text where strings."""
    fields = "".join(f"    {key}={value},\n" for key, value in changes.items())
    common = "\n".join(part for part in COMMON.replace("\n    ", "\n").split("\n") if part.strip())
    kept = [entry for entry in split_fields(common) if entry.split("=", 1)[0].strip() not in changes]
    text = f'{HEADER}\nEXPERIMENT = Experiment(\n    name="{name}", {network},\n'
    path = folder / f"{name}.py"
    path.write_text(text + "".join(f"    {entry},\n" for entry in kept) + fields + ")\n", encoding="utf-8")
    return path


def split_fields(text: str) -> list[str]:
    """'a=1, b=F(c=2, d=3)' -> ['a=1', 'b=F(c=2, d=3)']."""
    fields, depth, current = [], 0, ""
    for letter in text.replace("\n", " "):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            fields.append(current.strip())
            current = ""
        else:
            current += letter
    return [*fields, current.strip()] if current.strip() else fields


def write_photos(folder: Path, count: int = 9) -> Path:
    """Smooth photos of several sizes; every second one has a mask, listed in manifest.jsonl."""
    rng = np.random.default_rng(5)
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(count):
        width, height = 48 + 4 * (i % 3), 36 + 2 * i
        coarse = rng.integers(20, 236, (5, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / "images" / f"p{i}.png")
        row = {"image": f"images/p{i}.png"}
        if i % 2:
            mask = np.zeros((height, width), np.uint8)
            mask[8:24, 10:30] = 255
            Image.fromarray(mask).save(folder / "images" / f"m{i}.png")
            row["mask"] = f"images/m{i}.png"
        rows.append(row)
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def arguments(config: Path, photos: Path, output: Path, *more: str) -> list[str]:
    """The command line of a run, with its cache beside the photos."""
    fixed = ["--cache", str(photos / "cache"), "--tracker", "none"]
    return [str(config), "--data", str(photos), "--output", str(output), *fixed, *more]


def final_weights(output: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    newest = max((output / "states").glob("step_*"))
    return load_file(newest / "network.safetensors")
