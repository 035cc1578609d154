"""Pooling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._shapes import Pair, output_pair, padding_pair, padding_pairs, pair, single
from ..functional import (
    adaptive_avg_pool1d,
    adaptive_avg_pool1d_backward,
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    adaptive_max_pool1d,
    adaptive_max_pool1d_backward,
    adaptive_max_pool2d,
    adaptive_max_pool2d_backward,
    avg_pool1d,
    avg_pool1d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool1d,
    max_pool1d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from .layer import Backward, Layer, fresh


class _MaxPool(Layer):
    """What MaxPool1d and MaxPool2d share: all but their arguments."""

    _calls: ClassVar[tuple[Callable[..., Any], Callable[..., Any]]]

    kernel_size: Any
    stride: Any
    padding: Any
    dilation: Any
    ceil_mode: bool

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        pool, pool_backward = self._calls
        y, indices = pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        x_shape = np.shape(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return pool_backward(grad_y, indices, x_shape) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        dilation = "" if self.dilation in (1, (1, 1)) else f", dilation={self.dilation}"
        return _window(self) + dilation + (", ceil_mode=True" if self.ceil_mode else "")


class MaxPool2d(_MaxPool):
    """The largest value of each window (PyTorch's ``MaxPool2d``). The gradient goes to the first largest value.

    Parameters
    ----------
    kernel_size : int or (height, width)
    stride : int or (height, width), optional
        `kernel_size` if None.
    padding : int, (height, width) or ((top, bottom), (left, right))
        Minus infinity around the image, at most half the kernel.
    dilation : int or (height, width)
    ceil_mode : bool
        Whether a last window may hang over the end.
    """

    _calls = max_pool2d, max_pool2d_backward

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: Any = 0,
        dilation: int | Pair = 1,
        ceil_mode: bool = False,
    ):
        self.kernel_size = pair("MaxPool2d", "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else pair("MaxPool2d", "stride", stride)
        self.dilation = pair("MaxPool2d", "dilation", dilation)
        self.padding = _padding("MaxPool2d", padding, self.kernel_size, self.stride, self.dilation)
        self.ceil_mode = bool(ceil_mode)


class _AvgPool(Layer):
    """What AvgPool1d and AvgPool2d share: all but their arguments."""

    _calls: ClassVar[tuple[Callable[..., Any], Callable[..., Any]]]

    kernel_size: Any
    stride: Any
    padding: Any
    ceil_mode: bool
    count_include_pad: bool

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        options = self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        pool, pool_backward = self._calls
        y = pool(x, *options)
        x_shape = np.shape(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return pool_backward(grad_y, x_shape, *options) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        counted = "" if self.count_include_pad else ", count_include_pad=False"
        return _window(self) + (", ceil_mode=True" if self.ceil_mode else "") + counted


class AvgPool2d(_AvgPool):
    """The mean of each window (PyTorch's ``AvgPool2d``).

    Parameters
    ----------
    kernel_size : int or (height, width)
    stride : int or (height, width), optional
        `kernel_size` if None.
    padding : int, (height, width) or ((top, bottom), (left, right))
        Zeros around the image, at most half the kernel.
    ceil_mode : bool
        Whether a last window may hang over the end.
    count_include_pad : bool
        Whether the mean counts the padding.
    """

    _calls = avg_pool2d, avg_pool2d_backward

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        self.kernel_size = pair("AvgPool2d", "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else pair("AvgPool2d", "stride", stride)
        self.padding = _padding("AvgPool2d", padding, self.kernel_size, self.stride, (1, 1))
        self.ceil_mode = bool(ceil_mode)
        self.count_include_pad = bool(count_include_pad)


class AdaptiveAvgPool2d(Layer):
    """The mean of each of `output_size` windows that share the image out evenly (PyTorch's ``AdaptiveAvgPool2d``).

    ``AdaptiveAvgPool2d(1)`` averages over the whole image, whatever its size.

    Parameters
    ----------
    output_size : int, None or (height, width)
        None, also as one of the two, keeps the size of x.
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] | None):
        self.output_size = output_pair("AdaptiveAvgPool2d", output_size)

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        y = adaptive_avg_pool2d(x, self.output_size)
        x_shape = np.shape(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return adaptive_avg_pool2d_backward(grad_y, x_shape) if need_x else None

        return y, Backward(backward, y)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(Layer):
    """The largest value of each of `output_size` windows that share the image out evenly (``AdaptiveMaxPool2d``).

    Parameters
    ----------
    output_size : int, None or (height, width)
        None, also as one of the two, keeps the size of x.
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] | None):
        self.output_size = output_pair("AdaptiveMaxPool2d", output_size)

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        y, indices = adaptive_max_pool2d(x, self.output_size)
        x_shape = np.shape(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return adaptive_max_pool2d_backward(grad_y, indices, x_shape) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class MaxPool1d(_MaxPool):
    """The largest value of each window of a sequence (PyTorch's ``MaxPool1d``).

    Parameters
    ----------
    kernel_size : int
    stride : int, optional
        `kernel_size` if None.
    padding : int or ((left, right),)
        Minus infinity at both ends, at most half the kernel.
    dilation : int
    ceil_mode : bool
        Whether a last window may hang over the end.
    """

    _calls = max_pool1d, max_pool1d_backward

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: Any = 0,
        dilation: int = 1,
        ceil_mode: bool = False,
    ):
        self.kernel_size = single("MaxPool1d", "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else single("MaxPool1d", "stride", stride)
        self.dilation = single("MaxPool1d", "dilation", dilation)
        self.padding = _padding1d("MaxPool1d", padding, self.kernel_size, self.stride, self.dilation)
        self.ceil_mode = bool(ceil_mode)


class AvgPool1d(_AvgPool):
    """The mean of each window of a sequence (PyTorch's ``AvgPool1d``).

    Parameters
    ----------
    kernel_size : int
    stride : int, optional
        `kernel_size` if None.
    padding : int or ((left, right),)
        Zeros at both ends, at most half the kernel.
    ceil_mode : bool
        Whether a last window may hang over the end.
    count_include_pad : bool
        Whether the mean counts the padding.
    """

    _calls = avg_pool1d, avg_pool1d_backward

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        self.kernel_size = single("AvgPool1d", "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else single("AvgPool1d", "stride", stride)
        self.padding = _padding1d("AvgPool1d", padding, self.kernel_size, self.stride, 1)
        self.ceil_mode = bool(ceil_mode)
        self.count_include_pad = bool(count_include_pad)


class AdaptiveAvgPool1d(Layer):
    """The mean of each of `output_size` windows that share the sequence out evenly (PyTorch's ``AdaptiveAvgPool1d``).

    Parameters
    ----------
    output_size : int
    """

    def __init__(self, output_size: int):
        self.output_size = single("AdaptiveAvgPool1d", "output_size", output_size)

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        y = adaptive_avg_pool1d(x, self.output_size)
        x_shape = np.shape(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return adaptive_avg_pool1d_backward(grad_y, x_shape) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(Layer):
    """The largest value of each of `output_size` windows that share the sequence out evenly (``AdaptiveMaxPool1d``).

    Parameters
    ----------
    output_size : int
    """

    def __init__(self, output_size: int):
        self.output_size = single("AdaptiveMaxPool1d", "output_size", output_size)

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        y, indices = adaptive_max_pool1d(x, self.output_size)
        x_shape = np.shape(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return adaptive_max_pool1d_backward(grad_y, indices, x_shape) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


def _padding1d(where: str, padding: Any, kernel: int, stride: int, dilation: int) -> Any:
    most = max(padding_pair(where, padding, kernel, stride, dilation))
    if most > kernel // 2:
        raise ValueError(
            f"{where}: padding length {most} is over half the kernel length {kernel}: at most {kernel // 2}"
        )
    return padding


def _padding(where: str, padding: Any, kernel: Pair, stride: Pair, dilation: Pair) -> Any:
    pads = padding_pairs(where, padding, kernel, stride, dilation)
    for axis, k, both in zip(("height", "width"), kernel, pads, strict=True):
        most = max(both)
        if most > k // 2:
            raise ValueError(f"{where}: padding {axis} {most} is over half the kernel {axis} {k}: at most {k // 2}")
    return padding


def _window(layer: _MaxPool | _AvgPool) -> str:
    stride = "" if layer.stride == layer.kernel_size else f", stride={layer.stride}"
    padding = "" if layer.padding == 0 else f", padding={layer.padding!r}"
    return f"kernel_size={layer.kernel_size}{stride}{padding}"
