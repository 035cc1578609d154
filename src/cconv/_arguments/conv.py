"""Convolution, of images and sequences, and its transpose."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._checks import choice, real, same_dtype
from .._shapes import (
    Padding,
    Pair,
    padding_pair,
    padding_pairs,
    pair,
    single,
    transposed_output,
    transposed_padding,
    whole,
    window_length,
    window_output,
)
from .shared import Needs, bias_of, match_output, three_needs

Shape4 = tuple[int, int, int, int]


class Conv2d(NamedTuple):
    """Arguments of a convolution; `x` (N, C, H, W), `weight` (K, C / groups, R, S), `bias` (K,) or None."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int
    output_size: Pair


class Conv2dBackward(NamedTuple):
    """Arguments of a convolution's gradients; `grad_y` (N, K, output height, output width)."""

    grad_y: np.ndarray
    x: np.ndarray
    weight: np.ndarray
    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int
    needs: Needs


class Conv1d(NamedTuple):
    """Arguments of a convolution of sequences; `x` (N, C, L), `weight` (K, C / groups, R), `bias` (K,) or None."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    stride: int
    padding: Pair
    dilation: int
    groups: int
    output_size: int


class Conv1dBackward(NamedTuple):
    """Arguments of the gradients of a convolution of sequences; `grad_y` (N, K, output length)."""

    grad_y: np.ndarray
    x: np.ndarray
    weight: np.ndarray
    stride: int
    padding: Pair
    dilation: int
    groups: int
    needs: Needs


class ConvTranspose2d(NamedTuple):
    """Arguments of a transposed convolution; `x` (N, C, H, W), `weight` (C, K / groups, R, S), `bias` (K,) or None."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    stride: Pair
    padding: Padding
    output_padding: Pair
    groups: int
    dilation: Pair
    y_shape: Shape4


class ConvTranspose2dBackward(NamedTuple):
    """Arguments of a transposed convolution's gradients; `grad_y` (N, K, output height, output width)."""

    grad_y: np.ndarray
    x: np.ndarray
    weight: np.ndarray
    stride: Pair
    padding: Padding
    output_padding: Pair
    groups: int
    dilation: Pair
    needs: Needs


def conv2d(where: str, x, weight, bias, stride, padding, dilation, groups, algorithm) -> Conv2d:
    """Clean arguments of conv2d."""
    x = real(where, "x", x, 4)
    weight = real(where, "weight", weight, 4)
    stride, padding, dilation, groups, output_size = _conv_geometry(where, x, weight, stride, padding, dilation, groups)
    if bias is not None:
        bias = bias_of(where, bias, weight)
    conv_algorithm(where, algorithm, weight.shape[2:], stride, dilation)
    return Conv2d(x, weight, bias, stride, padding, dilation, groups, output_size)


def conv2d_backward(
    where: str, grad_y, x, weight, stride, padding, dilation, groups, needs, algorithm
) -> Conv2dBackward:
    """Clean arguments of conv2d_backward."""
    grad_y = real(where, "grad_y", grad_y, 4)
    x = real(where, "x", x, 4)
    weight = real(where, "weight", weight, 4)
    stride, padding, dilation, groups, output_size = _conv_geometry(where, x, weight, stride, padding, dilation, groups)
    match_output(where, grad_y, (x.shape[0], weight.shape[0], *output_size))
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x, weight=weight)
    conv_algorithm(where, algorithm, weight.shape[2:], stride, dilation)
    return Conv2dBackward(grad_y, x, weight, stride, padding, dilation, groups, three_needs(where, needs))


def _conv_geometry(where: str, x: np.ndarray, weight: np.ndarray, stride, padding, dilation, groups):
    groups = _conv_channels(where, x, weight, groups)
    size, kernel = (x.shape[2], x.shape[3]), (weight.shape[2], weight.shape[3])
    if not (size[0] and size[1]):
        raise ValueError(f"{where}: x {x.shape} has no rows or no columns")
    stride = pair(where, "stride", stride)
    dilation = pair(where, "dilation", dilation)
    padding = padding_pairs(where, padding, kernel, stride, dilation)
    return stride, padding, dilation, groups, window_output(where, size, kernel, stride, padding, dilation)


