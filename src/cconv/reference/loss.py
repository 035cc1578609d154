"""Losses and their gradients.

`reduction` is "mean" (the default), "sum" or "none". A loss is a NumPy scalar of the first argument's dtype, or an
array for "none". `grad_loss` is the gradient with respect to the loss: a number, or an array for "none". A mean over
nothing is NaN.
"""

from __future__ import annotations

import numpy as np

from .. import _arguments
from .._checks import number
from ._precision import ieee, rounded, wide
from .activation import log_probabilities, logistic


@ieee
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

    ::

        t = one_hot(target)                                  for labels (zero everywhere for `ignore_index`)
        t = (1 - label_smoothing) * t + label_smoothing / C
        loss[n, ...] = -sample_weight[n, ...] * sum over c of weight[c] * t[n, c, ...] * log_softmax(logits)[n, c, ...]

    but for labels the smoothed part of class c counts weight[c], and nothing where the label is ignored.

    Parameters
    ----------
    logits : array (N, C) or (N, C, d1, ...)
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
        What each position counts.

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
    args = _arguments.cross_entropy(
        "cross_entropy", logits, target, weight, ignore_index, reduction, label_smoothing, sample_weight
    )
    log_p = log_probabilities(wide(args.logits), axis=1)
    t = _target(args)
    # A label's class is looked up, so that infinities of other classes stay out of it; a distribution reaches all.
    terms = np.where(t == 0, 0, -t * log_p) if args.labels and not args.smoothing else -t * log_p
    losses = np.where(_counted(args), terms.sum(axis=1), 0) * _sample_weight(args)
    return _reduced(losses, args.logits.dtype, reduction, _total(args))


@ieee
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
    """Gradient of `cross_entropy` with respect to the logits.

    ::

        grad_logits = g * (softmax(logits) * t.sum(axis=1) - t)

    with t the target as a weighted distribution and g the gradient of each position's loss.

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
    args = _arguments.cross_entropy(
        where, logits, target, weight, ignore_index, reduction, label_smoothing, sample_weight
    )
    g = _arguments.grad_loss(where, grad_loss, args.positions, args.logits.dtype, reduction)
    t = _target(args)
    p = np.exp(log_probabilities(wide(args.logits), axis=1))
    g = _position_gradient(g, args, reduction)
    return rounded(g[:, None] * (p * t.sum(axis=1, keepdims=True) - t), args.logits.dtype)


@ieee
def nll_loss(x, target, weight=None, ignore_index=-100, reduction="mean", *, sample_weight=None):
    """Minus the log-probability of the target.

    ::

        loss[n, ...] = -sample_weight[n, ...] * weight[target[n, ...]] * x[n, target[n, ...], ...]

    Parameters
    ----------
    x : array (N, C) or (N, C, d1, ...)
        Log-probabilities.
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
    args = _arguments.cross_entropy("nll_loss", x, target, weight, ignore_index, reduction, 0.0, sample_weight, "x")
    one_hot = _one_hot(args)
    own = np.where(one_hot, -_class_weight(args) * wide(args.logits), 0).sum(axis=1)
    return _reduced(own * _sample_weight(args), args.logits.dtype, reduction, _total(args))


@ieee
def nll_loss_backward(grad_loss, x, target, weight=None, ignore_index=-100, reduction="mean", *, sample_weight=None):
    """Gradient of `nll_loss` with respect to `x`: ``-g * weight`` at the target, 0 elsewhere.

    Parameters and errors are those of `nll_loss`, and of `cross_entropy_backward` for `grad_loss`.
    """
    where = "nll_loss_backward"
    args = _arguments.cross_entropy(where, x, target, weight, ignore_index, reduction, 0.0, sample_weight, "x")
    g = _arguments.grad_loss(where, grad_loss, args.positions, args.logits.dtype, reduction)
    g = _position_gradient(g, args, reduction)
    return rounded(np.where(_one_hot(args), -_class_weight(args) * g[:, None], 0), args.logits.dtype)


def _one_hot(args: _arguments.CrossEntropy) -> np.ndarray:
    """Whether class c is the label of a position, of the logits' shape; never where it is to be ignored."""
    classes = np.arange(args.logits.shape[1]).reshape(-1, *[1] * (args.logits.ndim - 2))
    return (args.target[:, None] == classes) & _counted(args)[:, None]


def _counted(args: _arguments.CrossEntropy) -> np.ndarray:
    """Whether a position counts."""
    return args.target != args.ignore_index if args.labels else np.ones(args.positions, bool)


