"""Activations that are cut off at two numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._arguments import between
from ..functional import hardsigmoid, hardsigmoid_backward, hardtanh, hardtanh_backward
from .layer import Backward, Layer, fresh


class Hardtanh(Layer):
    """``min(max(x, min_val), max_val)``.

    Parameters
    ----------
    min_val, max_val : float
    inplace : bool
        As `ReLU`'s.
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False):
        self.min_val, self.max_val = between("Hardtanh", min_val, max_val)

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        bounds = self.min_val, self.max_val
        y = hardtanh(x, *bounds)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return hardtanh_backward(grad_y, x, *bounds) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val:g}, max_val={self.max_val:g}"


class ReLU6(Hardtanh):
    """``min(max(x, 0), 6)`` (Krizhevsky 2010), MobileNet's activation.

    Parameters
    ----------
    inplace : bool
        As `ReLU`'s.
    """

    def __init__(self, inplace: bool = False):
        super().__init__(0.0, 6.0)

    def extra_repr(self) -> str:
        return ""


class Hardsigmoid(Layer):
    """``min(max(x + 3, 0), 6) / 6`` (Howard et al. 2019, arXiv 1905.02244).

    Parameters
    ----------
    inplace : bool
        As `ReLU`'s.
    """

    def __init__(self, inplace: bool = False):
        pass

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        y = hardsigmoid(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return hardsigmoid_backward(grad_y, x) if need_x else None

        return y, Backward(backward, y, fresh=True)
