"""What one experiment is: every setting that changes the result, in one frozen value.

A config file in `configs/` holds one `EXPERIMENT`. The command line adds only where things lie.
"""

import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from raiha_core.models import former_names as core_former_names
from raiha_core.models.hdnet import UNetConfig
from raiha_core.models.network import NetworkConfig
from raiha_core.models.plus import PlusConfig
from raiha_core.models.presets import PRESETS, config_from_json, config_to_json

from .data.augment import CropConfig
from .data.cache import OURS, Copies
from .data.synthesis import SynthesisConfig
from .losses.contrastive import ContrastConfig
from .losses.terms import LossConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimisation:
    """Optimizer, schedule and averaging. Rates are those of one optimizer step."""

    optimizer: Literal["adam", "adamw"] = "adam"
    rate: float = 4e-3
    backbone_factor: float = 0.2  # of the rate, for pretrained weights
    weight_decay: float = 0.0
    schedule: Literal["constant", "linear", "steps", "cosine"] = "linear"
    # linear: constant until this share of the run, then down; steps: these shares, each times 0.1
    marks: tuple[float, ...] = (2 / 3,)
    warmup_steps: int = 0
    clip: float = 1.0  # largest norm of the gradient; 0 does not clip
    ema: float = 0.999  # decay of the averaged weights; 0 keeps none

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.warmup_steps < 0 or self.clip < 0 or not 0 <= self.ema < 1:
            raise ValueError(f"rate > 0, warmup_steps >= 0, clip >= 0 and 0 <= ema < 1 must hold: {self}")
        if any(not 0 < mark < 1 for mark in self.marks):
            raise ValueError(f"schedule marks are shares of the run, in (0, 1): {self.marks}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceShares:
    """Which references a sample gets, as shares; they need not sum to 1.

    The paper draws no-reference or reference per iteration, then retrieved or augmented. A sample without
    a retrieved reference takes an augmented one where those have a share, else none.
    """

    none: float = 0.5
    retrieved: float = 0.25
    augmented: float = 0.25  # made from the truth
    most: int = 1  # references per sample
    per_batch: bool = False  # one draw for a whole micro-batch, as in the paper; else one per sample
    augmented_side: float = 196 / 256  # of the crop that becomes a reference, as a share of the picture's

    def __post_init__(self) -> None:
        if min(self.none, self.retrieved, self.augmented) < 0:
            raise ValueError(f"reference shares must not be negative: {self}")
        if self.none + self.retrieved + self.augmented <= 0 or self.most < 1:
            raise ValueError(f"some share must be positive, and most at least 1: {self}")
        if not 0 < self.augmented_side < 1:
            raise ValueError(f"an augmented reference is less than the picture, got {self.augmented_side}")

    @property
    def any(self) -> bool:
        return self.retrieved + self.augmented > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """One run. `steps` counts optimizer steps of `batch` pictures over all processes."""

    name: str
    preset: str
    network: NetworkConfig
    start: str = ""  # the config beside this one whose weights this run begins with; it is trained first
    # raharmony4: the composites of a reference list; synthesis: made from photos
    source: Literal["iharmony4", "raharmony4", "synthesis"] = "iharmony4"
    size: int = 256
    packed: int = 256  # side at which photos are kept decoded
    # squashed antialiased, or as the paper's code does: OpenCV without, JPEG, dithered masks
    copies: Copies = "antialiased"
    batch: int = 48
    micro_batch: int = 48  # pictures per forward pass and process; the unit of all random draws
    epochs: float = 60.0
    steps: int = 0  # > 0: instead of epochs
    seed: int = 0
    true_background: bool = False  # composites given: rebuild their background from the truth, as the papers
    precision: Literal["no", "bf16", "fp16"] = "no"
    compile: bool = False
    deterministic: bool = False  # the same bits from the same GPU, slower; a CPU needs no such thing
    optimisation: Optimisation = field(default_factory=Optimisation)
    loss: LossConfig = field(default_factory=LossConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)  # read where loss.contrast > 0
    references: ReferenceShares = field(
        default_factory=lambda: ReferenceShares(none=1, retrieved=0, augmented=0)
    )
    encoder: str = ""  # of the references' features; "" where the network reads none
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    crop: CropConfig = field(default_factory=lambda: CropConfig(smallest=1.0, flip=0.0))
    region_share: float = 0.35  # of samples whose mask is a random region; photos without a mask always
    validation_share: float = 0.07
    validation_pictures: int = 512  # per validation, the same ones each time; fewer where fewer are given
    validate_every: int = 1000
    sample_every: int = 1000
    save_every: int = 500
    keep: int = 2
    allowed_bad: float = 0.01  # share of unreadable pictures that are skipped; more are an error

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"unknown preset '{self.preset}'; known: {', '.join(PRESETS)}")
        if type(self.network) is not type(PRESETS[self.preset].config):
            raise ValueError(f"'{self.preset}' takes a {type(PRESETS[self.preset].config).__name__}")
        if self.size != self.network.size:
            raise ValueError(f"trained at {self.size} px, but the network says it is for {self.network.size}")
        reads = self.network.requirements.max_references
        if self.references.most > max(1, reads):
            raise ValueError(
                f"{self.references.most} references per sample, but '{self.preset}' as configured reads "
                f"{reads}"
            )
        if self.loss.contrast > 0 and not isinstance(self.network, UNetConfig):
            raise ValueError(f"the contrastive loss looks into a U-Net's layers; '{self.preset}' has none")
        plain = isinstance(self.network, PlusConfig) and not self.references.any
        if (self.loss.steady > 0 or self.loss.teaches) and not plain:
            raise ValueError(
                "steadiness and a teacher compare Lab transfers without references: of raiha-plus, whose run "
                "draws none"
            )
        if self.loss.teaches and self.micro_batch < 2:
            raise ValueError("what a teacher says is compared over pictures: micro_batch must be 2 or more")
        if self.network.requirements.content and self.references.any and not self.encoder:
            raise ValueError(f"'{self.preset}' reads features of its references: name an encoder")
        if self.network.requirements.content_without_references and not self.encoder:
            raise ValueError(f"'{self.preset}' reads patch features: name an encoder")
        if min(self.steps, self.epochs) < 0 or not (self.steps or self.epochs):
            raise ValueError(f"a run needs steps or epochs, got {self.steps} and {self.epochs}")
        for name in ("region_share", "validation_share", "allowed_bad"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        if self.micro_batch < 1 or self.batch % self.micro_batch:
            raise ValueError(f"batch {self.batch} is not a multiple of micro_batch {self.micro_batch}")
        if self.keep < 2:
            raise ValueError(
                f"keep at least 2 states: the newest may be the one that is damaged, got {self.keep}"
            )
        if self.references.any and not reads:
            raise ValueError(f"'{self.preset}' as configured reads no references, but the run draws some")
        counts = ("size", "packed", "batch", "micro_batch", "validate_every", "sample_every", "save_every")
        for name in (*counts, "validation_pictures"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def to_json(self) -> dict[str, Any]:
        """Plain values; equal experiments give equal text."""
        return json.loads(json.dumps(asdict(self)))


# What configs imported before training left the core -> where it is now.
FORMER_NAMES = {
    "experiment": "raiha_train.experiment",
    "raiha_core.contrastive": "raiha_train.losses.contrastive",
    "raiha_core.data.augment": "raiha_train.data.augment",
    "raiha_core.data.recolour": "raiha_train.data.recolour",
    "raiha_core.data.synthesis": "raiha_train.data.synthesis",
    "raiha_core.losses": "raiha_train.losses.terms",
}


@contextmanager
def former_names() -> Iterator[None]:
    """Make modules importable by the names that older configs know them by, for the time of the block."""
    hidden = {name: sys.modules.get(name) for name in FORMER_NAMES}
    sys.modules.update({old: importlib.import_module(new) for old, new in FORMER_NAMES.items()})
    try:
        yield
    finally:
        for name, module in hidden.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def load_experiment(path: Path) -> Experiment:
    """The `EXPERIMENT` of a config file.

    Raises: ValueError naming the file where it is missing, holds none, or has a field nobody knows.
    """
    if not path.is_file():
        raise ValueError(f"there is no config {path}")
    spec = importlib.util.spec_from_file_location(f"raiha_config_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        source = core_former_names.source(path.read_text(encoding="utf-8"), str(path))
        with former_names():
            exec(compile(source, str(path), "exec"), module.__dict__)
    except TypeError as error:  # what a dataclass says to an unknown field
        raise ValueError(f"{path}: {error}") from None
    experiment = getattr(module, "EXPERIMENT", None)
    if not isinstance(experiment, Experiment):
        raise ValueError(f"{path} defines no EXPERIMENT")
    if experiment.name != path.stem:
        raise ValueError(
            f"{path} names its experiment '{experiment.name}'; the file's name is the run's name"
        )
    return experiment


def load_stages(path: Path) -> list[Experiment]:
    """The experiment of a config file, after those that it starts from.

    Returns: in the order of training; the file's own experiment is the last.
    Raises: ValueError as `load_experiment`, where experiments start from each other in a ring, and where
        stages differ in precision or determinism.
    """
    stages = [load_experiment(path)]
    while stages[0].start:
        if any(stage.name == stages[0].start for stage in stages):
            raise ValueError(f"{path} starts from itself, by way of '{stages[0].name}'")
        stages.insert(0, load_experiment(path.with_name(f"{stages[0].start}.py")))
    return stages


def check_stages(stages: Sequence[Experiment]) -> None:
    """Raises: ValueError where the stages of a run differ in what holds for a whole process."""
    kinds = {(stage.precision, stage.deterministic) for stage in stages}
    if len(kinds) > 1:
        raise ValueError(
            f"the stages of '{stages[-1].name}' differ in precision or determinism, which hold for a whole "
            "process: " + ", ".join(f"{s.name} {s.precision} {s.deterministic}" for s in stages)
        )


def up_to_date(experiment: dict[str, Any]) -> dict[str, Any]:
    """An experiment as JSON with the fields that nobody knew of when it was written, the network's too."""
    if not {"preset", "network"} <= set(experiment):
        return experiment
    network = config_from_json(experiment["preset"], experiment["network"])
    return {"copies": OURS, **experiment, "network": config_to_json(network)}


def setting_differences(first: dict[str, Any], second: dict[str, Any], where: str = "") -> list[str]:
    """Fields in which two experiments (as JSON) differ, as 'field: first != second'."""
    found = []
    for key in sorted(set(first) | set(second)):
        a, b, name = first.get(key), second.get(key), f"{where}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            found += setting_differences(a, b, f"{name}.")
        elif a != b:
            found.append(f"{name}: {a} != {b}")
    return found
