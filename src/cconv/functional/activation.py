"""Activations of arrays of any shape, forward and backward.

Arrays are float32 or float64; a result is C-contiguous, of its argument's shape and dtype. All raise TypeError for
another dtype or dtypes that differ, and ValueError where ``grad_y`` has not the shape of the array beside it, or an
option is out of range. NaN stays NaN. Errors of exp and its kin are at most 3 units in the last place, those of gelu
at most 7 (5 in float32); its approximation by tanh rounds an exponent, which adds three units for each that it counts.
"""

from __future__ import annotations

import numpy as np

from .. import _arguments, _dispatch
from .._checks import number, real
from .._kernels.memory import empty
from .._threads import threads_for

# The kernels' operations, in their order.
(
    RELU, LEAKY_RELU, SIGMOID, TANH, SOFTPLUS, ELU, GELU, GELU_TANH, SILU, HARDSWISH, HARDTANH, HARDSIGMOID,
    RELU_BACKWARD, LEAKY_RELU_BACKWARD, SIGMOID_BACKWARD, TANH_BACKWARD, SOFTPLUS_BACKWARD,
    ELU_BACKWARD, GELU_BACKWARD, GELU_TANH_BACKWARD, SILU_BACKWARD, HARDSWISH_BACKWARD,
    HARDTANH_BACKWARD, HARDSIGMOID_BACKWARD, ADD, ADD_RELU,
) = range(26)  # fmt: skip

# Multiply-adds' worth of work a number: a pass over memory, or an exponential on top of it.
_PASS, _EXP = 4, 16

# For arithmetic in NumPy: infinity and NaN arise in silence, as in the kernels.
ieee = np.errstate(all="ignore")


def _forward(operation: int, x: np.ndarray, work: int, a: float = 0.0, b: float = 0.0, out=None) -> np.ndarray:
    y = empty(x.shape, x.dtype) if out is None else out
    _dispatch.activation.apply(operation, y, None, x, a, b, threads_for(x.size * work))
    return y


def _backward(operation: int, grad_y, kept, work: int, a: float = 0.0, b: float = 0.0, out=None) -> np.ndarray:
    grad_x = empty(kept.shape, kept.dtype) if out is None else out
    _dispatch.activation.apply(operation, grad_x, grad_y, kept, a, b, threads_for(kept.size * work))
    return grad_x


# Those whose gradient needs y alone, so that y may take the place of x.
_OVER = {
    "relu": (RELU, RELU_BACKWARD, _PASS),
    "sigmoid": (SIGMOID, SIGMOID_BACKWARD, _EXP),
    "tanh": (TANH, TANH_BACKWARD, _EXP),
}


def over(name: str, x: np.ndarray) -> np.ndarray:
    """y of relu, sigmoid or tanh written over x, an array of our own making that nobody else holds."""
    operation, _, work = _OVER[name]
    return _forward(operation, x, work, out=x)


def over_backward(name: str, grad_y: np.ndarray, y: np.ndarray) -> np.ndarray:
    """grad_x written over grad_y, likewise."""
    return _backward(_OVER[name][1], grad_y, y, _PASS, out=grad_y)


def relu(x):
    """``max(x, 0)`` (Nair and Hinton 2010)."""
    return _forward(RELU, real("relu", "x", x), _PASS)


def relu_backward(grad_y, y):
    """``0 where y <= 0, else grad_y``; `y` is relu's output."""
    return _backward(RELU_BACKWARD, *_arguments.elementwise_backward("relu_backward", grad_y, "y", y), _PASS)


def added(x, other, rectified=False):
    """``x + other`` of one shape, or ``relu(x + other)`` in the same pass: for layers whose branches meet."""
    other, x = _arguments.elementwise_backward("added", other, "x", x)
    return _backward(ADD_RELU if rectified else ADD, other, x, _PASS)


def leaky_relu(x, negative_slope=0.01):
    """``x where x > 0, else negative_slope * x`` (Maas et al. 2013)."""
    slope = number("leaky_relu", "negative_slope", negative_slope)
    return _forward(LEAKY_RELU, real("leaky_relu", "x", x), _PASS, slope)


def leaky_relu_backward(grad_y, x, negative_slope=0.01):
    """``grad_y where x > 0, else negative_slope * grad_y``."""
    grad_y, x = _arguments.elementwise_backward("leaky_relu_backward", grad_y, "x", x)
    slope = number("leaky_relu_backward", "negative_slope", negative_slope)
    return _backward(LEAKY_RELU_BACKWARD, grad_y, x, _PASS, slope)


