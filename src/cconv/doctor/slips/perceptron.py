"""A perceptron in one layer, recognised by what it computes, and slips in its activations' derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from .activations import IDENTITY, KNOWN, Activation, fitting
from .derivatives import delta_factors
from .guesses import Guess
from .point import Point


class Chain(NamedTuple):
    """``a = f(a @ W.T + b)`` several times; `weights` and `biases` by name, `turned` where W stands transposed."""

    weights: tuple[str, ...]
    biases: tuple[str | None, ...]
    turned: tuple[bool, ...]
    hidden: Activation
    last: Activation


def chains(point: Point) -> Iterator[Chain]:
    """The perceptron that takes x to y with the parameters in their order, if it is one."""
    weights = [n for n, a in point.arrays.items() if n != "x" and a.ndim == 2 and 1 not in a.shape[:1]]
    flat = [n for n, a in point.arrays.items() if n != "x" and n not in weights]
    biases = flat if len(flat) == len(weights) else [None] * len(weights)
    if len(weights) < 2 or (flat and biases[0] is None) or point.x.ndim != 2 or point.y.ndim != 2:
        return
    turned, size = [], point.x.shape[1]
    for name in weights:
        shape = point.arrays[name].shape
        if size not in shape:
            return
        turned.append(shape[1] != size)
        size = shape[0] if shape[1] == size else shape[1]
    if size != point.y.shape[1]:
        return
    for turns in {tuple(turned), (True,) * len(weights)}:
        for hidden in KNOWN[:7]:
            chain = Chain(tuple(weights), tuple(biases), turns, hidden, IDENTITY)
            try:
                zs = _forward(chain, point)[1]
            except ValueError:
                break
            for last in fitting(zs[-1], point.y):
                yield chain._replace(last=last)
                return


def _forward(chain: Chain, point: Point) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and weighted sums, layer by layer."""
    inputs, sums = [point.x], []
    with np.errstate(all="ignore"):
        for w, b, turned in zip(chain.weights, chain.biases, chain.turned, strict=True):
            weight = point.arrays[w]
            z = inputs[-1] @ (weight if turned else weight.T)
            sums.append(z if b is None else z + point.arrays[b].reshape(1, -1))
            inputs.append(chain.hidden.value(sums[-1]))
    return inputs, sums


_RIGHT = ("", "", "")
_PASSED = (
    "derivative_missing",
    "the activation's derivative is missing from the error that is passed back",
    "pass back (grad_y * f'(z)) @ weight, the same product that the weight's gradient is made of",
)


def chain_guesses(chain: Chain, point: Point, name: str) -> Iterator[Guess]:
    """Slips in the derivatives of hidden and last layers."""
    inputs, sums = _forward(chain, point)
    count = len(sums)
    hidden = [list(delta_factors(chain.hidden, z, a)) for z, a in zip(sums[:-1], inputs[1:-1], strict=True)]
    slips = [[s for s, _ in h] for h in hidden]
    kinds = [s for s in slips[0] if all(s in other for other in slips)]
    for (end, end_factor), kind in product(delta_factors(chain.last, sums[-1], point.y), [*kinds, _PASSED]):
        if not end[0] and not kind[0]:
            continue
        said = [s for s in (_of("hidden layers", kind), _of("last layer", end)) if s[0]]
        if len(said) == 2 and kind[0] == end[0] and chain.hidden is chain.last:
            said = [_of("every layer", kind)]
        factors = [*(dict(h)[_RIGHT if kind is _PASSED else kind] for h in hidden), end_factor]

        def values(
            j: int, i: np.ndarray, factors: list[np.ndarray] = factors, bare: bool = kind is _PASSED
        ) -> np.ndarray:
            d = point.gs[j]
            for layer in range(count - 1, -1, -1):
                error, d = d, d * factors[layer]
                w, b = chain.weights[layer], chain.biases[layer]
                if name == w:
                    gradient = d.T @ inputs[layer]
                    return (gradient.T if chain.turned[layer] else gradient).reshape(-1)[i]
                if name == b:
                    return d.sum(0)[i]
                weight = point.arrays[w]
                d = (error if bare and layer < count - 1 else d) @ (weight.T if chain.turned[layer] else weight)
            return d.reshape(-1)[i]

        yield Guess("+".join(dict.fromkeys(s[0] for s in said)), ", and ".join(s[1] for s in said), said[0][2], values)


def _of(where: str, slip: tuple[str, str, str]) -> tuple[str, str, str]:
    return (slip[0], f"{slip[1]} ({where})", slip[2]) if slip[0] else slip
