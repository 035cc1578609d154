"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import _dispatch
from .._checks import number
from .optimizer import Optimizer, Options, State, fraction, threads_of


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012, lecture 6.5 of Neural Networks for Machine Learning).

    Parameters
    ----------
    parameters : iterable of Parameter, or of dict
        Groups of parameters are dicts: ``{"params": ..., "lr": 0.1}``, each with what differs from the arguments below.
    lr : float
        Learning rate, at least 0.
    alpha : float
        Decay of the running mean of the gradient's square, in [0, 1).
    eps : float
        Added to the root of the mean square, at least 0.
    weight_decay : float
        ``weight_decay * value`` is added to the gradient.
    momentum : float
        At least 0.
    centered : bool
        Divide by the root of the variance in place of the mean square (Graves 2013, arXiv 1308.0850).

    Raises
    ------
    ValueError
        If `parameters` is empty or lists one twice, or a number is out of its range.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ):
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(parameters, options | {"momentum": momentum, "centered": centered})

    def _checked(self, options: Options) -> Options:
        return {
            "alpha": fraction("RMSprop", "alpha", options["alpha"]),
            "eps": number("RMSprop", "eps", options["eps"], 0),
            "weight_decay": number("RMSprop", "weight_decay", options["weight_decay"], 0),
            "momentum": number("RMSprop", "momentum", options["momentum"], 0),
            "centered": bool(options["centered"]),
        }

    def _slots(self, options: Options) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) if options["momentum"] else ()
        return ("square_avg", *momentum, *(("grad_avg",) if options["centered"] else ()))

    def _update(self, values: list[np.ndarray], grads: list[np.ndarray], states: list[State], options: Options) -> None:
        self._fill(values, states, options)
        buffers = [state["momentum_buffer"] for state in states] if options["momentum"] else None
        means = [state["grad_avg"] for state in states] if options["centered"] else None
        _dispatch.optimizer.rmsprop_step(
            values, grads, [state["square_avg"] for state in states], buffers, means, options["lr"], options["alpha"],
            options["eps"], options["weight_decay"], options["momentum"], threads_of(values),
        )  # fmt: skip
