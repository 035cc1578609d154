"""What a network says when a layer and its input do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._checks import real


class Misfit(ValueError):
    """An input whose size is not what a layer's argument says.

    The containers around the layer add where it is and where its input came from.

    Parameters
    ----------
    where : str
        The layer's kind.
    rule : str
        The argument and its value, ``"in_features=400"``.
    size : int
        What x has instead.
    x_shape : tuple of int
    fix : str
    """

    def __init__(self, where: str, rule: str, size: int, x_shape: tuple[int, ...], fix: str):
        super().__init__(where, rule, size, x_shape, fix)
        self.path = ""
        self.source: str | None = None
        self.network_input: tuple[int, ...] = ()

    def __str__(self) -> str:
        where, rule, size, x_shape, fix = self.args
        if self.source is None:
            found = f"x {x_shape} has {size}"
        else:
            found = f"{self.source} gives {size} for an input of {self.network_input}"
        return f"{self.path}{where}: {rule}, but {found}: {fix}"


def locate(error: Exception, position: str, layers: Sequence[object], index: int, x_shape: tuple[int, ...]) -> None:
    """Have `error` name the layer that raised it.

    Parameters
    ----------
    error : Exception
        Changed in place, so that its type stays.
    position : str
        ``"Sequential[4]"``.
    layers : sequence
        Of the container.
    index : int
        Of the layer that raised.
    x_shape : tuple of int
        Of the container's input.
    """
    kind = type(layers[index]).__name__
    if isinstance(error, Misfit):
        error.path = f"{position} {error.path}"
        error.network_input = x_shape
        if error.source is None and index > 0:
            error.source = type(layers[index - 1]).__name__
    elif len(error.args) == 1 and isinstance(error.args[0], str):
        message = error.args[0]
        head, colon, rest = message.partition(": ")
        if colon and head.replace("_", "").lower() == kind.lower():
            message = rest
        # A container within has named its layer: "Sequential[1] Sequential[0] Linear: ...".
        error.args = (f"{position} {message}" if head.startswith(f"{kind}[") else f"{position} {kind}: {message}",)
    else:
        error.add_note(f"in {position} {kind}")


def as_input(where: str, x: Any, dtype: np.dtype) -> np.ndarray:
    """`x` as a float array of `dtype`; TypeError for integers, which need a scale first."""
    if type(x) is not np.ndarray or x.dtype is not dtype:
        if isinstance(x, (tuple, dict)):
            said = f"{type(x).__name__} of {len(x)}"
            raise TypeError(f"{where}: x is a {said}, expected one array: Each gives branches an input of their own")
        x = np.asarray(x)
        if x.dtype.kind in "iub":
            images = ": for images put nn.Rescale(1 / 255) first, or use x.astype(np.float32) / 255"
            hint = images if x.dtype == np.uint8 else ": use x.astype(np.float32)"
            raise TypeError(f"{where}: x has dtype {x.dtype}, expected float32 or float64{hint}")
        x = real(where, "x", x).astype(dtype, copy=False)
    return x


def float_dtype(where: str, dtype: Any) -> np.dtype:
    """`dtype` as NumPy's float32 or float64, else TypeError."""
    try:
        # np.dtype(None) is float64.
        scalar = np.dtype(dtype if dtype is not None else object).type
    except TypeError:
        scalar = np.object_
    if scalar not in (np.float32, np.float64):
        raise TypeError(f"{where}: dtype must be float32 or float64, got {dtype!r}")
    return np.dtype(scalar)
