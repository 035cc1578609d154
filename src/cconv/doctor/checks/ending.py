"""The last layers against the loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import nn
from ..findings import Finding
from .case import LABELLED, Case, both, code, ended, without

_ADVICE = "take the softmax out of forward"


def endings(case: Case) -> Iterator[Finding]:
    """What comes right before the loss."""
    last, logits, loss = case.last, case.logits, case.loss
    if not isinstance(logits, np.ndarray) or not logits.size:
        return
    kind = type(loss).__name__
    path, name = (last.path, last.name) if last is not None else ("", "the network")
    taken = without(last)
    layer = last.layer if last is not None else None
    softmax = isinstance(layer, (nn.Softmax, nn.LogSoftmax))
    if logits.ndim > 1 and logits.shape[1] == 1 and (isinstance(loss, nn.CrossEntropyLoss) or softmax):
        yield Finding(
            "single-output",
            "error",
            "a softmax over one output is 1 whatever the input: one output of a logistic loss, or two of a softmax",
            (both("loss = nn.BCEWithLogitsLoss(); y = y.reshape(-1, 1)", taken if softmax else ""),),
            path,
            evidence={"outputs": 1},
        )
        return
    for call in case.watched.leaves:
        if (
            isinstance(call.layer, (nn.Softmax, nn.LogSoftmax))
            and call.plain
            and call.layer.dim % call.y.ndim == 0
            and call.y.ndim > 1
        ):
            yield Finding(
                "softmax-axis",
                "error",
                f"{call.name} has dim={call.layer.dim}: it shares 1 out among the examples of a batch, not among "
                "classes",
                (f"{code(call.path)} = nn.{call.kind}(dim=1)",),
                call.path,
                evidence={"dim": call.layer.dim},
            )
    if isinstance(loss, nn.CrossEntropyLoss):
        yield from _before_softmax(case, taken)
    elif isinstance(loss, nn.BCEWithLogitsLoss):
        if isinstance(layer, nn.Sigmoid) or (layer is not None and case.range_of(last) == (0.0, 1.0)):  # type: ignore[arg-type]
            yield Finding(
                "double-softmax",
                "error",
                f"{name} comes before {kind}, which has a sigmoid of its own: probabilities stay within 0.5 and 0.73",
                (taken, "loss = nn.BCELoss()"),
                path,
                evidence={"min": logits.min(), "max": logits.max()},
            )
    elif isinstance(loss, nn.BCELoss):
        if logits.min() < 0 or logits.max() > 1:
            yield Finding(
                "missing-sigmoid",
                "error",
                f"{kind} takes probabilities, and outputs run from {logits.min():.3g} to {logits.max():.3g}",
                ("loss = nn.BCEWithLogitsLoss()", ended(case, "nn.Sigmoid()")),
                path,
                evidence={"min": logits.min(), "max": logits.max()},
            )
    elif isinstance(loss, nn.NLLLoss) and logits.ndim > 1:
        yield from _before_nll(case, name, path)
    if isinstance(layer, nn.Dropout) and layer.p > 0:
        yield Finding(
            "dropout-before-output",
            "warning",
            f"{name} zeroes {layer.p:.0%} of the outputs themselves: it belongs before the last layer",
            (taken,),
            path,
            evidence={"p": layer.p},
        )
    yield from _rectified(case)


def _before_softmax(case: Case, taken: str) -> Iterator[Finding]:
    last, logits, kind = case.last, case.logits, type(case.loss).__name__
    layer = last.layer if last is not None else None
    path, name = (last.path, last.name) if last is not None else ("", "the network")
    sums = logits.sum(1, dtype=np.float64)
    softmax = logits.min() >= 0 and np.abs(sums - 1).max() < 1e-3
    if isinstance(layer, nn.Softmax) or softmax:
        classes = logits.shape[1]
        best = float(np.log(1 + (classes - 1) / np.e))
        yield Finding(
            "double-softmax",
            "error",
            f"{name} comes before {kind}, which has a softmax of its own: the loss cannot fall below {best:.2f}",
            (taken, f"loss = nn.NLLLoss(); {code(path)} = nn.LogSoftmax()") if taken else (_ADVICE,),
            path,
            evidence={"lowest_loss": best},
        )
    elif isinstance(layer, nn.LogSoftmax):
        yield Finding(
            "double-softmax",
            "note",
            f"{name} before {kind} is done twice, and changes nothing",
            (taken, "loss = nn.NLLLoss()"),
            path,
        )
    elif (
        layer is not None
        and last is not None
        and (bounds := case.range_of(last)) is not None
        and np.isfinite(bounds).all()
    ):
        spread = bounds[1] - bounds[0]
        best = float(np.log(1 + (logits.shape[1] - 1) * np.exp(-spread)))
        yield Finding(
            "squashed-logits",
            "warning",
            f"{name} keeps logits within {bounds[0]:g} and {bounds[1]:g}, and {kind} takes any: the loss cannot "
            f"fall below {best:.2f}",
            (taken,),
            path,
            evidence={"low": bounds[0], "high": bounds[1], "lowest_loss": best},
        )


def _before_nll(case: Case, name: str, path: str) -> Iterator[Finding]:
    logits = case.logits.astype(np.float64)
    with np.errstate(all="ignore"):
        sums = np.exp(logits).sum(1)
    if np.abs(sums - 1).max() < 1e-2:
        return
    probabilities = logits.min() >= 0 and np.abs(logits.sum(1) - 1).max() < 1e-3
    given = (
        "probabilities: their logarithm is missing" if probabilities else f"{logits.min():.3g} to {logits.max():.3g}"
    )
    taken = without(case.last) if probabilities else ""
    cure = f"{code(path)} = nn.LogSoftmax()" if taken else ended(case, "nn.LogSoftmax()")
    yield Finding(
        "missing-softmax",
        "error",
        f"NLLLoss takes log-probabilities, and {name} gives {given}",
        (both("loss = nn.CrossEntropyLoss()", taken), cure) if taken or not probabilities else (_ADVICE,),
        path,
        evidence={"min": logits.min(), "max": logits.max()},
    )


def _rectified(case: Case) -> Iterator[Finding]:
    """A ReLU as the last layer, or before the sigmoid or softmax that ends the network."""
    call, loss = case.last, case.loss
    before: Any = None
    while call is not None and isinstance(call.layer, (nn.Sigmoid, nn.Softmax, nn.LogSoftmax, nn.Dropout, nn.Flatten)):
        before, call = call, call.source
    if call is None or case.range_of(call) != (0.0, np.inf) or isinstance(call.layer, nn.Softplus):
        return
    squashed = before is not None and isinstance(before.layer, (nn.Sigmoid, nn.Softmax, nn.LogSoftmax))
    probabilistic = isinstance(loss, (*LABELLED, nn.BCELoss))
    if not squashed and not probabilistic:
        return
    then = before.name if squashed else type(loss).__name__
    yield Finding(
        "relu-before-loss",
        "error",
        f"{call.name} comes right before {then}: logits cannot be negative, and an output at 0 gets no gradient",
        (f"{code(call.path)} = nn.Identity()",),
        call.path,
        evidence={"zeros": float((call.y <= 0).mean())},
    )
