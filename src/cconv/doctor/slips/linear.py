"""A linear layer: ways to compute its gradients, right and with slips."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .point import Point
from .variants import Variant, spread


def options(point: Point, name: str, bias: str | None) -> Iterator[tuple]:
    """What it may be in which `name` is the weight."""
    weight, n = point.arrays[name], point.batch
    if weight.ndim != 2 or not point.x.size:
        return
    inputs, outputs = point.x.size // n, point.y.size // n
    for turned in (False, True):
        shape = weight.shape[::-1] if turned else weight.shape
        if shape == (outputs, inputs) and (bias is None or point.arrays[bias].size in (1, outputs)):
            yield name, bias, turned


def forward(point: Point, options: tuple) -> np.ndarray:
    """The weighted sums."""
    name, bias, turned = options
    weight = point.arrays[name]
    z = point.x.reshape(point.batch, -1) @ (weight if turned else weight.T)
    return z if bias is None else z + point.arrays[bias].reshape(1, -1)


def variants(point: Point, options: tuple) -> Iterator[Variant]:
    """The gradients of x, weight and bias."""
    name, bias, turned = options
    x, weight = point.x.reshape(point.batch, -1), point.arrays[name]
    matrix = weight.T if turned else weight

    def like_weight(gradient: np.ndarray) -> np.ndarray:
        return gradient.T if turned else gradient

    yield Variant("x", "", "", "", lambda d: d @ matrix)
    if matrix.shape[0] == matrix.shape[1]:
        text, hint = "the weight stands transposed", f"grad_x = grad_y @ weight{'.T' if turned else ''}"
        yield Variant("x", "transposed_weight", text, hint, lambda d: d @ matrix.T)
    text = "grad_weight is returned as grad_x: error times input, where error times weight is due"
    hint = f"grad_x = grad_y @ weight{'.T' if turned else ''}"
    yield Variant("x", "swapped", text, hint, lambda d: d.sum(1, keepdims=True) * x)
    yield Variant("x", "swapped", text, hint, lambda d: np.broadcast_to((d[:, :1].T @ x), x.shape))
    yield Variant(name, "", "", "", lambda d: like_weight(d.T @ x))
    text, hint = "error times weight stands where error times input is due", "grad_weight = grad_y.T @ x"
    yield Variant(name, "swapped", text, hint, lambda d: like_weight(d.sum(0)[:, None] * matrix))
    if bias is not None:
        yield Variant(bias, "", "", "", lambda d: d.sum(0) if point.arrays[bias].size > 1 else d.sum())
        text, hint = "the gradient of the weight stands in the bias's place", "the sum of grad_y over the examples"
        yield Variant(bias, "bias_from_weight", text, hint, lambda d: spread(d.T @ x, bias, point, np.sum))
        text = "the mean of the weight's gradients stands in its place"
        yield Variant(bias, "bias_from_weight", text, hint, lambda d: spread(d.T @ x, bias, point, np.mean))
