"""What brings raw inputs, such as bytes 0..255, to the scale that networks learn from; saved with the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._errors import float_dtype
from .layer import Backward, Buffer, Layer


class Rescale(Layer):
    """``x * scale + offset``: ``Rescale(1 / 255)`` takes bytes to 0..1.

    x may be of any real dtype, integers too; the output is of the constants' dtype.

    Parameters
    ----------
    scale, offset : float
        Kept in buffers of those names.
    dtype : float32 or float64
    """

    def __init__(self, scale: float, offset: float = 0.0, *, dtype: Any = np.float32):
        dtype = float_dtype("Rescale", dtype)
        self.scale = Buffer(_constants("Rescale", "scale", scale, dtype, 0))
        self.offset = Buffer(_constants("Rescale", "offset", offset, dtype, 0))

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        scale, offset = self.scale.value, self.offset.value
        y = np.multiply(_real_input("Rescale", x), scale, dtype=scale.dtype, order="C")
        y += offset

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return grad_y * scale if need_x else None

        return y, Backward(backward, y)

    def extra_repr(self) -> str:
        offset = f", offset={self.offset.value:g}" if self.offset.value else ""
        return f"{self.scale.value:g}{offset}"


class Normalize(Layer):
    """``(x - mean) / std``, channel by channel (axis 1).

    x may be of any real dtype, integers too; the output is of the constants' dtype. `mean` and `std` are in the units
    of x: for bytes 0..255, after ``Rescale(1 / 255)`` in those of 0..1.

    Parameters
    ----------
    mean, std : float or sequence of float
        One for all channels, or one a channel; `std` more than 0. Kept in buffers of those names.
    dtype : float32 or float64
    """

    def __init__(self, mean: Any, std: Any, *, dtype: Any = np.float32):
        dtype = float_dtype("Normalize", dtype)
        self.mean = Buffer(_constants("Normalize", "mean", mean, dtype, 1))
        self.std = Buffer(_constants("Normalize", "std", std, dtype, 1))
        if not (self.std.value > 0).all():
            raise ValueError(f"Normalize: std must be more than 0, got {std!r}")
        if self.mean.value.ndim and self.std.value.ndim and self.mean.value.shape != self.std.value.shape:
            raise ValueError(f"Normalize: mean has {self.mean.value.size} channels, std {self.std.value.size}")

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        x = _real_input("Normalize", x)
        mean, std = self._along(self.mean.value, x.shape), self._along(self.std.value, x.shape)
        y = np.subtract(x, mean, dtype=mean.dtype, order="C")
        y /= std

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return grad_y / std if need_x else None

        return y, Backward(backward, y)

    def extra_repr(self) -> str:
        return f"mean={self.mean.value.tolist()}, std={self.std.value.tolist()}"

    def _along(self, constants: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        if constants.ndim == 0:
            return constants
        if len(shape) < 2 or shape[1] != constants.size:
            channels_last = len(shape) == 4 and shape[3] == constants.size
            hint = ": looks like NHWC: use x.transpose(0, 3, 1, 2)" if channels_last else ""
            raise ValueError(f"Normalize: x {shape} should have {constants.size} channels on axis 1{hint}")
        return constants.reshape(-1, *[1] * (len(shape) - 2))


def _real_input(where: str, x: Any) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype.kind not in "buif":
        raise TypeError(f"{where}: x has dtype {x.dtype}, expected real numbers")
    return x


def _constants(where: str, name: str, value: Any, dtype: np.dtype, most_dimensions: int) -> np.ndarray:
    rule = "a number" if most_dimensions == 0 else "a number, or one a channel"
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{where}: {name} must be {rule}, got {value!r}") from None
    if array.ndim > most_dimensions or not array.size:
        raise ValueError(f"{where}: {name} must be {rule}, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{where}: {name} must be finite, got {value!r}")
    return array.astype(dtype)
