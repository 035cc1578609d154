"""Activations: functions applied to each element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._checks import choice, number
from .._shapes import whole
from ..functional import (
    elu,
    elu_backward,
    gelu,
    gelu_backward,
    hardswish,
    hardswish_backward,
    leaky_relu,
    leaky_relu_backward,
    log_softmax,
    log_softmax_backward,
    maxout,
    maxout_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    softmax,
    softmax_backward,
    softplus,
    softplus_backward,
    tanh,
    tanh_backward,
)
from ..functional.activation import over as write_over
from ..functional.activation import over_backward as write_over_backward
from .layer import Backward, Layer, fresh, overwrites


class ReLU(Layer):
    """``max(x, 0)``; NaN stays NaN.

    Parameters
    ----------
    inplace : bool
        Taken for the sake of PyTorch's scripts. It changes nothing: memory that nobody else holds is used again anyway.
    """

    def __init__(self, inplace: bool = False):
        pass

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
    inplace : bool
        As `ReLU`'s.
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
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


class ELU(Layer):
    """``x`` where it is positive, else ``alpha * (exp(x) - 1)`` (Clevert et al. 2015, arXiv 1511.07289).

    Parameters
    ----------
    alpha : float
    inplace : bool
        As `ReLU`'s.
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.alpha = number("ELU", "alpha", alpha)

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        alpha = self.alpha
        y = elu(x, alpha)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return elu_backward(grad_y, x, alpha) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


class GELU(Layer):
    """``x * Phi(x)``, Phi the normal distribution (Hendrycks and Gimpel 2016, arXiv 1606.08415).

    Parameters
    ----------
    approximate : {"none", "tanh"}
        ``"tanh"`` for ``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``.
    """

    def __init__(self, approximate: str = "none"):
        self.approximate = choice("GELU", "approximate", approximate, ("none", "tanh"))

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        approximate = self.approximate
        y = gelu(x, approximate)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return gelu_backward(grad_y, x, approximate) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        return "approximate='tanh'" if self.approximate == "tanh" else ""


class SiLU(Layer):
    """``x * sigmoid(x)`` (Elfwing et al. 2017, arXiv 1702.03118), also known as swish.

    Parameters
    ----------
    inplace : bool
        As `ReLU`'s.
    """

    def __init__(self, inplace: bool = False):
        pass

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        y = silu(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return silu_backward(grad_y, x) if need_x else None

        return y, Backward(backward, y, fresh=True)


class Hardswish(Layer):
    """``x * min(max(x + 3, 0), 6) / 6`` (Howard et al. 2019, arXiv 1905.02244).

    Parameters
    ----------
    inplace : bool
        As `ReLU`'s.
    """

    def __init__(self, inplace: bool = False):
        pass

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        y = hardswish(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return hardswish_backward(grad_y, x) if need_x else None

        return y, Backward(backward, y, fresh=True)


class Maxout(Layer):
    """The largest of each `pool_size` neighbouring channels (Goodfellow et al. 2013, arXiv 1302.4389).

    x is (N, C) or (N, C, ...), and y (N, C / pool_size, ...). The gradient goes to the first maximum.

    Parameters
    ----------
    pool_size : int
        Divides C.
    """

    def __init__(self, pool_size: int):
        self.pool_size = whole("Maxout", "pool_size", pool_size, 1)

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        pool_size = self.pool_size
        y = maxout(x, pool_size)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return maxout_backward(grad_y, x, pool_size) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        return str(self.pool_size)


class Softmax(Layer):
    """``exp(x) / sum of exp(x) along dim``.

    Parameters
    ----------
    dim : int
        1 by default: the classes of (N, C) or (N, C, ...).
    """

    def __init__(self, dim: int = 1):
        self.dim = whole("Softmax", "dim", dim, -(2**31))

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        dim = self.dim
        y = softmax(x, dim)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return softmax_backward(grad_y, x, dim) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Layer):
    """``x - log of the sum of exp(x) along dim``.

    Parameters
    ----------
    dim : int
        1 by default: the classes of (N, C) or (N, C, ...).
    """

    def __init__(self, dim: int = 1):
        self.dim = whole("LogSoftmax", "dim", dim, -(2**31))

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        dim = self.dim
        y = log_softmax(x, dim)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return log_softmax_backward(grad_y, x, dim) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Identity(Layer):
    """`x` itself: a place holder."""

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        x = np.asarray(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return grad_y if need_x else None

        return x, Backward(backward, x)
