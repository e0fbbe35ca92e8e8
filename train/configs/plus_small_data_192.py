"""Ours on photos with masks alone: the second stage of the recipe, in larger pictures.

Command: accelerate launch train/train.py train/configs/plus_small_data_192.py --data DIR --illuminants DIR
Hours: 1.3 on one CPU core (13.9 pictures a second, 64,000 pictures), after stage 1
Expected: validation fPSNR 25.02 at 192 px (composite 20.83, at the start 24.45), with fewer photos
"""

from raiha_core.models.plus import PlusConfig
from raiha_train.data.augment import CropConfig
from raiha_train.data.synthesis import SynthesisConfig
from raiha_train.experiment import Experiment, Optimisation
from raiha_train.losses.terms import LossConfig

EXPERIMENT = Experiment(
    name="plus_small_data_192",
    preset="raiha-plus",
    start="plus_small_data_128",
    network=PlusConfig(
        size=192,
        dropout=0.3,
        local_map=False,
        references="gated",
        shrinkage=12.0,
        learned_shrinkage=True,
    ),
    source="synthesis",
    size=192,
    packed=256,
    batch=32,
    micro_batch=16,
    steps=2000,
    optimisation=Optimisation(
        optimizer="adamw", rate=5e-4, weight_decay=5e-2, schedule="cosine", warmup_steps=100
    ),
    loss=LossConfig(kind="root", harm=0.5, conspicuous=1.0),
    synthesis=SynthesisConfig(),
    crop=CropConfig(smallest=0.6),
    region_share=0.05,  # and every photo without a mask
    validate_every=500,
    sample_every=2000,
    save_every=250,
)
