"""Raiha without references made from the truth; nothing else differs from raiha.py.

Command: accelerate launch train/train.py train/configs/raiha_no_augmentation.py --data iHarmony4 --lists TRAIN.jsonl --encoder-weights DVT
Hours: not measured (weeks on two CPU cores; meant for one GPU)
Expected: the paper: MSE 16.91, PSNR 39.33 on RAHarmony4's 2,248 test images, protocol B; ours not measured
"""  # noqa: E501

from dataclasses import replace
from pathlib import Path

from raiha_train.experiment import load_experiment

RAIHA = load_experiment(Path(__file__).with_name("raiha.py"))
EXPERIMENT = replace(
    RAIHA,
    name="raiha_no_augmentation",
    references=replace(RAIHA.references, retrieved=0.5, augmented=0),
)
