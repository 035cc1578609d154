"""A point at which guesses about a wrong gradient are tried: what the layer gives there, and numerical gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...nn.layer import Parameter

Run = Callable[[np.ndarray], tuple[Any, Callable[..., Any]]]

# Two steps that disagree by more have a kink between them.
_STEPS = (1e-5, 4e-6)
_AGREE = 1e-5
# So do slopes to the two sides of a kink, by more than curvature explains.
_BEND = 1e-2
# Numerical derivatives are good to about 1e-9 of the largest.
FIT = 2e-6
# Random directions of grad_y: a guess must fit all of them.
DIRECTIONS = 3


class Point:
    """An input, what the layer gives for it, its gradients for several grad_y, and derivatives entry by entry.

    Parameters
    ----------
    run : callable
        ``run(x)`` gives (y, backward).
    x : ndarray
        float64; entries are moved and put back.
    parameters : list of (str, Parameter)
    rng : Generator
    most : int
        Entries of an array that guesses are tried at.

    Attributes
    ----------
    y : ndarray
    arrays : dict of str to ndarray
        "x" and each parameter's value.
    gs : list of ndarray
        Directions of grad_y.
    given : list of dict
        For each direction what backward gave for each array, None for what it left out. A grad_x of a wrong shape is
        kept as it is.
    """

    def __init__(
        self, run: Run, x: np.ndarray, parameters: list[tuple[str, Parameter]], rng: np.random.Generator, most: int = 48
    ):
        self._run = run
        self._parameters = parameters
        self.x = x
        self.y = np.array(run(x)[0])
        self.arrays = {"x": x, **{name: p.value for name, p in parameters}}
        self.gs = [rng.standard_normal(self.y.shape) for _ in range(DIRECTIONS)]
        self.given = [self.back(g) for g in self.gs]
        self._entries = {
            name: np.arange(a.size) if a.size <= most else rng.permutation(a.size)[:most]
            for name, a in self.arrays.items()
        }
        self._columns: dict[tuple[str, int], np.ndarray | None] = {}

    @property
    def batch(self) -> int:
        return self.x.shape[0] if self.x.ndim else 1

    def back(self, g: np.ndarray) -> dict[str, np.ndarray | None]:
        """What one backward pass gives for every array."""
        values = [p.value.copy() for _, p in self._parameters]
        for _, p in self._parameters:
            p.zero_grad()
        x = self.x.copy()
        _, backward = self._run(x)
        grad_x = backward(g.copy() if g.ndim else float(g))
        found: dict[str, np.ndarray | None] = {"x": None if grad_x is None else np.array(grad_x, np.float64)}
        for (name, p), value in zip(self._parameters, values, strict=True):
            found[name] = None if p._grad is None else p.grad.copy()
            p.value[...] = value
            p.zero_grad()
        return found

    def at(self, flat: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Slopes of a function of each number alone, at other numbers in the place of x."""
        other = flat.reshape(self.x.shape).copy()
        slopes = []
        for step in _STEPS:
            up, down = (np.array(self._run(other + by)[0]).reshape(-1) for by in (step, -step))
            slopes.append((up - down) / (2 * step))
        apart = np.abs(slopes[0] - slopes[1]) > _AGREE * np.abs(slopes[0]) + 1e-8
        slope = np.where(apart, np.nan, slopes[0])
        return lambda indices: slope[indices]

    def entries(self, name: str) -> np.ndarray:
        """Flat indices that guesses about an array are tried at: those where the layer has a derivative."""
        return np.array([i for i in self._entries[name] if self.column(name, int(i)) is not None], np.int64)

    def column(self, name: str, index: int) -> np.ndarray | None:
        """Derivatives of all of y, flat, with respect to one entry of an array; None at a kink."""
        key = name, index
        if key not in self._columns:
            self._columns[key] = self._difference(self.arrays[name].reshape(-1), index)
        return self._columns[key]

    def columns(self, name: str, indices: np.ndarray) -> np.ndarray:
        """(entries, y.size) derivatives, NaN for an index of -1 and at a kink."""
        rows = np.full((len(indices), self.y.size), np.nan)
        for row, i in zip(rows, indices, strict=True):
            column = self.column(name, int(i)) if i >= 0 else None
            if column is not None:
                row[:] = column
        return rows

    def numeric(self, name: str, g: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Right gradients of some entries."""
        return self.columns(name, indices) @ g.reshape(-1)

    def _difference(self, flat: np.ndarray, index: int) -> np.ndarray | None:
        value = float(flat[index])
        slopes = []
        try:
            for step in _STEPS:
                reach = step * max(1.0, abs(value))
                flat[index] = value + reach
                up = np.array(self._run(self.x)[0])
                flat[index] = value - reach
                down = np.array(self._run(self.x)[0])
                width = (value + reach) - (value - reach)
                slopes.append((up - down).reshape(-1) / width)
                bend = float(np.abs(up + down - 2 * self.y).max(initial=0)) / width
        finally:
            flat[index] = value
        size = float(np.abs(slopes[0]).max(initial=0))
        apart = float(np.abs(slopes[0] - slopes[1]).max(initial=0))
        # Of a smooth function both fade with the step.
        if not np.isfinite(slopes).all() or apart > _AGREE * size + 1e-9 or bend > _BEND * size + 1e-6:
            return None
        return slopes[0]


def near(given: np.ndarray, expected: np.ndarray) -> bool:
    """Whether what is known of both agrees, as far as numerical derivatives go."""
    known = np.isfinite(given) & np.isfinite(expected)
    size = float(np.abs(expected[known]).max(initial=0))
    return size > 0 and bool(np.abs(given - expected)[known].max() <= FIT * size)
