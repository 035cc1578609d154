"""Padding of arrays, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import _arguments
from .._kernels.memory import empty
from .._scratch import scratch
from .._shapes import Pair


def pad(x, pad, mode="constant", value=0.0):
    """Put a border around the last axes of an array.

    Parameters
    ----------
    x : array (..., H, W)
        float32 or float64.
    pad : sequence of int
        Sizes of the border, the last axis first: (left, right), (left, right, top, bottom), ...
        Negative ones cut off (mode "constant").
    mode : {"constant", "reflect", "replicate", "circular"}
        What the border holds: `value`; the image mirrored at its outermost numbers, which are not repeated; its
        outermost numbers; the image again.
    value : float
        For mode "constant".

    Returns
    -------
    array (..., top + H + bottom, left + W + right)

    Raises
    ------
    TypeError
        If x is not float32 or float64, or a size is no integer.
    ValueError
        If `pad` does not fit x, reflects as much as the whole axis, or goes round it more than once.
    """
    a = _arguments.pad("pad", x, pad, mode, value)
    y = empty(a.y_shape, a.x.dtype)
    inside_x, inside_y = _inside(a.x.shape, a.borders)
    if a.mode == "constant":
        y.fill(a.value)
    y[inside_y] = a.x[inside_x]
    if a.mode != "constant":
        for axis in range(y.ndim):
            for border, source in _borders(y, axis, inside_y, a.borders[axis], a.mode):
                border[...] = source
    return y


@np.errstate(all="ignore")
def pad_backward(grad_y, x_shape, pad, mode="constant"):
    """Gradient of `pad` to its input: what the border took from a number goes back to it.

    Parameters
    ----------
    grad_y : array (..., top + H + bottom, left + W + right)
    x_shape : tuple of int
        (..., H, W).
    pad, mode
        As they were given to `pad`.

    Returns
    -------
    array (..., H, W)

    Raises
    ------
    TypeError, ValueError
        As `pad`, and if grad_y has not the shape of the output.
    """
    a = _arguments.pad_backward("pad_backward", grad_y, x_shape, pad, mode)
    grad_x = empty(a.x_shape, a.grad_y.dtype)
    inside_x, inside_y = _inside(a.x_shape, a.borders)
    if a.mode == "constant":
        grad_x.fill(0)
        grad_x[inside_x] = a.grad_y[inside_y]
        return grad_x
    folded = scratch(a.grad_y.size, grad_x.dtype).reshape(a.grad_y.shape)
    folded[...] = a.grad_y
    for axis in reversed(range(folded.ndim)):
        for border, source in _borders(folded, axis, inside_y, a.borders[axis], a.mode):
            # One after the other: the order of a sum is not NumPy's to choose.
            for part in border[:, None] if a.mode == "replicate" else [border]:
                np.add(source, part, out=source)
    grad_x[...] = folded[inside_y]
    return grad_x


def _inside(x_shape: tuple[int, ...], borders: tuple[Pair, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the numbers that input and output share lie in the one and in the other."""
    x, y = [], []
    for n, (before, after) in zip(x_shape, borders, strict=True):
        x.append(slice(max(0, -before), n + min(0, after)))
        y.append(slice(max(0, before), n + before + min(0, after)))
    return tuple(x), tuple(y)


def _borders(y: np.ndarray, axis: int, inside: tuple[slice, ...], border: Pair, mode: str) -> Iterator[tuple]:
    """Both borders of one axis, and what they are copies of; of the axes after it, the inside alone."""
    before, after = border
    y = y[(slice(None),) * (axis + 1) + inside[axis + 1 :]].swapaxes(0, axis)
    end = len(y) - after
    if before:
        sources = {
            "reflect": y[2 * before : before : -1],
            "replicate": y[before : before + 1],
            "circular": y[end - before : end],
        }
        yield y[:before], sources[mode]
    if after:
        sources = {
            "reflect": y[end - 1 - after : end - 1][::-1],
            "replicate": y[end - 1 : end],
            "circular": y[before : before + after],
        }
        yield y[end:], sources[mode]
