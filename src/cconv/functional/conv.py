"""Two-dimensional convolution (cross-correlation, as in every deep-learning library), forward and backward."""

from __future__ import annotations

import math
from typing import NamedTuple

from .. import _arguments, _dispatch
from .._kernels.memory import empty
from .._threads import threads_for
from . import _convolve as convolve
from ._calls import keep, recall, signature


class _Backward(NamedTuple):
    """A call of `conv2d_backward`."""

    needs: tuple[bool, bool, bool]
    input: convolve.TowardsInput
    weight: convolve.TowardsWeight
    bias_threads: int


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, algorithm="auto"):
    """Cross-correlate a batch of images with a bank of filters.

    ``y[n, k, i, j] = bias[k] + sum over c, r, s of weight[k, c, r, s] * x[n, c, i*stride + r*dilation - padding, ...]``
    with zeros outside of x. The order of the sum depends on shapes alone: not on the batch, the threads or the machine.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    weight : array (K, C // groups, R, S)
        Filters, of x's dtype.
    bias : array (K,), optional
    stride, dilation : int or (height, width)
    padding : int, (height, width), ((top, bottom), (left, right)), "same" or "valid"
        Zeros added on each side.
    groups : int
        Channels and filters fall into so many groups, each convolved apart.
    algorithm : {"auto", "direct", "winograd"}
        "direct" sums as written above, in the order of c, r, s; "winograd" (3x3 kernels, stride and dilation 1) saves
        three multiplications in four by minimal filtering F(4x4, 3x3) [1]_, at two to three times the rounding error;
        "auto" takes what is faster for the shape. An image with a result that is not finite is always summed directly.

    Returns
    -------
    array (N, K, H', W')
        With sizes as `conv_output_size` gives them.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not match, the kernel is larger than the padded input, or algorithm="winograd" does not fit.

    References
    ----------
    .. [1] A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", 2015, arXiv 1509.09308.
    """
    key = signature("conv2d", x, weight, bias, stride, padding, dilation, groups, algorithm)
    call = recall(key)
    if call is None:
        a = _arguments.conv2d("conv2d", x, weight, bias, stride, padding, dilation, groups, algorithm)
        x, weight, bias = a.x, a.weight, a.bias
        call = keep(key, _towards_output(algorithm, a, 0.0))
    y = empty(call.y_shape, x.dtype)
    convolve.write_y(call, y, x, weight, bias)
    return y


def conv2d_relu(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, algorithm="auto", top=math.inf):
    """``relu(conv2d(...))`` to the same bits, in one pass: for fused layers. With `top` 6 it is relu6."""
    where = "conv2d_relu" if top == math.inf else f"conv2d_relu{top}"
    key = signature(where, x, weight, bias, stride, padding, dilation, groups, algorithm)
    call = recall(key)
    if call is None:
        a = _arguments.conv2d("conv2d", x, weight, bias, stride, padding, dilation, groups, algorithm)
        x, weight, bias = a.x, a.weight, a.bias
        call = keep(key, _towards_output(algorithm, a, top))
    y = empty(call.y_shape, x.dtype)
    convolve.write_y(call, y, x, weight, bias)
    return y


def _towards_output(algorithm, a: _arguments.Conv2d, top: float) -> convolve.TowardsOutput:
    shape = convolve.shape_of(a.x.shape, a.weight.shape, a.stride, a.padding, a.dilation, a.groups, a.output_size)
    return convolve.towards_output(algorithm, shape, a.x, top)


def conv2d_backward(
    grad_y, x, weight, stride=1, padding=0, dilation=1, groups=1, needs=(True, True, True), algorithm="auto"
):
    """Gradients of `conv2d` to its input, weight and bias.

    Parameters
    ----------
    grad_y : array (N, K, H', W')
        Gradient of the loss to the output.
    x, weight, stride, padding, dilation, groups
        As they were given to `conv2d`.
    needs : (bool, bool, bool)
        Which of the three gradients to compute.
    algorithm : {"auto", "direct", "winograd"}
        As for `conv2d`, for the gradients to input and weight.

    Returns
    -------
    grad_x : array (N, C, H, W) or None
    grad_weight : array (K, C // groups, R, S) or None
    grad_bias : array (K,) or None

    Raises
    ------
    TypeError, ValueError
        As `conv2d`, and if grad_y has not the shape of the output.
    """
    key = signature("conv2d_backward", grad_y, x, weight, stride, padding, dilation, groups, needs, algorithm)
    call = recall(key)
    if call is None:
        a = _arguments.conv2d_backward(
            "conv2d_backward", grad_y, x, weight, stride, padding, dilation, groups, needs, algorithm
        )
        grad_y, x, weight = a.grad_y, a.x, a.weight
        shape = convolve.shape_of(x.shape, weight.shape, a.stride, a.padding, a.dilation, a.groups, grad_y.shape[2:])
        towards_input, towards_weight = (
            convolve.towards_input(algorithm, shape, x),
            convolve.towards_weight(algorithm, shape, x),
        )
        call = keep(key, _Backward(a.needs, towards_input, towards_weight, threads_for(grad_y.size)))
    grad_x = grad_weight = grad_bias = None
    if call.needs[0]:
        grad_x = empty(x.shape, x.dtype)
        convolve.write_grad_x(call.input, grad_x, grad_y, weight, None)
    if call.needs[1]:
        grad_weight = empty(weight.shape, x.dtype)
        convolve.write_grad_weight(call.weight, grad_weight, grad_y, x)
    if call.needs[2]:
        grad_bias = empty(len(weight), x.dtype)
        _dispatch.conv2d.sum_planes(grad_bias, grad_y, call.bias_threads)
    return grad_x, grad_weight, grad_bias
