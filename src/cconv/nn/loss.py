"""Losses. ``criterion(logits, target)`` is the loss; ``criterion.forward(logits, target)`` also gives its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from .._checks import choice, number, real
from .._shapes import whole


class Loss:
    """Base of losses.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
        What becomes of the losses of all examples (for losses that compare number by number, of all numbers).
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

    def __call__(self, logits: np.ndarray, target: Any, **options: Any) -> Any:
        """The loss alone."""
        return self.forward(logits, target, **options)[0]

    def _options(self) -> dict[str, Any]:
        """What differs from the defaults, for `repr`."""
        return {}

    def __repr__(self) -> str:
        options = self._options() | ({} if self.reduction == "mean" else {"reduction": repr(self.reduction)})
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in options.items())})"


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


class _LabelLoss(Loss):
    """What CrossEntropyLoss and NLLLoss share."""

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(reduction)
        self.weight = _weight(type(self).__name__, "weight", weight)
        self.ignore_index = whole(type(self).__name__, "ignore_index", ignore_index, -(2**62))

    def _options(self) -> dict[str, Any]:
        shown = {} if self.weight is None else {"weight": f"<{self.weight.size} classes>"}
        return shown | ({} if self.ignore_index == -100 else {"ignore_index": self.ignore_index})


class CrossEntropyLoss(_LabelLoss):
    """Cross-entropy of a softmax over axis 1 (PyTorch's ``CrossEntropyLoss``). It takes logits: no softmax before it.

    `target` holds integer labels (N,) or (N, d1, ...), or a distribution of the logits' shape: one-hot or soft labels.
    ``forward(logits, target, sample_weight=w)`` weighs each example by w (N,), or each position by w (N, d1, ...).

    Parameters
    ----------
    weight : array_like (C,), optional
        What each class counts.
    ignore_index : int
        Positions with this label have loss 0, and count nothing.
    reduction : "mean", "sum" or "none"
        The mean divides by the sum of the labels' weights, times the samples'; with neither by the number of positions.
    label_smoothing : float
        The part of the target, 0..1, that is shared equally among all classes.
    """

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ):
        super().__init__(weight, ignore_index, reduction)
        self.label_smoothing = number("CrossEntropyLoss", "label_smoothing", label_smoothing, 0)
        if self.label_smoothing > 1:
            raise ValueError(f"CrossEntropyLoss: label_smoothing must be at most 1, got {label_smoothing!r}")

    def _options(self) -> dict[str, Any]:
        return super()._options() | ({"label_smoothing": self.label_smoothing} if self.label_smoothing else {})

    def forward(
        self, logits: np.ndarray, target: Any, sample_weight: Any = None
    ) -> tuple[Any, Callable[..., np.ndarray]]:
        logits, target = real("CrossEntropyLoss", "logits", logits), np.asarray(target)
        if target.shape == logits.shape:
            target = _as_logits("CrossEntropyLoss", "target", target, logits.dtype)
        weight = None if self.weight is None else self.weight.astype(logits.dtype, copy=False)
        if sample_weight is not None:
            sample_weight = _as_logits("CrossEntropyLoss", "sample_weight", sample_weight, logits.dtype)
            sample_weight = _over(sample_weight, (*logits.shape[:1], *logits.shape[2:]))
        options = weight, self.ignore_index, self.reduction, self.label_smoothing
        loss = F.cross_entropy(logits, target, *options, sample_weight=sample_weight)

        def backward(grad_loss: Any) -> np.ndarray:
            return F.cross_entropy_backward(grad_loss, logits, target, *options, sample_weight=sample_weight)

        return loss, LossBackward(backward, logits.dtype)


class NLLLoss(_LabelLoss):
    """Minus the log-probability of the target (PyTorch's ``NLLLoss``), after a logarithm of softmax.

    `target` holds integer labels (N,) or (N, d1, ...). ``forward(x, target, sample_weight=w)`` weighs each position.

    Parameters
    ----------
    weight : array_like (C,), optional
        What each class counts.
    ignore_index : int
        Positions with this label have loss 0, and count nothing.
    reduction : "mean", "sum" or "none"
        The mean divides by the sum of the labels' weights, times the samples'.
    """

    def forward(
        self, logits: np.ndarray, target: Any, sample_weight: Any = None
    ) -> tuple[Any, Callable[..., np.ndarray]]:
        x, target = real("NLLLoss", "x", logits), np.asarray(target)
        weight = None if self.weight is None else self.weight.astype(x.dtype, copy=False)
        if sample_weight is not None:
            sample_weight = _as_logits("NLLLoss", "sample_weight", sample_weight, x.dtype)
        options = weight, self.ignore_index, self.reduction
        loss = F.nll_loss(x, target, *options, sample_weight=sample_weight)

        def backward(grad_loss: Any) -> np.ndarray:
            return F.nll_loss_backward(grad_loss, x, target, *options, sample_weight=sample_weight)

        return loss, LossBackward(backward, x.dtype)


