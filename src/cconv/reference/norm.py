"""Batch, group and layer normalisation and their gradients, channel by channel or row by row."""

from __future__ import annotations

import math

import numpy as np

from .. import _arguments
from ._precision import ieee, rounded, wide


@ieee
def batch_norm(x, running_mean=None, running_var=None, weight=None, bias=None, training=False, eps=1e-5):
    """Normalise each channel (Ioffe and Szegedy 2015, arXiv 1502.03167).

    ::

        y[n, c, ...] = (x[n, c, ...] - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c]

    Where `training`, with m values in each channel::

        mean[c] = sum of x[:, c] / m        var[c] = sum of (x[:, c] - mean[c])**2 / m

    Parameters
    ----------
    x : array (N, C) or (N, C, ...)
    running_mean, running_var : array (C,), optional
        The statistics used unless `training`; not changed.
    weight, bias : array (C,), optional
        1 and 0 if None.
    training : bool
    eps : float

    Returns
    -------
    y : array of x's shape
    mean, var : array (C,)
        The statistics used; 0 for a batch of nothing.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not match, statistics are missing, or a batch to train on has a single value a channel.
    """
    args = _arguments.batch_norm("batch_norm", x, running_mean, running_var, weight, bias, training, eps)
    x = wide(args.x)
    y, channels = np.empty(x.shape), x.shape[1]
    mean, var = np.zeros(channels), np.zeros(channels)
    if args.mean is not None and args.var is not None and not args.training:
        mean, var = wide(args.mean), wide(args.var)
    for c in range(channels):
        values = x[:, c]
        if args.training and values.size:
            mean[c] = values.sum() / values.size
            var[c] = ((values - mean[c]) ** 2).sum() / values.size
        scale = 1.0 if args.weight is None else args.weight[c]
        shift = 0.0 if args.bias is None else args.bias[c]
        y[:, c] = (values - mean[c]) / np.sqrt(var[c] + args.eps) * scale + shift
    return rounded(y, args.x.dtype), rounded(mean, args.x.dtype), rounded(var, args.x.dtype)


@ieee
def batch_norm_backward(grad_y, x, mean, var, weight=None, training=False, eps=1e-5, needs=(True, True, True)):
    """Gradients of `batch_norm`.

    With ``x^ = (x - mean[c]) / sqrt(var[c] + eps)`` and m values in a channel::

        grad_bias[c] = sum of grad_y[:, c]        grad_weight[c] = sum of grad_y[:, c] * x^[:, c]
        grad_x[:, c] = weight[c] / sqrt(var[c] + eps) * grad_y[:, c]                          with given statistics
        grad_x[:, c] = weight[c] / sqrt(var[c] + eps)
                       * (grad_y[:, c] - grad_bias[c] / m - x^[:, c] * grad_weight[c] / m)    where `training`

    Parameters
    ----------
    grad_y : array of x's shape
        Gradient with respect to the output.
    x, weight, training, eps
        As given to `batch_norm`.
    mean, var : array (C,)
        From `batch_norm`.
    needs : (bool, bool, bool)
        Which gradients to compute.

    Returns
    -------
    grad_x : array of x's shape, or None
    grad_weight, grad_bias : array (C,) or None

    Raises
    ------
    TypeError, ValueError
        As `batch_norm`; also if `grad_y` has not x's shape.
    """
    args = _arguments.batch_norm_backward("batch_norm_backward", grad_y, x, mean, var, weight, training, eps, needs)
    gy, x, dtype = wide(args.grad_y), wide(args.x), args.x.dtype
    channels = x.shape[1]
    grad_x, grad_weight, grad_bias = np.empty(x.shape), np.zeros(channels), np.zeros(channels)
    for c in range(channels):
        deviation = np.sqrt(wide(args.var)[c] + args.eps)
        normalised = (x[:, c] - wide(args.mean)[c]) / deviation
        grad_bias[c] = gy[:, c].sum()
        grad_weight[c] = (gy[:, c] * normalised).sum()
        through = gy[:, c]
        if args.training and through.size:
            through = through - grad_bias[c] / through.size - normalised * (grad_weight[c] / through.size)
        grad_x[:, c] = (1.0 if args.weight is None else args.weight[c]) / deviation * through
    gradients = grad_x, grad_weight, grad_bias
    return tuple(rounded(g, dtype) if need else None for g, need in zip(gradients, args.needs, strict=True))


