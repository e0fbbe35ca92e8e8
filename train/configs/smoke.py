"""Half a minute on the shipped photos, to see that everything works; its weights are good for nothing.

Command: accelerate launch train/train.py train/configs/smoke.py
Hours: 0.01 on two CPU cores
Expected: validation fMSE below the untouched composite's, on recolourings of held-out shipped photos at 64 px
"""

from experiment import Experiment, Optimisation

from raiha_core.data.augment import CropConfig
from raiha_core.data.synthesis import SynthesisConfig
from raiha_core.losses import LossConfig
from raiha_core.models.plus import PlusConfig

EXPERIMENT = Experiment(
    name="smoke",
    preset="raiha-plus",
    network=PlusConfig(size=64, frozen_stages=5, width=16, hidden=64, max_references=0),
    source="synthesis",
    size=64,
    packed=96,
    batch=8,
    micro_batch=8,
    steps=120,
    optimisation=Optimisation(optimizer="adamw", rate=1e-3, schedule="cosine", warmup_steps=10, ema=0.98),
    loss=LossConfig(kind="root"),
    synthesis=SynthesisConfig(illuminant=0),  # the measured lights do not come with the project
    crop=CropConfig(smallest=0.7),
    validation_share=0.2,
    validation_pictures=64,
    validate_every=60,
    sample_every=60,
    save_every=40,
)
