"""Ours on photos with masks alone: composites are made by recolouring. The recipe of the shipped weights.

Command: accelerate launch train/train.py train/configs/plus_small_data.py --data PHOTOS --illuminants LIGHTS
Hours: not measured as a whole; 320,000 pictures
Expected: not measured
"""

from experiment import Experiment, Optimisation, ReferenceShares

from raiha_core.data.augment import CropConfig
from raiha_core.data.synthesis import SynthesisConfig
from raiha_core.losses import LossConfig
from raiha_core.models.plus import PlusConfig

EXPERIMENT = Experiment(
    name="plus_small_data",
    preset="raiha-plus",
    network=PlusConfig(size=128),
    source="synthesis",
    size=128,
    packed=160,
    batch=16,
    micro_batch=16,
    steps=20_000,
    optimisation=Optimisation(
        optimizer="adamw", rate=1e-3, weight_decay=1e-2, schedule="cosine", warmup_steps=200
    ),
    loss=LossConfig(kind="root", harm=0.1),
    # Few, because a reference made from the truth teaches more trust than a retrieved one deserves.
    references=ReferenceShares(none=0.85, retrieved=0, augmented=0.15, per_batch=True),
    encoder="lite0",
    synthesis=SynthesisConfig(),
    crop=CropConfig(smallest=0.6),
    region_share=0.35,
    validate_every=2000,
    sample_every=2000,
    save_every=500,
)
