"""Gradients of a layer against central differences, in float64.

A random projection of the output is the scalar that is differentiated. Relative errors follow the practice of
Stanford's CS231n: in float64 a right gradient is within 1e-7, a wrong one beyond 1e-4.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._checks import number
from .._random import generator
from .._shapes import whole
from .._tree import each, leaves
from ..nn.layer import Buffer, Layer, Parameter, pair_of
from ..nn.loss import Loss
from .report import ArrayCheck, Entry, GradcheckReport
from .slips import Diagnosis, diagnose, of_another_shape
from .slips.point import Point
from .slips.protocol import LATER_CALL, Breach, breaches, not_added, only_float32
from .slips.where import inputs_of_children

# The first suits most functions. Smaller ones pass between close kinks, larger ones drown rounding.
_STEPS = (1e-5, 1e-6, 1e-7, 1e-4, 1e-3)
_EPSILON = float(np.finfo(np.float64).eps)
# Entries this much smaller than the largest gradient of their array are compared at that size.
_FLOOR = 1e-3
_INSIDE = "the layers within are right one by one"

Forward = Callable[[Any], tuple[Any, Callable[..., Any]]]


def gradcheck(
    layer: Layer | Loss,
    x: Any,
    target: Any = None,
    *,
    train: bool = False,
    tolerance: float = 1e-6,
    samples: int = 100,
    rng: np.random.Generator | int | None = 0,
) -> GradcheckReport:
    """Compare a layer's gradients with numerical ones, for its input and every parameter.

    It works on a float64 copy: the layer and the arrays given stay as they are.

    Parameters
    ----------
    layer : Layer or Loss
        One of one's own, too. A random layer needs inference behaviour (``train=False``), as two calls must agree.
    x : array_like, or tuple or dict of them
        Input of the layer, or the logits of a loss. Where it puts values on kinks (zeros before a ReLU, ties in a
        max pooling) there is no derivative, and those entries are left out.
    target : array_like, optional
        Of a loss.
    train : bool
        The behaviour to check.
    tolerance : float
        Largest relative error that passes: ``|analytic - numeric| / max(|analytic|, |numeric|)``, the denominator
        being at least a thousandth of the largest gradient in the array. A larger one counts as 0 where rounding
        explains the difference.
    samples : int
        Entries checked of each array; all of them if it has no more.
    rng : Generator or int
        Draws the projection and the entries.

    Returns
    -------
    GradcheckReport
        True in a condition if all is well; print it for each value. Where a gradient is wrong, its `diagnosis` says
        how: slips that are often made (a factor left out, a filter not turned, a sum where a mean is due, ...) are
        tried, and those that give the very values are named, with the layer within `layer` that they are made in.

    Raises
    ------
    TypeError
        If `layer` is none, or does not compute in float64.
    ValueError
        If x is empty.

    Examples
    --------
    >>> assert gradcheck(nn.Conv2d(3, 2, 3, stride=2, padding=1), np.random.rand(1, 3, 5, 5))
    """
    where = "gradcheck"
    if not isinstance(layer, (Layer, Loss)):
        raise TypeError(f"{where}: layer must be a Layer or a Loss, got {layer!r}")
    tolerance = number(where, "tolerance", tolerance, 0, above=True)
    samples = whole(where, "samples", samples, 1)
    if isinstance(layer, Loss) and target is None:
        raise TypeError(f"{where}: a loss needs a target: gradcheck(criterion, logits, target)")
    rng = generator(rng)
    x = _copied(x)
    for name, array in leaves(x, "x"):
        if not array.size:
            raise ValueError(f"{where}: {name} {array.shape} is empty: there is nothing to check")
        if not np.isfinite(array).all():
            raise ValueError(f"{where}: {name} must be finite, and holds NaN or infinity")
    parameters: list[tuple[str, Parameter]] = []
    forward: Forward
    if isinstance(layer, Loss):
        criterion = layer

        def forward(x: Any) -> tuple[Any, Callable[..., Any]]:
            return criterion.forward(x, target)
    else:
        double = _in_float64(layer)
        parameters = double.named_parameters()

        def forward(x: Any) -> tuple[Any, Callable[..., Any]]:
            return _flat(*pair_of(double, double.forward(x, train)))

    y = _output(layer, forward, _copied(x))
    if not np.array_equal(y, _output(layer, forward, _copied(x)), equal_nan=True):
        kind = type(layer).__name__
        raise ValueError(f"{where}: two calls of {kind} give different numbers: use train=False, or fix what it draws")
    projection = rng.standard_normal(y.shape)
    broken: list[Breach] = []
    if isinstance(x, np.ndarray):
        grad_x, broken = breaches(forward, x, parameters, projection, isinstance(layer, Loss))
        grads: list[np.ndarray | None] = [grad_x]
        problems = [breach.text for breach in broken if breach.slip != LATER_CALL]
    else:
        grads, problems = _analytic(forward, x, parameters, projection)
    probe = _Probe(forward, x, y, projection, tolerance)
    inputs = [(name, array, grad) for (name, array), grad in zip(leaves(x, "x"), grads, strict=True)]
    arrays = [*inputs, *((name, p.value, p.grad.copy()) for name, p in parameters)]
    checks = [_check(probe, name, array, grad, samples, rng) for name, array, grad in arrays if grad is not None]
    report = GradcheckReport(repr(layer), checks, problems, tolerance)
    report.remarks = [f"{breach.text}: {breach.hint}" for breach in broken if breach.slip == LATER_CALL]
    broken = [breach for breach in broken if breach.slip != LATER_CALL]
    if not report and isinstance(x, np.ndarray):
        inside = [] if isinstance(layer, Loss) else inputs_of_children(double, lambda: forward(x))
        report.diagnosis = _within(inside, train, tolerance)
        if not report.diagnosis:
            wrong = [a.name for a in checks if a.max_error > tolerance]
            # What is tried may overflow where the layer itself does not.
            with np.errstate(all="ignore"):
                report.diagnosis = _diagnosis(type(layer).__name__, forward, x, parameters, wrong, broken)
            if inside:
                report.diagnosis = [d._replace(text=f"{d.text} ({_INSIDE})") for d in report.diagnosis]
    return report


def _within(inside: list[tuple[str, Layer, np.ndarray]], train: bool, tolerance: float) -> list[Diagnosis]:
    """What is wrong with the layers within another, each by itself."""
    found = []
    for path, child, x in inside:
        try:
            checked = gradcheck(child, x, train=train, tolerance=tolerance)
        except Exception:
            # It may be made to work within its parent only.
            continue
        if not checked:
            found += [d._replace(layer=f"{path}.{d.layer}" if d.layer else path) for d in checked.diagnosis]
    return found


def _of_breaches(kind: str, broken: list[Breach]) -> list[Diagnosis]:
    return [Diagnosis("", kind, b.array, b.slip, b.text, b.hint, 0.0) for b in broken]


def _diagnosis(
    kind: str,
    forward: Forward,
    x: np.ndarray,
    parameters: list[tuple[str, Parameter]],
    wrong: list[str],
    broken: list[Breach],
) -> list[Diagnosis]:
    """What the layer itself does wrong."""
    found = _of_breaches(kind, broken)
    if only_float32(forward, x):
        text = "forward computes in float32 somewhere, so that numerical gradients drown in rounding"
        hint = "keep the dtype of x: no astype, no float32 array"
        return [*found, Diagnosis("", kind, "", "float32", text, hint, 0.0)]
    misshapen = any(b.slip == "wrong_shape" for b in broken)
    if not wrong and not misshapen:
        return found
    points = [Point(forward, x, parameters, generator(0))]
    other = _elsewhere(forward, x, points[0].y)
    if other is not None:
        # Where a ReLU is closed for all that a slip leaves, a point tells nothing: hence two more.
        mixed = np.random.default_rng(2).permutation(other.reshape(-1)).reshape(other.shape)
        for number, x_there in enumerate((other, mixed)):
            try:
                points.append(Point(forward, x_there, parameters, generator(number + 1), 24))
            except Exception:
                # A backward made for so many examples alone.
                continue
    shaped = of_another_shape(points[0]) if misshapen else []
    if shaped:
        found = [d for d in found if d.slip != "wrong_shape"]
    return found + [d._replace(kind=kind) for d in (*shaped, *diagnose(points, wrong))]


def _elsewhere(forward: Forward, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Another input, in the range of the first, with one more example where the layer takes it."""
    turned = 0.9 * np.flip(x)
    if x.ndim > 1:
        more = np.concatenate([turned, 0.7 * x[:1]])
        try:
            with np.errstate(all="ignore"):
                y_more = np.asarray(forward(more)[0])
            if y_more.shape == (len(more), *y.shape[1:]) and np.isfinite(y_more).all():
                return more
        except Exception:
            # A layer that takes so many examples alone, or a loss with its targets.
            pass
    try:
        with np.errstate(all="ignore"):
            fits = np.isfinite(np.asarray(forward(turned)[0])).all()
    except Exception:
        return None
    return turned if fits else None


