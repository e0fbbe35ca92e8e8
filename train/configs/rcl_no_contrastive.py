"""External style fusion alone; nothing else differs from rcl.py.

Command: accelerate launch train/train.py train/configs/rcl_no_contrastive.py --data iHarmony4
Hours: not measured (weeks on two CPU cores; meant for one GPU)
Expected: not measured; the paper's own code and settings were never published
"""

from dataclasses import replace
from pathlib import Path

from raiha_train.experiment import load_experiment

RCL = load_experiment(Path(__file__).with_name("rcl.py"))
EXPERIMENT = replace(
    RCL,
    name="rcl_no_contrastive",
    loss=replace(RCL.loss, contrast=0.0),
)
