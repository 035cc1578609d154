"""What epochs and validation say: overfitting, and whether the validation data is what it should be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...data import Loader
from ...data.rows import leaves, take
from ..findings import Finding
from .course import Course

_PATIENCE = 2  # epochs since the best
_WORSE, _BETTER = 1.3, 0.8  # validation loss over its least, training loss over what it was then
_SHIFT, _SPREAD = 1.5, 2.5
_ROWS = 256  # that are compared
_LEAKED = 0.05  # share of validation examples
_OTHER = 0.4  # half the sum of the differences of classes' shares


def overfitting(history: Sequence[dict[str, Any]], course: Course) -> Iterator[Finding]:
    losses = [(record.get("loss", math.nan), record.get("val_loss", math.nan)) for record in history]
    if len(losses) <= _PATIENCE or not course.learns:
        return
    held = [val for _, val in losses]
    if not np.isfinite(held).any():
        return
    best = int(np.nanargmin(held))
    train, now = losses[-1]
    if len(losses) - 1 - best >= _PATIENCE and now > _WORSE * held[best] and train < _BETTER * losses[best][0]:
        yield Finding(
            "overfitting",
            "warning",
            f"val_loss was least in epoch {best + 1}, {held[best]:.3g}, and is {now:.3g} by now, while loss fell from "
            f"{losses[best][0]:.3g} to {train:.3g}",
            (
                "callbacks=[cconv.train.BestWeights()] keeps the best epoch, EarlyStopping() ends after it",
                "augment=..., nn.Dropout or weight_decay for weights that generalise",
            ),
            evidence={"best_epoch": best + 1, "best": held[best], "now": now, "loss": train},
        )


def prepared(first: Any, held: Any, record: dict[str, Any], course: Course) -> Iterator[Finding]:
    """Is validation data of the same scale as `first`, the first batch of training?"""
    x, reference = _array(held.data[0]) if isinstance(held, Loader) else None, _array(first)
    if x is not None and reference is not None and x.shape[1:] == reference.shape[1:]:
        yield from _otherwise(reference, _sample(x), record, course)
    if isinstance(held, Loader):
        yield from _other_classes(held.data[1], course)


def leaked(train: Any, held: Any) -> Iterator[Finding]:
    """Is validation data among the training data?"""
    if isinstance(train, Loader) and isinstance(held, Loader):
        x, data = _array(held.data[0]), _array(train.data[0])
        if x is not None and data is not None and data.shape[1:] == x.shape[1:] and data.dtype == x.dtype:
            yield from _leak(data, _sample(x), len(x))


def _sample(x: np.ndarray) -> np.ndarray:
    return np.asarray(take(x, np.linspace(0, len(x) - 1, min(_ROWS, len(x))).astype(np.int64)))


def _otherwise(train: np.ndarray, held: np.ndarray, record: dict[str, Any], course: Course) -> Iterator[Finding]:
    means = [float(part.mean(dtype=np.float64)) for part in (train, held)]
    spreads = [float(part.std(dtype=np.float64)) for part in (train, held)]
    if not np.isfinite([*means, *spreads]).all() or not max(spreads):
        return
    ratio = spreads[1] / max(spreads[0], 1e-12)
    shift = abs(means[1] - means[0]) / max(spreads)
    if 1 / _SPREAD < ratio < _SPREAD and shift < _SHIFT:
        return
    worse = course.constant is not None and record.get("val_loss", 0) > course.constant
    yield Finding(
        "validation-inputs",
        "error" if worse else "warning",
        f"validation inputs have mean {means[1]:.3g} and spread {spreads[1]:.3g}, training inputs {means[0]:.3g} and "
        f"{spreads[0]:.3g}: they are prepared otherwise",
        ("mean, std = cconv.data.mean_std(train.x); prepare validation.x with these, too",),
        evidence={"mean": means[1], "std": spreads[1], "train_mean": means[0], "train_std": spreads[0]},
    )


def _other_classes(y: Any, course: Course) -> Iterator[Finding]:
    """Figures of one class, or of the easy ones, are not those of all."""
    if course.labels is None or not isinstance(y, np.ndarray) or y.dtype.kind not in "iu" or y.ndim != 1:
        return
    counts = np.bincount(y[(y >= 0) & (y < len(course.labels))], minlength=len(course.labels))
    if min(counts.sum(), course.labels.sum()) < _ROWS // 4:
        return
    shares = counts / counts.sum(), course.labels / course.labels.sum()
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    if distance > _OTHER:
        most = int(np.argmax(shares[0] - shares[1]))
        yield Finding(
            "validation-targets",
            "warning",
            f"class {most} is {shares[0][most]:.0%} of the validation data and {shares[1][most]:.0%} of the training "
            "data: their figures can't be compared",
            ("train, validation = cconv.data.split(data, 0.8, stratified=True)",),
            evidence={"distance": distance, "class": most},
        )


def _leak(data: np.ndarray, sample: np.ndarray, held: int) -> Iterator[Finding]:
    """Rows of the sample that are among the data, found by a few of their numbers."""
    wide = sample.reshape(len(sample), -1)
    order = np.argsort(-wide.std(0, dtype=np.float64), kind="stable")
    columns = np.sort(order[:: max(1, len(order) // 64)][:16])
    flat = data.reshape(len(data), -1)
    keys, wanted = _keys(flat[:, columns]), _keys(wide[:, columns])
    places = np.flatnonzero(np.isin(keys, wanted))
    same: dict[int, list[int]] = {}
    for place in places:
        same.setdefault(int(keys[place]), []).append(int(place))
    found = sum(
        any(np.array_equal(flat[place], row) for place in same.get(int(key), [])[:64])
        for key, row in zip(wanted, wide, strict=True)
        # An image that is blank is no sign.
        if row.any()
    )
    if found > max(2, _LEAKED * len(sample)):
        yield Finding(
            "validation-leak",
            "warning",
            f"{found} of {len(sample)} validation examples that were looked up (of {held}) are training examples, too: "
            "the figures say nothing about new ones",
            ("train, validation = cconv.data.split(data, 0.8)",),
            evidence={"found": found, "looked_up": len(sample)},
        )


def _keys(numbers: np.ndarray) -> np.ndarray:
    """A number for each row, equal for equal rows."""
    bits = np.ascontiguousarray(numbers).view(f"u{numbers.dtype.itemsize}").astype(np.uint64)
    factors = 2 * np.arange(1, bits.shape[1] + 1, dtype=np.uint64) + np.uint64(1)
    return (bits * (factors * np.uint64(0x9E3779B97F4A7C15))).sum(1, dtype=np.uint64)


def _array(value: Any) -> np.ndarray | None:
    """The one array of x."""
    found = [array for _, array in leaves(value)]
    return found[0] if len(found) == 1 and isinstance(found[0], np.ndarray) and found[0].dtype.kind in "fiu" else None
