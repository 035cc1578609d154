"""Averages of weights over training steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .._checks import number
from .._shapes import whole
from .optimizer import listed


class EMA:
    """A running average of a model's weights, which often predicts better than the weights of the last step.

    The first update copies the weights, each further one takes ``average += (1 - decay) * (value - average)``, as
    PyTorch's ``AveragedModel`` with ``get_ema_multi_avg_fn`` does. Of a model, buffers are averaged likewise (the
    statistics of batch normalisation); those of whole numbers are copied, and so are frozen parameters.

    Parameters
    ----------
    model : Layer, or iterable of Parameter
    decay : float
        In [0, 1).
    warmup : bool
        After n updates take at most ``(1 + n) / (10 + n)`` as decay, so that the first weights are soon forgotten.

    Attributes
    ----------
    updates : int
        Updates so far.

    Examples
    --------
    >>> ema = optim.EMA(model, 0.999)
    >>> ema.update()                    # after each step of the optimiser
    >>> with ema.averaged():            # predict, evaluate or save with the average
    ...     trainer.evaluate(test)
    """

    def __init__(self, model: Any, decay: float = 0.999, warmup: bool = False):
        self.decay = number("EMA", "decay", decay, 0)
        if self.decay >= 1:
            raise ValueError(f"EMA: decay must be less than 1, got {decay!r}")
        self.warmup = bool(warmup)
        self.updates = 0
        if hasattr(model, "named_parameters"):
            entries = [*model.named_parameters(), *model.named_buffers()]
        else:
            entries = [(str(i), parameter) for i, parameter in enumerate(listed("EMA", model))]
        if not entries:
            raise ValueError("EMA: there are no parameters")
        self._entries: dict[str, Any] = dict(entries)
        self._averages = {name: entry.value.copy() for name, entry in entries}
        self._own: dict[str, np.ndarray] | None = None

    def update(self) -> None:
        """Take in the weights as they are."""
        if self._own is not None:
            raise RuntimeError("EMA: the model holds its averages: call restore() before update()")
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        for name, entry in self._entries.items():
            average, value = self._averages[name], entry.value
            if self.updates and average.dtype.kind == "f" and getattr(entry, "trainable", True):
                change = value - average
                change *= 1 - decay
                average += change
            else:
                average[...] = value
        self.updates += 1

    @property
    def swapped(self) -> bool:
        """Whether the model holds the averages."""
        return self._own is not None

    def averages_any(self, parameters: Iterable[Any]) -> bool:
        """Whether it averages any of these parameters."""
        own = {id(entry) for entry in self._entries.values()}
        return any(id(parameter) in own for parameter in parameters)

    def copy_to(self) -> None:
        """Put the averages in the model's place of weights, until `restore`."""
        if self._own is not None:
            raise RuntimeError("EMA: the model holds its averages already: call restore() first")
        self._own = {name: entry.value.copy() for name, entry in self._entries.items()}
        self._put(self._averages)

    def restore(self) -> None:
        """Give the model its own weights back."""
        if self._own is None:
            raise RuntimeError("EMA: there is nothing to restore: call copy_to() first")
        try:
            self._put(self._own)
        except KeyboardInterrupt:
            self._put(self._own)  # all of them, or the model would be neither
            raise
        finally:
            self._own = None

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """A context in which the model holds its averages."""
        nested = self._own is not None
        try:
            self.copy_to()
            yield
        finally:
            if self._own is not None and not nested:
                self.restore()

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the averages by their names, and the number of updates."""
        return {"updates": np.array(self.updates)} | {name: a.copy() for name, a in self._averages.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises
        ------
        ValueError
            If a name, shape or dtype does not fit; then nothing has changed.
        """
        where = "EMA.load_state_dict"
        for name in ("updates", *self._averages):
            if name not in state:
                raise ValueError(f"{where}: {name!r} is missing")
        unknown = set(state) - {"updates", *self._averages}
        if unknown:
            raise ValueError(f"{where}: {min(unknown)!r} is not an entry of the model")
        loaded = {name: np.array(state[name]) for name in self._averages}
        for name, average in self._averages.items():
            got = loaded[name]
            if got.shape != average.shape or got.dtype != average.dtype:
                raise ValueError(
                    f"{where}: {name!r} is {got.dtype} {got.shape}, expected {average.dtype} {average.shape}"
                )
        self.updates = whole(where, "updates", state["updates"])
        self._averages = loaded

    def _put(self, arrays: dict[str, np.ndarray]) -> None:
        for name, entry in self._entries.items():
            entry.value[...] = arrays[name]
