"""What the checks are given, and the small questions that they share."""

from __future__ import annotations

import keyword
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import nn
from ...data.rows import leaves
from ...nn.layer import Layer, Parameter
from ..watch import Call, Watched

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
# What neither bends a signal nor mixes examples: linear layers on both sides of it are one linear map.
PASSING = (
    *(nn.Flatten, nn.Identity, nn.Dropout, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d),
    *(nn.Rescale, nn.Normalize, *NORMS),
)
LABELLED = (nn.CrossEntropyLoss, nn.NLLLoss)
NUMBERED = (nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss, nn.BCELoss)  # BCEWithLogitsLoss is a BCELoss


@dataclass
class Case:
    """Copies of all that `check` was given, and one step of training with them.

    Attributes
    ----------
    model, loss
    x, y
        The sample, mended where it had to be.
    watched : Watched
        The calls of the step.
    logits : array, or tuple or dict of arrays
    value : float or None
        The loss; None where there is none.
    grad : array or None
        The gradient of the loss with respect to `logits`.
    """

    model: Layer
    loss: Any
    x: Any
    y: Any
    watched: Watched
    logits: Any = None
    value: float | None = None
    grad: Any = None
    bounds: dict[int, tuple[float, float] | None] = field(default_factory=dict)
    reaches: dict[int, tuple[float, float] | None] = field(default_factory=dict)

    @property
    def linear(self) -> list[Call]:
        """The calls of linear layers and convolutions, in order."""
        return [call for call in self.watched.leaves if isinstance(call.layer, LINEAR) and call.plain]

    @property
    def last(self) -> Call | None:
        """The call that gave the outputs, flattening and the like apart."""
        call = self.watched.maker(self.logits)
        while call is not None and isinstance(call.layer, (nn.Flatten, nn.Identity)):
            call = call.source
        return call

    def followers(self, call: Call) -> list[Call]:
        """The calls that take this one's output as it is."""
        return [other for other in self.watched.leaves if other.source is call]

    def normalised(self, call: Call) -> bool:
        """Whether a normalisation takes this call's output."""
        return any(isinstance(other.layer, NORMS) for other in self.followers(call))

    def range_of(self, call: Call) -> tuple[float, float] | None:
        """Between which bounds the outputs of an activation lie; None for other layers."""
        key = id(call.layer)
        if key not in self.bounds:
            self.bounds[key] = bounds_of(call)
        return self.bounds[key]

    def reach_of(self, call: Call) -> tuple[float, float] | None:
        """The same, also of a layer of one's own that holds weights and a bounded activation in one."""
        key = id(call.layer)
        if key not in self.reaches:
            self.reaches[key] = self.range_of(call) or _ends_of(call)
        return self.reaches[key]


def code(path: str, root: str = "model") -> str:
    """How Python says a layer's path: ``model.layer1[0].conv1``."""
    parts = [part for part in path.split(".") if part]
    if not all(part.isdigit() or (part.isidentifier() and not keyword.iskeyword(part)) for part in parts):
        return f"dict({root}.named_layers())[{path!r}]"
    return root + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)


def every(paths: list[str], change: str) -> str:
    """Code that does the same to several layers, of which `change` speaks as ``{}``."""
    paths = list(dict.fromkeys(paths))
    parents = {path.rpartition(".")[0] for path in paths}
    ends = [path.rpartition(".")[2] for path in paths]
    if len(paths) > 1 and len(parents) == 1 and all(end.isdigit() for end in ends):
        return f"for i in {_numbers([int(end) for end in ends])}: {change.format(code(parents.pop()) + '[i]')}"
    return "; ".join(change.format(code(path)) for path in paths)


def _numbers(values: list[int]) -> str:
    step = values[1] - values[0]
    if len(values) > 5 and step > 0 and values == list(range(values[0], values[-1] + 1, step)):
        return f"range({values[0]}, {values[-1] + 1}, {step})"
    return f"({', '.join(map(str, values))})"


def redraw(case: Case, calls: list[Call]) -> str:
    """Code that draws the weights of layers anew."""
    how = f"nn.init.{initialiser(case, calls[0])}"
    drawn = {id(call.layer) for call in calls}
    if len(drawn) > 2 and drawn == {id(call.layer) for call in case.linear}:
        return f"for p in model.parameters(): p.value.ndim > 1 and {how}(p)"
    return every([call.path for call in calls], how + "({}.weight)")


def ended(case: Case, layer: str) -> str:
    """Code that adds a layer after the last."""
    return (
        f"model.append({layer})" if isinstance(case.model, nn.Sequential) else f"model = nn.Sequential(model, {layer})"
    )


def without(call: Call | None) -> str:
    """Code that takes an activation out, to go before other code; "" where there is none of its own to take out."""
    return f"{code(call.path)} = nn.Identity()" if call is not None and not call.layer.parameters() else ""


def both(*lines: str) -> str:
    """Lines of code in one."""
    return "; ".join(line for line in lines if line)


def assigned(name: str, value: str) -> str:
    """Code that gives an input a new value: ``x``, or one of several, ``x[0]``; ``{}`` is the old one."""
    value = value.format(name)
    index = name.removeprefix("x[").removesuffix("]")
    if name == "x" or not index.isdigit():
        return f"{name} = {value}"
    before, after = f"*x[:{index}], " if index != "0" else "", f", *x[{int(index) + 1}:]"
    return f"x = ({before}{value}{after})"


