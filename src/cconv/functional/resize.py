"""Interpolation of images and sequences, forward and backward."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .. import _arguments, _dispatch
from .._kernels.memory import empty
from .._scratch import scratch
from .._threads import threads_for

Table = tuple[np.ndarray, np.ndarray]

# Multiply-adds' worth of work a number and axis: a load from a place that a table names.
_WORK = 4


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
    """Make images or sequences larger or smaller.

    Number i of an output axis lies at ``(i + 0.5) * scale - 0.5`` of the input's, where scale is input size over output
    size, or ``1 / scale_factor``; with `align_corners` at ``i * (n - 1) / (m - 1)``, so that first and last number
    stay. Linear modes blend the two numbers beside it; "nearest" takes number ``floor(i * scale)``, as PyTorch does,
    "nearest-exact" ``floor((i + 0.5) * scale)``.

    Parameters
    ----------
    x : array (N, C, H, W) or (N, C, L)
        float32 or float64.
    size : int or (height, width), optional
    scale_factor : float or (height, width), optional
        Either this or `size`. Output sizes are rounded down.
    mode : {"nearest", "nearest-exact", "bilinear", "linear"}
        "linear" for sequences, "bilinear" for images.
    align_corners : bool, optional
        For the linear modes; False by default.
    recompute_scale_factor : bool, optional
        Take the scale from the sizes, even where `scale_factor` is given.

    Returns
    -------
    array (N, C, P, Q) or (N, C, M)

    Raises
    ------
    TypeError
        If x is not float32 or float64, or a size is no integer.
    ValueError
        If options do not fit one another or x, or an output size is less than 1.
    """
    a = _arguments.interpolate("interpolate", x, size, scale_factor, mode, align_corners, recompute_scale_factor)
    y = empty((*a.x.shape[:2], *a.sizes), a.x.dtype)
    if y.size:
        tables = _tables(a.x.shape, y.shape, a.scales, mode, a.align_corners, y.dtype)
        threads = threads_for(y.size * _WORK)
        work = scratch(2 * y.shape[-1] * threads, y.dtype)
        _dispatch.resize.forward(_planes(y), _planes(a.x), *tables[0], *tables[1], work, threads)
    return y


def interpolate_backward(
    grad_y, x_shape, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None
):
    """Gradient of `interpolate` to its input.

    Parameters
    ----------
    grad_y : array (N, C, P, Q) or (N, C, M)
    x_shape : (N, C, H, W) or (N, C, L)
    size, scale_factor, mode, align_corners, recompute_scale_factor
        As they were given to `interpolate`.

    Returns
    -------
    array (N, C, H, W) or (N, C, L)

    Raises
    ------
    TypeError, ValueError
        As `interpolate`, and if grad_y has not the shape of the output.
    """
    a = _arguments.interpolate_backward(
        "interpolate_backward", grad_y, x_shape, size, scale_factor, mode, align_corners, recompute_scale_factor
    )
    grad_x = empty(a.x_shape, a.grad_y.dtype)
    if grad_x.size:
        tables = _tables(a.x_shape, a.grad_y.shape, a.scales, mode, a.align_corners, grad_x.dtype, True)
        threads = threads_for((grad_x.size + a.grad_y.size) * _WORK)
        work = scratch((a.grad_y.shape[-1] + 1) * threads, grad_x.dtype)
        _dispatch.resize.backward(_planes(grad_x), _planes(a.grad_y), *tables[0], *tables[1], work, threads)
    return grad_x


def _planes(x: np.ndarray) -> np.ndarray:
    """As (planes, rows, columns); a sequence is a row."""
    return x.reshape(x.shape[0] * x.shape[1], -1 if x.ndim == 4 else 1, x.shape[-1])


def _tables(x_shape, y_shape, scales, mode: str, align_corners: bool, dtype, transposed: bool = False) -> list[Table]:
    """Of rows and columns."""
    axes = [(n, m, scale, mode) for n, m, scale in zip(x_shape[2:], y_shape[2:], scales, strict=True)]
    if len(axes) == 1:
        axes.insert(0, (1, 1, None, "nearest"))
    table = _transposed if transposed else _table
    return [table(n, m, scale, mode, align_corners, dtype) for n, m, scale, mode in axes]


@lru_cache(maxsize=256)
def _table(n: int, m: int, scale_factor: float | None, mode: str, align_corners: bool, dtype: np.dtype) -> Table:
    """(terms, m): the places in 0..n - 1 that each of m outputs takes its terms from, and their weights."""
    # In PyTorch's precision, mostly: its kernels differ where i * scale is an integer but for rounding.
    kind = np.float32 if mode.startswith("nearest") else dtype.type
    i = np.arange(m).astype(kind)
    scale = kind(n) / kind(m) if scale_factor is None else kind(1 / scale_factor)
    if mode.startswith("nearest"):
        if mode == "nearest-exact":
            place = (i + kind(0.5)) * scale
        else:
            place = np.arange(m) // (m // n) if m in (n, 2 * n) else i * scale
        return _kept(np.minimum(np.floor(place), n - 1)[None], np.ones((1, m), dtype))
    if n == m:
        return _kept(np.tile(np.arange(n), (2, 1)), np.array([[1], [0]], dtype).repeat(n, 1))
    if align_corners:
        place = i * (kind(n - 1) / kind(m - 1) if m > 1 else kind(0))
    else:
        # float32's product is not rounded before the difference: a fused multiply-add.
        place = np.maximum((np.arange(m) + 0.5) * np.float64(scale) - 0.5, 0).astype(kind)
    first = np.minimum(np.floor(place.astype(np.float32)), n - 1).astype(np.int64)
    second = (place - first.astype(kind)).clip(0, 1)
    return _kept(np.stack([first, np.minimum(first + 1, n - 1)]), np.stack([1 - second, second]).astype(dtype))


@lru_cache(maxsize=256)
def _transposed(n: int, m: int, scale_factor: float | None, mode: str, align_corners: bool, dtype: np.dtype) -> Table:
    """(terms, n): the outputs in 0..m - 1 that each of n inputs is a term of, in order, and its weights there.

    Inputs of fewer terms than others have place m and weight 0 for those that they lack.
    """
    places, weights = _table(n, m, scale_factor, mode, align_corners, dtype)
    outputs = np.tile(np.arange(m), (len(places), 1))
    order = np.lexsort((outputs.T.ravel(), places.T.ravel()))
    inputs = places.T.ravel()[order]
    counts = np.bincount(inputs, minlength=n)
    term = np.arange(len(inputs)) - np.repeat(np.cumsum(counts) - counts, counts)
    place, weight = np.full((counts.max(), n), m), np.zeros((counts.max(), n), dtype)
    place[term, inputs] = outputs.T.ravel()[order]
    weight[term, inputs] = weights.T.ravel()[order]
    return _kept(place, weight)


def _kept(place: np.ndarray, weight: np.ndarray) -> Table:
    return place.astype(np.int32, order="C"), np.ascontiguousarray(weight)
