"""From raw arguments to clean values, operation by operation: checks and shapes, none of an operation's arithmetic.

`functional` and `reference` both open with these functions, so that the two refuse the same calls in the same words.
Every layer call in training passes here: the way through valid arguments is kept short, and wording is made only
when something is wrong.
"""

from __future__ import annotations

import math
import operator
from typing import NamedTuple

import numpy as np

from ._checks import choice, number, real, same_dtype
from ._shapes import (
    Padding,
    Pair,
    output_pair,
    padding_pair,
    padding_pairs,
    pair,
    pool_length,
    pool_output,
    single,
    transposed_output,
    transposed_padding,
    whole,
    window_length,
    window_output,
)

INT64 = np.dtype(np.int64)
REDUCTIONS = ("mean", "sum", "none")

Needs = tuple[bool, bool, bool]
Shape3 = tuple[int, int, int]
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


class Linear(NamedTuple):
    """Arguments of a linear map; `x` (N, in), `weight` (out, in), `bias` (out,) or None."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None


class LinearBackward(NamedTuple):
    """Arguments of a linear map's gradients; `grad_y` (N, out)."""

    grad_y: np.ndarray
    x: np.ndarray
    weight: np.ndarray
    needs: Needs


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


class Pad(NamedTuple):
    """Arguments of a padding; `borders` (before, after) of each axis of x."""

    x: np.ndarray
    borders: tuple[Pair, ...]
    mode: str
    value: float
    y_shape: tuple[int, ...]


class PadBackward(NamedTuple):
    """Arguments of a padding's gradient."""

    grad_y: np.ndarray
    x_shape: tuple[int, ...]
    borders: tuple[Pair, ...]
    mode: str


class Resize(NamedTuple):
    """Arguments of an interpolation; `sizes` of y beside N and C; `scales` as given, or None."""

    x: np.ndarray
    sizes: tuple[int, ...]
    scales: tuple[float | None, ...]
    align_corners: bool


class ResizeBackward(NamedTuple):
    """Arguments of an interpolation's gradient."""

    grad_y: np.ndarray
    x_shape: tuple[int, ...]
    scales: tuple[float | None, ...]
    align_corners: bool


class BatchNorm(NamedTuple):
    """Arguments of a batch normalisation; `x` (N, C, ...), all others (C,) or None."""

    x: np.ndarray
    mean: np.ndarray | None
    var: np.ndarray | None
    weight: np.ndarray | None
    bias: np.ndarray | None
    training: bool
    eps: float


class BatchNormBackward(NamedTuple):
    """Arguments of a batch normalisation's gradients; `grad_y` and `x` (N, C, ...), all others (C,)."""

    grad_y: np.ndarray
    x: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    weight: np.ndarray | None
    training: bool
    eps: float
    needs: Needs


