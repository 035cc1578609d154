"""A layer that multiplies with a weight, and the gradients that slips would give its arrays: what the kinds share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .point import Point

# Delta is the gradient to the weighted input z.
Gradient = Callable[[np.ndarray], np.ndarray]


class Variant(NamedTuple):
    """One way to compute an array's gradient from delta; the right one has no slip."""

    array: str
    slip: str
    text: str
    hint: str
    gradient: Gradient


def spread(gradient: np.ndarray, bias: str, point: Point, how: Callable[..., np.ndarray]) -> np.ndarray:
    """A bias's gradient made of the weight's."""
    axes = tuple(range(1, gradient.ndim)) if point.arrays[bias].size > 1 else None
    return np.asarray(how(gradient, axis=axes))
