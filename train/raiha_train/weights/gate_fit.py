"""The fit of a gate to cases, and what it gains on them."""

from collections.abc import Sequence

import numpy as np
import torch

from raiha_core.models.reference_gate import LEAST_BELIEF, ReferenceGate

from .gate_cases import Cases, error

STEPS, BATCH, RATE = 500, 384, 2e-2
SHRINKING = 3e-4  # of the weights' squares
LOSS_WEIGHT = 3.0  # how much worse a loss is than a gain of the same size
HARM, HARM_WEIGHT = 0.2, 8.0  # of the logarithm of the error, about 0.9 dB: a larger loss counts more
# fitted bolder than it is used: to leave out what is hardly believed afterwards keeps more of what is right
BOLD_LEAST, BOLD_REACH = 0.1, 3.0
# how often kinds are drawn, the others once: photos of the same thing are rare, and worth most
DRAWN = {"other crop": 6.0, "relit crop": 3.0, "own four": 6.0}
ACTED = 1.0  # grey levels: a smaller change counts as none


def fit_gate(every: Sequence[Cases], usual_error: float, seed: int) -> ReferenceGate:
    """Adam on the logarithm of the error, losses counted more than gains, each harmonizer as often.

    Args: every: the cases of several harmonizers; usual_error: of the one that the gate belongs to.
    """
    gate = ReferenceGate(least=BOLD_LEAST)
    evidence = torch.cat([cases.evidence(gate) for cases in every])
    gate.centre.copy_(evidence.mean(0).detach())
    gate.spread.copy_(evidence.std(0).detach() + 1e-3)
    gate.usual_error.fill_(usual_error)
    draws = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(gate.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    often = [torch.tensor([DRAWN.get(kind, 1.0) for kind in cases.kinds]) for cases in every]
    for _ in range(STEPS):
        changes = []
        for cases, weights in zip(every, often, strict=True):
            rows = torch.multinomial(weights, BATCH // len(every), replacement=True, generator=draws)
            truth, alone = cases.truth[rows], cases.alone[rows]
            changes.append(
                error(cases.gated(gate, rows, BOLD_REACH), truth).log() - error(alone, truth).log()
            )
        change = torch.cat(changes)
        optimizer.zero_grad()
        loss = change + LOSS_WEIGHT * change.clamp_min(0) + HARM_WEIGHT * (change - HARM).clamp_min(0)
        (loss.mean() + SHRINKING * gate.to_belief.weight.square().sum()).backward()
        optimizer.step()
        schedule.step()
    gate.least = LEAST_BELIEF
    return gate


def gains_and_steps(gate: ReferenceGate, cases: Cases) -> tuple[np.ndarray, np.ndarray]:
    """Gain in dB of the colours, by the measure of the fit, and how far they moved in grey levels."""
    every = torch.arange(len(cases.kinds))
    with torch.no_grad():
        new = cases.gated(gate, every)
        ratio = error(cases.alone, cases.truth) / error(new, cases.truth)
        moved = (error(new, cases.alone) - error(new, new)).clamp_min(0).sqrt()
    return 10 * ratio.log10().numpy(), moved.numpy()


def gain_table(gate: ReferenceGate, cases: Cases) -> str:
    """What the gate gains by kind of reference."""
    gained, moved = gains_and_steps(gate, cases)
    lines = [
        "| reference | objects | gain, dB | worst tenth | acted on | gain there |",
        "|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(cases.kinds):
        of_kind = np.array([k == kind for k in cases.kinds])
        own, acted = gained[of_kind], moved[of_kind] > ACTED
        worst = np.sort(own)[: max(1, len(own) // 10)].mean()
        there = f"{own[acted].mean():+.2f}" if acted.any() else "-"
        lines.append(
            f"| {kind} | {len(own)} | {own.mean():+.2f} | {worst:+.2f} | {acted.mean():.0%} | {there} |"
        )
    return "\n".join(lines)