class CrossEntropy(NamedTuple):
    """Arguments of a cross-entropy; `target` int64 labels (N, d1, ...) where `labels` is true, else a distribution
    of the logits' shape and dtype."""

    logits: np.ndarray
    target: np.ndarray
    labels: bool
    weight: np.ndarray | None
    ignore_index: int
    smoothing: float
    sample_weight: np.ndarray | None
    ignores: bool  # whether a label is ignore_index

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape of the losses."""
        return self.logits.shape[0], *self.logits.shape[2:]

    @property
    def plain(self) -> bool:
        """Whether each position counts once, with its label or distribution as it is."""
        return self.weight is None and self.sample_weight is None and not self.smoothing and not self.ignores


def conv2d(where: str, x, weight, bias, stride, padding, dilation, groups, algorithm) -> Conv2d:
    """Clean arguments of conv2d."""
    x = real(where, "x", x, 4)
    weight = real(where, "weight", weight, 4)
    stride, padding, dilation, groups, output_size = _conv_geometry(where, x, weight, stride, padding, dilation, groups)
    if bias is not None:
        bias = _bias(where, bias, weight)
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
    _match_output(where, grad_y, (x.shape[0], weight.shape[0], *output_size))
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x, weight=weight)
    conv_algorithm(where, algorithm, weight.shape[2:], stride, dilation)
    return Conv2dBackward(grad_y, x, weight, stride, padding, dilation, groups, _needs(where, needs))


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
        bias = _bias(where, bias, weight)
    return Conv1d(x, weight, bias, *geometry, length)


def conv1d_backward(where: str, grad_y, x, weight, stride, padding, dilation, groups, needs) -> Conv1dBackward:
    """Clean arguments of conv1d_backward."""
    grad_y = real(where, "grad_y", grad_y, 3)
    x = real(where, "x", x, 3)
    weight = real(where, "weight", weight, 3)
    geometry, length = _sequence_geometry(where, x, weight, stride, padding, dilation, groups)
    _match_output(where, grad_y, (len(x), len(weight), length))
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x, weight=weight)
    return Conv1dBackward(grad_y, x, weight, *geometry, _needs(where, needs))


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
    _match_output(where, grad_y, y_shape)
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x, weight=weight)
    args = ConvTranspose2dBackward(grad_y, x, weight, *geometry, _needs(where, needs))
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


def linear(where: str, x, weight, bias) -> Linear:
    """Clean arguments of linear."""
    x = real(where, "x", x, 2)
    weight = real(where, "weight", weight, 2)
    _match_features(where, x, weight)
    if bias is not None:
        bias = _bias(where, bias, weight)
    return Linear(x, weight, bias)


def linear_backward(where: str, grad_y, x, weight, needs) -> LinearBackward:
    """Clean arguments of linear_backward."""
    grad_y = real(where, "grad_y", grad_y, 2)
    x = real(where, "x", x, 2)
    weight = real(where, "weight", weight, 2)
    _match_features(where, x, weight)
    _match_output(where, grad_y, (x.shape[0], weight.shape[0]))
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x, weight=weight)
    return LinearBackward(grad_y, x, weight, _needs(where, needs))


def _match_features(where: str, x: np.ndarray, weight: np.ndarray) -> None:
    if x.dtype is not weight.dtype:
        same_dtype(where, x=x, weight=weight)
    if not weight.size:
        raise ValueError(f"{where}: weight {weight.shape} is empty")
    if x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"{where}: x {x.shape} has {x.shape[1]} features, weight {weight.shape} expects {weight.shape[1]}"
        )


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
    x_shape = _shape4(where, "x_shape", x_shape)
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
    indices = _int64(indices)
    plane = math.prod(x_shape[2:])
    if not _all_below(indices, plane):
        bad = indices[(indices < 0) | (indices >= plane)][0]
        raise ValueError(f"{where}: indices hold {bad}, expected 0..{plane - 1} for x_shape {x_shape}")
    return indices


def avg_pool2d(where: str, x, kernel_size, stride, padding, ceil_mode) -> Pool2d:
    """Clean arguments of avg_pool2d; `stride` None means `kernel_size`."""
    return _pool2d(where, x, kernel_size, stride, padding, 1, ceil_mode)


def avg_pool2d_backward(where: str, grad_y, x_shape, kernel_size, stride, padding, ceil_mode) -> AvgPool2dBackward:
    """Clean arguments of avg_pool2d_backward."""
    grad_y = real(where, "grad_y", grad_y, 4)
    x_shape = _shape4(where, "x_shape", x_shape)
    kernel = pair(where, "kernel_size", kernel_size)
    stride = kernel if stride is None else pair(where, "stride", stride)
    padding = padding_pairs(where, padding, kernel, stride, (1, 1))
    output_size = pool_output(where, (x_shape[2], x_shape[3]), kernel, stride, padding, (1, 1), ceil_mode)
    _match_output(where, grad_y, (*x_shape[:2], *output_size))
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
    x_shape = _shape3(where, "x_shape", x_shape)
    return MaxPool1dBackward(grad_y, _indices(where, indices, grad_y, x_shape), x_shape)


def avg_pool1d(where: str, x, kernel_size, stride, padding, ceil_mode) -> Pool1d:
    """Clean arguments of avg_pool1d; `stride` None means `kernel_size`."""
    return _pool1d(where, x, kernel_size, stride, padding, 1, ceil_mode)


def avg_pool1d_backward(where: str, grad_y, x_shape, kernel_size, stride, padding, ceil_mode) -> AvgPool1dBackward:
    """Clean arguments of avg_pool1d_backward."""
    grad_y = real(where, "grad_y", grad_y, 3)
    x_shape = _shape3(where, "x_shape", x_shape)
    kernel = single(where, "kernel_size", kernel_size)
    stride = kernel if stride is None else single(where, "stride", stride)
    pads = padding_pair(where, padding, kernel, stride, 1)
    length = pool_length(where, x_shape[2], kernel, stride, pads, 1, ceil_mode)
    _match_output(where, grad_y, (*x_shape[:2], length))
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
    x_shape = _shape3(where, "x_shape", x_shape)
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
    x_shape = _shape4(where, "x_shape", x_shape)
    if grad_y.shape[:2] != x_shape[:2]:
        raise ValueError(f"{where}: grad_y {grad_y.shape} and x_shape {x_shape} must agree in N and C")
    for name, shape in (("x_shape", x_shape), ("grad_y", grad_y.shape)):
        if not (shape[2] and shape[3]):
            raise ValueError(f"{where}: {name} {shape} has no rows or no columns")
    return grad_y, x_shape


def pad(where: str, x, pad, mode, value) -> Pad:
    """Clean arguments of pad."""
    x = real(where, "x", x)
    borders, y_shape = _borders(where, x.shape, pad, mode)
    if not isinstance(value, float):  # infinity may be the border of a maximum
        value = number(where, "value", value)
    if value and mode != "constant":
        raise ValueError(f"{where}: value is for mode='constant', got value={value!r} with mode={mode!r}")
    return Pad(x, borders, mode, value, y_shape)


def pad_backward(where: str, grad_y, x_shape, pad, mode) -> PadBackward:
    """Clean arguments of pad_backward."""
    grad_y = real(where, "grad_y", grad_y)
    if not isinstance(x_shape, (tuple, list)):
        raise ValueError(f"{where}: x_shape must be a tuple of sizes, got {x_shape!r}")
    x_shape = tuple(whole(where, "x_shape", size) for size in x_shape)
    borders, y_shape = _borders(where, x_shape, pad, mode)
    _match_output(where, grad_y, y_shape)
    return PadBackward(grad_y, x_shape, borders, mode)


def _borders(where: str, x_shape: tuple[int, ...], pad, mode) -> tuple[tuple[Pair, ...], tuple[int, ...]]:
    """(before, after) of each axis, and the shape of the output."""
    choice(where, "mode", mode, ("constant", "reflect", "replicate", "circular"))
    if not isinstance(pad, (tuple, list)) or len(pad) % 2:
        raise ValueError(f"{where}: pad must be (left, right) or (left, right, top, bottom), got {pad!r}")
    if len(pad) > 2 * len(x_shape):
        raise ValueError(f"{where}: pad has {len(pad)} sizes, x {x_shape} has {len(x_shape)} axes")
    sizes = [whole(where, "pad", size, 0 if mode != "constant" else -(2**31)) for size in pad]
    borders = [(0, 0)] * (len(x_shape) - len(sizes) // 2)
    borders += [(sizes[i], sizes[i + 1]) for i in range(len(sizes) - 2, -1, -2)]
    for axis, (n, border) in enumerate(zip(x_shape, borders, strict=True)):
        most = {"reflect": n - 1, "circular": n, "replicate": max(border) if n else 0}.get(mode, max(border))
        if max(border) > max(most, 0):
            raise ValueError(f"{where}: mode={mode!r} of {n} numbers pads at most {max(most, 0)}, got {border}")
        if n + sum(min(0, size) for size in border) < 0:
            raise ValueError(f"{where}: pad {border} cuts more than the {n} numbers of axis {axis} of x {x_shape}")
    return tuple(borders), tuple(n + sum(border) for n, border in zip(x_shape, borders, strict=True))


def interpolate(where: str, x, size, scale_factor, mode, align_corners, recompute_scale_factor) -> Resize:
    """Clean arguments of interpolate."""
    x = real(where, "x", x)
    options = size, scale_factor, mode, align_corners, recompute_scale_factor
    return Resize(x, *_resized(where, "x", x.shape, *options), bool(align_corners))


def interpolate_backward(
    where: str, grad_y, x_shape, size, scale_factor, mode, align_corners, recompute_scale_factor
) -> ResizeBackward:
    """Clean arguments of interpolate_backward."""
    grad_y = real(where, "grad_y", grad_y)
    x_shape = _shape3(where, "x_shape", x_shape) if grad_y.ndim == 3 else _shape4(where, "x_shape", x_shape)
    options = size, scale_factor, mode, align_corners, recompute_scale_factor
    sizes, scales = _resized(where, "x_shape", x_shape, *options)
    _match_output(where, grad_y, (*x_shape[:2], *sizes))
    return ResizeBackward(grad_y, x_shape, scales, bool(align_corners))


def resize_options(where: str, axes: int | None, size, scale_factor, mode, align_corners, recompute) -> tuple:
    """(size, scale_factor) as given, or of `axes` numbers each, if the options fit one another."""
    choice(where, "mode", mode, ("nearest", "nearest-exact", "linear", "bilinear"))
    if align_corners is not None and "linear" not in mode:
        raise ValueError(f"{where}: align_corners is for mode 'linear' or 'bilinear', got mode={mode!r}")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{where}: give either size or scale_factor, got {size!r} and {scale_factor!r}")
    if recompute and size is not None:
        raise ValueError(f"{where}: recompute_scale_factor is for scale_factor, got size={size!r}")
    name, value = ("size", size) if scale_factor is None else ("scale_factor", scale_factor)
    several = isinstance(value, (tuple, list))
    if axes is not None and several and len(value) != axes:
        raise ValueError(f"{where}: {name} must be one number or {axes}, got {value!r}")
    each = list(value) if several else [value]
    for item in each:
        if scale_factor is None:
            whole(where, "size", item, 1)
        else:
            number(where, "scale_factor", item, 0, above=True)
    if axes is None:
        return size, scale_factor
    given = tuple(each if several else each * axes)
    return (given, None) if scale_factor is None else (None, given)


def _resized(
    where: str, name: str, shape: tuple[int, ...], size, scale_factor, mode, align_corners, recompute
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """Sizes of y, and the scales that place its numbers."""
    axes = len(shape) - 2
    size, scales = resize_options(where, axes, size, scale_factor, mode, align_corners, recompute)
    if axes != {"linear": 1, "bilinear": 2}.get(mode, axes) or axes not in (1, 2):
        expected = {"linear": "(N, C, L)", "bilinear": "(N, C, H, W)"}.get(mode, "(N, C, L) or (N, C, H, W)")
        raise ValueError(f"{where}: {name} has {len(shape)} dimensions {shape}, mode={mode!r} expects {expected}")
    if not all(shape[2:]):
        raise ValueError(f"{where}: {name} {shape} has nothing to interpolate")
    if scales is None:
        return size, (None,) * axes
    sizes = tuple(whole(where, "output size", int(n * s), 1) for n, s in zip(shape[2:], scales, strict=True))
    return sizes, (None,) * axes if recompute else tuple(float(s) for s in scales)


def batch_norm(where: str, x, running_mean, running_var, weight, bias, training, eps) -> BatchNorm:
    """Clean arguments of batch_norm."""
    x = _with_channels(where, x)
    training = bool(training)
    if training:
        _several_values(where, x)
    elif running_mean is None or running_var is None:
        raise ValueError(f"{where}: running_mean and running_var must be given, or training=True")
    mean = _each_channel(where, "running_mean", running_mean, x)
    var = _each_channel(where, "running_var", running_var, x)
    weight = _each_channel(where, "weight", weight, x)
    bias = _each_channel(where, "bias", bias, x)
    return BatchNorm(x, mean, var, weight, bias, training, number(where, "eps", eps, 0))


def batch_norm_backward(where: str, grad_y, x, mean, var, weight, training, eps, needs) -> BatchNormBackward:
    """Clean arguments of batch_norm_backward."""
    x = _with_channels(where, x)
    grad_y = real(where, "grad_y", grad_y)
    _match_output(where, grad_y, x.shape)
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x)
    training = bool(training)
    if training:
        _several_values(where, x)
    if mean is None or var is None:
        raise TypeError(f"{where}: mean and var must be given, as batch_norm returned them")
    mean, var = _each_channel(where, "mean", mean, x), _each_channel(where, "var", var, x)
    weight, eps = _each_channel(where, "weight", weight, x), number(where, "eps", eps, 0)
    return BatchNormBackward(grad_y, x, mean, var, weight, training, eps, _needs(where, needs))


def group_norm(where: str, x, num_groups, weight, bias, eps):
    """(x, num_groups, weight, bias, eps) of group_norm."""
    x = _with_channels(where, x)
    groups = whole(where, "num_groups", num_groups, 1)
    if x.shape[1] % groups:
        raise ValueError(f"{where}: num_groups={groups} does not divide the {x.shape[1]} channels of x {x.shape}")
    weight, bias = _each_channel(where, "weight", weight, x), _each_channel(where, "bias", bias, x)
    return x, groups, weight, bias, number(where, "eps", eps, 0)


def group_norm_backward(where: str, grad_y, x, num_groups, weight, eps, needs):
    """(grad_y, x, num_groups, weight, eps, needs) of group_norm_backward."""
    x, groups, weight, _, eps = group_norm(where, x, num_groups, weight, None, eps)
    return _gradient_like(where, grad_y, x), x, groups, weight, eps, _needs(where, needs)


def normalized_shape(where: str, value) -> tuple[int, ...]:
    """An int or a tuple of at least one, as a tuple."""
    sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not sizes:
        raise ValueError(f"{where}: normalized_shape must have at least one dimension, got {value!r}")
    return tuple(whole(where, "normalized_shape", size, 1) for size in sizes)


def layer_norm(where: str, x, shape, weight, bias, eps):
    """(x, normalized_shape, weight, bias, eps) of layer_norm."""
    x = real(where, "x", x)
    shape = normalized_shape(where, shape)
    if x.shape[max(0, x.ndim - len(shape)) :] != shape:
        raise ValueError(f"{where}: x has shape {x.shape}, which does not end with normalized_shape={shape}")
    for name, array in (("weight", weight), ("bias", bias)):
        if array is not None and np.shape(array) != shape:
            raise ValueError(f"{where}: {name} has shape {np.shape(array)}, expected normalized_shape={shape}")
    weight, bias = (None if a is None else real(where, n, a) for n, a in (("weight", weight), ("bias", bias)))
    same_dtype(where, x=x, weight=weight, bias=bias)
    return x, shape, weight, bias, number(where, "eps", eps, 0)


def layer_norm_backward(where: str, grad_y, x, shape, weight, eps, needs):
    """(grad_y, x, normalized_shape, weight, eps, needs) of layer_norm_backward."""
    x, shape, weight, _, eps = layer_norm(where, x, shape, weight, None, eps)
    return _gradient_like(where, grad_y, x), x, shape, weight, eps, _needs(where, needs)


def _gradient_like(where: str, grad_y, x: np.ndarray) -> np.ndarray:
    grad_y = real(where, "grad_y", grad_y)
    _match_output(where, grad_y, x.shape)
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x)
    return grad_y


def _with_channels(where: str, x) -> np.ndarray:
    x = real(where, "x", x)
    if x.ndim < 2:
        raise ValueError(f"{where}: x has {x.ndim} dimensions {x.shape}, expected (N, C) or (N, C, ...)")
    return x


def _several_values(where: str, x: np.ndarray) -> None:
    if x.size == x.shape[1] > 0:
        raise ValueError(
            f"{where}: x {x.shape} has one value a channel, which has no variance: training needs more images or pixels"
        )


def _each_channel(where: str, name: str, value, x: np.ndarray):
    if value is None:
        return None
    array = real(where, name, value)
    if array.shape != x.shape[1:2]:
        raise ValueError(f"{where}: {name} has shape {array.shape}, x {x.shape} expects {x.shape[1:2]}")
    if array.dtype is not x.dtype:
        same_dtype(where, **{"x": x, name: array})
    return array


def elementwise_backward(where: str, grad_y, name: str, kept) -> tuple[np.ndarray, np.ndarray]:
    """(grad_y, kept) of an elementwise operation's gradient, where `name` ("x" or "y") is what `kept` is."""
    kept = real(where, name, kept)
    grad_y = real(where, "grad_y", grad_y)
    if grad_y.shape != kept.shape:
        raise ValueError(f"{where}: grad_y has shape {grad_y.shape}, {name} {kept.shape}: they must be equal")
    if grad_y.dtype is not kept.dtype:
        same_dtype(where, **{"grad_y": grad_y, name: kept})
    return grad_y, kept


