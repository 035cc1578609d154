"""Metrics of a batch, and their means over many."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]

_RESERVED = ("epoch", "loss", "images_per_second", "seconds", "lr")


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
    shape = logits.shape
    without_classes = shape[:1] + shape[2:]
    if y.shape != shape and y.shape != without_classes:
        raise ValueError(
            f"accuracy: outputs {shape} do not go with labels {y.shape}, expected {shape} or {without_classes}: "
            "give Trainer another metric, or metrics=()"
        )
    if len(shape) > 1 and shape[1] > 1:
        right = logits.argmax(1) == (y.argmax(1) if y.shape == shape else y)
    else:
        right = (logits.reshape(y.shape) > 0) == (y > 0.5)
    return np.count_nonzero(right) / right.size


def named_metrics(metrics: Any) -> dict[str, Metric]:
    """The `metrics` argument of Trainer as functions by name."""
    where = "Trainer: metrics"
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise TypeError(f"{where} must be a sequence, such as ('accuracy',), got {metrics!r}")
    named: dict[str, Metric] = {}
    for metric in metrics:
        if metric == "accuracy":
            name, function = "accuracy", accuracy
        elif isinstance(metric, tuple) and len(metric) == 2:
            name, function = metric
        else:
            name, function = getattr(metric, "__name__", type(metric).__name__), metric
        if not callable(function) or not isinstance(name, str):
            raise TypeError(
                f"{where} holds {metric!r}, expected 'accuracy', a function of (logits, y), or (name, function)"
            )
        if name in named or name in _RESERVED or name.startswith("val_"):
            raise ValueError(f"{where} has the name {name!r}, which is taken")
        named[name] = function
    return named


class Means:
    """Running means of the loss and of metrics, each batch counted by its size."""

    def __init__(self, metrics: dict[str, Metric]):
        self._metrics = metrics
        self._sums = dict.fromkeys(("loss", *metrics), 0.0)
        self._count = 0

    def add(self, loss: float, logits: np.ndarray, y: np.ndarray) -> None:
        """Count in one batch."""
        size, sums = len(y), self._sums
        self._count += size
        sums["loss"] += loss * size
        for name, metric in self._metrics.items():
            sums[name] += float(metric(logits, y)) * size

    def state_dict(self) -> dict[str, Any]:
        """Sums so far, as plain values."""
        return {"sums": dict(self._sums), "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave for the same metrics."""
        sums = {name: float(state["sums"][name]) for name in self._sums}
        self._sums, self._count = sums, int(state["count"])

    def result(self) -> dict[str, float]:
        """The means by name; ValueError where there was no batch."""
        if not self._count:
            raise ValueError("Trainer: the data gave no batch")
        return {name: total / self._count for name, total in self._sums.items()}