def _class_weight(args: _arguments.CrossEntropy) -> np.ndarray:
    weight = np.ones(args.logits.shape[1]) if args.weight is None else wide(args.weight)
    return weight.reshape(-1, *[1] * (args.logits.ndim - 2))


def _sample_weight(args: _arguments.CrossEntropy) -> np.ndarray:
    return np.ones(args.positions) if args.sample_weight is None else wide(args.sample_weight)


def _target(args: _arguments.CrossEntropy) -> np.ndarray:
    """The target as a distribution, smoothed, times the classes' weights; zeros where it is to be ignored."""
    t = _one_hot(args).astype(float) if args.labels else wide(args.target)
    t = (1 - args.smoothing) * t + args.smoothing / args.logits.shape[1]
    return np.where(_counted(args)[:, None], t, 0) * _class_weight(args)


def _total(args: _arguments.CrossEntropy) -> float:
    """What a mean divides by."""
    counts = _sample_weight(args)
    if args.labels:
        counts = counts * (_one_hot(args) * _class_weight(args)).sum(axis=1)
    return counts.sum()


def _position_gradient(g, args: _arguments.CrossEntropy, reduction: str) -> np.ndarray:
    """The gradient of each position's unweighted loss; 0 where the label is to be ignored."""
    g = np.broadcast_to(np.asarray(g, np.float64), args.positions)
    if reduction == "mean":
        g = g / _total(args)
    return np.where(_counted(args), g * _sample_weight(args), 0)


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
def l1_loss(x, target, reduction="mean"):
    """``|x - target|``. Parameters and errors are those of `mse_loss`."""
    x, target = _arguments.elementwise_loss("l1_loss", x, target, reduction)
    return _reduced(np.abs(wide(x) - wide(target)), x.dtype, reduction)


@ieee
def l1_loss_backward(grad_loss, x, target, reduction="mean"):
    """Gradient of `l1_loss` with respect to `x`: the sign of ``x - target``, 0 for 0 and for NaN."""
    where = "l1_loss_backward"
    x, target = _arguments.elementwise_loss(where, x, target, reduction)
    g = _arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction)
    sign = np.where(x > target, 1.0, np.where(x < target, -1.0, 0.0))
    return rounded(sign * _share(g, x.size, reduction), x.dtype)


@ieee
def huber_loss(x, target, reduction="mean", delta=1.0):
    """``(x - target)**2 / 2`` up to a distance of delta, then ``delta * (|x - target| - delta / 2)``.

    Parameters and errors are those of `mse_loss`; delta is more than 0.
    """
    x, target = _arguments.elementwise_loss("huber_loss", x, target, reduction)
    delta = number("huber_loss", "delta", delta, 0, above=True)
    d = np.abs(wide(x) - wide(target))
    return _reduced(np.where(d >= delta, delta * (d - delta / 2), d * d / 2), x.dtype, reduction)


@ieee
def huber_loss_backward(grad_loss, x, target, reduction="mean", delta=1.0):
    """Gradient of `huber_loss` with respect to `x`: ``x - target`` within -delta..delta."""
    where = "huber_loss_backward"
    x, target = _arguments.elementwise_loss(where, x, target, reduction)
    delta = number(where, "delta", delta, 0, above=True)
    g = _arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction)
    d = wide(x) - wide(target)
    slope = np.where(d >= delta, delta, np.where(d <= -delta, -delta, d))
    return rounded(slope * _share(g, x.size, reduction), x.dtype)


@ieee
def smooth_l1_loss(x, target, reduction="mean", beta=1.0):
    """``(x - target)**2 / (2 * beta)`` up to a distance of beta, then ``|x - target| - beta / 2``.

    Parameters and errors are those of `mse_loss`; beta is at least 0.
    """
    x, target = _arguments.elementwise_loss("smooth_l1_loss", x, target, reduction)
    beta = number("smooth_l1_loss", "beta", beta, 0)
    d = np.abs(wide(x) - wide(target))
    return _reduced(np.where(d >= beta, d - beta / 2, d * d / 2 / np.float64(beta)), x.dtype, reduction)


@ieee
def smooth_l1_loss_backward(grad_loss, x, target, reduction="mean", beta=1.0):
    """Gradient of `smooth_l1_loss` with respect to `x`: ``(x - target) / beta`` within -1..1."""
    where = "smooth_l1_loss_backward"
    x, target = _arguments.elementwise_loss(where, x, target, reduction)
    beta = number(where, "beta", beta, 0)
    g = _arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction)
    d = wide(x) - wide(target)
    sign = np.where(d > 0, 1.0, np.where(d < 0, -1.0, 0.0))
    slope = np.where(np.abs(d) >= beta, sign, d / np.float64(beta)) if beta else sign
    return rounded(slope * _share(g, x.size, reduction), x.dtype)


