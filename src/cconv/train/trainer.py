"""Trainer: the training loop, with what a script wants around it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .._checks import number
from .._random import fresh_seed, generator
from .._shapes import whole
from ..data import Dataset, batches
from ..optim import ReduceLROnPlateau, clip_grad_norm
from .history import History
from .metrics import Means, named_metrics
from .progress import Silent, progress

_HOOKS = ("on_epoch_begin", "on_batch_end", "on_epoch_end")


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
        Objects with any of ``on_epoch_begin(trainer, epoch)``, ``on_batch_end(trainer, batch, loss)`` and
        ``on_epoch_end(trainer, record)``, where `epoch` and `batch` count from 1 and `record` is the epoch's entry in
        the history; or functions, called as ``on_epoch_end``. Setting ``trainer.stop = True`` ends training after the
        batch at hand; its epoch is closed as any other.
    schedule : learning-rate schedule, optional
        Its ``step()`` is called after each epoch; `ReduceLROnPlateau` is given the epoch's figure that it monitors.
    clip_norm : float, optional
        Scale the gradients of each step to at most this norm.
    seed : int, optional
        Fixes the order of examples: that of epoch e depends on `seed` and e alone. Drawn from the default generator
        if None.
    progress : bool
        Show a bar on a terminal, and one line an epoch where standard output is none.
    stop_on_nan : bool
        Raise FloatingPointError when the loss is NaN or infinite, before the step that would follow from it.

    Attributes
    ----------
    epoch : int
        Epochs done. A further ``fit`` continues: optimiser state, schedule, order of examples, history.
    history : History
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
        clip_norm: float | None = None,
        seed: int | None = None,
        progress: bool = True,
        stop_on_nan: bool = True,
    ):
        _check_has("model", model, "forward")
        _check_has("loss", loss, "forward")
        _check_has("optimizer", optimizer, "step", "zero_grad")
        if schedule is not None:
            _check_has("schedule", schedule, "step")
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
        self.callbacks = list(callbacks)
        self.clip_norm = None if clip_norm is None else number("Trainer", "clip_norm", clip_norm, 0, above=True)
        self.progress = progress
        self.stop_on_nan = stop_on_nan
        self.stop = False
        self.epoch = 0
        self.history = History()
        self._metrics = named_metrics(metrics)
        # An order drawn by chance must be drawn once, or a second fit would not continue the first.
        self.seed = fresh_seed() if seed is None else seed
        generator(self.seed)

    def fit(self, train: Any, epochs: int = 1, batch_size: int = 32, validation: Any = None) -> History:
        """Train for a number of epochs, from where the last call ended.

        Parameters
        ----------
        train : Dataset or (x, y)
        epochs : int
        batch_size : int
            The last batch of an epoch may be smaller.
        validation : Dataset or (x, y), optional
            Evaluated after each epoch.

        Returns
        -------
        History
            Of all epochs so far.

        Raises
        ------
        ValueError
            If a data set is empty, or x and y differ in length.
        FloatingPointError
            If the loss is NaN or infinite. The parameters are as they were before that batch.
        """
        where = "Trainer.fit"
        x, y = _arrays(where, "train", train)
        held_out = None if validation is None else _arrays(where, "validation", validation)
        last = self.epoch + whole(where, "epochs", epochs)
        batch_size = whole(where, "batch_size", batch_size, 1)
        begin, batch_end, end = (self._hooks(name) for name in _HOOKS)
        self.stop = False
        with contextlib.closing(progress(self.progress, self.epoch, last, len(x))) as shown:
            while self.epoch < last and not self.stop:
                started = time.perf_counter()
                shown.start_epoch(self.epoch + 1)
                for hook in begin:
                    hook(self, self.epoch + 1)
                record = {"epoch": self.epoch + 1, **self._train(x, y, batch_size, batch_end, shown)}
                if held_out is not None:
                    # Prediction keeps nothing for gradients: it takes larger batches at no more memory.
                    held = self._evaluate(*held_out, max(batch_size, 128))
                    record |= {f"val_{name}": value for name, value in held.items()}
                record["seconds"] = time.perf_counter() - started
                record["lr"] = self.optimizer.lr
                self.epoch += 1
                self.history.append(record)
                self._step_schedule(record)
                shown.end_epoch(record)
                for hook in end:
                    hook(self, record)
        return self.history

    def _step_schedule(self, record: dict[str, Any]) -> None:
        if isinstance(self.schedule, ReduceLROnPlateau):
            name = self.schedule.monitor or ("val_loss" if "val_loss" in record else "loss")
            if name not in record:
                raise ValueError(f"Trainer.fit: the schedule's monitor must be of {', '.join(record)}, got {name!r}")
            self.schedule.step(record[name])
        elif self.schedule is not None:
            self.schedule.step()

    def evaluate(self, data: Any, batch_size: int = 128) -> dict[str, float]:
        """The loss and the metrics of predictions.

        Parameters
        ----------
        data : Dataset or (x, y)
        batch_size : int

        Returns
        -------
        dict
            "loss" and each metric.
        """
        where = "Trainer.evaluate"
        return self._evaluate(*_arrays(where, "data", data), whole(where, "batch_size", batch_size, 1))

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

    def _train(
        self, x: np.ndarray, y: np.ndarray, batch_size: int, hooks: list[Callable], shown: Silent
    ) -> dict[str, float]:
        means = Means(self._metrics)
        images = 0
        started = time.perf_counter()
        for batch, (batch_x, batch_y) in enumerate(batches(x, y, batch_size, rng=self.seed, epoch=self.epoch), 1):
            logits, backward = self.model.forward(batch_x)
            loss, loss_backward = self.loss.forward(logits, batch_y)
            loss = _scalar(loss)
            if self.stop_on_nan and not math.isfinite(loss):
                raise self._not_finite(loss, batch, -(-len(x) // batch_size), batch_x)
            self.optimizer.zero_grad()
            backward(loss_backward(), need_x=False)
            if self.clip_norm is not None:
                clip_grad_norm(self.optimizer.parameters, self.clip_norm)
            self.optimizer.step()
            means.add(loss, logits, batch_y)
            images += len(batch_y)
            shown.batch(len(batch_y), means)
            for hook in hooks:
                hook(self, batch, loss)
            if self.stop:
                break
        return means.result() | {"images_per_second": images / (time.perf_counter() - started)}

    def _evaluate(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> dict[str, float]:
        means = Means(self._metrics)
        for batch_x, batch_y in batches(x, y, batch_size, shuffle=False):
            logits = self.model(batch_x)
            means.add(_scalar(self.loss(logits, batch_y)), logits, batch_y)
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

    def _not_finite(self, loss: float, batch: int, batches: int, x: np.ndarray) -> FloatingPointError:
        if np.isfinite(x).all():
            advice = f"lower the learning rate ({self.optimizer.lr:g}) or set clip_norm"
        else:
            advice = "x of this batch holds NaN or infinity"
        return FloatingPointError(
            f"Trainer.fit: the loss is {loss} in epoch {self.epoch + 1}, batch {batch} of {batches}: {advice}; "
            "stop_on_nan=False goes on"
        )


def _scalar(loss: Any) -> float:
    if isinstance(loss, np.ndarray) and loss.ndim:
        raise ValueError(
            f"Trainer: the loss is an array of shape {loss.shape}, expected a number: use reduction='mean'"
        )
    return float(loss)


def _arrays(where: str, name: str, data: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(data, Dataset):
        x, y = data.x, data.y
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        x, y = np.asanyarray(data[0]), np.asanyarray(data[1])
    else:
        hint = ": give the pair, fit((x, y))" if isinstance(data, np.ndarray) and name == "train" else ""
        raise TypeError(f"{where}: {name} must be a Dataset or (x, y), got {type(data).__name__}{hint}")
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise ValueError(f"{where}: {name} has x {x.shape} and y {y.shape}, which must have the same length")
    if not len(x):
        raise ValueError(f"{where}: {name} is empty: x {x.shape}")
    return x, y


def _check_has(name: str, value: Any, *methods: str) -> None:
    if isinstance(value, type):
        raise TypeError(f"Trainer: {name} is the class {value.__name__}, expected an instance of it")
    for method in methods:
        if not hasattr(value, method):
            raise TypeError(f"Trainer: {name} must have a method {method}, got {type(value).__name__}")