def sigmoid(x):
    """``1 / (1 + exp(-x))``."""
    return _forward(SIGMOID, real("sigmoid", "x", x), _EXP)


def sigmoid_backward(grad_y, y):
    """``grad_y * (1 - y) * y``; `y` is sigmoid's output."""
    return _backward(SIGMOID_BACKWARD, *_arguments.elementwise_backward("sigmoid_backward", grad_y, "y", y), _PASS)


def tanh(x):
    """The hyperbolic tangent."""
    return _forward(TANH, real("tanh", "x", x), _EXP)


def tanh_backward(grad_y, y):
    """``grad_y * (1 - y**2)``; `y` is tanh's output."""
    return _backward(TANH_BACKWARD, *_arguments.elementwise_backward("tanh_backward", grad_y, "y", y), _PASS)


def softplus(x, beta=1.0, threshold=20.0):
    """``log(1 + exp(beta * x)) / beta``, and x itself where ``beta * x > threshold``."""
    x = real("softplus", "x", x)
    beta = number("softplus", "beta", beta, 0.0, above=True)
    return _forward(SOFTPLUS, x, _EXP, beta, number("softplus", "threshold", threshold))


def softplus_backward(grad_y, x, beta=1.0, threshold=20.0):
    """``grad_y * sigmoid(beta * x)``, and grad_y itself where ``beta * x > threshold``."""
    grad_y, x = _arguments.elementwise_backward("softplus_backward", grad_y, "x", x)
    beta = number("softplus_backward", "beta", beta, 0.0, above=True)
    return _backward(SOFTPLUS_BACKWARD, grad_y, x, _EXP, beta, number("softplus_backward", "threshold", threshold))


def elu(x, alpha=1.0):
    """``x where x > 0, else alpha * (exp(x) - 1)`` (Clevert et al. 2015, arXiv 1511.07289)."""
    alpha = number("elu", "alpha", alpha)
    return _forward(ELU, real("elu", "x", x), _EXP, alpha)


def elu_backward(grad_y, x, alpha=1.0):
    """``grad_y where x > 0, else grad_y * alpha * exp(x)``."""
    grad_y, x = _arguments.elementwise_backward("elu_backward", grad_y, "x", x)
    return _backward(ELU_BACKWARD, grad_y, x, _EXP, number("elu_backward", "alpha", alpha))


def gelu(x, approximate="none"):
    """``x * Phi(x)``, Phi the normal distribution (Hendrycks and Gimpel 2016, arXiv 1606.08415).

    With ``approximate="tanh"``: ``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``.
    """
    operation = GELU_TANH if _arguments.approximate("gelu", approximate) else GELU
    return _forward(operation, real("gelu", "x", x), _EXP)


def gelu_backward(grad_y, x, approximate="none"):
    """``grad_y * (Phi(x) + x * phi(x))``, phi the normal density, or the slope of the approximation."""
    grad_y, x = _arguments.elementwise_backward("gelu_backward", grad_y, "x", x)
    operation = GELU_TANH_BACKWARD if _arguments.approximate("gelu_backward", approximate) else GELU_BACKWARD
    return _backward(operation, grad_y, x, _EXP)


def silu(x):
    """``x * sigmoid(x)`` (Elfwing et al. 2017, arXiv 1702.03118)."""
    return _forward(SILU, real("silu", "x", x), _EXP)


def silu_backward(grad_y, x):
    """``grad_y * s * (1 + x * (1 - s))`` with ``s = sigmoid(x)``."""
    return _backward(SILU_BACKWARD, *_arguments.elementwise_backward("silu_backward", grad_y, "x", x), _EXP)


def hardswish(x):
    """``x * min(max(x + 3, 0), 6) / 6`` (Howard et al. 2019, arXiv 1905.02244)."""
    return _forward(HARDSWISH, real("hardswish", "x", x), _PASS)


def hardswish_backward(grad_y, x):
    """``0 where x <= -3, grad_y where x >= 3, else grad_y * (x / 3 + 1 / 2)``."""
    return _backward(HARDSWISH_BACKWARD, *_arguments.elementwise_backward("hardswish_backward", grad_y, "x", x), _PASS)


