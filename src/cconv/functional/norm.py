"""Batch, group and layer normalisation, forward and backward."""

from __future__ import annotations

import math

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


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalise each group of neighbouring channels of each image (Wu and He 2018, arXiv 1803.08494).

    ``y = (x - mean) / sqrt(var + eps) * weight + bias`` with the mean and the mean squared deviation of the group.

    Parameters
    ----------
    x : array (N, C) or (N, C, ...)
        float32 or float64.
    num_groups : int
        Divides C. With 1 the whole image has one mean, with C each channel its own (instance normalisation).
    weight, bias : array (C,), optional
        Of x's dtype; 1 and 0 by default.
    eps : float
        At least 0.

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
    return _normalised(x.reshape(_planes(x.shape)), groups, weight, bias, eps).reshape(x.shape)


def group_norm_backward(grad_y, x, num_groups, weight=None, eps=1e-5, needs=(True, True, True)):
    """Gradients of `group_norm` to its input, weight and bias.

    Parameters
    ----------
    grad_y : array of x's shape
        Gradient of the loss to the output.
    x, num_groups, weight, eps
        As they were given to `group_norm`.
    needs : (bool, bool, bool)
        Which of the three gradients to compute.

    Returns
    -------
    grad_x : array of x's shape, or None
    grad_weight, grad_bias : array (C,) or None

    Raises
    ------
    TypeError, ValueError
        As `group_norm`, and if grad_y has not the shape of x.
    """
    grad_y, x, groups, weight, eps, needs = _arguments.group_norm_backward(
        "group_norm_backward", grad_y, x, num_groups, weight, eps, needs
    )
    grad_x, grad_weight, grad_bias = _gradients(grad_y, x.reshape(_planes(x.shape)), groups, weight, eps, needs)
    return None if grad_x is None else grad_x.reshape(x.shape), grad_weight, grad_bias


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Normalise over the last dimensions (Ba, Kiros and Hinton 2016, arXiv 1607.06450).

    ``y = (x - mean) / sqrt(var + eps) * weight + bias`` with mean and mean squared deviation over these dimensions.

    Parameters
    ----------
    x : array (..., *normalized_shape)
        float32 or float64.
    normalized_shape : int or tuple of int
    weight, bias : array of shape `normalized_shape`, optional
        Of x's dtype; 1 and 0 by default.
    eps : float
        At least 0.

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
    weight, bias = (a if a is None else a.ravel() for a in (weight, bias))
    return _normalised(x.reshape(_rows(x.shape, shape)), 1, weight, bias, eps).reshape(x.shape)


def layer_norm_backward(grad_y, x, normalized_shape, weight=None, eps=1e-5, needs=(True, True, True)):
    """Gradients of `layer_norm` to its input, weight and bias.

    Parameters
    ----------
    grad_y : array of x's shape
        Gradient of the loss to the output.
    x, normalized_shape, weight, eps
        As they were given to `layer_norm`.
    needs : (bool, bool, bool)
        Which of the three gradients to compute.

    Returns
    -------
    grad_x : array of x's shape, or None
    grad_weight, grad_bias : array of shape `normalized_shape`, or None

    Raises
    ------
    TypeError, ValueError
        As `layer_norm`, and if grad_y has not the shape of x.
    """
    grad_y, x, shape, weight, eps, needs = _arguments.layer_norm_backward(
        "layer_norm_backward", grad_y, x, normalized_shape, weight, eps, needs
    )
    weight = weight if weight is None else weight.ravel()
    grad_x, *others = _gradients(grad_y, x.reshape(_rows(x.shape, shape)), 1, weight, eps, needs)
    grad_weight, grad_bias = (g if g is None else g.reshape(shape) for g in others)
    return None if grad_x is None else grad_x.reshape(x.shape), grad_weight, grad_bias


def _normalised(x, groups: int, weight, bias, eps: float) -> np.ndarray:
    """y of x (N, channels, plane), whose groups of channels have one mean each."""
    y = empty(x.shape, x.dtype)
    if y.size:
        channels, plane, repeats = _laid_out(x.shape, groups, weight is None and bias is None)
        scale, shift = (_each(a, d, channels, plane, repeats, x.dtype) for a, d in ((weight, 1), (bias, 0)))
        threads = threads_for(x.size * _WORK)
        _dispatch.norm.forward_groups(y, x, scale, shift, groups, channels // groups, plane, eps, threads)
    return y


def _gradients(grad_y, x, groups: int, weight, eps: float, needs):
    """grad_x, and (channels,) grad_weight and grad_bias of `_normalised`."""
    dtype, wanted = x.dtype, needs[1] or needs[2]
    grad_x = empty(x.shape, dtype) if needs[0] else None
    if not x.size or not any(needs):
        return grad_x, *(np.zeros(x.shape[1], dtype) if need else None for need in needs[1:])
    threads = threads_for(x.size * _WORK)
    channels, plane, repeats = _laid_out(x.shape, groups, weight is None and not wanted)
    scale = _each(weight, 1, channels, plane, repeats, dtype)
    table = np.empty((len(x) * groups, 2))
    parts = np.empty((len(x), channels, 2)) if wanted and plane > 1 else None
    sizes = groups, channels // groups
    _dispatch.norm.backward_groups(grad_x, table, parts, grad_y, x, scale, *sizes, plane, eps, threads)
    if parts is not None:
        sums = parts.sum(0).astype(dtype)
        return grad_x, *(np.ascontiguousarray(sums[:, i]) if need else None for i, need in enumerate(needs[1:]))
    grads = [np.empty(channels, dtype) if need else None for need in needs[1:]]
    if wanted:
        _dispatch.norm.backward_columns(*grads, table, grad_y, x, *sizes, threads)
    return grad_x, *(g if g is None else g.reshape(x.shape[1], repeats).sum(1) for g in grads)


def _planes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    return shape[0], shape[1], math.prod(shape[2:])


def _rows(shape: tuple[int, ...], normalized_shape: tuple[int, ...]) -> tuple[int, int, int]:
    return math.prod(shape[: len(shape) - len(normalized_shape)]), math.prod(normalized_shape), 1


def _laid_out(shape: tuple[int, ...], groups: int, plain: bool) -> tuple[int, int, int]:
    """Channels and plane as the kernels take them, and how many numbers of theirs have one weight.

    Without weights a group is one channel; a plane of few numbers is as many channels of a single one.
    """
    _, channels, plane = shape
    if plain:
        channels, plane = groups, channels // groups * plane
    return (channels * plane, 1, plane) if plane < 16 else (channels, plane, 1)


def _each(weight, default: float, channels: int, plane: int, repeats: int, dtype) -> np.ndarray | None:
    """A weight for each of the kernels' channels; single numbers always have one."""
    if weight is not None:
        return weight if repeats == 1 else np.repeat(weight, repeats)
    return np.full(channels, default, dtype) if plane == 1 else None


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
