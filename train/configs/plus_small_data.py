"""Ours on photos with masks alone: the recipe of the shipped weights. The third stage.

Command: accelerate launch train/train.py train/configs/plus_small_data.py --data DIR --illuminants DIR
Hours: 0.9 on two CPU cores (two processes, 17.7 pictures a second, 57,600 pictures), after stage 2
Expected: validation fPSNR 25.33 at 224 px (composite 22.50, at the start 24.27), with fewer photos
"""

from raiha_core.models.plus import PlusConfig
from raiha_train.data.augment import CropConfig
from raiha_train.data.synthesis import SynthesisConfig
from raiha_train.experiment import Experiment, Optimisation
from raiha_train.losses.terms import LossConfig

EXPERIMENT = Experiment(
    name="plus_small_data",
    preset="raiha-plus",
    start="plus_small_data_192",
    network=PlusConfig(
        size=224,
        dropout=0.3,
        local_map=False,
        references="gated",
        shrinkage=12.0,
        learned_shrinkage=True,
        detail=True,
    ),
    source="synthesis",
    size=224,
    packed=288,
    batch=32,
    micro_batch=16,
    steps=1800,
    optimisation=Optimisation(
        optimizer="adamw", rate=5e-4, weight_decay=5e-2, schedule="cosine", warmup_steps=100
    ),
    loss=LossConfig(kind="root", harm=0.5, conspicuous=1.0),
    # more that is right already than before, so that doubt has something to learn from
    synthesis=SynthesisConfig(untouched=0.4),
    crop=CropConfig(smallest=0.6),
    region_share=0.05,  # and every photo without a mask
    validate_every=600,
    sample_every=1800,
    save_every=200,
)