@ieee
def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalise each group of channels of each image (Wu and He 2018, arXiv 1803.08494).

    ::

        y[n, c, ...] = (x[n, c, ...] - mean[n, g]) / sqrt(var[n, g] + eps) * weight[c] + bias[c]

    where g is the group of c: C / num_groups neighbouring channels, with mean and mean squared deviation of their own.

    Parameters
    ----------
    x : array (N, C) or (N, C, ...)
    num_groups : int
        Divides C.
    weight, bias : array (C,), optional
        1 and 0 if None.
    eps : float

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not match, or the groups do not divide the channels.
    """
    x, groups, weight, bias, eps = _arguments.group_norm("group_norm", x, num_groups, weight, bias, eps)
    rows = wide(x).reshape(len(x) * groups, math.prod(x.shape[1:]) // groups)
    normalised, _ = _normalised(rows, eps)
    y = normalised.reshape(x.shape)
    shape = _across(x.shape)
    scale, shift = (None if a is None else wide(a).reshape(shape) for a in (weight, bias))
    return rounded(y * (1 if scale is None else scale) + (0 if shift is None else shift), x.dtype)


@ieee
def group_norm_backward(grad_y, x, num_groups, weight=None, eps=1e-5, needs=(True, True, True)):
    """Gradients of `group_norm`.

    With ``x^ = (x - mean) / sqrt(var + eps)``, and the means over a group::

        grad_bias[c] = sum of grad_y[:, c]        grad_weight[c] = sum of grad_y[:, c] * x^[:, c]
        g = grad_y * weight
        grad_x = (g - mean of g - x^ * mean of (g * x^)) / sqrt(var + eps)

    Parameters
    ----------
    grad_y : array of x's shape
        Gradient with respect to the output.
    x, num_groups, weight, eps
        As given to `group_norm`.
    needs : (bool, bool, bool)
        Which gradients to compute.

    Returns
    -------
    grad_x : array of x's shape, or None
    grad_weight, grad_bias : array (C,) or None

    Raises
    ------
    TypeError, ValueError
        As `group_norm`; also if `grad_y` has not x's shape.
    """
    grad_y, x, groups, weight, eps, needs = _arguments.group_norm_backward(
        "group_norm_backward", grad_y, x, num_groups, weight, eps, needs
    )
    axes = (0, *range(2, x.ndim))
    scale = 1.0 if weight is None else wide(weight).reshape(_across(x.shape))
    rows = len(x) * groups, math.prod(x.shape[1:]) // groups
    return _gradients(grad_y, x, rows, scale, axes, (x.shape[1],), eps, needs)


@ieee
def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Normalise over the last dimensions (Ba, Kiros and Hinton 2016, arXiv 1607.06450).

    ::

        y = (x - mean) / sqrt(var + eps) * weight + bias

    with mean and mean squared deviation over the dimensions of `normalized_shape`.

    Parameters
    ----------
    x : array (..., *normalized_shape)
    normalized_shape : int or tuple of int
    weight, bias : array of shape `normalized_shape`, optional
        1 and 0 if None.
    eps : float

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not match.
    """
    x, shape, weight, bias, eps = _arguments.layer_norm("layer_norm", x, normalized_shape, weight, bias, eps)
    normalised, _ = _normalised(wide(x).reshape(x.size // math.prod(shape), -1 if x.size else math.prod(shape)), eps)
    y = normalised.reshape(x.shape) * (1.0 if weight is None else wide(weight))
    return rounded(y + (0.0 if bias is None else wide(bias)), x.dtype)


@ieee
def layer_norm_backward(grad_y, x, normalized_shape, weight=None, eps=1e-5, needs=(True, True, True)):
    """Gradients of `layer_norm`: those of `group_norm`, but that each number of a row has a weight of its own.

    Parameters
    ----------
    grad_y : array of x's shape
        Gradient with respect to the output.
    x, normalized_shape, weight, eps
        As given to `layer_norm`.
    needs : (bool, bool, bool)
        Which gradients to compute.

    Returns
    -------
    grad_x : array of x's shape, or None
    grad_weight, grad_bias : array of shape `normalized_shape`, or None

    Raises
    ------
    TypeError, ValueError
        As `layer_norm`; also if `grad_y` has not x's shape.
    """
    grad_y, x, shape, weight, eps, needs = _arguments.layer_norm_backward(
        "layer_norm_backward", grad_y, x, normalized_shape, weight, eps, needs
    )
    axes = tuple(range(x.ndim - len(shape)))
    scale = 1.0 if weight is None else wide(weight)
    rows = x.size // math.prod(shape), math.prod(shape)
    return _gradients(grad_y, x, rows, scale, axes, shape, eps, needs)


def _normalised(rows: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Each row less its mean over its deviation, and the deviations."""
    if not rows.size:
        return rows, np.zeros((len(rows), 1))
    centred = rows - rows.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + eps)
    return centred / deviation, deviation


def _gradients(grad_y, x, rows, scale, axes, weight_shape, eps, needs):
    gy = wide(grad_y)
    normalised, deviation = _normalised(wide(x).reshape(rows), eps)
    grad_bias = gy.sum(axis=axes)
    grad_weight = (gy * normalised.reshape(x.shape)).sum(axis=axes)
    grad_x = gy
    if x.size:
        g = (gy * scale).reshape(rows)
        g = g - g.mean(axis=1, keepdims=True) - normalised * (g * normalised).mean(axis=1, keepdims=True)
        grad_x = (g / deviation).reshape(x.shape)
    grads = grad_x, grad_weight.reshape(weight_shape), grad_bias.reshape(weight_shape)
    return tuple(rounded(g, x.dtype) if need else None for g, need in zip(grads, needs, strict=True))


def _across(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which numbers for each channel stand beside an array (N, C, ...)."""
    return (shape[1], *[1] * (len(shape) - 2))
