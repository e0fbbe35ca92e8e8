"""The shipped weights made steady: a trunk that smooths what it halves, and answers that agree between views.

Command: accelerate launch train/train.py train/configs/plus_small_data_steady.py --data DIR --illuminants DIR
    --start raiha_core/models/weights/raiha-plus.safetensors   (without --start: after the third stage)
Hours and score: see train/RESULTS.md
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
