"""Pooling, of images and sequences."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .._checks import real
from .._shapes import (
    Padding,
    Pair,
    output_pair,
    padding_pair,
    padding_pairs,
    pair,
    pool_length,
    pool_output,
    single,
)
from .shared import Shape3, Shape4, all_below, as_int64, match_output, shape3, shape4


class Pool2d(NamedTuple):
    """Arguments of a pooling; `x` (N, C, H, W)."""

    x: np.ndarray
    kernel: Pair
    stride: Pair
    padding: Padding
    dilation: Pair
    output_size: Pair


class MaxPool2dBackward(NamedTuple):
    """Arguments of a max pooling's gradient; `indices` int64, of grad_y's shape, all within a plane of `x_shape`."""

    grad_y: np.ndarray
    indices: np.ndarray
    x_shape: Shape4


class AvgPool2dBackward(NamedTuple):
    """Arguments of an average pooling's gradient."""

    grad_y: np.ndarray
    x_shape: Shape4
    kernel: Pair
    stride: Pair
    padding: Padding


class Pool1d(NamedTuple):
    """Arguments of a pooling of sequences; `x` (N, C, L)."""

    x: np.ndarray
    kernel: int
    stride: int
    padding: Pair
    dilation: int
    output_size: int


class MaxPool1dBackward(NamedTuple):
    """Arguments of the gradient of a max pooling of sequences; `indices` int64, of grad_y's shape, in 0..L - 1."""

    grad_y: np.ndarray
    indices: np.ndarray
    x_shape: Shape3


class AvgPool1dBackward(NamedTuple):
    """Arguments of the gradient of an average pooling of sequences."""

    grad_y: np.ndarray
    x_shape: Shape3
    kernel: int
    stride: int
    padding: Pair


def max_pool2d(where: str, x, kernel_size, stride, padding, dilation, ceil_mode) -> Pool2d:
    """Clean arguments of max_pool2d; `stride` None means `kernel_size`."""
    pool = _pool2d(where, x, kernel_size, stride, padding, dilation, ceil_mode)
    # A place in a window is counted in a number of x's type, of which float32 holds no more.
    (kernel_h, kernel_w), (dilation_h, dilation_w) = pool.kernel, pool.dilation
    if (kernel_h - 1) * dilation_h * pool.x.shape[3] + (kernel_w - 1) * dilation_w >= 2**24:
        raise ValueError(f"{where}: a window of {pool.kernel} in rows of {pool.x.shape[3]} spans over 2**24 places")
    return pool


def _pool2d(where: str, x, kernel_size, stride, padding, dilation, ceil_mode) -> Pool2d:
    x = real(where, "x", x, 4)
    kernel = pair(where, "kernel_size", kernel_size)
    stride = kernel if stride is None else pair(where, "stride", stride)
    dilation = pair(where, "dilation", dilation)
    padding = padding_pairs(where, padding, kernel, stride, dilation)
    output_size = pool_output(where, (x.shape[2], x.shape[3]), kernel, stride, padding, dilation, ceil_mode)
    return Pool2d(x, kernel, stride, padding, dilation, output_size)


def max_pool2d_backward(where: str, grad_y, indices, x_shape) -> MaxPool2dBackward:
    """Clean arguments of max_pool2d_backward."""
    grad_y = real(where, "grad_y", grad_y, 4)
    x_shape = shape4(where, "x_shape", x_shape)
    return MaxPool2dBackward(grad_y, _indices(where, indices, grad_y, x_shape), x_shape)


def _indices(where: str, indices, grad_y: np.ndarray, x_shape: tuple[int, ...]) -> np.ndarray:
    """As int64, if they are of grad_y's shape and all within an image or sequence of `x_shape`."""
    indices = np.asarray(indices)
    if indices.dtype.kind != "i" or indices.dtype.itemsize != 8:
        raise TypeError(f"{where}: indices have dtype {indices.dtype}, expected int64")
    if indices.shape != grad_y.shape:
        raise ValueError(f"{where}: indices have shape {indices.shape}, grad_y {grad_y.shape}: they must be equal")
    if grad_y.shape[:2] != x_shape[:2]:
        raise ValueError(f"{where}: grad_y {grad_y.shape} and x_shape {x_shape} must agree in N and C")
    indices = as_int64(indices)
    plane = math.prod(x_shape[2:])
    if not all_below(indices, plane):
        bad = indices[(indices < 0) | (indices >= plane)][0]
        raise ValueError(f"{where}: indices hold {bad}, expected 0..{plane - 1} for x_shape {x_shape}")
    return indices


def avg_pool2d(where: str, x, kernel_size, stride, padding, ceil_mode) -> Pool2d:
    """Clean arguments of avg_pool2d; `stride` None means `kernel_size`."""
    return _pool2d(where, x, kernel_size, stride, padding, 1, ceil_mode)


