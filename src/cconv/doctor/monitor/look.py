"""A look at one training step: what its layers gave, what gradients came back, how far the weights moved."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...nn import Softplus
from ...nn._wrap import Forward, wrapped
from ...nn.layer import Layer, pair_of
from ..checks.case import LINEAR, bounds_of, is_own
from ..checks.signal import END
from ..watch import Call

_NUMBERS = 2**16  # of a layer's outputs that are looked at, in whole examples
_SAMPLE = 2**14  # of a parameter


@dataclass(slots=True)
class Seen:
    """Numbers of one layer in one step, over some of the batch's examples.

    Attributes
    ----------
    kind : str
    examples : int
    size : float
        Root of the mean square of the outputs.
    grad : float
        The same of the gradient with respect to the outputs; NaN where none came.
    bounds : (low, high) or None
        Of an activation's outputs.
    before : float
        The mean of what an activation was given.
    active : float
        The share of an activation's outputs above the middle of its range, or above 0 where it has no end.
    ends : float
        The share of outputs at the ends of a bounded range.
    fired : array of bool or None
        Which units gave more than 0 for any example, of activations that begin at 0.
    """

    kind: str
    examples: int
    size: float
    grad: float = math.nan
    bounds: tuple[float, float] | None = None
    before: float = math.nan
    active: float = math.nan
    ends: float = math.nan
    fired: np.ndarray | None = None


@dataclass(slots=True)
class Moved:
    """Numbers of one weight in one step, over a sample of its entries.

    Attributes
    ----------
    size, grad, update : float
        Roots of mean squares: of the weight, of its gradient, and of what the step added.
    """

    size: float
    grad: float
    update: float = math.nan


@dataclass
class Look:
    """What was seen in a step; see `Seen` and `Moved`.

    Attributes
    ----------
    step : int
    layers : dict of str to Seen
        By path, in the order of the calls.
    weights : dict of str to Moved
        By path: of weights of two and more axes that are trained.
    spread : float
        How much the outputs differ between examples, beside their size; NaN where that says nothing.
    labels : array or None
        How often each label occurs.
    """

    step: int
    layers: dict[str, Seen] = field(default_factory=dict)
    weights: dict[str, Moved] = field(default_factory=dict)
    spread: float = math.nan
    labels: np.ndarray | None = None


class Watcher:
    """Looks at steps of one model.

    Parameters
    ----------
    model : Layer
    optimizer : Optimizer

    Attributes
    ----------
    size : int
        How many layers it has.
    own : bool
        Whether there is a layer of the user's own, of which nobody knows what a further call does.
    """

    def __init__(self, model: Layer, optimizer: Any):
        self._layers = model.named_layers()
        self.size = len(self._layers)
        self.own = any(is_own(layer) for _, layer in self._layers)
        given = {id(parameter) for parameter in getattr(optimizer, "parameters", ())}
        self._weights = [
            (path, parameter)
            for path, parameter in model.named_parameters()
            if parameter.value.ndim > 1 and parameter.value.size and id(parameter) in given
        ]
        self._bounds: dict[str, tuple[float, float] | None] = {}
        self._before: dict[str, np.ndarray] = {}
        self._open: list[bool] = []  # of each call in progress, whether another was made within
        self._thread = 0  # whose calls are looked at
        self._look = Look(0)
        self.seconds = 0.0  # spent within steps that are watched

    @contextlib.contextmanager
    def watching(self, step: int) -> Iterator[Look]:
        """Within this context layers are looked at as they are called."""
        begun = time.thread_time()
        self._look = look = Look(step)
        self._open, self._thread = [], threading.get_ident()
        with wrapped(self._layers, self._watched):
            self.seconds += time.thread_time() - begun
            yield look
            begun = time.thread_time()
        self.seconds += time.thread_time() - begun

    def gradients(self) -> None:
        """Look at the gradients, before they are used."""
        for path, parameter in self._weights:
            if parameter.trainable:
                grad = 0.0 if parameter._grad is None else _rms(_sample(parameter._grad))
                self._before[path] = sample = _sample(parameter.value).copy()
                self._look.weights[path] = Moved(_rms(sample), grad)

    def updated(self, outputs: Any, y: Any) -> None:
        """Look at the weights once they have moved, and at what the network gave."""
        for path, parameter in self._weights:
            before = self._before.pop(path, None)
            if before is not None:
                self._look.weights[path].update = _rms(_sample(parameter.value) - before)
        self._outputs(outputs, y)

    def _watched(self, path: str, layer: Layer, forward: Forward) -> Forward:
        def watched_forward(*args: Any, **options: Any) -> tuple[Any, Callable[..., Any]]:
            # Whoever predicts in another thread meanwhile is not looked at.
            if threading.get_ident() != self._thread:
                return forward(*args, **options)
            calls = self._open
            if calls:
                calls[-1] = True
            calls.append(False)
            try:
                y, backward = pair_of(layer, forward(*args, **options))
            finally:
                within = calls.pop()
            if within or path in self._look.layers:
                return y, backward
            begun = time.thread_time()
            seen = None
            # An error in here must not end a training.
            with np.errstate(all="ignore"), contextlib.suppress(Exception):
                seen = self._seen(path, layer, args[0] if args else None, y)
            self.seconds += time.thread_time() - begun
            if seen is None or not isinstance(layer, LINEAR):
                return y, backward

            def watched_backward(grad_y: Any, *args: Any, **options: Any) -> Any:
                begun = time.thread_time()
                if isinstance(grad_y, np.ndarray) and grad_y.ndim:
                    with np.errstate(all="ignore"):
                        seen.grad = _rms(_rows(grad_y))
                self.seconds += time.thread_time() - begun
                return backward(grad_y, *args, **options)

            return y, watched_backward

        return watched_forward

    def _seen(self, path: str, layer: Layer, x: Any, y: Any) -> Seen | None:
        if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray) or y.ndim < 2 or y.dtype.kind != "f":
            return None
        if path not in self._bounds:
            self._bounds[path] = _bounds(layer, _rows(x), _rows(y))
        bounds = self._bounds[path]
        if bounds is None and not isinstance(layer, LINEAR):
            return None
        part = _rows(y)
        seen = self._look.layers[path] = Seen(type(layer).__name__, len(part), _rms(part), bounds=bounds)
        if bounds is not None and part.size:
            low, high = bounds
            seen.before = float(_rows(x).mean(dtype=np.float64))
            if math.isinf(high) or math.isinf(low):
                above = part > 0
            else:
                above = part > (low + high) / 2
                room = END * (high - low)
                middle = np.count_nonzero((part > low + room) & (part < high - room))
                seen.ends = float(1 - middle / part.size)
                if low == 0 and high != 1:
                    # A ReLU's zeros are no end of its range, with a limit above or without.
                    seen.ends = float(np.count_nonzero(part >= high - room) / part.size)
            seen.active = float(np.count_nonzero(above) / part.size)
            # What is never 0, as a sigmoid or softplus, is never silent; nor is a GELU, whose slope is nowhere 0.
            if low == 0 and high != 1 and not isinstance(layer, Softplus) and not (part < 0).any():
                fires = above if math.isinf(high) else part > 0
                seen.fired = np.atleast_1d(fires.reshape(len(part), part.shape[1], -1).any(2).any(0))
        return seen

    def _outputs(self, outputs: Any, y: Any) -> None:
        look = self._look
        if not isinstance(outputs, np.ndarray) or outputs.ndim < 2 or len(outputs) < 2 or not outputs.size:
            return
        part = _rows(outputs).astype(np.float64)
        size = _rms(part)
        if size and math.isfinite(size):
            look.spread = _rms(part - part.mean(0)) / size
        if isinstance(y, np.ndarray) and outputs.ndim == 2 and outputs.shape[1] > 1:
            if y.shape == outputs.shape:
                y = y.argmax(1)
            if y.ndim == 1 and y.dtype.kind in "iu" and y.size and y.min() >= 0 and y.max() < outputs.shape[1]:
                look.labels = np.bincount(y, minlength=outputs.shape[1])


def _bounds(layer: Layer, x: np.ndarray, y: np.ndarray) -> tuple[float, float] | None:
    """Between which bounds the outputs of an activation lie; None for other layers.

    One's own activation is known by what it made of x: calling it once more might disturb it.
    """
    if not is_own(layer):
        call = Call("", layer, x, None)
        call.y = y
        return bounds_of(call)
    if x.shape != y.shape or layer.parameters() or not np.isfinite(x).all():
        return None
    for function, bounds in ((lambda z: 1 / (1 + np.exp(-z)), (0.0, 1.0)), (np.tanh, (-1.0, 1.0))):
        if np.allclose(y, function(x), atol=1e-4):
            return bounds
    below = x < 0
    return (0.0, math.inf) if below.any() and not y[below].any() and y.min() == 0 else None


def _rows(array: np.ndarray) -> np.ndarray:
    """The first examples, as many as have `_NUMBERS` numbers together, two at least."""
    each = max(array[:1].size, 1)
    return array[: max(2, _NUMBERS // each)]


def _sample(array: np.ndarray) -> np.ndarray:
    flat = array.reshape(-1)
    # An odd stride does not keep to one column.
    return flat[:: flat.size // _SAMPLE | 1] if flat.size > _SAMPLE else flat


def _rms(array: np.ndarray) -> float:
    flat = array.reshape(-1)
    if not flat.size:
        return 0.0
    # Not `dot`: BLAS would start threads beside those that train.
    square = float(np.einsum("i,i->", flat, flat)) if flat.dtype.kind == "f" else math.inf
    if not 1e-30 < square < 1e30:
        wide = flat.astype(np.float64)
        square = float(np.einsum("i,i->", wide, wide))
    return math.sqrt(square / flat.size) if square >= 0 else math.nan
