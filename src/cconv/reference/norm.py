"""Batch normalisation and its gradients, channel by channel."""

from __future__ import annotations

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
