"""Losses. ``criterion(logits, target)`` is the loss; ``criterion.forward(logits, target)`` also gives its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._checks import choice, real
from ..functional import (
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_backward,
    cross_entropy,
    cross_entropy_backward,
    mse_loss,
    mse_loss_backward,
)


class Loss:
    """Base of losses.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
        What becomes of the losses of all examples (for `MSELoss` and `BCEWithLogitsLoss`, of all elements).
    """

    def __init__(self, reduction: str = "mean"):
        self.reduction = choice(type(self).__name__, "reduction", reduction, ("mean", "sum", "none"))

    def forward(self, logits: np.ndarray, target: Any) -> tuple[Any, Callable[..., np.ndarray]]:
        """The loss, and the closure of its gradient.

        Parameters
        ----------
        logits : ndarray
        target : array_like

        Returns
        -------
        loss : scalar of the logits' dtype, or ndarray with ``reduction="none"``
        backward : callable
            ``backward(grad_loss=1)`` gives grad_logits. It is called once.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward(self, logits, target)")

    def __call__(self, logits: np.ndarray, target: Any) -> Any:
        """The loss alone."""
        return self.forward(logits, target)[0]

    def __repr__(self) -> str:
        reduction = "" if self.reduction == "mean" else f"reduction={self.reduction!r}"
        return f"{type(self).__name__}({reduction})"


class LossBackward:
    """The closure that a loss's `forward` returns: callable once."""

    __slots__ = ("_dtype", "_run")

    def __init__(self, run: Callable[[Any], np.ndarray], dtype: np.dtype):
        self._run: Callable[[Any], np.ndarray] | None = run
        self._dtype = dtype

    def __call__(self, grad_loss: Any = 1.0) -> np.ndarray:
        run = self._run
        if run is None:
            raise RuntimeError("loss_backward was called before: it runs once, call forward again for another")
        self._run = None
        if isinstance(grad_loss, np.ndarray) and grad_loss.dtype is not self._dtype:
            grad_loss = grad_loss.astype(self._dtype)
        return run(grad_loss)


class CrossEntropyLoss(Loss):
    """Cross-entropy of a softmax over axis 1 (PyTorch's ``CrossEntropyLoss``). It takes logits: no softmax before it.

    `target` holds integer labels (N,) or (N, d1, ...), or a distribution of the logits' shape: one-hot or soft labels.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
    """

    def forward(self, logits: np.ndarray, target: Any) -> tuple[Any, Callable[..., np.ndarray]]:
        logits, target = real("CrossEntropyLoss", "logits", logits), np.asarray(target)
        if target.shape == logits.shape:
            target = _as_logits("CrossEntropyLoss", target, logits.dtype)
        loss = cross_entropy(logits, target, self.reduction)

        def backward(grad_loss: Any) -> np.ndarray:
            return cross_entropy_backward(grad_loss, logits, target, self.reduction)

        return loss, LossBackward(backward, logits.dtype)


class MSELoss(Loss):
    """The squared difference (PyTorch's ``MSELoss``); `target` is of x's shape.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
    """

    def forward(self, logits: np.ndarray, target: Any) -> tuple[Any, Callable[..., np.ndarray]]:
        x = real("MSELoss", "x", logits)
        target = _as_logits("MSELoss", target, x.dtype)
        loss = mse_loss(x, target, self.reduction)

        def backward(grad_loss: Any) -> np.ndarray:
            return mse_loss_backward(grad_loss, x, target, self.reduction)

        return loss, LossBackward(backward, x.dtype)


class BCEWithLogitsLoss(Loss):
    """Cross-entropy of a logistic output (PyTorch's ``BCEWithLogitsLoss``). It takes logits: no sigmoid before it.

    `target` is of x's shape: 0, 1 or a probability between.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
    """

    def forward(self, logits: np.ndarray, target: Any) -> tuple[Any, Callable[..., np.ndarray]]:
        x = real("BCEWithLogitsLoss", "x", logits)
        target = _as_logits("BCEWithLogitsLoss", target, x.dtype)
        loss = binary_cross_entropy_with_logits(x, target, self.reduction)

        def backward(grad_loss: Any) -> np.ndarray:
            return binary_cross_entropy_with_logits_backward(grad_loss, x, target, self.reduction)

        return loss, LossBackward(backward, x.dtype)


def _as_logits(where: str, target: Any, dtype: np.dtype) -> np.ndarray:
    target = np.asarray(target)
    if target.dtype.kind not in "buif":
        raise TypeError(f"{where}: target has dtype {target.dtype}, expected real numbers")
    return target.astype(dtype, copy=False)
