"""Convolution and pooling of sequences and their gradients, from their definitions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import _arguments
from .._shapes import Pair
from ._precision import ieee, rounded, wide
from .conv import _groups
from .pool import _divisor, _inside, _largest, _scattered, _share


@ieee
def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Slide each filter over the zero-padded sequence, without flipping it.

    With xp the padded input, and c over the channels of filter k's group::

        y[n, k, i] = bias[k] + sum over c, r of weight[k, c, r] * xp[n, c, i*stride + r*dilation]

    Parameters
    ----------
    x : array (N, C, L)
    weight : array (K, C / groups, R)
    bias : array (K,), optional
    stride, dilation : int
    padding : int, ((left, right),), "same" or "valid"
    groups : int

    Returns
    -------
    array (N, K, P)
        P = (L + left + right - dilation*(R - 1) - 1) // stride + 1.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, dtypes differ, or a number is not an integer.
    ValueError
        If a rank or shape does not fit, or a number is out of range.
    """
    args = _arguments.conv1d("conv1d", x, weight, bias, stride, padding, dilation, groups)
    xp, w = np.pad(wide(args.x), ((0, 0), (0, 0), args.padding)), wide(args.weight)
    y = np.zeros((len(xp), len(w), args.output_size))
    for r, seen in _taps(w.shape[2], args.output_size, args.stride, args.dilation):
        for channels, filters in _groups(args.groups, xp.shape[1], len(w)):
            y[:, filters] += np.einsum("ncl,kc->nkl", xp[:, channels, seen], w[filters, :, r])
    if args.bias is not None:
        y += wide(args.bias)[:, None]
    return rounded(y, args.x.dtype)


@ieee
def conv1d_backward(grad_y, x, weight, stride=1, padding=0, dilation=1, groups=1, needs=(True, True, True)):
    """Gradients of `conv1d`.

    ::

        grad_xp[n, c, i*stride + r*dilation] += weight[k, c, r] * grad_y[n, k, i]   for all k, r, i
        grad_weight[k, c, r] = sum over n, i of grad_y[n, k, i] * xp[n, c, i*stride + r*dilation]
        grad_bias[k]         = sum over n, i of grad_y[n, k, i]

    grad_x is grad_xp without the padding.

    Parameters
    ----------
    grad_y : array (N, K, P)
        Gradient with respect to the output.
    x, weight, stride, padding, dilation, groups
        As given to `conv1d`.
    needs : (bool, bool, bool)
        Which of the three gradients to compute.

    Returns
    -------
    (grad_x, grad_weight, grad_bias) : arrays (N, C, L), (K, C / groups, R), (K,)
        None in the place of one that is not needed.

    Raises
    ------
    TypeError, ValueError
        As `conv1d`; also if `grad_y` has not the output's shape.
    """
    args = _arguments.conv1d_backward("conv1d_backward", grad_y, x, weight, stride, padding, dilation, groups, needs)
    gy, w, xp = wide(args.grad_y), wide(args.weight), np.pad(wide(args.x), ((0, 0), (0, 0), args.padding))
    grad_xp, grad_w = np.zeros_like(xp), np.zeros_like(w)
    for r, seen in _taps(w.shape[2], gy.shape[2], args.stride, args.dilation):
        for channels, filters in _groups(args.groups, xp.shape[1], len(w)):
            g = gy[:, filters]
            grad_xp[:, channels, seen] += np.einsum("nkl,kc->ncl", g, w[filters, :, r])
            grad_w[filters, :, r] = np.einsum("nkl,ncl->kc", g, xp[:, channels, seen])
    left = args.padding[0]
    gradients = grad_xp[:, :, left : left + args.x.shape[2]], grad_w, gy.sum(axis=(0, 2))
    return tuple(rounded(g, args.x.dtype) if need else None for g, need in zip(gradients, args.needs, strict=True))


