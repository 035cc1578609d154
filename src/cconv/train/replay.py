"""A training gone through again, with a look at every step: how it came to what the doctor found."""

from __future__ import annotations

import copy
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..doctor.experiment import Experiment, untouched
from ..doctor.findings import Report
from ..doctor.monitor import Look, Monitor
from .checkpoint import Checkpoint, Saved
from .sources import Source

if TYPE_CHECKING:
    from .trainer import Trainer

_SHOWN = 12  # steps that are printed
_HEAD = ("step", "loss", "spread of outputs", "largest gradient / weight", "largest step / weight", "silent units")


class Begun(NamedTuple):
    """How training began.

    Attributes
    ----------
    source : Source
        The data; that of the last call.
    epoch, steps, batch : int
        Epochs and batches that were done, and batches of the epoch in progress.
    schedule : dict
        The state of the schedule, if there is one.
    checkpoints : Checkpoint or None
        Of the last call.
    same : bool
        Whether all calls had the same data.
    """

    source: Source
    epoch: int
    steps: int
    batch: int
    schedule: dict[str, Any]
    checkpoints: Checkpoint | None
    same: bool = True

    def again(self, source: Source, checkpoints: Checkpoint | None) -> Begun:
        """The same after a further call."""
        same = self.same and source.fingerprint() == self.source.fingerprint()
        return self._replace(source=source, checkpoints=checkpoints, same=same)


