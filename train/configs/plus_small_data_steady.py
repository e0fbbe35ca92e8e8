"""The shipped weights made steady, not finished: a smoothing trunk learns from the one that does not smooth.

Command: accelerate launch train/train.py train/configs/plus_small_data_steady.py --data DIR --illuminants DIR
Hours: not measured, after the third stage (on the machine of train/RESULTS.md about two, two cores)
Expected: not measured as it stands; train/RESULTS.md says what a shorter way to the same end gave
"""

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
    network=replace(THIRD.network, size=288, antialias=True, mirrored=True, frozen_stages=4, dropout=0.1),
    size=288,  # nearer to the 320 px that ship: how sharp a picture is changes what a trunk sees
    crop=CropConfig(smallest=0.85),
    optimisation=replace(
        THIRD.optimisation, rate=3e-4, backbone_factor=1.0, weight_decay=1e-2, warmup_steps=15, ema=0.98
    ),
    loss=replace(THIRD.loss, steady=1.0, distil=1.7, alike=0.25),
    batch=16,
    steps=1200,
    validate_every=300,
    validation_pictures=256,
    sample_every=1200,
    save_every=50,
)
