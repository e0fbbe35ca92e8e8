"""Raiha whose attention sees no retrieval features; nothing else differs from raiha.py.

Command: accelerate launch train/train.py train/configs/raiha_no_sgf.py --data iHarmony4 --lists TRAIN.jsonl
Hours: not measured (weeks on two CPU cores; meant for one GPU)
Expected: the paper: MSE 15.99, PSNR 39.51 on RAHarmony4's 2,248 test images, protocol B; ours not measured
"""

from dataclasses import replace
from pathlib import Path

from raiha_train.experiment import load_experiment

RAIHA = load_experiment(Path(__file__).with_name("raiha.py"))
EXPERIMENT = replace(
    RAIHA,
    name="raiha_no_sgf",
    network=replace(RAIHA.network, guidance="none", content_dim=0),
    encoder="",
)
