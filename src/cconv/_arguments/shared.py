"""What several operations' arguments have in common."""

from __future__ import annotations

import numpy as np

from .._checks import real, same_dtype
from .._shapes import whole

Shape3 = tuple[int, int, int]
Shape4 = tuple[int, int, int, int]
Needs = tuple[bool, bool, bool]
INT64 = np.dtype(np.int64)


def bias_of(where: str, bias, weight: np.ndarray) -> np.ndarray:
    bias = real(where, "bias", bias)
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"{where}: bias has shape {bias.shape}, weight {weight.shape} expects {weight.shape[:1]}")
    if bias.dtype is not weight.dtype:
        same_dtype(where, weight=weight, bias=bias)
    return bias


def match_output(where: str, grad_y: np.ndarray, expected: tuple[int, ...]) -> None:
    if grad_y.shape != expected:
        raise ValueError(f"{where}: grad_y has shape {grad_y.shape}, the output has {expected}: they must be equal")


def three_needs(where: str, needs) -> Needs:
    listed = list(needs) if isinstance(needs, (tuple, list)) else []
    if len(listed) != 3 or not all(isinstance(need, (bool, np.bool_)) for need in listed):
        raise TypeError(f"{where}: needs must be three booleans (x, weight, bias), got {needs!r}")
    return bool(listed[0]), bool(listed[1]), bool(listed[2])


def with_channels(where: str, x) -> np.ndarray:
    x = real(where, "x", x)
    if x.ndim < 2:
        raise ValueError(f"{where}: x has {x.ndim} dimensions {x.shape}, expected (N, C) or (N, C, ...)")
    return x


def as_int64(array: np.ndarray) -> np.ndarray:
    """As aligned, C-contiguous native int64; an unsigned value beyond its range turns negative."""
    flags = array.flags
    if array.dtype is INT64 and flags.c_contiguous and flags.aligned:
        return array
    return np.array(array, dtype=INT64, order="C")


def all_below(integers: np.ndarray, bound: int) -> bool:
    """Whether all of an int64 array lies in 0..bound - 1; read as unsigned, negative numbers are large ones."""
    return integers.size == 0 or int(integers.view(np.uint64).max()) < bound


def shape4(where: str, name: str, shape) -> Shape4:
    if not isinstance(shape, (tuple, list)) or len(shape) != 4:
        raise ValueError(f"{where}: {name} must be (N, C, H, W), got {shape!r}")
    n, c, h, w = shape
    return whole(where, name, n), whole(where, name, c), whole(where, name, h), whole(where, name, w)


def shape3(where: str, name: str, shape) -> Shape3:
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        raise ValueError(f"{where}: {name} must be (N, C, L), got {shape!r}")
    n, c, length = shape
    return whole(where, name, n), whole(where, name, c), whole(where, name, length)
