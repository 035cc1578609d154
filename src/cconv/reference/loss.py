"""Losses and their gradients.

`reduction` is "mean" (the default), "sum" or "none". A loss is a NumPy scalar of the first argument's dtype, or an
array for "none". `grad_loss` is the gradient with respect to the loss: a number, or an array for "none". A mean over
nothing is NaN.
"""

from __future__ import annotations

import numpy as np

from .. import _arguments
from ._precision import ieee, rounded, wide
from .activation import log_probabilities, logistic


@ieee
def cross_entropy(logits, target, reduction="mean"):
    """Minus the logarithm of the probability that softmax over axis 1 gives to the target.

    ::

        loss[n, ...] = -log_softmax(logits)[n, target[n, ...], ...]                 for labels
        loss[n, ...] = -sum over c of target[n, c, ...] * log_softmax(logits)[n, c, ...]   for a distribution

    Parameters
    ----------
    logits : array (N, C) or (N, C, d1, ...)
    target : integer array (N,) or (N, d1, ...), labels in 0..C - 1; or one-hot or soft labels of the logits' shape
    reduction : {"mean", "sum", "none"}
        The mean divides by the number of positions N * d1 * ..., for both kinds of target.

    Returns
    -------
    scalar, or array (N, d1, ...) for "none"

    Raises
    ------
    TypeError
        If logits are not float32 or float64, labels not integers, or soft labels of another dtype than the logits.
    ValueError
        If shapes do not match, a label is out of range, or `reduction` is unknown.
    """
    args = _arguments.cross_entropy("cross_entropy", logits, target, reduction)
    log_p = log_probabilities(wide(args.logits), axis=1)
    if args.labels:
        losses = -np.take_along_axis(log_p, args.target[:, None], axis=1)[:, 0]
    else:
        losses = -(wide(args.target) * log_p).sum(axis=1)
    return _reduced(losses, args.logits.dtype, reduction)


@ieee
def cross_entropy_backward(grad_loss, logits, target, reduction="mean"):
    """Gradient of `cross_entropy` with respect to the logits.

    ::

        grad_logits = g * (softmax(logits) * t.sum(axis=1) - t)

    with t the target as a distribution (the sum is 1 for labels) and g the gradient of each position's loss.

    Parameters
    ----------
    grad_loss : number, or array (N, d1, ...) for "none"
    logits, target, reduction
        As given to `cross_entropy`.

    Returns
    -------
    array of the logits' shape

    Raises
    ------
    TypeError, ValueError
        As `cross_entropy`; also if `grad_loss` has not the loss's shape.
    """
    where = "cross_entropy_backward"
    args = _arguments.cross_entropy(where, logits, target, reduction)
    shape, dtype = args.logits.shape, args.logits.dtype
    g = _arguments.grad_loss(where, grad_loss, (shape[0], *shape[2:]), dtype, reduction)
    if args.labels:
        t = np.zeros(shape)
        np.put_along_axis(t, args.target[:, None], 1, axis=1)
    else:
        t = wide(args.target)
    p = np.exp(log_probabilities(wide(args.logits), axis=1))
    g = _share(g, args.positions, reduction)
    return rounded((g[:, None] if reduction == "none" else g) * (p * t.sum(axis=1, keepdims=True) - t), dtype)


@ieee
def mse_loss(x, target, reduction="mean"):
    """``(x - target)**2``, averaged over all elements.

    Parameters
    ----------
    x, target : arrays of one shape
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    scalar, or array of x's shape for "none"

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes differ, or `reduction` is unknown.
    """
    x, target = _arguments.elementwise_loss("mse_loss", x, target, reduction)
    return _reduced((wide(x) - wide(target)) ** 2, x.dtype, reduction)


@ieee
def mse_loss_backward(grad_loss, x, target, reduction="mean"):
    """Gradient of `mse_loss` with respect to `x`: ``2 * (x - target) * grad_loss``, over the number of elements for
    "mean".

    Parameters and errors are those of `mse_loss`, and of `cross_entropy_backward` for `grad_loss`.
    """
    where = "mse_loss_backward"
    x, target = _arguments.elementwise_loss(where, x, target, reduction)
    g = _arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction)
    return rounded(2 * (wide(x) - wide(target)) * _share(g, x.size, reduction), x.dtype)


@ieee
def binary_cross_entropy_with_logits(x, target, reduction="mean"):
    """Cross-entropy of independent yes-no questions, averaged over all elements.

    ::

        loss = -target * log(sigmoid(x)) - (1 - target) * log(1 - sigmoid(x))
             = (1 - target) * x - min(x, 0) + log(1 + exp(-|x|))

    The second form cannot overflow.

    Parameters
    ----------
    x : array
        Logits.
    target : array of x's shape
        Probabilities in 0..1.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    scalar, or array of x's shape for "none"

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes differ, or `reduction` is unknown.
    """
    x, target = _arguments.elementwise_loss("binary_cross_entropy_with_logits", x, target, reduction)
    z, t = wide(x), wide(target)
    return _reduced((1 - t) * z - np.minimum(z, 0) + np.log1p(np.exp(-np.abs(z))), x.dtype, reduction)


@ieee
def binary_cross_entropy_with_logits_backward(grad_loss, x, target, reduction="mean"):
    """Gradient of `binary_cross_entropy_with_logits` with respect to `x`: ``(sigmoid(x) - target) * grad_loss``, over
    the number of elements for "mean".

    Parameters and errors are those of `binary_cross_entropy_with_logits`, and of `cross_entropy_backward` for
    `grad_loss`.
    """
    where = "binary_cross_entropy_with_logits_backward"
    x, target = _arguments.elementwise_loss(where, x, target, reduction)
    g = _arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction)
    return rounded((logistic(wide(x)) - wide(target)) * _share(g, x.size, reduction), x.dtype)


def _reduced(losses: np.ndarray, dtype: np.dtype, reduction: str):
    if reduction == "none":
        return rounded(losses, dtype)
    total = losses.sum() / losses.size if reduction == "mean" else losses.sum()
    return rounded(total, dtype)[()]


def _share(grad_loss, count: int, reduction: str):
    """Of the reduced loss's gradient, what each of its `count` terms gets."""
    if reduction == "none":
        return wide(grad_loss)
    return grad_loss / max(count, 1) if reduction == "mean" else grad_loss
