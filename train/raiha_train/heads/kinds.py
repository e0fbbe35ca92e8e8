"""What kind of thing the object is, by ImageNet's classes, and what colours such things have.

The classes are those of EfficientNet-Lite0 as its package has it: `raiha-plus` has trained its trunk further,
and what ImageNet's classifier makes of its maps is the same for every picture.

Shapes: B pictures, C channels, K classes, N training photos.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raiha_core.features.efficientnet import BATCH_NORM_EPSILON
from raiha_core.features.encoders import lite0_network
from raiha_core.features.weights import lite0_path, read_state
from raiha_core.masked_statistics import weighted_mean
from raiha_core.resizing import area_means

KIND_COUNT = 3 * 3  # the kind's mean Lab beside the object's and beside its ring's, and the log of its spread
_SURE = 2.0  # photos that the mean of all kinds counts for, where a kind was seldom seen
_LEAST = 25.0  # squared Lab units added to a kind's variance


class ObjectClasses(nn.Module):
    """The shares of ImageNet's classes in an object: the classifier meant over the object's cells alone."""

    def __init__(self) -> None:
        """Raises: ValueError where the package with the weights is not installed."""
        super().__init__()
        self.trunk = lite0_network()
        state = read_state(lite0_path())
        self.widen = nn.Conv2d(320, 1280, 1, bias=False)
        self.norm = nn.BatchNorm2d(1280, eps=BATCH_NORM_EPSILON)
        self.last = nn.Linear(1280, 1000)
        for layer, name in ((self.widen, "_conv_head"), (self.norm, "_bn1"), (self.last, "_fc")):
            own = {part: state[f"{name}.{part}"] for part in layer.state_dict()}
            layer.load_state_dict(own)
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """sRGB (B, 3, h, w), 0..1, mask (B, 1, h, w) -> (B, K), sums of 1."""
        x = F.relu6(self.norm(self.widen(self.trunk((image - 0.5) / 0.5))))
        share = area_means(mask, (x.shape[-2], x.shape[-1]))
        return self.last(weighted_mean(x, share).flatten(1)).softmax(1)


class KindColours:
    """Mean and variance of the true colours of each kind of object."""

    def __init__(self, shares: Tensor, colours: Tensor) -> None:
        """Args: shares (N, K) as `ObjectClasses`; colours (N, 3): each object's true mean, Lab."""
        weight = shares.sum(0)[:, None]
        every, spread = colours.mean(0), colours.var(0, correction=0)
        self.mean = (shares.T @ colours + _SURE * every) / (weight + _SURE)  # (K, 3)
        square = (shares.T @ colours.square() + _SURE * (spread + every.square())) / (weight + _SURE)
        self.variance = (square - self.mean.square()).clamp_min(0)

    def __call__(self, shares: Tensor, own: Tensor, ring: Tensor) -> Tensor:
        """(B, K), mean Lab of the object and of its ring (B, 3) -> (B, KIND_COUNT)."""
        mean = shares @ self.mean
        variance = shares @ (self.variance + self.mean.square()) - mean.square()
        return torch.cat((mean - own, mean - ring, (variance.clamp_min(0) + _LEAST).log()), 1)


def kind_numbers(
    shares: Tensor, own: Tensor, ring: Tensor, truth: Tensor, group: list[str], folds: int = 5
) -> tuple[Tensor, KindColours]:
    """Each picture's numbers from the colours of other photos, and the colours of all, for new pictures.

    A photo's own truth must not be among what it is told, so its fold and its group are left out.
    Args: shares (N, K); own, ring, truth (N, 3) mean Lab; group: N names, equal for one photo or scene.
    """
    order = {name: i % folds for i, name in enumerate(dict.fromkeys(group))}
    fold = torch.tensor([order[name] for name in group])
    found = torch.empty(len(shares), KIND_COUNT)
    for number in range(folds):
        out = fold == number
        colours = KindColours(shares[~out], truth[~out])
        found[out] = colours(shares[out], own[out], ring[out])
    return found, KindColours(shares, truth)
