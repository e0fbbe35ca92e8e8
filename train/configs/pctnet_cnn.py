"""PCT-Net CNN by the recipe of its public code, less two small terms of its loss, at 256 pixels.

Command: accelerate launch train/train.py train/configs/pctnet_cnn.py --data iHarmony4
Hours: not measured (meant for one GPU)
Expected: the authors: MSE 24.02, PSNR 38.30 on iHarmony4's 7,404 test images, protocol C; ours not measured
"""

from raiha_core.models.pctnet import PCTNetConfig
from raiha_train.data.augment import CropConfig
from raiha_train.experiment import Experiment, Optimisation
from raiha_train.losses.terms import LossConfig

# What differs: the loss is taken at 256 pixels (theirs at full size), without their contrast by VGG features
# (weight 0.01) and their smoothness of the twelve maps (0.1); crops keep the picture's shape.
EXPERIMENT = Experiment(
    name="pctnet_cnn",
    preset="pctnet-cnn",
    network=PCTNetConfig(trunk="cnn"),
    batch=16,  # theirs: 8 on each of two GPUs
    micro_batch=8,
    epochs=180,
    optimisation=Optimisation(rate=5e-4, schedule="steps", marks=(160 / 180, 175 / 180), clip=0, ema=0),
    loss=LossConfig(minimum_area=1000, span=4.4),
    crop=CropConfig(smallest=0.7, flip=0.0),
)
