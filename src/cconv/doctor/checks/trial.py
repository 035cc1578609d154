"""Some steps of the given optimiser, on copies: do they throw the loss up, and does the network learn all the same?"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...data.rows import leaves, take
from ...nn.layer import Layer, pair_of
from ...optim import Adam
from ..constant import best_constant
from ..findings import Finding
from ..kinds import BY_DEGREE
from .case import Case

_BATCH = 32
# Steps in which a rate that is too high shows, and in which a network that learns has learned much of some examples.
FEW, MANY = 20, 200
# The largest loss beside that of the start and of the best constant: healthy ones stay under twice that.
RISEN = 5.0
# The loss, as a share of the best constant's, of a network that learns.
LEARNED = 0.5


def trial(
    case: Case, model: Layer, optimizer: Any, found: list[Finding], deadline: float
) -> tuple[list[Finding], bool]:
    """What is found of the learning rate; and whether the network learns, in which case errors of degree are none.

    Parameters
    ----------
    case : Case
        Its loss, and the examples.
    model, optimizer : Layer, Optimizer or None
        As they were before any step. Without an optimiser it is Adam's.
    found : list of Finding
        What is known already; those that keep no network from learning become warnings.
    deadline : float
        Of `time.perf_counter`.
    """
    mixed = [finding for finding in found if finding.kind == "examples-mixed"]
    worried = bool(mixed) or any(finding.severity == "error" for finding in found)
    named = next((finding for finding in found if finding.kind == "learning-rate"), None)
    constant = best_constant(case.loss, case.logits, case.y)
    if constant is None or constant <= 1e-12 or (optimizer is None and not worried):
        return found, False
    model, optimizer = copy.deepcopy((model, optimizer))
    run = _steps(case, model, optimizer, deadline)
    losses = [loss for _, loss in zip(range(FEW), run, strict=False)]
    most = max(losses, default=math.nan)
    thrown = optimizer is not None and len(losses) > 1 and not most <= RISEN * max(losses[0], constant)
    if not worried and not thrown and named is None:
        return found, False
    losses += [loss for _, loss in zip(range(MANY - FEW), run, strict=False)]
    last = float(np.mean(losses[-_BATCH // 4 :])) if losses else math.nan
    learns = len(losses) > FEW and last < LEARNED * constant
    if thrown:
        lr = optimizer.lr
        named = named or Finding(
            "learning-rate",
            "warning",
            f"the first {FEW} steps with lr={lr:g} take the loss from {losses[0]:.3g} to {most:.3g}, and {len(losses)} "
            f"to {last:.3g} (always giving the same answer would score {constant:.3g})",
            (f"optimizer.lr = {lr / 100:.2g}", "clip_norm=1.0 for cconv.Trainer"),
            evidence={"start": losses[0], "most": most, "end": last, "lr": lr},
        )
        named.severity = "warning" if learns else "error"
        found = [*(finding for finding in found if finding is not named), named]
    if len(losses) > FEW and not learns:
        for finding in mixed:
            finding.severity = "error"
    for finding in found:
        if learns and finding.severity == "error" and finding.kind in BY_DEGREE:
            finding.severity = "warning"
    return found, learns


def _steps(case: Case, model: Layer, optimizer: Any, deadline: float) -> Iterator[float]:
    """The losses of steps through the examples, batch by batch; infinity where one is not finite, and it ends."""
    count = len(next(array for _, array in leaves(case.x)))
    size = min(_BATCH, count)
    loss = copy.deepcopy(case.loss)
    model.zero_grad()
    optimizer = optimizer or Adam([p for p in model.parameters() if p.trainable], lr=1e-3)
    order = np.random.default_rng(0).permutation(count)
    for step in range(MANY):
        if time.perf_counter() > deadline:
            return
        start = step * size % (count - size + 1)
        rows = np.sort(order[start : start + size])
        try:
            with np.errstate(all="ignore"):
                logits, backward = pair_of(model, model.forward(take(case.x, rows)))
                value, loss_backward = loss.forward(logits, take(case.y, rows))
                value = float(np.mean(value))
                if not math.isfinite(value):
                    yield math.inf
                    return
                backward(loss_backward(), need_x=False)
                optimizer.step()
                optimizer.zero_grad()
        except Exception:
            return
        yield value
