"""Max and average pooling, forward and backward."""

from __future__ import annotations

import numpy as np

from .. import _arguments, _dispatch
from .._shapes import Padding, Pair
from .._threads import threads_for


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
    a = _arguments.max_pool2d("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    shape = (*a.x.shape[:2], *a.output_size)
    y, indices = np.empty(shape, a.x.dtype), np.empty(shape, np.int64)
    window = _window(a.x.shape, a.output_size, a.kernel, a.stride, a.padding, a.dilation, False)
    _dispatch.pool2d.max_forward(y, indices, a.x, window, threads_for(y.size * a.kernel[0] * a.kernel[1] * 4))
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
    a = _arguments.max_pool2d_backward("max_pool2d_backward", grad_y, indices, x_shape)
    grad_x = np.empty(a.x_shape, a.grad_y.dtype)
    _dispatch.pool2d.max_backward(grad_x, a.grad_y, a.indices, threads_for(grad_x.size + 4 * a.grad_y.size))
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
    y = np.empty((*a.x.shape[:2], *a.output_size), a.x.dtype)
    window = _window(a.x.shape, a.output_size, a.kernel, a.stride, a.padding, (1, 1), bool(count_include_pad))
    _dispatch.pool2d.average_forward(y, a.x, window, threads_for(y.size * a.kernel[0] * a.kernel[1] * 2))
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
    grad_x = np.empty(a.x_shape, a.grad_y.dtype)
    window = _window(a.x_shape, a.grad_y.shape[2:], a.kernel, a.stride, a.padding, (1, 1), bool(count_include_pad))
    work = grad_x.size + a.grad_y.size * a.kernel[0] * a.kernel[1] * 2
    _dispatch.pool2d.average_backward(grad_x, a.grad_y, window, threads_for(work))
    return grad_x


def _window(x_shape, output: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, include_pad: bool):
    """Fields of the kernels' struct of this name, in its order."""
    return np.array(
        (*x_shape[2:], *output, *kernel, *stride, *padding[0], *padding[1], *dilation, include_pad), np.intp
    )  # fmt: skip
