"""HDNet by the recipe of its paper: Adam, a tenth of the rate after 100 and 110 of 120 epochs.

Command: accelerate launch train/train.py train/configs/hdnet.py --data iHarmony4
Hours: not measured (weeks on two CPU cores; meant for one GPU)
Expected: the paper: MSE 16.55, PSNR 40.46 on iHarmony4's 7,404 test images, protocol B; ours not measured
"""

from raiha_core.models.hdnet import UNetConfig
from raiha_train.experiment import Experiment, Optimisation

EXPERIMENT = Experiment(
    name="hdnet",
    preset="hdnet",
    network=UNetConfig(),
    batch=12,
    micro_batch=12,
    epochs=120,
    true_background=True,
    optimisation=Optimisation(rate=1e-3, schedule="steps", marks=(100 / 120, 110 / 120), clip=0, ema=0),
)
