"""Batch, group and layer normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .. import _arguments
from .._checks import number, real
from .._shapes import whole
from ..functional import (
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
)
from ..functional.norm import track
from ._errors import Misfit, as_input, float_dtype
from .layer import Backward, Buffer, Layer, Parameter, fresh, hand_over, wanted


class _BatchNorm(Layer):
    """What BatchNorm1d and BatchNorm2d share: all but the shapes that they take."""

    _axes: ClassVar[dict[int, str]]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = np.float32,
    ):
        kind = type(self).__name__
        self.num_features = whole(kind, "num_features", num_features, 1)
        self.eps = number(kind, "eps", eps, 0)
        self.momentum = None if momentum is None else number(kind, "momentum", momentum, 0)
        if self.momentum is not None and self.momentum > 1:
            raise ValueError(f"{kind}: momentum must be at most 1, got {momentum!r}")
        ones, zeros = (make(self.num_features, float_dtype(kind, dtype)) for make in (np.ones, np.zeros))
        self.weight = Parameter(ones) if affine else None
        self.bias = Parameter(zeros) if affine else None
        self.running_mean = Buffer(zeros) if track_running_stats else None
        self.running_var = Buffer(ones) if track_running_stats else None
        self.num_batches_tracked = Buffer(np.zeros((), np.int64)) if track_running_stats else None

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        x = self._checked(x)
        weight, bias, eps = self.weight, self.bias, self.eps
        scale, shift = None if weight is None else weight.value, None if bias is None else bias.value
        if self.running_mean is None or self.running_var is None:
            training = True
            y, mean, var = batch_norm(x, None, None, scale, shift, training, eps)
        else:
            training = train and not self._frozen()
            y, mean, var = batch_norm(x, self.running_mean.value, self.running_var.value, scale, shift, training, eps)
            if training:
                self._track(mean, var, x.size // self.num_features)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            needs = wanted(need_x, weight, bias)
            grad_x, grad_weight, grad_bias = batch_norm_backward(grad_y, x, mean, var, scale, training, eps, needs)
            if weight is not None:
                hand_over(weight, grad_weight, bias, grad_bias)
            return grad_x

        return y, Backward(backward, y)

    def _frozen(self) -> bool:
        """Whether there are a weight and a bias, and neither is trained."""
        weight, bias = self.weight, self.bias
        return weight is not None and bias is not None and not (weight.trainable or bias.trainable)

    def _track(self, mean: np.ndarray, var: np.ndarray, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        batches = self.num_batches_tracked.value
        batches += 1
        if count:
            momentum = 1 / int(batches) if self.momentum is None else self.momentum
            track(self.running_mean.value, self.running_var.value, mean, var, count, momentum)

    def _checked(self, x: np.ndarray) -> np.ndarray:
        kind = type(self).__name__
        held = self.weight or self.running_mean
        x = real(kind, "x", x) if held is None else as_input(kind, x, held.value.dtype)
        shape = x.shape
        if x.ndim not in self._axes:
            expected = " or ".join(f"{ndim} {axes}" for ndim, axes in self._axes.items())
            raise ValueError(f"{kind}: x has {x.ndim} dimensions {shape}, expected {expected}")
        if shape[1] != self.num_features:
            if x.ndim == 4 and shape[3] == self.num_features:
                fix = "looks like NHWC: use x.transpose(0, 3, 1, 2)"
            else:
                fix = f"use {kind}({shape[1]})"
            raise Misfit(kind, f"num_features={self.num_features}", shape[1], shape, fix)
        return x

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return math.prod(y_shape) if self.weight is not None else 0

    def extra_repr(self) -> str:
        tracking = self.running_mean is not None
        given = {
            "eps": (self.eps, 1e-5),
            "momentum": (self.momentum, 0.1),
            "affine": (self.weight is not None, True),
            "track_running_stats": (tracking, True),
        }
        listed = [f"{name}={value!r}" for name, (value, default) in given.items() if value != default]
        return ", ".join([str(self.num_features), *listed])


class BatchNorm2d(_BatchNorm):
    """Normalise each channel of a batch of images (Ioffe and Szegedy 2015; PyTorch's ``BatchNorm2d``).

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``. Training takes mean and variance of the batch, and keeps
    running ones; prediction takes the running ones, and so does ``forward(x, train=False)``, whose gradient holds them
    fixed.

    A layer whose weight and bias are both frozen (`trainable` False) predicts in training, too: it takes the running
    statistics and leaves them as they are, as Keras's does. What it was trained to give stays what it gives. Without a
    weight there is nothing to freeze.

    Parameters
    ----------
    num_features : int
        Channels.
    eps : float
        Added to the variance, at least 0.
    momentum : float or None
        What the running statistics take of a batch's, 0 to 1; None for the plain average of all batches.
    affine : bool
        Whether there are a weight and a bias.
    track_running_stats : bool
        Without running statistics, prediction takes the batch's, too.
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter or None
        (num_features,), 1 and 0 at first.
    running_mean, running_var : Buffer or None
        (num_features,), 0 and 1 at first. The variance is that of a sample: its sum is divided by the count less 1.
    num_batches_tracked : Buffer or None
        An int64: the batches trained on.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range. When called: if x is not (N, num_features, H, W) of a float type, or a batch
        to train on has a single value a channel.
    """

    _axes: ClassVar = {4: "(N, C, H, W)"}


class BatchNorm1d(_BatchNorm):
    """Normalise each feature of a batch of vectors or sequences (PyTorch's ``BatchNorm1d``).

    Parameters and attributes are those of `BatchNorm2d`; x is (N, num_features) or (N, num_features, L).
    """

    _axes: ClassVar = {2: "(N, C)", 3: "(N, C, L)"}


class GroupNorm(Layer):
    """Normalise each group of channels of each image (Wu and He 2018, arXiv 1803.08494; PyTorch's ``GroupNorm``).

    ``y = (x - mean) / sqrt(var + eps) * weight + bias`` with the mean and the mean squared deviation of the group, in
    training as in prediction: it does not depend on the other images of a batch.

    Parameters
    ----------
    num_groups : int
        Divides `num_channels`. With 1 an image has one mean, with `num_channels` each channel its own.
    num_channels : int
    eps : float
        Added to the variance, at least 0.
    affine : bool
        Whether there are a weight and a bias.
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter or None
        (num_channels,), 1 and 0 at first.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range. When called: if x is not (N, num_channels, ...) of a float type.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, dtype: Any = np.float32
    ):
        self.num_groups = whole("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = whole("GroupNorm", "num_channels", num_channels, 1)
        if self.num_channels % self.num_groups:
            raise ValueError(f"GroupNorm: num_groups={num_groups} does not divide num_channels={num_channels}")
        self.eps = number("GroupNorm", "eps", eps, 0)
        dtype = float_dtype("GroupNorm", dtype)
        self.weight = Parameter(np.ones(self.num_channels, dtype)) if affine else None
        self.bias = Parameter(np.zeros(self.num_channels, dtype)) if affine else None

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        x = self._checked(x)
        weight, bias, num_groups, eps = self.weight, self.bias, self.num_groups, self.eps
        scale, shift = None if weight is None else weight.value, None if bias is None else bias.value
        y = group_norm(x, num_groups, scale, shift, eps)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            needs = wanted(need_x, weight, bias)
            grad_x, grad_weight, grad_bias = group_norm_backward(grad_y, x, num_groups, scale, eps, needs)
            if weight is not None:
                hand_over(weight, grad_weight, bias, grad_bias)
            return grad_x

        return y, Backward(backward, y, fresh=True)

    def _checked(self, x: np.ndarray) -> np.ndarray:
        weight = self.weight
        x = real("GroupNorm", "x", x) if weight is None else as_input("GroupNorm", x, weight.value.dtype)
        if x.ndim < 2:
            raise ValueError(f"GroupNorm: x has {x.ndim} dimensions {x.shape}, expected (N, C) or (N, C, ...)")
        if x.shape[1] != self.num_channels:
            if x.ndim == 4 and x.shape[3] == self.num_channels:
                fix = "looks like NHWC: use x.transpose(0, 3, 1, 2)"
            else:
                fix = f"use GroupNorm({self.num_groups}, {x.shape[1]})"
            raise Misfit("GroupNorm", f"num_channels={self.num_channels}", x.shape[1], x.shape, fix)
        return x

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return math.prod(y_shape) if self.weight is not None else 0

    def extra_repr(self) -> str:
        given = {"eps": (self.eps, 1e-5), "affine": (self.weight is not None, True)}
        listed = [f"{name}={value!r}" for name, (value, default) in given.items() if value != default]
        return ", ".join([str(self.num_groups), str(self.num_channels), *listed])


class LayerNorm(Layer):
    """Normalise over the last dimensions (Ba, Kiros and Hinton 2016, arXiv 1607.06450; PyTorch's ``LayerNorm``).

    ``y = (x - mean) / sqrt(var + eps) * weight + bias`` with mean and mean squared deviation over these dimensions.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last dimensions of x.
    eps : float
        Added to the variance, at least 0.
    elementwise_affine : bool
        Whether there is a weight.
    bias : bool
        Whether there is a bias beside the weight.
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter or None
        Of shape `normalized_shape`, 1 and 0 at first.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range. When called: if x is not (..., *normalized_shape) of a float type.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ):
        self.normalized_shape = _arguments.normalized_shape("LayerNorm", normalized_shape)
        self.eps = number("LayerNorm", "eps", eps, 0)
        dtype = float_dtype("LayerNorm", dtype)
        self.weight = Parameter(np.ones(self.normalized_shape, dtype)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape, dtype)) if elementwise_affine and bias else None

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        x = self._checked(x)
        weight, bias, normalized_shape, eps = self.weight, self.bias, self.normalized_shape, self.eps
        scale, shift = None if weight is None else weight.value, None if bias is None else bias.value
        y = layer_norm(x, normalized_shape, scale, shift, eps)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            needs = wanted(need_x, weight, bias)
            grad_x, grad_weight, grad_bias = layer_norm_backward(grad_y, x, normalized_shape, scale, eps, needs)
            if weight is not None:
                hand_over(weight, grad_weight, bias, grad_bias)
            return grad_x

        return y, Backward(backward, y, fresh=True)

    def _checked(self, x: np.ndarray) -> np.ndarray:
        weight = self.weight
        return real("LayerNorm", "x", x) if weight is None else as_input("LayerNorm", x, weight.value.dtype)

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return math.prod(y_shape) if self.weight is not None else 0

    def extra_repr(self) -> str:
        given = {
            "eps": (self.eps, 1e-5),
            "elementwise_affine": (self.weight is not None, True),
            "bias": (self.bias is not None, self.weight is not None),
        }
        listed = [f"{name}={value!r}" for name, (value, default) in given.items() if value != default]
        return ", ".join([str(self.normalized_shape), *listed])
