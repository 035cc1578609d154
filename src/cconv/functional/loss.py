"""Losses and their gradients.

`reduction` is "mean" (the default), "sum" or "none". A loss is a NumPy scalar of the first argument's dtype, or an
array for "none". `grad_loss` is the gradient with respect to the loss: a number, or an array for "none". A mean over
nothing is NaN.
"""

from __future__ import annotations

import numpy as np

from .. import _arguments, _dispatch
from .._checks import number
from .._kernels.arrays import all_below
from .._kernels.memory import empty
from .._threads import threads_for
from ._calls import keep, recall, signature
from .activation import _EXP, ieee, log_softmax, sigmoid, softmax, softplus


def cross_entropy(
    logits,
    target,
    weight=None,
    ignore_index=-100,
    reduction="mean",
    label_smoothing=0.0,
    *,
    sample_weight=None,
):
    """Minus the logarithm of the probability that softmax over axis 1 gives to the target.

    Parameters
    ----------
    logits : array (N, C) or (N, C, d1, ...)
        float32 or float64.
    target : integer array (N,) or (N, d1, ...), labels in 0..C - 1; or one-hot or soft labels of the logits' shape
    weight : array (C,), optional
        What each class counts.
    ignore_index : int
        Positions with this label have loss 0, and count nothing.
    reduction : {"mean", "sum", "none"}
        The mean divides by the sum of the labels' weights, times `sample_weight`: by the number of positions
        N * d1 * ... if neither is given. For a distribution class weights do not count in that sum, as in PyTorch.
    label_smoothing : float
        The part of the target, 0..1, that is shared equally among all classes (Szegedy et al. 2016).
    sample_weight : array (N,) or (N, d1, ...), optional
        What each position counts. (Not an argument of PyTorch's.)

    Returns
    -------
    scalar, or array (N, d1, ...) for "none"

    Raises
    ------
    TypeError
        If logits are not float32 or float64, labels not integers, or another array is of another dtype than the logits.
    ValueError
        If shapes do not match, a label is out of range, or an option is.
    """
    where = "cross_entropy"
    key = _plain_key(where, logits, target, weight, ignore_index, reduction, label_smoothing, sample_weight)
    if not _seen(key, target):
        a = _arguments.cross_entropy(
            where, logits, target, weight, ignore_index, reduction, label_smoothing, sample_weight
        )
        _remember(key, target, a)
        if not a.labels:
            return _weighted(_soft_losses(a.logits, _distribution(a)), a, reduction)
        if not a.plain:
            rows = _class_rows(a.logits)
            losses = empty(a.target.shape, a.logits.dtype)
            _dispatch.loss.weighted_cross_entropy(
                losses, rows, a.target, a.weight, a.ignore_index, a.smoothing, threads_for(rows.size * _EXP)
            )
            return _weighted(losses, a, reduction)
        logits, target = a.logits, a.target
    rows = _class_rows(logits)
    losses = empty(target.shape, logits.dtype)
    _dispatch.loss.cross_entropy(losses, rows, target, threads_for(rows.size * _EXP))
    return _reduced(losses, reduction)


