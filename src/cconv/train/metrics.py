"""Metrics of a batch, and their figures over many."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..data.rows import size_of
from ..metrics import F1, ConfusionMatrix, Precision, Recall, RunningMetric, TopKAccuracy
from ..metrics.running import matching

Metric = Callable[[Any, Any], float] | RunningMetric

_RESERVED = ("epoch", "loss", "images_per_second", "seconds", "lr")
_SCORES = {"precision": Precision, "recall": Recall, "f1": F1}
_AVERAGES = ("macro", "micro", "weighted")
_KNOWN = (
    "'accuracy', 'top5' or the like, 'precision', 'recall', 'f1' (also as 'f1_macro', 'f1_micro', 'f1_weighted'), "
    "'confusion_matrix', a function of (logits, y), an object with reset, update and compute, (name, metric) or "
    "(index of output and target, metric)"
)


def accuracy(logits: np.ndarray, y: np.ndarray) -> float:
    """The fraction of outputs that are right.

    Parameters
    ----------
    logits : array (N, C, ...), (N, 1) or (N,)
        With two or more classes the largest counts; a single output is a logit, and means "yes" above 0.
    y : array
        Labels without the class axis, or of the shape of `logits`: one-hot or soft labels, of which the largest
        counts, and 0 or 1 for a single output.

    Raises
    ------
    ValueError
        If the shapes do not match.
    """
    matching("accuracy", logits, y)
    shape = logits.shape
    if len(shape) > 1 and shape[1] > 1:
        right = logits.argmax(1) == (y.argmax(1) if y.shape == shape else y)
    else:
        right = (logits.reshape(y.shape) > 0) == (y > 0.5)
    return np.count_nonzero(right) / right.size


def named_metrics(metrics: Any) -> dict[str, Metric]:
    """The `metrics` argument of Trainer as functions and running metrics by name."""
    where = "Trainer: metrics"
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise TypeError(f"{where} must be a sequence, such as ('accuracy',), got {metrics!r}")
    named: dict[str, Metric] = {}
    for given in metrics:
        name, metric = _named(given)
        if name in named or name in _RESERVED or name.startswith("val_"):
            raise ValueError(f"{where} has the name {name!r}, which is taken")
        named[name] = metric
    return named


def _named(given: Any) -> tuple[str, Metric]:
    """A metric, and the name that it goes by."""
    if isinstance(given, str):
        return given, _by_name(given)
    if isinstance(given, tuple) and len(given) == 2 and not isinstance(given[0], bool):
        chosen, inner = given
        if isinstance(chosen, str):
            return chosen, _named(inner)[1]
        if isinstance(chosen, int):
            name, metric = _named(inner)
            return f"{name}_{chosen}", Chosen(chosen, metric)
    elif isinstance(given, type):
        raise TypeError(f"Trainer: metrics holds the class {given.__name__}, expected an instance of it")
    elif isinstance(given, RunningMetric) or callable(given):
        return getattr(given, "__name__", _snake(type(given).__name__)), given
    raise TypeError(f"Trainer: metrics holds {given!r}, expected {_KNOWN}")


def _by_name(name: str) -> Metric:
    if name == "accuracy":
        return accuracy
    if name == "confusion_matrix":
        return ConfusionMatrix()
    if found := re.fullmatch(r"top([1-9][0-9]*)", name):
        return TopKAccuracy(int(found[1]))
    score, _, average = name.partition("_")
    if score in _SCORES and average in ("", *_AVERAGES):
        return _SCORES[score](average or "auto")
    raise TypeError(f"Trainer: metrics holds {name!r}, expected {_KNOWN}")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class Chosen:
    """A metric of one output of several, and its target."""

    def __init__(self, index: int, metric: Metric):
        self._index = index
        self._metric = metric
        if isinstance(metric, RunningMetric):
            self.reset, self.compute = metric.reset, metric.compute

    def __deepcopy__(self, memo: dict) -> Chosen:
        return Chosen(self._index, copy.deepcopy(self._metric, memo))

    def __call__(self, outputs: Any, y: Any) -> float:
        return self._metric(outputs[self._index], y[self._index])  # type: ignore[operator]

    def update(self, outputs: Any, y: Any) -> None:
        """Count in a batch."""
        self._metric.update(outputs[self._index], y[self._index])  # type: ignore[union-attr]


class Means:
    """The loss and metrics over many batches.

    The loss is the mean of the batches' losses, each counted by its examples, or by the sum of their weights, by which
    the losses of `cconv.nn` divide; so it is that of one large batch. A function of (outputs, y) counts by examples. A
    running metric counts in what it is given; it is copied first, so that several `Means` may use it. Sums are float64.
    """

    def __init__(self, metrics: Mapping[str, Metric]):
        self._functions: dict[str, Any] = {}
        self._running: dict[str, Any] = {}
        for name, metric in metrics.items():
            if isinstance(metric, RunningMetric):
                self._running[name] = copy.deepcopy(metric)
                self._running[name].reset()
            else:
                self._functions[name] = metric
        self._order = tuple(metrics)
        self._count = 0
        self._weight = self._loss = 0.0
        self._sums = dict.fromkeys(self._functions, 0.0)

    def add(self, loss: float, outputs: Any, y: Any, sample_weight: Any = None) -> None:
        """Count in one batch."""
        size = size_of(y)
        # The loss of a batch whose weights are all 0 is no number, and says nothing.
        weight = size if sample_weight is None else float(np.sum(sample_weight, dtype=np.float64))
        if weight:
            self._weight += weight
            self._loss += loss * weight
        self._count += size
        for name, function in self._functions.items():
            self._sums[name] += float(function(outputs, y)) * size
        for metric in self._running.values():
            metric.update(outputs, y)

    def result(self) -> dict[str, Any]:
        """The figures by name, as plain numbers and lists of them; ValueError where there was no batch."""
        if not self._count:
            raise ValueError("Trainer: the data gave no batch")
        means = self.numbers()
        running = {name: np.asarray(metric.compute()).tolist() for name, metric in self._running.items()}
        return {"loss": means["loss"]} | {name: (means | running)[name] for name in self._order}

    def numbers(self) -> dict[str, float]:
        """The figures that cost nothing to look at: what progress shows after each batch."""
        means = {name: total / self._count for name, total in self._sums.items()} if self._count else {}
        return {"loss": self._loss / self._weight if self._weight else float("nan"), **means}

    def state_dict(self) -> dict[str, Any]:
        """Arrays and plain values by name: all that `add` counted.

        Raises
        ------
        TypeError
            If a running metric has no ``state_dict``, nor attributes that are plain.
        """
        state: dict[str, Any] = {"count": self._count, "loss": np.array([self._loss, self._weight])}
        state |= {f"sums.{name}": np.array(total) for name, total in self._sums.items()}
        for name, metric in self._running.items():
            state |= {f"running.{name}.{key}": value for key, value in _state_of(name, metric).items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises
        ------
        ValueError
            If the metrics were others.
        """
        sums = {name: f"sums.{name}" for name in self._sums}
        running: dict[str, dict[str, Any]] = {name: {} for name in self._running}
        left = set(state) - {"count", "loss", *sums.values()}
        for name, entries in running.items():
            prefix = f"running.{name}."
            entries |= {key.removeprefix(prefix): state[key] for key in sorted(left) if key.startswith(prefix)}
            left -= {prefix + key for key in entries}
        missing = {"count", "loss", *sums.values()} - set(state)
        missing |= {f"running.{name}" for name, entries in running.items() if not entries}
        if left or missing:
            wrong = [
                f"{kind} {', '.join(sorted(keys))}"
                for kind, keys in (("missing", missing), ("unexpected", left))
                if keys
            ]
            raise ValueError(f"Trainer: the state of metrics is of other metrics: {'; '.join(wrong)}")
        for name, entries in running.items():
            _load(self._running[name], entries)
        self._count = int(state["count"])
        self._loss, self._weight = (float(value) for value in state["loss"])
        self._sums = {name: float(state[key]) for name, key in sums.items()}


def _inner(metric: Any) -> Any:
    """What has the state of a running metric."""
    while isinstance(metric, Chosen):
        metric = metric._metric
    return metric


def _state_of(name: str, metric: Any) -> dict[str, Any]:
    metric = _inner(metric)
    if hasattr(metric, "state_dict"):
        return metric.state_dict()
    # Arrays keep what JSON would not: infinity, say.
    state = {key: np.array(value) if isinstance(value, float) else value for key, value in vars(metric).items()}
    if not state or not all(isinstance(value, (np.ndarray, np.generic, int, str)) for value in state.values()):
        raise TypeError(
            f"Trainer: the metric {name!r} counts over an epoch and has no state_dict and load_state_dict: "
            "a checkpoint within an epoch cannot keep it"
        )
    return state


def _load(metric: Any, state: dict[str, Any]) -> None:
    metric = _inner(metric)
    if hasattr(metric, "load_state_dict"):
        metric.load_state_dict(state)
    else:
        for key, value in state.items():
            setattr(metric, key, value.item() if isinstance(value, np.ndarray) and not value.ndim else value)
