"""Activations of any shape, softmax, and their gradients.

Arrays are float32 or float64 of any rank; a result has its argument's shape and dtype. All raise TypeError for another
dtype or dtypes that differ, and ValueError where ``grad_y`` has not the shape of the array beside it, or an option is
out of range. NaN stays NaN.
"""

from __future__ import annotations

import math

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
def elu(x, alpha=1.0):
    """``x where x > 0, else alpha * (exp(x) - 1)``."""
    x = real("elu", "x", x)
    alpha = number("elu", "alpha", alpha)
    return rounded(np.where(x > 0, x, alpha * np.expm1(wide(x))), x.dtype)


@ieee
def elu_backward(grad_y, x, alpha=1.0):
    """``grad_y * alpha * exp(x) where x <= 0, else grad_y``. Where x is NaN, grad_y passes, as in PyTorch."""
    grad_y, x = _arguments.elementwise_backward("elu_backward", grad_y, "x", x)
    alpha = number("elu_backward", "alpha", alpha)
    return rounded(np.where(x <= 0, wide(grad_y) * alpha * np.exp(wide(x)), grad_y), x.dtype)


@ieee
def gelu(x, approximate="none"):
    """``x * Phi(x)`` with ``Phi(x) = erfc(-x / sqrt(2)) / 2``, or the approximation by tanh.

    ::

        x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2
    """
    tanh_form = _arguments.approximate("gelu", approximate)
    x = real("gelu", "x", x)
    z = wide(x)
    return rounded(z * (logistic(_gelu_argument(z)) if tanh_form else _normal_distribution(z)), x.dtype)


@ieee
def gelu_backward(grad_y, x, approximate="none"):
    """``grad_y * (Phi(x) + x * exp(-x**2 / 2) / sqrt(2 * pi))``, or the slope of the approximation by tanh.

    At infinity both are NaN: infinity times a density of 0.
    """
    grad_y, x = _arguments.elementwise_backward("gelu_backward", grad_y, "x", x)
    z = wide(x)
    if _arguments.approximate("gelu_backward", approximate):
        # (1 + tanh(v / 2)) / 2 = logistic(v), whose slope is logistic(v) * logistic(-v).
        v = _gelu_argument(z)
        bend = logistic(v) * logistic(-v) * math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * z**2)
        slope = logistic(v) + z * np.where(np.abs(z) > 1e100, 0, bend)
    else:
        slope = _normal_distribution(z) + z * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return rounded(wide(grad_y) * slope, x.dtype)


@ieee
def silu(x):
    """``x / (1 + exp(-x))``."""
    x = real("silu", "x", x)
    return rounded(wide(x) * logistic(wide(x)), x.dtype)


@ieee
def silu_backward(grad_y, x):
    """``grad_y * s * (1 + x * (1 - s))`` with ``s = 1 / (1 + exp(-x))``, ``1 - s = 1 / (1 + exp(x))``."""
    grad_y, x = _arguments.elementwise_backward("silu_backward", grad_y, "x", x)
    z = wide(x)
    return rounded(wide(grad_y) * logistic(z) * (1 + z * logistic(-z)), x.dtype)


@ieee
def hardswish(x):
    """``x * min(max(x + 3, 0), 6) / 6``."""
    x = real("hardswish", "x", x)
    return rounded(wide(x) * (np.minimum(np.maximum(wide(x) + 3, 0), 6) / 6), x.dtype)


@ieee
def hardswish_backward(grad_y, x):
    """``0 where x <= -3, grad_y * (x / 3 + 1 / 2) between, grad_y where x >= 3``, and where x is NaN, as in PyTorch."""
    grad_y, x = _arguments.elementwise_backward("hardswish_backward", grad_y, "x", x)
    gy, z = wide(grad_y), wide(x)
    return rounded(np.where(z <= -3, 0, np.where(z < 3, gy * (z / 3 + 0.5), gy)), x.dtype)


@ieee
def hardtanh(x, min_val=-1.0, max_val=1.0):
    """``min(max(x, min_val), max_val)``."""
    low, high = _arguments.between("hardtanh", min_val, max_val)
    x = real("hardtanh", "x", x)
    return rounded(np.minimum(np.maximum(wide(x), low), high), x.dtype)


@ieee
def hardtanh_backward(grad_y, x, min_val=-1.0, max_val=1.0):
    """``0 where x <= min_val or x >= max_val, else grad_y``: also where x is NaN, as in PyTorch."""
    grad_y, x = _arguments.elementwise_backward("hardtanh_backward", grad_y, "x", x)
    low, high = _arguments.between("hardtanh_backward", min_val, max_val)
    return rounded(np.where((wide(x) <= low) | (wide(x) >= high), 0, wide(grad_y)), x.dtype)


@ieee
def hardsigmoid(x):
    """``min(max(x + 3, 0), 6) / 6``."""
    x = real("hardsigmoid", "x", x)
    return rounded(np.minimum(np.maximum(wide(x) + 3, 0), 6) / 6, x.dtype)


@ieee
def hardsigmoid_backward(grad_y, x):
    """``grad_y / 6 where -3 < x < 3, else 0``: also where x is NaN, as in PyTorch."""
    grad_y, x = _arguments.elementwise_backward("hardsigmoid_backward", grad_y, "x", x)
    return rounded(np.where((wide(x) > -3) & (wide(x) < 3), wide(grad_y) / 6, 0), x.dtype)


def maxout(x, pool_size):
    """``y[n, c] = max of x[n, c * pool_size], ..., x[n, (c + 1) * pool_size - 1]``; NaN if one of them is NaN.

    Parameters
    ----------
    x : array (N, C) or (N, C, ...)
    pool_size : int
        Divides C.

    Returns
    -------
    array (N, C / pool_size, ...)

    Raises
    ------
    TypeError, ValueError
        If x has another dtype or fewer dimensions, or `pool_size` does not divide its channels.
    """
    x, size, shape = _arguments.maxout("maxout", x, pool_size)
    y = np.empty(shape, x.dtype)
    for c in range(shape[1]):
        y[:, c] = x[:, c * size : (c + 1) * size].max(axis=1)
    return y


def maxout_backward(grad_y, x, pool_size):
    """grad_y goes to the first of the channels that hold the maximum, where a NaN counts as larger than all numbers.

    Raises what `maxout` raises, and ValueError if `grad_y` has not the output's shape.
    """
    grad_y, x, size = _arguments.maxout_backward("maxout_backward", grad_y, x, pool_size)
    grad_x = np.zeros(x.shape, x.dtype)
    for c in range(grad_y.shape[1]):
        group = slice(c * size, (c + 1) * size)
        first = np.expand_dims(x[:, group].argmax(axis=1), 1)
        np.put_along_axis(grad_x[:, group], first, grad_y[:, c : c + 1], axis=1)
    return grad_x


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


def _normal_distribution(z: np.ndarray) -> np.ndarray:
    """The share of a normal distribution below z, in float64."""
    return np.vectorize(lambda value: 0.5 * math.erfc(-value / math.sqrt(2)), otypes=[np.float64])(z)


def _gelu_argument(z: np.ndarray) -> np.ndarray:
    """Twice what gelu's approximation takes the tanh of."""
    return math.sqrt(8 / math.pi) * (z + 0.044715 * z**3)


def log_probabilities(x: np.ndarray, axis: int) -> np.ndarray:
    """log(softmax(x)) in float64. A row that holds +inf, or -inf alone, gives NaN (inf - inf)."""
    shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def _softplus_options(where: str, beta, threshold) -> tuple[float, float]:
    return number(where, "beta", beta, 0, above=True), number(where, "threshold", threshold)
