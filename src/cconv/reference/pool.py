"""Max and average pooling and their gradients, window by window."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .. import _arguments
from .._shapes import Padding, Pair
from ._precision import ieee, rounded, wide


@ieee
def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The largest value of each window, and where it lies.

    With (top, left) the leading padding, over those r, s that lie inside the input::

        y[n, c, i, j] = max over r, s of x[n, c, i*sh + r*dh - top, j*sw + s*dw - left]

    The first maximum in row order wins. A NaN in a window gives NaN, and the index of the last NaN, as in PyTorch.

    Parameters
    ----------
    x : array (N, C, H, W)
    kernel_size, dilation : int or (height, width)
    stride : int or (height, width), optional
        `kernel_size` if None.
    padding : int, (height, width) or ((top, bottom), (left, right))
        At most half the kernel, before dilation; counts as minus infinity.
    ceil_mode : bool
        Round the output size up: a last window may hang over the end.

    Returns
    -------
    y : array (N, C, P, Q)
    indices : int64 array (N, C, P, Q)
        ``row * W + column`` in the plane without padding.

    Raises
    ------
    TypeError
        If `x` is not float32 or float64, or a number is not an integer.
    ValueError
        If a rank or size does not fit, or a number is out of range.
    """
    args = _arguments.max_pool2d("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    x = args.x
    y = np.empty((*x.shape[:2], *args.output_size), x.dtype)
    indices = np.empty(y.shape, np.int64)
    for i, j, rows, columns in _windows(args.output_size, x.shape[2:], *args[1:5]):
        y[:, :, i, j], indices[:, :, i, j] = _largest_in_plane(x, rows, columns)
    return y, indices


@ieee
def max_pool2d_backward(grad_y, indices, x_shape):
    """Gradient of `max_pool2d`: it goes to each window's maximum alone, and adds up where windows overlap.

    ::

        grad_x[n, c, indices[n, c, i, j]] += grad_y[n, c, i, j]     with (row, column) as one index

    Parameters
    ----------
    grad_y : array (N, C, P, Q)
        Gradient with respect to the output.
    indices : int64 array (N, C, P, Q)
        From `max_pool2d`.
    x_shape : (N, C, H, W)

    Returns
    -------
    array (N, C, H, W)

    Raises
    ------
    TypeError
        If `grad_y` is not float32 or float64, or `indices` not int64.
    ValueError
        If shapes do not match, or an index lies outside the plane.
    """
    return _scattered(*_arguments.max_pool2d_backward("max_pool2d_backward", grad_y, indices, x_shape))


@ieee
def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window.

    ::

        y[n, c, i, j] = sum over the window inside the input of x[n, c, ...] / divisor[i, j]

    The divisor counts the window's positions inside the input; with `count_include_pad` also those in the padding,
    but never those that hang over its end.

    Parameters
    ----------
    x : array (N, C, H, W)
    kernel_size : int or (height, width)
    stride : int or (height, width), optional
        `kernel_size` if None.
    padding : int, (height, width) or ((top, bottom), (left, right))
        At most half the kernel; counts as zero.
    ceil_mode : bool
        Round the output size up: a last window may hang over the end.
    count_include_pad : bool

    Returns
    -------
    array (N, C, P, Q)

    Raises
    ------
    TypeError
        If `x` is not float32 or float64, or a number is not an integer.
    ValueError
        If a rank or size does not fit, or a number is out of range.
    """
    args = _arguments.avg_pool2d("avg_pool2d", x, kernel_size, stride, padding, ceil_mode)
    x, size = wide(args.x), args.x.shape[2:]
    y = np.empty((*x.shape[:2], *args.output_size))
    for i, j, rows, columns in _windows(args.output_size, size, *args[1:5]):
        axes = zip((i, j), size, args.kernel, args.stride, args.padding, strict=True)
        divisor = math.prod(_divisor(*axis, count_include_pad) for axis in axes)
        y[:, :, i, j] = x[:, :, rows, columns].sum(axis=(2, 3)) / divisor
    return rounded(y, args.x.dtype)


@ieee
def avg_pool2d_backward(grad_y, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Gradient of `avg_pool2d`: each window spreads it evenly.

    ::

        grad_x[n, c, row, column] += grad_y[n, c, i, j] / divisor[i, j]    for each position of window (i, j)

    Parameters
    ----------
    grad_y : array (N, C, P, Q)
        Gradient with respect to the output.
    x_shape : (N, C, H, W)
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As given to `avg_pool2d`.

    Returns
    -------
    array (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `avg_pool2d`; also if `grad_y` has not the output's shape.
    """
    args = _arguments.avg_pool2d_backward(
        "avg_pool2d_backward", grad_y, x_shape, kernel_size, stride, padding, ceil_mode
    )
    gy, size = wide(args.grad_y), args.x_shape[2:]
    grad_x = np.zeros(args.x_shape)
    for i, j, rows, columns in _windows(gy.shape[2:], size, args.kernel, args.stride, args.padding, (1, 1)):
        axes = zip((i, j), size, args.kernel, args.stride, args.padding, strict=True)
        divisor = math.prod(_divisor(*axis, count_include_pad) for axis in axes)
        grad_x[:, :, rows, columns] += gy[:, :, i, j, None, None] / divisor
    return rounded(grad_x, args.grad_y.dtype)


@ieee
def adaptive_avg_pool2d(x, output_size):
    """The mean of each of ``output_size`` windows, which share the image out evenly.

    ::

        y[n, c, i, j] = mean of x[n, c, floor(i*H/P) : ceil((i + 1)*H/P), floor(j*W/Q) : ceil((j + 1)*W/Q)]

    Parameters
    ----------
    x : array (N, C, H, W)
    output_size : int, None or (height, width)
        None keeps the size of x.

    Returns
    -------
    array (N, C, P, Q)

    Raises
    ------
    TypeError
        If `x` is not float32 or float64, or a size is not an integer.
    ValueError
        If a rank or size does not fit.
    """
    given, output = _arguments.adaptive_pool2d("adaptive_avg_pool2d", x, output_size)
    x = wide(given)
    y = np.empty((*x.shape[:2], *output))
    for i, j, rows, columns in _shares(output, x.shape[2:]):
        y[:, :, i, j] = x[:, :, rows, columns].mean(axis=(2, 3))
    return rounded(y, given.dtype)


@ieee
def adaptive_avg_pool2d_backward(grad_y, x_shape):
    """Gradient of `adaptive_avg_pool2d`: each window spreads it evenly.

    Parameters
    ----------
    grad_y : array (N, C, P, Q)
        Gradient with respect to the output.
    x_shape : (N, C, H, W)

    Returns
    -------
    array (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `adaptive_avg_pool2d`; also if `grad_y` and `x_shape` do not match.
    """
    given, x_shape = _arguments.adaptive_pool2d_backward("adaptive_avg_pool2d_backward", grad_y, x_shape)
    gy, grad_x = wide(given), np.zeros(x_shape)
    for i, j, rows, columns in _shares(gy.shape[2:], x_shape[2:]):
        size = (rows.stop - rows.start) * (columns.stop - columns.start)
        grad_x[:, :, rows, columns] += gy[:, :, i, j, None, None] / size
    return rounded(grad_x, given.dtype)


@ieee
def adaptive_max_pool2d(x, output_size):
    """The largest value of each of ``output_size`` windows, which share the image out evenly, and where it lies.

    ::

        y[n, c, i, j] = max of x[n, c, floor(i*H/P) : ceil((i + 1)*H/P), floor(j*W/Q) : ceil((j + 1)*W/Q)]

    Parameters
    ----------
    x : array (N, C, H, W)
    output_size : int, None or (height, width)
        None keeps the size of x.

    Returns
    -------
    y : array (N, C, P, Q)
    indices : int64 array (N, C, P, Q)
        As those of `max_pool2d`.

    Raises
    ------
    TypeError
        If `x` is not float32 or float64, or a size is not an integer.
    ValueError
        If a rank or size does not fit.
    """
    x, output = _arguments.adaptive_pool2d("adaptive_max_pool2d", x, output_size)
    y = np.empty((*x.shape[:2], *output), x.dtype)
    indices = np.empty(y.shape, np.int64)
    for i, j, rows, columns in _shares(output, x.shape[2:]):
        y[:, :, i, j], indices[:, :, i, j] = _largest_in_plane(x, rows, columns)
    return y, indices


@ieee
def adaptive_max_pool2d_backward(grad_y, indices, x_shape):
    """Gradient of `adaptive_max_pool2d`: as that of `max_pool2d`.

    Parameters
    ----------
    grad_y : array (N, C, P, Q)
        Gradient with respect to the output.
    indices : int64 array (N, C, P, Q)
        From `adaptive_max_pool2d`.
    x_shape : (N, C, H, W)

    Returns
    -------
    array (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `max_pool2d_backward`.
    """
    return _scattered(*_arguments.max_pool2d_backward("adaptive_max_pool2d_backward", grad_y, indices, x_shape))


def _largest(window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maximum of each (n, c, :), and where it lies there."""
    # argmax gives the first maximum, or the first NaN; PyTorch's loop ends with the last NaN.
    nan = np.isnan(window)
    last_nan = window.shape[2] - 1 - nan[:, :, ::-1].argmax(axis=2)
    largest = np.where(nan.any(axis=2), last_nan, window.argmax(axis=2))
    return np.take_along_axis(window, largest[:, :, None], axis=2)[:, :, 0], largest


def _largest_in_plane(x: np.ndarray, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """The maximum of a window in each plane, and its place in the plane."""
    places = np.add.outer(np.arange(x.shape[2])[rows] * x.shape[3], np.arange(x.shape[3])[columns]).ravel()
    y, largest = _largest(x[:, :, rows, columns].reshape(*x.shape[:2], places.size))
    return y, places[largest]


def _scattered(grad_y: np.ndarray, indices: np.ndarray, x_shape: tuple[int, ...]) -> np.ndarray:
    """Each gradient added at its place of a plane or a sequence."""
    n, c = x_shape[:2]
    grad_x = np.zeros((n, c, math.prod(x_shape[2:])))
    rows = n, c, math.prod(indices.shape[2:])
    places = np.arange(n)[:, None, None], np.arange(c)[:, None], indices.reshape(rows)
    np.add.at(grad_x, places, wide(grad_y).reshape(rows))
    return rounded(grad_x.reshape(x_shape), grad_y.dtype)


def _shares(output: Pair, size: Pair) -> Iterator[tuple[int, int, slice, slice]]:
    """Each output position of an adaptive pooling, and the rows and columns of its window."""
    for i in range(output[0]):
        for j in range(output[1]):
            yield i, j, _share(i, output[0], size[0]), _share(j, output[1], size[1])


def _share(i: int, output: int, n: int) -> slice:
    return slice(i * n // output, -(-(i + 1) * n // output))


def _windows(
    output: Pair, size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> Iterator[tuple[int, int, slice, slice]]:
    """Each output position, and the rows and columns of the input that its window holds."""
    for i in range(output[0]):
        rows = _inside(i * stride[0] - padding[0][0], kernel[0], dilation[0], size[0])
        for j in range(output[1]):
            yield i, j, rows, _inside(j * stride[1] - padding[1][0], kernel[1], dilation[1], size[1])


def _inside(start: int, kernel: int, dilation: int, n: int) -> slice:
    """Of positions start, start + dilation, ... (kernel of them), those in 0..n - 1."""
    inside = [p for p in range(start, start + kernel * dilation, dilation) if 0 <= p < n]
    return slice(inside[0], inside[-1] + 1, dilation)


def _divisor(i: int, n: int, kernel: int, stride: int, padding: Pair, count_include_pad: bool) -> int:
    """Along one axis."""
    low, high = (-padding[0], n + padding[1]) if count_include_pad else (0, n)
    start = i * stride - padding[0]
    return sum(low <= p < high for p in range(start, start + kernel))
