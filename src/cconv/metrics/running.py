"""Scores over many batches, from outputs and labels: what `Trainer` takes as metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from .._shapes import whole
from .scores import check_average, places, ratios, zero_value


@runtime_checkable
class RunningMetric(Protocol):
    """A metric that counts in batch after batch, as torchmetrics has it.

    With ``state_dict()``, a dict of arrays and plain values by name, and ``load_state_dict(state)`` besides, a
    checkpoint within an epoch can keep it.
    """

    def reset(self) -> None:
        """Forget all batches."""

    def update(self, outputs: Any, y: Any, /) -> None:
        """Count in a batch: the model's outputs and the labels."""

    def compute(self) -> Any:
        """The figure of all batches since `reset`: a number, or an array."""


def matching(where: str, outputs: np.ndarray, y: np.ndarray) -> None:
    """ValueError unless labels have the shape of outputs (N, C, ...), or that without classes."""
    shape = outputs.shape
    without_classes = shape[:1] + shape[2:]
    if y.shape != shape and y.shape != without_classes:
        raise ValueError(
            f"{where}: outputs {shape} do not go with labels {y.shape}, expected {shape} or {without_classes}: "
            "give Trainer another metric, or metrics=()"
        )


def _classes(outputs: np.ndarray) -> int:
    """How many classes outputs (N, C, ...) tell apart; a single output is the logit of class 1 of two."""
    return outputs.shape[1] if outputs.ndim > 1 and outputs.shape[1] > 1 else 2


