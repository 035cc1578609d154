"""Batch normalisation, forward and backward."""

from __future__ import annotations

import numpy as np

from .. import _arguments, _dispatch
from .._kernels.memory import empty
from .._threads import threads_for

# Multiply-adds' worth of work a number: a pass of sums and one of outputs.
_WORK = 8
# Bytes of a task's arrays, at most if it can be: they are read twice, and the second time from cache.
_TASK = 1 << 18
# Numbers that a task reads of an image, at least: whole cache lines.
_RUN = 64


def batch_norm(x, running_mean=None, running_var=None, weight=None, bias=None, training=False, eps=1e-5):
    """Normalise each channel (Ioffe and Szegedy 2015, arXiv 1502.03167).

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``, with the mean and variance of the batch where `training`, else
    those given. The running statistics are read and never written: `nn.BatchNorm2d` keeps them.

    Parameters
    ----------
    x : array (N, C) or (N, C, ...)
        float32 or float64.
    running_mean, running_var : array (C,), optional
        Of x's dtype, as all others; needed unless `training`, which passes over them.
    weight, bias : array (C,), optional
        1 and 0 by default.
    training : bool
        Use the batch's own statistics.
    eps : float
        At least 0.

    Returns
    -------
    y : array of x's shape
    mean, var : array (C,)
        What x was normalised with. A batch's variance is its mean squared deviation, with no correction of the count;
        both are 0 for a batch of nothing.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not match, statistics are missing, or a batch to train on has a single value a channel.
    """
    a = _arguments.batch_norm("batch_norm", x, running_mean, running_var, weight, bias, training, eps)
    y = empty(a.x.shape, a.x.dtype)
    if a.training:
        mean, var = np.zeros(a.x.shape[1], a.x.dtype), np.zeros(a.x.shape[1], a.x.dtype)
    else:
        mean, var = np.array(a.mean), np.array(a.var)
    if y.size:
        threads = threads_for(y.size * _WORK)
        block = _block(a.x, threads)
        _dispatch.norm.forward(y, mean, var, a.x, a.weight, a.bias, not a.training, a.eps, block, threads)
    return y, mean, var


def batch_norm_backward(grad_y, x, mean, var, weight=None, training=False, eps=1e-5, needs=(True, True, True)):
    """Gradients of `batch_norm` to its input, weight and bias.

    Parameters
    ----------
    grad_y : array of x's shape
        Gradient of the loss to the output.
    x, weight, training, eps
        As they were given to `batch_norm`.
    mean, var : array (C,)
        As `batch_norm` returned them. Where `training`, they are functions of x, and grad_x takes that into account.
    needs : (bool, bool, bool)
        Which of the three gradients to compute.

    Returns
    -------
    grad_x : array of x's shape, or None
    grad_weight, grad_bias : array (C,) or None

    Raises
    ------
    TypeError, ValueError
        As `batch_norm`, and if grad_y has not the shape of x.
    """
    a = _arguments.batch_norm_backward("batch_norm_backward", grad_y, x, mean, var, weight, training, eps, needs)
    channels, dtype = a.x.shape[1], a.x.dtype
    grad_x = empty(a.x.shape, dtype) if a.needs[0] else None
    grad_weight = np.zeros(channels, dtype) if a.needs[1] else None
    grad_bias = np.zeros(channels, dtype) if a.needs[2] else None
    if a.x.size and any(a.needs):
        threads = threads_for(a.x.size * _WORK)
        _dispatch.norm.backward(
            grad_x, grad_weight, grad_bias, a.grad_y, a.x, a.mean, a.var, a.weight, not a.training, a.eps,
            _block(a.x, threads, 2), threads,
        )  # fmt: skip
    return grad_x, grad_weight, grad_bias


def track(running_mean, running_var, mean, var, count, momentum):
    """Take a batch of `count` values a channel into running statistics, in place: its variance is that of a sample.

    For the layers, which made all four arrays themselves: nothing is checked.
    """
    _dispatch.norm.blend(running_mean, mean, 1 - momentum, momentum)
    _dispatch.norm.blend(running_var, var, 1 - momentum, momentum * count / (count - 1))


def _block(x: np.ndarray, threads: int, arrays: int = 1) -> int:
    """Channels a task."""
    images, channels = x.shape[:2]
    plane = x.size // (images * channels)
    fitting = max(_TASK // (arrays * images * plane * x.itemsize), -(-_RUN // plane))
    block = min(fitting, _dispatch.norm.most_channels(plane))
    # As many tasks for each thread.
    return -(-channels // (threads * -(-channels // (block * threads))))