def dropout(where: str, name: str, x, ndim: int | None, p, seed, step) -> tuple[np.ndarray, float, int, int]:
    """(x, p, seed, step) of dropout and its gradient."""
    x = real(where, name, x, ndim)
    try:
        seed = operator.index(seed)
    except TypeError:
        raise TypeError(f"{where}: seed must be an integer, got {seed!r}") from None
    if not 0 <= seed < 2**64:
        raise ValueError(f"{where}: seed must be in 0..2**64 - 1, got {seed!r}")
    return x, probability(where, p), seed, whole(where, "step", step)


def probability(where: str, p) -> float:
    """`p` as a float in 0..1."""
    result = number(where, "p", p, 0)
    if result > 1:
        raise ValueError(f"{where}: p must be at most 1, got {p!r}")
    return result


def approximate(where: str, value) -> bool:
    """Whether gelu is to be the approximation by tanh."""
    return choice(where, "approximate", value, ("none", "tanh")) == "tanh"


def between(where: str, min_val, max_val) -> tuple[float, float]:
    """(min_val, max_val) of hardtanh."""
    low, high = number(where, "min_val", min_val), number(where, "max_val", max_val)
    if low > high:
        raise ValueError(f"{where}: min_val must be at most max_val={max_val!r}, got {min_val!r}")
    return low, high


