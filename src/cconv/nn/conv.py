"""Convolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._arguments import conv_algorithm
from .._random import generator
from .._shapes import Pair, padding_pairs, pair, whole
from ..functional import conv2d, conv2d_backward
from . import init
from ._errors import Misfit, as_input, float_dtype
from .layer import Backward, Layer, Parameter, fresh


class Conv2d(Layer):
    """Cross-correlation of images with learned filters, as every library's "convolution" (PyTorch's ``Conv2d``).

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or (height, width)
    stride, dilation : int or (height, width)
    padding : int, (height, width), ((top, bottom), (left, right)), "same" or "valid"
        Zeros around the image.
    groups : int
        Divides both channel counts; each group of outputs sees its group of inputs.
    bias : bool
    algorithm : {"auto", "direct", "winograd"}
        How it is computed, see `cconv.functional.conv2d`.
    rng : Generator or int, optional
        Draws the weights; the default generator if None.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter
        (out_channels, in_channels / groups, height, width), drawn uniformly within ±1 / sqrt(fan_in).
    bias : Parameter or None
        (out_channels,), drawn likewise.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range. When called: if x is not (N, in_channels, H, W) of a float type, or the
        kernel is larger than the padded image.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: Any = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        algorithm: str = "auto",
        rng: np.random.Generator | int | None = None,
        dtype: Any = np.float32,
    ):
        self.in_channels = whole("Conv2d", "in_channels", in_channels, 1)
        self.out_channels = whole("Conv2d", "out_channels", out_channels, 1)
        self.kernel_size = pair("Conv2d", "kernel_size", kernel_size)
        self.stride = pair("Conv2d", "stride", stride)
        self.dilation = pair("Conv2d", "dilation", dilation)
        self.groups = whole("Conv2d", "groups", groups, 1)
        padding_pairs("Conv2d", padding, self.kernel_size, self.stride, self.dilation)
        self.padding = padding
        conv_algorithm("Conv2d", algorithm, self.kernel_size, self.stride, self.dilation)
        self.algorithm = algorithm
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(f"Conv2d: groups={groups} does not divide {name}={getattr(self, name)}")
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        dtype, rng = float_dtype("Conv2d", dtype), generator(rng)
        bound = 1 / math.sqrt(init.fan(shape)[0])
        self.weight = init.uniform(Parameter(np.empty(shape, dtype)), -bound, bound, rng=rng)
        self.bias = init.uniform(Parameter(np.empty(shape[0], dtype)), -bound, bound, rng=rng) if bias else None

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        weight, bias = self.weight, self.bias
        x = as_input("Conv2d", x, weight.value.dtype)
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise self._misfit(x.shape)
        options = self.stride, self.padding, self.dilation, self.groups
        y = conv2d(x, weight.value, None if bias is None else bias.value, *options, self.algorithm)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            needs = need_x, weight.trainable, bias is not None and bias.trainable
            grad_x, grad_weight, grad_bias = conv2d_backward(grad_y, x, weight.value, *options, needs, self.algorithm)
            weight.add_grad(grad_weight, fresh=True)
            if bias is not None:
                bias.add_grad(grad_bias, fresh=True)
            return grad_x

        return y, Backward(backward, y, fresh=True)

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return math.prod(y_shape) * math.prod(self.weight.value.shape[1:])

    def extra_repr(self) -> str:
        given = {
            "stride": (self.stride, (1, 1)),
            "padding": (self.padding, 0),
            "dilation": (self.dilation, (1, 1)),
            "groups": (self.groups, 1),
            "bias": (self.bias is not None, True),
            "algorithm": (self.algorithm, "auto"),
        }
        listed = [f"{name}={value!r}" for name, (value, default) in given.items() if value != default]
        return ", ".join([f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}", *listed])

    def _misfit(self, shape: tuple[int, ...]) -> ValueError:
        if len(shape) != 4:
            channels = "(N, H, W)" if self.in_channels == 1 and shape[0] != 1 else "(C, H, W)"
            fix = {"(N, H, W)": "x[:, None]", "(C, H, W)": "x[None]"}[channels]
            hint = f": for {channels} use {fix}" if len(shape) == 3 else ""
            return ValueError(f"Conv2d: x has {len(shape)} dimensions {shape}, expected 4 (N, C, H, W){hint}")
        if shape[3] == self.in_channels:
            fix = "looks like NHWC: use x.transpose(0, 3, 1, 2)"
        else:
            fix = f"use Conv2d({shape[1]}, {self.out_channels}, ...)"
        return Misfit("Conv2d", f"in_channels={self.in_channels}", shape[1], shape, fix)