def hardtanh(x, min_val=-1.0, max_val=1.0):
    """``min(max(x, min_val), max_val)``; with 0 and 6 it is relu6 (Krizhevsky 2010)."""
    low, high = _arguments.between("hardtanh", min_val, max_val)
    return _forward(HARDTANH, real("hardtanh", "x", x), _PASS, low, high)


def hardtanh_backward(grad_y, x, min_val=-1.0, max_val=1.0):
    """``grad_y where min_val < x < max_val, else 0``."""
    grad_y, x = _arguments.elementwise_backward("hardtanh_backward", grad_y, "x", x)
    return _backward(HARDTANH_BACKWARD, grad_y, x, _PASS, *_arguments.between("hardtanh_backward", min_val, max_val))


def hardsigmoid(x):
    """``min(max(x + 3, 0), 6) / 6`` (Howard et al. 2019, arXiv 1905.02244)."""
    return _forward(HARDSIGMOID, real("hardsigmoid", "x", x), _PASS)


def hardsigmoid_backward(grad_y, x):
    """``grad_y / 6 where -3 < x < 3, else 0``."""
    grad_y, x = _arguments.elementwise_backward("hardsigmoid_backward", grad_y, "x", x)
    return _backward(HARDSIGMOID_BACKWARD, grad_y, x, _PASS)


def maxout(x, pool_size):
    """The largest of each `pool_size` neighbouring channels (Goodfellow et al. 2013, arXiv 1302.4389).

    Parameters
    ----------
    x : array (N, C) or (N, C, ...)
        float32 or float64.
    pool_size : int
        Divides C.

    Returns
    -------
    array (N, C / pool_size, ...)
        NaN where one of the channels is NaN.

    Raises
    ------
    TypeError, ValueError
        If x has another dtype or fewer dimensions, or `pool_size` does not divide its channels.
    """
    x, size, shape = _arguments.maxout("maxout", x, pool_size)
    y = empty(shape, x.dtype)
    if y.size:
        _dispatch.activation.maxout(y, None, x, size, threads_for(x.size * _PASS))
    return y


def maxout_backward(grad_y, x, pool_size):
    """Gradient of `maxout` to its input: grad_y where a channel is the first maximum of its group, 0 elsewhere.

    A NaN counts as larger than all numbers. Raises what `maxout` raises, and ValueError if `grad_y` has not the
    output's shape.
    """
    grad_y, x, size = _arguments.maxout_backward("maxout_backward", grad_y, x, pool_size)
    grad_x = empty(x.shape, x.dtype)
    if grad_x.size:
        _dispatch.activation.maxout(grad_x, grad_y, x, size, threads_for(x.size * _PASS))
    return grad_x


def softmax(x, dim=1):
    """``exp(x) / sum of exp(x) along dim``, the largest x taken off first."""
    return _softmax(*_arguments.softmax("softmax", x, dim), logarithm=False)


@ieee
def softmax_backward(grad_y, x, dim=1):
    """``y * (grad_y - sum of grad_y * y along dim)`` with ``y = softmax(x)``."""
    grad_y, x, axis = _arguments.softmax_backward("softmax_backward", grad_y, x, dim)
    y = _softmax(x, axis, logarithm=False)
    grad_x = grad_y - (grad_y * y).sum(axis, keepdims=True)
    grad_x *= y
    return grad_x


def log_softmax(x, dim=1):
    """``x - log of the sum of exp(x) along dim``, the largest x taken off first."""
    return _softmax(*_arguments.softmax("log_softmax", x, dim), logarithm=True)


@ieee
def log_softmax_backward(grad_y, x, dim=1):
    """``grad_y - softmax(x) * sum of grad_y along dim``."""
    grad_y, x, axis = _arguments.softmax_backward("log_softmax_backward", grad_y, x, dim)
    grad_x = _softmax(x, axis, logarithm=False)
    grad_x *= -grad_y.sum(axis, keepdims=True)
    grad_x += grad_y
    return grad_x


def _softmax(x: np.ndarray, axis: int, logarithm: bool) -> np.ndarray:
    rows = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    y = empty(rows.shape, x.dtype)
    flat = (-1, x.shape[axis]) if x.size else (0, max(1, x.shape[axis]))
    _dispatch.loss.softmax(y.reshape(flat), rows.reshape(flat), logarithm, threads_for(x.size * _EXP))
    return np.ascontiguousarray(np.moveaxis(y, -1, axis))