@ieee
def max_pool1d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The largest value of each window, and where it lies.

    Over those r that lie inside the input::

        y[n, c, i] = max over r of x[n, c, i*stride + r*dilation - left]

    The first maximum wins. A NaN in a window gives NaN, and the index of the last NaN, as in PyTorch.

    Parameters
    ----------
    x : array (N, C, L)
    kernel_size, dilation : int
    stride : int, optional
        `kernel_size` if None.
    padding : int or ((left, right),)
        At most half the kernel, before dilation; counts as minus infinity.
    ceil_mode : bool
        Round the output size up: a last window may hang over the end.

    Returns
    -------
    y : array (N, C, P)
    indices : int64 array (N, C, P)
        Places in the sequence without padding.

    Raises
    ------
    TypeError
        If `x` is not float32 or float64, or a number is not an integer.
    ValueError
        If a rank or size does not fit, or a number is out of range.
    """
    args = _arguments.max_pool1d("max_pool1d", x, kernel_size, stride, padding, dilation, ceil_mode)
    x = args.x
    y = np.empty((*x.shape[:2], args.output_size), x.dtype)
    indices = np.empty(y.shape, np.int64)
    for i, seen in _windows(args.output_size, x.shape[2], *args[1:5]):
        y[:, :, i], largest = _largest(x[:, :, seen])
        indices[:, :, i] = np.arange(x.shape[2])[seen][largest]
    return y, indices


@ieee
def max_pool1d_backward(grad_y, indices, x_shape):
    """Gradient of `max_pool1d`: it goes to each window's maximum alone, and adds up where windows overlap.

    ::

        grad_x[n, c, indices[n, c, i]] += grad_y[n, c, i]

    Parameters
    ----------
    grad_y : array (N, C, P)
        Gradient with respect to the output.
    indices : int64 array (N, C, P)
        From `max_pool1d`.
    x_shape : (N, C, L)

    Returns
    -------
    array (N, C, L)

    Raises
    ------
    TypeError
        If `grad_y` is not float32 or float64, or `indices` not int64.
    ValueError
        If shapes do not match, or an index lies outside the sequence.
    """
    return _scattered(*_arguments.max_pool1d_backward("max_pool1d_backward", grad_y, indices, x_shape))


@ieee
def avg_pool1d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window.

    ::

        y[n, c, i] = sum over the window inside the input of x[n, c, ...] / divisor[i]

    The divisor counts the window's places inside the input; with `count_include_pad` also those in the padding, but
    never those that hang over its end.

    Parameters
    ----------
    x : array (N, C, L)
    kernel_size : int
    stride : int, optional
        `kernel_size` if None.
    padding : int or ((left, right),)
        At most half the kernel; counts as zero.
    ceil_mode : bool
        Round the output size up: a last window may hang over the end.
    count_include_pad : bool

    Returns
    -------
    array (N, C, P)

    Raises
    ------
    TypeError
        If `x` is not float32 or float64, or a number is not an integer.
    ValueError
        If a rank or size does not fit, or a number is out of range.
    """
    args = _arguments.avg_pool1d("avg_pool1d", x, kernel_size, stride, padding, ceil_mode)
    x = wide(args.x)
    y = np.empty((*x.shape[:2], args.output_size))
    for i, seen in _windows(args.output_size, x.shape[2], *args[1:5]):
        divisor = _divisor(i, x.shape[2], args.kernel, args.stride, args.padding, count_include_pad)
        y[:, :, i] = x[:, :, seen].sum(axis=2) / divisor
    return rounded(y, args.x.dtype)


