"""RainNet by the recipe of its public code, less its adversary: Adam, 100 epochs, then 100 down to 0.

Command: accelerate launch train/train.py train/configs/rainnet.py --data iHarmony4
Hours: not measured (meant for one GPU)
Expected: the paper, with its adversary: MSE 40.29, PSNR 36.12, protocol of DoveNet; ours not measured
"""

from raiha_core.models.rainnet import RainNetConfig
from raiha_train.experiment import Experiment, Optimisation
from raiha_train.losses.terms import LossConfig

# What differs: no discriminator, and so Adam's usual momentum (theirs 0.5); differences count over the
# object's area and not the whole picture's, so that small objects weigh more here.
EXPERIMENT = Experiment(
    name="rainnet",
    preset="rainnet",
    network=RainNetConfig(),
    batch=11,
    micro_batch=11,
    epochs=200,
    optimisation=Optimisation(rate=2e-4, schedule="linear", marks=(1 / 2,), clip=0, ema=0),
    loss=LossConfig(kind="l1"),
)
