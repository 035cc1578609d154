"""The fully connected layer's map and its gradients."""

from __future__ import annotations

from .. import _arguments
from ._precision import ieee, rounded, wide


@ieee
def linear(x, weight, bias=None):
    """``y = x @ weight.T + bias``.

    Parameters
    ----------
    x : array (N, in_features)
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
        If a rank or shape does not fit.
    """
    args = _arguments.linear("linear", x, weight, bias)
    y = wide(args.x) @ wide(args.weight).T
    if args.bias is not None:
        y += wide(args.bias)
    return rounded(y, args.x.dtype)


@ieee
def linear_backward(grad_y, x, weight, needs=(True, True, True)):
    """Gradients of `linear`.

    ::

        grad_x      = grad_y @ weight
        grad_weight = grad_y.T @ x
        grad_bias   = grad_y summed over N

    Parameters
    ----------
    grad_y : array (N, out_features)
        Gradient with respect to the output.
    x, weight
        As given to `linear`.
    needs : (bool, bool, bool)
        Which of the three gradients to compute.

    Returns
    -------
    (grad_x, grad_weight, grad_bias) : arrays (N, in_features), (out_features, in_features), (out_features,)
        None in the place of one that is not needed.

    Raises
    ------
    TypeError, ValueError
        As `linear`; also if `grad_y` has not the output's shape.
    """
    args = _arguments.linear_backward("linear_backward", grad_y, x, weight, needs)
    need_x, need_weight, need_bias = args.needs
    gy, dtype = wide(args.grad_y), args.x.dtype
    return (
        rounded(gy @ wide(args.weight), dtype) if need_x else None,
        rounded(gy.T @ wide(args.x), dtype) if need_weight else None,
        rounded(gy.sum(axis=0), dtype) if need_bias else None,
    )
