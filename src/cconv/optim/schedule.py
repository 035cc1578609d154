"""Learning-rate schedules. Each multiplies the groups' own rates, with PyTorch's names and numbers.

A schedule is a formula of the number of steps taken: its state is that number and the groups' first rates. `Trainer`
takes one step an epoch; a loop of one's own may take one a batch.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .._checks import choice, number
from .._shapes import whole


class Schedule:
    """Base of schedules that are formulas of the number of steps taken.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' rates, when its first schedule is made, are those that the schedule starts from; setting
        ``optimizer.lr`` starts anew for schedules made from then on.

    Attributes
    ----------
    last_epoch : int
        Steps taken.
    base_lrs : list of float
        The rates it starts from.
    """

    def __init__(self, optimizer: Any):
        groups = groups_of(type(self).__name__, optimizer)
        self.optimizer = optimizer
        # Other schedules of the same optimiser may have changed its rates already.
        self.base_lrs = [group.setdefault("initial_lr", group["lr"]) for group in groups]
        self.last_epoch = 0
        self._set(0)

    def step(self) -> None:
        """Set the learning rates of the next epoch."""
        self._set(self.last_epoch + 1)
        self.last_epoch += 1

    def get_last_lr(self) -> list[float]:
        """The rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, np.ndarray]:
        """What a continued run needs."""
        return {"last_epoch": np.array(self.last_epoch), "base_lrs": np.array(self.base_lrs)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. The learning rates themselves are in the optimiser's."""
        where = f"{type(self).__name__}.load_state_dict"
        present(where, state, "last_epoch", "base_lrs")
        last_epoch = whole(where, "last_epoch", state["last_epoch"])
        self.base_lrs = each_group(where, "base_lrs", state["base_lrs"], len(self.base_lrs))
        self.last_epoch = last_epoch

    def _set(self, t: int) -> None:
        for group, lr in zip(self.optimizer.param_groups, self._rates(self.base_lrs, t), strict=True):
            group["lr"] = lr
        self._others(t)

    def _rates(self, lrs: list[float], t: int) -> list[float]:
        """The groups' rates after t steps, where they started from `lrs`."""
        return [self._rate(lr, t) for lr in lrs]

    def _rate(self, lr: float, t: int) -> float:
        raise NotImplementedError

    def _others(self, t: int) -> None:
        """Set options beside the rates."""


class LambdaLR(Schedule):
    """``lr * lr_lambda(t)`` after t steps.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable
        From the number of steps to a factor.
    """

    def __init__(self, optimizer: Any, lr_lambda: Callable[[int], float]):
        if not callable(lr_lambda):
            raise TypeError(f"LambdaLR: lr_lambda must be a function, got {lr_lambda!r}")
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def _rate(self, lr: float, t: int) -> float:
        return lr * self.lr_lambda(t)


class StepLR(Schedule):
    """Times gamma every `step_size` steps.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
        At least 1.
    gamma : float
        At least 0.
    """

    def __init__(self, optimizer: Any, step_size: int, gamma: float = 0.1):
        self.step_size = whole("StepLR", "step_size", step_size, 1)
        self.gamma = number("StepLR", "gamma", gamma, 0)
        super().__init__(optimizer)

    def _rate(self, lr: float, t: int) -> float:
        return lr * self.gamma ** (t // self.step_size)


class MultiStepLR(Schedule):
    """Times gamma after each of `milestones`.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : iterable of int
        Numbers of steps; one that is listed twice counts twice.
    gamma : float
        At least 0.
    """

    def __init__(self, optimizer: Any, milestones: Iterable[int], gamma: float = 0.1):
        self.milestones = sorted(whole("MultiStepLR", "milestones", m) for m in milestones)
        self.gamma = number("MultiStepLR", "gamma", gamma, 0)
        super().__init__(optimizer)

    def _rate(self, lr: float, t: int) -> float:
        return lr * self.gamma ** bisect_right(self.milestones, t)


class ExponentialLR(Schedule):
    """Times gamma every step.

    Parameters
    ----------
    optimizer : Optimizer
    gamma : float
        At least 0.
    """

    def __init__(self, optimizer: Any, gamma: float):
        self.gamma = number("ExponentialLR", "gamma", gamma, 0)
        super().__init__(optimizer)

    def _rate(self, lr: float, t: int) -> float:
        return lr * self.gamma**t


class LinearLR(Schedule):
    """Linearly from ``lr * start_factor`` to ``lr * end_factor``: a warm-up.

    Parameters
    ----------
    optimizer : Optimizer
    start_factor : float
        In (0, 1].
    end_factor : float
        In [0, 1].
    total_iters : int
        Steps from one to the other, at least 1.
    """

    def __init__(self, optimizer: Any, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5):
        self.start_factor = number("LinearLR", "start_factor", start_factor, 0, above=True)
        self.end_factor = number("LinearLR", "end_factor", end_factor, 0)
        for name in ("start_factor", "end_factor"):
            if getattr(self, name) > 1:
                raise ValueError(f"LinearLR: {name} must be at most 1, got {getattr(self, name)!r}")
        self.total_iters = whole("LinearLR", "total_iters", total_iters, 1)
        super().__init__(optimizer)

    def _rate(self, lr: float, t: int) -> float:
        done = min(t, self.total_iters) / self.total_iters
        return lr * (self.start_factor + (self.end_factor - self.start_factor) * done)


class CosineAnnealingLR(Schedule):
    """Lower the learning rates along half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983).

    After t steps it is ``eta_min + (lr - eta_min) * (1 + cos(pi * t / T_max)) / 2``. With a warm-up it first rises for
    `warmup` steps, linearly from ``lr * start_factor``, and the cosine takes the ``T_max - warmup`` steps that remain:
    PyTorch's ``SequentialLR`` of ``LinearLR`` and ``CosineAnnealingLR``.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
        Steps from the first rate to `eta_min`, at least 1.
    eta_min : float
        The lowest learning rate.
    warmup : int
        Less than T_max.
    start_factor : float
        In (0, 1].
    """

    def __init__(
        self, optimizer: Any, T_max: int, eta_min: float = 0.0, *, warmup: int = 0, start_factor: float = 1 / 3
    ):
        self.T_max = whole("CosineAnnealingLR", "T_max", T_max, 1)
        self.eta_min = number("CosineAnnealingLR", "eta_min", eta_min, 0)
        self.warmup = whole("CosineAnnealingLR", "warmup", warmup)
        if self.warmup >= self.T_max:
            raise ValueError(f"CosineAnnealingLR: warmup must be less than T_max={T_max!r}, got {warmup!r}")
        self.start_factor = number("CosineAnnealingLR", "start_factor", start_factor, 0, above=True)
        if self.start_factor > 1:
            raise ValueError(f"CosineAnnealingLR: start_factor must be at most 1, got {start_factor!r}")
        super().__init__(optimizer)

    def _rate(self, lr: float, t: int) -> float:
        if t < self.warmup:
            return lr * (self.start_factor + (1 - self.start_factor) * t / self.warmup)
        fraction = (1 + math.cos(math.pi * (t - self.warmup) / (self.T_max - self.warmup))) / 2
        return self.eta_min + (lr - self.eta_min) * fraction


class OneCycleLR(Schedule):
    """Up to `max_lr` and down to nearly nothing, with momentum the other way (Smith and Topin 2017, arXiv 1708.07120).

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float or sequence of float
        The highest rate, of each group.
    total_steps : int, optional
        Steps of the cycle; or ``epochs * steps_per_epoch``. A step beyond is refused.
    epochs, steps_per_epoch : int, optional
    pct_start : float
        The part of the cycle, 0..1, in which the rate rises.
    anneal_strategy : {"cos", "linear"}
    cycle_momentum : bool
        Move momentum (Adam's first beta) from `max_momentum` to `base_momentum` and back; the optimiser must have one.
    base_momentum, max_momentum : float
    div_factor : float
        The first rate is ``max_lr / div_factor``.
    final_div_factor : float
        The last rate is the first over this.
    three_phase : bool
        Fall to the first rate as long as it rose, and then to the last.
    """

    def __init__(
        self,
        optimizer: Any,
        max_lr: Any,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ):
        where = "OneCycleLR"
        groups = groups_of(where, optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(f"{where}: total_steps, or epochs and steps_per_epoch, must be given")
            total_steps = whole(where, "epochs", epochs, 1) * whole(where, "steps_per_epoch", steps_per_epoch, 1)
        self.total_steps = whole(where, "total_steps", total_steps, 1)
        self.max_lrs = each_group(where, "max_lr", max_lr, len(groups))
        pct_start = number(where, "pct_start", pct_start, 0)
        if pct_start > 1:
            raise ValueError(f"{where}: pct_start must be at most 1, got {pct_start!r}")
        self.anneal_strategy = choice(where, "anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.cycle_momentum = bool(cycle_momentum)
        if self.cycle_momentum and not {"momentum", "betas"} & set(groups[0]):
            raise ValueError(f"{where}: the optimizer has no momentum: give cycle_momentum=False")
        low = number(where, "base_momentum", base_momentum, 0)
        high = number(where, "max_momentum", max_momentum, 0)
        first = 1 / number(where, "div_factor", div_factor, 0, above=True)
        final = first / number(where, "final_div_factor", final_div_factor, 0, above=True)
        # Where each phase ends, and factors of max_lr and momenta at its ends.
        up, last = float(pct_start * self.total_steps) - 1, self.total_steps - 1
        self._phases = [(up, (first, 1.0), (high, low)), (last, (1.0, final), (low, high))]
        if three_phase:
            down = float(2 * pct_start * self.total_steps) - 2
            self._phases[1:] = [(down, (1.0, first), (low, high)), (last, (first, final), (high, high))]
        super().__init__(optimizer)

    def _at(self, t: int) -> tuple[float, float]:
        """The factor of max_lr, and the momentum."""
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR: step {t} of a cycle of {self.total_steps} steps")
        start, phase = 0.0, 0
        while phase < len(self._phases) - 1 and t > self._phases[phase][0]:
            start = self._phases[phase][0]
            phase += 1
        end, factors, momenta = self._phases[phase]
        done = (t - start) / (end - start) if end != start else 1.0
        return self._between(*factors, done), self._between(*momenta, done)

    def _between(self, start: float, end: float, done: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * done
        return end + (start - end) / 2 * (1 + math.cos(math.pi * done))

    def _rates(self, lrs: list[float], t: int) -> list[float]:
        factor = self._at(t)[0]
        return [max_lr * factor for max_lr in self.max_lrs]

    def _others(self, t: int) -> None:
        if self.cycle_momentum:
            momentum = self._at(t)[1]
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum


def groups_of(where: str, optimizer: Any) -> list[dict[str, Any]]:
    if not hasattr(optimizer, "param_groups"):
        raise TypeError(f"{where}: optimizer must be an Optimizer, got {type(optimizer).__name__}")
    return optimizer.param_groups


def each_group(where: str, name: str, value: Any, groups: int) -> list[float]:
    """A number for each group, from one for all or a sequence."""
    several = value if isinstance(value, (tuple, list, np.ndarray)) else [value] * groups
    if len(several) != groups:
        raise ValueError(f"{where}: {name} must be a number or {groups}, one for each group, got {value!r}")
    return [number(where, name, each, 0) for each in several]


def present(where: str, state: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if name not in state:
            raise ValueError(f"{where}: {name!r} is missing")
