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
    # the stem's smoothing leaves as much to learn anew in the first stages as in the last; two views are
    # compared, so nothing is dropped
    network=replace(THIRD.network, antialias=True, mirrored=True, frozen_stages=1, dropout=0.0),
    optimisation=replace(THIRD.optimisation, rate=3e-4, backbone_factor=0.5, warmup_steps=30, ema=0.99),
    loss=replace(THIRD.loss, steady=1.0),
    steps=600,
    validate_every=300,
    validation_pictures=256,
    sample_every=600,
    save_every=50,
)
