"""Trainer: the training loop, with what a script wants around it."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .._checks import choice, number
from .._random import fresh_seed, generator
from .._shapes import whole
from ..data import Dataset
from ..optim import EMA, ReduceLROnPlateau
from .checkpoint import Checkpoint, Saved, write
from .history import History
from .interrupt import Interrupts
from .metrics import Means, named_metrics
from .progress import Silent, progress
from .sources import Source, size_of, source
from .step import NotFinite, Step, scalar

_HOOKS = ("on_fit_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_fit_end")


class Trainer:
    """Train, evaluate and run a model.

    Parameters
    ----------
    model : Layer
    loss : loss layer
        ``loss.forward(logits, y)`` gives a number and the closure of its gradient.
    optimizer : Optimizer
    metrics : sequence
        "accuracy", functions of (logits, y) that return a number for a batch, or pairs (name, function). An epoch's
        figure is the mean over batches, each counted by its size.
    callbacks : sequence
        Objects with any of ``on_fit_begin(trainer)``, ``on_epoch_begin(trainer, epoch)``, ``on_batch_end(trainer,
        batch, loss)``, ``on_epoch_end(trainer, record)`` and ``on_fit_end(trainer)``, where `epoch` and `batch` count
        from 1 and `record` is the epoch's entry in the history; or functions, called as ``on_epoch_end``. Setting
        ``trainer.stop = True`` ends training after the batch at hand; its epoch is closed as any other. What a
        callback's ``state_dict()`` gives is kept in checkpoints.
    schedule : learning-rate schedule, optional
        Its ``step()`` is called after each epoch or step; `ReduceLROnPlateau` is given the epoch's figure that it
        monitors.
    schedule_interval : "epoch" or "step"
        When the schedule steps: `OneCycleLR` and others that count batches want ``"step"``.
    clip_norm : float, optional
        Scale the gradients of each step to at most this norm.
    accumulate : int
        Batches of which each step takes the gradient together, their mean by size: as one larger batch, in the memory
        of a smaller (batch normalisation still sees the small ones). ``on_batch_end`` is called once a step.
    ema : EMA, optional
        Updated after each step; validation and `evaluate` use its averages.
    seed : int, optional
        Fixes the order of examples: that of epoch e depends on `seed` and e alone. Drawn from the default generator
        if None.
    progress : bool
        Show a bar on a terminal, and one line an epoch where standard output is none.
    stop_on_nan : bool
        Raise FloatingPointError when the loss or a gradient is NaN or infinite, before the step that would follow
        from it. The message names the layer where it began.

    Attributes
    ----------
    epoch : int
        Epochs done. A further ``fit`` continues: optimiser state, schedule, order of examples, history.
    steps : int
        Batches done.
    history : History

    Notes
    -----
    Ctrl-C ends `fit` at once, with KeyboardInterrupt: the batch at hand is taken back, the model is as the last whole
    batch left it, and a checkpoint is written where `fit` was given a place for them. A further ``fit`` goes on from
    the next batch. An error in a batch takes it back likewise.
    """

    def __init__(
        self,
        model: Any,
        loss: Any,
        optimizer: Any,
        *,
        metrics: Iterable[Any] = ("accuracy",),
        callbacks: Iterable[Any] = (),
        schedule: Any = None,
        schedule_interval: str = "epoch",
        clip_norm: float | None = None,
        accumulate: int = 1,
        ema: EMA | None = None,
        seed: int | None = None,
        progress: bool = True,
        stop_on_nan: bool = True,
    ):
        _check_has("model", model, "forward")
        _check_has("loss", loss, "forward")
        _check_has("optimizer", optimizer, "step", "zero_grad")
        if schedule is not None:
            _check_has("schedule", schedule, "step")
        if ema is not None:
            _check_has("ema", ema, "update", "averaged")
        if hasattr(model, "parameters") and hasattr(optimizer, "parameters"):
            trained = {id(parameter) for parameter in optimizer.parameters}
            if trained.isdisjoint(map(id, model.parameters())):
                raise ValueError(
                    "Trainer: none of the optimizer's parameters is the model's: make it of model.parameters()"
                )
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.schedule = schedule
        self.schedule_interval = choice("Trainer", "schedule_interval", schedule_interval, ("epoch", "step"))
        self.callbacks = list(callbacks)
        self.clip_norm = None if clip_norm is None else number("Trainer", "clip_norm", clip_norm, 0, above=True)
        self.accumulate = whole("Trainer", "accumulate", accumulate, 1)
        self.ema = ema
        self.progress = progress
        self.stop_on_nan = stop_on_nan
        self.stop = False
        self.epoch = 0
        self.steps = 0
        self.history = History()
        self._metrics = named_metrics(metrics)
        # An order drawn by chance must be drawn once, or a second fit would not continue the first.
        self.seed = fresh_seed() if seed is None else seed
        self._seed_given = seed is not None
        generator(self.seed)
        # The epoch in progress: batches done, their means, images and seconds; and what data it is of.
        self._batch = self._images = 0
        self._seconds = 0.0
        self._means: Means | None = None
        self._data: dict[str, Any] | None = None
        # Calls of `fit` that are over; and of the one that is not its number and its first epoch.
        self._calls = self._call = self._call_epoch = 0
        self._written: set[str] = set()  # folders of checkpoints that are this trainer's

    def fit(
        self,
        train: Any,
        epochs: int = 1,
        batch_size: int = 32,
        validation: Any = None,
        *,
        augment: Callable[[Any, np.random.Generator], Any] | None = None,
        checkpoint: Checkpoint | str | os.PathLike | None = None,
        resume: bool | str | os.PathLike | None = None,
    ) -> History:
        """Train for a number of epochs, from where the last call ended.

        Parameters
        ----------
        train : Dataset, (x, y), (x, y, sample_weight), Loader, or iterable of such batches
            An iterable is gone through once an epoch, and told the epoch if it has a method ``set_epoch``.
        epochs : int
        batch_size : int
            For arrays; the last batch of an epoch may be smaller. A Loader and an iterable have their own.
        validation : as `train`, optional
            Evaluated after each epoch.
        augment : callable, optional
            ``augment(x, rng)`` gives what is trained on in the place of a batch's x; for arrays.
        checkpoint : path-like or Checkpoint, optional
            The folder in which checkpoints are kept: one after each epoch, one at least every five minutes, and one
            when training is interrupted. `Checkpoint` tells how often and how many.
        resume : bool or path-like, optional
            True goes on from the newest checkpoint in the folder, or begins if there is none: a script that says so may
            be killed at any moment and run again. A path names a checkpoint, or a folder of them, that must be there.
            The script makes model, optimiser, schedule and trainer as it did before; then they are put where the run
            was, which ends as it would have without the stop, to the same bits.

        Returns
        -------
        History
            Of all epochs so far.

        Raises
        ------
        ValueError
            If a data set is empty, or x and y differ in length; if the folder holds checkpoints of another run and
            `resume` is not set.
        FloatingPointError
            If the loss or a gradient is NaN or infinite. The model is as it was before that batch.
        FormatError
            If a checkpoint is damaged, or was written by another training. Nothing has changed.
        """
        where = "Trainer.fit"
        epochs = whole(where, "epochs", epochs)
        batch_size = whole(where, "batch_size", batch_size, 1)
        hooks = {name: self._hooks(name) for name in _HOOKS}
        saver = checkpoint if checkpoint is None or isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
        self.stop = False
        if not self._begin_call(where, saver, resume):
            return self.history
        source_ = source(where, "train", train, batch_size, augment=augment, seed=self.seed)
        held_out = None if validation is None else self._held_out(where, "validation", validation, max(batch_size, 128))
        self._check_position(where, source_, resume=bool(resume))
        last = self._call_epoch + epochs
        for hook in hooks["on_fit_begin"]:
            hook(self)
        try:
            with (
                Interrupts() as interrupts,
                contextlib.closing(progress(self.progress, self.epoch, last, source_.examples or 0)) as shown,
            ):
                step = Step(self.model, self.loss, self.optimizer, self.clip_norm, self.stop_on_nan, interrupts)
                while self.epoch < last and not self.stop:
                    self._run_epoch(step, source_, held_out, saver, hooks, shown, interrupts)
        except KeyboardInterrupt:
            self._interrupted(saver)
            raise
        self._calls = self._call
        for hook in hooks["on_fit_end"]:
            hook(self)
        return self.history

    def _interrupted(self, saver: Checkpoint | None) -> None:
        kept = "" if saver is None else f"; checkpoint: {saver.write(self)}"
        if self.progress and sys.stdout is not None:
            print(f"interrupted in epoch {self.epoch + 1}, after {self._batch} batches{kept}", flush=True)

    def _run_epoch(
        self,
        step: Step,
        train: Source,
        held_out: Source | None,
        saver: Checkpoint | None,
        hooks: dict[str, list[Callable]],
        shown: Silent,
        interrupts: Interrupts,
    ) -> None:
        started = time.perf_counter()
        shown.start_epoch(self.epoch + 1)
        if not self._batch:
            for hook in hooks["on_epoch_begin"]:
                hook(self, self.epoch + 1)
        figures = self._train(step, train, saver, hooks["on_batch_end"], shown, interrupts)
        record: dict[str, Any] = {"epoch": self.epoch + 1, **figures}
        if held_out is not None:
            held = self._evaluate(held_out)
            record |= {f"val_{name}": value for name, value in held.items()}
        record["seconds"] = time.perf_counter() - started
        record["lr"] = self.optimizer.lr
        interrupts.hold()
        try:
            self._end_epoch(record)
        finally:
            interrupts.release()
        shown.end_epoch(record)
        for hook in hooks["on_epoch_end"]:
            hook(self, record)
        if saver is not None:
            saver.write(self)

    def _train(
        self,
        step: Step,
        train: Source,
        saver: Checkpoint | None,
        hooks: list[Callable],
        shown: Silent,
        interrupts: Interrupts,
    ) -> dict[str, float]:
        """The batches of this epoch that are not done yet."""
        self._means = means = self._means or Means(self._metrics)
        several = self.accumulate > 1
        with contextlib.closing(train.batches(self.epoch, self._batch)) as batches:  # type: ignore[type-var]
            while not self.stop:
                begun = time.perf_counter()
                try:
                    done = step(itertools.islice(batches, self.accumulate), several)
                    if not done:
                        break
                    for each in done:
                        means.add(each.loss, each.logits, each.batch[1])
                    size = sum(each.size for each in done)
                    self._batch += len(done)
                    self.steps += len(done)
                    self._images += size
                    if self.ema is not None:
                        self.ema.update()
                    if self.schedule is not None and self.schedule_interval == "step":
                        self.schedule.step()
                    self._seconds += time.perf_counter() - begun
                except NotFinite as error:
                    raise self._not_finite(error, len(train)) from None
                finally:
                    interrupts.release()
                shown.batch(size, means)
                loss = sum(each.loss * each.size for each in done) / max(size, 1) if several else done[0].loss
                for hook in hooks:
                    hook(self, self._batch, loss)
                if saver is not None and not self.stop and saver.due(len(done)):
                    saver.write(self)
                del done, each  # or they would be held while the next batch is in work
        return means.result() | {"images_per_second": self._images / max(self._seconds, 1e-9)}

    def _end_epoch(self, record: dict[str, Any]) -> None:
        self.epoch += 1
        self.history.append(record)
        self._forget_epoch()
        if isinstance(self.schedule, ReduceLROnPlateau):
            name = self.schedule.monitor or ("val_loss" if "val_loss" in record else "loss")
            if name not in record:
                raise ValueError(f"Trainer.fit: the schedule's monitor must be of {', '.join(record)}, got {name!r}")
            self.schedule.step(record[name])
        elif self.schedule is not None and self.schedule_interval == "epoch":
            self.schedule.step()

    def _forget_epoch(self) -> None:
        self._batch = self._images = 0
        self._seconds = 0.0
        self._means = None

    def _begin_call(self, where: str, saver: Checkpoint | None, resume: Any) -> bool:
        """Count the call, and go to where it was stopped; False where it was over, and a later one was stopped."""
        call = self._calls + 1
        saved = self._saved(where, saver, resume)
        if saver is not None:
            saver.prepare()
            folder = os.path.realpath(saver.folder)
            if saved is None and folder not in self._written and saver.files():
                raise ValueError(
                    f"{where}: {saver.folder} holds checkpoints of an earlier run: give resume=True to go on with it, "
                    "or another folder"
                )
        # A checkpoint of an earlier call holds less than there is now.
        if saved is not None and saved.plain.get("call", call) >= call:
            if self._seed_given and saved.plain.get("seed") != self.seed:
                raise ValueError(f"{where}: seed was {saved.plain.get('seed')} in {saved.path}, is {self.seed}")
            saved.restore(self)
            if self._call > call:
                self._calls = call
                return False
        else:
            self._call, self._call_epoch = call, self.epoch
        if saver is not None:
            self._written.add(folder)
        return True

    def _saved(self, where: str, saver: Checkpoint | None, resume: Any) -> Saved | None:
        if resume is None or resume is False:
            return None
        if resume is True:
            if saver is None:
                raise ValueError(f"{where}: resume=True needs checkpoint, the folder to go on from")
            return saver.newest()
        path = Path(os.fsdecode(resume))
        if not path.is_dir():
            return Saved.read(path)
        saved = Checkpoint(path).newest()
        if saved is None:
            raise FileNotFoundError(f"{where}: there is no checkpoint in {path}")
        return saved

    def _check_position(self, where: str, train: Source, resume: bool) -> None:
        """An epoch in progress goes on with the data that it began with, or not at all."""
        data = train.fingerprint()
        if self._batch and data != self._data:
            names = [name for name in data | (self._data or {}) if data.get(name) != (self._data or {}).get(name)]
            before = ", ".join(f"{name} was {(self._data or {}).get(name)}, is {data.get(name)}" for name in names)
            if resume:
                raise ValueError(f"{where}: an epoch in progress cannot go on with other data: {before}")
            warnings.warn(f"{where}: the epoch in progress begins anew: {before}", stacklevel=3)
            self._forget_epoch()
        self._data = data

    def save_checkpoint(self, path: str | os.PathLike) -> None:
        """Write all that a continued training needs to a file, as `fit` does; from a callback, too.

        Parameters
        ----------
        path : path-like
            Of a safetensors file. It is written whole or not at all.
        """
        write(path, self)

    def load_checkpoint(self, path: str | os.PathLike) -> None:
        """Go to where a checkpoint was written: the next ``fit`` goes on from there, as many epochs as it is told.

        Raises
        ------
        FormatError
            If it is damaged, or was written by another training. Nothing has changed.
        """
        Saved.read(path).restore(self)

    def evaluate(self, data: Any, batch_size: int = 128) -> dict[str, float]:
        """The loss and the metrics of predictions.

        Parameters
        ----------
        data : Dataset, (x, y), (x, y, sample_weight), Loader, or iterable of such batches
        batch_size : int
            For arrays.

        Returns
        -------
        dict
            "loss" and each metric.
        """
        where = "Trainer.evaluate"
        size = whole(where, "batch_size", batch_size, 1)
        return self._evaluate(self._held_out(where, "data", data, size))

    def predict(self, x: Any, batch_size: int = 128) -> np.ndarray:
        """The model's outputs for `x`, an array or a Dataset, computed in batches."""
        x = np.asanyarray(x.x if isinstance(x, Dataset) else x)
        size = whole("Trainer.predict", "batch_size", batch_size, 1)
        if x.ndim == 0 or len(x) <= size:
            return self.model(x)
        first = self.model(x[:size])
        outputs = np.empty((len(x), *first.shape[1:]), first.dtype)
        outputs[:size] = first
        for start in range(size, len(x), size):
            outputs[start : start + size] = self.model(x[start : start + size])
        return outputs

    def _held_out(self, where: str, name: str, data: Any, batch_size: int) -> Source:
        # Prediction keeps nothing for gradients: it takes larger batches at no more memory.
        return source(where, name, data, batch_size, shuffle=False)

    def _evaluate(self, data: Source) -> dict[str, float]:
        means = Means(self._metrics)
        averaged = self.ema.averaged() if self.ema is not None and self.ema.updates else contextlib.nullcontext()
        with averaged, contextlib.closing(data.batches(0)) as batches:  # type: ignore[type-var]
            for x, y, *weight in batches:
                logits = self.model(x)
                options = {"sample_weight": weight[0]} if weight else {}
                means.add(scalar(self.loss(logits, y, **options)), logits, y)
        return means.result()

    def _hooks(self, name: str) -> list[Callable]:
        hooks = []
        for callback in self.callbacks:
            if isinstance(callback, type):
                raise TypeError(f"Trainer: callbacks holds the class {callback.__name__}, expected an instance of it")
            if any(hasattr(callback, known) for known in _HOOKS):
                hook = getattr(callback, name, None)
            elif callable(callback):
                hook = callback if name == "on_epoch_end" else None
            else:
                raise TypeError(
                    f"Trainer: callbacks holds {callback!r}, expected a function or an object with {', '.join(_HOOKS)}"
                )
            if hook is not None:
                hooks.append(hook)
        return hooks

    def _not_finite(self, error: NotFinite, batches: int) -> FloatingPointError:
        found = "the loss" if not np.isfinite(error.loss) else "a gradient"
        value = error.loss if not np.isfinite(error.loss) else "not finite"
        of = f" of {batches}" if batches else ""
        return FloatingPointError(
            f"Trainer.fit: {found} is {value} in epoch {self.epoch + 1}, batch {self._batch + 1}{of}: {error.advice}; "
            "stop_on_nan=False goes on"
        )


def _check_has(name: str, value: Any, *methods: str) -> None:
    if isinstance(value, type):
        raise TypeError(f"Trainer: {name} is the class {value.__name__}, expected an instance of it")
    for method in methods:
        if not hasattr(value, method):
            raise TypeError(f"Trainer: {name} must have a method {method}, got {type(value).__name__}")
