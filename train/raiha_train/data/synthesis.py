"""Training pairs from any photo: the photo is the truth, its object recoloured is the composite.

Source: this project; families and severities as measured for it. Shapes: B pictures of H x W.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from raiha_core.masked_statistics import weighted_mean

from .recolour import TRANSFERS, RetouchConfig, flatten, light_field, relight, retouch

FAMILIES = ("untouched", "retouch", "illuminant", "transfer", "light", "graded")


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthesisConfig:
    """Shares of the families and how strong a change may be. Shares need not sum to 1."""

    untouched: float = 0.12  # already right: the network must learn to leave it alone
    retouch: float = 1.0
    illuminant: float = 1.3
    transfer: float = 1.0
    light: float = 0.4
    # a graded object in a photo as the camera gave it: the *truth* is made flat, the object keeps its grade
    graded: float = 1.5
    retouching: RetouchConfig = field(default_factory=RetouchConfig)
    grading: RetouchConfig = field(
        default_factory=lambda: RetouchConfig(
            probability=0.25,
            exposure=0.4,
            white_balance=0.08,
            contrast=0.15,
            gamma=0.06,
            tone=0.3,
            saturation=0.15,
        )
    )
    transfer_strength: tuple[float, float] = (0.5, 1.0)
    same_kind: float = 0.6  # of the donors of a transfer show the same kind of thing, where kinds are known
    ceiling: float = 7000.0  # fMSE (0..255 scale) above which a change is scaled back

    def __post_init__(self) -> None:
        shares = self.shares
        if min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(f"family shares must not be negative and not all zero, got {shares}")
        low, high = self.transfer_strength
        if not 0 <= low <= high <= 1:
            raise ValueError(f"transfer_strength must lie in 0..1 and ascend, got {self.transfer_strength}")
        if not 0 <= self.same_kind <= 1:
            raise ValueError(f"same_kind must lie in 0..1, got {self.same_kind}")
        if self.ceiling <= 0:
            raise ValueError(f"ceiling must be positive, got {self.ceiling}")

    @property
    def shares(self) -> tuple[float, ...]:
        return self.untouched, self.retouch, self.illuminant, self.transfer, self.light, self.graded


@dataclass(frozen=True, slots=True)
class Synthesis:
    """A recipe for composites. `illuminants` (N, 2, 3, 11) is needed where its share is not zero."""

    config: SynthesisConfig
    illuminants: Tensor | None = None

    def __post_init__(self) -> None:
        if self.config.illuminant > 0 and self.illuminants is None:
            raise ValueError(
                "the illuminant family needs measured matrices; give a folder or set its share to 0"
            )

    def recolour(
        self, truth: Tensor, mask: Tensor, donor: Tensor, donor_mask: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Recolour the object of each photo.

        Args:
            truth, donor: sRGB (B, 3, H, W), 0..1; colours for the transfer family come from the donor.
            mask, donor_mask: (B, 1, H, W).
            generator: on the CPU; the same seed gives the same pairs.
        Returns: truth (B, 3, H, W), the photo but for the graded family; composite, equal to that truth
            outside the mask; family (B,) int64, indices of FAMILIES.
        """
        shares = torch.tensor(self.config.shares, dtype=torch.float64)
        family = torch.multinomial(shares, len(truth), replacement=True, generator=generator)
        changed = truth.clone()
        flat = (family == FAMILIES.index("graded")).nonzero().flatten().to(truth.device)
        photo, truth = truth, truth.clone()
        if len(flat):
            truth[flat] = flatten(photo[flat], generator)
        for index in range(1, len(FAMILIES)):
            rows = (family == index).nonzero().flatten()
            if len(rows):
                own, other = rows.to(truth.device), rows.to(donor.device)
                changed[own] = self._look(
                    index, photo[own], mask[own], donor[other], donor_mask[other], generator
                )
        return truth, limit_change(truth, changed, mask, self.config.ceiling), family

    def _look(
        self, index: int, truth: Tensor, mask: Tensor, donor: Tensor, donor_mask: Tensor, g: torch.Generator
    ) -> Tensor:
        name = FAMILIES[index]
        if name == "retouch":
            return retouch(truth, mask, self.config.retouching, g)
        if name == "illuminant":
            assert self.illuminants is not None
            return relight(truth, self.illuminants, g)
        if name == "light":
            return light_field(truth, g)
        if name == "graded":
            return retouch(truth, mask, self.config.grading, g)
        assert name == "transfer"
        out = torch.empty_like(truth)
        which = torch.randint(len(TRANSFERS), (len(truth),), generator=g)
        low, high = self.config.transfer_strength
        strength = (low + (high - low) * torch.rand(len(truth), generator=g)).to(truth).view(-1, 1, 1, 1)
        for kind, transfer in enumerate(TRANSFERS):
            rows = (which == kind).nonzero().flatten().to(truth.device)
            if len(rows):
                out[rows] = transfer(truth[rows], mask[rows], donor[rows], donor_mask[rows])
        return truth + strength * (out - truth)


def foreground_error(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """fMSE between two looks, (B,), on the 0..255 scale; for limits and reports, not for scores."""
    return weighted_mean((255 * (first - second)) ** 2, mask).mean((1, 2, 3))


def limit_change(truth: Tensor, changed: Tensor, mask: Tensor, ceiling: float) -> Tensor:
    """The composite: `changed` inside the mask, scaled back where its fMSE exceeds `ceiling`."""
    error = foreground_error(changed, truth, mask)
    factor = (ceiling / error.clamp_min(1e-9)).sqrt().clamp(max=1).view(-1, 1, 1, 1)
    return torch.where(mask > 0, truth + mask * factor * (changed - truth), truth)
