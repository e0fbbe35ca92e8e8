"""Learning rates as a function of the step alone, and the running average of the weights."""

import math

import torch
from torch import nn

from ..experiment import Optimisation


def rate_factor(step: int, steps: int, config: Optimisation) -> float:
    """Factor of the base rate at `step` (0 is the first) of `steps`.

    linear is the papers': constant until the mark, then in equal parts down, the last step not yet 0.
    """
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    share = step / max(steps, 1)
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "linear":
        mark = config.marks[0]
        return 1.0 if share < mark else max(0.0, 1 - (share - mark) / (1 - mark + 1 / max(steps, 1)))
    if config.schedule == "steps":
        return 0.1 ** sum(share >= mark for mark in config.marks)
    begun = (step - config.warmup_steps) / max(steps - config.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min(begun, 1.0)))


class Average:
    """Exponential moving average of a network's floating-point state, in float32."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after optimizer step `step`; early ones count more, so that the start fades."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            kept = self.state[name]
            if kept.is_floating_point():
                kept.lerp_(value.detach().to(kept), 1 - decay)
            else:
                kept.copy_(value)

    def exchange(self, network: nn.Module) -> None:
        """Swap the average and the network's own weights; call twice to undo."""
        own = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.state)
        self.state = own
