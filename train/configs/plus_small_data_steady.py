"""The shipped weights made steady: a smoothing trunk learns from the one that does not smooth.

Command: accelerate launch train/train.py train/configs/plus_small_data_steady.py --data DIR --illuminants DIR
Hours: 1.4, after the third stage (one core of two that others used as well, 5 to 7 s a step)
Expected: own validation at 288 px fPSNR 25.49 (composite 23.14); train/RESULTS.md, section Steadiness
"""

# The kept run was stopped and went on: its first 370 steps had a steady weight of 1 and the schedule of 1,200
# steps, its first 500 no coring; the schedule then was that of 860, for 50 steps that of 760.

from dataclasses import replace
from pathlib import Path

from raiha_train.data.augment import CropConfig
from raiha_train.experiment import load_experiment

THIRD = load_experiment(Path(__file__).with_name("plus_small_data.py"))
EXPERIMENT = replace(
    THIRD,
    name="plus_small_data_steady",
    start="plus_small_data",  # the teacher, too
    # what is trained: the last three stages and all behind them; the first ones only smooth
    network=replace(
        THIRD.network, size=288, antialias=True, mirrored=True, coring=2.0, frozen_stages=4, dropout=0.1
    ),
    size=288,  # nearer to the 320 px that ship: how sharp a picture is changes what a trunk sees
    crop=CropConfig(smallest=0.85),
    optimisation=replace(
        THIRD.optimisation, rate=3e-4, backbone_factor=1.0, weight_decay=1e-2, warmup_steps=15, ema=0.98
    ),
    loss=replace(THIRD.loss, steady=2.5, distil=1.7, alike=0.25),
    batch=16,
    steps=850,
    validate_every=400,
    validation_pictures=256,
    sample_every=850,
    save_every=50,
)
