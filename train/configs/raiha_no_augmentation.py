"""Raiha without references made from the truth; nothing else differs from raiha.py.

Command: accelerate launch train/train.py train/configs/raiha_no_augmentation.py --data iHarmony4 --lists TRAIN.jsonl --encoder-weights DVT
Hours: not measured (weeks on two CPU cores; meant for one GPU)
Expected: the paper: MSE 16.91, PSNR 39.33 on RAHarmony4's 2,248 test images, protocol B; ours not measured
"""  # noqa: E501

from raiha_core.models.hdnet import UNetConfig
from raiha_train.experiment import Experiment, Optimisation, ReferenceShares

EXPERIMENT = Experiment(
    name="raiha_no_augmentation",
    preset="raiha",
    network=UNetConfig(
        local_dynamic="none",
        attention="tokens",
        guidance="concat",
        content_dim=768,
        max_references=4,
    ),
    batch=48,
    micro_batch=48,
    epochs=60,
    true_background=True,
    # the rate falls linearly after 40 of 60 epochs; the loss is eq. 11
    optimisation=Optimisation(rate=4e-3, schedule="linear", marks=(40 / 60,), clip=0, ema=0),
    references=ReferenceShares(none=0.5, retrieved=0.5, augmented=0, per_batch=True),
    encoder="dvt-b14",
)
