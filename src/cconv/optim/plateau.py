"""The schedule that watches a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._checks import choice, number
from .._shapes import whole
from .schedule import each_group, groups_of, present

_PLATEAU = ("best", "last_epoch", "num_bad_epochs", "cooldown_counter")


class ReduceLROnPlateau:
    """Lower the learning rates when a metric has stopped improving. `Trainer` gives it the epoch's figure.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        Whether less or more of the metric is better.
    factor : float
        What rates are multiplied by, less than 1.
    patience : int
        So many epochs without improvement are borne.
    threshold : float
        How much better counts as an improvement.
    threshold_mode : {"rel", "abs"}
        Whether `threshold` is a part of the best figure, or a difference.
    cooldown : int
        Epochs after a reduction in which nothing is counted.
    min_lr : float or sequence of float
        The lowest rate, of each group.
    eps : float
        A smaller change of a rate is not made.
    monitor : str, optional
        The figure that `Trainer` gives: by default "val_loss", or "loss" where there is no validation.
    """

    def __init__(
        self,
        optimizer: Any,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: Any = 0.0,
        eps: float = 1e-8,
        *,
        monitor: str | None = None,
    ):
        where = "ReduceLROnPlateau"
        groups = groups_of(where, optimizer)
        self.optimizer = optimizer
        self.mode = choice(where, "mode", mode, ("min", "max"))
        self.factor = number(where, "factor", factor, 0)
        if self.factor >= 1:
            raise ValueError(f"{where}: factor must be less than 1, got {factor!r}")
        self.patience = whole(where, "patience", patience)
        self.threshold = number(where, "threshold", threshold, 0)
        self.threshold_mode = choice(where, "threshold_mode", threshold_mode, ("rel", "abs"))
        self.cooldown = whole(where, "cooldown", cooldown)
        self.min_lrs = each_group(where, "min_lr", min_lr, len(groups))
        self.eps = number(where, "eps", eps, 0)
        self.monitor = monitor
        self.best = math.inf if mode == "min" else -math.inf
        self.last_epoch = self.num_bad_epochs = self.cooldown_counter = 0

    def step(self, metrics: float) -> None:
        """Take note of an epoch's figure, and lower the rates if it is time."""
        value = float(metrics)
        self.last_epoch += 1
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                lr = max(group["lr"] * self.factor, lowest)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _better(self, value: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            return sign * value > sign * self.best * (1 + sign * self.threshold)
        return sign * value > sign * self.best + self.threshold

    def get_last_lr(self) -> list[float]:
        """The rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, np.ndarray]:
        """What a continued run needs."""
        return {name: np.array(getattr(self, name)) for name in _PLATEAU}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. The learning rates themselves are in the optimiser's."""
        where = "ReduceLROnPlateau.load_state_dict"
        present(where, state, *_PLATEAU)
        best = float(state["best"])
        counts = {name: whole(where, name, state[name]) for name in _PLATEAU if name != "best"}
        self.best = best
        for name, count in counts.items():
            setattr(self, name, count)
