"""What is asked of a gallery: which equations with which thresholds, or an order of all photos."""

from dataclasses import dataclass

LIKENESS = "likeness"  # all photos, in the order of `likeness`; the others are the equations
BY = ("both", "content", "illumination", LIKENESS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is asked of every query of a pass."""

    by: str
    content_threshold: float
    appearance_threshold: float

    def __post_init__(self) -> None:
        if self.by not in BY:
            raise ValueError(f"by must be one of {', '.join(BY)}, got '{self.by}'")
        for name in ("content_threshold", "appearance_threshold"):
            value = getattr(self, name)
            if not 0 < value <= 1:  # also catches NaN; at 0 every zero vector would qualify
                raise ValueError(f"{name} must lie in (0, 1], got {value}")
