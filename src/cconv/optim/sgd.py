"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import _dispatch
from .._checks import number
from .optimizer import Optimizer, Options, State, threads_of


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's momentum (Sutskever et al. 2013).

    Parameters
    ----------
    parameters : iterable of Parameter, or of dict
        Groups of parameters are dicts: ``{"params": ..., "lr": 0.1}``, each with what differs from the arguments below.
    lr : float
        Learning rate, at least 0.
    momentum : float
        At least 0.
    dampening : float
        The momentum takes in ``1 - dampening`` of each gradient after the first.
    weight_decay : float
        ``weight_decay * value`` is added to the gradient.
    nesterov : bool
        Needs momentum and no dampening.

    Raises
    ------
    ValueError
        If `parameters` is empty or lists one twice, or a number is out of its range.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        options = {"lr": lr, "momentum": momentum, "dampening": dampening}
        super().__init__(parameters, options | {"weight_decay": weight_decay, "nesterov": nesterov})

    def _checked(self, options: Options) -> Options:
        momentum, dampening = number("SGD", "momentum", options["momentum"], 0), options["dampening"]
        checked = {
            "momentum": momentum,
            "dampening": number("SGD", "dampening", dampening),
            "weight_decay": number("SGD", "weight_decay", options["weight_decay"], 0),
            "nesterov": bool(options["nesterov"]),
        }
        if checked["nesterov"] and (momentum == 0 or dampening != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum and no dampening, got momentum={momentum!r}, dampening={dampening!r}"
            )
        return checked

    def _slots(self, options: Options) -> tuple[str, ...]:
        return ("momentum_buffer",) if options["momentum"] else ()

    def _update(self, values: list[np.ndarray], grads: list[np.ndarray], states: list[State], options: Options) -> None:
        momentum, buffers = options["momentum"], None
        first = bool(momentum) and not states[0]
        if first:
            for value, state in zip(values, states, strict=True):
                state["momentum_buffer"] = np.empty_like(value)
        if momentum:
            buffers = [state["momentum_buffer"] for state in states]
        _dispatch.optimizer.sgd_step(
            values, grads, buffers, options["lr"], momentum, options["dampening"], options["weight_decay"],
            options["nesterov"], first, threads_of(values),
        )  # fmt: skip
