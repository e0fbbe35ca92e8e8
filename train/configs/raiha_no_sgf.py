"""Raiha whose attention sees no retrieval features; nothing else differs from raiha.py.

Command: accelerate launch train/train.py train/configs/raiha_no_sgf.py --data iHarmony4 --lists TRAIN.jsonl
Hours: not measured (weeks on two CPU cores; meant for one GPU)
Expected: the paper: MSE 15.99, PSNR 39.51 on RAHarmony4's 2,248 test images, protocol B; ours not measured
"""

from raiha_core.models.hdnet import UNetConfig
from raiha_train.experiment import Experiment, Optimisation, ReferenceShares

EXPERIMENT = Experiment(
    name="raiha_no_sgf",
    preset="raiha",
    network=UNetConfig(
        local_dynamic="none",
        attention="tokens",
        max_references=4,
    ),
    batch=48,
    micro_batch=48,
    epochs=60,
    true_background=True,
    # the rate falls linearly after 40 of 60 epochs; the loss is eq. 11
    optimisation=Optimisation(rate=4e-3, schedule="linear", marks=(40 / 60,), clip=0, ema=0),
    references=ReferenceShares(none=0.5, retrieved=0.25, augmented=0.25, per_batch=True),
)
