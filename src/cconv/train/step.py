"""One update of the weights: a batch, or several whose gradients are added up."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from .._kernels.arrays import all_finite
from .._threads import threads_for
from ..data.rows import loss_options, size_of
from ..doctor.monitor import Monitor, Unwatched
from ..doctor.trace import NotFinite as Origin
from ..doctor.trace import first_not_finite
from ..optim import clip_grad_norm
from .interrupt import Interrupts
from .sources import Batch
from .state import Volatile


class Done(NamedTuple):
    """A batch's loss and outputs."""

    loss: float
    logits: Any
    batch: Batch
    size: int
    share: float  # by which the loss divides: of examples, or the sum of their weights


class NotFinite(FloatingPointError):
    """A step met NaN or infinity; `advice` says where, and `origin` to programs."""

    def __init__(self, loss: float, advice: str, origin: Origin | None):
        super().__init__(loss, advice)
        self.loss = loss
        self.advice = advice
        self.origin = origin


class Step:
    """Gradients and update, of which a failure leaves nothing: either the weights have moved, or all is as it was.

    Parameters
    ----------
    model, loss, optimizer
    clip_norm : float or None
    stop_on_nan : bool
    interrupts : Interrupts
        Held from the moment that the weights move, until the caller releases it.
    monitor : Monitor or Unwatched
        Looks at some of the steps.
    """

    def __init__(
        self,
        model: Any,
        loss: Any,
        optimizer: Any,
        clip_norm: float | None,
        stop_on_nan: bool,
        interrupts: Interrupts,
        monitor: Monitor | Unwatched,
    ):
        self._model = model
        self._loss = loss
        self._optimizer = optimizer
        self._clip_norm = clip_norm
        self._stop_on_nan = stop_on_nan
        self._interrupts = interrupts
        self._monitor: Any = monitor
        self._volatile = Volatile(model)

    def __call__(self, batches: Iterable[Batch], several: bool) -> list[Done]:
        """Update the weights from some batches: `several`, or one.

        Raises
        ------
        NotFinite
            If the loss or a gradient is not finite, before the update.
        """
        self._volatile.keep()
        try:
            self._optimizer.zero_grad()
            with self._monitor.watching() as look:
                done = self._added_up(batches) if several else [self._gradient(batch) for batch in batches]
            if not done:
                return done
            self._monitor.gradients(look)
            if self._stop_on_nan and not self._finite_gradients():
                raise self._not_finite(done[-1].loss, [each.batch for each in done])
            if self._clip_norm is not None:
                clip_grad_norm(self._optimizer.parameters, self._clip_norm)
            self._interrupts.hold()
        except BaseException:
            self._volatile.put_back()
            self._optimizer.zero_grad()
            raise
        self._optimizer.step()
        self._monitor.done(look, len(done), done[0].loss, done[0].logits, done[0].batch)
        return done

    def _gradient(self, batch: Batch, scaled: bool = False) -> Done:
        """Add a batch's gradient, times its size where they are to be `scaled`."""
        x, y, *weight = batch
        logits, backward = self._model.forward(x)
        value, loss_backward = self._loss.forward(logits, y, **loss_options(weight))
        loss, size = scalar(value), size_of(y)
        share = float(np.sum(weight[0], dtype=np.float64)) if weight else size
        if self._stop_on_nan and not math.isfinite(loss):
            raise self._not_finite(loss, [batch])
        backward(loss_backward(share) if scaled else loss_backward(), need_x=False)
        return Done(loss, logits, batch, size, share)

    def _added_up(self, batches: Iterable[Batch]) -> list[Done]:
        """The gradient of the batches together: of means, their mean by size."""
        if getattr(self._loss, "reduction", "mean") == "sum":
            return [self._gradient(batch) for batch in batches]
        done = [self._gradient(batch, scaled=True) for batch in batches]
        total = sum(each.share for each in done)
        for parameter in self._optimizer.parameters:
            if parameter.trainable and total:
                parameter.grad *= 1 / total
        return done

    def _finite_gradients(self) -> bool:
        for parameter in self._optimizer.parameters:
            if parameter.trainable:
                grad = parameter.grad
                if not (
                    all_finite(grad, threads_for(grad.size))
                    if grad.flags.c_contiguous and grad.dtype.char in "fd"
                    else np.isfinite(grad).all()
                ):
                    return False
        return True

    def _not_finite(self, loss: float, batches: list[Batch]) -> NotFinite:
        """Take the step back, and go through it again layer by layer."""
        for x, y, *weight in batches:
            self._volatile.put_back()
            self._optimizer.zero_grad()
            found = first_not_finite(self._model, self._loss, x, y, **loss_options(weight))
            if found is not None:
                if found.what in ("input", "target", "sample_weight"):
                    return NotFinite(loss, str(found), found)
                break
        advice = f"lower the learning rate ({self._optimizer.lr:g}) or set clip_norm"
        return NotFinite(loss, f"{found}: {advice}" if found is not None else advice, found)


def scalar(loss: Any) -> float:
    """A loss as a float; ValueError where it is an array."""
    if isinstance(loss, np.ndarray) and loss.ndim:
        raise ValueError(
            f"Trainer: the loss is an array of shape {loss.shape}, expected a number: use reduction='mean'"
        )
    return float(loss)
