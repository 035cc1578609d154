"""The course of a training: its losses, the looks at its steps, and whether it learns."""

from __future__ import annotations

import math
from array import array
from collections import deque
from typing import Any

import numpy as np

from ...nn import CrossEntropyLoss, NLLLoss
from ..constant import best_constant
from .look import Look

_TARGETS, _NUMBERS = 512, 2**18  # examples, and numbers of their outputs
_SECONDS = 0.05  # for a search
_CERTAIN = 200  # steps after which classes of batches are looked at in some of them
_EXAMPLES = 256  # whose mean is no matter of luck
_KEPT = 8  # looks that are judged together
# Shares of the best constant's loss: what is gone of it after a while.
NOTHING, SOMETHING = 0.02, 0.2
_FEW, _MANY = 5, 100  # steps before which a loss says nothing, and after which it says much


class Course:
    """What has been seen of a training.

    Attributes
    ----------
    losses : array of float
        One a step.
    looks : deque of Look
        The last ones.
    first : Look or None
        The first.
    epoch_steps : int
        Steps of an epoch, 0 where that is not known.
    labels : array or None
        How often each label was seen in all looks together.
    constant : float or None
        The loss of the best output that is the same for every example; None where it is not known.
    alive : bool
        Whether outputs once differed between examples.
    decay, lr : float
        The optimiser's, at the last look.
    """

    def __init__(self, epoch_steps: int = 0):
        self.losses = array("d")
        self.looks: deque[Look] = deque(maxlen=_KEPT)
        self.first: Look | None = None
        self.epoch_steps = epoch_steps
        self.labels: np.ndarray | None = None
        self.begun: dict[int, int] = {}  # how many batches begin with each class
        self.same = 0  # and end with it
        self.constant: float | None = None
        self.best = -math.inf  # gain so far
        self.lr = self.decay = 0.0
        self.first_lr = 0.0
        self.clip_norm: float | None = None
        self.alive = False
        self.batch = 1  # examples
        self._like: Any = None  # outputs of an example
        self._targets: list[np.ndarray] = []
        self._weighed = 0  # targets that `constant` is of

    @property
    def steps(self) -> int:
        return len(self.losses)

    def step(self, loss: float) -> None:
        """One more loss."""
        try:
            self.losses.append(loss)
        except BufferError:  # someone holds a view of it
            self.losses = array("d", self.losses)
            self.losses.append(loss)

    def ends(self, y: Any) -> None:
        """Of batches, looked at or not, whether they end with the class that they begin with."""
        if self.steps > _CERTAIN and self.steps % 16:
            return
        if not isinstance(y, np.ndarray) or len(y) < 4 or y.dtype.kind not in "buif":
            return
        if y.ndim == 1 and y.dtype.kind in "iu":
            first, last = y.item(0), y.item(-1)
        elif y.ndim == 2 and y.shape[1] > 1:
            first, last = int(y[0].argmax()), int(y[-1].argmax())
        else:
            return
        self.begun[first] = self.begun.get(first, 0) + 1
        self.same += first == last

    @property
    def apart(self) -> bool:
        """Whether batches of several classes were seen."""
        return len(self.begun) > 1 or (self.labels is not None and int(np.count_nonzero(self.labels)) > 1)

    def purity(self) -> tuple[float, float]:
        """The share of batches that end with the class that they begin with, and the share that is due by chance."""
        counts = np.array(list(self.begun.values()) or [1])
        return self.same / counts.sum(), float(((counts / counts.sum()) ** 2).sum())

    def add(self, look: Look) -> None:
        """One more look, of a step whose loss is noted."""
        self.first = self.first or look
        self.looks.append(look)
        self.alive = self.alive or look.spread > 1e-3
        if look.labels is not None:
            same = self.labels is not None and len(self.labels) == len(look.labels)
            self.labels = self.labels + look.labels if same else look.labels.copy()

    def collect(self, outputs: Any, y: Any) -> bool:
        """Take targets along, to know what an output that is the same for every example would cost.

        Whether more are wanted: of small batches those of each step, until there are enough.
        """
        if not isinstance(outputs, np.ndarray) or not isinstance(y, np.ndarray) or not outputs.size or not y.ndim:
            return False
        self._like = outputs[:1].copy()
        self.batch = len(y)
        # Targets as large as images are few.
        most = max(1, min(_TARGETS, _NUMBERS // self._like.size))
        room = most - sum(map(len, self._targets))
        if room > 0 and (not self._targets or y.shape[1:] == self._targets[0].shape[1:]):
            self._targets.append(y[:room].copy())
        return len(y) < room

    def weigh(self, loss: Any, search: bool = False) -> None:
        """Find that out, where it is new; by `search` for any loss, in some 20 ms."""
        count = sum(map(len, self._targets))
        if not count or (count < 2 * self._weighed and not search):
            return
        self._weighed = count
        like = np.repeat(self._like, count, 0)
        found = best_constant(loss, like, np.concatenate(self._targets), search=search, seconds=_SECONDS)
        if found is None and not search:
            return  # only a search could tell
        if found is not None and getattr(loss, "reduction", "mean") == "sum":
            found *= self.batch / count
        if found is not None and isinstance(loss, (CrossEntropyLoss, NLLLoss)) and self.labels is not None:
            # Few labels look more alike than they are (Miller and Madow's correction).
            found += (np.count_nonzero(self.labels) - 1) / (2 * count)
            if self.apart and np.count_nonzero(self.labels) == 1:
                found = None  # looks at one class, of several
        self.constant = found if found is not None and found > 1e-9 else None

    def recent(self) -> float:
        """The mean loss of the last steps."""
        count = min(max(len(self.losses) // 4, _FEW), self.epoch_steps or _MANY, _MANY)
        count = max(count, min(-(-_EXAMPLES // self.batch), len(self.losses) // 2))
        return float(np.mean(self.losses[-count:])) if self.losses else math.nan

    def gain(self) -> float:
        """The share of the best constant's loss that is gone by now; NaN where that is not known."""
        if self.constant is None or self.steps < _FEW:
            return math.nan
        gain = 1 - self.recent() / self.constant
        self.best = max(self.best, gain)
        return gain

    @property
    def learns(self) -> bool:
        """Whether something was learned, and is not forgotten."""
        return self.gain() > SOMETHING

    @property
    def fails(self) -> bool:
        """Whether nothing is learned, of what was long enough to see it."""
        gain = self.gain()
        enough = min(_MANY, self.epoch_steps or _MANY)
        return self.steps >= max(enough, _FEW) and (not math.isfinite(self.recent()) or gain < NOTHING)

    @property
    def stuck(self) -> bool:
        """The same after a few steps: for what can't get better by itself."""
        return self.steps >= _FEW and not self.gain() >= NOTHING and self.constant is not None


def slower(lr: float) -> tuple[str, str]:
    """The cures of steps that are too large."""
    return f"optimizer.lr = {lr / 10:.2g}", "trainer.clip_norm = 1.0"
