"""Trainer: the training loop, with what a script wants around it."""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .._checks import choice, number
from .._random import fresh_seed, generator
from .._shapes import whole
from ..data import Loader
from ..data.rows import loss_options
from ..doctor.findings import Report
from ..doctor.monitor import Monitor, Unwatched
from ..nn import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, NLLLoss
from ..nn.layer import Layer
from ..nn.loss import Loss
from ..optim import EMA, OneCycleLR, ReduceLROnPlateau
from .checkpoint import Checkpoint, Saved, write
from .figures import check_monitors
from .fit import Fit
from .history import History
from .interrupt import Interrupts
from .lr_finder import LRCurve, find_lr
from .metrics import Means, named_metrics
from .predict import MEMORY, predict
from .progress import progress
from .replay import Begun, Replay, replay
from .resume import begin_call, check_data
from .sources import Batch, Source, source
from .state import Position
from .step import scalar

_OF_LABELS = (CrossEntropyLoss, NLLLoss, BCELoss, BCEWithLogitsLoss)
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
        Of "accuracy", "top5" (or another number), "precision", "recall" and "f1" (of each class, or with "_macro",
        "_micro", "_weighted"), "confusion_matrix"; functions of (logits, y) that return a number for a batch, whose
        mean over batches counts each by its size; objects with ``reset``, ``update(logits, y)`` and ``compute``; and
        pairs (name, metric), or (i, metric) for output i of several. By default accuracy, where the loss is one of
        labels, or of one's own.
    callbacks : sequence
        Objects with any of ``on_fit_begin(trainer)``, ``on_epoch_begin(trainer, epoch)``, ``on_batch_end(trainer,
        batch, loss)``, ``on_epoch_end(trainer, record)`` and ``on_fit_end(trainer)``, where `epoch` and `batch` count
        from 1 and `record` is the epoch's entry in the history; or functions, called as ``on_epoch_end``. Setting
        ``trainer.stop = True`` ends training after the batch at hand; its epoch is closed as any other. What a
        callback's ``state_dict()`` gives is kept in checkpoints.
    schedule : learning-rate schedule, optional
        Its ``step()`` is called after each epoch or step; `ReduceLROnPlateau` is given the epoch's figure that it
        monitors.
    schedule_interval : "epoch" or "step", optional
        When the schedule steps; by default after each step for `OneCycleLR`, after each epoch for others.
    clip_norm : float, optional
        Scale the gradients of each step to at most this norm.
    accumulate : int
        Batches of which each step takes the gradient together, their mean by size: as one larger batch, in the memory
        of a smaller (batch normalisation still sees the small ones). ``on_batch_end`` is called once a step.
    ema : EMA, optional
        Updated after each step; validation, `evaluate` and `predict` use its averages, and `averaged` puts them into
        the model, to save it, say.
    seed : int or numpy.random.Generator, optional
        Fixes the order of examples: that of epoch e depends on `seed` and e alone. Drawn from the default generator
        if None.
    progress : bool
        Show a bar on a terminal, and one line an epoch where standard output is none.
    stop_on_nan : bool
        Raise FloatingPointError when the loss or a gradient is NaN or infinite, before the step that would follow
        from it. The message names the layer where it began.
    doctor : bool
        Look at a sample of the steps for what keeps the network from learning: units that never fire, saturation,
        gradients that vanish or explode, steps too large or too small, a loss that does not fall, and so on. What it
        finds is printed, and is in `report`. It costs at most 2 % of the time (20 ms of trainings shorter than a
        second), and changes no bit.

    Attributes
    ----------
    epoch : int
        Epochs done. A further ``fit`` continues: optimiser state, schedule, order of examples, history.
    steps : int
        Batches done.
    history : History
    report : doctor.Report
        What the doctor has found so far, the likeliest root cause first.
    monitor : doctor.monitor.Monitor
        Its looks at the training, and the seconds that they took.

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
        metrics: Iterable[Any] | None = None,
        callbacks: Iterable[Any] = (),
        schedule: Any = None,
        schedule_interval: str | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        ema: EMA | None = None,
        seed: int | None = None,
        progress: bool = True,
        stop_on_nan: bool = True,
        doctor: bool = True,
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
        if getattr(schedule, "optimizer", optimizer) is not optimizer:
            raise ValueError("Trainer: schedule is one of another optimizer")
        if ema is not None and hasattr(model, "parameters") and not ema.averages_any(model.parameters()):
            raise ValueError("Trainer: ema averages none of the model's parameters: make it of the model")
        if schedule_interval is None:
            schedule_interval = "step" if isinstance(schedule, OneCycleLR) else "epoch"
        if schedule_interval == "step" and isinstance(schedule, ReduceLROnPlateau):
            raise ValueError("Trainer: ReduceLROnPlateau looks at the figures of epochs: schedule_interval='epoch'")
        if callable(callbacks) or not isinstance(callbacks, Iterable):
            raise TypeError(f"Trainer: callbacks must be a sequence of callbacks, got {callbacks!r}")
        if metrics is None:
            metrics = () if isinstance(loss, Loss) and not isinstance(loss, _OF_LABELS) else ("accuracy",)
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
        self._seed_given = not (seed is None or isinstance(seed, np.random.Generator))
        self.seed: Any = seed if self._seed_given else fresh_seed(seed)
        generator(self.seed)
        self.monitor = Monitor() if doctor else Unwatched()
        self._begun: Begun | None = None  # how the first call of `fit` began
        self._at = Position()
        self._calls = 0  # of `fit` that are over
        self._written: set[str] = set()  # folders of checkpoints that are this trainer's

    def fit(
        self,
        train: Any,
        epochs: int = 1,
        batch_size: int | None = None,
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
        batch_size : int, optional
            For arrays, 32 by default; the last batch of an epoch may be smaller. A Loader and an iterable have their
            own.
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
            If a data set is empty, or x and y differ in length; if the schedule or a callback looks at a figure that no
            epoch will have; if the folder holds checkpoints of another run and `resume` is not set.
        FloatingPointError
            If the loss or a gradient is NaN or infinite. The model is as it was before that batch.
        FormatError
            If a checkpoint is damaged, or was written by another training. Nothing has changed.
        """
        where = "Trainer.fit"
        _check_number(where, "epochs", epochs)
        epochs = whole(where, "epochs", epochs)
        if isinstance(train, Loader):
            for name, given in (("batch_size", batch_size), ("augment", augment)):
                if given is not None:
                    raise TypeError(f"{where}: a Loader has its own {name}: Loader(..., {name}=...), not fit")
        batch_size = whole(where, "batch_size", 32 if batch_size is None else batch_size, 1)
        self._check_trains(where)
        hooks = {name: self._hooks(name) for name in _HOOKS}
        saver = checkpoint if checkpoint is None or isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
        self.stop = False
        if not begin_call(self, where, saver, resume):
            return self.history
        source_ = source(where, "train", train, batch_size, augment=augment, seed=self.seed)
        # Prediction keeps nothing for gradients: it takes larger batches at no more memory.
        held_out = None if validation is None else self._held_out(where, "validation", validation, max(batch_size, 128))
        check_data(self, where, source_, resume=bool(resume))
        check_monitors(self, held_out is not None)
        if self._begun is None:
            state = {} if self.schedule is None else copy.deepcopy(self.schedule.state_dict())
            self._begun = Begun(source_, self.epoch, self.steps, self._at.batch, state, saver)
        else:
            self._begun = self._begun.again(source_, saver)
        last = self._at.call_epoch + epochs
        for hook in hooks["on_fit_begin"]:
            hook(self)
        with (
            Interrupts() as interrupts,
            contextlib.closing(
                progress(self.progress, self.epoch, last, source_.examples or 0, self._at.images)
            ) as shown,
        ):
            Fit(self, source_, held_out, saver, hooks, shown, interrupts).run(last)
        self._calls = self._at.call
        for hook in hooks["on_fit_end"]:
            hook(self)
        return self.history

    @property
    def report(self) -> Report:
        return self.monitor.report

    def replay(self, until: int | None = None, *, checkpoint: str | os.PathLike | None = None) -> Replay:
        """Go through the training again in copies, to the same bits, with a look at every step.

        Parameters
        ----------
        until : int, optional
            The step to end with, in batches; by default that at which training broke down, or the
            first consequence of the first finding of `report` was seen.
        checkpoint : path-like, optional
            A checkpoint to begin from, or a folder of them. By default the last one before that step in the folder that
            `fit` was given; without one the training begins as it did at first.

        Returns
        -------
        Replay
            Print it: a line for each of the last steps, and what was found.

        Raises
        ------
        ValueError
            If there was no training, or the checkpoint is not before that step.

        Notes
        -----
        Callbacks are not called again: what they change is not repeated.
        """
        until = None if until is None else whole("Trainer.replay", "until", until, 1)
        return replay(self, self._begun, until, checkpoint)

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
        _check_number(where, "batch_size", batch_size)
        size = whole(where, "batch_size", batch_size, 1)
        return self._evaluate(self._held_out(where, "data", data, size))

    def predict(self, x: Any, batch_size: int | None = None, *, memory: float = MEMORY, out: Any = None) -> Any:
        """The model's outputs, computed in batches that stay within a bound on memory.

        Parameters
        ----------
        x : array, Dataset, Loader or iterable of batches
        batch_size : int, optional
            By default as many as `memory` lets.
        memory : float
            Bytes that a batch may take beside its input.
        out : array, optional
            Where to write.

        Returns
        -------
        array (N, ...), or a tuple or dict of arrays, as the model gives them

        See Also
        --------
        cconv.train.predict : the same without a trainer
        """
        if batch_size is not None:
            batch_size = whole("Trainer.predict", "batch_size", batch_size, 1)
        with self.averaged():
            return predict(self.model, x, batch_size, memory=memory, out=out)

    def find_lr(self, train: Any, batch_size: int = 32, **options: Any) -> LRCurve:
        """The learning-rate range test; model, optimiser and all else are afterwards as they were.

        Parameters
        ----------
        train : as for `fit`
        batch_size : int
            For arrays.
        **options
            Of `cconv.train.find_lr`: ``start``, ``end``, ``steps``, ...

        Returns
        -------
        LRCurve
            ``.suggestion``, ``.plot()``.
        """
        where = "Trainer.find_lr"
        data = source(where, "train", train, whole(where, "batch_size", batch_size, 1), seed=self.seed)
        return find_lr(self.model, self.loss, self.optimizer, _Epochs(data), clip_norm=self.clip_norm, **options)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the model holds what validation sees: the averages of its weights, if there are any."""
        if self.ema is None or not self.ema.updates or self.ema.swapped:
            return contextlib.nullcontext()
        return self.ema.averaged()

    def _held_out(self, where: str, name: str, data: Any, batch_size: int) -> Source:
        return source(where, name, data, batch_size, shuffle=False, seed=self.seed)

    def _evaluate(self, data: Source) -> dict[str, float]:
        means = Means(self._metrics)
        with self.averaged(), contextlib.closing(data.batches(0)) as batches:  # type: ignore[type-var]
            for x, y, *weight in batches:
                logits = self.model(x)
                # A loss of one's own needs no more than forward.
                means.add(scalar(self.loss.forward(logits, y, **loss_options(weight))[0]), logits, y, *weight)
        return means.result()

    def _check_trains(self, where: str) -> None:
        """An optimiser made before the model was changed trains what the model has no more."""
        if not isinstance(self.model, Layer) or not hasattr(self.optimizer, "parameters"):
            return
        held = {id(parameter) for parameter in self.optimizer.parameters}
        named = self.model.named_parameters()
        if named and not any(p.trainable and id(p) in held for _, p in named):
            raise ValueError(f"{where}: no parameter of the optimizer's is trainable: unfreeze what is to be trained")
        left_out = [name for name, p in named if p.trainable and id(p) not in held]
        if left_out and held - {id(p) for _, p in named}:
            raise ValueError(
                f"{where}: the optimizer holds parameters that the model has not, and lacks {', '.join(left_out[:4])}"
                f"{', ...' if len(left_out) > 4 else ''}: make it after changing the model"
            )

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


class _Epochs:
    """Each pass over it is the next epoch."""

    def __init__(self, data: Source):
        self._data = data
        self._epochs = itertools.count()

    def __iter__(self) -> Iterator[Batch]:
        return self._data.batches(next(self._epochs))


def _check_number(where: str, name: str, value: Any) -> None:
    if isinstance(value, np.ndarray) and value.ndim:
        call = where.partition(".")[2]
        raise TypeError(f"{where}: {name} is an array {value.shape}: x and y go as one pair, {call}((x, y))")


def _check_has(name: str, value: Any, *methods: str) -> None:
    if isinstance(value, type):
        raise TypeError(f"Trainer: {name} is the class {value.__name__}, expected an instance of it")
    for method in methods:
        if not hasattr(value, method):
            raise TypeError(f"Trainer: {name} must have a method {method}, got {type(value).__name__}")
