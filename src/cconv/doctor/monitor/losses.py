"""What the losses of the steps say."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..findings import Finding
from ..trace import NotFinite
from .course import SOMETHING, Course, slower

_LONG_EPOCHS, _LONG_STEPS = 3, 500  # after which a loss that stays where it was is no plateau of the start
_RISEN = 3.0  # times the best constant's loss
_JUMPS = 0.02  # share of steps
_TOGETHER = 32  # examples whose losses are one figure
# Batches that were seen; of those that would not by chance, the share that begin and end with the same class; and
# by how many standard deviations of chance that must be more.
_BATCHES, _PURE, _SURE = 10, 0.4, 6.0


def findings(course: Course, epochs: float) -> Iterator[Finding]:
    """What is wrong with the course of the loss after so many epochs."""
    yield from _sorted(course)
    yield from _not_finite(course)
    yield from _diverging(course)
    yield from _oscillating(course, epochs)
    yield from _stalled(course, epochs)


def _cures(course: Course) -> tuple[str, ...]:
    lr = course.lr or 1e-3
    return f"optimizer.lr = {lr / 10:.2g}", f"optimizer.lr = {lr * 10:.2g}", _ADAM


_ADAM = "optimizer = optim.Adam(model.parameters(), lr=1e-3)"


def broken(found: NotFinite | None, loss: float, step: int, lr: float, first: bool) -> Finding:
    """A step that met NaN or infinity; where it is the first, no step can have been too large."""
    what = found.what if found is not None else ""
    # Data that holds NaN is a cause of its own.
    kind = {"input": "input-not-finite", "target": "target-not-finite"}.get(what, "not-finite")
    if first and what in ("weight", "bias"):
        kind = "weights-not-finite"
    where = str(found) if found is not None else f"the loss is {loss}"
    cures = () if first or kind != "not-finite" else slower(lr)
    layer = found.layer if found is not None else ""
    return Finding(kind, "error", f"{where} in step {step}", cures, layer, evidence={"loss": loss})


def _sorted(course: Course) -> Iterator[Finding]:
    purity, chance = course.purity()
    classes = len(course.begun)
    count = sum(course.begun.values())
    by_chance = _SURE * math.sqrt(chance * (1 - chance) / max(count, 1))
    if count > _BATCHES and purity - chance > max(_PURE * (1 - chance), by_chance):
        yield Finding(
            "sorted-batches",
            "warning" if course.learns else "error",
            f"{purity:.0%} of the batches begin and end with the same of {classes} classes: the data is sorted, and "
            "not shuffled",
            ("order = np.random.default_rng(0).permutation(len(y)); x, y = x[order], y[order]",),
            evidence={"purity": purity, "classes": classes},
        )


def _not_finite(course: Course) -> Iterator[Finding]:
    """Where training goes on in spite of it."""
    if course.steps and not math.isfinite(course.losses[-1]):
        losses = np.asarray(course.losses)
        first = int(np.argmax(~np.isfinite(losses))) + 1
        yield Finding(
            "not-finite",
            "error",
            f"the loss is {course.losses[-1]}, and was not finite first in step {first}",
            slower(course.lr),
            evidence={"first": first},
        )


def _diverging(course: Course) -> Iterator[Finding]:
    if course.constant is None or course.steps < 10:
        return
    now = course.recent()
    start = float(np.mean(course.losses[:3]))
    high = not now <= _RISEN * course.constant and not now <= 1.5 * start
    fallen_back = course.best > 0.5 and course.fails
    if high or fallen_back:
        told = f"from {start:.3g} to {now:.3g}" if high else f"back to {now:.3g}"
        yield Finding(
            "diverging-loss",
            "error",
            f"the loss has risen {told} (that of a guess is {course.constant:.3g})",
            slower(course.lr),
            evidence={"start": start, "now": now, "constant": course.constant},
        )


def _oscillating(course: Course, epochs: float) -> Iterator[Finding]:
    if course.constant is None or epochs < 1 or course.steps < 50:
        return
    last = np.asarray(course.losses[-(course.epoch_steps or course.steps // 2) :])
    # One example may well be a surprise.
    together = -(-_TOGETHER // course.batch)
    last = last[len(last) % together :].reshape(-1, together).mean(1)
    if len(last) < 20:
        return
    jumps = float((last > 2 * course.constant).mean())
    if jumps > _JUMPS and np.median(last) < course.constant * (1 - SOMETHING / 2):
        yield Finding(
            "oscillating-loss",
            "warning",
            f"the loss jumps: in {jumps:.0%} of the last {together * len(last)} steps it was over "
            f"{2 * course.constant:.3g}, twice that of a guess, with a median of {np.median(last):.3g}",
            slower(course.lr),
            evidence={"jumps": jumps, "median": float(np.median(last))},
        )


def _stalled(course: Course, epochs: float) -> Iterator[Finding]:
    if not course.fails or not math.isfinite(course.recent()) or epochs < 1:
        return
    long = epochs >= _LONG_EPOCHS and course.steps >= _LONG_STEPS
    yield Finding(
        "stalled-loss",
        "error" if long else "warning",
        f"after {course.steps} steps the loss is {course.recent():.4g}: always giving the same answer would "
        f"score {course.constant:.4g}",
        _cures(course),
        evidence={"loss": course.recent(), "constant": course.constant, "epochs": epochs},
    )