def cross_entropy_backward(
    grad_loss,
    logits,
    target,
    weight=None,
    ignore_index=-100,
    reduction="mean",
    label_smoothing=0.0,
    *,
    sample_weight=None,
):
    """Its gradient to the logits: ``grad_loss * (softmax(logits) - target)``, over the positions for "mean".

    Parameters
    ----------
    grad_loss : number, or array (N, d1, ...) for "none"
    logits, target, weight, ignore_index, reduction, label_smoothing, sample_weight
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
    key = _plain_key(where, logits, target, weight, ignore_index, reduction, label_smoothing, sample_weight)
    if not _seen(key, target):
        a = _arguments.cross_entropy(
            where, logits, target, weight, ignore_index, reduction, label_smoothing, sample_weight
        )
        _remember(key, target, a)
        logits, target = a.logits, a.target
        if not (a.labels and a.plain):
            g = _arguments.grad_loss(where, grad_loss, a.positions, logits.dtype, reduction)
            g = _weighted_scales(g, a, reduction)
            return _weighted_gradient(g, a) if a.labels else _soft_gradient(g, logits, _distribution(a))
    rows = _class_rows(logits)
    g = _arguments.grad_loss(where, grad_loss, target.shape, logits.dtype, reduction)
    if reduction == "mean":
        g = g / target.size if target.size else 0.0
    grad = empty(rows.shape, logits.dtype)
    _dispatch.loss.cross_entropy_backward(grad, rows, target, _cast(g, logits.dtype), threads_for(rows.size * _EXP))
    return _classes_second(grad, logits.shape)


def nll_loss(x, target, weight=None, ignore_index=-100, reduction="mean", *, sample_weight=None):
    """Minus the log-probability of the target: `cross_entropy` after `log_softmax`.

    Parameters
    ----------
    x : array (N, C) or (N, C, d1, ...)
        Log-probabilities, such as `log_softmax` gives.
    target : integer array (N,) or (N, d1, ...), labels in 0..C - 1
    weight, ignore_index, reduction, sample_weight
        As for `cross_entropy`.

    Returns
    -------
    scalar, or array (N, d1, ...) for "none"

    Raises
    ------
    TypeError, ValueError
        As `cross_entropy`.
    """
    a = _arguments.cross_entropy("nll_loss", x, target, weight, ignore_index, reduction, 0.0, sample_weight, "x")
    labels = _some_label(a)
    losses = -np.take_along_axis(a.logits, labels[:, None], axis=1)[:, 0]
    return _weighted(_kept(losses if a.weight is None else losses * a.weight[labels], a), a, reduction)


@ieee
def nll_loss_backward(grad_loss, x, target, weight=None, ignore_index=-100, reduction="mean", *, sample_weight=None):
    """Its gradient to x: ``-grad_loss * weight`` at the target, over the sum of weights for "mean", and 0 elsewhere."""
    where = "nll_loss_backward"
    a = _arguments.cross_entropy(where, x, target, weight, ignore_index, reduction, 0.0, sample_weight, "x")
    g = _arguments.grad_loss(where, grad_loss, a.positions, a.logits.dtype, reduction)
    labels, grad = _some_label(a), np.zeros_like(a.logits)
    g = -_weighted_scales(g, a, reduction)
    if a.weight is not None:
        g = _kept(g * a.weight[labels], a)
    np.put_along_axis(grad, labels[:, None], _cast(g, grad.dtype)[:, None], axis=1)
    return grad


@ieee
def _soft_losses(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    return -(target * log_softmax(logits)).sum(axis=1)


@ieee
def _soft_gradient(g, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    grad = softmax(logits) * target.sum(axis=1, keepdims=True) - target
    return grad * (np.expand_dims(_cast(g, grad.dtype), 1) if isinstance(g, np.ndarray) else logits.dtype.type(g))


@ieee
def _distribution(a: _arguments.CrossEntropy) -> np.ndarray:
    """The target given as a distribution, smoothed and weighted."""
    target, classes, real = a.target, a.logits.shape[1], a.logits.dtype.type
    if a.smoothing:
        target = target * real(1 - a.smoothing) + real(a.smoothing / classes)
    return target if a.weight is None else target * a.weight.reshape(-1, *[1] * (target.ndim - 2))


def _some_label(a: _arguments.CrossEntropy) -> np.ndarray:
    """The labels, and 0 for those to ignore."""
    return np.where(a.target == a.ignore_index, 0, a.target) if a.ignores else a.target


def _kept(values: np.ndarray, a: _arguments.CrossEntropy) -> np.ndarray:
    """0 where the label is to be ignored."""
    return np.where(a.target == a.ignore_index, values.dtype.type(0), values) if a.ignores else values


@ieee
def _weighted(losses: np.ndarray, a: _arguments.CrossEntropy, reduction: str):
    """Losses that hold the classes' weights and zeros where ignored, reduced with the samples' weights."""
    if a.sample_weight is not None:
        losses = losses * a.sample_weight
    if reduction != "mean" or a.plain:
        return _reduced(losses, reduction)
    return losses.dtype.type(np.float64(losses.sum()) / _total(a))


def _total(a: _arguments.CrossEntropy) -> np.float64:
    """What a mean divides by: the sum of all positions' weights."""
    counts = np.ones(a.positions) if a.sample_weight is None else a.sample_weight.astype(np.float64)
    if a.labels:
        if a.weight is not None:
            counts = counts * a.weight[_some_label(a)]
        counts = _kept(counts, a)
    return counts.sum()


@ieee
def _weighted_scales(g, a: _arguments.CrossEntropy, reduction: str) -> np.ndarray:
    """The gradient of each position's loss before the samples' weights: 0 where ignored."""
    scales = np.broadcast_to(np.asarray(g, np.float64), a.positions)
    if reduction == "mean":
        scales = scales / _total(a)
    if a.sample_weight is not None:
        scales = scales * a.sample_weight
    return _kept(scales, a) if a.labels else scales