def _copied(x: Any) -> Any:
    """x in float64; a tuple or dict of several."""
    return each(lambda array: np.array(array, np.float64, order="C"), x)


def _flat(y: Any, backward: Callable[..., Any]) -> tuple[Any, Callable[..., Any]]:
    """Several outputs as one array, and the closure that takes a gradient like it."""
    if not isinstance(y, (dict, tuple)):
        return y, backward
    shapes = [np.shape(array) for _, array in leaves(y)]
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]

    def run(grad_y: np.ndarray, **options: Any) -> Any:
        parts = (part.reshape(shape) for part, shape in zip(np.split(grad_y, ends), shapes, strict=True))
        return backward(each(lambda _: next(parts), y), **options)

    return np.concatenate([np.ravel(array) for _, array in leaves(y)]), run


def _in_float64(layer: Layer) -> Layer:
    """A copy of the layer with float64 parameters and buffers, all trainable."""
    memo: dict[int, Any] = {id(p): Parameter(p.value.astype(np.float64)) for p in layer.parameters()}
    for _, buffer in layer.named_buffers():
        value = buffer.value
        memo[id(buffer)] = Buffer(value.astype(np.float64) if value.dtype.kind == "f" else value)
    return copy.deepcopy(layer, memo)


def _output(layer: Layer | Loss, forward: Forward, x: np.ndarray) -> np.ndarray:
    # A copy, as the output may be a view of x.
    y = np.array(forward(x)[0])
    if y.dtype != np.float64:
        raise TypeError(
            f"gradcheck: {type(layer).__name__} gives {y.dtype} for float64 inputs and parameters: "
            "numerical gradients need float64 throughout"
        )
    return y


