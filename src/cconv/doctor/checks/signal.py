"""Activations and gradients, layer by layer, in one step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import nn
from ...data.rows import leaves
from ..findings import Finding
from ..watch import Call
from .case import (
    LINEAR,
    NORMS,
    Case,
    both,
    code,
    every,
    initialiser,
    is_own,
    listed,
    per_unit,
    rectifies,
    redraw,
    rms,
    weighing,
)
from .targets import Targets

# Shares of a layer's outputs at the ends of their range, and of its units that never fire.
SATURATED, ALL_SATURATED = 0.5, 0.9
DEAD, ALL_DEAD = 0.6, 1.0
# How much of an activation's range its end is: a sigmoid's beyond +-5, a tanh's beyond +-2.5.
END = 0.0067
# A gradient that comes through, over what goes in: a sigmoid's is at most 0.25.
THROUGH = 0.1
# The smallest gradient of a layer over the largest, per weight.
FADED, GONE = 1e-5, 1e-8
# A gradient's norm over the weights'.
STRONG, OVERWHELMING = 30.0, 1000.0
# The spread of the outputs over the examples, beside their size.
SAME, EQUAL = 1e-5, 1e-7
# The same of what goes into a layer, where silent units are no surprise.
FLAT = 1e-2
# Activations over the inputs.
LOST = 1e-6


def signals(case: Case, targets: Targets) -> Iterator[Finding]:
    yield from _not_finite(case)
    yield from _zeros_from(case)
    yield from _saturated(case)
    yield from _dead(case)
    yield from _fading(case)
    yield from _constant(case)
    yield from _first_loss(case, targets)
    yield from _gradients(case)
    yield from _exploding(case)


def _not_finite(case: Case) -> Iterator[Finding]:
    for call in case.watched.leaves:
        if call.plain and call.y.dtype.kind == "f" and not np.isfinite(call.y).all():
            given = isinstance(call.x, np.ndarray) and call.x.dtype.kind == "f" and not np.isfinite(call.x).all()
            size = rms(call.x) if not given else math.nan
            yield Finding(
                "not-finite",
                "error",
                f"the output of {call.name} holds NaN or infinity for inputs of size {size:.3g}",
                ("x = (x - x.mean()) / x.std()",),
                call.path,
                evidence={"input": size},
            )
            return
    if case.value is not None and not math.isfinite(case.value):
        yield Finding(
            "not-finite",
            "error",
            f"the loss is {case.value} in the first step",
            ("print(model(x[:8]))",),
            evidence={"loss": case.value},
        )


def _zeros_from(case: Case) -> Iterator[Finding]:
    """A backward that gives zeros where neither its input nor its output explains it."""
    for call in reversed(case.watched.leaves):
        if not call.plain or not isinstance(call.grad_y, np.ndarray) or not isinstance(call.grad_x, np.ndarray):
            continue
        if (
            isinstance(call.layer, (*LINEAR, nn.ReLU, nn.Sigmoid, nn.Tanh))
            or not call.grad_y.any()
            or call.grad_x.any()
        ):
            continue
        own = is_own(call.layer)
        # Zeros out of a dead or flat activation are its input's doing.
        varies = bool((call.y != call.y[:1]).any()) if len(call.y) > 1 else True
        before = case.watched.leaves[: case.watched.leaves.index(call)]
        if own and varies and any(p.trainable for earlier in before for p in earlier.layer.parameters()):
            size = rms(call.grad_y)
            yield Finding(
                "backward-zero",
                "error",
                f"backward of {call.name} returns zeros for a gradient of size {size:.2g}: no layer before it learns",
                (f"print(cconv.gradcheck({code(call.path)}, x))",),
                call.path,
                evidence={"grad_y": size},
            )
            return


def _saturated(case: Case) -> Iterator[Finding]:
    # Those that a gradient passes all the same apart.
    found: dict[bool, list[tuple[float, Call, np.ndarray]]] = {True: [], False: []}
    for call in case.watched.leaves:
        bounds = case.reach_of(call) if call.plain else None
        if bounds is None or not np.isfinite(bounds).all() or isinstance(call.layer, nn.Softmax):
            continue
        low, high = bounds
        room = END * (high - low)
        # Where it is silent, like a ReLU, it does what it is for.
        ends = call.y > high - room if rectifies(call) else (call.y < low + room) | (call.y > high - room)
        stopped = ends & np.logical_not(_passed(call))
        if stopped.mean() > SATURATED:
            found[False].append((float(stopped.mean()), call, stopped))
        elif ends.mean() > SATURATED:
            found[True].append((float(ends.mean()), call, ends))
    passed = not found[False]
    if passed and not found[True]:
        return
    share, call, ends = max(found[passed], key=lambda item: item[0])
    calls = [each for _, each, _ in found[passed]]
    mean = float(call.x.mean(dtype=np.float64))
    units = float(per_unit(ends).all(0).mean())
    sources = [each.source for each in calls if each.source is not None and isinstance(each.source.layer, LINEAR)]
    yield Finding(
        "saturated",
        "note" if passed else "error" if share > ALL_SATURATED else "warning",
        f"{share:.0%} of the outputs of {listed([call, *(each for each in calls if each is not call)])} are at the "
        f"ends of their range" + ("" if call.layer.parameters() else f" (mean before activation {mean:.3g})"),
        (redraw(case, sources) if sources else "x = (x - x.mean()) / x.std()",),
        call.path,
        evidence={"saturated": share, "mean_input": mean, "units": units, "layers": len(calls)},
    )


def _passed(call: Call) -> Any:
    """Where a gradient comes through all the same, as a straight-through estimator lets it."""
    into, out = call.grad_y, call.grad_x
    if not isinstance(into, np.ndarray) or not isinstance(out, np.ndarray) or out.shape != call.y.shape:
        return False
    return (into != 0) & (np.abs(out) > THROUGH * np.abs(into))


def _dead(case: Case) -> Iterator[Finding]:
    found: list[tuple[float, Call]] = []
    for call in case.watched.leaves:
        # Of one's own, too: what gives zeros for inputs that are not.
        if (
            not call.plain
            or call.layer.parameters()
            or call.x.shape != call.y.shape
            or isinstance(call.layer, nn.Dropout)
        ):
            continue
        bounds = case.range_of(call)
        if bounds is None or bounds[0] != 0 or not call.x.any():
            continue
        if isinstance(call.layer, nn.Softplus) or (math.isfinite(bounds[1]) and not rectifies(call)):
            continue
        silent = np.logical_not((per_unit(call.y) > 0).any(axis=0))
        silent = np.atleast_1d(silent)
        # Where the input itself is the same for every example, that is what is wrong.
        faded = not silent.all() and rms(call.x.std(0, dtype=np.float64)) < FLAT * rms(call.x)
        if silent.mean() > DEAD and not faded:
            found.append((float(silent.mean()), call))
    if not found:
        return
    # What dies first takes those after it along.
    share, call = next(((s, c) for s, c in found if s >= ALL_DEAD), found[0])
    units = per_unit(call.y).shape[1]
    mean = float(call.x.mean(dtype=np.float64))
    sources = [c.source for _, c in found if c.source is not None and isinstance(c.source.layer, LINEAR)]
    leaky = every([c.path for _, c in found], "{} = nn.LeakyReLU()")
    cures = (redraw(case, sources), leaky) if sources else (leaky,)
    yield Finding(
        "dead-units",
        "error" if share >= ALL_DEAD else "warning",
        f"{round(share * units)} of {units} units of {call.name} fire for no example (mean before activation "
        f"{mean:.3g})",
        cures,
        call.path,
        evidence={"dead": share, "units": units, "mean_input": mean},
    )


def _fading(case: Case) -> Iterator[Finding]:
    """Activations that shrink from layer to layer until only biases speak."""
    calls = [call for call in case.linear if np.isfinite(call.x).all()]
    if len(calls) < 2:
        return
    first = rms(calls[0].x)
    # The signal is what differs between examples: tiny biases may keep tiny activations up when it is gone.
    spreads = [rms(call.x.std(0, dtype=np.float64)) for call in calls]
    for i, call in enumerate(calls):
        size = rms(call.x)
        lost = 0 < size < LOST * min(first, 1.0)
        if not (lost or (size < FLAT * first and 0 < spreads[i] < LOST * min(spreads[0], 1.0))):
            continue
        start = next((j for j in range(i) if spreads[j + 1] < 0.1 * spreads[j]), 0)
        told = ", ".join(f"{spread:.1g}" for spread in spreads[: i + 1])
        yield Finding(
            "vanishing-signal",
            "error" if lost else "warning",
            f"the signal fades from {calls[start].name} on: what differs between examples is of size {told} from the "
            f"input to {call.name}",
            (redraw(case, calls),),
            calls[start].path,
            evidence={"input": first, "size": size, "spread": spreads[i]},
        )
        return


def _constant(case: Case) -> Iterator[Finding]:
    logits = case.logits
    for call in case.watched.leaves:
        # An activation at the end of its range is another matter.
        own = is_own(call.layer)
        if own and call.plain and len(call.y) > 3 and _loses(call) and case.range_of(call) is None:
            yield Finding(
                "input-ignored",
                "note" if _starts_at_zero(case) else "error",
                f"{call.name} gives the same for every example, whatever its input",
                (f"see that forward of {code(call.path)} uses x",),
                call.path,
                evidence={"output": rms(call.y)},
            )
            return
    if not isinstance(logits, np.ndarray) or len(logits) < 4 or not np.isfinite(logits).all():
        return
    spread, size = rms(logits.std(0, dtype=np.float64)), rms(logits)
    if spread > SAME * size:
        return
    # Where variation between examples was last seen.
    alive = [call for call in case.watched.leaves if call.plain and call.y.dtype.kind == "f" and _varies(call.y)]
    lost = next(
        (c for c in case.watched.leaves if c.plain and c.source is not None and c.source in alive and c not in alive),
        None,
    )
    path, where = (lost.path, f", from {lost.name} on") if lost is not None else ("", "")
    if lost is None and not alive:
        yield Finding(
            "input-ignored",
            "error",
            "outputs are the same for every example, as no layer is given what depends on x",
            ("see that forward uses x",),
            evidence={"spread": spread, "size": size},
        )
        return
    yield Finding(
        "constant-output",
        "error" if spread < EQUAL * size else "warning",
        f"outputs are the same for every example (size {size:.2g}, spread {spread:.1g}){where}",
        ("for p in model.parameters(): p.value.ndim > 1 and nn.init.he_uniform(p)",),
        path,
        evidence={"spread": spread, "size": size},
    )


def _loses(call: Call) -> bool:
    return bool((call.x != call.x[:1]).any()) and not (call.y != call.y[:1]).any() and call.y.shape[0] == len(call.x)


def _varies(y: np.ndarray) -> bool:
    return rms(y.std(0, dtype=np.float64)) > SAME * rms(y)


def _first_loss(case: Case, targets: Targets) -> Iterator[Finding]:
    if not isinstance(case.loss, nn.CrossEntropyLoss) or case.value is None or not math.isfinite(case.value):
        return
    loss, logits = case.loss, case.logits
    if loss.reduction != "mean" or loss.weight is not None or logits.ndim < 2 or logits.shape[1] < 2:
        return
    guess = math.log(logits.shape[1])
    # Logits of size 1 or 2 are an ordinary start, and that of a trained network on other data.
    if case.value > 2 * guess + 2:
        size = rms(logits - logits.mean(1, keepdims=True))
        yield Finding(
            "initial-loss",
            "warning",
            f"the first loss is {case.value:.3g}, that of a guess among {logits.shape[1]} classes "
            f"ln({logits.shape[1]}) = {guess:.2f} (logits of size {size:.3g})",
            (f"nn.init.xavier_uniform({code(case.linear[-1].path)}.weight)",) if case.linear else (),
            case.linear[-1].path if case.linear else "",
            evidence={"loss": case.value, "guess": guess, "logits": size},
        )


def _starts_at_zero(case: Case) -> bool:
    """Whether a weight is zero at first and will not stay so: a residual body's last scale, a last layer."""
    return any(
        not name.endswith("bias") and p.trainable and p.value.size and not p.value.any() and p.grad.any()
        for name, p in case.model.named_parameters()
    )


