"""Max and average pooling, forward and backward."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .. import _arguments, _dispatch
from .._arguments.shared import INT64
from .._kernels.arrays import all_below
from .._kernels.memory import empty
from .._scratch import scratch
from .._shapes import Padding, Pair
from .._threads import threads_for
from ._calls import keep, recall, signature


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The largest number in each window, and where it lies.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    kernel_size, dilation : int or (height, width)
    stride : int or (height, width), optional
        `kernel_size` by default.
    padding : int, (height, width) or ((top, bottom), (left, right))
        Places of minus infinity on each side, at most half the kernel.
    ceil_mode : bool
        A last window may hang over the end.

    Returns
    -------
    y : array (N, C, H', W')
    indices : int64 array of y's shape
        ``h * W + w`` in the unpadded plane. The first maximum wins; a NaN in the window wins over all.

    Raises
    ------
    TypeError
        If x is not float32 or float64.
    ValueError
        If the padding is over half the kernel, or the kernel larger than the padded input.
    """
    key = signature("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    call = recall(key)
    if call is None:
        a = _arguments.max_pool2d("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
        x, shape = a.x, (*a.x.shape[:2], *a.output_size)
        window, room = _window(x.shape[2:], a.output_size, a.kernel, a.stride, a.padding, a.dilation, False)
        threads = threads_for(math.prod(shape) * a.kernel[0] * a.kernel[1] * 4)
        call = keep(key, (shape, window, threads * room, threads))
    shape, window, room, threads = call
    y, indices = empty(shape, x.dtype), empty(shape, INT64)
    _dispatch.pool2d.max_forward(y, indices, x, window, scratch(room, y.dtype), threads)
    return y, indices


def max_pool2d_backward(grad_y, indices, x_shape):
    """Gradient of `max_pool2d` to its input: each output's gradient goes to the place it came from.

    Parameters
    ----------
    grad_y : array (N, C, H', W')
    indices : int64 array of grad_y's shape
        As `max_pool2d` gave them.
    x_shape : (N, C, H, W)

    Returns
    -------
    array (N, C, H, W)

    Raises
    ------
    TypeError
        If grad_y is not float32 or float64, or indices are not int64.
    ValueError
        If shapes do not match, or an index lies outside of the plane.
    """
    key = signature("max_pool2d_backward", grad_y, indices, x_shape)
    call = recall(key)
    if call is None or not all_below(indices, call[0]):
        grad_y, indices, x_shape = _arguments.max_pool2d_backward("max_pool2d_backward", grad_y, indices, x_shape)
        call = keep(key, (x_shape[2] * x_shape[3], threads_for(math.prod(x_shape) + 4 * grad_y.size)))
    grad_x = empty(x_shape, grad_y.dtype)
    _dispatch.pool2d.max_backward(grad_x, grad_y, indices, call[1])
    return grad_x


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    kernel_size : int or (height, width)
    stride : int or (height, width), optional
        `kernel_size` by default.
    padding : int, (height, width) or ((top, bottom), (left, right))
        Zeros on each side, at most half the kernel.
    ceil_mode : bool
        A last window may hang over the end; what lies past the padding is not counted.
    count_include_pad : bool
        Whether the zeros of the padding count in the mean.

    Returns
    -------
    array (N, C, H', W')

    Raises
    ------
    TypeError
        If x is not float32 or float64.
    ValueError
        If the padding is over half the kernel, or the kernel larger than the padded input.
    """
    a = _arguments.avg_pool2d("avg_pool2d", x, kernel_size, stride, padding, ceil_mode)
    y = empty((*a.x.shape[:2], *a.output_size), a.x.dtype)
    window, room = _window(a.x.shape[2:], a.output_size, a.kernel, a.stride, a.padding, (1, 1), bool(count_include_pad))
    threads = threads_for(y.size * a.kernel[0] * a.kernel[1] * 2)
    work = scratch(a.output_size[1] + threads * room, y.dtype)
    _dispatch.pool2d.average_forward(y, a.x, window, work, threads)
    return y


def avg_pool2d_backward(grad_y, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Gradient of `avg_pool2d` to its input: each output's gradient spread evenly over its window.

    Parameters
    ----------
    grad_y : array (N, C, H', W')
    x_shape : (N, C, H, W)
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As they were given to `avg_pool2d`.

    Returns
    -------
    array (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `avg_pool2d`, and if grad_y has not the shape of the output.
    """
    a = _arguments.avg_pool2d_backward("avg_pool2d_backward", grad_y, x_shape, kernel_size, stride, padding, ceil_mode)
    grad_x = empty(a.x_shape, a.grad_y.dtype)
    output = a.grad_y.shape[2:]
    window, _ = _window(a.x_shape[2:], output, a.kernel, a.stride, a.padding, (1, 1), bool(count_include_pad))
    threads = threads_for(grad_x.size + a.grad_y.size * a.kernel[0] * a.kernel[1] * 2)
    _dispatch.pool2d.average_backward(grad_x, a.grad_y, window, scratch(output[1], grad_x.dtype), threads)
    return grad_x


def adaptive_avg_pool2d(x, output_size):
    """The mean of each of ``output_size`` windows, which share the image out evenly.

    Output i of P along a side of H places averages places ``floor(i * H / P)`` to ``ceil((i + 1) * H / P) - 1``.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    output_size : int, None or (height, width)
        None, also as one of the two, keeps the size of x. 1 averages over the whole plane.

    Returns
    -------
    array (N, C, P, Q)

    Raises
    ------
    TypeError
        If x is not float32 or float64, or a size is no integer.
    ValueError
        If x has no rows or no columns, or a size is less than 1.
    """
    x, output = _arguments.adaptive_pool2d("adaptive_avg_pool2d", x, output_size)
    y = empty((*x.shape[:2], *output), x.dtype)
    threads = threads_for(4 * (x.size + y.size))
    _dispatch.pool2d.adaptive_forward(y, x, scratch(threads * x.shape[3], x.dtype), threads)
    return y


def adaptive_avg_pool2d_backward(grad_y, x_shape):
    """Gradient of `adaptive_avg_pool2d` to its input: each output's gradient spread evenly over its window.

    Parameters
    ----------
    grad_y : array (N, C, P, Q)
    x_shape : (N, C, H, W)

    Returns
    -------
    array (N, C, H, W)

    Raises
    ------
    TypeError
        If grad_y is not float32 or float64.
    ValueError
        If shapes do not match, or there are no rows or no columns.
    """
    grad_y, x_shape = _arguments.adaptive_pool2d_backward("adaptive_avg_pool2d_backward", grad_y, x_shape)
    grad_x = empty(x_shape, grad_y.dtype)
    _dispatch.pool2d.adaptive_backward(grad_x, grad_y, threads_for(4 * (grad_x.size + grad_y.size)))
    return grad_x


def adaptive_max_pool2d(x, output_size):
    """The largest number in each of ``output_size`` windows, which share the image out evenly, and where it lies.

    The windows are those of `adaptive_avg_pool2d`.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    output_size : int, None or (height, width)
        None, also as one of the two, keeps the size of x.

    Returns
    -------
    y : array (N, C, P, Q)
    indices : int64 array of y's shape
        ``h * W + w``. The first maximum wins; a NaN in the window wins over all.

    Raises
    ------
    TypeError
        If x is not float32 or float64, or a size is no integer.
    ValueError
        If x has no rows or no columns, or a size is less than 1.
    """
    x, output = _arguments.adaptive_pool2d("adaptive_max_pool2d", x, output_size)
    shape = *x.shape[:2], *output
    y, indices = empty(shape, x.dtype), empty(shape, INT64)
    _dispatch.pool2d.adaptive_max_forward(y, indices, x, threads_for(4 * (x.size + y.size)))
    return y, indices


def adaptive_max_pool2d_backward(grad_y, indices, x_shape):
    """Gradient of `adaptive_max_pool2d` to its input: each output's gradient goes to the place it came from.

    Parameters
    ----------
    grad_y : array (N, C, P, Q)
    indices : int64 array of grad_y's shape
        As `adaptive_max_pool2d` gave them.
    x_shape : (N, C, H, W)

    Returns
    -------
    array (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `max_pool2d_backward`.
    """
    a = _arguments.max_pool2d_backward("adaptive_max_pool2d_backward", grad_y, indices, x_shape)
    grad_x = empty(a.x_shape, a.grad_y.dtype)
    threads = threads_for(grad_x.size + 4 * a.grad_y.size)
    _dispatch.pool2d.max_backward(grad_x, a.grad_y, a.indices, threads)
    return grad_x


@lru_cache(1024)
def _window(
    size: tuple[int, ...],
    output: tuple[int, ...],
    kernel: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    include_pad: bool,
):
    """Fields of the kernels' struct of this name, in its order, and the numbers in a plane with its border."""
    height, width = size
    rows = (output[0] - 1) * stride[0] + (kernel[0] - 1) * dilation[0] + 1
    columns = (output[1] - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1
    (top, bottom), (left, right) = padding
    if not (top or left or rows > height or columns > width):
        rows = columns = 0
    fields = (height, width, *output, *kernel, *stride, top, bottom, left, right, *dilation, include_pad, rows, columns)
    return np.array(fields, np.intp), rows * columns