def maxout(where: str, x, pool_size) -> tuple[np.ndarray, int, tuple[int, ...]]:
    """(x, pool_size, shape of y) of maxout."""
    x = _with_channels(where, x)
    size = whole(where, "pool_size", pool_size, 1)
    if x.shape[1] % size:
        raise ValueError(f"{where}: pool_size={size} does not divide the {x.shape[1]} channels of x {x.shape}")
    return x, size, (x.shape[0], x.shape[1] // size, *x.shape[2:])


def maxout_backward(where: str, grad_y, x, pool_size) -> tuple[np.ndarray, np.ndarray, int]:
    """(grad_y, x, pool_size) of maxout_backward."""
    x, size, shape = maxout(where, x, pool_size)
    grad_y = real(where, "grad_y", grad_y)
    _match_output(where, grad_y, shape)
    if grad_y.dtype is not x.dtype:
        same_dtype(where, grad_y=grad_y, x=x)
    return grad_y, x, size


def softmax(where: str, x, dim) -> tuple[np.ndarray, int]:
    """(x, axis) of softmax and log_softmax, axis in 0..x.ndim - 1."""
    x = real(where, "x", x)
    return x, _axis(where, x, dim)


def softmax_backward(where: str, grad_y, x, dim) -> tuple[np.ndarray, np.ndarray, int]:
    """(grad_y, x, axis) of softmax_backward and log_softmax_backward."""
    grad_y, x = elementwise_backward(where, grad_y, "x", x)
    return grad_y, x, _axis(where, x, dim)


def _axis(where: str, x: np.ndarray, dim) -> int:
    try:
        axis = operator.index(dim)
    except TypeError:
        raise TypeError(f"{where}: dim must be an integer, got {dim!r}") from None
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{where}: dim must be in {-x.ndim}..{x.ndim - 1} for x {x.shape}, got {dim!r}")
    return axis % x.ndim


def cross_entropy(
    where: str, logits, target, weight, ignore_index, reduction, label_smoothing, sample_weight, name="logits"
) -> CrossEntropy:
    """Clean arguments of cross_entropy; and of nll_loss, whose first one is called x and whose targets are labels."""
    logits = real(where, name, logits)
    shape = logits.shape
    if len(shape) < 2 or shape[1] == 0:
        raise ValueError(f"{where}: {name} have shape {shape}, expected (N, C) or (N, C, d1, ...) with C at least 1")
    choice(where, "reduction", reduction, REDUCTIONS)
    if type(ignore_index) is not int:
        ignore_index = whole(where, "ignore_index", ignore_index, -(2**62))
    smoothing = number(where, "label_smoothing", label_smoothing, 0)
    if smoothing > 1:
        raise ValueError(f"{where}: label_smoothing must be at most 1, got {label_smoothing!r}")
    positions = (shape[0], *shape[2:])
    weight = _loss_weight(where, "weight", weight, (shape[1],), name, logits)
    sample_weight = _loss_weight(where, "sample_weight", sample_weight, positions, name, logits)
    target = np.asarray(target)
    if target.shape == shape and name == "logits":
        # One-hot labels are often integers or booleans.
        target = target.astype(logits.dtype) if target.dtype.kind in "iub" else real(where, "target", target)
        if target.dtype is not logits.dtype:
            same_dtype(where, logits=logits, target=target)
        if ignore_index >= 0:
            raise ValueError(f"{where}: ignore_index={ignore_index} needs labels, got a distribution {shape}")
        return CrossEntropy(logits, target, False, weight, ignore_index, smoothing, sample_weight, False)
    if target.shape != positions:
        either = f"labels {positions} or a distribution {shape}" if name == "logits" else f"labels {positions}"
        raise ValueError(f"{where}: target has shape {target.shape}, expected {either} for {name} {shape}")
    if target.dtype.kind not in "iu":
        hint = f", or give one-hot or soft labels of the logits' shape {shape}" if name == "logits" else ""
        raise TypeError(
            f"{where}: target {target.shape} has dtype {target.dtype}, labels must be integers: "
            f"use target.astype(np.int64){hint}"
        )
    labels = _int64(target)
    kept = labels != ignore_index
    ignores = not kept.all()
    if not _all_below(labels[kept] if ignores else labels, shape[1]):
        raise _label_out_of_range(where, target, labels, kept, name, shape)
    return CrossEntropy(logits, labels, True, weight, ignore_index, smoothing, sample_weight, ignores)


def _loss_weight(where: str, name: str, value, shape: tuple[int, ...], like_name: str, like: np.ndarray):
    if value is None:
        return None
    array = real(where, name, value)
    if array.shape != shape:
        raise ValueError(f"{where}: {name} has shape {array.shape}, {like_name} {like.shape} expect {shape}")
    if array.dtype is not like.dtype:
        same_dtype(where, **{like_name: like, name: array})
    return array


def _label_out_of_range(where: str, target, labels, kept, name: str, shape: tuple[int, ...]) -> ValueError:
    first = np.unravel_index(np.argmax(((labels < 0) | (labels >= shape[1])) & kept), labels.shape)
    index = tuple(int(i) for i in first)
    return ValueError(
        f"{where}: target has label {target[index]} at index {index[0] if len(index) == 1 else index}, "
        f"expected 0..{shape[1] - 1} for {name} {shape}"
    )


def elementwise_loss(where: str, x, target, reduction) -> tuple[np.ndarray, np.ndarray]:
    """(x, target) of the losses that compare number by number."""
    x = real(where, "x", x)
    target = real(where, "target", target)
    if target.shape != x.shape:
        raise ValueError(f"{where}: target has shape {target.shape}, x {x.shape}: they must be equal")
    if target.dtype is not x.dtype:
        same_dtype(where, x=x, target=target)
    choice(where, "reduction", reduction, REDUCTIONS)
    return x, target


def probability_loss(where: str, x, target, weight, reduction) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(x, target, weight) of binary_cross_entropy."""
    x, target = elementwise_loss(where, x, target, reduction)
    if x.size and (x.min() < 0 or x.max() > 1):  # NaN passes
        bad = x[(x < 0) | (x > 1)][0]
        raise ValueError(f"{where}: x must lie in 0..1, got {bad}: binary_cross_entropy_with_logits takes logits")
    if x.size and (target.min() < 0 or target.max() > 1):
        raise ValueError(f"{where}: target must lie in 0..1, got {target[(target < 0) | (target > 1)][0]}")
    return x, target, _spread(where, "weight", weight, x)


def logistic_loss(where: str, x, target, weight, reduction, pos_weight):
    """(x, target, weight, pos_weight) of binary_cross_entropy_with_logits."""
    x, target = elementwise_loss(where, x, target, reduction)
    return x, target, _spread(where, "weight", weight, x), _spread(where, "pos_weight", pos_weight, x)


def _spread(where: str, name: str, value, x: np.ndarray):
    """A factor of each number of x, of a shape that broadcasts to x's."""
    if value is None:
        return None
    array = real(where, name, value)
    if array.dtype is not x.dtype:
        same_dtype(where, **{"x": x, name: array})
    try:
        return np.broadcast_to(array, x.shape)
    except ValueError:
        raise ValueError(
            f"{where}: {name} has shape {array.shape}, which does not broadcast to x's {x.shape}"
        ) from None


def grad_loss(where: str, value, shape: tuple[int, ...], dtype: np.dtype, reduction: str) -> float | np.ndarray:
    """The gradient of a loss: a float, or for reduction "none" an array of the losses' shape (a number stands for
    an array filled with it)."""
    if isinstance(value, (int, float)):
        number = float(value)
    else:
        array = np.asarray(value)
        if reduction == "none" and array.ndim:
            array = real(where, "grad_loss", array)
            if array.shape != shape:
                raise ValueError(f"{where}: grad_loss has shape {array.shape}, expected {shape} as the losses")
            if array.dtype is not dtype:
                raise TypeError(f"{where}: grad_loss has dtype {array.dtype}, expected {dtype} as the losses")
            return array
        if array.ndim or array.dtype.kind not in "iuf":
            raise TypeError(f"{where}: grad_loss must be a number for reduction={reduction!r}, got {value!r}")
        number = float(array)
    return np.full(shape, number, dtype) if reduction == "none" else number


def _bias(where: str, bias, weight: np.ndarray) -> np.ndarray:
    bias = real(where, "bias", bias)
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"{where}: bias has shape {bias.shape}, weight {weight.shape} expects {weight.shape[:1]}")
    if bias.dtype is not weight.dtype:
        same_dtype(where, weight=weight, bias=bias)
    return bias