def _conv_channels(where: str, x: np.ndarray, weight: np.ndarray, groups) -> int:
    """`groups`, if they and the channels of images or sequences fit."""
    if x.dtype is not weight.dtype:
        same_dtype(where, x=x, weight=weight)
    if type(groups) is not int or groups != 1:
        groups = whole(where, "groups", groups, 1)
        if len(weight) % groups:
            raise ValueError(
                f"{where}: groups={groups} does not divide the {len(weight)} filters of weight {weight.shape}"
            )
    if not weight.size:
        raise ValueError(f"{where}: weight {weight.shape} is empty")
    if x.shape[1] != weight.shape[1] * groups:
        raise _channel_mismatch(where, x, weight, groups)
    return groups


def conv1d(where: str, x, weight, bias, stride, padding, dilation, groups) -> Conv1d:
    """Clean arguments of conv1d."""
    x = real(where, "x", x, 3)
    weight = real(where, "weight", weight, 3)
    geometry, length = _sequence_geometry(where, x, weight, stride, padding, dilation, groups)
    if bias is not None:
        bias = bias_of(where, bias, weight)
    return Conv1d(x, weight, bias, *geometry, length)


def conv1d_backward(where: str, grad_y, x, weight, stride, padding, dilation, groups, needs) -> Conv1dBackward:
    """Clean arguments of conv1d_backward."""
    grad_y = real(where, "grad_y", grad_y, 3)
    x = real(where, "x", x, 3)
    weight = real(where, "weight", weight, 3)
    geometry, length = _sequence_geometry(where, x, weight, stride, padding, dilation, groups)
    match_output(where, grad_y, (len(x), len(weight), length))
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x, weight=weight)
    return Conv1dBackward(grad_y, x, weight, *geometry, three_needs(where, needs))


def _sequence_geometry(
    where: str, x: np.ndarray, weight: np.ndarray, stride, padding, dilation, groups
) -> tuple[tuple[int, Pair, int, int], int]:
    groups = _conv_channels(where, x, weight, groups)
    if not x.shape[2]:
        raise ValueError(f"{where}: x {x.shape} has length 0")
    stride, dilation = single(where, "stride", stride), single(where, "dilation", dilation)
    kernel = weight.shape[2]
    pads = padding_pair(where, padding, kernel, stride, dilation)
    length = window_length(where, x.shape[2], kernel, stride, pads, dilation)
    return (stride, pads, dilation, groups), length


def conv_transpose2d(
    where: str, x, weight, bias, stride, padding, output_padding, groups, dilation, algorithm
) -> ConvTranspose2d:
    """Clean arguments of conv_transpose2d."""
    x = real(where, "x", x, 4)
    weight = _transposed_weight(where, weight)
    geometry, y_shape = _transposed_geometry(where, x, weight, stride, padding, output_padding, groups, dilation)
    if bias is not None:
        bias = real(where, "bias", bias)
        if bias.shape != y_shape[1:2]:
            expected = f"with groups={groups} expects {y_shape[1:2]}"
            raise ValueError(f"{where}: bias has shape {bias.shape}, weight {weight.shape} {expected}")
        if bias.dtype is not weight.dtype:
            same_dtype(where, weight=weight, bias=bias)
    args = ConvTranspose2d(x, weight, bias, *geometry, y_shape)
    conv_algorithm(where, algorithm, weight.shape[2:], args.stride, args.dilation)
    return args


