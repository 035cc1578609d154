"""Fusing: a model for prediction alone, with fewer passes over memory. What `Layer.fuse` does.

The model is copied, and each layer of the copy asked by its method `fused` what is to take its place. `Sequential` is
the one that knows the order of its layers, and so the one where layers melt together.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from ..functional.conv import conv2d_relu
from ..functional.linear import linear_relu
from ..functional.sequence import conv1d_relu
from .activation import Identity, ReLU, ReLU6
from .containers import Residual, Sequential
from .conv import Conv1d, Conv2d, ConvTranspose2d
from .dropout import Dropout, Dropout2d
from .layer import Layer, Parameter, fresh
from .linear import Linear
from .norm import BatchNorm1d, BatchNorm2d

# What a class may have that adds a constructor and nothing else; `copy` leaves the last.
CONSTRUCTED = {"__init__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__", "__slotnames__"}

# A sum that is this many times as large as what is left of it has lost two digits more than 1e-5 allows.
MOST_LOST = 32.0


class Fused(Layer):
    """A model that predicts, and does not train: what `Layer.fuse` returns.

    Parameters
    ----------
    model : Layer
    """

    def __init__(self, model: Layer):
        self._model = model

    def forward(self, x: Any, train: bool = True) -> tuple[Any, Callable[..., Any]]:
        if train:
            raise RuntimeError(
                "a fused model does not train: train the model that it was made of and call fuse() again; "
                "to predict, call fused(x) or fused.forward(x, train=False)"
            )
        return self._model(x), _no_gradient

    def __call__(self, x: Any) -> Any:
        return self._model(x)

    def fused(self, fuse: Callable[[Layer], Layer]) -> Layer:
        return fuse(self._model)

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return self._model.multiply_adds(x_shape, y_shape)

    def extra_repr(self) -> str:
        return self._model.extra_repr()

    def _attributes(self) -> Iterable[tuple[str, Any]]:
        return self._model._attributes()


def _no_gradient(grad_y: Any, need_x: bool = True) -> Any:
    raise RuntimeError("a fused model has no gradient: take it from the model that it was made of")


class Chain(Sequential):
    """A fused Sequential. Its layers are not those of the Sequential that it was, and cannot be asked for by number."""

    def _refuse(self, *_: Any) -> Any:
        raise TypeError(
            "a fused Sequential can only be called, its layers have melted together: a layer whose forward takes it "
            "apart must say how it is fused, see Layer.fused"
        )

    def __bool__(self) -> bool:
        return True

    __getitem__ = __setitem__ = __iter__ = __len__ = append = _refuse  # type: ignore[assignment]


class FlatLinear(Linear):
    """A Linear with a BatchNorm1d folded into it: for vectors alone, as of more dimensions the two see others."""

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        if np.ndim(x) != 2:
            raise ValueError(
                f"Linear: x has shape {np.shape(x)}, but a BatchNorm1d is folded into it, and they take (N, features)"
            )
        return super().forward(x, train)


# Which batch normalisation takes what these give.
FOLDED: dict[type[Layer], type[Layer]] = {
    Conv2d: BatchNorm2d, ConvTranspose2d: BatchNorm2d, Conv1d: BatchNorm1d, Linear: BatchNorm1d,
    FlatLinear: BatchNorm1d,
}  # fmt: skip


def _rectified(kind: type[Layer], function: Callable[..., Any], top: float) -> type[Layer]:
    """The class of a layer that rectifies its outputs where the kernel stores them: for prediction."""
    if top != math.inf:
        function = partial(function, top=top)
    name = f"{kind.__name__}ReLU{'' if top == math.inf else f'{top:g}'}"
    doc = f"""{kind.__name__} and ReLU in one pass, for prediction."""
    return type(name, (kind,), {"_calls": (function, _no_gradient), "__doc__": doc, "__module__": __name__})


# What a layer becomes with a rectifier after it.
RECTIFIED: dict[type[Layer], dict[type[Layer], type[Layer]]] = {
    activation: {
        kind: _rectified(kind, function, top)
        for kind, function in (
            (Conv2d, conv2d_relu), (Conv1d, conv1d_relu), (Linear, linear_relu), (FlatLinear, linear_relu),
        )
    }
    for activation, top in ((ReLU, math.inf), (ReLU6, 6.0))
}  # fmt: skip
# Pickles look a class up by its name.
globals().update({kind.__name__: kind for kinds in RECTIFIED.values() for kind in kinds.values()})


def fuse(model: Layer) -> Fused:
    """`Layer.fuse`."""
    # Gradients are not copied: these parameters stand for the copy's.
    new: dict[int, Any] = {id(p): Parameter(p.value, p.trainable) for p in model.parameters()}
    done: dict[int, tuple[Layer, Layer]] = {}

    def run(layer: Layer) -> Layer:
        if not isinstance(layer, Layer):
            raise TypeError(f"fuse: expected a layer, got {layer!r}")
        if id(layer) not in done:
            # A layer that is met within itself stays; a layer that is used twice stays one.
            done[id(layer)] = layer, layer
            result = _hook(layer)(layer, run)
            if not isinstance(result, Layer):
                raise TypeError(f"{type(layer).__name__}: fused must return a layer, got {result!r}")
            done[id(layer)] = layer, result
        return done[id(layer)][1]

    return Fused(run(copy.deepcopy(model, new)))


def _hook(layer: Layer) -> Callable[[Any, Callable[[Layer], Layer]], Layer]:
    """The method `fused` of the class that the layer's `forward` is of: a base's knows nothing of another forward."""
    own = {"forward", "__call__"}
    if not own & set(vars(layer)):
        for kind in type(layer).__mro__:
            if "fused" in vars(kind):
                return vars(kind)["fused"]
            if own & set(vars(kind)):
                break
    return Layer.fused


def is_plain(layer: Layer, kinds: Iterable[type[Layer]]) -> type[Layer] | None:
    """The kind that the layer is: it may be of a subclass, but not one with more than a constructor of its own."""
    if {"forward", "__call__"} & set(vars(layer)):
        return None
    kinds = tuple(kinds)
    for kind in type(layer).__mro__:
        if kind in kinds:
            return kind
        if set(vars(kind)) - CONSTRUCTED:
            break
    return None


def chain(layers: Iterable[Layer], fuse: Callable[[Layer], Layer]) -> Layer:
    """What takes the place of layers that are called one after another."""
    flat: list[Layer] = []
    for layer in layers:
        new = fuse(layer)
        flat.extend(new._layers if is_plain(new, (Chain,)) else [new])
    # Layers may be used elsewhere, too: those that change are replaced by new ones.
    result: list[Layer] = []
    for layer in flat:
        if is_plain(layer, (Identity, Dropout, Dropout2d)):
            continue
        while result and (joined := _joined(result[-1], layer)) is not None:
            result.pop()
            layer = joined
        result.append(layer)
    new = Chain()
    new._layers = result
    return new


def _joined(first: Layer, second: Layer) -> Layer | None:
    """One layer that does what the two do, if there is one."""
    activation = is_plain(second, RECTIFIED)
    if activation is ReLU6 and (second.min_val, second.max_val) != (0.0, 6.0):
        return None
    if activation is not None:
        kinds = RECTIFIED[activation]
        kind = is_plain(first, kinds)
        if kind is not None:
            return _changed(first, __class__=kinds[kind])
        return _changed(first, relu=True) if activation is ReLU and is_plain(first, (Residual,)) else None
    before, after = is_plain(first, FOLDED), is_plain(second, FOLDED)
    if before is not None and is_plain(second, (FOLDED[before],)):
        return _folded_back(first, second)
    if after is not None and after is not ConvTranspose2d and is_plain(first, (FOLDED[after],)):
        return _folded_forward(first, second)
    return None


def _changed(layer: Any, **attributes: Any) -> Layer:
    new = copy.copy(layer)
    for name, value in attributes.items():
        setattr(new, name, value)
    return new


def _scale_and_shift(norm: Any, channels: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """scale and shift of ``norm(x) = scale*x + shift`` in float64, and about how large its results are; None if it is
    another function."""
    if norm.running_mean is None or norm.running_var is None or norm.num_features != channels:
        return None
    mean, var = norm.running_mean.value, norm.running_var.value
    if mean.dtype != dtype:
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    weight = ones if norm.weight is None else norm.weight.value.astype(np.float64)
    bias = zeros if norm.bias is None else norm.bias.value.astype(np.float64)
    with np.errstate(all="ignore"):
        scale = weight / np.sqrt(var.astype(np.float64) + norm.eps)
        taken, size = mean * scale, np.abs(weight) + np.abs(bias)
    # What the layers apart have lost must not be won back.
    return None if np.abs(taken).max() > MOST_LOST * size.max() else (scale, bias - taken, size)


def _folded_back(layer: Any, norm: Any) -> Layer | None:
    """`layer`, then `norm`."""
    weight, bias = layer.weight.value, layer.bias
    transposed = isinstance(layer, ConvTranspose2d)
    channels = weight.shape[1] * layer.groups if transposed else len(weight)
    affine = _scale_and_shift(norm, channels, weight.dtype)
    if affine is None:
        return None
    scale, shift, size = affine
    factor = scale.reshape(-1, *[1] * (weight.ndim - 1))
    if transposed:
        group = len(weight) // layer.groups
        factor = np.repeat(scale.reshape(layer.groups, 1, -1), group, 1).reshape(*weight.shape[:2], 1, 1)
    with np.errstate(all="ignore"):
        total = shift if bias is None else shift + bias.value * scale
        return _with(layer, weight * factor, total, size)


def _folded_forward(norm: Any, layer: Any) -> Layer | None:
    """`norm`, then `layer`, whose border must not be zeros that `norm` has not seen."""
    weight, bias = layer.weight.value, layer.bias
    inputs = layer.in_features if isinstance(layer, Linear) else layer.in_channels
    affine = _scale_and_shift(norm, inputs, weight.dtype)
    if affine is None or not _whole_windows(layer):
        return None
    scale, shift, size = affine
    groups = getattr(layer, "groups", 1)
    # Of each filter, the channels of its group.
    seen = np.repeat(np.arange(inputs).reshape(groups, -1), len(weight) // groups, 0)
    tail = [1] * (weight.ndim - 2)
    with np.errstate(all="ignore"):
        total = (weight * shift[seen].reshape(*seen.shape, *tail)).reshape(len(weight), -1).sum(1)
        if bias is not None:
            total = total + bias.value
        size = (np.abs(weight) * size[seen].reshape(*seen.shape, *tail)).reshape(len(weight), -1).sum(1)
        return _with(layer, weight * scale[seen].reshape(*seen.shape, *tail), total, size)


def _whole_windows(layer: Any) -> bool:
    if isinstance(layer, Linear) or layer.padding_mode != "zeros" or layer.padding == "valid":
        return True
    return not isinstance(layer.padding, str) and not np.any(layer.padding)


def _with(layer: Any, weight: np.ndarray, bias: np.ndarray, size: np.ndarray) -> Layer | None:
    """`layer` with such a weight and bias, unless they overflow or the bias drowns the results."""
    dtype = layer.weight.value.dtype
    with np.errstate(all="ignore"):
        weight, bias = weight.astype(dtype), bias.astype(dtype)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return None
    if np.abs(bias).max() > MOST_LOST * size.max():
        return None
    kind = FlatLinear if isinstance(layer, Linear) else type(layer)
    return _changed(layer, __class__=kind, weight=Parameter(weight), bias=Parameter(bias))
