"""The loss of the best answer that does not look at the input: what a network that learned nothing can reach."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from .. import nn
from ..nn.layer import Parameter
from ..optim import Adam

# Those whose best constant is known, up to label smoothing and weights.
_KNOWN = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss, nn.BCELoss)  # BCEWithLogitsLoss is a BCELoss


def best_constant(loss: Any, logits: Any, y: Any, *, search: bool = True) -> float | None:
    """The least loss of an output that is the same for all examples.

    Parameters
    ----------
    loss : loss layer
    logits : array (N, ...)
        Outputs for these targets: their shape counts, and descent begins near them.
    y : array
        Targets.
    search : bool
        Go down from the first guess: dear (some 10 ms), and exact for any loss.

    Returns
    -------
    float or None
        None where there is none to be found.
    """
    if not isinstance(logits, np.ndarray) or logits.ndim < 1 or not len(logits):
        return None
    loss = copy.deepcopy(loss)
    with np.errstate(all="ignore"):
        guess = _guess(loss, logits, y) if isinstance(loss, _KNOWN) else None
        at = _loss_of(loss, guess, len(logits), y)
        if not search:
            return at
        down = _descent(loss, logits, y)
    found = [value for value in (at, down) if value is not None]
    return min(found, default=None)


def _guess(loss: Any, logits: np.ndarray, y: Any) -> np.ndarray | None:
    """The mean target, as these losses want it."""
    y = np.asarray(y)
    if isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss)) and logits.ndim > 1:
        classes = logits.shape[1]
        if y.shape == logits.shape:
            share = np.moveaxis(y, 1, -1).reshape(-1, classes).mean(0, dtype=np.float64)
        else:
            labels = y[(y >= 0) & (y < classes)] if y.dtype.kind in "iu" else y[:0]
            if not labels.size:
                return None
            share = np.bincount(labels.ravel(), minlength=classes) / labels.size
        constant = np.log(np.maximum(share, 1e-7)).reshape(1, classes, *[1] * (logits.ndim - 2))
    elif y.shape == logits.shape:
        constant = y.mean(0, keepdims=True, dtype=np.float64)
        if isinstance(loss, nn.BCEWithLogitsLoss):
            constant = np.log(np.maximum(constant, 1e-7)) - np.log(np.maximum(1 - constant, 1e-7))
    else:
        return None
    return np.broadcast_to(constant, (1, *logits.shape[1:])).astype(logits.dtype)


def _loss_of(loss: Any, constant: np.ndarray | None, n: int, y: Any) -> float | None:
    if constant is None:
        return None
    try:
        value = float(np.mean(type(loss).forward(loss, np.repeat(constant, n, 0), y)[0]))
    except Exception:
        return None
    return value if math.isfinite(value) else None


def _descent(loss: Any, logits: np.ndarray, y: Any) -> float | None:
    n = len(logits)
    constant = Parameter(np.zeros((1, *logits.shape[1:]), logits.dtype))
    constant.value = np.clip(logits[:1], -3, 3)
    optimizer, best = Adam([constant], lr=0.1), math.inf
    try:
        for step in range(200):
            optimizer.lr = 0.1 if step < 100 else 0.02
            value, backward = type(loss).forward(loss, np.repeat(constant.value, n, 0), y)
            value = float(np.mean(value))
            if not math.isfinite(value):
                break
            best = min(best, value)
            grad = np.asarray(backward())
            if not np.isfinite(grad).all():
                break
            constant.add_grad(grad.sum(0, keepdims=True, dtype=logits.dtype))
            optimizer.step()
            optimizer.zero_grad()
    except Exception:
        return None
    return best if math.isfinite(best) else None
