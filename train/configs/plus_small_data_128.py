"""Ours on photos with masks alone: composites are made by recolouring. The first stage, in small pictures.

Command: accelerate launch train/train.py train/configs/plus_small_data_128.py --data DIR --illuminants DIR
Hours: 0.65 on two CPU cores (two processes, 49 pictures a second); 115,200 pictures
Expected: validation fPSNR 24.55 at 128 px (composite 20.90, untrained 20.53), with fewer photos
"""

from raiha_core.models.plus import PlusConfig
from raiha_train.data.augment import CropConfig
from raiha_train.data.synthesis import SynthesisConfig
from raiha_train.experiment import Experiment, Optimisation
from raiha_train.losses.terms import LossConfig

EXPERIMENT = Experiment(
    name="plus_small_data_128",
    preset="raiha-plus",
    network=PlusConfig(
        size=128,
        dropout=0.3,
        local_map=False,
        references="gated",
    ),
    source="synthesis",
    size=128,
    packed=160,
    batch=32,
    micro_batch=16,
    steps=3600,
    optimisation=Optimisation(
        optimizer="adamw", rate=1e-3, weight_decay=5e-2, schedule="cosine", warmup_steps=200
    ),
    loss=LossConfig(kind="root", harm=0.5, conspicuous=1.0),
    synthesis=SynthesisConfig(),
    crop=CropConfig(smallest=0.6),
    region_share=0.05,  # and every photo without a mask
    validate_every=1000,
    sample_every=3000,
    save_every=500,
)
