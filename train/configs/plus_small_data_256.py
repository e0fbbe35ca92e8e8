"""Ours on photos with masks alone: a fourth stage, with more photos. It gained nothing: not shipped.

Command: accelerate launch train/train.py train/configs/plus_small_data_256.py --data DIR --illuminants DIR
Hours: 1.0 on two CPU cores (two processes, 12.4 pictures a second, 44,800 pictures), after stage 3
Expected: validation fPSNR 25.22 at 256 px (composite 22.18, at the start 25.00); see train/RESULTS.md
"""

from dataclasses import replace
from pathlib import Path

from raiha_train.experiment import load_experiment

THIRD = load_experiment(Path(__file__).with_name("plus_small_data.py"))
EXPERIMENT = replace(
    THIRD,
    name="plus_small_data_256",
    start="plus_small_data",
    network=replace(THIRD.network, size=256),
    size=256,
    packed=320,
    steps=1400,
    loss=replace(THIRD.loss, conspicuous=2.0),
    validate_every=700,
    sample_every=1400,
    save_every=100,
)
