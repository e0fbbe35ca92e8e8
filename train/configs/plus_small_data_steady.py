"""The shipped weights made steady, an unfinished try: a smoothing trunk, two views compared.

Command: accelerate launch train/train.py train/configs/plus_small_data_steady.py --data DIR --illuminants DIR
Hours: not measured; 80 of 200 steps took 0.35 on two busy CPU cores, after the third stage
Expected: not measured; see train/RESULTS.md for what 80 steps gave
"""

from dataclasses import replace
from pathlib import Path

from raiha_train.experiment import load_experiment

THIRD = load_experiment(Path(__file__).with_name("plus_small_data.py"))
EXPERIMENT = replace(
    THIRD,
    name="plus_small_data_steady",
    start="plus_small_data",
    # two views are compared, so nothing is dropped
    network=replace(THIRD.network, antialias=True, mirrored=True, dropout=0.0),
    optimisation=replace(THIRD.optimisation, rate=3e-4, backbone_factor=0.5, warmup_steps=20, ema=0.98),
    loss=replace(THIRD.loss, steady=1.5),
    steps=200,
    validate_every=100,
    validation_pictures=256,
    sample_every=200,
    save_every=20,
)
