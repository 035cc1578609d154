"""Activations: functions applied to each element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._arguments import between
from .._checks import choice, number
from .._shapes import whole
from ..functional import (
    elu,
    elu_backward,
    gelu,
    gelu_backward,
    hardsigmoid,
    hardsigmoid_backward,
    hardswish,
    hardswish_backward,
    hardtanh,
    hardtanh_backward,
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


class _OfOutput(Layer):
    """What ReLU, Sigmoid and Tanh share: gradients need y alone, so that y may take the memory of x."""

    _calls: ClassVar[tuple[str, Callable[[Any], np.ndarray], Callable[..., np.ndarray]]]

    @overwrites
    def forward(
        self, x: np.ndarray, train: bool = True, over: bool = False
    ) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        name, function, function_backward = self._calls
        y = write_over(name, x) if over else function(x)

        def backward(grad_y: np.ndarray, need_x: bool = True, over: bool = False) -> np.ndarray | None:
            if over and grad_y.shape == y.shape:
                return write_over_backward(name, grad_y, y)
            return function_backward(grad_y, y) if need_x else None

        return y, Backward(backward, y, overwrites=True)


class _OfInput(Layer):
    """What the others share: gradients need x, and the options that y was computed with."""

    _calls: ClassVar[tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]]

    def _options(self) -> tuple[Any, ...]:
        return ()

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        function, function_backward = self._calls
        options = self._options()
        y = function(x, *options)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return function_backward(grad_y, x, *options) if need_x else None

        return y, Backward(backward, y, fresh=True)


class ReLU(_OfOutput):
    """``max(x, 0)``; NaN stays NaN.

    Parameters
    ----------
    inplace : bool
        Taken for the sake of PyTorch's scripts. It changes nothing: memory that nobody else holds is used again anyway.
    """

    _calls = "relu", relu, relu_backward

    def __init__(self, inplace: bool = False):
        pass


class LeakyReLU(_OfInput):
    """``x`` where it is positive, else ``negative_slope * x``.

    Parameters
    ----------
    negative_slope : float
    inplace : bool
        As `ReLU`'s.
    """

    _calls = leaky_relu, leaky_relu_backward

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)

    def _options(self) -> tuple[Any, ...]:
        return (self.negative_slope,)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope:g}"


class Sigmoid(_OfOutput):
    """The logistic function, ``1 / (1 + exp(-x))``."""

    _calls = "sigmoid", sigmoid, sigmoid_backward


class Tanh(_OfOutput):
    """The hyperbolic tangent."""

    _calls = "tanh", tanh, tanh_backward


class Softplus(_OfInput):
    """``log(1 + exp(beta * x)) / beta``, a smooth ReLU; `x` itself where ``beta * x`` exceeds `threshold`.

    Parameters
    ----------
    beta : float
        More than 0.
    threshold : float
    """

    _calls = softplus, softplus_backward

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.beta = number("Softplus", "beta", beta, 0, above=True)
        self.threshold = number("Softplus", "threshold", threshold)

    def _options(self) -> tuple[Any, ...]:
        return self.beta, self.threshold

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}, threshold={self.threshold:g}"


class ELU(_OfInput):
    """``x`` where it is positive, else ``alpha * (exp(x) - 1)`` (Clevert et al. 2015, arXiv 1511.07289).

    Parameters
    ----------
    alpha : float
    inplace : bool
        As `ReLU`'s.
    """

    _calls = elu, elu_backward

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.alpha = number("ELU", "alpha", alpha)

    def _options(self) -> tuple[Any, ...]:
        return (self.alpha,)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


class GELU(_OfInput):
    """``x * Phi(x)``, Phi the normal distribution (Hendrycks and Gimpel 2016, arXiv 1606.08415).

    Parameters
    ----------
    approximate : {"none", "tanh"}
        ``"tanh"`` for ``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``.
    """

    _calls = gelu, gelu_backward

    def __init__(self, approximate: str = "none"):
        self.approximate = choice("GELU", "approximate", approximate, ("none", "tanh"))

    def _options(self) -> tuple[Any, ...]:
        return (self.approximate,)

    def extra_repr(self) -> str:
        return "approximate='tanh'" if self.approximate == "tanh" else ""


class SiLU(_OfInput):
    """``x * sigmoid(x)`` (Elfwing et al. 2017, arXiv 1702.03118), also known as swish.

    Parameters
    ----------
    inplace : bool
        As `ReLU`'s.
    """

    _calls = silu, silu_backward

    def __init__(self, inplace: bool = False):
        pass


class Hardswish(_OfInput):
    """``x * min(max(x + 3, 0), 6) / 6`` (Howard et al. 2019, arXiv 1905.02244).

    Parameters
    ----------
    inplace : bool
        As `ReLU`'s.
    """

    _calls = hardswish, hardswish_backward

    def __init__(self, inplace: bool = False):
        pass


class Hardtanh(_OfInput):
    """``min(max(x, min_val), max_val)``.

    Parameters
    ----------
    min_val, max_val : float
    inplace : bool
        As `ReLU`'s.
    """

    _calls = hardtanh, hardtanh_backward

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False):
        self.min_val, self.max_val = between("Hardtanh", min_val, max_val)

    def _options(self) -> tuple[Any, ...]:
        return self.min_val, self.max_val

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


class Hardsigmoid(_OfInput):
    """``min(max(x + 3, 0), 6) / 6`` (Howard et al. 2019, arXiv 1905.02244).

    Parameters
    ----------
    inplace : bool
        As `ReLU`'s.
    """

    _calls = hardsigmoid, hardsigmoid_backward

    def __init__(self, inplace: bool = False):
        pass


class Maxout(_OfInput):
    """The largest of each `pool_size` neighbouring channels (Goodfellow et al. 2013, arXiv 1302.4389).

    x is (N, C) or (N, C, ...), and y (N, C / pool_size, ...). The gradient goes to the first maximum.

    Parameters
    ----------
    pool_size : int
        Divides C.
    """

    _calls = maxout, maxout_backward

    def __init__(self, pool_size: int):
        self.pool_size = whole("Maxout", "pool_size", pool_size, 1)

    def _options(self) -> tuple[Any, ...]:
        return (self.pool_size,)

    def extra_repr(self) -> str:
        return str(self.pool_size)


class Softmax(_OfInput):
    """``exp(x) / sum of exp(x) along dim``.

    Parameters
    ----------
    dim : int
        1 by default: the classes of (N, C) or (N, C, ...).
    """

    _calls = softmax, softmax_backward

    def __init__(self, dim: int = 1):
        self.dim = whole("Softmax", "dim", dim, -(2**31))

    def _options(self) -> tuple[Any, ...]:
        return (self.dim,)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(_OfInput):
    """``x - log of the sum of exp(x) along dim``.

    Parameters
    ----------
    dim : int
        1 by default: the classes of (N, C) or (N, C, ...).
    """

    _calls = log_softmax, log_softmax_backward

    def __init__(self, dim: int = 1):
        self.dim = whole("LogSoftmax", "dim", dim, -(2**31))

    def _options(self) -> tuple[Any, ...]:
        return (self.dim,)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Identity(Layer):
    """`x` itself: a place holder."""

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        x = np.asarray(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return grad_y if need_x else None

        return x, Backward(backward, x)
