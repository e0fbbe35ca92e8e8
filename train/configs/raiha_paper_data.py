"""raiha.py on the paper's data path: copies as protocol B makes them, and nothing held out: the last weights count.

Command: accelerate launch train/train.py train/configs/raiha_paper_data.py --data iHarmony4 --lists TRAIN.jsonl --encoder-weights DVT
Hours: not measured (weeks on two CPU cores; meant for one GPU)
Expected: the paper: MSE 15.86, PSNR 39.58 on RAHarmony4's 2,248 test images, protocol B; ours not measured
"""  # noqa: E501

from dataclasses import replace
from pathlib import Path

from raiha_train.experiment import load_experiment

RAIHA = load_experiment(Path(__file__).with_name("raiha.py"))
EXPERIMENT = replace(RAIHA, name="raiha_paper_data", copies="paper", validation_share=0.0)