def input_of(case: Case, call: Call) -> str:
    """Which of several inputs a call is given, flattened and the like."""
    while call.source is not None:
        call = call.source
    return next((name for name, array in leaves(case.x, "x") if array is call.x), "x")


def is_own(part: Any) -> bool:
    """Whether a layer or a loss is the user's, and not cconv's."""
    return not type(part).__module__.startswith("cconv.")


def rms(array: Any) -> float:
    """The root of the mean square, in float64."""
    array = np.asarray(array)
    return float(np.sqrt(np.square(array, dtype=np.float64).mean())) if array.size else 0.0


def own_weight(layer: Layer) -> np.ndarray | None:
    """The weight of a linear layer or convolution as (units, terms of each)."""
    weight = vars(layer).get("weight")
    if not isinstance(layer, LINEAR) or not isinstance(weight, Parameter) or not weight.value.size:
        return None
    value = weight.value
    if isinstance(layer, nn.ConvTranspose2d):
        value = np.moveaxis(value, 0, 1)
    return value.reshape(len(value), -1)


def weighing(call: Call) -> list[tuple[str, Parameter]]:
    """A layer's own weights and their names, of cconv's layers and of one's own: parameters of two axes or more."""
    own = ((name, value) for name, value in vars(call.layer).items() if isinstance(value, Parameter))
    return [(name, p) for name, p in own if p.trainable and p.value.ndim > 1 and p.value.size]


def per_unit(array: np.ndarray) -> np.ndarray:
    """(numbers, units): units are channels, or features."""
    return array.reshape(len(array), -1) if array.ndim < 3 else np.moveaxis(array, 1, -1).reshape(-1, array.shape[1])


def initialiser(case: Case, call: Call) -> str:
    """The initialiser that suits what follows a layer."""
    seen, others = 0, case.followers(call)
    while others and seen < 4:
        if any(isinstance(other.layer, (nn.Sigmoid, nn.Tanh, nn.Softmax)) for other in others):
            return "xavier_uniform"
        if not isinstance(others[0].layer, PASSING):
            break
        others, seen = case.followers(others[0]), seen + 1
    return "he_uniform" if others else "xavier_uniform"


def listed(calls: list[Call]) -> str:
    """``Conv2d '0' and 3 more layers``."""
    more = len(calls) - 1
    return calls[0].name + (f" and {more} more layer{'s' if more > 1 else ''}" if more else "")


def bounds_of(call: Call) -> tuple[float, float] | None:
    known: list[tuple[type, tuple[float, float]]] = [
        (nn.Sigmoid, (0, 1)),
        (nn.Tanh, (-1, 1)),
        (nn.Softmax, (0, 1)),
        (nn.ReLU, (0, np.inf)),
        (nn.Softplus, (0, np.inf)),
        (nn.LogSoftmax, (-np.inf, 0)),
    ]
    for kind, bounds in known:
        if isinstance(call.layer, kind):
            return bounds
    if not call.plain or call.x.shape != call.y.shape or call.layer.parameters() or isinstance(call.layer, PASSING):
        return None
    # An activation of one's own: what it makes of large numbers.
    try:
        with np.errstate(all="ignore"):
            at = [
                type(call.layer).forward(call.layer, np.full_like(call.x[:1], v), False)[0]
                for v in (-200, -50, 50, 200)
            ]
        low, lower, upper, high = (float(np.mean(y)) for y in at)
    except Exception:
        return None
    if not np.isfinite([low, lower, upper, high]).all() or low == high:
        return None
    span = abs(upper - lower)
    bounds = low if abs(low - lower) < 1e-3 * span else -np.inf, high if abs(high - upper) < 1e-3 * span else np.inf
    return None if bounds == (-np.inf, np.inf) or bounds[0] > bounds[1] else bounds


def rectifies(call: Call) -> bool:
    """Whether an activation is 0 for all that is not positive, like a ReLU, wherever it ends above."""
    if isinstance(call.layer, nn.ReLU):
        return True
    if call.layer.parameters() or call.x.shape != call.y.shape or call.x.dtype.kind != "f":
        return False
    try:
        with np.errstate(all="ignore"):
            below, at, above = (
                type(call.layer).forward(call.layer, np.full_like(call.x[:1], v), False)[0] for v in (-1, 0, 1)
            )
        return bool((below == 0).all() and (at == 0).all() and (above > 0).all())
    except Exception:
        return False


def _ends_of(call: Call) -> tuple[float, float] | None:
    """Two numbers that nearly all outputs are for huge inputs, whatever their size."""
    if not call.plain or not call.leaf or not call.layer.parameters() or call.y.dtype.kind != "f":
        return None
    if not is_own(call.layer):
        return None
    try:
        with np.errstate(all="ignore"):
            x = np.concatenate([call.x[:8], -call.x[:8]])
            at = [np.asarray(type(call.layer).forward(call.layer, x * x.dtype.type(by), False)[0]) for by in (1e4, 1e6)]
            low, high = float(at[0].min()), float(at[0].max())
            near = 1e-3 * (high - low)
            same = all(abs(y.min() - low) <= near and abs(y.max() - high) <= near for y in at)
            ended = all((np.minimum(y - low, high - y) <= near).mean() > 0.95 for y in at)
    except Exception:
        return None
    # A softmax has one 1 for each example: what it gives for one class is no matter of that class alone.
    shares = all(y.ndim == 2 and np.allclose(y.sum(1), y.sum(1)[0]) for y in at)
    return (low, high) if low < high and same and ended and not shares else None
