"""Which of several recolourings to train on, so that changes depend on the ring as genuine ones do.

On genuine composites what was done to an object goes with how it differs from its ring; on made ones less.
Among J recolourings of each photo one is drawn with chances exp(l . f), f the first and second moments per
Lab channel of (ring minus object, true change); l is the least tilt with which the chosen ones have the
genuine moments (a maximum-entropy fit; Jaynes, Phys. Rev. 106, 1957).
Shapes: N photos, J recolourings of each, 15 moments.
"""

import torch
from torch import Tensor

USUAL_STEP = 20.0  # so that squares of usual differences are about 1
_STEPS = 400


def moments(ring_minus_object: Tensor, change: Tensor) -> Tensor:
    """(..., 3) and (..., 3) in Lab units -> (..., 15): both, their squares and their products per channel."""
    d, c = ring_minus_object / USUAL_STEP, change / USUAL_STEP
    return torch.cat((d, c, d.square(), c.square(), d * c), -1)


def tilt(candidates: Tensor, wanted: Tensor, penalty: float = 0.02) -> Tensor:
    """The tilt l (15,) with which the expected moments of the chosen candidates come to the wanted ones.

    Args: candidates (N, J, 15), wanted (15,) as `moments`; penalty: on its squares; the larger, the nearer
        the chances stay to one another.
    """
    scale = candidates.flatten(0, 1).std(0).clamp_min(1e-3)
    f, goal = candidates / scale, wanted / scale
    chosen = torch.zeros(len(wanted), requires_grad=True)
    search = torch.optim.LBFGS([chosen], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def misfit() -> Tensor:
        search.zero_grad()
        # the dual of the entropy's maximum: its gradient is expected minus wanted moments
        loss = torch.logsumexp(f @ chosen, 1).mean() - goal @ chosen + penalty / 2 * chosen.square().sum()
        loss.backward()
        return loss

    search.step(misfit)
    return (chosen / scale).detach()


def choose(candidates: Tensor, tilted: Tensor, generator: torch.Generator) -> Tensor:
    """One candidate of each photo: (N, J, 15) -> (N,) int64."""
    return torch.multinomial((candidates @ tilted).softmax(1), 1, generator=generator)[:, 0]
