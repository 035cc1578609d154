"""Scores of labels: names, arguments and numbers are those of ``sklearn.metrics``.

Labels are integers, booleans or strings in arrays of one dimension; sums are of float64. Where scikit-learn would take
rows of indicators (several labels an example) these raise ValueError.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._checks import choice, number
from .._shapes import whole

_AVERAGES = ("binary", "micro", "macro", "weighted")


def accuracy_score(y_true: Any, y_pred: Any, *, normalize: bool = True, sample_weight: Any = None) -> float:
    """The fraction of labels that are right.

    Parameters
    ----------
    y_true, y_pred : array_like (N,)
        Labels.
    normalize : bool
        False gives the number of right labels, or the sum of their weights.
    sample_weight : array_like (N,), optional

    Raises
    ------
    ValueError
        If lengths differ, or there are none.
    """
    true, predicted, weight = _labels("accuracy_score", y_true, y_pred, sample_weight)
    return _share(true == predicted, weight, normalize)


def top_k_accuracy_score(
    y_true: Any, y_score: Any, *, k: int = 2, normalize: bool = True, sample_weight: Any = None, labels: Any = None
) -> float:
    """The fraction of examples whose label has one of the `k` highest scores. Of equal scores the last is higher.

    Parameters
    ----------
    y_true : array_like (N,)
        Labels.
    y_score : array_like (N, C)
        Logits, or other scores.
    k : int
    normalize, sample_weight
        As in `accuracy_score`.
    labels : array_like (C,), optional
        The labels that the columns stand for, in ascending order. By default those in `y_true` if these are C, or
        else the integers from 0.

    Raises
    ------
    ValueError
        If shapes do not match, or a label has no column.
    """
    where = "top_k_accuracy_score"
    score = np.asarray(y_score)
    if score.ndim != 2 or score.shape[1] < 2:
        raise ValueError(f"{where}: y_score has shape {score.shape}, expected (N, C) with at least two classes")
    true, _, weight = _labels(where, y_true, y_true, sample_weight)
    if len(true) != len(score):
        raise ValueError(f"{where}: y_true has {len(true)} labels, y_score {len(score)} rows")
    count = score.shape[1]
    if labels is not None:
        columns = np.asarray(labels)
        if columns.shape != (count,) or not (columns[:-1] < columns[1:]).all():
            raise ValueError(f"{where}: labels must be {count} labels in ascending order, got {labels!r}")
    else:
        columns = np.unique(true)
        if len(columns) != count:
            columns = np.arange(count)
    place = np.searchsorted(columns, true).clip(0, count - 1)
    if not (columns[place] == true).all():
        unknown = true[columns[place] != true][0]
        raise ValueError(f"{where}: y_true holds {unknown!r}, which is none of the labels of y_score's columns")
    return _share(places(score, place, last=True) < whole(where, "k", k, 1), weight, normalize)


def places(score: np.ndarray, label: np.ndarray, *, last: bool) -> np.ndarray:
    """How many scores of each row (N, C) come before that of the label; of equal ones the last, or the first."""
    own = np.take_along_axis(score, label[:, None], 1)
    # A label whose score is NaN comes last.
    before = (score > own) | np.isnan(own)
    column = np.arange(score.shape[1])
    earlier = column > label[:, None] if last else column < label[:, None]
    return np.count_nonzero(before | ((score == own) & earlier), 1)


def confusion_matrix(
    y_true: Any, y_pred: Any, *, labels: Any = None, sample_weight: Any = None, normalize: str | None = None
) -> np.ndarray:
    """How many examples of each label were given which.

    Parameters
    ----------
    y_true, y_pred : array_like (N,)
        Labels.
    labels : array_like (C,), optional
        Which labels, and in which order; by default all that occur, sorted.
    sample_weight : array_like (N,), optional
    normalize : {"true", "pred", "all"}, optional
        Divide by the sums of rows, of columns, or of all; 0 where that is 0.

    Returns
    -------
    array (C, C)
        Row i, column j: examples of label i that were given label j. int64, or float64 with weights or `normalize`.
    """
    where = "confusion_matrix"
    true, predicted, weight = _labels(where, y_true, y_pred, sample_weight)
    listed, t, p = _encoded(where, true, predicted, labels)
    count = len(listed)
    known = (t < count) & (p < count)
    cell = t[known] * count + p[known]
    matrix = np.bincount(cell, None if weight is None else weight[known], count * count).reshape(count, count)
    if normalize is None:
        return matrix
    axis = {"true": 1, "pred": 0, "all": None}[choice(where, "normalize", normalize, ("true", "pred", "all"))]
    with np.errstate(all="ignore"):
        return np.nan_to_num(matrix / matrix.sum(axis=axis, keepdims=True))


def precision_recall_fscore_support(
    y_true: Any,
    y_pred: Any,
    *,
    beta: float = 1.0,
    labels: Any = None,
    pos_label: Any = 1,
    average: str | None = None,
    sample_weight: Any = None,
    zero_division: Any = "warn",
) -> tuple[Any, Any, Any, Any]:
    """Precision, recall and F of each label, or their averages.

    With tp the examples of a label that were given it: precision is tp over all that were given it, recall tp over all
    of the label, and F their harmonic mean, in which recall counts `beta` times as much.

    Parameters
    ----------
    y_true, y_pred : array_like (N,)
        Labels.
    beta : float
    labels : array_like, optional
        Which labels, and in which order; by default all that occur, sorted. One that never occurs has 0 examples.
    pos_label : label
        That of ``average="binary"``.
    average : {"binary", "micro", "macro", "weighted"}, optional
        None gives an array over the labels; "binary" the figures of `pos_label`, if there are no more than two labels;
        "micro" those of the sums over labels; "macro" the mean over labels; "weighted" the mean by number of examples.
    sample_weight : array_like (N,), optional
    zero_division : {"warn", 0, 1, nan}
        What 0/0 gives. "warn" is 0 and a UserWarning; NaN is left out of averages.

    Returns
    -------
    precision, recall, fscore : float, or array (C,)
    support : None, or array (C,)
        Examples, or their weight.
    """
    where = "precision_recall_fscore_support"
    return _scores(where, y_true, y_pred, beta, labels, pos_label, average, sample_weight, zero_division, (0, 1, 2))


def precision_score(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Any = None,
    pos_label: Any = 1,
    average: str | None = "binary",
    sample_weight: Any = None,
    zero_division: Any = "warn",
) -> Any:
    """The precision alone: see `precision_recall_fscore_support`."""
    where = "precision_score"
    return _scores(where, y_true, y_pred, 1.0, labels, pos_label, average, sample_weight, zero_division, (0,))[0]


def recall_score(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Any = None,
    pos_label: Any = 1,
    average: str | None = "binary",
    sample_weight: Any = None,
    zero_division: Any = "warn",
) -> Any:
    """The recall alone: see `precision_recall_fscore_support`."""
    where = "recall_score"
    return _scores(where, y_true, y_pred, 1.0, labels, pos_label, average, sample_weight, zero_division, (1,))[1]


def f1_score(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Any = None,
    pos_label: Any = 1,
    average: str | None = "binary",
    sample_weight: Any = None,
    zero_division: Any = "warn",
) -> Any:
    """The harmonic mean of precision and recall: see `precision_recall_fscore_support`."""
    where = "f1_score"
    return _scores(where, y_true, y_pred, 1.0, labels, pos_label, average, sample_weight, zero_division, (2,))[2]


def _scores(
    where: str,
    y_true: Any,
    y_pred: Any,
    beta: float,
    labels: Any,
    pos_label: Any,
    average: str | None,
    sample_weight: Any,
    zero_division: Any,
    asked: tuple[int, ...],
) -> tuple[Any, Any, Any, Any]:
    true, predicted, weight = _labels(where, y_true, y_pred, sample_weight)
    check_average(where, average, (None, *_AVERAGES))
    if average == "binary":
        present = np.unique(np.concatenate([true, predicted]))
        if len(present) > 2:
            raise ValueError(
                f"{where}: average='binary' takes two labels, got {len(present)}: "
                "use 'macro', 'micro', 'weighted' or None"
            )
        if len(present) == 2 and pos_label not in present:
            raise ValueError(f"{where}: pos_label must be one of {present.tolist()}, got {pos_label!r}")
        labels = [pos_label]
    listed, t, p = _encoded(where, true, predicted, labels)
    kind = np.int64 if weight is None or weight.dtype.kind in "iub" else np.float64
    right = t == p
    counts = [
        np.bincount(places[chosen], None if weight is None else weight[chosen], len(listed) + 1)[: len(listed)].astype(
            kind
        )
        for places, chosen in ((t, right), (p, slice(None)), (t, slice(None)))
    ]
    figures, undefined = ratios(counts, number(where, "beta", beta, 0), average, zero_value(where, zero_division))
    if isinstance(zero_division, str):
        for i in asked:
            if undefined[i]:
                warnings.warn(
                    f"{where}: {('precision', 'recall', 'F')[i]} is 0/0 for a label and taken as 0: "
                    "zero_division says what it is",
                    UserWarning,
                    stacklevel=3,
                )
    return *figures, counts[2] if average is None else None


def ratios(counts: Sequence[np.ndarray], beta: float, average: str | None, zero: float) -> tuple[list[Any], list[bool]]:
    """Precision, recall and F, and which of them had to be `zero` somewhere.

    `counts` are, by label, examples that were given it rightly, that were given it, and that are of it.
    """
    support = counts[2]
    right, predicted, actual = (count.sum(keepdims=True) if average == "micro" else count for count in counts)
    pairs = [(right, predicted), (right, actual), ((1 + beta**2) * right, beta**2 * actual + predicted)]
    figures: list[Any] = []
    for above, below in pairs:
        none = below == 0
        figure = above / np.where(none, 1, below)
        figure[none] = zero
        figures.append(figure)
    undefined = [bool((below == 0).any()) for _, below in pairs]
    if average is not None:
        figures = [_mean(figure, support if average == "weighted" else None) for figure in figures]
    return figures, undefined


def _mean(figure: np.ndarray, weight: np.ndarray | None) -> float:
    """The mean of what is not NaN."""
    there = ~np.isnan(figure)
    if not there.any():
        return math.nan
    if weight is None or not weight[there].sum():
        return float(figure[there].mean())
    return float(np.average(figure[there], weights=weight[there]))


def check_average(where: str, average: Any, allowed: tuple[Any, ...]) -> None:
    """ValueError unless `average` is one of those."""
    if not (average is None or isinstance(average, str)) or average not in allowed:
        raise ValueError(f"{where}: average must be one of {', '.join(map(repr, allowed))}, got {average!r}")


def zero_value(where: str, zero_division: Any) -> float:
    """What 0/0 gives."""
    if isinstance(zero_division, str) and zero_division == "warn":
        return 0.0
    if isinstance(zero_division, (int, float)) and (zero_division in (0, 1) or math.isnan(zero_division)):
        return float(zero_division)
    raise ValueError(f"{where}: zero_division must be 'warn', 0, 1 or nan, got {zero_division!r}")


def _labels(
    where: str, y_true: Any, y_pred: Any, sample_weight: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Checked labels and weights."""
    true, predicted = (_of_labels(where, name, y) for name, y in (("y_true", y_true), ("y_pred", y_pred)))
    if len(true) != len(predicted):
        raise ValueError(f"{where}: y_true has {len(true)} labels, y_pred {len(predicted)}: they must be as many")
    if not len(true):
        raise ValueError(f"{where}: y_true is empty")
    if (true.dtype.kind in "US") != (predicted.dtype.kind in "US"):
        raise TypeError(f"{where}: y_true has dtype {true.dtype}, y_pred {predicted.dtype}: labels must be of one kind")
    if sample_weight is None:
        return true, predicted, None
    weight = np.asarray(sample_weight)
    if weight.dtype.kind not in "biuf":
        raise TypeError(f"{where}: sample_weight has dtype {weight.dtype}, expected numbers")
    if weight.shape != true.shape:
        raise ValueError(f"{where}: sample_weight has shape {weight.shape}, expected {true.shape}")
    return true, predicted, weight