def _match_output(where: str, grad_y: np.ndarray, expected: tuple[int, ...]) -> None:
    if grad_y.shape != expected:
        raise ValueError(f"{where}: grad_y has shape {grad_y.shape}, the output has {expected}: they must be equal")


def _needs(where: str, needs) -> Needs:
    try:
        x, weight, bias = needs
    except (TypeError, ValueError):
        raise ValueError(f"{where}: needs must be three booleans (x, weight, bias), got {needs!r}") from None
    return bool(x), bool(weight), bool(bias)


def _shape4(where: str, name: str, shape) -> Shape4:
    if not isinstance(shape, (tuple, list)) or len(shape) != 4:
        raise ValueError(f"{where}: {name} must be (N, C, H, W), got {shape!r}")
    n, c, h, w = shape
    return whole(where, name, n), whole(where, name, c), whole(where, name, h), whole(where, name, w)


def _shape3(where: str, name: str, shape) -> Shape3:
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        raise ValueError(f"{where}: {name} must be (N, C, L), got {shape!r}")
    n, c, length = shape
    return whole(where, name, n), whole(where, name, c), whole(where, name, length)


def _int64(array: np.ndarray) -> np.ndarray:
    """As aligned, C-contiguous native int64; an unsigned value beyond its range turns negative."""
    flags = array.flags
    if array.dtype is INT64 and flags.c_contiguous and flags.aligned:
        return array
    return np.array(array, dtype=INT64, order="C")


def _all_below(integers: np.ndarray, bound: int) -> bool:
    """Whether all of an int64 array lies in 0..bound - 1; read as unsigned, negative numbers are large ones."""
    return integers.size == 0 or int(integers.view(np.uint64).max()) < bound
