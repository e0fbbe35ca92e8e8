"""The optimizer of a run, and its rate at a step."""

import torch
from torch import nn

from ..experiment import Experiment
from .schedule import rate_factor


def make_optimizer(objective: nn.Module, experiment: Experiment) -> torch.optim.Optimizer:
    """Adam or AdamW; pretrained weights, where there are any, in a group of their own."""
    settings = experiment.optimisation
    named = [(name, p) for name, p in objective.named_parameters() if p.requires_grad]
    pretrained = "network.backbone."
    groups = [
        {"params": [p for name, p in named if not name.startswith(pretrained)], "factor": 1.0},
        {
            "params": [p for name, p in named if name.startswith(pretrained)],
            "factor": settings.backbone_factor,
        },
    ]
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind([g for g in groups if g["params"]], lr=settings.rate, weight_decay=settings.weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, experiment: Experiment) -> float:
    rate = experiment.optimisation.rate * rate_factor(step, steps, experiment.optimisation)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    return rate
