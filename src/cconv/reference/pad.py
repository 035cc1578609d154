"""Padding and its gradient, by the place that each number of the output comes from."""

from __future__ import annotations

import numpy as np

from .. import _arguments
from ._precision import ieee, rounded, wide


def pad(x, pad, mode="constant", value=0.0):
    """Put a border around the last axes of an array.

    Along an axis of n numbers with `before` of them in front, y[i] is x[p] with p = i - before where that is in
    0..n - 1, and elsewhere::

        constant    value
        reflect     x[-p] or x[2*(n - 1) - p]
        replicate   x[0] or x[n - 1]
        circular    x[p modulo n]

    Parameters
    ----------
    x : array (..., H, W)
    pad : sequence of int
        (before, after) of the last axis, then of the one before it, and so on. Negative ones cut off (mode "constant").
    mode : {"constant", "reflect", "replicate", "circular"}
    value : float

    Returns
    -------
    array (..., top + H + bottom, left + W + right)

    Raises
    ------
    TypeError
        If `x` is not float32 or float64, or a number is not an integer.
    ValueError
        If `pad` does not fit `x`, reflects as much as the whole axis, or goes round it more than once.
    """
    args = _arguments.pad("pad", x, pad, mode, value)
    y = args.x
    for axis, (before, after) in enumerate(args.borders):
        place, inside = _places(args.x.shape[axis], before, after, args.mode)
        y = np.take(y, place, axis)
        np.moveaxis(y, axis, 0)[~inside] = args.value
    return rounded(y, args.x.dtype)


@ieee
def pad_backward(grad_y, x_shape, pad, mode="constant"):
    """Gradient of `pad`: each number of the output hands its gradient back to where it came from.

    Parameters
    ----------
    grad_y : array (..., top + H + bottom, left + W + right)
        Gradient with respect to the output.
    x_shape : tuple of int
        (..., H, W).
    pad, mode
        As given to `pad`.

    Returns
    -------
    array (..., H, W)

    Raises
    ------
    TypeError, ValueError
        As `pad`; also if `grad_y` has not the output's shape.
    """
    args = _arguments.pad_backward("pad_backward", grad_y, x_shape, pad, mode)
    grad = wide(args.grad_y)
    for axis, (before, after) in enumerate(args.borders):
        place, inside = _places(args.x_shape[axis], before, after, args.mode)
        grad = np.moveaxis(grad, axis, 0)
        folded = np.zeros((args.x_shape[axis], *grad.shape[1:]))
        np.add.at(folded, place[inside], grad[inside])
        grad = np.moveaxis(folded, 0, axis)
    return rounded(grad, args.grad_y.dtype)


def _places(n: int, before: int, after: int, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """For each place of the output along an axis: the one of the input, and whether there is one."""
    place = np.arange(-before, n + after)
    inside = np.ones(len(place), bool)
    if mode == "constant":
        inside = (place >= 0) & (place < n)
        place = np.where(inside, place, 0)
    elif mode == "reflect":
        place = n - 1 - abs(n - 1 - abs(place))
    else:
        place = place.clip(0, n - 1) if mode == "replicate" else place % n
    return place, inside
