"""Max and average pooling, recognised by what they compute, and their slips."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from ... import functional as F
from .activations import same
from .conv import images
from .guesses import Guess
from .point import Point
from .variants import Gradient


def window_guesses(point: Point, name: str) -> Iterator[Guess]:
    """Slips of max and average pooling: windows are found by trying."""
    x, y = images(point.x), images(point.y)
    if name != "x" or len(point.arrays) > 1 or x is None or y is None or x.shape[:2] != y.shape[:2]:
        return
    for k, stride, pad in product(range(1, 7), range(1, 7), range(4)):
        flat = x.shape[2] == 1
        kernel, strides, pads = ((1, k), (1, stride), (0, pad)) if flat else ((k, k), (stride, stride), (pad, pad))
        fits = all(
            size + 2 * p >= size_k and (size + 2 * p - size_k) // s + 1 == out
            for size, size_k, s, p, out in zip(x.shape[2:], kernel, strides, pads, y.shape[2:], strict=True)
        )
        if k == 1 or pad > k // 2 or not fits:
            continue
        if same(F.max_pool2d(x, kernel, strides, pads)[0], y):
            kind = "max"
        elif same(F.avg_pool2d(x, kernel, strides, pads), y):
            kind = "average"
        else:
            continue
        yield from _windows(point, kind, x.shape, y.shape, (kernel, strides, pads))
        return


def _windows(point: Point, kind: str, shape: tuple, y_shape: tuple, options: tuple) -> Iterator[Guess]:
    area = options[0][0] * options[0][1]
    _, strides, pads = options

    def guess(slip: str, text: str, hint: str, gradient: Gradient) -> Guess:
        return Guess(slip, text, hint, lambda j, i: gradient(point.gs[j].reshape(y_shape)).reshape(-1)[i])

    def average(g: np.ndarray) -> np.ndarray:
        return F.avg_pool2d_backward(g, shape, *options)

    def first(g: np.ndarray) -> np.ndarray:
        found = np.zeros((*shape[:2], shape[2] + 2 * pads[0] + 8, shape[3] + 2 * pads[1] + 8))
        found[:, :, : g.shape[2] * strides[0] : strides[0], : g.shape[3] * strides[1] : strides[1]] = g
        return found[:, :, pads[0] : pads[0] + shape[2], pads[1] : pads[1] + shape[3]]

    if kind == "max":
        hint = "all of grad_y goes to the place of the maximum, nothing to the others"
        text = "each cell of a window gets the error, not the maximum alone"
        yield guess("whole_window", text, hint, lambda g: average(g) * area)
        text = "the error is shared by all cells of a window, as in average pooling"
        yield guess("window_averaged", text, hint, average)
    else:
        hint = f"each cell gets grad_y / {area}"
        _, indices = F.max_pool2d(point.x.reshape(shape), *options)
        yield guess(
            "to_the_maximum",
            "the error goes to the largest number, as in max pooling",
            hint,
            lambda g: F.max_pool2d_backward(g, indices, shape),
        )
    yield guess("first_of_window", "the error goes to the first cell of each window", hint, first)