def avg_pool2d_backward(where: str, grad_y, x_shape, kernel_size, stride, padding, ceil_mode) -> AvgPool2dBackward:
    """Clean arguments of avg_pool2d_backward."""
    grad_y = real(where, "grad_y", grad_y, 4)
    x_shape = shape4(where, "x_shape", x_shape)
    kernel = pair(where, "kernel_size", kernel_size)
    stride = kernel if stride is None else pair(where, "stride", stride)
    padding = padding_pairs(where, padding, kernel, stride, (1, 1))
    output_size = pool_output(where, (x_shape[2], x_shape[3]), kernel, stride, padding, (1, 1), ceil_mode)
    match_output(where, grad_y, (*x_shape[:2], *output_size))
    return AvgPool2dBackward(grad_y, x_shape, kernel, stride, padding)


def max_pool1d(where: str, x, kernel_size, stride, padding, dilation, ceil_mode) -> Pool1d:
    """Clean arguments of max_pool1d; `stride` None means `kernel_size`."""
    pool = _pool1d(where, x, kernel_size, stride, padding, dilation, ceil_mode)
    if (pool.kernel - 1) * pool.dilation >= 2**24:  # as for max_pool2d
        raise ValueError(f"{where}: a window of {pool.kernel} spans over 2**24 places")
    return pool


def _pool1d(where: str, x, kernel_size, stride, padding, dilation, ceil_mode) -> Pool1d:
    x = real(where, "x", x, 3)
    kernel = single(where, "kernel_size", kernel_size)
    stride = kernel if stride is None else single(where, "stride", stride)
    dilation = single(where, "dilation", dilation)
    pads = padding_pair(where, padding, kernel, stride, dilation)
    length = pool_length(where, x.shape[2], kernel, stride, pads, dilation, ceil_mode)
    return Pool1d(x, kernel, stride, pads, dilation, length)


def max_pool1d_backward(where: str, grad_y, indices, x_shape) -> MaxPool1dBackward:
    """Clean arguments of max_pool1d_backward."""
    grad_y = real(where, "grad_y", grad_y, 3)
    x_shape = shape3(where, "x_shape", x_shape)
    return MaxPool1dBackward(grad_y, _indices(where, indices, grad_y, x_shape), x_shape)


def avg_pool1d(where: str, x, kernel_size, stride, padding, ceil_mode) -> Pool1d:
    """Clean arguments of avg_pool1d; `stride` None means `kernel_size`."""
    return _pool1d(where, x, kernel_size, stride, padding, 1, ceil_mode)


def avg_pool1d_backward(where: str, grad_y, x_shape, kernel_size, stride, padding, ceil_mode) -> AvgPool1dBackward:
    """Clean arguments of avg_pool1d_backward."""
    grad_y = real(where, "grad_y", grad_y, 3)
    x_shape = shape3(where, "x_shape", x_shape)
    kernel = single(where, "kernel_size", kernel_size)
    stride = kernel if stride is None else single(where, "stride", stride)
    pads = padding_pair(where, padding, kernel, stride, 1)
    length = pool_length(where, x_shape[2], kernel, stride, pads, 1, ceil_mode)
    match_output(where, grad_y, (*x_shape[:2], length))
    return AvgPool1dBackward(grad_y, x_shape, kernel, stride, pads)


def adaptive_pool1d(where: str, x, output_size) -> tuple[np.ndarray, int]:
    """(x, output size) of adaptive_avg_pool1d."""
    x = real(where, "x", x, 3)
    if not x.shape[2]:
        raise ValueError(f"{where}: x {x.shape} has length 0")
    return x, single(where, "output_size", output_size)


def adaptive_pool1d_backward(where: str, grad_y, x_shape) -> tuple[np.ndarray, Shape3]:
    """(grad_y, x_shape) of adaptive_avg_pool1d_backward."""
    grad_y = real(where, "grad_y", grad_y, 3)
    x_shape = shape3(where, "x_shape", x_shape)
    if grad_y.shape[:2] != x_shape[:2]:
        raise ValueError(f"{where}: grad_y {grad_y.shape} and x_shape {x_shape} must agree in N and C")
    for name, shape in (("x_shape", x_shape), ("grad_y", grad_y.shape)):
        if not shape[2]:
            raise ValueError(f"{where}: {name} {shape} has length 0")
    return grad_y, x_shape


def adaptive_pool2d(where: str, x, output_size) -> tuple[np.ndarray, Pair]:
    """(x, output size) of adaptive_avg_pool2d; None in `output_size` keeps x's."""
    x = real(where, "x", x, 4)
    size = x.shape[2:]
    if not (size[0] and size[1]):
        raise ValueError(f"{where}: x {x.shape} has no rows or no columns")
    height, width = output_pair(where, output_size)
    return x, (size[0] if height is None else height, size[1] if width is None else width)


def adaptive_pool2d_backward(where: str, grad_y, x_shape) -> tuple[np.ndarray, Shape4]:
    """(grad_y, x_shape) of adaptive_avg_pool2d_backward."""
    grad_y = real(where, "grad_y", grad_y, 4)
    x_shape = shape4(where, "x_shape", x_shape)
    if grad_y.shape[:2] != x_shape[:2]:
        raise ValueError(f"{where}: grad_y {grad_y.shape} and x_shape {x_shape} must agree in N and C")
    for name, shape in (("x_shape", x_shape), ("grad_y", grad_y.shape)):
        if not (shape[2] and shape[3]):
            raise ValueError(f"{where}: {name} {shape} has no rows or no columns")
    return grad_y, x_shape