def _gradients(case: Case) -> Iterator[Finding]:
    if case.grad is None:
        return
    sizes = _sizes(case)
    sized = [(call, size) for call, size in sizes if math.isfinite(size)]
    if not any(np.any(grad) for _, grad in leaves(case.grad)):
        if case.value and math.isfinite(case.value) and is_own(case.loss):
            yield Finding(
                "zero-gradient",
                "error",
                f"{type(case.loss).__name__} hands back a gradient of zeros at a loss of {case.value:.3g}: what counts "
                "answers has no slope",
                ("loss = nn.CrossEntropyLoss()   # and accuracy as a metric",),
                evidence={"loss": case.value},
            )
        return
    if not sized:
        return
    zero = [call for call, size in sized if size == 0]
    if zero:
        yield Finding(
            "zero-gradient",
            "note" if _starts_at_zero(case) else "error",
            f"the gradient of {listed(zero)} is zero: {'it does' if len(zero) == 1 else 'they do'} not learn",
            (f"nn.init.{initialiser(case, zero[-1])}({code(zero[-1].path)}.weight)",),
            zero[0].path,
            evidence={"layers": len(zero), "of": len(sized)},
        )
    largest = max(size for _, size in sized)
    faded = [(size / largest, call) for call, size in sized if 0 < size < FADED * largest]
    if faded:
        ratio, call = faded[0]
        sigmoids = [each for each in case.watched.leaves if isinstance(each.layer, nn.Sigmoid)]
        told, cures = "", ["for p in model.parameters(): p.value.ndim > 1 and nn.init.he_uniform(p)"]
        if len(sigmoids) > 2:
            told = f": {len(sigmoids)} sigmoids, each of which takes at least 3/4 of it"
            cures = [every([each.path for each in sigmoids if each is not case.last], "{} = nn.ReLU()")]
        if not any(isinstance(each.layer, NORMS) for each in case.watched.leaves):
            cures.append(_normalised(case, call))
        yield Finding(
            "vanishing-gradient",
            "error" if ratio < GONE else "warning",
            f"the gradient of {call.name} is {ratio:.0e} of the largest{told}",
            tuple(cures),
            call.path,
            evidence={"ratio": ratio, "layers": len(faded)},
        )