def _of_labels(where: str, name: str, y: Any) -> np.ndarray:
    array = np.asarray(y)
    if array.ndim != 1:
        if array.ndim == 2 and array.dtype.kind == "f":
            fix = f": use {name}.argmax(1)"
        else:
            fix = f": use {name}.ravel() for a map of labels" if array.ndim > 1 else ""
        raise ValueError(f"{where}: {name} has shape {array.shape}, expected labels (N,){fix}")
    if array.dtype.kind == "O":
        array = np.array(array.tolist())
    if array.dtype.kind not in "biufUS":
        raise TypeError(f"{where}: {name} has dtype {array.dtype}, expected integers, booleans or strings")
    if array.dtype.kind == "f" and not (array == np.floor(array)).all():
        raise ValueError(
            f"{where}: {name} holds numbers that are no labels, such as {array[array != np.floor(array)][0]}"
        )
    return array


def _encoded(
    where: str, true: np.ndarray, predicted: np.ndarray, labels: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels, and the place of each of the given ones among them; what is not among them comes after all."""
    present, code = np.unique(np.concatenate([true, predicted]), return_inverse=True)
    if labels is not None:
        listed = np.asarray(labels)
        if listed.ndim != 1 or not len(listed) or len(np.unique(listed)) < len(listed):
            raise ValueError(f"{where}: labels must be different labels, got {labels!r}")
        if (listed.dtype.kind in "US") != (present.dtype.kind in "US"):
            raise TypeError(f"{where}: labels are {listed.dtype}, y_true and y_pred {present.dtype}")
        order = {label: i for i, label in enumerate(listed.tolist())}
        code = np.array([order.get(label, len(listed)) for label in present.tolist()])[code]
        present = listed
    return present, code[: len(true)], code[len(true) :]


def _share(right: np.ndarray, weight: np.ndarray | None, normalize: bool) -> float:
    return float(np.average(right, weights=weight) if normalize else right.sum() if weight is None else right @ weight)
