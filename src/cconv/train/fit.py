"""The epochs of one call of `Trainer.fit`."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..optim import ReduceLROnPlateau
from .checkpoint import Checkpoint
from .interrupt import Interrupts
from .metrics import Means
from .progress import Silent
from .sources import Again, Source
from .step import NotFinite, Step

if TYPE_CHECKING:
    from .trainer import Trainer


class Fit:
    """Epochs from where the trainer is, each a pass over `train`, a look at `held_out`, and a line in the history.

    Parameters
    ----------
    trainer : Trainer
        What it holds is whole between batches: whenever this ends, by an error too, it can go on from there.
    train : Source
    held_out : Source or None
    saver : Checkpoint or None
    hooks : dict of str to list of callable
    shown : progress
    interrupts : Interrupts
    """

    def __init__(
        self,
        trainer: Trainer,
        train: Source,
        held_out: Source | None,
        saver: Checkpoint | None,
        hooks: dict[str, list[Callable]],
        shown: Silent,
        interrupts: Interrupts,
    ):
        self._trainer = trainer
        self._train = train
        self._held_out = held_out
        self._saver = saver
        self._hooks = hooks
        self._shown = shown
        self._interrupts = interrupts
        self._kept = (-1, -1)  # epochs and batches done at the last checkpoint
        self._path: Path | None = None
        self._monitor: Any = trainer.monitor
        self._step = Step(
            *(trainer.model, trainer.loss, trainer.optimizer, trainer.clip_norm, trainer.stop_on_nan),
            interrupts,
            trainer.monitor,
        )

    def run(self, last: int) -> None:
        """Epochs up to number `last`, or until the trainer is told to stop."""
        trainer = self._trainer
        whole = False
        steps = -(-len(self._train) // trainer.accumulate)
        again = Again(self._train, trainer.epoch, trainer.accumulate, trainer._at.batch)
        try:
            self._monitor.begin(
                *(trainer.model, trainer.loss, trainer.optimizer, steps, self._shown.note, again, trainer.clip_norm),
                done=trainer.steps,
            )
            # Told to stop and interrupted before its epoch was closed: close it.
            while trainer.epoch < last and (trainer._at.batch or not trainer.stop):
                self._epoch()
            whole = True
        except KeyboardInterrupt:
            kept = ""
            if self._saver is not None:
                if self._kept != (trainer.epoch, trainer.steps):
                    self._path = self._saver.write(trainer)
                kept = f"; checkpoint: {self._path}"
            self._shown.close()
            if trainer.progress and sys.stdout is not None:
                epoch, batches = trainer.epoch + 1, trainer._at.batch
                print(f"interrupted in epoch {epoch}, after {batches} batches{kept}", flush=True)
            raise
        finally:
            self._monitor.end(whole)

    def _epoch(self) -> None:
        trainer, started = self._trainer, time.perf_counter()
        self._shown.start_epoch(trainer.epoch + 1)
        if not trainer._at.batch:
            self._call("on_epoch_begin", trainer.epoch + 1)
        record: dict[str, Any] = {"epoch": trainer.epoch + 1, **self._batches()}
        if self._held_out is not None:
            held = trainer._evaluate(self._held_out)
            record |= {f"val_{name}": value for name, value in held.items()}
        record["seconds"] = time.perf_counter() - started
        record["lr"] = trainer.optimizer.lr
        self._interrupts.hold()
        try:
            trainer.epoch += 1
            trainer.history.append(record)
            trainer._at.forget_epoch()
            self._step_schedule(record)
            self._shown.end_epoch(record)
            self._monitor.end_epoch(trainer.history, self._train, self._held_out)
            self._call("on_epoch_end", record)
        finally:
            self._interrupts.release()
        self._save()

    def _batches(self) -> dict[str, float]:
        """The batches of this epoch that are not done yet; the figures of all."""
        trainer, at = self._trainer, self._trainer._at
        if at.means is None:
            at.means = Means(trainer._metrics)
        several = trainer.accumulate > 1
        with contextlib.closing(self._train.batches(trainer.epoch, at.batch)) as batches:  # type: ignore[type-var]
            while not trainer.stop:
                begun = time.perf_counter()
                try:
                    done = self._step(itertools.islice(batches, trainer.accumulate), several)
                    if not done:
                        break
                    for each in done:
                        at.means.add(each.loss, each.logits, *each.batch[1:])
                    size, count = sum(each.size for each in done), len(done)
                    at.batch += count
                    at.images += size
                    trainer.steps += count
                    if trainer.ema is not None:
                        trainer.ema.update()
                    if trainer.schedule is not None and trainer.schedule_interval == "step":
                        trainer.schedule.step()
                    at.seconds += time.perf_counter() - begun
                    loss = sum(each.loss * each.size for each in done) / max(size, 1) if several else done[0].loss
                    del done, each  # or they would be held while the next batch is in work
                    self._shown.batch(size, at.means)
                    self._call("on_batch_end", at.batch, loss)
                except NotFinite as error:
                    self._monitor.failed(error.origin, error.loss)
                    raise self._not_finite(error) from None
                finally:
                    # An interrupt that came since the weights moved.
                    self._interrupts.release()
                if self._saver is not None and not trainer.stop and self._saver.due(count):
                    self._save()
        return at.means.result() | {"images_per_second": at.images / max(at.seconds, 1e-9)}

    def _save(self) -> None:
        """Write a checkpoint, which an interrupt waits for."""
        if self._saver is not None:
            self._interrupts.hold()
            try:
                self._path = self._saver.write(self._trainer)
                self._kept = self._trainer.epoch, self._trainer.steps
            finally:
                self._interrupts.release()

    def _step_schedule(self, record: dict[str, Any]) -> None:
        schedule = self._trainer.schedule
        if isinstance(schedule, ReduceLROnPlateau):
            name = schedule.monitor or ("val_loss" if "val_loss" in record else "loss")
            if name not in record:
                raise ValueError(f"Trainer.fit: the schedule's monitor must be of {', '.join(record)}, got {name!r}")
            schedule.step(record[name])
        elif schedule is not None and self._trainer.schedule_interval == "epoch":
            schedule.step()

    def _call(self, hook: str, *arguments: Any) -> None:
        """Call all of them, an interrupt or not: what a checkpoint keeps must not miss a batch or an epoch."""
        interrupted = None
        for function in self._hooks[hook]:
            try:
                if not hasattr(getattr(function, "__self__", None), "state_dict"):
                    self._interrupts.release()
                function(self._trainer, *arguments)
            except KeyboardInterrupt as error:
                interrupted = error
            self._interrupts.hold()
        self._interrupts.release()
        if interrupted is not None:
            raise interrupted

    def _not_finite(self, error: NotFinite) -> FloatingPointError:
        finite = np.isfinite(error.loss)
        what = "a gradient is not finite" if finite else f"the loss is {error.loss}"
        of = f" of {len(self._train)}" if len(self._train) else ""
        return FloatingPointError(
            f"Trainer.fit: {what} in epoch {self._trainer.epoch + 1}, batch {self._trainer._at.batch + 1}{of}: "
            f"{error.advice}; stop_on_nan=False goes on"
        )