def _normalised(case: Case, like: Call) -> str:
    """Code that puts a batch normalisation after the layers whose outputs are such, but the last."""
    calls = [call for call in case.linear[:-1] if call.y.ndim == like.y.ndim] or [like]
    kind = f"nn.BatchNorm{2 if like.y.ndim == 4 else 1}d"
    if len(calls) > 1 and all(call.path.isdigit() for call in calls):
        pairs = ", ".join(f"({call.path}, {call.y.shape[1]})" for call in calls)
        return f"for i, n in ({pairs}): model[i] = nn.Sequential(model[i], {kind}(n))"
    return both(*(f"{(at := code(call.path))} = nn.Sequential({at}, {kind}({call.y.shape[1]}))" for call in calls))


def _sizes(case: Case) -> list[tuple[Call, float]]:
    """(call, size of the weight's gradient, beside that of the usual weights)."""
    seen: set[int] = set()
    found = []
    for call in case.linear:
        weight: Any = call.layer.weight
        if id(weight) not in seen and weight.trainable and isinstance(call.grad_y, np.ndarray):
            seen.add(id(weight))
            found.append((call, rms(weight.grad)))
    return found


def _exploding(case: Case) -> Iterator[Finding]:
    if case.grad is None:
        return
    share = 1.0
    if getattr(case.loss, "reduction", "mean") == "sum" and isinstance(case.logits, np.ndarray):
        share = 1 / max(len(case.logits), 1)
    worst: tuple[float, Call | None, float] = (0.0, None, 0.0)
    for call in case.watched.leaves:
        for _, parameter in weighing(call):
            if parameter._grad is None:
                continue
            size, weight = rms(parameter.grad) * share, rms(parameter.value)
            if weight > 1e-3 * math.sqrt(1 / parameter.value[0].size) and size / weight > worst[0]:
                worst = size / weight, call, size
    ratio, worst_call, size = worst
    if worst_call is not None and ratio > STRONG:
        yield Finding(
            "exploding-gradient",
            "error" if ratio > OVERWHELMING else "warning",
            f"the first gradient of {worst_call.name} is {ratio:.3g} times its weights (size {size:.2g})",
            ("x = (x - x.mean()) / x.std()", "trainer = cconv.Trainer(model, loss, optimizer, clip_norm=1.0)"),
            worst_call.path,
            evidence={"ratio": ratio, "gradient": size},
        )
