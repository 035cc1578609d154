"""Convolution and pooling of sequences, forward and backward: those of images of one row, as views."""

from __future__ import annotations

import math

from .. import _arguments
from ._calls import keep, recall, signature
from .conv import conv2d, conv2d_backward, conv2d_relu
from .pool import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    adaptive_max_pool2d,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlate a batch of sequences with a bank of filters.

    ``y[n, k, i] = bias[k] + sum over c, r of weight[k, c, r] * x[n, c, i*stride + r*dilation - padding]``
    with zeros outside of x.

    Parameters
    ----------
    x : array (N, C, L)
        float32 or float64.
    weight : array (K, C // groups, R)
        Filters, of x's dtype.
    bias : array (K,), optional
    stride, dilation : int
    padding : int, ((left, right),), "same" or "valid"
        Zeros added on each side.
    groups : int
        Channels and filters fall into so many groups, each convolved apart.

    Returns
    -------
    array (N, K, L')

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not match, or the kernel is larger than the padded input.
    """
    key = signature("conv1d", x, weight, bias, stride, padding, dilation, groups)
    options = recall(key)
    if options is None:
        a = _arguments.conv1d("conv1d", x, weight, bias, stride, padding, dilation, groups)
        x, weight, bias = a.x, a.weight, a.bias
        options = keep(key, ((1, a.stride), ((0, 0), a.padding), (1, a.dilation), a.groups))
    return conv2d(x[:, :, None], weight[:, :, None], bias, *options)[:, :, 0]


def conv1d_relu(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, top=math.inf):
    """``relu(conv1d(...))`` to the same bits, in one pass: for fused layers. With `top` 6 it is relu6."""
    a = _arguments.conv1d("conv1d", x, weight, bias, stride, padding, dilation, groups)
    options = (1, a.stride), ((0, 0), a.padding), (1, a.dilation), a.groups
    return conv2d_relu(a.x[:, :, None], a.weight[:, :, None], a.bias, *options, top=top)[:, :, 0]


def conv1d_backward(grad_y, x, weight, stride=1, padding=0, dilation=1, groups=1, needs=(True, True, True)):
    """Gradients of `conv1d` to its input, weight and bias.

    Parameters
    ----------
    grad_y : array (N, K, L')
        Gradient of the loss to the output.
    x, weight, stride, padding, dilation, groups
        As they were given to `conv1d`.
    needs : (bool, bool, bool)
        Which of the three gradients to compute.

    Returns
    -------
    grad_x : array (N, C, L) or None
    grad_weight : array (K, C // groups, R) or None
    grad_bias : array (K,) or None

    Raises
    ------
    TypeError, ValueError
        As `conv1d`, and if grad_y has not the shape of the output.
    """
    key = signature("conv1d_backward", grad_y, x, weight, stride, padding, dilation, groups, needs)
    options = recall(key)
    if options is None:
        a = _arguments.conv1d_backward("conv1d_backward", grad_y, x, weight, stride, padding, dilation, groups, needs)
        grad_y, x, weight = a.grad_y, a.x, a.weight
        options = keep(key, ((1, a.stride), ((0, 0), a.padding), (1, a.dilation), a.groups, a.needs))
    grad_x, grad_weight, grad_bias = conv2d_backward(grad_y[:, :, None], x[:, :, None], weight[:, :, None], *options)
    return (
        None if grad_x is None else grad_x[:, :, 0],
        None if grad_weight is None else grad_weight[:, :, 0],
        grad_bias,
    )


def max_pool1d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The largest number in each window, and where it lies.

    Parameters
    ----------
    x : array (N, C, L)
        float32 or float64.
    kernel_size, dilation : int
    stride : int, optional
        `kernel_size` by default.
    padding : int or ((left, right),)
        Places of minus infinity on each side, at most half the kernel.
    ceil_mode : bool
        A last window may hang over the end.

    Returns
    -------
    y : array (N, C, L')
    indices : int64 array of y's shape
        Places in the unpadded sequence. The first maximum wins; a NaN in the window wins over all.

    Raises
    ------
    TypeError
        If x is not float32 or float64.
    ValueError
        If the padding is over half the kernel, or the kernel larger than the padded input.
    """
    a = _arguments.max_pool1d("max_pool1d", x, kernel_size, stride, padding, dilation, ceil_mode)
    window = (1, a.kernel), (1, a.stride), ((0, 0), a.padding), (1, a.dilation), bool(ceil_mode)
    y, indices = max_pool2d(a.x[:, :, None], *window)
    return y[:, :, 0], indices[:, :, 0]


def max_pool1d_backward(grad_y, indices, x_shape):
    """Gradient of `max_pool1d` to its input: each output's gradient goes to the place it came from.

    Parameters
    ----------
    grad_y : array (N, C, L')
    indices : int64 array of grad_y's shape
        As `max_pool1d` gave them.
    x_shape : (N, C, L)

    Returns
    -------
    array (N, C, L)

    Raises
    ------
    TypeError
        If grad_y is not float32 or float64, or indices are not int64.
    ValueError
        If shapes do not match, or an index lies outside of the sequence.
    """
    a = _arguments.max_pool1d_backward("max_pool1d_backward", grad_y, indices, x_shape)
    n, channels, length = a.x_shape
    return max_pool2d_backward(a.grad_y[:, :, None], a.indices[:, :, None], (n, channels, 1, length))[:, :, 0]


def avg_pool1d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window.

    Parameters
    ----------
    x : array (N, C, L)
        float32 or float64.
    kernel_size : int
    stride : int, optional
        `kernel_size` by default.
    padding : int or ((left, right),)
        Zeros on each side, at most half the kernel.
    ceil_mode : bool
        A last window may hang over the end; what lies past the padding is not counted.
    count_include_pad : bool
        Whether the zeros of the padding count in the mean.

    Returns
    -------
    array (N, C, L')

    Raises
    ------
    TypeError
        If x is not float32 or float64.
    ValueError
        If the padding is over half the kernel, or the kernel larger than the padded input.
    """
    a = _arguments.avg_pool1d("avg_pool1d", x, kernel_size, stride, padding, ceil_mode)
    window = (1, a.kernel), (1, a.stride), ((0, 0), a.padding), ceil_mode, count_include_pad
    return avg_pool2d(a.x[:, :, None], *window)[:, :, 0]


def avg_pool1d_backward(grad_y, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Gradient of `avg_pool1d` to its input: each output's gradient spread evenly over its window.

    Parameters
    ----------
    grad_y : array (N, C, L')
    x_shape : (N, C, L)
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As they were given to `avg_pool1d`.

    Returns
    -------
    array (N, C, L)

    Raises
    ------
    TypeError, ValueError
        As `avg_pool1d`, and if grad_y has not the shape of the output.
    """
    a = _arguments.avg_pool1d_backward("avg_pool1d_backward", grad_y, x_shape, kernel_size, stride, padding, ceil_mode)
    n, channels, length = a.x_shape
    window = (1, a.kernel), (1, a.stride), ((0, 0), a.padding), ceil_mode, count_include_pad
    return avg_pool2d_backward(a.grad_y[:, :, None], (n, channels, 1, length), *window)[:, :, 0]


def adaptive_avg_pool1d(x, output_size):
    """The mean of each of ``output_size`` windows, which share the sequence out evenly.

    Output i of P averages places ``floor(i * L / P)`` to ``ceil((i + 1) * L / P) - 1``.

    Parameters
    ----------
    x : array (N, C, L)
        float32 or float64.
    output_size : int

    Returns
    -------
    array (N, C, P)

    Raises
    ------
    TypeError
        If x is not float32 or float64, or the size is no integer.
    ValueError
        If x has length 0, or the size is less than 1.
    """
    x, output = _arguments.adaptive_pool1d("adaptive_avg_pool1d", x, output_size)
    return adaptive_avg_pool2d(x[:, :, None], (1, output))[:, :, 0]


def adaptive_avg_pool1d_backward(grad_y, x_shape):
    """Gradient of `adaptive_avg_pool1d` to its input: each output's gradient spread evenly over its window.

    Parameters
    ----------
    grad_y : array (N, C, P)
    x_shape : (N, C, L)

    Returns
    -------
    array (N, C, L)

    Raises
    ------
    TypeError
        If grad_y is not float32 or float64.
    ValueError
        If shapes do not match, or a length is 0.
    """
    grad_y, (n, channels, length) = _arguments.adaptive_pool1d_backward("adaptive_avg_pool1d_backward", grad_y, x_shape)
    return adaptive_avg_pool2d_backward(grad_y[:, :, None], (n, channels, 1, length))[:, :, 0]


def adaptive_max_pool1d(x, output_size):
    """The largest number in each of ``output_size`` windows, which share the sequence out evenly, and where it lies.

    The windows are those of `adaptive_avg_pool1d`.

    Parameters
    ----------
    x : array (N, C, L)
        float32 or float64.
    output_size : int

    Returns
    -------
    y : array (N, C, P)
    indices : int64 array of y's shape
        Places in the sequence. The first maximum wins; a NaN in the window wins over all.

    Raises
    ------
    TypeError
        If x is not float32 or float64, or the size is no integer.
    ValueError
        If x has length 0, or the size is less than 1.
    """
    x, output = _arguments.adaptive_pool1d("adaptive_max_pool1d", x, output_size)
    y, indices = adaptive_max_pool2d(x[:, :, None], (1, output))
    return y[:, :, 0], indices[:, :, 0]


def adaptive_max_pool1d_backward(grad_y, indices, x_shape):
    """Gradient of `adaptive_max_pool1d` to its input: each output's gradient goes to the place it came from.

    Parameters
    ----------
    grad_y : array (N, C, P)
    indices : int64 array of grad_y's shape
        As `adaptive_max_pool1d` gave them.
    x_shape : (N, C, L)

    Returns
    -------
    array (N, C, L)

    Raises
    ------
    TypeError, ValueError
        As `max_pool1d_backward`.
    """
    a = _arguments.max_pool1d_backward("adaptive_max_pool1d_backward", grad_y, indices, x_shape)
    n, channels, length = a.x_shape
    return max_pool2d_backward(a.grad_y[:, :, None], a.indices[:, :, None], (n, channels, 1, length))[:, :, 0]
