"""Short trainings: their loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..data.rows import loss_options
from ..nn.layer import Layer, pair_of
from ..optim import clip_grad_norm


def descent(
    model: Layer, loss: Any, optimizer: Any, batches: Iterable[tuple], clip_norm: float | None = None
) -> Iterator[tuple[float, Any]]:
    """Train a step a batch, and yield the loss and the outputs of each before its gradients are taken.

    A loss of several numbers counts as their mean. Who has seen enough stops asking.
    """
    for x, y, *weight in batches:
        model.zero_grad()
        optimizer.zero_grad()
        logits, backward = pair_of(model, model.forward(x))
        value, loss_backward = loss.forward(logits, y, **loss_options(weight))
        yield float(np.mean(value)), logits
        backward(gradient(value, loss_backward), need_x=False)
        if clip_norm is not None:
            clip_grad_norm(optimizer.parameters, clip_norm)
        optimizer.step()


def gradient(value: Any, backward: Any) -> Any:
    """Of the mean, where the loss has several values."""
    return backward(np.full_like(value, 1 / np.size(value))) if np.ndim(value) else backward()
