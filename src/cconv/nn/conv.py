"""Convolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._arguments import conv_algorithm
from .._checks import choice
from .._random import generator
from .._shapes import (
    Pair,
    check_output_padding,
    padding_pair,
    padding_pairs,
    pair,
    single,
    transposed_output,
    transposed_padding,
    whole,
)
from ..functional import (
    conv1d,
    conv1d_backward,
    conv2d,
    conv2d_backward,
    conv_transpose2d,
    conv_transpose2d_backward,
    pad,
    pad_backward,
)
from . import init
from ._errors import Misfit, as_input, float_dtype
from .layer import Backward, Layer, Parameter, fresh, hand_over, wanted

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Layer):
    """What Conv1d and Conv2d share: all but their arguments."""

    _kind: ClassVar[str]
    _calls: ClassVar[tuple[Callable[..., Any], Callable[..., Any]]]
    _axes: ClassVar[str]

    in_channels: int
    stride: Any
    dilation: Any
    padding: Any
    padding_mode: str
    groups: int
    weight: Parameter
    bias: Parameter | None
    _border: tuple[int, ...] | None

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        weight, bias, kind = self.weight, self.bias, self._kind
        x = as_input(kind, x, weight.value.dtype)
        if x.ndim != weight.value.ndim or x.shape[1] != self.in_channels:
            raise _misfit(kind, self, x.shape, self._axes)
        padding, border, mode, x_shape = self.padding, self._border, self.padding_mode, x.shape
        if border is not None:
            x, padding = pad(x, border, mode), 0
        convolve, convolve_backward = self._calls
        options, more = (self.stride, padding, self.dilation, self.groups), self._more()
        y = convolve(x, weight.value, None if bias is None else bias.value, *options, *more)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            needs = wanted(need_x, weight, bias)
            grad_x, grad_weight, grad_bias = convolve_backward(grad_y, x, weight.value, *options, needs, *more)
            hand_over(weight, grad_weight, bias, grad_bias)
            if grad_x is not None and border is not None:
                grad_x = pad_backward(grad_x, x_shape, border, mode)
            return grad_x

        return y, Backward(backward, y, fresh=True)

    def _more(self) -> tuple[Any, ...]:
        """Options past those of all convolutions."""
        return ()

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return math.prod(y_shape) * math.prod(self.weight.value.shape[1:])

    def extra_repr(self) -> str:
        return _repr(self)


class Conv2d(_Convolution):
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
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What to put around the image instead, see `cconv.functional.pad`.
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

    _kind, _axes = "Conv2d", "H, W"
    _calls: ClassVar[tuple[Callable[..., Any], Callable[..., Any]]] = conv2d, conv2d_backward

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
        padding_mode: str = "zeros",
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
        (top, bottom), (left, right) = padding_pairs("Conv2d", padding, self.kernel_size, self.stride, self.dilation)
        self.padding = padding
        self.padding_mode = choice("Conv2d", "padding_mode", padding_mode, PADDING_MODES)
        self._border = (left, right, top, bottom) if padding_mode != "zeros" else None
        conv_algorithm("Conv2d", algorithm, self.kernel_size, self.stride, self.dilation)
        self.algorithm = algorithm
        _check_groups("Conv2d", self)
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight, self.bias = _drawn("Conv2d", shape, self.out_channels if bias else 0, rng, dtype)

    def _more(self) -> tuple[Any, ...]:
        return (self.algorithm,)


class Conv1d(_Convolution):
    """Cross-correlation of sequences with learned filters (PyTorch's ``Conv1d``).

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int
    padding : int, ((left, right),), "same" or "valid"
        Zeros at both ends.
    groups : int
        Divides both channel counts; each group of outputs sees its group of inputs.
    bias : bool
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What to put at the ends instead, see `cconv.functional.pad`.
    rng : Generator or int, optional
        Draws the weights; the default generator if None.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter
        (out_channels, in_channels / groups, length), drawn uniformly within ±1 / sqrt(fan_in).
    bias : Parameter or None
        (out_channels,), drawn likewise.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range. When called: if x is not (N, in_channels, L) of a float type, or the
        kernel is longer than the padded sequence.
    """

    _kind, _axes = "Conv1d", "L"
    _calls: ClassVar[tuple[Callable[..., Any], Callable[..., Any]]] = conv1d, conv1d_backward

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: Any = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        rng: np.random.Generator | int | None = None,
        dtype: Any = np.float32,
    ):
        self.in_channels = whole("Conv1d", "in_channels", in_channels, 1)
        self.out_channels = whole("Conv1d", "out_channels", out_channels, 1)
        self.kernel_size = single("Conv1d", "kernel_size", kernel_size)
        self.stride = single("Conv1d", "stride", stride)
        self.dilation = single("Conv1d", "dilation", dilation)
        self.groups = whole("Conv1d", "groups", groups, 1)
        border = padding_pair("Conv1d", padding, self.kernel_size, self.stride, self.dilation)
        self.padding = padding
        self.padding_mode = choice("Conv1d", "padding_mode", padding_mode, PADDING_MODES)
        self._border = border if padding_mode != "zeros" else None
        _check_groups("Conv1d", self)
        shape = (self.out_channels, self.in_channels // self.groups, self.kernel_size)
        self.weight, self.bias = _drawn("Conv1d", shape, self.out_channels if bias else 0, rng, dtype)


class ConvTranspose2d(Layer):
    """Each number of the input spread over a window of the output by learned filters (PyTorch's ``ConvTranspose2d``).

    It takes shapes back to where a `Conv2d` of the same arguments had them from, as decoders do, and is no inverse.
    Where a stride makes several sizes possible, ``layer(x, output_size=(height, width))`` and
    ``layer.forward(x, output_size=...)`` choose one.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or (height, width)
    stride, dilation : int or (height, width)
    padding : int, (height, width) or ((top, bottom), (left, right))
        Rows and columns of the output that are cut off.
    output_padding : int or (height, width)
        Rows and columns more at the bottom and the right; less than stride or dilation.
    groups : int
        Divides both channel counts; each group of inputs makes its group of outputs.
    bias : bool
    algorithm : {"auto", "direct", "winograd"}
        How it is computed, see `cconv.functional.conv2d`.
    rng : Generator or int, optional
        Draws the weights; the default generator if None.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter
        (in_channels, out_channels / groups, height, width), drawn uniformly within ±1 / sqrt(fan_in), where PyTorch
        takes out_channels / groups times the kernel's area for fan_in.
    bias : Parameter or None
        (out_channels,), drawn likewise.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range. When called: if x is not (N, in_channels, H, W) of a float type, or the
        padding leaves no output.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: Any = 0,
        output_padding: int | Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Pair = 1,
        *,
        algorithm: str = "auto",
        rng: np.random.Generator | int | None = None,
        dtype: Any = np.float32,
    ):
        self.in_channels = whole("ConvTranspose2d", "in_channels", in_channels, 1)
        self.out_channels = whole("ConvTranspose2d", "out_channels", out_channels, 1)
        self.kernel_size = pair("ConvTranspose2d", "kernel_size", kernel_size)
        self.stride = pair("ConvTranspose2d", "stride", stride)
        self.dilation = pair("ConvTranspose2d", "dilation", dilation)
        self.groups = whole("ConvTranspose2d", "groups", groups, 1)
        transposed_padding("ConvTranspose2d", padding)
        self.padding = padding
        self.output_padding = pair("ConvTranspose2d", "output_padding", output_padding, 0)
        check_output_padding("ConvTranspose2d", self.output_padding, self.stride, self.dilation)
        conv_algorithm("ConvTranspose2d", algorithm, self.kernel_size, self.stride, self.dilation)
        self.algorithm = algorithm
        _check_groups("ConvTranspose2d", self)
        shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        self.weight, self.bias = _drawn("ConvTranspose2d", shape, self.out_channels if bias else 0, rng, dtype)

    @fresh
    def forward(
        self, x: np.ndarray, train: bool = True, output_size: Any = None
    ) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        """As `Layer.forward`; `output_size`, (height, width) or a whole shape, takes the place of `output_padding`."""
        weight, bias = self.weight, self.bias
        x = as_input("ConvTranspose2d", x, weight.value.dtype)
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise _misfit("ConvTranspose2d", self, x.shape)
        more = self.output_padding if output_size is None else self._more(x.shape, output_size)
        options = self.stride, self.padding, more, self.groups, self.dilation
        y = conv_transpose2d(x, weight.value, None if bias is None else bias.value, *options, self.algorithm)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            needs = wanted(need_x, weight, bias)
            grad_x, grad_weight, grad_bias = conv_transpose2d_backward(
                grad_y, x, weight.value, *options, needs, self.algorithm
            )
            hand_over(weight, grad_weight, bias, grad_bias)
            return grad_x

        return y, Backward(backward, y, fresh=True)

    def __call__(self, x: np.ndarray, output_size: Any = None) -> np.ndarray:
        """Predict; of the given `output_size`, (height, width) or a whole shape."""
        return self.forward(x, train=False, output_size=output_size)[0]

    def _more(self, x_shape: tuple[int, ...], output_size: Any) -> Pair:
        """The output_padding that gives `output_size`."""
        size = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * 2
        if len(size) == 4:
            size = size[2:]
        height, width = pair("ConvTranspose2d", "output_size", size)
        geometry = self.kernel_size, self.stride, transposed_padding("ConvTranspose2d", self.padding)
        least = transposed_output("ConvTranspose2d", (x_shape[2], x_shape[3]), *geometry, (0, 0), self.dilation)
        most = least[0] + self.stride[0] - 1, least[1] + self.stride[1] - 1
        if not (least[0] <= height <= most[0] and least[1] <= width <= most[1]):
            raise ValueError(
                f"ConvTranspose2d: output_size must be in {least}..{most} for x {x_shape}, got {output_size!r}"
            )
        return height - least[0], width - least[1]

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return math.prod(x_shape) * math.prod(self.weight.value.shape[1:])

    def extra_repr(self) -> str:
        return _repr(self)


def _check_groups(where: str, layer: Any) -> None:
    for name in ("in_channels", "out_channels"):
        if getattr(layer, name) % layer.groups:
            raise ValueError(f"{where}: groups={layer.groups} does not divide {name}={getattr(layer, name)}")


def _drawn(where: str, shape: tuple[int, ...], biases: int, rng: Any, dtype: Any) -> tuple[Parameter, Parameter | None]:
    """A weight of `shape`, and a bias unless there are to be none, as PyTorch draws them."""
    dtype, rng = float_dtype(where, dtype), generator(rng)
    bound = 1 / math.sqrt(init.fan(shape)[0])
    weight = init.uniform(Parameter(np.empty(shape, dtype)), -bound, bound, rng=rng)
    return weight, init.uniform(Parameter(np.empty(biases, dtype)), -bound, bound, rng=rng) if biases else None


_DEFAULTS = {
    "stride": (1, (1, 1)),
    "padding": (0,),
    "padding_mode": ("zeros",),
    "output_padding": ((0, 0),),
    "dilation": (1, (1, 1)),
    "groups": (1,),
    "algorithm": ("auto",),
}


def _repr(layer: Any) -> str:
    listed = [f"{layer.in_channels}", f"{layer.out_channels}", f"kernel_size={layer.kernel_size}"]
    for name, defaults in _DEFAULTS.items():
        value = getattr(layer, name, defaults[0])
        if value not in defaults:
            listed.append(f"{name}={value!r}")
    return ", ".join(listed if layer.bias is not None else [*listed, "bias=False"])


def _misfit(where: str, layer: Any, shape: tuple[int, ...], axes: str = "H, W") -> ValueError:
    ndim = 3 if axes == "L" else 4
    if len(shape) != ndim:
        alone = layer.in_channels == 1 and shape[:1] != (1,)
        lacking, fix = (f"(N, {axes})", "x[:, None]") if alone else (f"(C, {axes})", "x[None]")
        hint = f": for {lacking} use {fix}" if len(shape) == ndim - 1 else ""
        return ValueError(f"{where}: x has {len(shape)} dimensions {shape}, expected {ndim} (N, C, {axes}){hint}")
    if shape[-1] == layer.in_channels:
        fix = f"looks like N{axes.replace(', ', '')}C: use x.transpose{(0, ndim - 1, *range(1, ndim - 1))}"
    else:
        fix = f"use {where}({shape[1]}, {layer.out_channels}, ...)"
    return Misfit(where, f"in_channels={layer.in_channels}", shape[1], shape, fix)
