"""Activations: functions applied to each element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._checks import number
from ..functional import (
    leaky_relu,
    leaky_relu_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softplus,
    softplus_backward,
    tanh,
    tanh_backward,
)
from ..functional.activation import over as write_over
from ..functional.activation import over_backward as write_over_backward
from .layer import Backward, Layer, overwrites


class ReLU(Layer):
    """``max(x, 0)``; NaN stays NaN."""

    @overwrites
    def forward(
        self, x: np.ndarray, train: bool = True, over: bool = False
    ) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        y = write_over("relu", x) if over else relu(x)

        def backward(grad_y: np.ndarray, need_x: bool = True, over: bool = False) -> np.ndarray | None:
            if over and grad_y.shape == y.shape:
                return write_over_backward("relu", grad_y, y)
            return relu_backward(grad_y, y) if need_x else None

        return y, Backward(backward, y, overwrites=True)


class LeakyReLU(Layer):
    """``x`` where it is positive, else ``negative_slope * x``.

    Parameters
    ----------
    negative_slope : float
    """

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        slope = self.negative_slope
        y = leaky_relu(x, slope)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return leaky_relu_backward(grad_y, x, slope) if need_x else None

        return y, Backward(backward, y)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope:g}"


class Sigmoid(Layer):
    """The logistic function, ``1 / (1 + exp(-x))``."""

    @overwrites
    def forward(
        self, x: np.ndarray, train: bool = True, over: bool = False
    ) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        y = write_over("sigmoid", x) if over else sigmoid(x)

        def backward(grad_y: np.ndarray, need_x: bool = True, over: bool = False) -> np.ndarray | None:
            if over and grad_y.shape == y.shape:
                return write_over_backward("sigmoid", grad_y, y)
            return sigmoid_backward(grad_y, y) if need_x else None

        return y, Backward(backward, y, overwrites=True)


class Tanh(Layer):
    """The hyperbolic tangent."""

    @overwrites
    def forward(
        self, x: np.ndarray, train: bool = True, over: bool = False
    ) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        y = write_over("tanh", x) if over else tanh(x)

        def backward(grad_y: np.ndarray, need_x: bool = True, over: bool = False) -> np.ndarray | None:
            if over and grad_y.shape == y.shape:
                return write_over_backward("tanh", grad_y, y)
            return tanh_backward(grad_y, y) if need_x else None

        return y, Backward(backward, y, overwrites=True)


class Softplus(Layer):
    """``log(1 + exp(beta * x)) / beta``, a smooth ReLU; `x` itself where ``beta * x`` exceeds `threshold`.

    Parameters
    ----------
    beta : float
        More than 0.
    threshold : float
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.beta = number("Softplus", "beta", beta, 0, above=True)
        self.threshold = number("Softplus", "threshold", threshold)

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        options = self.beta, self.threshold
        y = softplus(x, *options)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return softplus_backward(grad_y, x, *options) if need_x else None

        return y, Backward(backward, y)

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}, threshold={self.threshold:g}"


class Identity(Layer):
    """`x` itself: a place holder."""

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        x = np.asarray(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return grad_y if need_x else None

        return x, Backward(backward, x)
