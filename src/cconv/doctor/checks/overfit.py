"""Can the network learn 16 examples? What cannot will not learn 60,000."""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import nn
from ...data.rows import leaves, take
from ...optim import Adam
from ..constant import best_constant
from ..descent import descent
from ..findings import Finding
from .case import LABELLED, Case

EXAMPLES = 16
RATES = (1e-3, 1e-2, 3e-3, 1e-4)
# Several sigmoids stay on a plateau for hundreds of steps.
STEPS, ENOUGH = 1000, 400
# The loss must fall this much below that of the best answer that does not look at the input.
GAIN = 0.1
# Their scale is fixed: next to nothing is nothing.
_OF_SHARES = (*LABELLED, nn.BCELoss)


def overfit(case: Case, x: Any, y: Any, deadline: float) -> Iterator[Finding]:
    """Train copies on a few examples, with several learning rates.

    Parameters
    ----------
    case : Case
        Its model and loss as they were before any step.
    x, y
        The examples.
    deadline : float
        Of `time.perf_counter`.
    """
    constant = best_constant(case.loss, case.logits[: len(y)] if isinstance(case.logits, np.ndarray) else None, y)
    if constant is None or constant <= (1e-3 if isinstance(case.loss, _OF_SHARES) else 1e-12) or _length(y) < 2:
        return
    goal = (1 - GAIN) * constant
    best, first, tried, steps = math.inf, math.nan, [], 0
    for i, lr in enumerate(RATES):
        now = time.perf_counter()
        # The likeliest rates come first, and have most of the time.
        until = now + (deadline - now) / (2 if i < len(RATES) - 1 else 1)
        losses = _train(case, x, y, lr, until, goal)
        if losses is None:
            return
        if losses and math.isnan(first):
            first = losses[0]
        best = min([best, *losses])
        if i == 0 and best > goal:
            # Smoothed or contradicting targets leave little to gain, of which the same share is asked.
            least = _least(case, y)
            goal = constant - GAIN * max(constant - least, 0.0) if least is not None else goal
        if best <= goal:
            return
        if len(losses) >= ENOUGH:
            tried.append(lr)
            steps = max(steps, len(losses))
    if len(tried) < 2:
        yield Finding(
            "overfit-not-tried",
            "note",
            f"there was no time to see whether {len(y)} examples can be learned",
            ("cconv.check(..., seconds=60)",),
            evidence={"best": best, "constant": constant},
        )
        return
    rates = ", ".join(f"{lr:g}" for lr in tried)
    yield Finding(
        "cannot-overfit",
        "error",
        f"{steps} steps of Adam on {len(y)} examples end at a loss of {best:.3g} at best (learning rates {rates}); "
        f"always giving the same answer would score {constant:.3g}",
        ("see the layers: cconv.gradcheck(layer, x) for those of your own",),
        evidence={"first": first, "best": best, "constant": constant, "steps": steps},
    )


def _least(case: Case, y: Any) -> float | None:
    """The mean loss of the best answer to each example by itself."""
    if not isinstance(case.logits, np.ndarray):
        return None
    rows = (slice(i, i + 1) for i in range(min(_length(y), len(case.logits))))
    found = [best_constant(case.loss, case.logits[row], take(y, row)) for row in rows]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if len(known) == len(found) else None


def _length(y: Any) -> int:
    return len(next(array for _, array in leaves(y)))


def _train(case: Case, x: Any, y: Any, lr: float, until: float, goal: float) -> list[float] | None:
    """The losses of a short training; None where a step raises."""
    model, loss = copy.deepcopy((case.model, case.loss))
    parameters = [p for p in model.parameters() if p.trainable]
    if not parameters:
        return None
    optimizer, losses = Adam(parameters, lr=lr), []
    try:
        with np.errstate(all="ignore"):
            for value, _ in descent(model, loss, optimizer, itertools.repeat((x, y), STEPS)):
                losses.append(value if math.isfinite(value) else math.inf)
                if not math.isfinite(value) or value <= goal or time.perf_counter() > until:
                    break
    except Exception:
        return None
    return losses


def few(y: Any, count: int = EXAMPLES) -> np.ndarray:
    """Rows of a few examples: of every class in turn, where targets are labels."""
    labels = np.asarray(y) if isinstance(y, np.ndarray) else np.zeros(0)
    if labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels):
        turn = np.zeros(len(labels), np.int64)
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            turn[rows] = np.arange(len(rows))
        return np.sort(np.lexsort((np.arange(len(labels)), turn))[:count])
    return np.arange(count)