def _true(where: str, outputs: np.ndarray, y: np.ndarray, ignore_index: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Labels 0 to C - 1 of all positions, and which positions count."""
    matching(where, outputs, y)
    classes, single = _classes(outputs), outputs.ndim == 1 or outputs.shape[1] == 1
    if single and y.dtype.kind == "f":
        y = y > 0.5
    label = (y.argmax(1) if not single and y.shape == outputs.shape else y).reshape(-1)
    counted = np.ones(label.shape, bool) if ignore_index is None else label != ignore_index
    label = label[counted]
    if label.size and (label.min() < 0 or label.max() >= classes or label.dtype.kind == "f"):
        wrong = label.max() if label.min() >= 0 else label.min()
        raise ValueError(
            f"{where}: labels must be integers of 0..{classes - 1}, got {wrong}: ignore_index leaves one out"
        )
    return label.astype(np.intp), counted


def _predicted(outputs: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The label of each position that counts: the largest output, or a single one above 0."""
    single = outputs.ndim == 1 or outputs.shape[1] == 1
    label = outputs > 0 if single else outputs.argmax(1)
    return label.reshape(-1)[counted].astype(np.intp)


class _Counting:
    """What the metrics here share: float64 counts by class, with a length that grows to the classes met."""

    def __init__(self, ignore_index: int | None = None):
        self.ignore_index = (
            None if ignore_index is None else whole(type(self).__name__, "ignore_index", ignore_index, -(2**63))
        )
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._counts = np.zeros(self._shape(0))

    def state_dict(self) -> dict[str, Any]:
        """What was counted."""
        return {"counts": self._counts.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        name = type(self).__name__
        if set(state) != {"counts"}:
            raise ValueError(f"{name}.load_state_dict: expected counts, got {', '.join(map(str, state)) or 'nothing'}")
        counts = np.array(state["counts"], np.float64)
        if counts.ndim == 0 or counts.shape != self._shape(counts.shape[-1]):
            raise ValueError(f"{name}.load_state_dict: counts has shape {counts.shape}")
        self._counts = counts

    def _shape(self, classes: int) -> tuple[int, ...]:
        """That of the counts of so many classes, which are the last axis."""
        raise NotImplementedError

    def _grow(self, classes: int) -> np.ndarray:
        """The counts, of at least so many classes."""
        old = self._counts
        if old.shape[-1] < classes:
            self._counts = np.zeros(self._shape(classes))
            self._counts[tuple(slice(length) for length in old.shape)] = old
        return self._counts


class TopKAccuracy(_Counting):
    """The fraction of labels among the `k` highest outputs. Of equal outputs the first is higher, as for accuracy.

    Parameters
    ----------
    k : int
    ignore_index : int, optional
        Positions of this label are left out.
    """

    def __init__(self, k: int = 5, *, ignore_index: int | None = None):
        self.k = whole("TopKAccuracy", "k", k, 1)
        super().__init__(ignore_index)

    def update(self, outputs: Any, y: Any) -> None:
        """Count in a batch: outputs (N, C, ...), labels (N, ...) or one-hot."""
        outputs, y = np.asarray(outputs), np.asarray(y)
        if outputs.ndim < 2 or outputs.shape[1] < 2:
            raise ValueError(f"TopKAccuracy: outputs {outputs.shape} have no classes, expected (N, C, ...)")
        label, counted = _true("TopKAccuracy", outputs, y, self.ignore_index)
        rows = np.moveaxis(outputs, 1, -1).reshape(-1, outputs.shape[1])[counted]
        self._counts += np.array([np.count_nonzero(places(rows, label, last=False) < self.k), len(label)])

    def compute(self) -> float:
        """The fraction, NaN of nothing."""
        right, count = self._counts
        return float(right / count) if count else float("nan")

    def _shape(self, classes: int) -> tuple[int, ...]:
        return (2,)


class ConfusionMatrix(_Counting):
    """How many examples of each class (row) were taken for which (column).

    Parameters
    ----------
    ignore_index : int, optional
        Positions of this label are left out.
    """

    def __init__(self, *, ignore_index: int | None = None):
        super().__init__(ignore_index)

    def update(self, outputs: Any, y: Any) -> None:
        """Count in a batch: outputs (N, C, ...) or single logits, labels (N, ...) or one-hot."""
        outputs, y = np.asarray(outputs), np.asarray(y)
        label, counted = _true("ConfusionMatrix", outputs, y, self.ignore_index)
        classes = self._grow(_classes(outputs)).shape[0]
        cell = label * classes + _predicted(outputs, counted)
        self._counts += np.bincount(cell, minlength=classes * classes).reshape(classes, classes)

    def compute(self) -> np.ndarray:
        """The matrix (C, C), int64."""
        return self._counts.astype(np.int64)

    def _shape(self, classes: int) -> tuple[int, ...]:
        return classes, classes


class _OfClasses(_Counting):
    """What precision, recall and F1 share."""

    _which: ClassVar[int]  # of precision, recall, F

    def __init__(self, average: str | None = "auto", *, zero_division: float = 0.0, ignore_index: int | None = None):
        name = type(self).__name__
        check_average(name, average, (None, "auto", "binary", "micro", "macro", "weighted"))
        self.average = average
        self.zero_division = zero_value(name, zero_division)
        super().__init__(ignore_index)

    def update(self, outputs: Any, y: Any) -> None:
        """Count in a batch: outputs (N, C, ...) or single logits, labels (N, ...) or one-hot."""
        outputs, y = np.asarray(outputs), np.asarray(y)
        name = type(self).__name__
        label, counted = _true(name, outputs, y, self.ignore_index)
        classes = _classes(outputs)
        if self.average == "binary" and classes > 2:
            raise ValueError(f"{name}: average='binary' takes two classes, outputs {outputs.shape} have {classes}")
        counts = self._grow(classes)
        predicted = _predicted(outputs, counted)
        for row, labels in enumerate((label[label == predicted], predicted, label)):
            counts[row] += np.bincount(labels, minlength=counts.shape[1])
        counts[3] += outputs.ndim == 1 or outputs.shape[1] == 1

    def compute(self) -> Any:
        """A number, or an array (C,) if `average` is None."""
        *counts, single = self._counts
        average = self.average
        if average == "auto":
            average = "binary" if single.any() else "macro"
        if average == "binary":
            counts, average = [count[1:2] for count in counts], "macro"
        elif average is not None:
            occurs = counts[1] + counts[2] > 0
            counts = [count[occurs] for count in counts]
        figures, _ = ratios(counts, 1.0, average, self.zero_division)
        return figures[self._which]

    def _shape(self, classes: int) -> tuple[int, ...]:
        # Right, predicted, actual; and batches of single logits.
        return 4, classes


class Precision(_OfClasses):
    """The share of right ones among the examples that were taken for a class.

    Parameters
    ----------
    average : {"auto", "binary", "micro", "macro", "weighted"} or None
        As in `precision_recall_fscore_support`, over the classes that occur in labels or predictions; None gives an
        array over all classes. "auto" is "binary" (the figure of class 1) for single logits and "macro" for others.
    zero_division : {0, 1, nan}
        What 0/0 gives.
    ignore_index : int, optional
        Positions of this label are left out.
    """

    _which = 0


class Recall(_OfClasses):
    """The share of right ones among the examples of a class. Parameters are those of `Precision`."""

    _which = 1


class F1(_OfClasses):
    """The harmonic mean of precision and recall. Parameters are those of `Precision`."""

    _which = 2
