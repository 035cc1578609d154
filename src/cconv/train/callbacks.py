"""Callbacks: what `Trainer` calls between batches and epochs. Here those of the best epoch; logs.py has others.

A callback has any of ``on_fit_begin(trainer)``, ``on_epoch_begin(trainer, epoch)``,
``on_batch_end(trainer, batch, loss)``, ``on_epoch_end(trainer, record)`` and ``on_fit_end(trainer)``; with
``state_dict()`` and ``load_state_dict(state)`` a checkpoint keeps it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._checks import choice, number
from .._shapes import whole
from .progress import say, short

_RISING = re.compile(r"^(?!.*(?:loss|err)).*(?:acc|auc|f1|precision|recall|top\d|score|iou|dice)")


class _Best:
    """The best epoch so far by one figure of its record."""

    def __init__(self, monitor: str, mode: str, min_delta: float):
        self._name = type(self).__name__
        if not isinstance(monitor, str) or not monitor:
            raise TypeError(f"{self._name}: monitor must be a name such as 'val_loss', got {monitor!r}")
        self.monitor = monitor
        self.mode = choice(self._name, "mode", mode, ("auto", "min", "max"))
        self.min_delta = number(self._name, "min_delta", min_delta, 0)
        self.best: float | None = None
        self.best_epoch = 0

    def figure(self, record: Mapping[str, Any]) -> float:
        """The figure that it looks at; ValueError if that is no number of the record."""
        value = record.get(self.monitor)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            numbers = [name for name, figure in record.items() if isinstance(figure, (int, float)) and name != "epoch"]
            missing = self.monitor.startswith("val_") and not any(name.startswith("val_") for name in record)
            hint = ": give fit validation data" if missing else ""
            raise ValueError(f"{self._name}: monitor must be one of {', '.join(numbers)}, got {self.monitor!r}{hint}")
        return value

    def _improves(self, record: Mapping[str, Any]) -> bool:
        """Whether this is the best epoch so far, which it then is."""
        value = self.figure(record)
        rising = self.mode == "max" or (self.mode == "auto" and _RISING.search(self.monitor) is not None)
        # NaN is no improvement, and anything is one of nothing.
        gain = -math.inf if math.isnan(value) else math.inf
        if self.best is not None and not math.isnan(value):
            gain = value - self.best if rising else self.best - value
        if not gain > (0 if self.best is None else self.min_delta):
            return False
        self.best, self.best_epoch = float(value), int(record["epoch"])
        return True

    def state_dict(self) -> dict[str, Any]:
        """What a continued run needs."""
        best = np.array(math.nan if self.best is None else self.best)
        return {"monitor": self.monitor, "best": best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        if state["monitor"] != self.monitor:
            raise ValueError(f"{self._name}: the state is of monitor {state['monitor']!r}, expected {self.monitor!r}")
        best = float(state["best"])
        self.best, self.best_epoch = None if math.isnan(best) else best, int(state["best_epoch"])


class BestWeights(_Best):
    """Keep the weights of the best epoch in memory, and put them back at the end of ``fit``.

    Parameters and buffers are put back, and the averages of the trainer's `ema`, not the optimiser's state.

    Parameters
    ----------
    monitor : str
        A figure of the epoch's record: "val_loss", "loss", "val_accuracy", ...
    mode : {"auto", "min", "max"}
        Whether less or more is better. "auto" is "max" for accuracy, f1, precision, recall, top-k and the like.
    min_delta : float
        What a figure must be better by to count as better.
    restore : bool
        False leaves the last weights in the model; `restore_to` puts the best ones into any.

    Attributes
    ----------
    best : float or None
    best_epoch : int
        Counted from 1; 0 before there is one.

    Raises
    ------
    ValueError
        If `monitor` is no number of an epoch's record; when ``fit`` begins where that is known, else after an epoch.
    """

    def __init__(self, monitor: str = "val_loss", *, mode: str = "auto", min_delta: float = 0.0, restore: bool = True):
        super().__init__(monitor, mode, min_delta)
        self.restore = restore
        self._weights: dict[str, np.ndarray] = {}
        self._averages: dict[str, np.ndarray] = {}

    def on_epoch_end(self, trainer: Any, record: Mapping[str, Any]) -> None:
        if self._improves(record):
            self._keep(trainer)

    def on_fit_end(self, trainer: Any) -> None:
        if self.restore and self._weights:
            self.restore_to(trainer.model)
            if self._averages:
                trainer.ema.load_state_dict(self._averages)

    def _keep(self, trainer: Any) -> None:
        self._weights = trainer.model.state_dict()
        ema = getattr(trainer, "ema", None)
        self._averages = {} if ema is None else ema.state_dict()

    def restore_to(self, model: Any) -> None:
        """Put the best weights into a model.

        Raises
        ------
        ValueError
            If no epoch has been seen, or the model is another.
        """
        if not self._weights:
            raise ValueError(f"{self._name}: no epoch has had a best {self.monitor} yet")
        model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        weights = {f"weights.{path}": value for path, value in self._weights.items()}
        return super().state_dict() | weights | {f"averages.{path}": value for path, value in self._averages.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._weights, self._averages = (
            {name.removeprefix(kind): np.array(value) for name, value in state.items() if name.startswith(kind)}
            for kind in ("weights.", "averages.")
        )


class EarlyStopping(BestWeights):
    """Stop training once a figure has not become better for some epochs (Prechelt 1998, "Early stopping - but when?").

    Parameters
    ----------
    monitor, mode, min_delta
        As in `BestWeights`.
    patience : int
        Training stops after this many epochs in a row without a better figure; 0 is as 1.
    restore_best : bool
        Put the weights of the best epoch back at the end of ``fit``, however it ends.

    Attributes
    ----------
    best, best_epoch
        As in `BestWeights`.
    stopped_epoch : int
        The epoch after which training was stopped, 0 if it was not.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        *,
        restore_best: bool = False,
    ):
        super().__init__(monitor, mode=mode, min_delta=min_delta, restore=restore_best)
        self.patience = whole(self._name, "patience", patience)
        self.stopped_epoch = 0
        self._waited = 0

    def on_epoch_end(self, trainer: Any, record: Mapping[str, Any]) -> None:
        if self._improves(record):
            self._waited = 0
            if self.restore:
                self._keep(trainer)
            return
        self._waited += 1
        if self._waited >= max(self.patience, 1):
            trainer.stop = True
            self.stopped_epoch = int(record["epoch"])

    def on_fit_end(self, trainer: Any) -> None:
        super().on_fit_end(trainer)
        if self._waited >= max(self.patience, 1) and getattr(trainer, "progress", False):
            why = f"{self.monitor} is NaN"
            if self.best is not None:
                back = ", whose weights are back" if self.restore else ""
                why = f"no better {self.monitor} than {short(self.best)} of epoch {self.best_epoch}{back}"
            say(f"stopped after epoch {self.stopped_epoch}: {why}")
        # A further fit has all its patience.
        self._waited = 0

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"waited": self._waited, "stopped_epoch": self.stopped_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._waited, self.stopped_epoch = int(state["waited"]), int(state["stopped_epoch"])
