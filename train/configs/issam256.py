"""iS2AM by the recipe of its public code: Adam, a tenth of the rate after 105 and 115 of 120 epochs.

Command: accelerate launch train/train.py train/configs/issam256.py --data iHarmony4
Hours: not measured (meant for one GPU)
Expected: the authors: MSE 24.65, PSNR 37.95 on iHarmony4's test images, protocol of iDIH; ours not measured
"""

from raiha_core.models.issam import IssamConfig
from raiha_train.data.augment import CropConfig
from raiha_train.experiment import Experiment, Optimisation
from raiha_train.losses.terms import LossConfig

# What differs: crops keep the picture's shape, the loss counts all channels alike (theirs by ImageNet's
# deviations, 4.4 in the mean), initial weights are torch's, no sample is the real picture with an empty mask.
EXPERIMENT = Experiment(
    name="issam256",
    preset="issam256",
    network=IssamConfig(),
    batch=16,
    micro_batch=16,
    epochs=120,
    optimisation=Optimisation(rate=1e-3, schedule="steps", marks=(105 / 120, 115 / 120), clip=0, ema=0),
    loss=LossConfig(minimum_area=1000, span=4.4),
    crop=CropConfig(smallest=0.707, flip=0.5),  # half of the area at least
)
