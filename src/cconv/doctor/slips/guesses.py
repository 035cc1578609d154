"""Guesses about a wrong gradient that need nothing but numerical derivatives and what the layer gives.

A guess says which values the array would have if a certain slip had been made. Most are the right gradient of another
grad_y (masked, divided by an activation's derivative), or the right gradient at other places (moved, turned, swapped).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import permutations, product
from typing import Any, NamedTuple

import numpy as np

from .activations import BY_OUTPUT, KNOWN, SIGMOID, TANH, Activation, Function
from .derivatives import at_output, formula_at_input, missing, twice
from .point import Point

Values = Callable[[int, np.ndarray], np.ndarray]


class Guess(NamedTuple):
    """A slip, and the values that it would give.

    `values` takes the number of a direction of the point and flat indices, and gives NaN where it cannot tell.
    Guesses of one (slip, text) at two points are the same guess.
    """

    slip: str
    text: str
    hint: str
    values: Values


RIGHT = "right"


def right(point: Point, name: str) -> Guess:
    """The right gradient, to be found with a constant factor."""
    return Guess(RIGHT, "", "", lambda j, i: point.numeric(name, point.gs[j], i))


def guesses(point: Point, name: str) -> Iterator[Guess]:
    """Guesses about one array, the simplest first."""
    yield right(point, name)
    yield from _elementwise(point, name)
    yield from _factors_of_y(point, name)
    yield from _terms(point, name)
    yield from _error_times(point, name)
    yield from _factors_of_x(point, name)
    if name == "x" and point.x.shape == point.y.shape:
        yield Guess(
            "shortcut_missing",
            "grad_y itself is missing, as where y = x + f(x) and the gradient past f is left out",
            "grad_x = grad_y + what comes back through f",
            lambda j, i: point.numeric(name, point.gs[j], i) - point.gs[j].reshape(-1)[i],
        )


def costly_guesses(point: Point, name: str) -> Iterator[Guess]:
    """Guesses that take derivatives at many other places: for when all others have failed."""
    yield from _swapped(point, name)
    yield from _moved(point, name)


def _elementwise(point: Point, name: str) -> Iterator[Guess]:
    """The layer is a function of each number alone: what stands where its derivative is due?"""
    x, y = point.x, point.y
    if name != "x" or x.shape != y.shape or x.size < 2:
        return
    places = point.entries(name)
    if not len(places):
        return
    for i in places[:12]:
        column = point.column(name, int(i))
        if column is not None and np.delete(column, i).any():
            return
    act = next((a for a in KNOWN[1:] if np.allclose(a.value(x), y, rtol=1e-9, atol=1e-12)), None)
    f = f"the {act.name}" if act else "the function"
    formula = act.formula if act else "f'(x)"
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)

    def guess(slip: str, text: str, hint: str, factor: Callable[[np.ndarray], np.ndarray]) -> Guess:
        return Guess(slip, text, hint, lambda j, i: point.gs[j].reshape(-1)[i] * factor(i))

    def slope(i: np.ndarray) -> np.ndarray:
        ones = np.ones_like(y)
        return point.numeric("x", ones, i)

    yield guess(
        "derivative_missing",
        f"the derivative of {f} is missing: grad_y is passed on as it is",
        f"return grad_y * {formula}" if " " not in formula else f"return grad_y * ({formula})",
        lambda i: np.ones(len(i)),
    )

    if np.ptp(slope(places)) < 1e-6:
        # A constant is told as a factor.
        return

    def slope_at_y(i: np.ndarray) -> np.ndarray:
        at = point.at(flat_y)
        return at(i)

    text = at_output(act)[1] if act else "the derivative is taken at the output, f'(f(x)) where f'(x) is due"
    yield guess("derivative_at_output", text, at_output(act)[2] if act else "take it at the input x", slope_at_y)
    if act in (SIGMOID, TANH) and act is not None and act.of_output is not None:
        of_output: Function = act.of_output
        yield guess(*formula_at_input(act), lambda i: of_output(flat_x[i]))
    yield guess(
        "derivative_twice",
        f"the derivative of {f} is multiplied in twice",
        "multiply by it once",
        lambda i: slope(i) ** 2,
    )
    text = f"{f}'s value stands where its derivative is due"
    yield guess("value_for_derivative", text, "multiply by f'(x), not by f(x)", lambda i: flat_y[i])
    yield guess(
        "derivative_inverted",
        f"grad_y is divided by the derivative of {f}",
        "multiply by it",
        lambda i: _inverse(slope(i)),
    )


def _scaled(point: Point, name: str, factor: np.ndarray) -> Values:
    """The right gradient of grad_y times a factor."""
    return lambda j, i: point.numeric(name, point.gs[j] * factor, i)


def _factors_of_y(point: Point, name: str) -> Iterator[Guess]:
    """An activation ends the layer: its derivative can be told from y."""
    y = point.y
    if not y.size or y.ndim == 0:
        return
    for act in BY_OUTPUT:
        low, high = {"sigmoid": (0, 1), "tanh": (-1, 1), "softplus": (0, np.inf)}.get(act.name, (-np.inf, np.inf))
        if not (low < y.min() and y.max() < high) or act.of_output is None or (low == -np.inf and (y >= 0).all()):
            continue
        w = act.of_output(y)
        if np.abs(w).min() < 1e-7 or np.ptp(w) == 0:
            continue
        for said, factor in ((missing(act), 1 / w), (at_output(act), act.slope(y) / w), (twice(act), w)):
            if np.ptp(factor) > 1e-9:
                yield Guess(*said, _scaled(point, name, factor))


def _terms(point: Point, name: str) -> Iterator[Guess]:
    """Only some of the terms of the sum over examples, positions and channels are there."""
    y = point.y
    if y.ndim < 1 or y.size < 2 or (name == "x" and point.x.shape[0] != y.shape[0]):
        return
    n, k = y.shape[0], y.shape[1] if y.ndim > 1 else 1
    p = y.size // (n * k)

    def only(*at: int | None, order: str = "") -> Values:
        """Terms of one example, channel, position alone; None for all of them."""
        where = tuple(slice(None) if m is None else slice(m, m + 1) for m in at)

        def values(j: int, i: np.ndarray) -> np.ndarray:
            terms = (point.columns(name, i) * point.gs[j].reshape(-1)).reshape(len(i), n, k, p)
            return _last_term(terms, order) if order else terms[(slice(None), *where)].sum((1, 2, 3))

        return values

    def places(count: int) -> list[tuple[int, str]]:
        ends = [(count - 1, "last"), (0, "first")]
        return ends + [(m, f"number {m}") for m in range(1, min(count - 1, 200))]

    if n > 1:
        hint = "sum over all examples: `+=` in a loop over them"
        for m, word in places(n):
            yield Guess("one_example", f"only the {word} example of the batch counts", hint, only(m, None, None))
    if p > 1:
        hint = "sum over all positions, axes (2, 3) of grad_y too: `+=` in a loop over them"
        for m, word in places(p):
            yield Guess("one_position", f"only the {word} output position counts", hint, only(None, None, m))
    if n > 1 and p > 1:
        hint = "sum over examples and positions: `+=` where `=` stands in the loop"
        for (a, example), (b, position) in product(places(n)[:2], places(p)[:2]):
            text = f"only the {position} position of the {example} example counts"
            yield Guess("one_term", text, hint, only(a, None, b))
    if k > 1:
        hint = "sum over all of them: `+=` where `=` stands in the loop"
        for m, word in places(k)[:2]:
            yield Guess("one_channel", f"only the {word} output channel counts", hint, only(None, m, None))
    if name == "x" and p > 1:
        hint = "windows overlap: `+=` where `=` stands in the loop over positions"
        text = "where windows overlap only the last one counts"
        for order in ("kp", "k|p", "pk"):
            yield Guess("overlap_overwritten", text, hint, only(order=order))


def _last_term(terms: np.ndarray, order: str) -> np.ndarray:
    """Of (entries, N, K, P) terms the last that is not zero, of all K at a position together with "k|p"."""
    if order == "k|p":
        terms = terms.sum(2)
    elif order == "pk":
        terms = terms.swapaxes(2, 3)
    flat = terms.reshape(len(terms), -1)
    last = flat.shape[1] - 1 - np.argmax((flat != 0)[:, ::-1], axis=1)
    return flat[np.arange(len(flat)), last]


def _error_times(point: Point, name: str) -> Iterator[Guess]:
    """The error is multiplied by the input where the weight is due, or the other way round."""
    y, array = point.y, point.arrays[name]
    flat = array.reshape(-1)
    if y.ndim != 2:
        return
    inputs = "grad_weight is returned as grad_x: error times input, where error times weight is due"

    def rows(factor: Any) -> Values:
        each = array.size // y.shape[0]
        return lambda j, i: flat[i] * (point.gs[j] * factor).sum(1)[i // each]

    def columns(factor: Any, axis: int) -> Values:
        return lambda j, i: flat[i] * (point.gs[j] * factor).sum(0)[np.unravel_index(i, array.shape)[axis]]

    for factor in (1.0, *(a.of_output(y) for a in BY_OUTPUT[:3] if a.of_output)):
        if name == "x" and array.shape[0] == y.shape[0]:
            yield Guess("swapped", inputs, "grad_x = grad_y @ weight", rows(factor))
        elif name != "x" and array.ndim == 2 and y.shape[1] in array.shape:
            text, axis = "error times weight stands where error times input is due", array.shape.index(y.shape[1])
            yield Guess("swapped", text, "grad_weight = grad_y.T @ x", columns(factor, axis))


def _swapped(point: Point, name: str) -> Iterator[Guess]:
    """What is given is the gradient of another array, in whatever order of its axes."""
    shape = point.arrays[name].shape

    def of(other: str, order: np.ndarray) -> Values:
        return lambda j, i: point.numeric(other, point.gs[j], order[i])

    for other, array in point.arrays.items():
        if other == name or array.size != math.prod(shape):
            continue
        text = f"what is given is the gradient of {'the input x' if other == 'x' else other}"
        for axes in permutations(range(array.ndim)) if array.ndim <= 4 else [tuple(range(array.ndim))]:
            order = np.arange(array.size).reshape(array.shape).transpose(axes).reshape(-1)
            yield Guess("swapped", text, "the two are in each other's place", of(other, order))


def _moved(point: Point, name: str) -> Iterator[Guess]:
    """The values are right and stand in the wrong places."""
    array = point.arrays[name]
    shape, ndim = array.shape, array.ndim
    if array.size < 2 or ndim < 1 or ndim > 5:
        return
    numbers = np.arange(array.size).reshape(shape)

    def guess(slip: str, text: str, hint: str, order: np.ndarray) -> Guess:
        flat = order.reshape(-1)
        return Guess(slip, text, hint, lambda j, i: point.numeric(name, point.gs[j], flat[i]))

    if ndim >= 3 and name != "x":
        axes = tuple(range(2, ndim)) if ndim > 3 else (ndim - 1,)
        yield guess(
            "filter_flipped",
            "the filter's gradient is turned by 180 degrees",
            "index grad_weight as the weight is indexed in forward",
            np.flip(numbers, axes),
        )
    spatial = range(2, ndim) if name == "x" else range(0)
    for shifts in product((0, -1, 1, -2, 2), repeat=len(spatial)):
        if any(shifts):
            order, away = numbers, np.zeros(shape, bool)
            for axis, by in zip(spatial, shifts, strict=True):
                order = np.roll(order, by, axis)
                edge = np.roll(np.arange(shape[axis]), by) - np.arange(shape[axis]) != -by
                away |= edge.reshape([-1 if a == axis else 1 for a in range(ndim)])
            yield guess(
                "padding_off",
                f"the gradient is moved by {shifts} along {'height, width' if len(shifts) == 2 else 'the last axis'}: "
                "the padding is counted wrongly",
                "cut the padding off where forward has put it on",
                np.where(away, -1, order),
            )
    flips: list[tuple[int, ...]] = [(ndim - 1,), (ndim - 2,), (ndim - 2, ndim - 1), (0,)] if ndim > 1 else [(0,)]
    if name != "x" and ndim > 2:
        flips.remove(tuple(range(2, ndim)))
    for flip in flips:
        text = f"the order along axis {', '.join(map(str, flip))} is reversed"
        yield guess("reversed", text, "go through it as forward does", np.flip(numbers, flip))
    for axes in permutations(range(ndim)) if 2 <= ndim <= 4 else []:
        if axes != tuple(range(ndim)):
            turned = numbers.transpose(axes)
            text = (
                "the gradient is transposed"
                if ndim == 2
                else f"the axes are in the order {axes}" + (" and then reshaped" if turned.shape != shape else "")
            )
            yield guess("transposed", text, "give it the layout of the array it belongs to", turned.reshape(shape))


def _factors_of_x(point: Point, name: str) -> Iterator[Guess]:
    """An activation begins the layer, and its derivative is left out."""
    if name != "x" or point.x.shape == point.y.shape:
        return
    flat = point.x.reshape(-1)
    for act in KNOWN[1:6]:

        def values(j: int, i: np.ndarray, act: Activation = act) -> np.ndarray:
            return point.numeric(name, point.gs[j], i) * _inverse(act.slope(flat[i]))

        yield Guess(
            "derivative_missing",
            f"the derivative of the {act.name} at the layer's input is missing",
            f"multiply grad_x by the {act.name}'s derivative at x",
            values,
        )


def _inverse(a: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.where(np.abs(a) > 1e-9, 1 / a, np.nan)
