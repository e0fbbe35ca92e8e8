"""Half a minute on the shipped photos, to see that everything works; its weights are good for nothing.

Command: accelerate launch train/train.py train/configs/smoke.py
Hours: 0.01 on two CPU cores (20 CPU seconds on one)
Expected: validation fMSE 590 at 64 px on 8 held-out photos; untouched composite 1568, untrained 678
"""

from raiha_core.models.plus import PlusConfig
from raiha_train.data.augment import CropConfig
from raiha_train.data.synthesis import SynthesisConfig
from raiha_train.experiment import Experiment, Optimisation
from raiha_train.losses.terms import LossConfig

EXPERIMENT = Experiment(
    name="smoke",
    preset="raiha-plus",
    network=PlusConfig(size=64, frozen_stages=7, width=16, hidden=64, max_references=0),
    source="synthesis",
    size=64,
    packed=96,
    batch=8,
    micro_batch=8,
    steps=120,
    optimisation=Optimisation(optimizer="adamw", rate=3e-4, schedule="cosine", warmup_steps=10, ema=0.95),
    loss=LossConfig(harm=1.0),
    synthesis=SynthesisConfig(illuminant=0),  # the measured lights do not come with the project
    crop=CropConfig(smallest=0.7),
    validation_share=0.4,
    validation_pictures=64,
    validate_every=60,
    sample_every=60,
    save_every=40,
)