def _weighted_gradient(scales: np.ndarray, a: _arguments.CrossEntropy) -> np.ndarray:
    rows, dtype = _class_rows(a.logits), a.logits.dtype
    grad = empty(rows.shape, dtype)
    total = rows.shape[1] if a.weight is None else float(a.weight.sum(dtype=np.float64))
    scales = np.ascontiguousarray(_cast(scales, dtype))
    threads = threads_for(rows.size * _EXP)
    _dispatch.loss.weighted_cross_entropy_backward(
        grad, rows, a.target, a.weight, a.ignore_index, a.smoothing, total, scales, threads
    )
    return _classes_second(grad, a.logits.shape)


def _plain_key(where, logits, target, weight, ignore_index, reduction, label_smoothing, sample_weight) -> bytes | None:
    """The signature of a call that neither weighs nor smooths."""
    if weight is None and sample_weight is None and type(label_smoothing) is float and label_smoothing == 0:
        return signature(where, logits, target, ignore_index, reduction)
    return None


def _seen(key: bytes | None, target) -> bool:
    """Whether such a call has been seen to fit, with labels none of which is to be ignored, and these are such."""
    classes = recall(key)
    return classes is not None and all_below(target, classes)


def _remember(key: bytes | None, target, a: _arguments.CrossEntropy) -> None:
    classes = a.logits.shape[1]
    if a.labels and a.target is target and not 0 <= a.ignore_index < classes:
        keep(key, classes)


@ieee
def _cast_any(g, dtype: np.dtype) -> np.ndarray:
    return np.asarray(g, dtype)


def _cast(g, dtype: np.dtype) -> np.ndarray:
    """As an array; a number too large for dtype turns infinite in silence."""
    return np.asarray(g, dtype) if type(g) is float and -1e38 < g < 1e38 else _cast_any(g, dtype)


def _class_rows(logits: np.ndarray) -> np.ndarray:
    """Logits as a matrix (positions, classes)."""
    if logits.ndim == 2:
        return logits
    return np.ascontiguousarray(np.moveaxis(logits, 1, -1)).reshape(-1, logits.shape[1])


