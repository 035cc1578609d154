"""`check`: what keeps a network from learning, said before training, in seconds."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._checks import number
from .._random import generator
from .._shapes import whole
from ..data.dataset import Dataset
from ..data.rows import Rows, as_arrays, leaves, same_length, take
from ..nn.layer import Layer, pair_of
from .checks import ending, inputs, overfit, shapes, signal, structure, targets, trial, updates, weights
from .checks.case import Case
from .experiment import Experiment, Shuffled, untouched
from .findings import Finding, Report
from .folding import folded
from .kinds import BY_DEGREE
from .watch import Call, Watched

_KEPT = 2**26  # numbers of all activations together
_LEAST = 16  # examples, however large the network


def check(
    model: Layer,
    x: Any,
    y: Any,
    loss: Any,
    *,
    optimizer: Any = None,
    seconds: float = 5.0,
    examples: int = 256,
) -> Report:
    """Say what keeps a network from learning, before it is trained.

    It looks at the data, at how network, loss and targets fit, at activations and gradients of a first step, and
    whether 16 examples can be learned. All of it is done on copies, and on some of the examples: parameters, buffers,
    random generators and counters stay as they are.

    Parameters
    ----------
    model : Layer
        One's own layers are looked at like others.
    x, y : array, or tuple or dict of arrays
        What training would be given; all of it, as `check` chooses examples itself.
    loss : Loss
        Or what has such a ``forward(logits, target)``.
    optimizer : Optimizer, optional
        Its first step is tried, too.
    seconds : float
        For learning 16 examples: what is the slowest, and done last.
    examples : int
        To look at; less where the network is large.

    Returns
    -------
    Report
        True in a condition if nothing keeps the network from learning. Print it; `try_cures` trains with what it
        advises, `plot` draws what the layers do.

    Raises
    ------
    TypeError
        If model or loss is none, or x and y are not apart.
    ValueError
        If x and y are empty, or differ in length.

    Examples
    --------
    >>> report = cconv.check(model, train.x, train.y, nn.CrossEntropyLoss())
    >>> print(report)
    >>> assert report
    """
    where = "check"
    if not isinstance(model, Layer):
        raise TypeError(f"{where}: model must be a Layer, got {model!r}")
    if isinstance(loss, type) or not hasattr(loss, "forward"):
        hint = f": write {loss.__name__}()" if isinstance(loss, type) else ""
        raise TypeError(f"{where}: loss must have forward(logits, target), got {loss!r}{hint}")
    _apart(where, x, y)
    seconds = number(where, "seconds", seconds, 0)
    examples = whole(where, "examples", examples, 2)
    x, y = as_arrays(x), as_arrays(y)
    count = same_length(where, x=x, y=y)
    if not count:
        raise ValueError(f"{where}: x and y are empty")
    if not all(np.size(array) for _, array in leaves(x)):
        raise ValueError(f"{where}: x has examples of no numbers")
    if optimizer is not None and not hasattr(optimizer, "parameters"):
        raise TypeError(f"{where}: optimizer must be an Optimizer, got {optimizer!r}")
    begun = time.perf_counter()
    start = Experiment(model, loss, optimizer, Shuffled(x, y))
    with untouched():
        looked, found = _look(start.model, start.loss, start.optimizer, x, y, count, examples, begun, seconds)
    took = time.perf_counter() - begun
    subject = f"check of {type(model).__name__} ({looked} of {count} example{'' if count == 1 else 's'}, {took:.1f} s)"
    return Report(folded(found), subject, start)


def _apart(where: str, x: Any, y: Any) -> None:
    """Inputs and targets are two arguments, of arrays."""
    kind = type(x).__name__
    if isinstance(x, Dataset):
        raise TypeError(f"{where}: x must be an array, got a Dataset: write check(model, dataset.x, dataset.y, loss)")
    arrays = isinstance(x, (np.ndarray, Rows, Sequence, Mapping)) or hasattr(x, "__array__")
    if not arrays and isinstance(x, Iterable):
        raise TypeError(
            f"{where}: x must be an array, got a {kind}: write x, y = next(iter(batches)); check(model, x, y, loss)"
        )
    if y is None:
        pair = isinstance(x, (tuple, list)) and len(x) == 2
        hint = "check(model, pair[0], pair[1], loss)" if pair else "check(model, x, y, loss)"
        raise TypeError(f"{where}: y must be the targets of x, got None: write {hint}")


def first_look(model: Layer, loss: Any, optimizer: Any, x: Any, y: Any, seconds: float = 0.0) -> list[Finding]:
    """All that `check` finds without training, in no order: of a batch, in a fraction of a second.

    Parameters
    ----------
    model, loss, optimizer, x, y : as for `check`
    seconds : float
        For the gradients of layers of one's own.
    """
    count = _length(x)
    with untouched():
        given = copy.deepcopy((model, loss, optimizer))
        return _look(*given, x, y, count, count, time.perf_counter(), seconds, learn=False)[1]


def _look(
    model: Layer,
    loss: Any,
    optimizer: Any,
    x: Any,
    y: Any,
    count: int,
    examples: int,
    begun: float,
    seconds: float,
    learn: bool = True,
) -> tuple[int, list[Finding]]:
    """How many examples were looked at, and everything that was found, in no order."""
    rows = _rows(count, examples)
    part = _whole(take(x, rows))
    found = list(inputs.raw(x, part))
    if any(finding.kind == "input-dtype" for finding in found):
        return len(rows), found
    mended = shapes.Mended(copy.deepcopy(model), part)
    misfits = list(shapes.fit(mended))
    found += misfits
    if any(finding.kind == "input-layout" for finding in misfits):
        found = [f for f in found if f.kind != "input-layout" or f.severity == "error"]
    if not mended.runs:
        return len(rows), found
    if misfits:
        # The mended copy stands for the model from here on, and its optimiser would not fit.
        model, optimizer = mended.model, None
    kept = np.linspace(0, len(rows) - 1, _enough(model, mended.x, len(rows))).astype(np.int64)
    rows, sample = rows[kept], take(mended.x, kept)
    goals = targets.Targets(y, _whole(take(y, rows)))
    stepped, moved = copy.deepcopy((model, optimizer))
    case = Case(stepped, loss, sample, goals.sample, Watched(stepped))
    found += _step(case, goals)
    found += targets.contradicting(*((x, y) if learn else (case.x, case.y)))
    found += _after(case, goals, moved, begun + seconds)
    # Where it is certain that nothing is learned, seconds of training would only confirm it.
    certain = any(f.severity == "error" and f.kind not in BY_DEGREE for f in found)
    if learn and case.value is not None and math.isfinite(case.value) and not certain:
        found, learns = trial.trial(case, model, optimizer, found, time.perf_counter() + seconds / 2)
        if not learns and not any(f.severity == "error" for f in found):
            few = overfit.few(case.y)
            fresh = Case(model, loss, None, None, case.watched, case.logits)
            x16, y16 = take(case.x, few[few < _length(case.x)]), take(case.y, few[few < _length(case.x)])
            found += overfit.overfit(fresh, x16, y16, time.perf_counter() + seconds)
    return len(rows), found


def _step(case: Case, goals: targets.Targets) -> Iterable[Finding]:
    """One training step, without its update, into `case`."""
    model = case.model
    case.watched = Watched(model)
    with case.watched, np.errstate(all="ignore"):
        case.logits, backward = pair_of(model, model.forward(case.x))
        yield from targets.before_loss(case, goals)
        case.y = goals.sample
        try:
            value, loss_backward = case.loss.forward(case.logits, case.y)
        except Exception as error:
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
            yield Finding(
                "loss-error",
                "error",
                f"the loss raises {type(error).__name__}: {message}",
                ("loss(model(x[:2]), y[:2])",),
            )
            return
        value = np.asarray(value)
        case.value = float(value.mean())
        try:
            case.grad = loss_backward() if value.ndim == 0 else loss_backward(np.full_like(value, 1 / value.size))
            backward(case.grad, need_x=False)
        except Exception as error:
            message = str(error).splitlines()[0] if str(error) else ""
            call = next(
                (call for call in reversed(case.watched.leaves) if call.grad_y is not None and call.grad_x is None),
                None,
            )
            name = call.name if call is not None else type(model).__name__
            none = call is not None and _gives_none(call)
            yield Finding(
                "forward-error",
                "error",
                f"backward of {name} returned None: it has no return?"
                if none
                else f"backward of {name} raises {type(error).__name__}: {message}",
                ("y, backward = model.forward(x[:2]); backward(y)",),
                call.path if call is not None else "",
            )
            case.grad = None


def _gives_none(call: Call) -> bool:
    """Whether backward returns nothing, at which the layer before raises."""
    try:
        return pair_of(call.layer, call.layer.forward(call.x))[1](call.grad_y) is None
    except Exception:
        return False


def _after(case: Case, goals: targets.Targets, optimizer: Any, deadline: float) -> Iterable[Finding]:
    yield from inputs.scaled(case)
    yield from ending.endings(case)
    yield from structure.activations(case)
    yield from structure.habits(case)
    yield from structure.passages(case)
    if case.grad is None:
        return
    yield from structure.unused(case)
    yield from weights.weights(case)
    yield from signal.signals(case, goals)
    yield from structure.mixing(case)
    yield from structure.of_ones_own(case, lambda: deadline - time.perf_counter())
    if optimizer is not None:
        yield from updates.first_step(case, optimizer)


def _rows(count: int, examples: int) -> np.ndarray:
    """Some examples, chosen at random but always the same."""
    if count <= examples:
        return np.arange(count)
    return np.sort(generator(0).choice(count, examples, replace=False))


def _whole(value: Any) -> Any:
    """Arrays of native byte order, in memory."""
    if isinstance(value, tuple):
        return tuple(_whole(item) for item in value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return np.ascontiguousarray(value) if value.ndim else value


def _length(value: Any) -> int:
    return len(next(array for _, array in leaves(value)))


def _enough(model: Layer, x: Any, most: int) -> int:
    """How many examples' activations may be kept."""
    few = min(4, _length(x))
    trial = copy.deepcopy(model)
    with Watched(trial) as watched, np.errstate(all="ignore"):
        trial.forward(take(x, slice(0, few)), True)
    each = sum(np.size(call.y) for call in watched.calls if isinstance(call.y, np.ndarray)) / few
    return int(min(most, max(_LEAST, _KEPT / max(each, 1))))
