"""Initialisers: each fills a Parameter or an array in place and returns it.

They draw in float64 and cast, so that float32 and float64 models of one seed start alike.

- Xavier: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks".
- He: He et al. 2015, arXiv 1502.01852; PyTorch says Kaiming.
- LeCun: LeCun et al. 1998, "Efficient BackProp".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import numpy as np

from .._checks import choice, number
from .._random import generator
from .layer import Parameter

Target = TypeVar("Target", Parameter, np.ndarray)
# In quotes: evaluated, it would import numpy.random with cconv.
Rng: TypeAlias = "np.random.Generator | int | None"


def fan(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight: how many terms an output sums, and how many outputs an input reaches.

    For a convolution each is channels times the area of the kernel; the size of the image has no part in it.

    Parameters
    ----------
    shape : sequence of int
        (out, in) or (out_channels, in_channels / groups, height, width).

    Raises
    ------
    ValueError
        If there are fewer than two dimensions.

    Examples
    --------
    >>> fan((16, 6, 5, 5))
    (150, 400)
    """
    if len(shape) < 2:
        raise ValueError(f"fan: shape must have at least 2 dimensions (out, in, ...), got {tuple(shape)}")
    area = math.prod(shape[2:])
    return shape[1] * area, shape[0] * area


def uniform(target: Target, low: float = 0.0, high: float = 1.0, *, rng: Rng = None) -> Target:
    """Fill uniformly from ``low`` to ``high``."""
    array = _array("uniform", target)
    low, high = number("uniform", "low", low), number("uniform", "high", high)
    if low > high:
        raise ValueError(f"uniform: low must be at most high, got {low} and {high}")
    array[...] = generator(rng).uniform(low, high, array.shape)
    return target


def normal(target: Target, mean: float = 0.0, std: float = 1.0, *, rng: Rng = None) -> Target:
    """Fill from the normal distribution."""
    array = _array("normal", target)
    mean, std = number("normal", "mean", mean), number("normal", "std", std, 0)
    array[...] = generator(rng).normal(mean, std, array.shape)
    return target


def constant(target: Target, value: float) -> Target:
    """Fill with one value."""
    _array("constant", target)[...] = number("constant", "value", value)
    return target


def zeros(target: Target) -> Target:
    """Fill with zeros."""
    return constant(target, 0.0)


def xavier_uniform(target: Target, gain: float = 1.0, *, rng: Rng = None) -> Target:
    """Uniform within ``±gain * sqrt(6 / (fan_in + fan_out))``."""
    bound = math.sqrt(3) * _xavier_std("xavier_uniform", target, gain)
    return uniform(target, -bound, bound, rng=rng)


def xavier_normal(target: Target, gain: float = 1.0, *, rng: Rng = None) -> Target:
    """Normal of standard deviation ``gain * sqrt(2 / (fan_in + fan_out))``."""
    return normal(target, 0.0, _xavier_std("xavier_normal", target, gain), rng=rng)


def he_uniform(target: Target, a: float = 0.0, mode: str = "fan_in", *, rng: Rng = None) -> Target:
    """Uniform within ``±sqrt(6 / ((1 + a**2) * fan))``, for layers before a (leaky) ReLU of negative slope `a`.

    `mode` is "fan_in", which keeps the scale of activations, or "fan_out", which keeps that of gradients.
    """
    bound = math.sqrt(3) * _he_std("he_uniform", target, a, mode)
    return uniform(target, -bound, bound, rng=rng)


def he_normal(target: Target, a: float = 0.0, mode: str = "fan_in", *, rng: Rng = None) -> Target:
    """Normal of standard deviation ``sqrt(2 / ((1 + a**2) * fan))``; arguments as of `he_uniform`."""
    return normal(target, 0.0, _he_std("he_normal", target, a, mode), rng=rng)


def lecun_uniform(target: Target, *, rng: Rng = None) -> Target:
    """Uniform within ``±sqrt(3 / fan_in)``."""
    bound = math.sqrt(3) * _lecun_std("lecun_uniform", target)
    return uniform(target, -bound, bound, rng=rng)


def lecun_normal(target: Target, *, rng: Rng = None) -> Target:
    """Normal of standard deviation ``sqrt(1 / fan_in)``."""
    return normal(target, 0.0, _lecun_std("lecun_normal", target), rng=rng)


kaiming_uniform = he_uniform
kaiming_normal = he_normal


def _array(where: str, target: Parameter | np.ndarray) -> np.ndarray:
    array = target.value if isinstance(target, Parameter) else target
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise TypeError(f"{where}: expected a Parameter or a float array to fill, got {type(array).__name__}")
    return array


def _fan(where: str, target: Parameter | np.ndarray) -> tuple[int, int]:
    shape = _array(where, target).shape
    fan_in, fan_out = fan(shape)
    if not (fan_in and fan_out):
        raise ValueError(f"{where}: a weight of shape {shape} is empty")
    return fan_in, fan_out


def _xavier_std(where: str, target: Parameter | np.ndarray, gain: float) -> float:
    return number(where, "gain", gain, 0) * math.sqrt(2 / sum(_fan(where, target)))


def _he_std(where: str, target: Parameter | np.ndarray, a: float, mode: str) -> float:
    fans = _fan(where, target)
    chosen = fans[choice(where, "mode", mode, ("fan_in", "fan_out")) == "fan_out"]
    return math.sqrt(2 / ((1 + number(where, "a", a) ** 2) * chosen))


def _lecun_std(where: str, target: Parameter | np.ndarray) -> float:
    return math.sqrt(1 / _fan(where, target)[0])
