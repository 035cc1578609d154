"""Batch, group and layer normalisation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._checks import number, real, same_dtype
from .._shapes import whole
from .shared import Needs, match_output, three_needs, with_channels


class BatchNorm(NamedTuple):
    """Arguments of a batch normalisation; `x` (N, C, ...), all others (C,) or None."""

    x: np.ndarray
    mean: np.ndarray | None
    var: np.ndarray | None
    weight: np.ndarray | None
    bias: np.ndarray | None
    training: bool
    eps: float


class BatchNormBackward(NamedTuple):
    """Arguments of a batch normalisation's gradients; `grad_y` and `x` (N, C, ...), all others (C,)."""

    grad_y: np.ndarray
    x: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    weight: np.ndarray | None
    training: bool
    eps: float
    needs: Needs


def batch_norm(where: str, x, running_mean, running_var, weight, bias, training, eps) -> BatchNorm:
    """Clean arguments of batch_norm."""
    x = with_channels(where, x)
    training = bool(training)
    if training:
        _several_values(where, x)
    elif running_mean is None or running_var is None:
        raise ValueError(f"{where}: running_mean and running_var must be given, or training=True")
    mean = _each_channel(where, "running_mean", running_mean, x)
    var = _each_channel(where, "running_var", running_var, x)
    weight = _each_channel(where, "weight", weight, x)
    bias = _each_channel(where, "bias", bias, x)
    return BatchNorm(x, mean, var, weight, bias, training, number(where, "eps", eps, 0))


def batch_norm_backward(where: str, grad_y, x, mean, var, weight, training, eps, needs) -> BatchNormBackward:
    """Clean arguments of batch_norm_backward."""
    x = with_channels(where, x)
    grad_y = real(where, "grad_y", grad_y)
    match_output(where, grad_y, x.shape)
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x)
    training = bool(training)
    if training:
        _several_values(where, x)
    if mean is None or var is None:
        raise TypeError(f"{where}: mean and var must be given, as batch_norm returned them")
    mean, var = _each_channel(where, "mean", mean, x), _each_channel(where, "var", var, x)
    weight, eps = _each_channel(where, "weight", weight, x), number(where, "eps", eps, 0)
    return BatchNormBackward(grad_y, x, mean, var, weight, training, eps, three_needs(where, needs))


def group_norm(where: str, x, num_groups, weight, bias, eps):
    """(x, num_groups, weight, bias, eps) of group_norm."""
    x = with_channels(where, x)
    groups = whole(where, "num_groups", num_groups, 1)
    if x.shape[1] % groups:
        raise ValueError(f"{where}: num_groups={groups} does not divide the {x.shape[1]} channels of x {x.shape}")
    weight, bias = _each_channel(where, "weight", weight, x), _each_channel(where, "bias", bias, x)
    return x, groups, weight, bias, number(where, "eps", eps, 0)


def group_norm_backward(where: str, grad_y, x, num_groups, weight, eps, needs):
    """(grad_y, x, num_groups, weight, eps, needs) of group_norm_backward."""
    x, groups, weight, _, eps = group_norm(where, x, num_groups, weight, None, eps)
    return _gradient_like(where, grad_y, x), x, groups, weight, eps, three_needs(where, needs)


def normalized_shape(where: str, value) -> tuple[int, ...]:
    """An int or a tuple of at least one, as a tuple."""
    sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not sizes:
        raise ValueError(f"{where}: normalized_shape must have at least one dimension, got {value!r}")
    return tuple(whole(where, "normalized_shape", size, 1) for size in sizes)


def layer_norm(where: str, x, shape, weight, bias, eps):
    """(x, normalized_shape, weight, bias, eps) of layer_norm."""
    x = real(where, "x", x)
    shape = normalized_shape(where, shape)
    if x.shape[max(0, x.ndim - len(shape)) :] != shape:
        raise ValueError(f"{where}: x has shape {x.shape}, which does not end with normalized_shape={shape}")
    for name, array in (("weight", weight), ("bias", bias)):
        if array is not None and np.shape(array) != shape:
            raise ValueError(f"{where}: {name} has shape {np.shape(array)}, expected normalized_shape={shape}")
    weight, bias = (None if a is None else real(where, n, a) for n, a in (("weight", weight), ("bias", bias)))
    same_dtype(where, x=x, weight=weight, bias=bias)
    return x, shape, weight, bias, number(where, "eps", eps, 0)


def layer_norm_backward(where: str, grad_y, x, shape, weight, eps, needs):
    """(grad_y, x, normalized_shape, weight, eps, needs) of layer_norm_backward."""
    x, shape, weight, _, eps = layer_norm(where, x, shape, weight, None, eps)
    return _gradient_like(where, grad_y, x), x, shape, weight, eps, three_needs(where, needs)


def _gradient_like(where: str, grad_y, x: np.ndarray) -> np.ndarray:
    grad_y = real(where, "grad_y", grad_y)
    match_output(where, grad_y, x.shape)
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x)
    return grad_y


def _several_values(where: str, x: np.ndarray) -> None:
    if x.size == x.shape[1] > 0:
        raise ValueError(
            f"{where}: x {x.shape} has one value a channel, which has no variance: training needs more images or pixels"
        )


def _each_channel(where: str, name: str, value, x: np.ndarray):
    if value is None:
        return None
    array = real(where, name, value)
    if array.shape != x.shape[1:2]:
        raise ValueError(f"{where}: {name} has shape {array.shape}, x {x.shape} expects {x.shape[1:2]}")
    if array.dtype is not x.dtype:
        same_dtype(where, **{"x": x, name: array})
    return array
