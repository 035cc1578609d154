"""The first steps of a training once more, with a look at each: how it came to learn nothing."""

from __future__ import annotations

import math
import time

from ...data.rows import leaves, loss_options
from ...nn.layer import pair_of
from ...optim import clip_grad_norm
from ..descent import gradient
from ..experiment import Experiment
from ..findings import Finding
from . import layers
from .course import Course
from .look import Watcher

STEPS, _BYTES = 60, 2**27  # and what their batches may take


def examined(experiment: Experiment, seconds: float) -> list[Finding]:
    """What is to be seen in the first steps of a training that is known to learn nothing.

    Parameters
    ----------
    experiment
        Its start and batches.
    seconds : float
        After which no further step is taken.
    """
    found: dict[str, Finding] = {}
    until = time.perf_counter() + seconds
    first = experiment.batches(1)
    room = _BYTES // max(1, sum(array.nbytes for part in first for _, array in leaves(part)))
    with experiment.started(max(1, min(STEPS, room))) as setting:
        model, loss, optimizer = setting.model, setting.loss, setting.optimizer
        # As many steps as there will be are enough to call it a failure.
        course = Course(len(setting.batches))
        watcher = Watcher(model, optimizer)
        for step, (x, y, *weight) in enumerate(setting.batches, 1):
            if time.perf_counter() > until:
                course.epoch_steps = course.steps
                break
            model.zero_grad()
            optimizer.zero_grad()
            with watcher.watching(step) as look:
                outputs, backward = pair_of(model, model.forward(x))
                value, loss_backward = loss.forward(outputs, y, **loss_options(weight))
                if not math.isfinite(value):
                    break
                backward(gradient(value, loss_backward), need_x=False)
            watcher.gradients()
            if setting.clip_norm is not None:
                clip_grad_norm(optimizer.parameters, setting.clip_norm)
            optimizer.step()
            watcher.updated(outputs, y)
            course.losses.append(float(value))
            course.lr = float(getattr(optimizer, "lr", 0.0))
            course.add(look)
            course.collect(outputs, y)
            course.weigh(loss)
            _note(found, course, model)
        _note(found, course, model)
    return list(found.values())


def _note(found: dict[str, Finding], course: Course, model: object) -> None:
    for finding in layers.findings(course, model):  # type: ignore[arg-type]
        before = found.get(finding.kind)
        finding.step = before.step if before is not None else course.steps
        if before is None or finding.rank <= before.rank:
            found[finding.kind] = finding
