"""The optimiser's first step, in a copy: how far it moves the weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..constant import best_constant
from ..findings import Finding
from .case import Case, rms

# Sizes of update over weights: 1e-3 is usual (CS231n). What has learned already takes smaller steps.
FAR, TOO_FAR, HARDLY, LEARNED_HARDLY = 0.5, 10.0, 5e-6, 1e-7
# What weight decay adds to the first step, over that step without it.
DECAYED = 0.7


def first_step(case: Case, optimizer: Any) -> Iterator[Finding]:
    """`optimizer` is a copy whose parameters are those of the case's model; the step is taken back."""
    named = dict(case.model.named_parameters())
    given = {id(parameter) for parameter in optimizer.parameters}
    forgotten = [path for path, parameter in named.items() if id(parameter) not in given and parameter.trainable]
    if len(forgotten) == len(named):
        yield Finding(
            "learning-rate",
            "error",
            "the optimizer holds none of the model's parameters: was it made for another model?",
            (f"optimizer = optim.{type(optimizer).__name__}(model.parameters(), lr={optimizer.lr:g})",),
        )
        return
    held = {path: parameter for path, parameter in named.items() if id(parameter) in given and parameter.value.ndim > 1}
    if forgotten:
        yield Finding(
            "frozen",
            "warning",
            f"the optimizer holds {len(named) - len(forgotten)} of the model's {len(named)} parameters: "
            f"{forgotten[0]} is not trained",
            (f"optimizer = optim.{type(optimizer).__name__}(model.parameters(), lr={optimizer.lr:g})",),
            forgotten[0].rpartition(".")[0],
            evidence={"forgotten": len(forgotten), "parameters": len(named)},
        )
    before = [parameter.value.copy() for parameter in optimizer.parameters]
    sizes = {path: rms(parameter.value) for path, parameter in held.items()}
    old = {path: parameter.value.copy() for path, parameter in held.items()}
    moving = {
        path
        for path, parameter in held.items()
        if parameter.trainable and parameter._grad is not None and parameter.grad.any()
    }
    yield from _decayed(optimizer)
    try:
        with np.errstate(all="ignore"):
            optimizer.step()
        ratios = {path: rms(held[path].value - old[path]) / sizes[path] for path in moving if sizes[path] > 0}
    finally:
        for parameter, value in zip(optimizer.parameters, before, strict=True):
            parameter.value = value
    if not ratios:
        return
    path, ratio = max(ratios.items(), key=lambda item: item[1])
    groups = getattr(optimizer, "param_groups", ())
    lr, change = optimizer.lr, "optimizer.lr = {:g}"
    if len({group.get("lr") for group in groups}) > 1:
        lr, change = max(group["lr"] for group in groups), "for group in optimizer.param_groups: group['lr'] = {:g}"
    momentum = max((float(group.get("momentum", 0)) for group in groups), default=0)
    if momentum >= 1:
        yield Finding(
            "learning-rate",
            "warning",
            f"momentum={momentum:g} forgets no step: they add up without end (0.9 adds up to ten of them)",
            ('optimizer.param_groups[0]["momentum"] = 0.9',),
            evidence={"momentum": momentum, "lr": lr},
        )
        return
    told = {"ratio": ratio, "lr": lr}
    if ratio > FAR:
        better = float(f"{lr * 0.01 / ratio:.0e}")
        yield Finding(
            "learning-rate",
            "error" if ratio > TOO_FAR else "warning",
            f"the first step moves {path} by {ratio:.2g} of its size, with lr={lr:g}: about 0.001 to 0.01 is usual",
            # Momentum and curvature ask for less than the first step shows.
            (change.format(better), change.format(better / 10)),
            path.rpartition(".")[0],
            evidence=told,
        )
    elif 0 < ratio < (LEARNED_HARDLY if _learned(case) else HARDLY):
        better = float(f"{lr * 1e-3 / ratio:.0e}")
        yield Finding(
            "learning-rate",
            "warning",
            f"the first step moves no weight by more than {ratio:.1g} of its size, with lr={lr:g}: about 0.001 is "
            "usual",
            (change.format(better),),
            path.rpartition(".")[0],
            evidence=told,
        )
    elif ratio == 0:
        yield Finding(
            "learning-rate",
            "warning",
            f"the first step moves no weight, with lr={lr:g}",
            (change.format(1e-3),),
            evidence=told,
        )


def _learned(case: Case) -> bool:
    constant = best_constant(case.loss, case.logits, case.y, search=False)
    return constant is not None and case.value is not None and case.value < constant / 2


def _decayed(optimizer: Any) -> Iterator[Finding]:
    """Two steps from here, one of them without weight decay."""
    decay = max((float(group.get("weight_decay", 0)) for group in getattr(optimizer, "param_groups", ())), default=0)
    if not decay:
        return
    steps = []
    for without in (False, True):
        twin = copy.deepcopy(optimizer)
        if without:
            for group in twin.param_groups:
                group["weight_decay"] = 0.0
        before = [parameter.value.copy() for parameter in twin.parameters]
        with np.errstate(all="ignore"):
            twin.step()
        steps.append(
            np.concatenate(
                [(p.value - old).ravel() for p, old in zip(twin.parameters, before, strict=True) if old.ndim > 1]
                or [np.zeros(1)]
            )
        )
    added, moved = rms(steps[0] - steps[1]), rms(steps[1])
    if moved > 0 and added > DECAYED * moved:
        yield Finding(
            "weight-decay",
            "warning",
            f"weight_decay={decay:g} moves the weights {added / moved:.2g} times as far as the data does, in the first "
            "step: it pulls them to zero",
            tuple(f'optimizer.param_groups[0]["weight_decay"] = {value:g}' for value in (1e-4, 0)),
            evidence={"weight_decay": decay, "ratio": added / moved},
        )
