"""Activations and dropout."""

from __future__ import annotations

import operator

import numpy as np

from .._checks import choice, number, real, same_dtype
from .._shapes import whole
from .shared import match_output, with_channels


def elementwise_backward(where: str, grad_y, name: str, kept) -> tuple[np.ndarray, np.ndarray]:
    """(grad_y, kept) of an elementwise operation's gradient, where `name` ("x" or "y") is what `kept` is."""
    kept = real(where, name, kept)
    grad_y = real(where, "grad_y", grad_y)
    if grad_y.shape != kept.shape:
        raise ValueError(f"{where}: grad_y has shape {grad_y.shape}, {name} {kept.shape}: they must be equal")
    if grad_y.dtype is not kept.dtype:
        same_dtype(where, **{"grad_y": grad_y, name: kept})
    return grad_y, kept


def dropout(where: str, name: str, x, ndim: int | None, p, seed, step) -> tuple[np.ndarray, float, int, int]:
    """(x, p, seed, step) of dropout and its gradient."""
    x = real(where, name, x, ndim)
    try:
        seed = operator.index(seed)
    except TypeError:
        raise TypeError(f"{where}: seed must be an integer, got {seed!r}") from None
    if not 0 <= seed < 2**64:
        raise ValueError(f"{where}: seed must be in 0..2**64 - 1, got {seed!r}")
    return x, probability(where, p), seed, whole(where, "step", step)


def probability(where: str, p) -> float:
    """`p` as a float in 0..1."""
    result = number(where, "p", p, 0)
    if result > 1:
        raise ValueError(f"{where}: p must be at most 1, got {p!r}")
    return result


def approximate(where: str, value) -> bool:
    """Whether gelu is to be the approximation by tanh."""
    return choice(where, "approximate", value, ("none", "tanh")) == "tanh"


def between(where: str, min_val, max_val) -> tuple[float, float]:
    """(min_val, max_val) of hardtanh."""
    low, high = number(where, "min_val", min_val), number(where, "max_val", max_val)
    if low > high:
        raise ValueError(f"{where}: min_val must be at most max_val={max_val!r}, got {min_val!r}")
    return low, high


def maxout(where: str, x, pool_size) -> tuple[np.ndarray, int, tuple[int, ...]]:
    """(x, pool_size, shape of y) of maxout."""
    x = with_channels(where, x)
    size = whole(where, "pool_size", pool_size, 1)
    if x.shape[1] % size:
        raise ValueError(f"{where}: pool_size={size} does not divide the {x.shape[1]} channels of x {x.shape}")
    return x, size, (x.shape[0], x.shape[1] // size, *x.shape[2:])


def maxout_backward(where: str, grad_y, x, pool_size) -> tuple[np.ndarray, np.ndarray, int]:
    """(grad_y, x, pool_size) of maxout_backward."""
    x, size, shape = maxout(where, x, pool_size)
    grad_y = real(where, "grad_y", grad_y)
    match_output(where, grad_y, shape)
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x)
    return grad_y, x, size


def softmax(where: str, x, dim) -> tuple[np.ndarray, int]:
    """(x, axis) of softmax and log_softmax, axis in 0..x.ndim - 1."""
    x = real(where, "x", x)
    return x, _axis(where, x, dim)


def softmax_backward(where: str, grad_y, x, dim) -> tuple[np.ndarray, np.ndarray, int]:
    """(grad_y, x, axis) of softmax_backward and log_softmax_backward."""
    grad_y, x = elementwise_backward(where, grad_y, "x", x)
    return grad_y, x, _axis(where, x, dim)


def _axis(where: str, x: np.ndarray, dim) -> int:
    try:
        axis = operator.index(dim)
    except TypeError:
        raise TypeError(f"{where}: dim must be an integer, got {dim!r}") from None
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{where}: dim must be in {-x.ndim}..{x.ndim - 1} for x {x.shape}, got {dim!r}")
    return axis % x.ndim
