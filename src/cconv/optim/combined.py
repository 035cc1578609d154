"""Schedules made of schedules."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

from .._shapes import whole
from .schedule import Schedule


class ChainedScheduler(Schedule):
    """Several schedules of one optimiser at once: each changes the rates that those before it give.

    Parameters
    ----------
    schedulers : sequence of Schedule
        They take no steps of their own from then on.
    """

    def __init__(self, schedulers: Iterable[Schedule]):
        self.schedulers = _of_one_optimizer(type(self).__name__, schedulers)
        super().__init__(self.schedulers[0].optimizer)

    def _rates(self, lrs: list[float], t: int) -> list[float]:
        for schedule in self.schedulers:
            lrs = schedule._rates(lrs, t)
        return lrs

    def _others(self, t: int) -> None:
        for schedule in self.schedulers:
            schedule._others(t)


class SequentialLR(Schedule):
    """Several schedules of one optimiser, one after the other, each from its own beginning.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : sequence of Schedule
        They take no steps of their own from then on.
    milestones : sequence of int
        The steps at which the second and further ones begin, rising.
    """

    def __init__(self, optimizer: Any, schedulers: Iterable[Schedule], milestones: Iterable[int]):
        self.schedulers = _of_one_optimizer("SequentialLR", schedulers)
        if self.schedulers[0].optimizer is not optimizer:
            raise ValueError("SequentialLR: schedulers are of another optimizer")
        self.milestones = [whole("SequentialLR", "milestones", m) for m in milestones]
        if len(self.milestones) != len(self.schedulers) - 1 or sorted(set(self.milestones)) != self.milestones:
            raise ValueError(
                f"SequentialLR: milestones must be {len(self.schedulers) - 1} rising numbers for "
                f"{len(self.schedulers)} schedulers, got {self.milestones}"
            )
        super().__init__(optimizer)

    def _current(self, t: int) -> tuple[Schedule, int]:
        index = bisect_right(self.milestones, t)
        return self.schedulers[index], t - (self.milestones[index - 1] if index else 0)

    def _rates(self, lrs: list[float], t: int) -> list[float]:
        schedule, since = self._current(t)
        return schedule._rates(lrs, since)

    def _others(self, t: int) -> None:
        schedule, since = self._current(t)
        schedule._others(since)


def _of_one_optimizer(where: str, schedulers: Iterable[Schedule]) -> list[Schedule]:
    listed = list(schedulers)
    if not listed:
        raise ValueError(f"{where}: schedulers is empty")
    for schedule in listed:
        if not isinstance(schedule, Schedule):
            raise TypeError(f"{where}: schedulers must be formulas of the step, got {type(schedule).__name__}")
        if schedule.optimizer is not listed[0].optimizer:
            raise ValueError(f"{where}: schedulers must be of one optimizer")
    return listed