def _analytic(
    forward: Forward, x: Any, parameters: list[tuple[str, Parameter]], projection: np.ndarray
) -> tuple[list[np.ndarray | None], list[str]]:
    """grad_x of each input, and what breaks the rules of `Layer.forward`; leaves parameters' gradients in `grad`."""
    problems = []
    inputs = [*leaves(x, "x")]
    before = [array.copy() for _, array in inputs]
    _, backward = forward(x)
    grad_x = backward(projection.copy() if projection.ndim else float(projection))
    if not all(np.array_equal(array, old, equal_nan=True) for (_, array), old in zip(inputs, before, strict=True)):
        problems.append("forward or backward changes x, which belongs to the caller")
        for (_, array), old in zip(inputs, before, strict=True):
            array[...] = old
    got = dict(leaves(grad_x, "x"))
    grads: list[np.ndarray | None] = []
    for name, array in inputs:
        grad = got.get(name)
        if grad is None or np.shape(grad) != array.shape:
            found = "None" if grad is None else f"shape {np.shape(grad)}"
            problems.append(f"backward returns {found} for grad_{name}, expected shape {array.shape}")
            grad = None
        grads.append(None if grad is None else np.asarray(grad, np.float64))
    if parameters:
        problems += [breach.text for breach in not_added(forward, x, parameters, projection)]
    return grads, problems


