"""The loss of a network with several outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._checks import number
from .loss import Loss, LossBackward


class MultiLoss(Loss):
    """The weighted sum of losses, each of an output and a target of its own.

    ``forward(outputs, targets)`` takes tuples, or dicts, of as many as there are losses; ``backward()`` gives the
    outputs' gradients likewise, as the network's ``backward`` takes them.

    Parameters
    ----------
    losses : sequence of Loss, or dict of them
        A dict names outputs and targets.
    weights : sequence or dict of float, optional
        At least 0; 1 each by default.

    Raises
    ------
    TypeError, ValueError
        If there is no loss, or not a weight for each. When called: if outputs or targets are not as many.

    Examples
    --------
    >>> criterion = MultiLoss([CrossEntropyLoss(), CrossEntropyLoss()], weights=(1, 0.3))
    >>> loss, loss_backward = criterion.forward(model_outputs, (y, y))
    """

    def __init__(self, losses: Sequence[Loss] | Mapping[str, Loss], weights: Any = None):
        super().__init__()
        self._named = isinstance(losses, Mapping)
        self._losses: dict[Any, Loss] = dict(_items(losses)) if isinstance(losses, (Mapping, tuple, list)) else {}
        if not self._losses or not all(hasattr(loss, "forward") for loss in self._losses.values()):
            raise TypeError(f"MultiLoss: losses must be a sequence or dict of losses, got {losses!r}")
        given = self._each("weights", dict.fromkeys(self._losses, 1.0) if weights is None else weights, weights is None)
        self.weights = {key: number("MultiLoss", "weights", weight, 0) for key, weight in given.items()}

    def forward(self, logits: Any, target: Any) -> tuple[Any, LossBackward]:
        """The loss, and the closure of its gradient.

        Parameters
        ----------
        logits : tuple or dict of ndarray
            The network's outputs.
        target : tuple or dict of array_like

        Returns
        -------
        loss : scalar of the first output's dtype
        backward : callable
            ``backward(grad_loss=1)`` gives a tuple or dict of gradients. It is called once.
        """
        outputs, targets = self._each("outputs", logits), self._each("targets", target)
        total, backwards = None, {}
        for key, loss in self._losses.items():
            try:
                value, backwards[key] = loss.forward(outputs[key], targets[key])
                if np.ndim(value):
                    raise ValueError(f"reduction={getattr(loss, 'reduction', None)!r} gives no number")
            except Exception as error:
                if len(error.args) == 1 and isinstance(error.args[0], str):
                    error.args = (f"MultiLoss[{key!r}] {error.args[0]}",)
                raise
            value = value * self.weights[key]
            total = value if total is None else total + value
        dtype = np.asarray(next(iter(outputs.values()))).dtype

        def backward(grad_loss: Any) -> Any:
            grads = {key: run(float(grad_loss) * self.weights[key]) for key, run in backwards.items()}
            return grads if self._named else tuple(grads.values())

        return dtype.type(total), LossBackward(backward, dtype)

    def _each(self, name: str, value: Any, ours: bool = False) -> dict[Any, Any]:
        """`value` by the keys of the losses."""
        kind = Mapping if self._named or ours else (tuple, list)
        keys = ", ".join(map(repr, self._losses))
        expected = f"a dict of {keys}" if self._named else f"a tuple of {len(self._losses)}"
        if not isinstance(value, kind):
            raise TypeError(f"MultiLoss: {name} must be {expected}, got {type(value).__name__}")
        items = dict(_items(value))
        if set(items) != set(self._losses):
            got = f"{', '.join(map(repr, items))}" if self._named else f"{len(items)}"
            raise ValueError(f"MultiLoss: {name} must be {expected}, got {got}")
        return items

    def _options(self) -> dict[str, Any]:
        losses = self._losses if self._named else [*self._losses.values()]
        shown = {"losses": repr(losses)}
        if set(self.weights.values()) != {1.0}:
            shown["weights"] = repr(self.weights if self._named else tuple(self.weights.values()))
        return shown


def _items(value: Any) -> Any:
    return value.items() if isinstance(value, Mapping) else enumerate(value)
