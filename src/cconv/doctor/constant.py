"""The loss of the best answer that does not look at the input: what a network that learned nothing can reach."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import numpy as np

from .. import nn
from ..data.rows import each, leaves, size_of
from ..nn.layer import Parameter
from ..optim import Adam
from .descent import gradient

_STEPS = 200
# Those whose best constant is known, up to label smoothing and weights.
_KNOWN = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss, nn.BCELoss)  # BCEWithLogitsLoss is a BCELoss


def best_constant(
    loss: Any, logits: Any, y: Any, *, search: bool = True, seconds: float = 5.0, **options: Any
) -> float | None:
    """The least loss of an output that is the same for all examples.

    Parameters
    ----------
    loss : loss layer
    logits : array (N, ...), or tuple or dict of arrays
        Outputs for these targets: their shape counts, and descent begins near them.
    y : array, or tuple or dict of arrays
        Targets.
    search : bool
        Go down from the first guess: dear (some 10 ms), and exact for any loss.
    seconds : float
        That this may take; a loss that is too slow for it is left.
    **options
        For the loss, such as ``sample_weight``.

    Returns
    -------
    float or None
        None where there is none to be found.
    """
    if not all(isinstance(array, np.ndarray) and array.size for _, array in leaves(logits)):
        return None
    loss = copy.deepcopy(loss)
    with np.errstate(all="ignore"):
        known = isinstance(loss, _KNOWN) and isinstance(logits, np.ndarray)
        at = _loss_of(loss, _guess(loss, logits, y) if known else None, size_of(logits), y, options)
        if not search:
            return at
        down = _descent(loss, logits, y, options, seconds)
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


def _loss_of(loss: Any, constant: np.ndarray | None, n: int, y: Any, options: dict[str, Any]) -> float | None:
    if constant is None:
        return None
    try:
        value = float(np.mean(type(loss).forward(loss, np.repeat(constant, n, 0), y, **options)[0]))
    except Exception:
        return None
    return value if math.isfinite(value) else None


def _descent(loss: Any, logits: Any, y: Any, options: dict[str, Any], seconds: float) -> float | None:
    n = size_of(logits)
    constants: Any = each(lambda array: Parameter(np.clip(array[:1], -3, 3)), logits)
    parameters: list[Any] = [constant for _, constant in leaves(constants)]
    optimizer, best = Adam(parameters, lr=0.1), math.inf
    try:
        begun = time.perf_counter()
        for step in range(_STEPS):
            if (time.perf_counter() - begun) * _STEPS > seconds * max(step, 1):
                return None
            optimizer.lr = 0.1 if step < 100 else 0.02
            outputs = each(lambda constant: np.repeat(constant.value, n, 0), constants)
            value, backward = type(loss).forward(loss, outputs, y, **options)
            mean = float(np.mean(value))
            if not math.isfinite(mean):
                break
            best = min(best, mean)
            for parameter, (_, grad) in zip(parameters, leaves(gradient(value, backward)), strict=True):
                parameter.add_grad(np.asarray(grad).sum(0, keepdims=True, dtype=parameter.value.dtype))
            if not all(np.isfinite(parameter.grad).all() for parameter in parameters):
                break
            optimizer.step()
            optimizer.zero_grad()
    except Exception:
        return None
    return best if math.isfinite(best) else None
