"""Linear maps, forward and backward, on the kernels' own register tiles: a BLAS promises no order of summation."""

from __future__ import annotations

from .. import _arguments, _dispatch
from .._kernels.memory import empty
from .._scratch import scratch
from .._threads import threads_for


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
    a = _arguments.linear("linear", x, weight, bias)
    y = empty((len(a.x), len(a.weight)), a.x.dtype)
    _dispatch.linear.forward(y, a.x, a.weight, a.bias, threads_for(len(a.x) * a.weight.size))
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
    a = _arguments.linear_backward("linear_backward", grad_y, x, weight, needs)
    need_x, need_weight, need_bias = a.needs
    grad_x = empty(a.x.shape, a.x.dtype) if need_x else None
    grad_weight = empty(a.weight.shape, a.x.dtype) if need_weight else None
    grad_bias = empty(len(a.weight), a.x.dtype) if need_bias else None
    work = scratch(_dispatch.linear.scratch_size(len(a.x), a.x.shape[1], len(a.weight)), a.x.dtype)
    _dispatch.linear.backward(
        grad_x, grad_weight, grad_bias, a.grad_y, a.x, a.weight, work, threads_for(len(a.x) * a.weight.size)
    )  # fmt: skip
    return grad_x, grad_weight, grad_bias
