"""Linear maps, forward and backward, on the kernels' own register tiles: a BLAS promises no order of summation."""

from __future__ import annotations

import math

from .. import _arguments, _dispatch
from .._kernels.memory import empty
from .._scratch import scratch
from .._threads import threads_for
from ._calls import keep, recall, signature


def linear(x, weight, bias=None):
    """``y = x weight^T + bias``.

    Parameters
    ----------
    x : array (N, in_features)
        float32 or float64.
    weight : array (out_features, in_features)
    bias : array (out_features,), optional

    Returns
    -------
    array (N, out_features)

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not match.
    """
    key = signature("linear", x, weight, bias)
    call = recall(key)
    if call is None:
        x, weight, bias = _arguments.linear("linear", x, weight, bias)
        call = keep(key, ((len(x), len(weight)), threads_for(len(x) * weight.size)))
    shape, threads = call
    y = empty(shape, x.dtype)
    _dispatch.linear.forward(y, x, weight, bias, 0.0, threads)
    return y


def linear_relu(x, weight, bias=None, top=math.inf):
    """``relu(linear(...))`` to the same bits, in one pass: for fused layers. With `top` 6 it is relu6."""
    key = signature("linear", x, weight, bias)
    call = recall(key)
    if call is None:
        x, weight, bias = _arguments.linear("linear", x, weight, bias)
        call = keep(key, ((len(x), len(weight)), threads_for(len(x) * weight.size)))
    shape, threads = call
    y = empty(shape, x.dtype)
    _dispatch.linear.forward(y, x, weight, bias, top, threads)
    return y


def linear_backward(grad_y, x, weight, needs=(True, True, True)):
    """Gradients of `linear` to its input, weight and bias.

    Parameters
    ----------
    grad_y : array (N, out_features)
    x, weight
        As they were given to `linear`.
    needs : (bool, bool, bool)
        Which of the three gradients to compute.

    Returns
    -------
    grad_x : array (N, in_features) or None
    grad_weight : array (out_features, in_features) or None
    grad_bias : array (out_features,) or None

    Raises
    ------
    TypeError, ValueError
        As `linear`, and if grad_y has not the shape of the output.
    """
    key = signature("linear_backward", grad_y, x, weight, needs)
    call = recall(key)
    if call is None:
        grad_y, x, weight, needs = _arguments.linear_backward("linear_backward", grad_y, x, weight, needs)
        room = _dispatch.linear.scratch_size(len(x), x.shape[1], len(weight))
        call = keep(key, (needs, room, threads_for(len(x) * weight.size)))
    needs, room, threads = call
    grad_x = empty(x.shape, x.dtype) if needs[0] else None
    grad_weight = empty(weight.shape, x.dtype) if needs[1] else None
    grad_bias = empty(weight.shape[:1], x.dtype) if needs[2] else None
    _dispatch.linear.backward(grad_x, grad_weight, grad_bias, grad_y, x, weight, scratch(room, x.dtype), threads)
    return grad_x, grad_weight, grad_bias
