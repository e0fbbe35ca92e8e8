"""The region-wise contrastive loss alone; nothing else differs from rcl.py.

Command: accelerate launch train/train.py train/configs/rcl_no_style_fusion.py --data iHarmony4
Hours: not measured (weeks on two CPU cores; meant for one GPU)
Expected: not measured; the paper's own code and settings were never published
"""

from raiha_core.models.hdnet import UNetConfig
from raiha_train.experiment import Experiment, Optimisation
from raiha_train.losses.terms import LossConfig

EXPERIMENT = Experiment(
    name="rcl_no_style_fusion",
    preset="rcl",
    network=UNetConfig(style_fusion=False),
    batch=12,
    micro_batch=12,
    epochs=120,
    true_background=True,
    optimisation=Optimisation(rate=1e-3, schedule="steps", marks=(100 / 120, 110 / 120), clip=0, ema=0),
    loss=LossConfig(contrast=0.01),
)
