"""The fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._random import generator
from .._shapes import whole
from ..functional import linear, linear_backward
from . import init
from ._errors import Misfit, as_input, float_dtype
from .layer import Backward, Layer, Parameter, fresh, hand_over, wanted


class Linear(Layer):
    """``y = x @ weight.T + bias`` (PyTorch's ``Linear``).

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    rng : Generator or int, optional
        Draws the weights; the default generator if None.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter
        (out_features, in_features), drawn uniformly within ±1 / sqrt(in_features).
    bias : Parameter or None
        (out_features,), drawn likewise.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range. When called: if x is not (N, in_features), or
        (N, ..., in_features), of a float type.
    """

    _calls: ClassVar[tuple[Callable[..., Any], Callable[..., Any]]] = (linear, linear_backward)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: np.random.Generator | int | None = None,
        dtype: Any = np.float32,
    ):
        self.in_features = whole("Linear", "in_features", in_features, 1)
        self.out_features = whole("Linear", "out_features", out_features, 1)
        shape = self.out_features, self.in_features
        dtype, rng = float_dtype("Linear", dtype), generator(rng)
        bound = 1 / math.sqrt(self.in_features)
        self.weight = init.uniform(Parameter(np.empty(shape, dtype)), -bound, bound, rng=rng)
        self.bias = init.uniform(Parameter(np.empty(shape[0], dtype)), -bound, bound, rng=rng) if bias else None

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        weight, bias = self.weight, self.bias
        x = as_input("Linear", x, weight.value.dtype)
        shape = x.shape
        if len(shape) < 2 or shape[-1] != self.in_features:
            raise self._misfit(shape)
        if len(shape) > 2:
            x = x.reshape(math.prod(shape[:-1]), shape[-1])
        transform, transform_backward = self._calls
        y = transform(x, weight.value, None if bias is None else bias.value)
        if len(shape) > 2:
            y = y.reshape(*shape[:-1], self.out_features)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            needs = wanted(need_x, weight, bias)
            if len(shape) > 2:
                grad_y = grad_y.reshape(len(x), self.out_features)
            grad_x, grad_weight, grad_bias = transform_backward(grad_y, x, weight.value, needs)
            hand_over(weight, grad_weight, bias, grad_bias)
            return grad_x if grad_x is None or len(shape) == 2 else grad_x.reshape(shape)

        return y, Backward(backward, y, fresh=True)

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return math.prod(y_shape) * self.in_features

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}{'' if self.bias is not None else ', bias=False'}"

    def _misfit(self, shape: tuple[int, ...]) -> ValueError:
        if len(shape) != 2:
            hint = ": put nn.Flatten() before it" if len(shape) > 2 else ": for one example use x[None]"
            return ValueError(f"Linear: x has {len(shape)} dimensions {shape}, expected 2 (N, features){hint}")
        fix = f"use Linear({shape[1]}, {self.out_features})"
        return Misfit("Linear", f"in_features={self.in_features}", shape[1], shape, fix)
