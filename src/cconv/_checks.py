"""Checks of array arguments, and the wording of their errors.

Every message names the operation, the argument, the rule and the value that broke it.
"""

from __future__ import annotations

import math

import numpy as np

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


class FormatError(ValueError):
    """A file does not hold what its format promises. Nothing in memory has changed."""


def real(where: str, name: str, value, ndim: int | None = None, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """`value` as an aligned, C-contiguous float32 or float64 array in native byte order (a copy only where needed).

    Raises TypeError for another dtype, ValueError for another rank or shape.
    """
    array = value if type(value) is np.ndarray else np.asarray(value)
    dtype = array.dtype
    # NumPy holds each native dtype once: comparing identities is much the fastest, and every layer call comes by here.
    if dtype is not FLOAT32 and dtype is not FLOAT64:
        dtype = _native_float(where, name, dtype)
    if ndim is not None and array.ndim != ndim:
        axes = _axes(name, ndim)
        raise ValueError(f"{where}: {name} has {array.ndim} dimensions {array.shape}, expected {ndim}{axes}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{where}: {name} has shape {array.shape}, expected {shape}")
    flags = array.flags
    if dtype is array.dtype and flags.c_contiguous and flags.aligned:
        return array
    return np.array(array, dtype=dtype, order="C")


def _native_float(where: str, name: str, dtype: np.dtype) -> np.dtype:
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        return FLOAT32 if dtype.itemsize == 4 else FLOAT64
    hint = f": use {name}.astype(np.float32) / 255 for images" if dtype == np.uint8 else ""
    raise TypeError(f"{where}: {name} has dtype {dtype}, expected float32 or float64{hint}")


def _axes(name: str, ndim: int) -> str:
    if name == "weight":
        names = {
            2: " (out_features, in_features)",
            3: " (out_channels, in_channels / groups, length)",
            4: " (out_channels, in_channels / groups, height, width)",
        }
    else:
        names = {2: " (N, features)", 3: " (N, C, L)", 4: " (N, C, H, W)"}
    return names.get(ndim, "")


def same_dtype(where: str, **arrays) -> None:
    """Raise TypeError unless all arrays (None is passed over) share one dtype."""
    given = {name: array.dtype for name, array in arrays.items() if array is not None}
    if len(set(given.values())) > 1:
        listed = ", ".join(f"{name} {dtype}" for name, dtype in given.items())
        raise TypeError(f"{where}: arrays must share one dtype, got {listed}")


def choice(where: str, name: str, value, allowed: tuple[str, ...]) -> str:
    """`value` if it is one of `allowed`, else ValueError."""
    if value not in allowed:
        raise ValueError(f"{where}: {name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def number(where: str, name: str, value, minimum: float = -math.inf, *, above: bool = False) -> float:
    """`value` as a finite float of at least `minimum` (more than it, if `above`), else TypeError or ValueError."""
    try:
        if isinstance(value, (str, bytes, bool)):  # float() would take them
            raise TypeError
        result = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{where}: {name} must be a number, got {value!r}") from None
    if not math.isfinite(result) or result < minimum or (above and result == minimum):
        rule = "finite" if not math.isfinite(result) else f"{'more than' if above else 'at least'} {minimum:g}"
        raise ValueError(f"{where}: {name} must be {rule}, got {value!r}")
    return result
