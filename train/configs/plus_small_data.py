"""Ours on photos with masks alone: the recipe of the shipped weights. The third stage.

Command: accelerate launch train/train.py train/configs/plus_small_data.py --data DIR --illuminants DIR
Hours: 0.9 on two CPU cores (two processes, 17.7 pictures a second, 57,600 pictures), after stage 2
Expected: validation fPSNR 25.33 at 224 px (composite 22.50, at the start 24.27), with fewer photos
"""

from dataclasses import replace
from pathlib import Path

from raiha_train.experiment import load_experiment

SECOND = load_experiment(Path(__file__).with_name("plus_small_data_192.py"))
EXPERIMENT = replace(
    SECOND,
    name="plus_small_data",
    start="plus_small_data_192",
    network=replace(SECOND.network, size=224, detail=True),
    size=224,
    packed=288,
    steps=1800,
    # more that is right already than before, so that the learned shrinkage has something to learn from
    synthesis=replace(SECOND.synthesis, untouched=0.4),
    validate_every=600,
    sample_every=1800,
    save_every=200,
)
