"""Labels and targets against the loss and the outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ... import nn
from ..findings import Finding
from .case import LABELLED, NUMBERED, Case, both, code, without

_ROWS, _BYTES = 100_000, 2**28  # that are looked through for equal inputs
_FEW = 50  # different whole numbers that may be labels


class Targets:
    """The targets: all of them, and those of the sample, which the checks mend so that the loss can be computed."""

    def __init__(self, whole: Any, sample: Any):
        self.whole = whole
        self.sample = sample


def before_loss(case: Case, targets: Targets) -> Iterator[Finding]:
    """What can be said before the loss is computed."""
    logits, y = case.logits, targets.sample
    if isinstance(case.loss, nn.MultiLoss):
        yield from _each_loss(case, targets)
        return
    yield from wild_weights(case.loss)
    if not isinstance(y, np.ndarray) or not isinstance(logits, np.ndarray):
        return
    scanned = targets.whole if isinstance(targets.whole, np.ndarray) else y
    if scanned.dtype.kind == "f" and not np.isfinite(scanned).all():
        bad = np.logical_not(np.isfinite(scanned.reshape(len(scanned), -1)).all(axis=1))
        yield Finding(
            "target-not-finite",
            "error",
            f"y holds NaN or infinity in {int(bad.sum())} of {len(scanned)} examples "
            f"(the first is number {int(bad.argmax())})",
            ("keep = np.isfinite(y).reshape(len(y), -1).all(1); x, y = x[keep], y[keep]",),
            evidence={"examples": bad.sum(), "first": bad.argmax()},
        )
        return
    if isinstance(case.loss, LABELLED):
        yield from _labels(case, targets)
    elif isinstance(case.loss, NUMBERED):
        yield from _numbers(case, targets)
    else:
        yield from _of_own_loss(case, targets)
    whole = targets.whole
    if isinstance(whole, np.ndarray) and len(whole) > 1 and (whole == whole[:1]).all() and whole.dtype.kind in "buif":
        yield Finding(
            "target-constant",
            "error",
            f"all {len(whole)} targets are {whole.flat[0]:g}: there is nothing to learn",
            ("print(np.unique(y, return_counts=True))",),
            evidence={"value": whole.flat[0]},
        )
    elif (
        isinstance(case.loss, LABELLED)
        and isinstance(whole, np.ndarray)
        and whole.ndim == 1
        and whole.dtype.kind in "iu"
    ):
        yield from _balance(case, whole)
        yield from _weightless(case.loss, whole)


def _each_loss(case: Case, targets: Targets) -> Iterator[Finding]:
    """The same for each output, its loss and its target."""
    many, losses = targets.sample, case.loss._losses
    try:
        parts = [
            (key, replace(case, loss=loss, logits=case.logits[key]), Targets(targets.whole[key], many[key]))
            for key, loss in losses.items()
        ]
    except (KeyError, IndexError, TypeError):
        return  # the loss says that there are not as many
    for key, part, goals in parts:
        for finding in before_loss(part, goals):
            finding.cause = f"output {key!r}: {finding.cause}"
            yield finding
    mended = {key: goals.sample for key, _, goals in parts}
    targets.sample = mended if isinstance(many, dict) else tuple(mended.values())


def _labels(case: Case, targets: Targets) -> Iterator[Finding]:
    loss, logits = case.loss, case.logits
    kind = type(loss).__name__
    y = targets.sample
    classes = logits.shape[1] if logits.ndim > 1 else 1
    if logits.ndim < 2:
        return
    if y.shape == logits.shape:
        if isinstance(loss, nn.NLLLoss):
            yield Finding(
                "label-one-hot",
                "error",
                f"y {y.shape} holds one-hot rows, and {kind} takes labels (N,)",
                ("y = y.argmax(1)",),
            )
            targets.sample = y.argmax(1)
        else:
            sums = y.astype(np.float64).sum(1)
            if np.abs(sums - 1).max() > 0.01 or y.min() < 0:
                several = bool(((y == 0) | (y == 1)).all())
                yield Finding(
                    "target-range",
                    "error",
                    f"rows of y add up to {sums.min():.3g} to {sums.max():.3g}, and {kind} takes distributions, "
                    "which add up to 1" + (": an example may be of several classes, or of none?" if several else ""),
                    ("loss = nn.BCEWithLogitsLoss()" if several else "y = y / y.sum(1, keepdims=True)",),
                    evidence={"smallest": sums.min(), "largest": sums.max()},
                )
        return
    if y.ndim == logits.ndim > 2 and y.shape[1] == 1:
        shown = "(N, ...)" if y.ndim == 3 else "(N, H, W)"
        cause = f"y {y.shape} has a channel, and {kind} takes labels {shown}"
        yield Finding("label-shape", "error", cause, ("y = y[:, 0]",))
        targets.sample = y = y[:, 0]
        if isinstance(targets.whole, np.ndarray):
            targets.whole = targets.whole[:, 0]
    if y.ndim == 2 and logits.ndim == 2 and y.shape[1] > 1:
        wide = y.shape[1]
        yield Finding(
            "label-range",
            "error",
            f"rows of y have {wide} classes, and the network has {classes} outputs",
            (_wider(case, wide), "y = y.argmax(1)"),
            evidence={"classes": wide, "outputs": classes},
        )
        targets.sample = y.argmax(1) % classes
        return
    if y.ndim == 2 and logits.ndim == 2:
        yield Finding("label-shape", "error", f"y has shape (N, 1), and {kind} takes labels (N,)", ("y = y.ravel()",))
        targets.sample = y = y.ravel()
        if isinstance(targets.whole, np.ndarray):
            targets.whole = targets.whole.ravel()
    if y.dtype.kind == "f" and np.isfinite(y).all():
        whole = bool((y == np.round(y)).all())
        told = (
            "whole numbers stored as floats"
            if whole
            else f"numbers such as {y.flat[int(np.argmax(y != np.round(y)))]:.3g}"
        )
        cure = ("y = y.astype(np.int64)",) if whole else ("loss = nn.MSELoss()   # for quantities",)
        yield Finding("label-dtype", "error", f"y has dtype {y.dtype}, {told}, and {kind} takes integer labels", cure)
        targets.sample = y = np.round(y).astype(np.int64)
        if isinstance(targets.whole, np.ndarray):
            targets.whole = np.round(targets.whole).astype(np.int64)
    if y.dtype.kind == "b":
        cause = f"y has dtype {y.dtype}, and {kind} takes integer labels"
        yield Finding("label-dtype", "error", cause, ("y = y.astype(np.int64)",))
        targets.sample = y = y.astype(np.int64)
    if y.dtype.kind not in "iu":
        return
    full = targets.whole if isinstance(targets.whole, np.ndarray) and targets.whole.dtype.kind in "iu" else y
    counted = full != getattr(loss, "ignore_index", -100)
    complete, full = bool(counted.all()), full[counted]
    low, high = (int(full.min()), int(full.max())) if full.size else (0, 0)
    takes = f"{classes} outputs take 0 to {classes - 1}" if classes > 1 else "1 output takes 0 alone"
    evidence = {"min": low, "max": high, "outputs": classes}
    if low == 1 and high == classes:
        yield Finding(
            "labels-one-based",
            "error",
            f"labels run from 1 to {high}, and {takes}",
            ("y = y - 1" if complete else f"y = y - 1; loss.ignore_index = {loss.ignore_index - 1}",),
            evidence=evidence,
        )
        targets.sample = np.where(y >= 1, y - 1, y)
    elif low < 0 or high >= classes:
        cures: tuple[str, ...] = (
            (_wider(case, high + 1),) if low >= 0 else ("y = np.unique(y, return_inverse=True)[1]",)
        )
        values = np.unique(full)
        targets.sample = np.clip(y, 0, classes - 1)
        told = ""
        if low >= 1 and high == classes:
            cures = "y = y - 1", *cures
        elif len(values) == classes > 1 and complete:
            told = f": {classes} different ones, with gaps between them"
            cures = "y = np.unique(y, return_inverse=True)[1].reshape(y.shape)", *cures[: low >= 0]
            targets.sample = np.searchsorted(values, y)
        yield Finding(
            "label-range", "error", f"labels run from {low} to {high}, and {takes}{told}", cures, evidence=evidence
        )
    elif low == 1 and high == classes - 1 and classes > 2 and complete and len(full) >= 20 * classes:
        yield Finding(
            "labels-one-based",
            "note",
            f"labels run from 1 to {high}: output 0 of {classes} is never right",
            ("y = y - 1", _wider(case, classes - 1)),
            evidence=evidence,
        )


def _balance(case: Case, y: np.ndarray) -> Iterator[Finding]:
    classes = case.logits.shape[1]
    values, counts = np.unique(y, return_counts=True)
    most, share = int(values[counts.argmax()]), counts.max() / counts.sum()
    if len(values) > 1 and (counts.max() > 20 * counts.min() or share > 0.9):
        severity = "warning" if share > max(0.8, 3 / max(classes, 2)) else "note"
        yield Finding(
            "class-imbalance",
            severity,
            f"{share:.0%} of the labels are {most}, and {int(counts.min())} of {counts.sum()} are "
            f"{int(values[counts.argmin()])}",
            (
                f"loss = nn.{type(case.loss).__name__}(weight=1 / np.bincount(y, minlength={classes}).clip(1))",
                "train = cconv.data.Loader((x, y), sampler=cconv.data.BalancedSampler(y))",
            ),
            evidence={"most": share, "largest": counts.max(), "smallest": counts.min()},
        )


def _weightless(loss: Any, y: np.ndarray) -> Iterator[Finding]:
    """Classes that the loss does not look at."""
    weight = getattr(loss, "weight", None)
    if weight is None:
        return
    zero = np.intersect1d(np.flatnonzero(np.asarray(weight) == 0), y)
    if zero.size:
        share = float(np.isin(y, zero).mean())
        yield Finding(
            "class-imbalance",
            "warning",
            f"the loss gives {zero.size} of {len(weight)} classes the weight 0 (class {zero[0]} the first): "
            f"{share:.0%} of the examples teach nothing",
            ("loss = nn.CrossEntropyLoss()", "# ignore_index=... leaves out one label"),
            evidence={"classes": zero.size, "share": share},
        )


def wild_weights(loss: Any) -> Iterator[Finding]:
    """Weights of classes that are no numbers: an example of such a class has no loss, or a gradient of NaN."""
    for name in ("weight", "pos_weight"):
        weight = getattr(loss, name, None)
        if not isinstance(weight, np.ndarray) or weight.dtype.kind != "f" or np.isfinite(weight).all():
            continue
        bad = np.flatnonzero(np.logical_not(np.isfinite(weight)))
        one = f"is {weight.flat[bad[0]]:g} for class {bad[0]}"
        yield Finding(
            "not-finite",
            "error",
            f"the {name} of {type(loss).__name__} {one}" + (f" and {len(bad) - 1} more" if len(bad) > 1 else "") + ": "
            "1 / 0, of a class that does not occur?",
            (f"loss.{name} = np.where(np.isfinite(loss.{name}), loss.{name}, 1).astype(loss.{name}.dtype)",),
            evidence={"classes": len(bad), "first": bad[0]},
        )


def _numbers(case: Case, targets: Targets) -> Iterator[Finding]:
    kind, logits, y = type(case.loss).__name__, case.logits, targets.sample
    if y.dtype.kind not in "buif":
        return
    if y.shape != logits.shape:
        cures: tuple[str, ...]
        integers = y.ndim == 1 and bool((y == np.round(y)).all())
        wide = logits.shape[1] if logits.ndim == 2 else 0
        if integers and wide > 1 and y.min() >= 0 and y.max() < wide:
            cures = (
                f"y = np.eye({wide}, dtype=np.float32)[y]",
                both("loss = nn.CrossEntropyLoss()", _squash(case)),
            )
            mended = np.eye(wide, dtype=np.float32)[y.astype(np.int64)]
        elif y.size == logits.size:
            cures, mended = (
                (f"y = y.reshape({('-1', *map(str, logits.shape[1:]))})".replace("'", ""),),
                y.reshape(logits.shape),
            )
        else:
            cures, mended = (_wider(case, y.shape[1] if y.ndim == 2 else 1),), y
        yield Finding(
            "target-shape",
            "error",
            f"y has shape {y.shape[1:]} an example, outputs {logits.shape[1:]}: {kind} compares them number by number",
            cures,
        )
        targets.sample = y = mended
        if y.shape != logits.shape:
            return
    yield from _reach(case, y.astype(np.float64))


def _reach(case: Case, y: np.ndarray) -> Iterator[Finding]:
    """Whether the outputs can be what the targets are."""
    kind, logits = type(case.loss).__name__, case.logits
    low, high = _bounds(case)
    flat = y.reshape(len(y), -1)
    integral = bool(np.isfinite(y).all() and (y == np.round(y)).all())
    values = np.unique(y) if integral else np.empty(0)
    labels = integral and 3 <= len(values) <= _FEW and values[0] >= 0
    repeated = flat.shape[1] > 1 and bool((flat == flat[:, :1]).all())
    wide = logits.shape[1] if logits.ndim == 2 else 1
    room = 1e-6 * max(1.0, abs(high) if np.isfinite(high) else 1.0)
    outside = float(((y < low - room) | (y > high + room)).mean())
    evidence = {"min": y.min(), "max": y.max(), "low": low, "high": high, "outside": outside}
    classes = max(wide, int(values[-1]) + 1) if labels else 0
    column = _column(case)
    wider = _wider(case, classes) if labels and wide < classes else ""
    one_hot = both(f"y = np.eye({classes}, dtype=np.float32)[{column}]", wider)
    if outside > 0.01:
        last = case.last
        who = last.name if last is not None and not isinstance(case.loss, nn.BCELoss) else kind
        cures: tuple[str, ...] = (one_hot,) if labels else ()
        if not labels and last is not None and not isinstance(case.loss, nn.BCELoss):
            cures = _rescaled(y), without(last)
        elif not labels:
            cures = (_rescaled(y),)
        digits = ": digits where one-hot rows are due" if labels and (repeated or wide == 1) else ""
        yield Finding(
            "target-range",
            "error",
            f"targets run from {y.min():.3g} to {y.max():.3g}, {outside:.0%} of them out of reach of {who}, which "
            f"ends at {low:.3g} and {high:.3g}{digits}",
            cures,
            last.path if last else "",
            evidence=evidence,
        )
    elif labels and repeated:
        yield Finding(
            "labels-as-numbers",
            "error",
            f"all {flat.shape[1]} outputs of an example have the same whole number for a target: a label?",
            (one_hot, both(f"loss = nn.CrossEntropyLoss(); y = {column}", _squash(case))),
            evidence=evidence,
        )
    elif labels and len(values) > 2 and np.array_equal(values, np.arange(len(values))) and wide == 1:
        yield Finding(
            "labels-as-numbers",
            "note",
            f"targets are the whole numbers {values[0]:g} to {values[-1]:g}: if they name classes, the distance "
            "between them means nothing",
            (both(f"loss = nn.CrossEntropyLoss(); y = {column}", wider),),
            evidence=evidence,
        )
    size = float(np.sqrt((y * y).mean()))
    if not np.isfinite([low, high]).any() and size > 30 and not isinstance(case.loss, nn.BCELoss):
        yield Finding(
            "target-scale",
            "warning",
            f"targets are of size {size:.3g} (from {y.min():.3g} to {y.max():.3g}), outputs start near 0",
            ("mean, std = y.mean(0), y.std(0); y = (y - mean) / std   # and back: model(x) * std + mean",),
            evidence={"rms": size},
        )


def _rescaled(y: np.ndarray) -> str:
    """Code that takes targets to 0 to 1."""
    low, width = float(y.min()), float(max(y.max() - y.min(), 1e-30))
    moved = f"(y {'+' if low < 0 else '-'} {abs(low):.4g})" if low else "y"
    return f"y = {moved} / {width:.4g}" if f"{width:.4g}" != "1" else f"y = {moved.strip('()')}"


def _bounds(case: Case) -> tuple[float, float]:
    if isinstance(case.loss, nn.BCELoss):
        return 0.0, 1.0
    last = case.last
    found = case.reach_of(last) if last is not None else None
    return found if found is not None else (-np.inf, np.inf)


def _of_own_loss(case: Case, targets: Targets) -> Iterator[Finding]:
    """A loss of one's own: does it ask for more even of outputs that are at the end of their range?"""
    last = case.last
    bounds = case.reach_of(last) if last is not None else None
    if bounds is None or not np.isfinite(bounds).all() or last is None:
        return
    pushed = []
    for at in bounds:
        try:
            with np.errstate(all="ignore"):
                grad = case.loss.forward(np.full_like(case.logits, at), targets.sample)[1]()
        except Exception:
            return
        grad = np.asarray(grad, np.float64)
        if not np.isfinite(grad).all():
            return
        # A gradient that is negative at the upper end asks for more.
        size = np.abs(grad).max(initial=0)
        pushed.append(float(((grad if at == bounds[0] else -grad) > 1e-3 * size).mean()))
    if max(pushed) > 0.3:
        low, high = bounds
        end, share = (high, pushed[1]) if pushed[1] >= pushed[0] else (low, pushed[0])
        y = targets.sample
        digits = y.ndim == 1 and y.dtype.kind in "iu" and case.logits.ndim == 2
        told = f" (y runs from {y.min():.3g} to {y.max():.3g})" if y.dtype.kind in "iuf" and y.size else ""
        told += ": digits where one-hot rows are due?" if digits else ""
        rows = f"y = np.eye({case.logits.shape[1]}, dtype=np.float32)[y]"
        cures = (
            (rows if _takes_rows(case) else both(rows, "loss = nn.MSELoss()"),)
            if digits
            else (f"y = {low:g} + {high - low:g} * (y - y.min()) / (y.max() - y.min())",)
        )
        yield Finding(
            "target-range",
            "error",
            f"targets are out of reach: at outputs of {end:g}, where {last.name} ends, the loss asks {share:.0%} of "
            f"them to go further{told}",
            cures,
            last.path,
            evidence={"low": low, "high": high, "pushed": share},
        )


