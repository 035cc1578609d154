"""The search for slips that give a wrong gradient's values.

A name is given only where a slip explains every value looked at, to rounding, for several directions of grad_y and,
where the layer takes it, at a second input with another number of examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain as joined
from typing import NamedTuple

import numpy as np

from .affine import affine_guesses, recognised
from .diagnosis import Diagnosis
from .factors import factors, readings
from .guesses import RIGHT, Guess, costly_guesses, guesses, right
from .norm import normalised_guesses, softmax_guesses
from .perceptron import chain_guesses, chains
from .point import DIRECTIONS, FIT, Point, near
from .pool import window_guesses
from .unguessed import not_linear, unknown

# A guess that fails at the first few entries is dropped.
_FIRST = 6


class _Fit(NamedTuple):
    guess: Guess
    factors: dict[str, str]  # slip of a constant factor -> text; empty for none
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
        found += not_linear(points[0], name) or _name(points, sources, name)
    return _likeliest(found)


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
    found: list[_Source] = [partial(affine_guesses, kind, point) for kind in recognised(point)]
    found += [partial(chain_guesses, chain, point) for chain in chains(point)]
    others = (window_guesses, softmax_guesses, normalised_guesses, guesses)
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
    return [unknown(points[first], name)]


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
        if fit is not None and (guess.slip == RIGHT or not near(_values(point, guess, indices), due)):
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
        return _Fit(guess, {}, 0.0) if not given[known].any() and not expected[known].any() else None
    size = float(np.abs(given[known]).max(initial=0))
    # What cannot be told must be the lesser part, and where it is told there must be something.
    if known.mean() < 0.4 or not expected[known].any() or not size:
        return None
    e, g = expected[known], given[known]
    error = float(np.abs(g - e).max()) / size
    if error <= FIT:
        return _Fit(guess, {}, error) if guess.slip != RIGHT else None
    factor = float(e @ g) / float(e @ e)
    error = float(np.abs(g - factor * e).max()) / size
    if error > FIT or not factor:
        return None
    named = factors(point, name, factor)
    if guess.slip != RIGHT:
        named = {key: text for key, text in named.items() if not key.startswith("factor")}
        if not named and not weak:
            return None
    return _Fit(guess, named, error)


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

    def rank(fit: _Fit) -> float:
        both = bool(fit.factors) and fit.guess.slip != RIGHT
        number = bool(fit.factors) and all(key.startswith("factor:") for key in fit.factors)
        return fit.guess.slip.count("+") + both + 1.5 * number

    least = min(rank(fit) for fit in fits)
    seen: dict[tuple[str, str], _Fit] = {}
    for fit in fits:
        if rank(fit) == least:
            seen.setdefault(fit.guess[:2], fit)
    return list(seen.values())


def _said(fit: _Fit, name: str) -> list[Diagnosis]:
    """A finding, or several where the factor may be read in several ways."""
    start = [] if fit.guess.slip == RIGHT else [fit.guess[:3]]
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
        for parts in ([[*start, reading] for reading in readings(fit.factors)] or [start])
    ]
