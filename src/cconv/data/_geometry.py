"""Operations on batches of images that augmentation consists of: they check, allocate, and call one kernel.

Random numbers are no matter of these: they take the parameters of each image as arrays. `reference.augment` has the
same functions in plain NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _dispatch
from .._checks import choice, number
from .._kernels.memory import empty
from .._scratch import scratch
from .._threads import threads_for

# In the order of the kernel's.
BORDERS = ("constant", "edge", "reflect", "symmetric")
INTERPOLATIONS = ("nearest", "bilinear")

_DTYPES = tuple(np.dtype(t) for t in (np.uint8, np.float32, np.float64))

# Columns of filtered noise come in whole units of the kernel's.
_UNIT = 32

# Multiply-adds' worth of work a number: a copy, and a sample of four.
_MOVE, _SAMPLE = 2, 16


def images(where: str, x: Any) -> np.ndarray:
    """`x` as a C-contiguous batch (N, C, H, W) of float32, float64 or uint8, each image of at least one pixel.

    Raises TypeError for another dtype, ValueError for another rank or an empty image.
    """
    x = np.asarray(x)
    if x.ndim != 4:
        raise ValueError(f"{where}: x has {x.ndim} dimensions {x.shape}, expected 4 (N, C, H, W)")
    if x.dtype.newbyteorder("=") not in _DTYPES:
        raise TypeError(f"{where}: x has dtype {x.dtype}, expected float32, float64 or uint8")
    if 0 in x.shape[2:]:
        raise ValueError(f"{where}: x {x.shape} has images of no pixels")
    if (x.shape[2] + 3) * (x.shape[3] + 3) >= 2**31:
        raise ValueError(f"{where}: x {x.shape} has images of 2**31 pixels or more")
    return np.require(x, x.dtype.newbyteorder("="), ["C", "A"])


def fill_value(where: str, name: str, value: Any, dtype: np.dtype) -> float:
    """`value` as a number that `dtype` holds."""
    value = number(where, name, value)
    if dtype == np.uint8 and (value != round(value) or not 0 <= value <= 255):
        raise ValueError(f"{where}: {name} must be an integer in 0..255 for images of uint8, got {value:g}")
    if dtype == np.float32 and abs(value) > np.finfo(np.float32).max:
        raise ValueError(f"{where}: {name} must fit float32, as the images are, got {value:g}")
    return value


def move(x, rows, columns, fill=0.0):
    """Images whose pixels are pixels of x, copied exactly.

    ``y[n, c, i, j] = x[n, c, rows[n, i], columns[n, j]]``, or `fill` where one of both is negative.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32, float64 or uint8.
    rows : array of int (N, height)
        Less than H.
    columns : array of int (N, width)
        Less than W.
    fill : float

    Returns
    -------
    array (N, C, height, width) of x's dtype
    """
    x = images("move", x)
    fill = fill_value("move", "fill", fill, x.dtype)
    rows, columns = (np.ascontiguousarray(places, np.int32) for places in (rows, columns))
    y = empty((*x.shape[:2], rows.shape[1], columns.shape[1]), x.dtype)
    _dispatch.augment.move(y, x, rows, columns, fill, threads_for(y.size * _MOVE))
    return y


def erase(x, boxes, values):
    """Images with one box each filled, in place: ``x[n, c, top:bottom, left:right] = values[c]``.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32, float64 or uint8, C-contiguous.
    boxes : array of int (N, 4)
        (top, left, bottom, right) within the image; an empty box leaves it as it is.
    values : array (C,)

    Returns
    -------
    x
    """
    boxes, values = np.ascontiguousarray(boxes, np.int32), np.ascontiguousarray(values, np.float64)
    _dispatch.augment.erase(x, boxes, values, threads_for(x.size))
    return x


def resample(x, matrix, size, noise=None, sigma=0.0, alpha=0.0, border="constant", fill=0.0, mode="bilinear"):
    """Images read at places of x that a matrix, and filtered noise, say.

    Pixel (i, j) of y is x at column ``m[0]*u + m[1]*v + m[2]`` and row ``m[3]*u + m[4]*v + m[5]``, m being
    ``matrix[n]``, with u = j and v = i, or, with noise ::

        u = j + alpha / 2 * filtered(noise[n, 0])[i, j]
        v = i + alpha / 2 * filtered(noise[n, 1])[i, j]

    `filtered` is convolution with a Gaussian of `sigma` along columns and rows, cut off at four of them, the noise
    being reflected at its border. Bilinear interpolation takes ``a + w * (b - a)`` along columns, then along rows.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32, float64 or uint8.
    matrix : array (N, 6)
    size : (int, int)
        Height and width of the result.
    noise : array (N, 2, height, width), optional
        float32.
    sigma, alpha : float
        In pixels.
    border : {"constant", "edge", "reflect", "symmetric"}
        What lies outside the image, as in `numpy.pad`.
    fill : float
        For border "constant".
    mode : {"nearest", "bilinear"}
        The nearest pixel of two as far is the even one.

    Returns
    -------
    array (N, C, height, width) of x's dtype
        Of uint8 rounded to the nearest.
    """
    where = "resample"
    x = images(where, x)
    fill = fill_value(where, "fill", fill, x.dtype)
    code = BORDERS.index(choice(where, "border", border, BORDERS))
    nearest = choice(where, "mode", mode, INTERPOLATIONS) == "nearest"
    matrix = np.ascontiguousarray(matrix, np.float64)
    n, channels, height, width = x.shape
    y = empty((n, channels, *size), x.dtype)
    real = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
    numbers = channels * (height + 3) * (width + 3)
    work = y.size * _SAMPLE
    weights = np.zeros(0)
    if noise is not None:
        weights = gaussian(sigma)
        numbers += (3 * size[0] + 1) * (-(-size[1] // _UNIT) * _UNIT) + 3 * len(weights)
        work += 4 * len(weights) * n * size[0] * size[1]
    noise = np.ascontiguousarray(np.zeros(0) if noise is None else noise, np.float32)
    row_of, column_of = (reflected(length, len(weights)) for length in size)
    threads = min(threads_for(work), max(n, 1))
    numbers = -(-numbers // 16) * 16  # whole cache lines
    memory = scratch(threads * numbers, real).reshape(threads, numbers)
    filtering = noise, row_of, column_of, np.arange(len(weights), dtype=np.int32), weights, alpha / 2
    _dispatch.augment.resample(y, x, matrix, code, fill, nearest, *filtering, memory, threads)
    return y


def gaussian(sigma: float) -> np.ndarray:
    """The filter's weights, which sum to 1. Of torchvision's length: 8 sigma + 1, made odd."""
    place = np.arange(int(8 * sigma + 1) // 2 * 2 + 1) - int(8 * sigma + 1) // 2
    weights = np.exp(-0.5 * (place / (sigma or 1)) ** 2)
    return weights / weights.sum()


def reflected(length: int, taps: int) -> np.ndarray:
    """What a filter reads over an axis: length + taps - 1 places from taps // 2 before its start on, by reflection."""
    period = max(2 * (length - 1), 1)
    place = np.arange(-(taps // 2), length + taps // 2) % period
    return np.minimum(place, (period - place) % period).astype(np.int32)
