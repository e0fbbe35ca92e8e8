"""Ours on full data: iHarmony4's composites, retrieved references and ones made from the truth.

Command: accelerate launch train/train.py train/configs/plus.py --data iHarmony4 --lists TRAIN.jsonl
Hours: not measured (weeks on two CPU cores; meant for one GPU)
Expected: not measured
"""

from raiha_core.models.plus import PlusConfig
from raiha_train.data.augment import CropConfig
from raiha_train.experiment import Experiment, Optimisation, ReferenceShares
from raiha_train.losses.terms import LossConfig

EXPERIMENT = Experiment(
    name="plus",
    preset="raiha-plus",
    network=PlusConfig(),
    batch=48,
    micro_batch=48,
    epochs=60,
    precision="bf16",
    optimisation=Optimisation(
        optimizer="adamw", rate=1.5e-3, weight_decay=1e-2, schedule="cosine", warmup_steps=500
    ),
    loss=LossConfig(kind="root", harm=0.1),
    references=ReferenceShares(none=0.5, retrieved=0.35, augmented=0.15, most=2),
    encoder="lite0",
    crop=CropConfig(smallest=0.7),
)
