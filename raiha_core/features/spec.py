"""Which feature space a number belongs to.

Galleries, queries and checkpoints carry a `FeatureSpec`; mixing two spaces is an error that names both.
"""

from dataclasses import dataclass, field, fields

from .. import records

_NOT_IDENTITY = ("content_threshold", "appearance_threshold", "threshold_source")


@dataclass(frozen=True, kw_only=True, slots=True)
class HistogramSpec:
    """HSV histogram of one patch: three marginals, linear soft binning, concatenated."""

    hue: int = 24  # circular bins
    saturation: int = 12
    value: int = 24
    pixels: int = 16  # the patch is area-resized to pixels x pixels before counting
    version: int = 1

    def __post_init__(self) -> None:
        for name in ("hue", "saturation", "value", "pixels"):
            if getattr(self, name) < 2:
                raise ValueError(f"histogram {name} must be at least 2, got {getattr(self, name)}")

    @property
    def bins(self) -> int:
        return self.hue + self.saturation + self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSpec:
    """Identity of a patch-feature space, with the thresholds measured in it.

    `weights` and `centring` are hex digests (SHA-256, first 16 digits) of what the numbers depend
    on; thresholds may change (calibration) without changing the space.
    """

    name: str  # e.g. "lite0-384-s32-c320"
    encoder: str  # a key of features.encoders.ENCODERS
    layer: str
    input_size: int  # pixels per side of the square the encoder sees
    grid: int  # patches per side
    dim: int  # numbers per patch
    weights: str  # digest of the encoder's weights
    centring: str = ""  # digest of the stored mean (and basis), "" where none is subtracted
    histogram: HistogramSpec = field(default_factory=HistogramSpec)
    content_threshold: float  # eps_c of eq. 3
    appearance_threshold: float = 0.9  # eps_a of eq. 5
    threshold_source: str  # where the two numbers come from
    version: int = 1

    def __post_init__(self) -> None:
        for name in ("content_threshold", "appearance_threshold"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ValueError(f"{name} must lie in (0, 1], got {value}")

    @property
    def patches(self) -> int:
        return self.grid * self.grid

    def to_json(self) -> dict[str, object]:
        return records.to_json(self)


def spec_from_json(data: object) -> FeatureSpec:
    """The spec that `FeatureSpec.to_json` gave. Raises: ValueError naming the fields that do not fit."""
    return records.from_json(FeatureSpec, data, "the feature spec")


def differences(first: FeatureSpec, second: FeatureSpec) -> list[str]:
    """Fields of the identity in which two specs differ, as 'field: first != second'."""
    names = [f.name for f in fields(FeatureSpec) if f.name not in _NOT_IDENTITY]
    pairs = ((n, getattr(first, n), getattr(second, n)) for n in names)
    return [f"{name}: {a} != {b}" for name, a, b in pairs if a != b]


def require_same_space(first: FeatureSpec, second: FeatureSpec, first_of: str, second_of: str) -> None:
    """Raises: ValueError naming both sides where the two specs are different feature spaces."""
    if found := differences(first, second):
        raise ValueError(
            f"{first_of} has features '{first.name}' but {second_of} has '{second.name}' "
            f"({'; '.join(found)}); features of different spaces cannot be compared"
        )