@ieee
def binary_cross_entropy(x, target, weight=None, reduction="mean"):
    """Cross-entropy of independent yes-no questions, from their probabilities.

    ::

        loss = -weight * (target * max(log(x), -100) + (1 - target) * max(log(1 - x), -100))

    Parameters
    ----------
    x : array
        Probabilities in 0..1.
    target : array of x's shape
        Probabilities in 0..1.
    weight : array that broadcasts to x's shape, optional
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
    p, t = wide(x), wide(target)
    losses = -(t * np.maximum(np.log(p), -100) + (1 - t) * np.maximum(np.log1p(-p), -100))
    return _reduced(losses * _factor(weight), x.dtype, reduction)


@ieee
def binary_cross_entropy_backward(grad_loss, x, target, weight=None, reduction="mean"):
    """Gradient of `binary_cross_entropy` with respect to `x`: ``(x - target) / max(x * (1 - x), 1e-12)``.

    Parameters and errors are those of `binary_cross_entropy`, and of `cross_entropy_backward` for `grad_loss`.
    """
    where = "binary_cross_entropy_backward"
    x, target, weight = _arguments.probability_loss(where, x, target, weight, reduction)
    g = _arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction)
    p, t = wide(x), wide(target)
    slope = (p - t) / np.maximum(p * (1 - p), 1e-12) * _factor(weight)
    return rounded(slope * _share(g, x.size, reduction), x.dtype)


@ieee
def binary_cross_entropy_with_logits(x, target, weight=None, reduction="mean", pos_weight=None):
    """Cross-entropy of independent yes-no questions, averaged over all elements.

    ::

        loss = -pos_weight * target * log(sigmoid(x)) - (1 - target) * log(1 - sigmoid(x))
             = (1 - target) * x + (1 + (pos_weight - 1) * target) * (log(1 + exp(-|x|)) - min(x, 0))

    times `weight`. The second form cannot overflow.

    Parameters
    ----------
    x : array
        Logits.
    target : array of x's shape
        Probabilities in 0..1.
    weight, pos_weight : arrays that broadcast to x's shape, optional
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
        If shapes do not fit, or `reduction` is unknown.
    """
    where = "binary_cross_entropy_with_logits"
    x, target, weight, positive = _arguments.logistic_loss(where, x, target, weight, reduction, pos_weight)
    z, t = wide(x), wide(target)
    small = np.log1p(np.exp(-np.abs(z)))
    if positive is None:
        losses = (1 - t) * z - np.minimum(z, 0) + small
    else:
        losses = (1 - t) * z + (1 + (wide(positive) - 1) * t) * (small - np.minimum(z, 0))
    return _reduced(losses * _factor(weight), x.dtype, reduction)


@ieee
def binary_cross_entropy_with_logits_backward(grad_loss, x, target, weight=None, reduction="mean", pos_weight=None):
    """Gradient of `binary_cross_entropy_with_logits` with respect to `x`: ``(sigmoid(x) - target) * grad_loss``, over
    the number of elements for "mean".

    Parameters and errors are those of `binary_cross_entropy_with_logits`, and of `cross_entropy_backward` for
    `grad_loss`.
    """
    where = "binary_cross_entropy_with_logits_backward"
    x, target, weight, positive = _arguments.logistic_loss(where, x, target, weight, reduction, pos_weight)
    g = _arguments.grad_loss(where, grad_loss, x.shape, x.dtype, reduction)
    t = wide(target)
    yes = t * _factor(positive)
    slope = (logistic(wide(x)) * (yes + 1 - t) - yes) * _factor(weight)
    return rounded(slope * _share(g, x.size, reduction), x.dtype)


def _factor(weight: np.ndarray | None) -> np.ndarray | float:
    return 1.0 if weight is None else wide(weight)


def _reduced(losses: np.ndarray, dtype: np.dtype, reduction: str, count: float | None = None):
    """`count` is what a mean divides by, if not the number of losses."""
    if reduction == "none":
        return rounded(losses, dtype)
    total = losses.sum()
    if reduction == "mean":
        total = total / np.float64(losses.size if count is None else count)
    return rounded(total, dtype)[()]


def _share(grad_loss, count: int, reduction: str):
    """Of the reduced loss's gradient, what each of its `count` terms gets."""
    if reduction == "none":
        return wide(grad_loss)
    return grad_loss / max(count, 1) if reduction == "mean" else grad_loss
