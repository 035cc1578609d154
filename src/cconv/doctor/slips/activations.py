"""Activations as the search for slips needs them: value, derivative, and the derivative in terms of the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ... import functional as F

Function = Callable[[np.ndarray], np.ndarray]


class Activation(NamedTuple):
    """An elementwise function ``y = f(z)``.

    `of_output` is its derivative in terms of y, where it can be told from y, and `formula` how one writes it.
    """

    name: str
    value: Function
    slope: Function
    of_output: Function | None
    formula: str


def _backward(backward: Callable[..., np.ndarray], *options: float) -> Function:
    return lambda z: backward(np.ones_like(z), z, *options)


def _leaky(slope: float) -> Activation:
    return Activation(
        "leaky ReLU",
        lambda z: np.where(z > 0, z, slope * z),
        lambda z: np.where(z > 0, 1.0, slope),
        (lambda y: np.where(y > 0, 1.0, slope)) if slope > 0 else None,
        f"np.where(y > 0, 1, {slope:.4g})",
    )


def _elu(alpha: float) -> Activation:
    return Activation(
        "ELU",
        lambda z: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))),
        lambda z: np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0))),
        lambda y: np.where(y > 0, 1.0, y + alpha),
        f"np.where(y > 0, 1, y + {alpha:.4g})",
    )


IDENTITY = Activation("", lambda z: z, np.ones_like, np.ones_like, "1")
SIGMOID = Activation(
    "sigmoid", F.sigmoid, lambda z: F.sigmoid(z) * (1 - F.sigmoid(z)), lambda y: y * (1 - y), "y * (1 - y)"
)
TANH = Activation("tanh", np.tanh, lambda z: 1 - np.tanh(z) ** 2, lambda y: 1 - y * y, "1 - y**2")
RELU = Activation("ReLU", lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0, lambda y: (y > 0) * 1.0, "y > 0")
SOFTPLUS = Activation("softplus", F.softplus, F.sigmoid, lambda y: -np.expm1(-y), "1 - exp(-y)")
KNOWN = (
    IDENTITY,
    SIGMOID,
    TANH,
    RELU,
    SOFTPLUS,
    Activation("GELU", F.gelu, _backward(F.gelu_backward), None, "the derivative of GELU at the weighted input"),
    Activation("SiLU", F.silu, _backward(F.silu_backward), None, "the derivative of SiLU at the weighted input"),
    Activation("hardswish", F.hardswish, _backward(F.hardswish_backward), None, "the derivative of hardswish"),
    Activation("exp", np.exp, np.exp, lambda y: y, "y"),
    Activation("square", np.square, lambda z: 2 * z, None, "2 * z"),
)
# Those whose derivative can be told from the output alone.
BY_OUTPUT = (SIGMOID, TANH, SOFTPLUS, _leaky(0.01), _leaky(0.1), _leaky(0.2), _elu(1.0))


def fitting(z: np.ndarray, y: np.ndarray) -> list[Activation]:
    """The activations that take z to y."""
    if z.shape != y.shape or not z.size:
        return []
    known = [a for a in KNOWN if same(a.value(z), y)]
    below = z < -1e-3
    if known or not below.any():
        return known
    slope = float(np.median(y[below] / z[below]))
    alpha = float(np.median(y[below] / np.expm1(z[below])))
    return [a for a in (_leaky(slope), _elu(alpha)) if same(a.value(z), y)]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal but for rounding."""
    if a.shape != b.shape:
        return False
    with np.errstate(all="ignore"):
        return bool(np.abs(a - b).max(initial=0) <= 1e-9 * (1e-3 + float(np.abs(b).max(initial=0))))
