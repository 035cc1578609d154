"""Linear layers and convolutions, with an activation behind them, recognised by what they compute.

Which options, and which activation, turn x and the parameters into y? Then each slip's gradient is computed exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np

from . import conv, linear
from .activations import Activation, fitting
from .derivatives import delta_factors
from .guesses import Guess
from .point import Point
from .variants import Gradient


class Affine(NamedTuple):
    """``y = act(z)``, z a linear layer or a convolution of x; `options` hold the arrays' names and the geometry."""

    of: ModuleType
    options: tuple
    act: Activation


def recognised(point: Point) -> Iterator[Affine]:
    """The affine kinds that give y."""
    for name, value in point.arrays.items():
        if name == "x" or value.ndim < 2:
            continue
        for bias in _biases(point):
            for of in (linear, conv):
                for options in of.options(point, name, bias):
                    z = of.forward(point, options)
                    if z.size != point.y.size:
                        continue
                    for act in fitting(z, point.y.reshape(z.shape)):
                        yield Affine(of, options, act)
                        return


def affine_guesses(kind: Affine, point: Point, name: str) -> Iterator[Guess]:
    """Guesses about one array of a layer of the kind."""
    z = kind.of.forward(point, kind.options)
    y = point.y.reshape(z.shape)
    for (slip, text, hint), factor in delta_factors(kind.act, z, y):
        for variant in kind.of.variants(point, kind.options):
            if variant.array != name or not (slip or variant.slip):
                continue
            names = [s for s in (variant.slip, slip) if s]
            texts = [s for s in (variant.text, text) if s]
            hints = [s for s in (variant.hint, hint) if s]

            def values(
                j: int, indices: np.ndarray, factor: np.ndarray = factor, gradient: Gradient = variant.gradient
            ) -> np.ndarray:
                return gradient(point.gs[j].reshape(z.shape) * factor).reshape(-1)[indices]

            yield Guess("+".join(names), ", and ".join(texts), "; ".join(hints), values)


def _biases(point: Point) -> list[str | None]:
    return [*(name for name, a in point.arrays.items() if name != "x" and a.size in (max(a.shape, default=1), 1)), None]
