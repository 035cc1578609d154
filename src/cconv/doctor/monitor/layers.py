"""What several looks at layers, gradients and weights say together."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ... import nn
from ...nn.layer import Layer
from ..activity import Activity
from ..checks.case import code
from ..checks.signal import ALL_SATURATED, DEAD, FADED, GONE, OVERWHELMING, SATURATED, STRONG
from ..findings import Finding
from .course import Course, slower
from .look import Look

_AGREE = 2  # looks that must say the same
_EXAMPLES = 64  # over which a unit must be silent to be called dead
FAR, TOO_FAR, HARDLY = 0.5, 5.0, 3e-5  # the first steps of what learns move some weight by 3e-4 and more
SAME = 1e-4
ENOUGH = 0.9  # gain with which a schedule may end
GROWN, SHRUNK = 30.0, 0.1

_REDRAWN = "for p in model.parameters(): p.value.ndim > 1 and nn.init.he_uniform(p)"


def findings(course: Course, model: Layer) -> Iterator[Finding]:
    """What is wrong by now, each kind once."""
    if not course.looks:
        return
    yield from _steps(course)
    yield from _decay(course)
    yield from _exploding(course)
    yield from _saturated(course, model)
    yield from _dead(course)
    yield from _vanishing(course)
    yield from _grown(course)
    yield from _constant(course)


def activities(course: Course) -> list[Activity]:
    """What each layer did at the last look."""
    if not course.looks:
        return []
    now = course.looks[-1]
    found = []
    for path, seen in now.layers.items():
        each = Activity(path, seen.kind, seen.size, seen.active, math.nan, seen.ends, seen.grad)
        if (found_silent := _silent(course, path)) is not None:
            each.silent = float(found_silent[0].mean())
        weight = now.weights.get(f"{path}.weight" if path else "weight")
        if weight is not None and weight.size > 0:
            each.grad_to_weight, each.step_to_weight = weight.grad / weight.size, weight.update / weight.size
        found.append(each)
    return found


def _silent(course: Course, path: str) -> tuple[np.ndarray, int] | None:
    """Which units have not fired for how many examples, or all in the last looks; None where it is not known."""
    seen = [look.layers[path] for look in reversed(_last(course, path))]
    fired = [each.fired for each in seen if each.fired is not None]
    if len(fired) < _AGREE or len(fired) < len(seen) or any(len(each) != len(fired[0]) for each in fired):
        return None
    if not np.any(fired[:_AGREE]):
        return np.ones(len(fired[0]), bool), sum(each.examples for each in seen[:_AGREE])
    examples, awake = np.zeros(len(fired[0])), np.zeros(len(fired[0]), bool)
    for each, fires in zip(seen, fired, strict=True):
        awake |= fires
        examples[~awake] += each.examples
    silent = examples >= _EXAMPLES
    return silent, int(examples[silent].min(initial=sum(each.examples for each in seen)))


def _last(course: Course, path: str) -> list[Look]:
    return [look for look in course.looks if path in look.layers]


def _dead(course: Course) -> Iterator[Finding]:
    """Units that fired for none of all the examples that were seen: not merely a sparse layer."""
    for path, seen in course.looks[-1].layers.items():
        found = _silent(course, path)
        if found is None:
            continue
        silent, examples = found
        share = float(silent.mean())
        all_dead = share == 1
        if share < DEAD or not math.isfinite(seen.before):
            continue
        name = _name(path, seen.kind)
        yield Finding(
            "dead-units",
            "error" if all_dead and course.stuck else "warning",
            f"{int(silent.sum())} of {len(silent)} units of {name} fired for none of {examples} examples (mean before "
            f"activation {seen.before:.3g})",
            (f"optimizer.lr = {course.lr / 10:.2g}", f"{code(path)} = nn.LeakyReLU()"),
            path,
            evidence={"dead": share, "units": len(silent), "examples": examples, "mean_input": seen.before},
        )
        return


def _saturated(course: Course, model: Layer) -> Iterator[Finding]:
    layers = dict(model.named_layers())
    paths = [
        path
        for path, seen in course.looks[-1].layers.items()
        if math.isfinite(seen.ends) and not isinstance(layers.get(path), nn.Softmax)
    ]
    last = next(reversed(course.looks[-1].layers), None)
    for path in paths:
        shares = [look.layers[path].ends for look in _last(course, path)][-_AGREE:]
        share = min(shares)
        # Outputs that are sure of themselves are at the ends of their range, too.
        if len(shares) < _AGREE or share < SATURATED or (path == last and not course.stuck):
            continue
        if share < ALL_SATURATED and not course.stuck:
            continue
        seen = course.looks[-1].layers[path]
        yield Finding(
            "saturated",
            "error" if share > ALL_SATURATED and course.stuck else "warning",
            f"{share:.0%} of the outputs of {_name(path, seen.kind)} are at the ends of their range (mean before "
            f"activation {seen.before:.3g})",
            (f"optimizer.lr = {course.lr / 10:.2g}", *_redraw(course, path)),
            path,
            evidence={"saturated": share, "mean_input": seen.before},
        )
        return


def _vanishing(course: Course) -> Iterator[Finding]:
    if not course.fails or len(course.looks) < _AGREE:
        return
    for path in course.looks[-1].weights:
        ratios = []
        for look in list(course.looks)[-_AGREE:]:
            largest = max((w.grad for w in look.weights.values()), default=0)
            if path in look.weights and largest > 0:
                ratios.append(look.weights[path].grad / largest)
        if len(ratios) == _AGREE and max(ratios) < FADED:
            ratio, layer = max(ratios), path.rpartition(".")[0]
            yield Finding(
                "vanishing-gradient" if ratio else "zero-gradient",
                "error" if ratio < GONE else "warning",
                f"the gradient of {path} is {ratio:.0e} of the largest" if ratio else f"the gradient of {path} is zero",
                (f"nn.init.he_uniform({code(layer)}.weight)",),
                layer,
                evidence={"ratio": ratio},
            )
            return


def _exploding(course: Course) -> Iterator[Finding]:
    worst, at = 0.0, ""
    for path in course.looks[-1].weights:
        ratios = [look.weights[path].grad / look.weights[path].size for look in course.looks if _counts(look, path)]
        ratio = min(ratios[-_AGREE:], default=0.0)
        if len(ratios) >= _AGREE and ratio > max(STRONG, worst):
            worst, at = ratio, path
    if at:
        yield Finding(
            "exploding-gradient",
            "error" if worst > OVERWHELMING and course.stuck else "warning",
            f"the gradient of {at} is {worst:.3g} times as large as the weights",
            ("trainer.clip_norm = 1.0", f"optimizer.lr = {course.lr / 10:.2g}"),
            at.rpartition(".")[0],
            evidence={"ratio": worst},
        )


def _counts(look: Look, path: str) -> bool:
    """Whether ratios to the size of a weight mean something: not of one that started at zero."""
    weight = look.weights.get(path)
    return weight is not None and weight.size > 1e-6 and math.isfinite(weight.size)


def _steps(course: Course) -> Iterator[Finding]:
    """How far steps move the weights: about a thousandth of their size is usual (CS231n)."""
    ratios: dict[str, list[float]] = {}
    for look in course.looks:
        for path, weight in look.weights.items():
            if _counts(look, path) and math.isfinite(weight.update):
                ratios.setdefault(path, []).append(weight.update / weight.size)
    # What came of the first steps shows in whether it learned.
    if course.first is not None and course.first is not course.looks[0] and not course.learns:
        for path in ratios:
            if _counts(course.first, path):
                ratios[path].insert(0, course.first.weights[path].update / course.first.weights[path].size)
    if not ratios:
        return
    # What could tell examples apart, and can no more, was driven there by its steps.
    died = course.alive and course.stuck and course.looks[-1].spread < SAME and not course.decay
    worst = {path: max(values) if died else _worst(values) for path, values in ratios.items()}
    path, ratio = max(worst.items(), key=lambda item: item[1])
    lr = course.lr
    if ratio > FAR or (died and ratio > HARDLY):
        better = float(f"{lr * min(0.1, 0.01 / ratio):.0e}")
        yield Finding(
            "learning-rate",
            "error" if course.fails else "warning",
            f"steps move {path} by {ratio:.2g} of its size, with lr={lr:g}: about 0.001 to 0.01 is usual",
            (f"optimizer.lr = {better:g}", "trainer.clip_norm = 1.0"),
            path.rpartition(".")[0],
            evidence={"ratio": ratio, "lr": lr},
        )
    elif lr < 1e-3 * course.first_lr and not course.gain() > ENOUGH:
        yield Finding(
            "learning-rate",
            "error" if course.fails else "warning",
            f"lr has gone from {course.first_lr:g} to {lr:.2g} in {course.steps} steps, before the network had "
            "learned: a schedule that is stepped too often, or ends too early?",
            ("trainer.schedule = None",),
            evidence={"first": course.first_lr, "lr": lr},
        )
    elif course.fails:
        path, ratio = max(((p, max(v)) for p, v in ratios.items()), key=lambda item: item[1])
        # Where nothing moves at all it is the gradient, and not the rate, that is wrong; unless that is 0.
        if 0 < ratio < HARDLY or not lr:
            better = float(f"{lr * 1e-3 / ratio:.0e}") if ratio else 1e-3
            clipped = course.clip_norm is not None
            also = f" and clip_norm={course.clip_norm:g}" if clipped else ""
            yield Finding(
                "learning-rate",
                "error",
                f"in {course.steps} steps no weight moved by more than {ratio:.1g} of its size a step, with lr={lr:g}"
                f"{also}: about 0.001 is usual",
                (*(["trainer.clip_norm = 1.0"] if clipped else []), f"optimizer.lr = {better:g}"),
                evidence={"ratio": ratio, "lr": lr},
            )


def _worst(ratios: list[float]) -> float:
    """The largest that is no outlier, or so large that once is enough."""
    ordered = sorted(ratios, reverse=True)
    return ordered[0] if ordered[0] > TOO_FAR or len(ordered) < 2 else ordered[1]


def _sizes(course: Course) -> list[tuple[str, float, float]]:
    """(path, size at first, size now) of weights."""
    if course.first is None:
        return []
    first, now = course.first.weights, course.looks[-1].weights
    return [(path, first[path].size, now[path].size) for path in now if path in first and first[path].size > 1e-6]


def _grown(course: Course) -> Iterator[Finding]:
    grown = [(now / first, path, now) for path, first, now in _sizes(course) if not now <= GROWN * first]
    # A layer that starts very small grows as a rule.
    if not grown or course.learns:
        return
    ratio, path, now = max(grown, key=lambda item: item[0] if math.isfinite(item[0]) else math.inf)
    yield Finding(
        "diverging-weights",
        "error" if course.stuck else "warning",
        f"{path} has grown to {ratio:.3g} times its size (now {now:.3g}) in {course.steps} steps",
        slower(course.lr),
        path.rpartition(".")[0],
        evidence={"ratio": ratio, "size": now},
    )


def _decay(course: Course) -> Iterator[Finding]:
    sizes = _sizes(course)
    if not course.decay or not sizes or course.learns:
        return
    shrunk = [(now / first, path) for path, first, now in sizes if now < SHRUNK * first]
    if 2 * len(shrunk) < len(sizes):
        return
    ratio, path = min(shrunk)
    decay = course.decay
    yield Finding(
        "weight-decay",
        "error" if course.fails else "warning",
        f"weight_decay={decay:g} has shrunk {path} to {ratio:.2g} of its size in {course.steps} steps: it pulls harder "
        "than the data",
        tuple(f'optimizer.param_groups[0]["weight_decay"] = {value:g}' for value in (1e-4, 0)),
        path.rpartition(".")[0],
        evidence={"weight_decay": decay, "ratio": ratio},
    )


def _constant(course: Course) -> Iterator[Finding]:
    looks = list(course.looks)[-_AGREE:]
    if len(looks) < _AGREE or not course.stuck:
        return
    spread = max(look.spread for look in looks)
    if not spread < SAME or (course.labels is not None and np.count_nonzero(course.labels) < 2):
        return
    yield Finding(
        "constant-output",
        "error",
        f"the outputs are the same for every example (spread {spread:.1g} of their size)",
        (f"optimizer.lr = {course.lr / 10:.2g}", _REDRAWN),
        evidence={"spread": spread},
    )


def _redraw(course: Course, path: str) -> tuple[str, ...]:
    """The cure of the weights before an activation."""
    before = ""
    for other in course.looks[-1].layers:
        if other == path:
            break
        if f"{other}.weight" in course.looks[-1].weights:
            before = other
    return (f"nn.init.xavier_uniform({code(before)}.weight)",) if before else ()


def _name(path: str, kind: str) -> str:
    return f"{kind} {path!r}" if path else kind