@ieee
def avg_pool1d_backward(grad_y, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Gradient of `avg_pool1d`: each window spreads it evenly.

    ::

        grad_x[n, c, place] += grad_y[n, c, i] / divisor[i]    for each place of window i

    Parameters
    ----------
    grad_y : array (N, C, P)
        Gradient with respect to the output.
    x_shape : (N, C, L)
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As given to `avg_pool1d`.

    Returns
    -------
    array (N, C, L)

    Raises
    ------
    TypeError, ValueError
        As `avg_pool1d`; also if `grad_y` has not the output's shape.
    """
    args = _arguments.avg_pool1d_backward(
        "avg_pool1d_backward", grad_y, x_shape, kernel_size, stride, padding, ceil_mode
    )
    gy, n = wide(args.grad_y), args.x_shape[2]
    grad_x = np.zeros(args.x_shape)
    for i, seen in _windows(gy.shape[2], n, args.kernel, args.stride, args.padding, 1):
        divisor = _divisor(i, n, args.kernel, args.stride, args.padding, count_include_pad)
        grad_x[:, :, seen] += gy[:, :, i, None] / divisor
    return rounded(grad_x, args.grad_y.dtype)


@ieee
def adaptive_avg_pool1d(x, output_size):
    """The mean of each of ``output_size`` windows, which share the sequence out evenly.

    ::

        y[n, c, i] = mean of x[n, c, floor(i*L/P) : ceil((i + 1)*L/P)]

    Parameters
    ----------
    x : array (N, C, L)
    output_size : int

    Returns
    -------
    array (N, C, P)

    Raises
    ------
    TypeError
        If `x` is not float32 or float64, or the size is not an integer.
    ValueError
        If a rank or size does not fit.
    """
    given, output = _arguments.adaptive_pool1d("adaptive_avg_pool1d", x, output_size)
    x = wide(given)
    y = np.empty((*x.shape[:2], output))
    for i in range(output):
        y[:, :, i] = x[:, :, _share(i, output, x.shape[2])].mean(axis=2)
    return rounded(y, given.dtype)


@ieee
def adaptive_avg_pool1d_backward(grad_y, x_shape):
    """Gradient of `adaptive_avg_pool1d`: each window spreads it evenly.

    Parameters
    ----------
    grad_y : array (N, C, P)
        Gradient with respect to the output.
    x_shape : (N, C, L)

    Returns
    -------
    array (N, C, L)

    Raises
    ------
    TypeError, ValueError
        As `adaptive_avg_pool1d`; also if `grad_y` and `x_shape` do not match.
    """
    given, x_shape = _arguments.adaptive_pool1d_backward("adaptive_avg_pool1d_backward", grad_y, x_shape)
    gy, grad_x, output, n = wide(given), np.zeros(x_shape), given.shape[2], x_shape[2]
    for i in range(output):
        seen = _share(i, output, n)
        grad_x[:, :, seen] += gy[:, :, i, None] / (seen.stop - seen.start)
    return rounded(grad_x, given.dtype)


def adaptive_max_pool1d(x, output_size):
    """The largest value of each of ``output_size`` windows, which share the sequence out evenly, and where it lies.

    ::

        y[n, c, i] = max of x[n, c, floor(i*L/P) : ceil((i + 1)*L/P)]

    Parameters
    ----------
    x : array (N, C, L)
    output_size : int

    Returns
    -------
    y : array (N, C, P)
    indices : int64 array (N, C, P)
        As those of `max_pool1d`.

    Raises
    ------
    TypeError
        If `x` is not float32 or float64, or the size is not an integer.
    ValueError
        If a rank or size does not fit.
    """
    x, output = _arguments.adaptive_pool1d("adaptive_max_pool1d", x, output_size)
    y, indices = np.empty((*x.shape[:2], output), x.dtype), np.empty((*x.shape[:2], output), np.int64)
    for i in range(output):
        seen = _share(i, output, x.shape[2])
        y[:, :, i], largest = _largest(x[:, :, seen])
        indices[:, :, i] = seen.start + largest
    return y, indices


@ieee
def adaptive_max_pool1d_backward(grad_y, indices, x_shape):
    """Gradient of `adaptive_max_pool1d`: as that of `max_pool1d`.

    Parameters
    ----------
    grad_y : array (N, C, P)
        Gradient with respect to the output.
    indices : int64 array (N, C, P)
        From `adaptive_max_pool1d`.
    x_shape : (N, C, L)

    Returns
    -------
    array (N, C, L)

    Raises
    ------
    TypeError, ValueError
        As `max_pool1d_backward`.
    """
    return _scattered(*_arguments.max_pool1d_backward("adaptive_max_pool1d_backward", grad_y, indices, x_shape))


def _taps(kernel: int, output: int, stride: int, dilation: int) -> Iterator[tuple[int, slice]]:
    """Each filter tap, and the padded places that it meets over all outputs."""
    for r in range(kernel):
        yield r, slice(r * dilation, r * dilation + (output - 1) * stride + 1, stride)


def _windows(
    output: int, n: int, kernel: int, stride: int, padding: Pair, dilation: int
) -> Iterator[tuple[int, slice]]:
    """Each output place, and the places of the input that its window holds."""
    for i in range(output):
        yield i, _inside(i * stride - padding[0], kernel, dilation, n)