class _NumberLoss(Loss):
    """A loss of each number of x and of `target`, which has x's shape.

    ``forward(x, target, sample_weight=w)`` weighs each example by w (N,), or each number by w of x's shape; the mean
    divides by the sum of the weights.
    """

    _operation: tuple[Callable[..., Any], Callable[..., np.ndarray]]

    def _arguments(self, dtype: np.dtype) -> dict[str, Any]:
        """Of the operation, beside x, target and reduction."""
        return {}

    def forward(
        self, logits: np.ndarray, target: Any, sample_weight: Any = None
    ) -> tuple[Any, Callable[..., np.ndarray]]:
        where = type(self).__name__
        x = real(where, "x", logits)
        target = _as_logits(where, "target", target, x.dtype)
        operation, gradient = self._operation
        if sample_weight is not None:
            weight = _over(_as_logits(where, "sample_weight", sample_weight, x.dtype), x.shape)
            if weight.shape != x.shape:
                raise ValueError(
                    f"{where}: sample_weight has shape {weight.shape}, expected {x.shape[:1]} or {x.shape}"
                )
            return self._weighted(x, target, weight)
        options = {"reduction": self.reduction} | self._arguments(x.dtype)
        loss = operation(x, target, **options)

        def backward(grad_loss: Any) -> np.ndarray:
            return gradient(grad_loss, x, target, **options)

        return loss, LossBackward(backward, x.dtype)

    def _weighted(self, x: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[Any, LossBackward]:
        operation, gradient = self._operation
        options = {"reduction": "none"} | self._arguments(x.dtype)
        if self.reduction == "mean":
            weight = weight / weight.sum(dtype=np.float64).astype(x.dtype)
        losses = weight * operation(x, target, **options)
        loss = losses if self.reduction == "none" else losses.sum(dtype=np.float64).astype(x.dtype)

        def backward(grad_loss: Any) -> np.ndarray:
            return gradient((weight * grad_loss).astype(x.dtype, copy=False), x, target, **options)

        return loss, LossBackward(backward, x.dtype)


class MSELoss(_NumberLoss):
    """The squared difference (PyTorch's ``MSELoss``); `target` is of x's shape.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
    """

    _operation = F.mse_loss, F.mse_loss_backward


class L1Loss(_NumberLoss):
    """The size of the difference (PyTorch's ``L1Loss``); `target` is of x's shape.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
    """

    _operation = F.l1_loss, F.l1_loss_backward


class HuberLoss(_NumberLoss):
    """Half the squared difference up to delta, linear from there (PyTorch's ``HuberLoss``; Huber 1964).

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
    delta : float
        More than 0.
    """

    _operation = F.huber_loss, F.huber_loss_backward

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction)
        self.delta = number("HuberLoss", "delta", delta, 0, above=True)

    def _arguments(self, dtype: np.dtype) -> dict[str, Any]:
        return {"delta": self.delta}

    def _options(self) -> dict[str, Any]:
        return {} if self.delta == 1 else {"delta": self.delta}


class SmoothL1Loss(_NumberLoss):
    """`HuberLoss` over its delta, here beta (PyTorch's ``SmoothL1Loss``; Girshick 2015).

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
    beta : float
        At least 0, where 0 gives `L1Loss`.
    """

    _operation = F.smooth_l1_loss, F.smooth_l1_loss_backward

    def __init__(self, reduction: str = "mean", beta: float = 1.0):
        super().__init__(reduction)
        self.beta = number("SmoothL1Loss", "beta", beta, 0)

    def _arguments(self, dtype: np.dtype) -> dict[str, Any]:
        return {"beta": self.beta}

    def _options(self) -> dict[str, Any]:
        return {} if self.beta == 1 else {"beta": self.beta}


class BCELoss(_NumberLoss):
    """Cross-entropy of a probability (PyTorch's ``BCELoss``), after a sigmoid; `BCEWithLogitsLoss` is more exact.

    `target` is of x's shape: 0, 1 or a probability between.

    Parameters
    ----------
    weight : array_like that broadcasts to x's shape, optional
        What each number's loss is multiplied by. A mean is over all numbers none the less.
    reduction : "mean", "sum" or "none"
    """

    _operation = F.binary_cross_entropy, F.binary_cross_entropy_backward

    def __init__(self, weight: Any = None, reduction: str = "mean"):
        super().__init__(reduction)
        self.weight = _weight(type(self).__name__, "weight", weight)

    def _arguments(self, dtype: np.dtype) -> dict[str, Any]:
        return {"weight": None if self.weight is None else self.weight.astype(dtype, copy=False)}

    def _options(self) -> dict[str, Any]:
        return {} if self.weight is None else {"weight": f"<{self.weight.shape}>"}


class BCEWithLogitsLoss(BCELoss):
    """Cross-entropy of a logistic output (PyTorch's ``BCEWithLogitsLoss``). It takes logits: no sigmoid before it.

    `target` is of x's shape: 0, 1 or a probability between.

    Parameters
    ----------
    weight : array_like that broadcasts to x's shape, optional
        What each number's loss is multiplied by. A mean is over all numbers none the less.
    reduction : "mean", "sum" or "none"
    pos_weight : array_like that broadcasts to x's shape, optional
        What positive examples count against negative ones, such as one number a class.
    """

    _operation = F.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits_backward

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None):
        super().__init__(weight, reduction)
        self.pos_weight = _weight("BCEWithLogitsLoss", "pos_weight", pos_weight)

    def _arguments(self, dtype: np.dtype) -> dict[str, Any]:
        positive = None if self.pos_weight is None else self.pos_weight.astype(dtype, copy=False)
        return super()._arguments(dtype) | {"pos_weight": positive}

    def _options(self) -> dict[str, Any]:
        return super()._options() | ({} if self.pos_weight is None else {"pos_weight": f"<{self.pos_weight.shape}>"})


def _weight(where: str, name: str, value: Any) -> np.ndarray | None:
    """A copy, as a weight is kept."""
    return None if value is None else np.array(_as_logits(where, name, value, np.dtype(np.float64)))


def _over(weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A weight an example (N,), for all that the example has: of `shape` (N, ...)."""
    if weight.shape == shape[:1] != shape:
        return np.ascontiguousarray(np.broadcast_to(weight.reshape(-1, *[1] * (len(shape) - 1)), shape))
    return weight


def _as_logits(where: str, name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{where}: {name} has dtype {array.dtype}, expected real numbers")
    return array.astype(dtype, copy=False)
