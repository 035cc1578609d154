"""Linear maps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._checks import real, same_dtype
from .shared import Needs, bias_of, match_output, three_needs


class Linear(NamedTuple):
    """Arguments of a linear map; `x` (N, in), `weight` (out, in), `bias` (out,) or None."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None


class LinearBackward(NamedTuple):
    """Arguments of a linear map's gradients; `grad_y` (N, out)."""

    grad_y: np.ndarray
    x: np.ndarray
    weight: np.ndarray
    needs: Needs


def linear(where: str, x, weight, bias) -> Linear:
    """Clean arguments of linear."""
    x = real(where, "x", x, 2)
    weight = real(where, "weight", weight, 2)
    _match_features(where, x, weight)
    if bias is not None:
        bias = bias_of(where, bias, weight)
    return Linear(x, weight, bias)


def linear_backward(where: str, grad_y, x, weight, needs) -> LinearBackward:
    """Clean arguments of linear_backward."""
    grad_y = real(where, "grad_y", grad_y, 2)
    x = real(where, "x", x, 2)
    weight = real(where, "weight", weight, 2)
    _match_features(where, x, weight)
    match_output(where, grad_y, (x.shape[0], weight.shape[0]))
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x, weight=weight)
    return LinearBackward(grad_y, x, weight, three_needs(where, needs))


def _match_features(where: str, x: np.ndarray, weight: np.ndarray) -> None:
    if x.dtype is not weight.dtype:
        same_dtype(where, x=x, weight=weight)
    if not weight.size:
        raise ValueError(f"{where}: weight {weight.shape} is empty")
    if x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"{where}: x {x.shape} has {x.shape[1]} features, weight {weight.shape} expects {weight.shape[1]}"
        )
