"""Adam and its kin."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import _dispatch
from .._checks import number
from .optimizer import Optimizer, Options, State, fraction, threads_of


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980).

    Parameters
    ----------
    parameters : iterable of Parameter, or of dict
        Groups of parameters are dicts: ``{"params": ..., "lr": 0.1}``, each with what differs from the arguments below.
    lr : float
        Learning rate, at least 0.
    betas : (float, float)
        Decay of the running means of the gradient and of its square, each in [0, 1).
    eps : float
        Added to the root of the mean square, at least 0.
    weight_decay : float
        ``weight_decay * value`` is added to the gradient, as in ``torch.optim.Adam`` (and not as in `AdamW`).
    amsgrad : bool
        Divide by the largest mean square so far (Reddi et al. 2018, arXiv 1904.09237).

    Raises
    ------
    ValueError
        If `parameters` is empty or lists one twice, or a number is out of its range.
    """

    _decoupled = False

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ):
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(parameters, options)

    def _checked(self, options: Options) -> Options:
        name, betas = type(self).__name__, options["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"{name}: betas must be two numbers, got {betas!r}")
        return {
            "betas": (fraction(name, "betas[0]", betas[0]), fraction(name, "betas[1]", betas[1])),
            "eps": number(name, "eps", options["eps"], 0),
            "weight_decay": number(name, "weight_decay", options["weight_decay"], 0),
            "amsgrad": bool(options["amsgrad"]),
        }

    def _slots(self, options: Options) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if options["amsgrad"] else ()), "step")

    def _update(self, values: list[np.ndarray], grads: list[np.ndarray], states: list[State], options: Options) -> None:
        (beta1, beta2), lr, decay = options["betas"], options["lr"], options["weight_decay"]
        self._fill(values, states, options)
        steps, scales = [], []
        for state in states:
            state["step"] += 1
            count = int(state["step"])
            steps.append(lr / (1 - beta1**count))
            scales.append(1 / math.sqrt(1 - beta2**count))
        tops = [state["max_exp_avg_sq"] for state in states] if options["amsgrad"] else None
        _dispatch.optimizer.adam_step(
            values, grads, [state["exp_avg"] for state in states], [state["exp_avg_sq"] for state in states], tops,
            steps, scales, beta1, beta2, options["eps"], 0.0 if self._decoupled else decay,
            1 - lr * decay if self._decoupled else 1.0, threads_of(values),
        )  # fmt: skip


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101).

    Parameters
    ----------
    parameters : iterable of Parameter, or of dict
        Groups of parameters are dicts: ``{"params": ..., "weight_decay": 0}``, as for `Adam`.
    lr, betas, eps, amsgrad
        As for `Adam`.
    weight_decay : float
        Each step first multiplies the value by ``1 - lr * weight_decay``.

    Raises
    ------
    ValueError
        If `parameters` is empty or lists one twice, or a number is out of its range.
    """

    _decoupled = True

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ):
        super().__init__(parameters, lr, betas, eps, weight_decay, amsgrad)
