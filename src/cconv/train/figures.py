"""The figures of epochs that schedules and callbacks look at: a name that none will have is refused at once."""

from __future__ import annotations

from typing import Any

from ..optim import ReduceLROnPlateau
from .callbacks import BestWeights, EarlyStopping
from .logs import JsonLines, TensorBoard


def check_monitors(trainer: Any, validated: bool) -> None:
    """ValueError where the schedule or a callback looks at a figure that the records of this `fit` will not have."""
    figures = ["loss", *trainer._metrics]
    held_out = [f"val_{name}" for name in figures] if validated else []
    record = dict.fromkeys(["epoch", *figures, "images_per_second", *held_out, "seconds", "lr"], 0.0)
    schedule = trainer.schedule
    if isinstance(schedule, ReduceLROnPlateau) and schedule.monitor and schedule.monitor not in record:
        raise ValueError(
            f"Trainer.fit: the schedule's monitor must be of {', '.join(record)}, got {schedule.monitor!r}"
        )
    for callback in trainer.callbacks:
        if type(callback) in (BestWeights, EarlyStopping):
            callback.figure(record)
        elif not isinstance(callback, (JsonLines, TensorBoard)):
            break  # it may put figures of its own into the record
