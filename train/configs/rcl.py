"""External style fusion and the region-wise contrastive loss, in our formulation, on HDNet's recipe.

Command: accelerate launch train/train.py train/configs/rcl.py --data iHarmony4
Hours: not measured (weeks on two CPU cores; meant for one GPU)
Expected: not measured; the paper's own code and settings were never published
"""

from dataclasses import replace
from pathlib import Path

from raiha_train.experiment import load_experiment
from raiha_train.losses.terms import LossConfig

HDNET = load_experiment(Path(__file__).with_name("hdnet.py"))
EXPERIMENT = replace(
    HDNET,
    name="rcl",
    preset="rcl",
    network=replace(HDNET.network, style_fusion=True),
    loss=LossConfig(contrast=0.01),
)
