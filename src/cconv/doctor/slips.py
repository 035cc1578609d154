"""How a gradient is wrong: known slips are tried until one gives the values that the layer gives.

A name is given only where a slip explains every value looked at, to rounding, for several directions of grad_y and,
where the layer takes it, at a second input with another number of examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain as joined
from typing import NamedTuple

import numpy as np

from . import slips_kinds as kinds
from .slips_guesses import RIGHT, Guess, costly_guesses, guesses, right
from .slips_point import DIRECTIONS, Point

# Numerical derivatives are good to about 1e-9 of the largest.
_FIT = 2e-6
# A guess that fails at the first few entries is dropped.
_FIRST = 6


class Diagnosis(NamedTuple):
    """What is wrong with one array's gradient.

    Attributes
    ----------
    layer : str
        The path of the layer whose backward is wrong, "" for the layer checked itself.
    kind : str
        That layer's class.
    array : str
        "x", or a parameter's path within that layer; "" for the layer as a whole.
    slip : str
        A name that does not change with versions, such as "derivative_missing"; "unknown" where none fits. Names joined
        by "+" are several slips at once.
    text : str
        The slip in plain words.
    hint : str
        What to write instead.
    error : float
        How far the slip's values are from what the layer gives, relative to the largest; NaN for "unknown".

    Notes
    -----
    The names of slips are

    - of values: zero, missing, not_finite, sign, averaged, summed, factor, float32;
    - of an activation: derivative_missing, derivative_at_output, derivative_formula_at_input, derivative_twice,
      derivative_inverted, value_for_derivative, softmax_diagonal, statistics_constant;
    - of sums: one_example, one_position, one_term, one_channel, overlap_overwritten, bias_from_weight,
      shortcut_missing;
    - of places: swapped, transposed, transposed_weight, reversed, filter_not_flipped, filter_flipped, padding_off,
      padding_read_out_of_bounds, stride_not_expanded, stride_repeated, dilation_left_out, whole_window,
      window_averaged, first_of_window, to_the_maximum, ties, not_reshaped, summed_over_axis, averaged_over_axis;
    - of what backward does: ignores_grad_y, not_linear_in_grad_y, not_returned, wrong_shape, overwritten,
      not_repeatable, x_changed, grad_y_changed, value_changed.
    """

    layer: str
    kind: str
    array: str
    slip: str
    text: str
    hint: str
    error: float


class _Fit(NamedTuple):
    guess: Guess
    factors: dict[str, str]  # slip of a constant factor -> text; empty for none
    factor: float
    error: float


def diagnose(points: list[Point], wrong: list[str]) -> list[Diagnosis]:
    """The slips that explain each wrong array, likeliest first.

    Parameters
    ----------
    points : list of Point
        The first decides, the others must agree.
    wrong : list of str
        Names of the arrays.
    """
    found: list[Diagnosis] = []
    sources = [_sources(point) for point in points]
    for name in wrong:
        found += _of_grad_y(points[0], name) or _name(points, sources, name)
    return _likeliest(found)


def of_another_shape(point: Point) -> list[Diagnosis]:
    """What a grad_x of the wrong shape is."""
    given = [found["x"] for found in point.given]
    found = []
    for name, array in point.arrays.items():
        order = np.arange(array.size).reshape(array.shape)
        layouts = {"": order}
        if name == "x":
            layouts = {"transposed": order.T, "reshaped": order}
        elif array.ndim > 1:
            layouts["transposed"] = order.T
        for how, layout in layouts.items():
            if all(g is not None and g.size == array.size for g in given) and _equals(point, name, layout, given):
                if name == "x":
                    slip, text, hint = "transposed", f"what is returned is grad_x {how}", "give it the shape of x"
                    if how == "reshaped":
                        slip = "not_reshaped"
                else:
                    slip, text = "swapped", f"what is returned is the gradient of {name}, {how}".rstrip(", ")
                    hint = "grad_x is due: grad_y times the weight; the gradient of a parameter goes to its add_grad"
                found.append(Diagnosis("", "", "x", slip, text, hint, 0.0))
                break
        if found:
            return found
    x = point.x
    for axis in range(x.ndim):
        rest = x.shape[:axis] + x.shape[axis + 1 :]
        for word, by in (("summed", 1.0), ("averaged", 1.0 / x.shape[axis])):
            lines = np.moveaxis(np.arange(x.size).reshape(x.shape), axis, -1).reshape(-1, x.shape[axis])[:12]
            if all(
                g is not None
                and g.size == math.prod(rest)
                and _near(
                    g.reshape(-1)[: len(lines)],
                    by * point.numeric("x", point.gs[j], lines.reshape(-1)).reshape(lines.shape).sum(1),
                )
                for j, g in enumerate(given)
            ):
                what = "the examples" if axis == 0 else f"axis {axis}"
                text = f"what is returned is grad_x {word} over {what}"
                return [Diagnosis("", "", "x", f"{word}_over_axis", text, "each number of x has its own gradient", 0.0)]
    return []


def _equals(point: Point, name: str, order: np.ndarray, given: list[np.ndarray | None]) -> bool:
    places = np.random.default_rng(0).permutation(order.size)[:24]
    return all(
        g is not None and _near(g.reshape(-1)[places], point.numeric(name, point.gs[j], order.reshape(-1)[places]))
        for j, g in enumerate(given)
    )


def _near(given: np.ndarray, expected: np.ndarray) -> bool:
    known = np.isfinite(given) & np.isfinite(expected)
    size = float(np.abs(expected[known]).max(initial=0))
    return size > 0 and bool(np.abs(given - expected)[known].max() <= _FIT * size)


def _likeliest(found: list[Diagnosis]) -> list[Diagnosis]:
    """Of several slips that explain an array those that explain others too go first; one text for each name."""
    support = {(d.slip, d.text): sum(e[3:5] == d[3:5] for e in found) for d in found}
    order = {name: i for i, name in enumerate(dict.fromkeys(d.array for d in found))}
    kept: dict[tuple[str, str], Diagnosis] = {}
    for d in sorted(found, key=lambda d: (order[d.array], -support[d.slip, d.text])):
        kept.setdefault((d.array, d.slip), d)
    return list(kept.values())


_Source = Callable[[str], Iterator[Guess]]


def _sources(point: Point) -> list[_Source]:
    """Where guesses at this point come from: kinds that are recognised first, as their values are exact."""
    found: list[_Source] = [partial(kinds.affine_guesses, kind, point) for kind in kinds.recognised(point)]
    found += [partial(kinds.chain_guesses, chain, point) for chain in kinds.chains(point)]
    others = (kinds.window_guesses, kinds.softmax_guesses, kinds.normalised_guesses, guesses)
    return found + [partial(source, point) for source in others]


def _name(points: list[Point], sources: list[list[_Source]], name: str) -> list[Diagnosis]:
    given = [[found[name] for found in point.given] for point in points]
    if given[0][0] is None:
        if name == "x":
            return []
        text, hint = "no gradient is added", "backward must call add_grad on it"
        return [Diagnosis("", "", name, "missing", text, hint, 0.0)]
    if not all(g is None or np.isfinite(g).all() for g in joined.from_iterable(given)):
        return [Diagnosis("", "", name, "not_finite", "it holds NaN or infinity", "look for a division by zero", 0.0)]
    # A point where a ReLU is closed for all that is left of a gradient has nothing to tell.
    telling = [number for number, there in enumerate(given) if any(g is not None and g.any() for g in there)]
    if not telling:
        hint = "a factor in backward is always 0, as the condition in `1 if y & 0 else 0` is"
        return [Diagnosis("", "", name, "zero", "it is always zero, whatever grad_y", hint, 0.0)]
    first, *others = telling
    for costly in (False, True):
        fits = _fits(points[first], _tried(points[first], sources[first], name, costly), name)
        for other in others:
            if fits:
                fits = _confirmed(fits, points[other], _tried(points[other], sources[other], name, costly), name)
        if fits:
            return [d for fit in _best(fits) for d in _said(fit, name)]
    return [_unknown(points[first], name)]


def _tried(point: Point, sources: list[_Source], name: str, costly: bool) -> Iterator[Guess]:
    return costly_guesses(point, name) if costly else joined.from_iterable(source(name) for source in sources)


def _fits(point: Point, tried: Iterator[Guess], name: str) -> list[_Fit]:
    indices = point.entries(name)
    due = _values(point, right(point, name), indices)
    found = []
    for guess in tried:
        if len(indices) > _FIRST and not _fit(point, guess, name, indices[:_FIRST], weak=True):
            continue
        fit = _fit(point, guess, name, indices)
        if fit is not None and (guess.slip == RIGHT or not _near(_values(point, guess, indices), due)):
            found.append(fit)
    return found


def _values(point: Point, guess: Guess, indices: np.ndarray) -> np.ndarray:
    """What a guess gives for all directions."""
    with np.errstate(all="ignore"):
        return np.concatenate([guess.values(j, indices) for j in range(DIRECTIONS)])


def _fit(point: Point, guess: Guess, name: str, indices: np.ndarray, weak: bool = False) -> _Fit | None:
    """Whether what the layer gives is the guess, or the guess times a number."""
    if not len(indices):
        return None
    expected = _values(point, guess, indices)
    given = np.concatenate([np.asarray(found[name]).reshape(-1)[indices] for found in point.given])
    known = np.isfinite(expected)
    if weak and not (expected[known].any() and given[known].any()):
        return _Fit(guess, {}, 1.0, 0.0) if not given[known].any() and not expected[known].any() else None
    size = float(np.abs(given[known]).max(initial=0))
    # What cannot be told must be the lesser part, and where it is told there must be something.
    if known.mean() < 0.4 or not expected[known].any() or not size:
        return None
    e, g = expected[known], given[known]
    error = float(np.abs(g - e).max()) / size
    if error <= _FIT:
        return _Fit(guess, {}, 1.0, error) if guess.slip != RIGHT else None
    factor = float(e @ g) / float(e @ e)
    error = float(np.abs(g - factor * e).max()) / size
    if error > _FIT or not factor:
        return None
    named = _factors(point, name, factor)
    if guess.slip != RIGHT:
        named = {key: text for key, text in named.items() if not key.startswith("factor")}
        if not named and not weak:
            return None
    return _Fit(guess, named, factor, error)


def _confirmed(fits: list[_Fit], point: Point, tried: Iterator[Guess], name: str) -> list[_Fit]:
    """Those fits that the other point gives, too, with the same reading of their factor."""
    indices = point.entries(name)
    there: dict[tuple[str, str], list[Guess]] = {}
    for guess in tried:
        there.setdefault(guess[:2], []).append(guess)
    found = []
    for fit in fits:
        for guess in there.get(fit.guess[:2], []):
            other = _fit(point, guess, name, indices)
            if other is not None and bool(other.factors) == bool(fit.factors):
                both = {key: text for key, text in fit.factors.items() if key in other.factors}
                if bool(both) == bool(fit.factors):
                    found.append(fit._replace(factors=both, error=max(fit.error, other.error)))
                    break
    return found


def _best(fits: list[_Fit]) -> list[_Fit]:
    """The simplest fits: fewer slips, no factor before one that has a name, that before any number."""

    def rank(fit: _Fit) -> tuple:
        plain = not fit.factors
        right = fit.guess.slip == RIGHT
        number = bool(fit.factors) and all(key.startswith("factor:") for key in fit.factors)
        return fit.guess.slip.count("+") + (not plain and not right) + 1.5 * number, 0

    least = min(rank(fit) for fit in fits)
    seen: dict[tuple[str, str], _Fit] = {}
    for fit in fits:
        if rank(fit) == least:
            seen.setdefault(fit.guess[:2], fit)
    return list(seen.values())


def _said(fit: _Fit, name: str) -> list[Diagnosis]:
    """A finding, or several where the factor may be read in several ways."""
    start = [] if fit.guess.slip == RIGHT else [fit.guess[:3]]
    # A size by its name, and by its number only where that is a likely slip.
    keys = [key for key in fit.factors if not key.startswith("factor:")]
    keys += [key for key in fit.factors if key.startswith("factor:") and (not keys or key in _PLAIN)]
    readings: list[list[tuple[str, str, str]]] = []
    for slip in dict.fromkeys(key.split(":")[0] for key in keys):
        text = _either([fit.factors[key] for key in keys if key.split(":")[0] == slip])
        readings.append([*start, (slip, text, "; ".join(_HINTS[part] for part in slip.split("+")))])
    return [
        Diagnosis(
            "",
            "",
            name,
            "+".join(slip for slip, _, _ in parts),
            ", and ".join(text for _, text, _ in parts),
            "; ".join(hint for _, _, hint in parts if hint),
            fit.error,
        )
        for parts in readings or [start]
    ]


def _either(texts: list[str]) -> str:
    """One text of several that begin alike: 'divided by the batch size or by 2'."""
    start = texts[0].split(" by ")[0]
    if len(texts) == 1 or not all(t.startswith(start + " by ") for t in texts):
        return " or ".join(texts[:3])
    return f"{start} by " + " or by ".join(t[len(start) + 4 :] for t in texts[:3])


_PLAIN = ("factor:2", "factor:0.5")
_HINTS = {
    "sign": "turn the sign: backward gives gradients, the optimiser subtracts them",
    "averaged": "sum here: where the loss is a mean, grad_y holds the division already",
    "summed": "leave the factor out: backward gives the gradient of what forward computes",
    "factor": "",
}


def _factors(point: Point, name: str, factor: float) -> dict[str, str]:
    """What a constant factor may be, by a key that is the same at other points."""

    def near(a: float, b: float) -> bool:
        return abs(a - b) <= 1e-5 * abs(b)

    sign = "with the wrong sign, and " if factor < 0 else ""
    size = abs(factor)
    if near(factor, -1):
        return {"sign": "the sign is wrong"}
    found = {}
    prefix = "sign+" if factor < 0 else ""
    for what, count in _counts(point, name):
        if count > 1 and near(size, 1 / count):
            found[f"{prefix}averaged:{what}"] = f"{sign}divided by {what}"
        elif count > 1 and near(size, count):
            found[f"{prefix}summed:{what}"] = f"{sign}multiplied by {what}"
    # A number that stays when the sizes change, such as a forgotten 2 of a square.
    number = f"{factor:.6g}"
    text = {"0.5": "it is half of what is due: a factor of 2 is missing", "2": "it is twice what is due"}.get(number)
    found[f"factor:{number}"] = text or f"it is {number} times what is due, everywhere"
    if 0 < size < 0.5 and near(10 ** round(math.log10(size)), size):
        found[f"factor:{number}"] += ": a learning rate?"
    return found


def _counts(point: Point, name: str) -> list[tuple[str, int]]:
    """What may have been averaged or summed over by mistake."""
    y, x, n = point.y, point.x, point.batch
    in_batch = y.ndim == 0 or y.shape[0] == n
    counts = [("the batch size", n)] if in_batch else []
    channels = y.shape[1] if y.ndim > 1 else 1
    places = y.size // (y.shape[0] * channels) if y.ndim > 2 else 1
    counts += [
        ("the number of output positions", places),
        ("the batch size times the number of output positions", n * places if places > 1 and n > 1 else 1),
        ("the number of output channels" if y.ndim > 2 else "the number of outputs", channels),
        ("the number of numbers in y", y.size if y.ndim > 1 and channels > 1 else 1),
        ("the square of the batch size", n * n if n > 1 else 1),
        ("the square of the number of output positions", places**2),
    ]
    if x.ndim > 1:
        counts.append(("the number of input channels" if x.ndim > 2 else "the number of inputs", x.shape[1]))
        counts.append(("the number of numbers in x", x.size if y.ndim == 0 else 1))
    for other, a in point.arrays.items():
        if other != "x" and a.ndim > 2:
            counts.append((f"the filter's area ({other})", math.prod(a.shape[2:])))
            counts.append((f"the number of taps of a filter ({other})", math.prod(a.shape[1:])))
    if len(point.arrays) == 1 and y.ndim > 2 and x.ndim == y.ndim:
        taps = {int(np.count_nonzero(row)) for row in point.columns("x", point.entries("x")).T if row.any()}
        if len(point.arrays["x"].reshape(-1)) <= 48 and len(taps) == 1:
            counts.append(("the number of cells of a window", taps.pop()))
        else:
            window = round(math.prod(x.shape[2:]) / max(1, places))
            counts.append(("the number of cells of a window", window))
    return [(what, count) for what, count in dict(counts).items() if count > 1]


def _of_grad_y(point: Point, name: str) -> list[Diagnosis]:
    """Gradients that do not depend on grad_y as they must: linearly."""
    first, second = (point.given[j][name] for j in (0, 1))
    double = point.back(2 * point.gs[0])[name]
    if first is None or second is None or double is None or not first.any():
        return []
    if not all(np.isfinite(a).all() for a in (first, second, double)):
        return []
    if np.allclose(first, second, rtol=1e-9, atol=0):
        indices = point.entries(name)
        plain = point.numeric(name, np.ones_like(point.y), indices)
        exactly = np.allclose(first.reshape(-1)[indices], plain, rtol=1e-5, atol=1e-9)
        text = "it does not depend on grad_y" + (": it is the derivative of y alone" if exactly else "")
        return [Diagnosis("", "", name, "ignores_grad_y", text, "multiply by grad_y (the chain rule)", 0.0)]
    if not np.allclose(double, 2 * first, rtol=1e-6, atol=1e-9 * float(np.abs(first).max())):
        text = "it is not proportional to grad_y"
        hint = "grad_y is the gradient of the loss to y: multiply by it once, and do nothing else with it"
        if np.allclose(double, 4 * first, rtol=1e-6):
            text = "grad_y is multiplied in twice"
        elif np.allclose(double, first, rtol=1e-6):
            text = "only the sign of grad_y counts"
        return [Diagnosis("", "", name, "not_linear_in_grad_y", text, hint, 0.0)]
    return []


def _unknown(point: Point, name: str) -> Diagnosis:
    """What can be said where no slip fits: where it is right, and where it is wrong."""
    indices = point.entries(name)
    given = point.given[0][name]
    text = "not one of the slips known here"
    if given is not None and len(indices):
        values, right = given.reshape(-1)[indices], point.numeric(name, point.gs[0], indices)
        if values.astype(np.float32).astype(np.float64).tolist() == values.tolist() and np.allclose(
            values, right, rtol=1e-4, atol=1e-5 * float(np.abs(right).max())
        ):
            text = "it is right to the digits of float32: something in the layer computes in float32"
            return Diagnosis("", "", name, "float32", text, "keep the dtype of x: no astype, no np.float32 array", 0.0)
        good = np.isclose(values, right, rtol=1e-5, atol=1e-8 * float(np.abs(right).max()))
        if 0 < good.sum() < len(good):
            text += f": {_where(point.arrays[name].shape, indices, good, values)}"
    return Diagnosis("", "", name, "unknown", text, "", math.nan)


def _where(shape: tuple[int, ...], indices: np.ndarray, good: np.ndarray, values: np.ndarray) -> str:
    places = np.array(np.unravel_index(indices, shape))
    wrong = "zero" if not values[~good].any() else "wrong"
    if len(shape) > 2:
        inside = [(places[a] > 0) & (places[a] < shape[a] - 1) for a in range(2, len(shape)) if shape[a] > 2]
        border = ~np.logical_and.reduce(inside) if inside else np.zeros(len(good), bool)
        if border.any() and good[~border].all():
            return f"{wrong} at the border alone, so look at the padding"
    for axis in range(len(shape)):
        for step in range(2, min(shape[axis], 5)):
            for rest in range(step):
                on = places[axis] % step == rest
                if (good == on).all():
                    return (
                        f"right at every {step}. place along axis {axis} from {rest} on, {wrong} elsewhere: the stride?"
                    )
        for index in range(shape[axis]):
            on = places[axis] == index
            if (good == on).all() or (good == ~on).all():
                which = "right" if good[on].all() else wrong
                return f"{which} at index {index} of axis {axis} alone"
    return f"right at {int(good.sum())} of {len(good)} entries looked at, {wrong} at the others"
