"""Moving, filling and resampling of images, pixel by pixel from the definitions."""

from __future__ import annotations

import math

import numpy as np


def move(x, rows, columns, fill=0.0):
    """``y[n, c, i, j] = x[n, c, rows[n, i], columns[n, j]]``, or `fill` where one of both is negative.

    Parameters
    ----------
    x : array (N, C, H, W)
    rows, columns : arrays of int (N, height), (N, width)
    fill : float

    Returns
    -------
    array (N, C, height, width) of x's dtype
    """
    y = np.full((*x.shape[:2], len(rows[0]), len(columns[0])), fill, x.dtype)
    for n, _, i, j in np.ndindex(y.shape):
        if rows[n][i] >= 0 and columns[n][j] >= 0:
            y[n, :, i, j] = x[n, :, rows[n][i], columns[n][j]]
    return y


def erase(x, boxes, values):
    """One box (top, left, bottom, right) of each image filled, a value a channel, in place.

    Parameters
    ----------
    x : array (N, C, H, W)
    boxes : array of int (N, 4)
    values : array (C,)

    Returns
    -------
    x
    """
    for image, (top, left, bottom, right) in zip(x, boxes, strict=True):
        for channel, value in zip(image, values, strict=True):
            channel[top:bottom, left:right] = value
    return x


def resample(x, matrix, size, noise=None, sigma=0.0, alpha=0.0, border="constant", fill=0.0, mode="bilinear"):
    """Images read at places of x that a matrix, and filtered noise, say.

    Pixel (i, j) of y is x at column ``m[0]*u + m[1]*v + m[2]`` and row ``m[3]*u + m[4]*v + m[5]``, m being
    ``matrix[n]``, with u = j and v = i, or, with noise ::

        u = j + alpha / 2 * filtered(noise[n, 0])[i, j]
        v = i + alpha / 2 * filtered(noise[n, 1])[i, j]

    Parameters
    ----------
    x : array (N, C, H, W)
    matrix : array (N, 6)
    size : (int, int)
    noise : array (N, 2, height, width), optional
    sigma, alpha : float
    border : {"constant", "edge", "reflect", "symmetric"}
    fill : float
    mode : {"nearest", "bilinear"}

    Returns
    -------
    array (N, C, height, width) of x's dtype
    """
    n, channels, height, width = x.shape
    y = np.zeros((n, channels, *size))
    for k in range(n):
        m = [float(value) for value in matrix[k]]
        du, dv = (
            (alpha / 2 * filtered(field, sigma) for field in noise[k]) if noise is not None else np.zeros((2, *size))
        )
        for i, j in np.ndindex(*size):
            u, v = j + du[i, j], i + dv[i, j]
            column = _inside(m[0] * u + (m[1] * v + m[2]), width, border)
            row = _inside(m[3] * u + (m[4] * v + m[5]), height, border)
            y[k, :, i, j] = _sample(x[k], row, column, fill, mode)
    return (np.rint(y) if x.dtype.kind == "u" else y).astype(x.dtype)


def filtered(field: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian filter over a field reflected at its border, cut off at four sigma."""
    half = int(8 * sigma + 1) // 2
    weights = [math.exp(-0.5 * (t / sigma) ** 2) if sigma else 1.0 for t in range(-half, half + 1)]
    result = np.asarray(field, np.float64)
    for axis in (0, 1):
        length: int = result.shape[axis]
        total = np.zeros_like(result)
        for t, weight in zip(range(-half, half + 1), weights, strict=True):
            source = [round(_reflected(i + t, length)) for i in range(length)]
            total += weight / sum(weights) * np.take(result, source, axis)
        result = total
    return result


def _reflected(place: float, size: int) -> float:
    """A place brought into 0..size - 1 by mirrors at the first and the last pixel."""
    if size == 1:
        return 0.0
    while not 0 <= place <= size - 1:
        place = -place if place < 0 else 2 * (size - 1) - place
    return place


def _inside(place: float, size: int, border: str) -> float:
    if border == "edge":
        return min(max(place, 0.0), size - 1.0)
    if border == "reflect":
        return _reflected(place, size)
    if border == "symmetric":
        while not -0.5 <= place <= size - 0.5:
            place = -1 - place if place < -0.5 else 2 * size - 1 - place
        return min(max(place, 0.0), size - 1.0)
    return place


def _sample(image: np.ndarray, row: float, column: float, fill: float, mode: str) -> np.ndarray:
    """Each channel of an image at a place, `fill` around it."""
    height, width = image.shape[1:]

    def pixel(i: int, j: int) -> np.ndarray:
        inside = 0 <= i < height and 0 <= j < width
        return image[:, i, j].astype(np.float64) if inside else np.full(len(image), float(fill))

    if mode == "nearest":
        return pixel(round(row), round(column))
    i, j = math.floor(row), math.floor(column)
    down, right = row - i, column - j
    top = (1 - right) * pixel(i, j) + right * pixel(i, j + 1)
    bottom = (1 - right) * pixel(i + 1, j) + right * pixel(i + 1, j + 1)
    return (1 - down) * top + down * bottom
