"""Activations of any shape, softmax, and their gradients.

Arrays are float32 or float64 of any rank; a result has its argument's shape and dtype. All raise TypeError for another
dtype or dtypes that differ, and ValueError where ``grad_y`` has not the shape of the array beside it, or an option is
out of range. NaN stays NaN.
"""

from __future__ import annotations

import numpy as np

from .. import _arguments
from .._checks import number, real
from ._precision import ieee, rounded, wide


@ieee
def relu(x):
    """``max(x, 0)``."""
    x = real("relu", "x", x)
    return rounded(np.maximum(x, 0), x.dtype)


@ieee
def relu_backward(grad_y, y):
    """``0 where y <= 0, else grad_y``; `y` is relu's output. Where y is NaN, grad_y passes, as in PyTorch."""
    grad_y, y = _arguments.elementwise_backward("relu_backward", grad_y, "y", y)
    return rounded(np.where(y <= 0, 0, grad_y), y.dtype)


@ieee
def leaky_relu(x, negative_slope=0.01):
    """``x where x > 0, else negative_slope * x``."""
    x = real("leaky_relu", "x", x)
    slope = number("leaky_relu", "negative_slope", negative_slope)
    return rounded(np.where(x > 0, x, slope * wide(x)), x.dtype)


@ieee
def leaky_relu_backward(grad_y, x, negative_slope=0.01):
    """``grad_y where x > 0, else negative_slope * grad_y``."""
    grad_y, x = _arguments.elementwise_backward("leaky_relu_backward", grad_y, "x", x)
    slope = number("leaky_relu_backward", "negative_slope", negative_slope)
    return rounded(np.where(x > 0, grad_y, slope * wide(grad_y)), x.dtype)


@ieee
def sigmoid(x):
    """``1 / (1 + exp(-x))``, written so that the exponential cannot overflow."""
    x = real("sigmoid", "x", x)
    return rounded(logistic(wide(x)), x.dtype)


@ieee
def sigmoid_backward(grad_y, y):
    """``grad_y * y * (1 - y)``; `y` is sigmoid's output."""
    grad_y, y = _arguments.elementwise_backward("sigmoid_backward", grad_y, "y", y)
    return rounded(wide(grad_y) * wide(y) * (1 - wide(y)), y.dtype)


@ieee
def tanh(x):
    """``(exp(x) - exp(-x)) / (exp(x) + exp(-x))``."""
    x = real("tanh", "x", x)
    return rounded(np.tanh(wide(x)), x.dtype)


@ieee
def tanh_backward(grad_y, y):
    """``grad_y * (1 - y**2)``; `y` is tanh's output."""
    grad_y, y = _arguments.elementwise_backward("tanh_backward", grad_y, "y", y)
    return rounded(wide(grad_y) * (1 - wide(y) ** 2), y.dtype)


@ieee
def softplus(x, beta=1.0, threshold=20.0):
    """``log(1 + exp(beta * x)) / beta``; plainly `x` where ``beta * x > threshold``, as in PyTorch."""
    x = real("softplus", "x", x)
    beta, threshold = _softplus_options("softplus", beta, threshold)
    z = beta * wide(x)
    # log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), which cannot overflow.
    y = (np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))) / beta
    return rounded(np.where(z > threshold, x, y), x.dtype)


@ieee
def softplus_backward(grad_y, x, beta=1.0, threshold=20.0):
    """``grad_y / (1 + exp(-beta * x))``; plainly `grad_y` where ``beta * x > threshold``."""
    grad_y, x = _arguments.elementwise_backward("softplus_backward", grad_y, "x", x)
    beta, threshold = _softplus_options("softplus_backward", beta, threshold)
    z = beta * wide(x)
    return rounded(np.where(z > threshold, grad_y, wide(grad_y) * logistic(z)), x.dtype)


@ieee
def softmax(x, dim=1):
    """``exp(x) / sum of exp(x) along dim``; subtracting the maximum first changes nothing but the range."""
    x, axis = _arguments.softmax("softmax", x, dim)
    return rounded(np.exp(log_probabilities(wide(x), axis)), x.dtype)


@ieee
def softmax_backward(grad_y, x, dim=1):
    """``p * (grad_y - sum of grad_y * p along dim)`` with ``p = softmax(x)``."""
    grad_y, x, axis = _arguments.softmax_backward("softmax_backward", grad_y, x, dim)
    gy, p = wide(grad_y), np.exp(log_probabilities(wide(x), axis))
    return rounded(p * (gy - (gy * p).sum(axis=axis, keepdims=True)), x.dtype)


@ieee
def log_softmax(x, dim=1):
    """``x - log of the sum of exp(x) along dim``."""
    x, axis = _arguments.softmax("log_softmax", x, dim)
    return rounded(log_probabilities(wide(x), axis), x.dtype)


@ieee
def log_softmax_backward(grad_y, x, dim=1):
    """``grad_y - softmax(x) * sum of grad_y along dim``."""
    grad_y, x, axis = _arguments.softmax_backward("log_softmax_backward", grad_y, x, dim)
    gy, p = wide(grad_y), np.exp(log_probabilities(wide(x), axis))
    return rounded(gy - p * gy.sum(axis=axis, keepdims=True), x.dtype)


def logistic(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)) in float64."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def log_probabilities(x: np.ndarray, axis: int) -> np.ndarray:
    """log(softmax(x)) in float64. A row that holds +inf, or -inf alone, gives NaN (inf - inf)."""
    shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def _softplus_options(where: str, beta, threshold) -> tuple[float, float]:
    return number(where, "beta", beta, 0, above=True), number(where, "threshold", threshold)
