"""Losses and their gradients.

`reduction` is "mean" (the default), "sum" or "none". A loss is a NumPy scalar of the first argument's dtype, or an
array for "none". `grad_loss` is the gradient with respect to the loss: a number, or an array for "none". A mean over
nothing is NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import _arguments, _dispatch
from .._kernels.arrays import all_below
from .._kernels.memory import empty
from .._threads import threads_for
from ._calls import keep, recall, signature
from .activation import _EXP, ieee, log_softmax, sigmoid, softmax, softplus


def cross_entropy(logits, target, reduction="mean"):
    """Minus the logarithm of the probability that softmax over axis 1 gives to the target.

    Parameters
    ----------
    logits : array (N, C) or (N, C, d1, ...)
        float32 or float64.
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
    a = _cross_entropy("cross_entropy", logits, target, reduction)
    if not a.labels:
        return _reduced(_soft_losses(a.logits, a.target), reduction)
    rows = _class_rows(a.logits)
    losses = empty(a.target.shape, a.logits.dtype)
    _dispatch.loss.cross_entropy(losses, rows, a.target, threads_for(rows.size * _EXP))
    return _reduced(losses, reduction)


def cross_entropy_backward(grad_loss, logits, target, reduction="mean"):
    """Its gradient to the logits: ``grad_loss * (softmax(logits) - target)``, over the positions for "mean".

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
    a = _cross_entropy(where, logits, target, reduction)
    dtype, shape = a.logits.dtype, a.logits.shape
    g = _arguments.grad_loss(where, grad_loss, (shape[0], *shape[2:]), dtype, reduction)
    if reduction == "mean":
        g = g / a.positions if a.positions else 0.0
    if not a.labels:
        return _soft_gradient(g, a.logits, a.target)
    rows = _class_rows(a.logits)
    grad = empty(rows.shape, dtype)
    scales = _cast(g, dtype)
    _dispatch.loss.cross_entropy_backward(grad, rows, a.target, scales, threads_for(rows.size * _EXP))
    if len(shape) == 2:
        return grad
    return np.ascontiguousarray(np.moveaxis(grad.reshape(shape[0], *shape[2:], shape[1]), -1, 1))


@ieee
def _soft_losses(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    return -(target * log_softmax(logits)).sum(axis=1)


@ieee
def _soft_gradient(g, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    grad = softmax(logits) * target.sum(axis=1, keepdims=True) - target
    return grad * (np.expand_dims(g, 1) if isinstance(g, np.ndarray) else logits.dtype.type(g))


def _cross_entropy(where: str, logits, target, reduction) -> _arguments.CrossEntropy:
    """Clean arguments, for labels in short if they have been seen to fit."""
    key = signature(where, logits, target, reduction)
    call = recall(key)
    if call is not None and all_below(target, call.classes):
        return _arguments.CrossEntropy(logits, target, True, call.positions)
    a = _arguments.cross_entropy(where, logits, target, reduction)
    if a.labels and a.target is target:
        keep(key, _Labels(a.logits.shape[1], a.positions))
    return a


class _Labels(NamedTuple):
    """What is known of a call of cross_entropy with labels."""

    classes: int
    positions: int


@ieee
def _cast(g, dtype: np.dtype) -> np.ndarray:
    return np.asarray(g, dtype)


def _class_rows(logits: np.ndarray) -> np.ndarray:
    """Logits as a matrix (positions, classes)."""
    if logits.ndim == 2:
        return logits
    return np.ascontiguousarray(np.moveaxis(logits, 1, -1)).reshape(-1, logits.shape[1])


@ieee
def mse_loss(x, target, reduction="mean"):
    """``(x - target)**2``.

    Parameters
    ----------
    x, target : arrays of one shape and dtype
    reduction : {"mean", "sum", "none"}
        The mean is over all numbers.

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
    return _reduced((x - target) ** 2, reduction)


@ieee
def mse_loss_backward(grad_loss, x, target, reduction="mean"):
    """Gradient of `mse_loss` to x: ``grad_loss * 2 * (x - target)``, over the size for "mean"."""
    where = "mse_loss_backward"
    x, target = _arguments.elementwise_loss(where, x, target, reduction)
    return (x - target) * _share(2 * _arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction), x, reduction)


@ieee
def binary_cross_entropy_with_logits(x, target, reduction="mean"):
    """``-target * log(sigmoid(x)) - (1 - target) * log(1 - sigmoid(x))``, from the logits x.

    Parameters
    ----------
    x : array of any shape
        Logits.
    target : array of x's shape and dtype
        Probabilities, 0..1.
    reduction : {"mean", "sum", "none"}
        The mean is over all numbers.

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
    where = "binary_cross_entropy_with_logits"
    x, target = _arguments.elementwise_loss(where, x, target, reduction)
    # (1 - t) x + log(1 + exp(-x)), in a form that neither overflows nor rounds small losses away.
    return _reduced((1 - target) * x - np.minimum(x, 0) + softplus(-np.abs(x)), reduction)


@ieee
def binary_cross_entropy_with_logits_backward(grad_loss, x, target, reduction="mean"):
    """Its gradient to x: ``grad_loss * (sigmoid(x) - target)``, over the size for "mean"."""
    where = "binary_cross_entropy_with_logits_backward"
    x, target = _arguments.elementwise_loss(where, x, target, reduction)
    return (sigmoid(x) - target) * _share(
        _arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction), x, reduction
    )


def _share(g, x: np.ndarray, reduction: str):
    """The gradient of one number's loss, in x's dtype."""
    if reduction == "mean":
        g = g / x.size if x.size else 0.0
    return g if isinstance(g, np.ndarray) else x.dtype.type(g)


@ieee
def _reduced(losses: np.ndarray, reduction: str):
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    # As losses.mean(), at half the cost for the small arrays that losses are.
    return (
        np.add.reduce(losses, axis=None) / losses.dtype.type(losses.size) if losses.size else losses.dtype.type(np.nan)
    )
