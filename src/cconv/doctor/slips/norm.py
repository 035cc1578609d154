"""Softmax and normalisation, recognised by what they compute, and their slips."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from ... import functional as F
from .activations import same
from .guesses import Guess
from .point import Point


def softmax_guesses(point: Point, name: str) -> Iterator[Guess]:
    """A softmax over the last axis or axis 1."""
    x, y = point.x, point.y
    if name != "x" or x.shape != y.shape or x.ndim < 2:
        return
    flat = y.reshape(-1)
    for log, axis in product((False, True), {1, x.ndim - 1}):
        if same((F.log_softmax if log else F.softmax)(x, axis), y):
            hint = "grad_x = " + (
                "grad_y - exp(y) * grad_y.sum(axis)" if log else "y * (grad_y - (grad_y * y).sum(axis))"
            )
            what = "log-softmax" if log else "softmax"
            yield Guess(
                "derivative_missing",
                f"the derivative of the {what} is missing: grad_y is passed on as it is",
                f"{hint}, unless the loss has it in: then let the loss take logits, and drop this layer",
                lambda j, i: point.gs[j].reshape(-1)[i],
            )
            if not log:
                yield Guess(
                    "softmax_diagonal",
                    "only each output's own input is seen, y * (1 - y): a softmax's outputs depend on all inputs",
                    hint,
                    lambda j, i: (point.gs[j].reshape(-1) * flat * (1 - flat))[i],
                )
            return


def normalised_guesses(point: Point, name: str) -> Iterator[Guess]:
    """Normalisation over some axes, mean and variance taken for constants."""
    x, y = point.x, point.y
    if name != "x" or x.shape != y.shape or x.ndim < 2 or point.y.size < 4:
        return
    channels = tuple(a for a in range(x.ndim) if a != 1)
    for axes, epsilon in product((channels, tuple(range(1, x.ndim))), (1e-5, 0, 1e-3, 1e-6, 1e-8, 1e-12)):
        centred = x - x.mean(axes, keepdims=True)
        spread = np.sqrt(x.var(axes, keepdims=True) + epsilon)
        # y is an affine function of the normalised input, with a slope and an offset for each of the channels.
        scale = (y * centred).mean(channels, keepdims=True) / (centred * centred / spread).mean(channels, keepdims=True)
        rest = y - scale * centred / spread
        if np.abs(rest - rest.mean(channels, keepdims=True)).max() > 1e-7 * np.abs(y).max() or (scale == 0).any():
            continue
        weight = [a for n, a in point.arrays.items() if n != "x" and a.size == x.shape[1]]
        for w in [*weight, np.ones(x.shape[1])]:
            by = w.reshape(-1, *[1] * (x.ndim - 2)) / spread

            def values(j: int, i: np.ndarray, by: np.ndarray = by) -> np.ndarray:
                return np.broadcast_to(point.gs[j] * by, x.shape).reshape(-1)[i]

            yield Guess(
                "statistics_constant",
                "mean and variance are taken for constants: they depend on x",
                "grad_x = weight / std * (g - mean(g) - x_hat * mean(g * x_hat))",
                values,
            )
        return