def _classes_second(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Its inverse, for logits of that shape."""
    if len(shape) == 2:
        return rows
    return np.ascontiguousarray(np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1))


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
def l1_loss(x, target, reduction="mean"):
    """``|x - target|``. Parameters and errors are those of `mse_loss`."""
    x, target = _arguments.elementwise_loss("l1_loss", x, target, reduction)
    return _reduced(np.abs(x - target), reduction)


@ieee
def l1_loss_backward(grad_loss, x, target, reduction="mean"):
    """Gradient of `l1_loss` to x: the sign of ``x - target`` (0 for 0 and, as in PyTorch, NaN), times grad_loss."""
    where = "l1_loss_backward"
    x, target = _arguments.elementwise_loss(where, x, target, reduction)
    g = _share(_arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction), x, reduction)
    return _sign(x - target) * g


@ieee
def huber_loss(x, target, reduction="mean", delta=1.0):
    """``(x - target)**2 / 2`` up to a distance of delta, then ``delta * (|x - target| - delta / 2)`` (Huber 1964).

    Parameters and errors are those of `mse_loss`; delta is more than 0.
    """
    x, target = _arguments.elementwise_loss("huber_loss", x, target, reduction)
    delta, distance = x.dtype.type(number("huber_loss", "delta", delta, 0, above=True)), np.abs(x - target)
    half = x.dtype.type(0.5)
    return _reduced(np.where(distance >= delta, delta * (distance - half * delta), half * distance**2), reduction)


@ieee
def huber_loss_backward(grad_loss, x, target, reduction="mean", delta=1.0):
    """Gradient of `huber_loss` to x: ``x - target``, at most delta either way, times grad_loss."""
    where = "huber_loss_backward"
    x, target = _arguments.elementwise_loss(where, x, target, reduction)
    delta = x.dtype.type(number(where, "delta", delta, 0, above=True))
    g = _share(_arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction), x, reduction)
    return np.clip(x - target, -delta, delta) * g


@ieee
def smooth_l1_loss(x, target, reduction="mean", beta=1.0):
    """``(x - target)**2 / (2 * beta)`` up to a distance of beta, then ``|x - target| - beta / 2`` (Girshick 2015).

    Parameters and errors are those of `mse_loss`; beta is at least 0, where 0 gives `l1_loss`.
    """
    x, target = _arguments.elementwise_loss("smooth_l1_loss", x, target, reduction)
    beta, distance = x.dtype.type(number("smooth_l1_loss", "beta", beta, 0)), np.abs(x - target)
    half = x.dtype.type(0.5)
    return _reduced(np.where(distance >= beta, distance - half * beta, half * distance**2 / beta), reduction)


@ieee
def smooth_l1_loss_backward(grad_loss, x, target, reduction="mean", beta=1.0):
    """Gradient of `smooth_l1_loss` to x: ``(x - target) / beta``, at most 1 either way, times grad_loss."""
    where = "smooth_l1_loss_backward"
    x, target = _arguments.elementwise_loss(where, x, target, reduction)
    beta = x.dtype.type(number(where, "beta", beta, 0))
    g = _share(_arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction), x, reduction)
    return (np.clip((x - target) / beta, -1, 1) if beta else _sign(x - target)) * g


@ieee
def binary_cross_entropy(x, target, weight=None, reduction="mean"):
    """``-target * log(x) - (1 - target) * log(1 - x)`` of probabilities x, each logarithm at least -100.

    Parameters
    ----------
    x : array of any shape
        Probabilities, 0..1.
    target : array of x's shape and dtype
        Probabilities, 0..1.
    weight : array that broadcasts to x's shape, optional
        What each number's loss is multiplied by.
    reduction : {"mean", "sum", "none"}
        The mean is over all numbers, whatever their weights.

    Returns
    -------
    scalar, or array of x's shape for "none"

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not fit, a number is not in 0..1, or `reduction` is unknown.
    """
    x, target, weight = _arguments.probability_loss("binary_cross_entropy", x, target, weight, reduction)
    losses = (target - 1) * np.maximum(np.log1p(-x), -100) - target * np.maximum(np.log(x), -100)
    return _reduced(losses if weight is None else losses * weight, reduction)


@ieee
def binary_cross_entropy_backward(grad_loss, x, target, weight=None, reduction="mean"):
    """Its gradient to x: ``grad_loss * (x - target) / (x * (1 - x))``, the denominator at least 1e-12."""
    where = "binary_cross_entropy_backward"
    x, target, weight = _arguments.probability_loss(where, x, target, weight, reduction)
    g = _share(_arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction), x, reduction)
    grad = g * (x - target) / np.maximum((1 - x) * x, x.dtype.type(1e-12))
    return grad if weight is None else grad * weight


@ieee
def binary_cross_entropy_with_logits(x, target, weight=None, reduction="mean", pos_weight=None):
    """``-target * log(sigmoid(x)) - (1 - target) * log(1 - sigmoid(x))``, from the logits x.

    Parameters
    ----------
    x : array of any shape
        Logits.
    target : array of x's shape and dtype
        Probabilities, 0..1.
    weight : array that broadcasts to x's shape, optional
        What each number's loss is multiplied by.
    reduction : {"mean", "sum", "none"}
        The mean is over all numbers, whatever their weights.
    pos_weight : array that broadcasts to x's shape, optional
        What the term of `target` is multiplied by.

    Returns
    -------
    scalar, or array of x's shape for "none"

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not fit, or `reduction` is unknown.
    """
    where = "binary_cross_entropy_with_logits"
    x, target, weight, positive = _arguments.logistic_loss(where, x, target, weight, reduction, pos_weight)
    # (1 - t) x + log(1 + exp(-x)), in a form that neither overflows nor rounds small losses away.
    small = softplus(-np.abs(x))
    if positive is None:
        losses = (1 - target) * x - np.minimum(x, 0) + small
    else:
        losses = (1 - target) * x + (1 + (positive - 1) * target) * (small - np.minimum(x, 0))
    return _reduced(losses if weight is None else losses * weight, reduction)


@ieee
def binary_cross_entropy_with_logits_backward(grad_loss, x, target, weight=None, reduction="mean", pos_weight=None):
    """Its gradient to x: ``grad_loss * (sigmoid(x) - target)``, over the size for "mean"."""
    where = "binary_cross_entropy_with_logits_backward"
    x, target, weight, positive = _arguments.logistic_loss(where, x, target, weight, reduction, pos_weight)
    if positive is None:
        slope = sigmoid(x) - target
    else:
        scaled = positive * target
        slope = (scaled + 1 - target) * sigmoid(x) - scaled
    grad = slope * _share(_arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction), x, reduction)
    return grad if weight is None else grad * weight


def _sign(x: np.ndarray) -> np.ndarray:
    return (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)


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
