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

_GAP = 10.0  # validation loss over training loss
_PATIENCE = 2  # epochs since the best
_WORSE, _BETTER = 1.3, 0.8  # validation loss over its least, training loss over what it was then
_APART = 6.0  # squared differences of means over what is due by chance: up to 4 by other writers of the same digits
_SHIFT, _SPREAD = 1.5, 2.5
_ROWS = 256  # that are compared
_NUMBERS = 2**18  # in them, together
_LOOK_UP, _NUMBER = 2e-7, 1.5e-8  # seconds for each example to look among, and for each number that is compared
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
    elif course.constant is not None and now > _GAP * train and now > course.constant / 4:
        yield Finding(
            "overfitting",
            "warning",
            f"the loss is {train:.3g}, val_loss {now:.3g}; always giving the same answer would score "
            f"{course.constant:.3g}: the training examples are known by heart",
            ("augment=..., nn.Dropout or weight_decay for weights that generalise", "# more examples"),
            evidence={"best_epoch": best + 1, "best": held[best], "now": now, "loss": train},
        )


def prepared(first: Any, train: Any, held: Any, record: dict[str, Any], course: Course) -> Iterator[Finding]:
    """Is validation data like `first`, the first batch of training, in scale; and like all of it, number by number?"""
    if not isinstance(held, Loader):
        return
    x, reference = _array(held.data[0]), _array(first)
    if x is not None and reference is not None and x.shape[1:] == reference.shape[1:]:
        given = _sample(x)
        found = [*_broken(x, record), *_otherwise(reference, given, record, course)]
        plain = isinstance(train, Loader) and train.augment is None
        if not found and plain and (whole := _array(train.data[0])) is not None:
            found = [*_elsewhere(_sample(whole), given, record)]
        yield from found
    yield from _other_classes(held.data[1], course)


def numbered(record: dict[str, Any], held: Any, course: Course) -> Iterator[Finding]:
    """Is validation wrong more often than a guess would be? Then its labels mean something else."""
    train, val = (record.get(name) for name in ("accuracy", "val_accuracy"))
    if not isinstance(train, (int, float)) or not isinstance(val, (int, float)):
        return
    labels = held.data[1] if isinstance(held, Loader) else None
    if course.labels is None or not isinstance(labels, np.ndarray) or labels.ndim != 1 or not train > 0.5:
        return
    guess = 1 / max(int(np.count_nonzero(course.labels)), 1)
    if val < guess - 5 * math.sqrt(guess * (1 - guess) / len(labels)):
        yield Finding(
            "validation-targets",
            "error",
            f"{val:.1%} of the validation examples are right, fewer than of a guess ({guess:.1%}), at {train:.0%} of "
            "the training examples: their labels are numbered otherwise",
            ("print(np.unique(validation.y, return_counts=True))   # and of train.y",),
            evidence={"accuracy": train, "val_accuracy": val, "guess": guess},
        )


def price(train: Any, held: Any) -> float:
    """Seconds that a search for leaked examples is thought to take; a memmap would be read from the disk."""
    parts = [_array(part.data[0]) for part in (train, held) if isinstance(part, Loader)]
    if len(parts) < 2 or any(part is None or isinstance(part, np.memmap) for part in parts):
        return math.inf
    return _LOOK_UP * len(parts[0]) + _NUMBER * min(_ROWS, len(parts[1])) * parts[1][:1].size  # type: ignore[arg-type, index]


def leaked(train: Any, held: Any) -> Iterator[Finding]:
    """Is validation data among the training data?"""
    if isinstance(train, Loader) and isinstance(held, Loader):
        x, data = _array(held.data[0]), _array(train.data[0])
        if x is not None and data is not None and data.shape[1:] == x.shape[1:] and data.dtype == x.dtype:
            yield from _leak(data, _sample(x), len(x))


def _sample(x: np.ndarray) -> np.ndarray:
    rows = min(_ROWS, len(x), max(8, _NUMBERS // max(x[:1].size, 1)))
    return np.asarray(take(x, np.linspace(0, len(x) - 1, rows).astype(np.int64)))


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


def _broken(x: np.ndarray, record: dict[str, Any]) -> Iterator[Finding]:
    """NaN or infinity in the inputs, looked for where the loss is neither a number."""
    if math.isfinite(record.get("val_loss", 0.0)) or not math.isfinite(record.get("loss", math.nan)):
        return
    bad = ~np.isfinite(x.reshape(len(x), -1)).all(1)
    if bad.any():
        yield Finding(
            "validation-inputs",
            "error",
            f"validation inputs hold NaN or infinity in {int(bad.sum())} of {len(x)} examples (the first is number "
            f"{int(np.argmax(bad))}): val_loss is {record['val_loss']}",
            ("keep = np.isfinite(x).reshape(len(x), -1).all(1); x, y = x[keep], y[keep]   # of the validation",),
            evidence={"examples": int(bad.sum()), "first": int(np.argmax(bad))},
        )


def _elsewhere(train: np.ndarray, held: np.ndarray, record: dict[str, Any]) -> Iterator[Finding]:
    """Means of each number that differ by much more than chance, where validation does worse: turned images, say."""
    if not record.get("val_loss", 0.0) > _WORSE * record.get("loss", math.inf):
        return
    one, two = (part.reshape(len(part), -1).astype(np.float64) for part in (train, held))
    chance = one.var(0) / len(one) + two.var(0) / len(two)
    apart = float(((one.mean(0) - two.mean(0)) ** 2).sum() / max(chance.sum(), 1e-300))
    if apart > _APART:
        yield Finding(
            "validation-inputs",
            "warning",
            f"where in an image values are large differs between validation and training, {apart:.3g} times as much "
            "as by chance: are they turned, transposed, inverted?",
            ("plt.imshow(train.x.mean((0, 1))); plt.imshow(validation.x.mean((0, 1)))",),
            evidence={"ratio": apart},
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
