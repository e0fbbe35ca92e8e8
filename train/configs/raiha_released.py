"""Raiha as the authors' code reads: the reference as pixels beside the composite, nearest masks.

Command: accelerate launch train/train.py train/configs/raiha_released.py --data iHarmony4 --lists TRAIN.jsonl --encoder-weights DVT
Hours: not measured (weeks on two CPU cores; meant for one GPU)
Expected: the paper: MSE 15.86, PSNR 39.58 on RAHarmony4's 2,248 test images, protocol B; ours not measured
"""  # noqa: E501

from dataclasses import replace
from pathlib import Path

from raiha_train.experiment import load_experiment

RAIHA = load_experiment(Path(__file__).with_name("raiha.py"))
EXPERIMENT = replace(
    RAIHA,
    name="raiha_released",
    preset="raiha-released",
    network=replace(RAIHA.network, mask_resize="nearest", attention="pixels", max_references=1),
    references=replace(RAIHA.references, augmented_side=196 / 256),
)
