"""The learning-rate range test."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .._checks import number
from .._shapes import whole
from ..data.rows import loss_options
from ..optim import clip_grad_norm


class LRCurve:
    """The loss over learning rates, as `find_lr` measured it.

    Attributes
    ----------
    lrs : array (steps,)
        Learning rates, rising.
    losses : array (steps,)
        Loss of each step's batch, before the step.
    smoothed : array (steps,)
        Exponential averages of them, without the bias towards 0 of the first.
    """

    def __init__(self, lrs: np.ndarray, losses: np.ndarray, smoothed: np.ndarray):
        self.lrs = lrs
        self.losses = losses
        self.smoothed = smoothed

    @property
    def suggestion(self) -> float:
        """A learning rate to train with: `steepest`, or a tenth of `minimum` where that is less.

        The average lags behind the losses, which moves `steepest` up: alone it is often too bold.
        """
        return min(self.steepest, self.minimum / 10)

    @property
    def steepest(self) -> float:
        """Where the smoothed loss falls fastest over the logarithm of the learning rate, before its minimum.

        If it falls nowhere, the learning rate of the minimum.
        """
        last = int(self.smoothed.argmin()) + 1
        if last < 3:
            return self.minimum
        slope = np.gradient(self.smoothed[:last], np.log(self.lrs[:last]))
        return float(self.lrs[slope.argmin()])

    @property
    def minimum(self) -> float:
        """The learning rate at which the smoothed loss is least: too high already to train with."""
        return float(self.lrs[self.smoothed.argmin()])

    def plot(self, ax: Any = None) -> Any:
        """Draw the curve and the suggestion; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError as error:
                raise ImportError('LRCurve.plot: matplotlib is not installed: pip install "cconv[plot]"') from error
            ax = plt.figure().add_subplot()
        ax.plot(self.lrs, self.losses, alpha=0.3, label="loss")
        ax.plot(self.lrs, self.smoothed, label="smoothed")
        ax.axvline(self.suggestion, color="gray", linestyle="--", label=f"suggestion: {self.suggestion:.2g}")
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        return (
            f"LRCurve({len(self.lrs)} steps from {self.lrs[0]:.2g} to {self.lrs[-1]:.2g}, "
            f"suggestion={self.suggestion:.2g})"
        )


def find_lr(
    model: Any,
    loss: Any,
    optimizer: Any,
    batches: Iterable[tuple],
    *,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
    divergence: float = 4.0,
    clip_norm: float | None = None,
) -> LRCurve:
    """Train for some steps at learning rates that rise exponentially (Smith 2017, arXiv 1506.01186, section 3.3).

    Afterwards parameters, gradients, buffers, the optimiser's state and options, and layers' own counters
    (``get_extra_state``) are as they were, to the bit, also after an error.

    Parameters
    ----------
    model : Layer
    loss : loss layer
    optimizer : Optimizer
        Learning rates of further groups keep their ratio to the first's.
    batches : iterable of (x, y) or (x, y, sample_weight)
        Gone through again from its beginning if it has less than `steps`.
    start, end : float
        The first and the last learning rate.
    steps : int
        At least 2.
    smoothing : float
        Share of the past in the average of losses, in [0, 1).
    divergence : float
        End when the smoothed loss exceeds this many times its minimum. A loss that is NaN or infinite ends it, too.
    clip_norm : float, optional
        As `Trainer` has it.

    Returns
    -------
    LRCurve

    Raises
    ------
    ValueError
        If there are no batches, or the loss is not finite at the first learning rate already.
    """
    where = "find_lr"
    start, end = number(where, "start", start, 0, above=True), number(where, "end", end, 0, above=True)
    steps = whole(where, "steps", steps, 2)
    smoothing, divergence = number(where, "smoothing", smoothing, 0), number(where, "divergence", divergence, 1)
    if end <= start:
        raise ValueError(f"{where}: end must be more than start {start:g}, got {end:g}")
    if smoothing >= 1:
        raise ValueError(f"{where}: smoothing must be less than 1, got {smoothing:g}")
    lrs = np.geomspace(start, end, steps)
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    put_back = _kept(model, optimizer)
    first = optimizer.param_groups[0]["lr"]
    ratios = [group["lr"] / first if first else 1.0 for group in optimizer.param_groups]
    try:
        for lr, (x, y, *weights) in zip(lrs, _endless(where, batches), strict=False):
            for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
                group["lr"] = float(lr) * ratio
            optimizer.zero_grad()
            outputs, backward = model.forward(x)
            value, loss_backward = loss.forward(outputs, y, **loss_options(weights))
            if np.ndim(value):
                raise ValueError(f"{where}: the loss is an array of shape {np.shape(value)}: use reduction='mean'")
            value = float(value)
            if not math.isfinite(value):
                break
            average = smoothing * average + (1 - smoothing) * value
            losses.append(value)
            smoothed.append(average / (1 - smoothing ** len(losses)))
            if smoothed[-1] > divergence * min(smoothed) > 0:
                break
            backward(loss_backward(), need_x=False)
            if clip_norm is not None:
                clip_grad_norm(optimizer.parameters, clip_norm)
            optimizer.step()
    finally:
        put_back()
    if not losses:
        raise ValueError(f"{where}: the loss is not finite at the first learning rate, {start:g}")
    return LRCurve(lrs[: len(losses)], np.array(losses), np.array(smoothed))


def _endless(where: str, batches: Iterable[tuple]) -> Iterator[tuple]:
    while True:
        count = 0
        for batch in batches:
            count += 1
            yield batch
        if not count:
            raise ValueError(f"{where}: batches is empty, or an iterator that has come to its end: give a list")


def _kept(model: Any, optimizer: Any) -> Callable[[], None]:
    """What brings model and optimiser back to where they are now."""
    weights, state = model.state_dict(), optimizer.state_dict()
    parameters = {id(parameter): parameter for parameter in (*model.parameters(), *optimizer.parameters)}.values()
    grads = [(parameter, parameter.grad.copy()) for parameter in parameters if parameter.grad.any()]
    extra = [(layer, layer.get_extra_state()) for _, layer in model.named_layers() if hasattr(layer, "get_extra_state")]

    def put_back() -> None:
        model.load_state_dict(weights)
        optimizer.load_state_dict(state)
        model.zero_grad()
        optimizer.zero_grad()
        for parameter, grad in grads:
            parameter.grad = grad
        for layer, counters in extra:
            layer.set_extra_state(counters)

    return put_back
