"""A training from a start that is kept: again as it was, or with one thing changed."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._random import SHUFFLE, default_state, manual_seed, philox, set_default_state
from .._shapes import whole
from ..data.rows import leaves, size_of, take
from ..nn.loss import BCEWithLogitsLoss
from ..optim import Adam
from .cures import Setting, told
from .descent import descent

LR = 1e-3  # of Adam, where no optimizer was given
BATCH, ROOM = 32, 2**23  # examples of a batch, and bytes that they may take


@dataclass
class Run:
    """What came of a training.

    Attributes
    ----------
    losses : list of float
        Of each step's batch, before the step; it ends early with one that is not finite.
    labels : list of array
        The targets of each step, where they are classes.
    right : list of float
        The share of right answers among them.
    error : str
        What was raised, if a step did.
    setting : Setting
        At the end.
    outputs : array, or tuple or dict of arrays
        Of the last step.
    """

    setting: Setting
    losses: list[float] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    error: str = ""
    outputs: Any = None

    @property
    def diverged(self) -> bool:
        return bool(self.losses) and not math.isfinite(self.losses[-1])


class Experiment:
    """Copies of a training's start, and its batches.

    Runs leave the model, the data, and the generators that numbers are drawn from as they are, and equal runs give
    equal bits.

    Parameters
    ----------
    model, loss
    optimizer : Optimizer or None
        None stands for ``optim.Adam(model.parameters(), lr=1e-3)``.
    batches : callable
        ``batches(n)`` gives the first n batches in a list: (x, y) or (x, y, sample_weight).
    clip_norm : float, optional
    """

    def __init__(
        self,
        model: Any,
        loss: Any,
        optimizer: Any,
        batches: Callable[[int], list[tuple]],
        clip_norm: float | None = None,
    ):
        self.model, self.loss, self.optimizer = copy.deepcopy((model, loss, optimizer))
        self.batches = batches
        self.clip_norm = clip_norm
        self._states = _states()

    def restore_states(self) -> None:
        """Have random generators go on from where they were at the start."""
        _set_states(self._states)

    @property
    def method(self) -> str:
        """The optimiser in words."""
        if self.optimizer is None:
            return f"Adam(lr={LR:g}), as no optimizer was given"
        lr = getattr(self.optimizer, "lr", None)
        return type(self.optimizer).__name__ + (f"(lr={lr:g})" if isinstance(lr, float) else "")

    def setting(self, steps: int) -> Setting:
        """Copies of the start, to train with.

        Raises
        ------
        ValueError
            If there is nothing to train, or there are no batches.
        """
        model, loss, optimizer = copy.deepcopy((self.model, self.loss, self.optimizer))
        if not model.parameters():
            raise ValueError(f"Experiment: {type(model).__name__} has no parameters, which a training could change")
        if optimizer is None:
            optimizer = Adam(model.parameters(), lr=LR)
        given = list(self.batches(whole("Experiment", "steps", steps, 1)))
        if not given:
            raise ValueError("Experiment: there are no batches")
        return Setting(model, loss, optimizer, given, self.clip_norm)

    def run(self, steps: int, cures: Iterable[str] = ()) -> Run:
        """Train from the start, with lines of code run before the first step.

        Raises
        ------
        NotTried
            If a cure cannot be run.
        """
        with self.started(steps, cures) as setting:
            return trained(setting)

    @contextmanager
    def started(self, steps: int, cures: Iterable[str] = ()) -> Iterator[Setting]:
        """Copies of the start to train with, while generators are as they were then; afterwards they are as before."""
        before = _states()
        try:
            _set_states(self._states)
            if self._states[0] is None:
                manual_seed(0)  # nothing was drawn yet: any numbers will do, but each time the same
            with np.errstate(all="ignore"):
                setting = self.setting(steps)
                for cure in cures:
                    setting.apply(cure)
                yield setting
        finally:
            _set_states(before)


def trained(setting: Setting) -> Run:
    """Train with each batch once."""
    run = Run(setting)
    steps = descent(setting.model, setting.loss, setting.optimizer, setting.batches, setting.clip_norm)
    try:
        for (value, outputs), (_, y, *_) in zip(steps, setting.batches, strict=True):
            run.losses.append(value)
            labels = classes(outputs, y)
            if labels is not None:
                run.labels.append(labels)
                run.right.append(_share_right(outputs, labels, setting.loss))
            run.outputs = outputs
            if not math.isfinite(value):
                break
    except Exception as error:
        run.error = told(error)
    return run


def classes(outputs: Any, y: Any) -> np.ndarray | None:
    """The targets as labels, where they are classes that the outputs choose among: one of several, or yes and no."""
    if not isinstance(outputs, np.ndarray) or not isinstance(y, np.ndarray) or not outputs.size or not y.size:
        return None
    if outputs.ndim < 2 or outputs.shape[1] == 1:
        return (y > 0.5).reshape(outputs.shape) if y.size == outputs.size and _binary(y) else None
    if y.shape == outputs.shape and _binary(y) and (y.sum(1) == 1).all():
        return y.argmax(1)
    return y if y.dtype.kind in "iu" and y.shape == outputs.shape[:1] + outputs.shape[2:] else None


def _binary(y: np.ndarray) -> bool:
    return bool(((y == 0) | (y == 1)).all())


def _share_right(outputs: np.ndarray, labels: np.ndarray, loss: Any) -> float:
    if labels.dtype == bool:
        said = outputs > (0.0 if isinstance(loss, BCEWithLogitsLoss) else 0.5)
    else:
        said = outputs.argmax(1)
    counts = labels >= 0  # a negative one is left out by the loss
    return float((said == labels)[counts].mean()) if counts.any() else 0.0


class Shuffled:
    """The batches of a training that has not begun: examples in a random order that is always the same, over and over.

    Parameters
    ----------
    x, y : array, or tuple or dict of arrays
        Held, not copied.
    """

    def __init__(self, x: Any, y: Any):
        self._x = x
        self._y = y

    def __call__(self, n: int) -> list[tuple]:
        """The first n batches."""
        count = size_of(self._y)
        bytes_each = sum(array[:1].nbytes for _, array in leaves(self._x))
        size = max(1, min(BATCH, count, ROOM // max(bytes_each, 1)))
        rows = np.concatenate([philox(0, SHUFFLE, i).permutation(count) for i in range(-(-n * size // count))])
        return [(take(self._x, part), take(self._y, part)) for part in rows[: n * size].reshape(n, size)]


@contextmanager
def untouched() -> Iterator[None]:
    """What is drawn within leaves the default generator, and NumPy's own, as they are."""
    before = _states()
    try:
        yield
    finally:
        _set_states(before)


def _states() -> tuple[Any, Any, Any]:
    return default_state(), np.random.get_state(), random.getstate()  # noqa: NPY002


def _set_states(states: tuple[Any, Any, Any]) -> None:
    set_default_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    random.setstate(states[2])
