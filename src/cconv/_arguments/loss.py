"""Losses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._checks import choice, number, real, same_dtype
from .._shapes import whole
from .shared import all_below, as_int64

REDUCTIONS = ("mean", "sum", "none")


class CrossEntropy(NamedTuple):
    """Arguments of a cross-entropy; `target` int64 labels (N, d1, ...) where `labels` is true, else a distribution
    of the logits' shape and dtype."""

    logits: np.ndarray
    target: np.ndarray
    labels: bool
    weight: np.ndarray | None
    ignore_index: int
    smoothing: float
    sample_weight: np.ndarray | None
    ignores: bool  # whether a label is ignore_index

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape of the losses."""
        return self.logits.shape[0], *self.logits.shape[2:]

    @property
    def plain(self) -> bool:
        """Whether each position counts once, with its label or distribution as it is."""
        return self.weight is None and self.sample_weight is None and not self.smoothing and not self.ignores


def cross_entropy(
    where: str, logits, target, weight, ignore_index, reduction, label_smoothing, sample_weight, name="logits"
) -> CrossEntropy:
    """Clean arguments of cross_entropy; and of nll_loss, whose first one is called x and whose targets are labels."""
    logits = real(where, name, logits)
    shape = logits.shape
    if len(shape) < 2 or shape[1] == 0:
        raise ValueError(f"{where}: {name} have shape {shape}, expected (N, C) or (N, C, d1, ...) with C at least 1")
    choice(where, "reduction", reduction, REDUCTIONS)
    if type(ignore_index) is not int:
        ignore_index = whole(where, "ignore_index", ignore_index, -(2**62))
    smoothing = number(where, "label_smoothing", label_smoothing, 0)
    if smoothing > 1:
        raise ValueError(f"{where}: label_smoothing must be at most 1, got {label_smoothing!r}")
    positions = (shape[0], *shape[2:])
    weight = _loss_weight(where, "weight", weight, (shape[1],), name, logits)
    sample_weight = _loss_weight(where, "sample_weight", sample_weight, positions, name, logits)
    target = np.asarray(target)
    if target.shape == shape and name == "logits":
        # One-hot labels are often integers or booleans.
        target = target.astype(logits.dtype) if target.dtype.kind in "iub" else real(where, "target", target)
        if target.dtype is not logits.dtype:
            same_dtype(where, logits=logits, target=target)
        if ignore_index >= 0:
            raise ValueError(f"{where}: ignore_index={ignore_index} needs labels, got a distribution {shape}")
        return CrossEntropy(logits, target, False, weight, ignore_index, smoothing, sample_weight, False)
    if target.shape != positions:
        either = f"labels {positions} or a distribution {shape}" if name == "logits" else f"labels {positions}"
        raise ValueError(f"{where}: target has shape {target.shape}, expected {either} for {name} {shape}")
    if target.dtype.kind not in "iu":
        hint = f", or give one-hot or soft labels of the logits' shape {shape}" if name == "logits" else ""
        raise TypeError(
            f"{where}: target {target.shape} has dtype {target.dtype}, labels must be integers: "
            f"use target.astype(np.int64){hint}"
        )
    labels = as_int64(target)
    kept = labels != ignore_index
    ignores = not kept.all()
    if not all_below(labels[kept] if ignores else labels, shape[1]):
        raise _label_out_of_range(where, target, labels, kept, name, shape)
    return CrossEntropy(logits, labels, True, weight, ignore_index, smoothing, sample_weight, ignores)


def _loss_weight(where: str, name: str, value, shape: tuple[int, ...], like_name: str, like: np.ndarray):
    if value is None:
        return None
    array = real(where, name, value)
    if array.shape != shape:
        raise ValueError(f"{where}: {name} has shape {array.shape}, {like_name} {like.shape} expect {shape}")
    if array.dtype is not like.dtype:
        same_dtype(where, **{like_name: like, name: array})
    return array


def _label_out_of_range(where: str, target, labels, kept, name: str, shape: tuple[int, ...]) -> ValueError:
    first = np.unravel_index(np.argmax(((labels < 0) | (labels >= shape[1])) & kept), labels.shape)
    index = tuple(int(i) for i in first)
    return ValueError(
        f"{where}: target has label {target[index]} at index {index[0] if len(index) == 1 else index}, "
        f"expected 0..{shape[1] - 1} for {name} {shape}"
    )


def elementwise_loss(where: str, x, target, reduction) -> tuple[np.ndarray, np.ndarray]:
    """(x, target) of the losses that compare number by number."""
    x = real(where, "x", x)
    target = real(where, "target", target)
    if target.shape != x.shape:
        raise ValueError(f"{where}: target has shape {target.shape}, x {x.shape}: they must be equal")
    if target.dtype is not x.dtype:
        same_dtype(where, x=x, target=target)
    choice(where, "reduction", reduction, REDUCTIONS)
    return x, target


def probability_loss(where: str, x, target, weight, reduction) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(x, target, weight) of binary_cross_entropy."""
    x, target = elementwise_loss(where, x, target, reduction)
    if x.size and (x.min() < 0 or x.max() > 1):  # NaN passes
        bad = x[(x < 0) | (x > 1)][0]
        raise ValueError(f"{where}: x must lie in 0..1, got {bad}: binary_cross_entropy_with_logits takes logits")
    if x.size and (target.min() < 0 or target.max() > 1):
        raise ValueError(f"{where}: target must lie in 0..1, got {target[(target < 0) | (target > 1)][0]}")
    return x, target, _spread(where, "weight", weight, x)


def logistic_loss(where: str, x, target, weight, reduction, pos_weight):
    """(x, target, weight, pos_weight) of binary_cross_entropy_with_logits."""
    x, target = elementwise_loss(where, x, target, reduction)
    return x, target, _spread(where, "weight", weight, x), _spread(where, "pos_weight", pos_weight, x)


def _spread(where: str, name: str, value, x: np.ndarray):
    """A factor of each number of x, of a shape that broadcasts to x's."""
    if value is None:
        return None
    array = real(where, name, value)
    if array.dtype is not x.dtype:
        same_dtype(where, **{"x": x, name: array})
    try:
        return np.broadcast_to(array, x.shape)
    except ValueError:
        raise ValueError(
            f"{where}: {name} has shape {array.shape}, which does not broadcast to x's {x.shape}"
        ) from None


def grad_loss(where: str, value, shape: tuple[int, ...], dtype: np.dtype, reduction: str) -> float | np.ndarray:
    """The gradient of a loss: a float, or for reduction "none" an array of the losses' shape (a number stands for
    an array filled with it)."""
    if isinstance(value, (int, float)):
        number = float(value)
    else:
        array = np.asarray(value)
        if reduction == "none" and array.ndim:
            array = real(where, "grad_loss", array)
            if array.shape != shape:
                raise ValueError(f"{where}: grad_loss has shape {array.shape}, expected {shape} as the losses")
            if array.dtype is not dtype:
                raise TypeError(f"{where}: grad_loss has dtype {array.dtype}, expected {dtype} as the losses")
            return array
        if array.ndim or array.dtype.kind not in "iuf":
            raise TypeError(f"{where}: grad_loss must be a number for reduction={reduction!r}, got {value!r}")
        number = float(array)
    return np.full(shape, number, dtype) if reduction == "none" else number
