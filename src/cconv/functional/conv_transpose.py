"""Two-dimensional transposed convolution, forward and backward.

It is `conv2d` the other way: its output is conv2d's gradient to the input, its gradient to the input is conv2d's
output, and conv2d's gradient to the weight is its own, with x and grad_y in each other's places.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import _arguments, _dispatch
from .._kernels.memory import empty
from .._threads import threads_for
from . import _conv_plan as plans
from . import _convolve as convolve
from ._calls import keep, recall, signature


class _Backward(NamedTuple):
    """A call of `conv_transpose2d_backward`."""

    needs: tuple[bool, bool, bool]
    input: convolve.TowardsOutput
    weight: convolve.TowardsWeight
    bias_threads: int


def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, algorithm="auto"
):
    """Spread each number of a batch of images over a window of the output: the transpose of `conv2d`.

    ``y[n, k, i*stride + r*dilation - padding, ...] += weight[c, k, r, s] * x[n, c, i, j]`` for all c, i, j, r, s, and
    bias[k] once.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    weight : array (C, K // groups, R, S)
        Filters, of x's dtype: those of the conv2d from K channels to C.
    bias : array (K,), optional
    stride, dilation : int or (height, width)
    padding : int, (height, width) or ((top, bottom), (left, right))
        Rows and columns of the output that are cut off: the zeros that the conv2d adds.
    output_padding : int or (height, width)
        Rows and columns more at the bottom and the right, less than stride or dilation: a strided conv2d takes several
        sizes to one, and this says which it was.
    groups : int
        Channels and filters fall into so many groups, each convolved apart.
    algorithm : {"auto", "direct", "winograd"}
        As for `conv2d`.

    Returns
    -------
    array (N, K, H', W')
        H' = (H - 1)*stride + dilation*(R - 1) + 1 + output_padding - top - bottom, and W' likewise.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not match, the padding leaves no output, output_padding is too large, or algorithm="winograd"
        does not fit.
    """
    key = signature(
        "conv_transpose2d", x, weight, bias, stride, padding, output_padding, groups, dilation, algorithm
    )  # fmt: skip
    call = recall(key)
    if call is None:
        a = _arguments.conv_transpose2d(
            "conv_transpose2d", x, weight, bias, stride, padding, output_padding, groups, dilation, algorithm
        )
        x, weight, bias = a.x, a.weight, a.bias
        call = keep(key, (a.y_shape, convolve.towards_input(algorithm, _shape(a, a.y_shape), x)))
    y = empty(call[0], x.dtype)
    convolve.write_grad_x(call[1], y, x, weight, bias)
    return y


def conv_transpose2d_backward(
    grad_y, x, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1, needs=(True, True, True),
    algorithm="auto",
):  # fmt: skip
    """Gradients of `conv_transpose2d` to its input, weight and bias.

    Parameters
    ----------
    grad_y : array (N, K, H', W')
        Gradient of the loss to the output.
    x, weight, stride, padding, output_padding, groups, dilation
        As they were given to `conv_transpose2d`.
    needs : (bool, bool, bool)
        Which of the three gradients to compute.
    algorithm : {"auto", "direct", "winograd"}
        As for `conv2d`, for the gradients to input and weight.

    Returns
    -------
    grad_x : array (N, C, H, W) or None
    grad_weight : array (C, K // groups, R, S) or None
    grad_bias : array (K,) or None

    Raises
    ------
    TypeError, ValueError
        As `conv_transpose2d`, and if grad_y has not the shape of the output.
    """
    key = signature(
        "conv_transpose2d_backward",
        grad_y, x, weight, stride, padding, output_padding, groups, dilation, needs, algorithm,
    )  # fmt: skip
    call = recall(key)
    if call is None:
        a = _arguments.conv_transpose2d_backward(
            "conv_transpose2d_backward",
            grad_y, x, weight, stride, padding, output_padding, groups, dilation, needs, algorithm,
        )  # fmt: skip
        grad_y, x, weight = a.grad_y, a.x, a.weight
        shape = _shape(a, grad_y.shape)
        towards_input = convolve.towards_output(algorithm, shape, grad_y)
        towards_weight = convolve.towards_weight(algorithm, shape, grad_y)
        call = keep(key, _Backward(a.needs, towards_input, towards_weight, threads_for(grad_y.size)))
    grad_x = grad_weight = grad_bias = None
    if call.needs[0]:
        grad_x = empty(x.shape, x.dtype)
        convolve.write_y(call.input, grad_x, grad_y, weight, None)
    if call.needs[1]:
        grad_weight = empty(weight.shape, x.dtype)
        convolve.write_grad_weight(call.weight, grad_weight, x, grad_y)
    if call.needs[2]:
        grad_bias = empty(grad_y.shape[1], x.dtype)
        _dispatch.conv2d.sum_planes(grad_bias, grad_y, call.bias_threads)
    return grad_x, grad_weight, grad_bias


def _shape(a, y_shape) -> plans.Shape:
    """The conv2d that takes y to x."""
    # Its windows stop short of the rows that output_padding adds.
    (top, bottom), (left, right) = a.padding
    padding = (top, bottom - a.output_padding[0]), (left, right - a.output_padding[1])
    return convolve.shape_of(y_shape, a.weight.shape, a.stride, padding, a.dilation, a.groups, a.x.shape[2:])
