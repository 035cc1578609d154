"""Learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._checks import number
from .._shapes import whole


class CosineAnnealingLR:
    """Lower an optimiser's learning rate along half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983).

    After t steps it is ``eta_min + (base - eta_min) * (1 + cos(pi * t / T_max)) / 2``, `base` being the rate that the
    optimiser has when the schedule is made.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
        Steps from `base` to `eta_min`, at least 1. `Trainer` takes one step an epoch.
    eta_min : float
        The lowest learning rate.
    """

    def __init__(self, optimizer: Any, T_max: int, eta_min: float = 0.0):
        if not hasattr(optimizer, "lr"):
            raise TypeError(f"CosineAnnealingLR: optimizer must have a learning rate, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.T_max = whole("CosineAnnealingLR", "T_max", T_max, 1)
        self.eta_min = number("CosineAnnealingLR", "eta_min", eta_min, 0)
        self.base_lr = optimizer.lr
        self.last_epoch = 0

    def step(self) -> None:
        """Set the learning rate of the next epoch."""
        self.last_epoch += 1
        fraction = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        self.optimizer.lr = self.eta_min + (self.base_lr - self.eta_min) * fraction

    def state_dict(self) -> dict[str, np.ndarray]:
        """What a continued run needs."""
        return {"last_epoch": np.array(self.last_epoch), "base_lr": np.array(self.base_lr)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. The learning rate itself is in the optimiser's."""
        where = "CosineAnnealingLR.load_state_dict"
        for name in ("last_epoch", "base_lr"):
            if name not in state:
                raise ValueError(f"{where}: {name!r} is missing")
        last_epoch = whole(where, "last_epoch", state["last_epoch"])
        self.base_lr = number(where, "base_lr", state["base_lr"], 0)
        self.last_epoch = last_epoch