class _Probe:
    """Numerical derivatives of the projected output with respect to single entries of x or of a parameter."""

    def __init__(self, forward: Forward, x: Any, y: np.ndarray, projection: np.ndarray, tolerance: float):
        self._forward = forward
        self._x = x
        self._y = y
        self._projection = projection
        self._tolerance = tolerance

    def entry(self, array: np.ndarray, index: int, analytic: float, floor: float) -> Entry | None:
        """The entry's comparison at the step that suits `analytic` best; None where it lies on a kink."""
        best: Entry | None = None
        place = tuple(int(i) for i in np.unravel_index(index, array.shape))
        for step in _STEPS:
            numeric, noise = self._central(array, index, step)
            difference = abs(analytic - numeric)
            error = difference / max(abs(analytic), abs(numeric), floor) if difference else 0.0
            if error > self._tolerance and difference <= noise:
                error = 0.0
            # A NaN or an infinity is an infinite error.
            error = math.inf if math.isnan(error) else error
            if best is None or error < best.error:
                best = Entry(place, analytic, numeric, error)
            if error <= self._tolerance:
                return best
        return None if self._kink(array, index) else best

    def _central(self, array: np.ndarray, index: int, step: float) -> tuple[float, float]:
        """The central difference, and how far rounding may have moved it."""
        up, down, width = self._outputs(array, index, step)
        # Differences before sums: outputs that the entry does not reach cancel without rounding.
        change = up - down
        size = np.where(change != 0, self._projection * up, 0)
        noise = 4 * _EPSILON * float(np.sqrt((size * size).sum())) / width
        return float((self._projection * change).sum()) / width, noise

    def _kink(self, array: np.ndarray, index: int) -> bool:
        """Whether the slopes on the two sides differ, and stay so as the step shrinks: curvature would fade."""
        gaps, slope = [], 0.0
        for step in (1e-6, 1e-7):
            up, down, width = self._outputs(array, index, step)
            right = float((self._projection * (up - self._y)).sum()) / (width / 2)
            left = float((self._projection * (self._y - down)).sum()) / (width / 2)
            gaps.append(abs(right - left))
            slope = max(abs(right), abs(left))
        return gaps[1] > 0.5 * gaps[0] and gaps[1] > 1e-3 * slope

    def _outputs(self, array: np.ndarray, index: int, step: float) -> tuple[np.ndarray, np.ndarray, float]:
        flat = array.reshape(-1)
        value = float(flat[index])
        reach = step * max(1.0, abs(value))
        try:
            flat[index] = value + reach
            up = np.array(self._forward(self._x)[0])
            flat[index] = value - reach
            down = np.array(self._forward(self._x)[0])
        finally:
            flat[index] = value
        # What was added and taken away after rounding.
        return up, down, (value + reach) - (value - reach)


def _check(
    probe: _Probe, name: str, array: np.ndarray, grad: np.ndarray, samples: int, rng: np.random.Generator
) -> ArrayCheck:
    chosen = np.arange(array.size)
    if array.size > samples:
        chosen = np.sort(rng.choice(array.size, samples, replace=False))
    analytic = grad.reshape(-1)[chosen]
    finite = np.abs(analytic[np.isfinite(analytic)])
    floor = _FLOOR * float(finite.max(initial=0))
    found = [probe.entry(array, int(i), float(a), floor) for i, a in zip(chosen, analytic, strict=True)]
    entries = [entry for entry in found if entry is not None]
    return ArrayCheck(name, array.shape, entries, kinks=len(found) - len(entries))
