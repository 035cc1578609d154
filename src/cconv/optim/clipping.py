"""Keeping gradients small."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .._checks import number
from .optimizer import listed


def clip_grad_norm(
    parameters: Iterable[Any], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> float:
    """Scale the gradients in place so that their common norm is at most `max_norm`.

    Parameters
    ----------
    parameters : iterable of Parameter
        Those that are not trainable are passed over.
    max_norm : float
        More than 0.
    norm_type : float
        p of the p-norm, more than 0; infinity gives the largest magnitude.
    error_if_nonfinite : bool
        Whether to raise where the norm is NaN or infinite; then nothing has changed.

    Returns
    -------
    float
        The norm before. Where it is NaN or infinite, gradients become NaN or zero, as in PyTorch.

    Raises
    ------
    RuntimeError
        If the norm is not finite and `error_if_nonfinite` is set.
    """
    where = "clip_grad_norm"
    limit = number(where, "max_norm", max_norm, 0, above=True)
    kind = math.inf if norm_type in (math.inf, "inf") else number(where, "norm_type", norm_type, 0, above=True)
    gradients = _gradients(where, parameters)
    norm = _norm(gradients, kind)
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(f"{where}: the norm of the gradients is {norm}")
    scale = limit / (norm + 1e-6)
    if not scale >= 1:
        with np.errstate(invalid="ignore"):
            for gradient in gradients:
                gradient *= scale
    return norm


def clip_grad_value(parameters: Iterable[Any], clip_value: float) -> None:
    """Limit each number of the gradients to -clip_value..clip_value, in place. NaN stays.

    Parameters
    ----------
    parameters : iterable of Parameter
        Those that are not trainable are passed over.
    clip_value : float
        At least 0.
    """
    limit = number("clip_grad_value", "clip_value", clip_value, 0)
    for gradient in _gradients("clip_grad_value", parameters):
        np.clip(gradient, -limit, limit, out=gradient)


def _gradients(where: str, parameters: Iterable[Any]) -> list[np.ndarray]:
    return [parameter.grad for parameter in listed(where, parameters) if parameter.trainable]


def _norm(gradients: list[np.ndarray], kind: float) -> float:
    if kind == 2:
        # einsum and not dot: BLAS may sum in another order when it has other threads.
        return math.sqrt(sum(float(np.einsum("i,i->", g.ravel(), g.ravel(), dtype=np.float64)) for g in gradients))
    sizes = [np.abs(g) for g in gradients if g.size]
    if kind == math.inf:
        return float(np.max([size.max() for size in sizes])) if sizes else 0.0
    with np.errstate(over="ignore"):
        return float(sum(float((size.astype(np.float64) ** kind).sum()) for size in sizes) ** (1 / kind))
