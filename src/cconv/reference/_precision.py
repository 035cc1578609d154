"""Compute wide, round once, and let infinity and NaN arise in silence, as in the kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

F = TypeVar("F", bound=Callable)


def ieee(function: F) -> F:
    """Decorator: no warnings on overflow or invalid arithmetic, whose results IEEE 754 defines."""
    return np.errstate(all="ignore")(function)


def wide(array: np.ndarray) -> np.ndarray:
    """`array` in float64."""
    return array.astype(np.float64, copy=False)


def rounded(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A float64 result in the dtype of the arguments, C-contiguous."""
    return np.array(array, dtype=dtype, order="C")