def _takes_rows(case: Case) -> bool:
    """Whether a loss of one's own compares outputs with targets of the same shape."""
    try:
        with np.errstate(all="ignore"):
            value, backward = case.loss.forward(case.logits, np.zeros_like(case.logits))
            return bool(np.isfinite(value).all()) and np.shape(backward()) == case.logits.shape
    except Exception:
        return False


def contradicting(x: Any, y: Any) -> Iterator[Finding]:
    """Equal inputs whose labels differ. A sample would hold few of them: it is for all examples, up to a bound."""
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray) or not x.size:
        return
    x = x[: max(1, min(_ROWS, _BYTES // max(x[:1].nbytes, 1)))]
    seen: dict[int, int] = {}
    clashes = 0
    for i, row in enumerate(np.ascontiguousarray(x)):
        first = seen.setdefault(hash(row.tobytes()), i)
        clashes += first != i and not np.array_equal(y[first], y[i]) and np.array_equal(x[first], row)
    if clashes > 0.02 * len(x):
        yield Finding(
            "contradicting-labels",
            "warning" if clashes > 0.2 * len(x) else "note",
            f"{clashes} of {len(x)} examples have the input of another, and another target",
            ("_, first = np.unique(x, axis=0, return_index=True); x, y = x[first], y[first]",),
            evidence={"examples": clashes},
        )


def _column(case: Case) -> str:
    """Code for labels (N,) of targets that hold each as a column or a row of the same number."""
    y = case.y if case.y is not None else np.empty(0)
    taken = "y[:, 0]" if np.ndim(y) == 2 else "y"
    return taken if np.asarray(y).dtype.kind in "iu" else f"{taken}.astype(np.int64)"


def _squash(case: Case) -> str:
    """Code that takes a last sigmoid or softmax out."""
    squashed = case.last is not None and isinstance(case.last.layer, (nn.Sigmoid, nn.Softmax, nn.LogSoftmax))
    return without(case.last) if squashed else ""


def _wider(case: Case, outputs: int) -> str:
    call = case.last
    while call is not None and not isinstance(call.layer, nn.Linear):
        call = call.source
    if call is None:
        return f"# give the network {outputs} outputs"
    layer: Any = call.layer
    return f"{code(call.path)} = nn.Linear({layer.in_features}, {outputs})"