def conv_transpose2d_backward(
    where: str, grad_y, x, weight, stride, padding, output_padding, groups, dilation, needs, algorithm
) -> ConvTranspose2dBackward:
    """Clean arguments of conv_transpose2d_backward."""
    grad_y = real(where, "grad_y", grad_y, 4)
    x = real(where, "x", x, 4)
    weight = _transposed_weight(where, weight)
    geometry, y_shape = _transposed_geometry(where, x, weight, stride, padding, output_padding, groups, dilation)
    match_output(where, grad_y, y_shape)
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x, weight=weight)
    args = ConvTranspose2dBackward(grad_y, x, weight, *geometry, three_needs(where, needs))
    conv_algorithm(where, algorithm, weight.shape[2:], args.stride, args.dilation)
    return args


def _transposed_weight(where: str, weight) -> np.ndarray:
    weight = real(where, "weight", weight)
    if weight.ndim != 4:
        raise ValueError(
            f"{where}: weight has {weight.ndim} dimensions {weight.shape}, expected 4 "
            f"(in_channels, out_channels / groups, height, width)"
        )
    return weight


def _transposed_geometry(
    where: str, x: np.ndarray, weight: np.ndarray, stride, padding, output_padding, groups, dilation
) -> tuple[tuple[Pair, Padding, Pair, int, Pair], Shape4]:
    n, channels, height, width = x.shape
    if x.dtype is not weight.dtype:
        same_dtype(where, x=x, weight=weight)
    groups = whole(where, "groups", groups, 1)
    if not weight.size:
        raise ValueError(f"{where}: weight {weight.shape} is empty")
    if channels != weight.shape[0]:
        hint = ""
        if x.shape[3] == weight.shape[0]:
            hint = (
                f": x looks like (N, H, W, C), use x.transpose(0, 3, 1, 2) for (N, C, H, W) {_channels_first(x.shape)}"
            )
        raise ValueError(f"{where}: x has {channels} channels, weight {weight.shape} expects {weight.shape[0]}{hint}")
    if channels % groups:
        raise ValueError(f"{where}: groups={groups} does not divide the {channels} channels of x {x.shape}")
    if not (height and width):
        raise ValueError(f"{where}: x {x.shape} has no rows or no columns")
    kernel = weight.shape[2], weight.shape[3]
    stride = pair(where, "stride", stride)
    dilation = pair(where, "dilation", dilation)
    padding = transposed_padding(where, padding)
    output_padding = pair(where, "output_padding", output_padding, 0)
    out = transposed_output(where, (height, width), kernel, stride, padding, output_padding, dilation)
    return (stride, padding, output_padding, groups, dilation), (n, weight.shape[1] * groups, *out)


def conv_algorithm(where: str, algorithm, kernel: Pair, stride: Pair, dilation: Pair) -> None:
    """Raise ValueError unless there is such an algorithm for such a convolution."""
    choice(where, "algorithm", algorithm, ("auto", "direct", "winograd"))
    if algorithm == "winograd" and not (kernel == (3, 3) and stride == dilation == (1, 1)):
        raise ValueError(
            f"{where}: algorithm='winograd' takes a 3x3 kernel with stride and dilation 1, "
            f"got kernel {kernel}, stride {stride}, dilation {dilation}: use 'auto'"
        )


def _channel_mismatch(where: str, x: np.ndarray, weight: np.ndarray, groups: int) -> ValueError:
    expected = weight.shape[1] * groups
    hint = ""
    if x.ndim == 4 and x.shape[3] == expected:
        hint = f": x looks like (N, H, W, C), use x.transpose(0, 3, 1, 2) for (N, C, H, W) {_channels_first(x.shape)}"
    elif x.ndim == 3 and x.shape[2] == expected:
        hint = ": x looks like (N, L, C), use x.transpose(0, 2, 1) for (N, C, L)"
    return ValueError(
        f"{where}: x has {x.shape[1]} channels, weight {weight.shape} with groups={groups} expects {expected}{hint}"
    )


def _channels_first(shape: tuple[int, ...]) -> Shape4:
    return shape[0], shape[3], shape[1], shape[2]
