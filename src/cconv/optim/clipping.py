"""Keeping gradients small."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .._checks import number
from .optimizer import listed


def clip_grad_norm(parameters: Iterable[Any], max_norm: float) -> float:
    """Scale the gradients in place so that their common Euclidean norm is at most `max_norm`.

    Parameters
    ----------
    parameters : iterable of Parameter
        Those that are not trainable are passed over.
    max_norm : float
        More than 0.

    Returns
    -------
    float
        The norm before. Where it is NaN or infinite, gradients become NaN or zero, as in PyTorch.
    """
    limit = number("clip_grad_norm", "max_norm", max_norm, 0, above=True)
    gradients = [parameter.grad for parameter in listed("clip_grad_norm", parameters) if parameter.trainable]
    # einsum and not dot: BLAS may sum in another order when it has other threads.
    squares = (float(np.einsum("i,i->", g.ravel(), g.ravel(), dtype=np.float64)) for g in gradients)
    norm = math.sqrt(sum(squares))
    scale = limit / (norm + 1e-6)
    if not scale >= 1:
        with np.errstate(invalid="ignore"):
            for gradient in gradients:
                gradient *= scale
    return norm