@dataclass
class Replay:
    """What was seen when a training was gone through again.

    Attributes
    ----------
    start : str
        Where it began: a checkpoint, or the start.
    losses : list of float
        Of each step.
    looks : list of Look
        At each step that was done.
    report : Report
        What was found, with the very steps at which it was first to be seen.
    error : str
        What ended it, where that was an error.
    """

    start: str
    losses: list[float]
    looks: list[Look]
    report: Report
    error: str = ""

    def __str__(self) -> str:
        rows = [_HEAD]
        shown = list(zip(self.looks, self.losses[: len(self.looks)], strict=True))[-_SHOWN:]
        for look, loss in shown:
            gradient, step = map(_told, _largest(look))
            rows.append((str(look.step), f"{loss:.4g}", f"{look.spread:.2g}", gradient, step, _silent(look)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"{len(self.looks)} steps again from {self.start}" + (f", the last {len(shown)}:" if shown else "")]
        lines += ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
        lines += [self.error] if self.error else []
        return "\n".join([*lines, str(self.report)])


def replay(trainer: Trainer, begun: Begun | None, until: int | None, checkpoint: Any) -> Replay:
    """Go through a training again; see `Trainer.replay`."""
    where = "Trainer.replay"
    experiment = trainer.report.experiment
    if begun is None or experiment is None:
        raise ValueError(f"{where}: there is no training to go through again: call fit, with doctor=True")
    until = _until(trainer) if until is None else until
    saved = _saved(begun, until, checkpoint)
    with untouched():
        twin = _twin(trainer)
        if saved is not None:
            saved.restore(twin)
            start = Path(saved.path).name
        elif not begun.same:
            raise ValueError(f"{where}: calls of fit had different data, and the first is not kept: give checkpoint")
        else:
            _restart(twin, experiment, begun)
            start = "the start"
        if twin.steps >= until:
            raise ValueError(f"{where}: {start} is of {twin.steps} batches, at or after step {until}")
        at = twin.steps - begun.steps
        again = _gone_through(twin, begun.source, until, start)
    then: Any = trainer.monitor
    if trainer.accumulate == 1 and not again.error:
        pairs = zip(again.losses, then.course.losses[at:], strict=False)
        other = next((i for i, (now, before) in enumerate(pairs) if now != before), None)
        if other is not None:
            again.error = (
                f"from step {at + other + 1} on this is not the same training: between calls of fit, or by a callback, "
                "something was changed"
            )
    return again


def _gone_through(twin: Trainer, source: Source, until: int, start: str) -> Replay:
    def stop(trainer: Trainer, batch: int, loss: float) -> None:
        trainer.stop = trainer.steps >= until

    twin.callbacks.append(_Hook(stop))
    error = ""
    try:
        with np.errstate(all="ignore"):
            while twin.steps < until and not twin.stop:
                before = twin.steps
                twin.fit(source)
                if twin.steps == before:
                    break
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
    monitor: Any = twin.monitor
    return Replay(start, list(monitor.course.losses), monitor.kept, monitor.report, error)


class _Hook:
    def __init__(self, on_batch_end: Any):
        self.on_batch_end = on_batch_end


def _until(trainer: Trainer) -> int:
    """The step at which training broke down, or the first consequence of the first cause was seen; or all."""
    for finding in trainer.report:
        seen = [each for each in (finding, *finding.consequences) if each.step]
        broken = [each.step for each in seen if each.kind == "not-finite"]
        if seen:
            return min(broken or [each.step for each in seen if each is not finding] or [finding.step])
    return trainer.steps


def _saved(begun: Begun, batches: int, checkpoint: Any) -> Saved | None:
    """The checkpoint to begin from: the one that is named, or the last one before."""
    if checkpoint is not None and not os.path.isdir(checkpoint):
        return Saved.read(checkpoint)
    folder = begun.checkpoints if checkpoint is None else Checkpoint(checkpoint)
    for path in folder.files() if folder is not None else []:
        saved = Saved.read(path)
        if saved.plain.get("steps", batches) < batches:
            return saved
    if checkpoint is not None:
        raise FileNotFoundError(f"Trainer.replay: {os.fspath(checkpoint)} holds no checkpoint before batch {batches}")
    return None


def _twin(trainer: Trainer) -> Trainer:
    """A trainer like this one, of copies."""
    parts = (trainer.model, trainer.loss, trainer.optimizer, trainer.schedule, trainer.ema, trainer._metrics)
    model, loss, optimizer, schedule, ema, metrics = copy.deepcopy(parts)
    from .trainer import Trainer  # of which this is a part

    twin = Trainer(
        model,
        loss,
        optimizer,
        metrics=(),
        schedule=schedule,
        schedule_interval=trainer.schedule_interval,
        clip_norm=trainer.clip_norm,
        accumulate=trainer.accumulate,
        ema=ema,
        seed=trainer.seed,
        progress=False,
        stop_on_nan=trainer.stop_on_nan,
    )
    twin._metrics = metrics
    twin.monitor = Monitor(every_step=True)
    return twin


def _restart(twin: Trainer, experiment: Experiment, begun: Begun) -> None:
    """Put it where the training began."""
    twin.model.load_state_dict(experiment.model.state_dict())
    for (_, now), (_, then) in zip(twin.model.named_layers(), experiment.model.named_layers(), strict=True):
        if then.get_extra_state():
            now.set_extra_state(then.get_extra_state())
    twin.optimizer.load_state_dict(experiment.optimizer.state_dict())
    if twin.schedule is not None:
        twin.schedule.load_state_dict(begun.schedule)
    twin.epoch, twin.steps = begun.epoch, begun.steps
    # An epoch in progress goes on where it was.
    twin._at.batch, twin._at.data = begun.batch, begun.source.fingerprint()
    experiment.restore_states()


def _largest(look: Look) -> tuple[tuple[float, str], tuple[float, str]]:
    """(ratio, layer) of the largest gradient, and of the largest step, beside the weights."""
    grads = [(w.grad / w.size, path) for path, w in look.weights.items() if w.size > 0]
    steps = [(w.update / w.size, path) for path, w in look.weights.items() if w.size > 0]
    return max(grads, default=(math.nan, "")), max(steps, default=(math.nan, ""))


def _told(found: tuple[float, str]) -> str:
    ratio, path = found
    return f"{ratio:.2g} {path}".rstrip()


def _silent(look: Look) -> str:
    """The layer with the largest share of units that fire for no example of the batch."""
    shares = [(float(1 - seen.fired.mean()), path) for path, seen in look.layers.items() if seen.fired is not None]
    share, path = max(shares, default=(0.0, ""), key=lambda item: item[0])
    return f"{share:.0%} {path}".rstrip() if shares else "-"
