"""Padding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._checks import choice, number, real
from .._shapes import Pair, whole
from .shared import match_output


class Pad(NamedTuple):
    """Arguments of a padding; `borders` (before, after) of each axis of x."""

    x: np.ndarray
    borders: tuple[Pair, ...]
    mode: str
    value: float
    y_shape: tuple[int, ...]


class PadBackward(NamedTuple):
    """Arguments of a padding's gradient."""

    grad_y: np.ndarray
    x_shape: tuple[int, ...]
    borders: tuple[Pair, ...]
    mode: str


def pad(where: str, x, pad, mode, value) -> Pad:
    """Clean arguments of pad."""
    x = real(where, "x", x)
    borders, y_shape = _borders(where, x.shape, pad, mode)
    if not isinstance(value, float):  # infinity may be the border of a maximum
        value = number(where, "value", value)
    if value and mode != "constant":
        raise ValueError(f"{where}: value is for mode='constant', got value={value!r} with mode={mode!r}")
    return Pad(x, borders, mode, value, y_shape)


def pad_backward(where: str, grad_y, x_shape, pad, mode) -> PadBackward:
    """Clean arguments of pad_backward."""
    grad_y = real(where, "grad_y", grad_y)
    if not isinstance(x_shape, (tuple, list)):
        raise ValueError(f"{where}: x_shape must be a tuple of sizes, got {x_shape!r}")
    x_shape = tuple(whole(where, "x_shape", size) for size in x_shape)
    borders, y_shape = _borders(where, x_shape, pad, mode)
    match_output(where, grad_y, y_shape)
    return PadBackward(grad_y, x_shape, borders, mode)


def _borders(where: str, x_shape: tuple[int, ...], pad, mode) -> tuple[tuple[Pair, ...], tuple[int, ...]]:
    """(before, after) of each axis, and the shape of the output."""
    choice(where, "mode", mode, ("constant", "reflect", "replicate", "circular"))
    if not isinstance(pad, (tuple, list)) or len(pad) % 2:
        raise ValueError(f"{where}: pad must be (left, right) or (left, right, top, bottom), got {pad!r}")
    if len(pad) > 2 * len(x_shape):
        raise ValueError(f"{where}: pad has {len(pad)} sizes, x {x_shape} has {len(x_shape)} axes")
    sizes = [whole(where, "pad", size, 0 if mode != "constant" else -(2**31)) for size in pad]
    borders = [(0, 0)] * (len(x_shape) - len(sizes) // 2)
    borders += [(sizes[i], sizes[i + 1]) for i in range(len(sizes) - 2, -1, -2)]
    for axis, (n, border) in enumerate(zip(x_shape, borders, strict=True)):
        most = {"reflect": n - 1, "circular": n, "replicate": max(border) if n else 0}.get(mode, max(border))
        if max(border) > max(most, 0):
            raise ValueError(f"{where}: mode={mode!r} of {n} numbers pads at most {max(most, 0)}, got {border}")
        if n + sum(min(0, size) for size in border) < 0:
            raise ValueError(f"{where}: pad {border} cuts more than the {n} numbers of axis {axis} of x {x_shape}")
    return tuple(borders), tuple(n + sum(border) for n, border in zip(x_shape, borders, strict=True))
