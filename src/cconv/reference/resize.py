"""Interpolation and its gradient, axis by axis, by the places that each number of the output is made of."""

from __future__ import annotations

import numpy as np

from .. import _arguments
from ._precision import ieee, rounded, wide


@ieee
def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
    """Make images or sequences larger or smaller.

    Along an axis of n numbers that becomes m, with scale = n / m, or ``1 / scale_factor`` where that is given::

        nearest           y[i] = x[floor(i * scale)]
        nearest-exact     y[i] = x[floor((i + 0.5) * scale)]
        linear, bilinear  y[i] = (1 - t) * x[k] + t * x[k + 1], with k + t = max(0, (i + 0.5) * scale - 0.5),
                          or k + t = i * (n - 1) / (m - 1) with align_corners; past the end x[n - 1] stands for x[k + 1]

    Parameters
    ----------
    x : array (N, C, H, W) or (N, C, L)
    size : int or (height, width), optional
    scale_factor : float or (height, width), optional
        Either this or `size`. Output sizes are rounded down.
    mode : {"nearest", "nearest-exact", "bilinear", "linear"}
    align_corners : bool, optional
    recompute_scale_factor : bool, optional
        Take the scale from the sizes, even where `scale_factor` is given.

    Returns
    -------
    array (N, C, P, Q) or (N, C, M)

    Raises
    ------
    TypeError
        If `x` is not float32 or float64, or a size is no integer.
    ValueError
        If options do not fit one another or `x`, or an output size is less than 1.
    """
    args = _arguments.interpolate("interpolate", x, size, scale_factor, mode, align_corners, recompute_scale_factor)
    y = wide(args.x)
    for axis, (m, scale) in enumerate(zip(args.sizes, args.scales, strict=True), 2):
        terms = _terms(y.shape[axis], m, scale, mode, args.align_corners)
        along = (-1,) + (1,) * (y.ndim - axis - 1)
        y = sum(np.take(y, place, axis) * weight.reshape(along) for place, weight in terms)
    return rounded(y, args.x.dtype)


@ieee
def interpolate_backward(
    grad_y, x_shape, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None
):
    """Gradient of `interpolate`: each number of the output hands its gradient, by its weights, back to its terms.

    Parameters
    ----------
    grad_y : array (N, C, P, Q) or (N, C, M)
        Gradient with respect to the output.
    x_shape : (N, C, H, W) or (N, C, L)
    size, scale_factor, mode, align_corners, recompute_scale_factor
        As given to `interpolate`.

    Returns
    -------
    array (N, C, H, W) or (N, C, L)

    Raises
    ------
    TypeError, ValueError
        As `interpolate`; also if `grad_y` has not the output's shape.
    """
    args = _arguments.interpolate_backward(
        "interpolate_backward", grad_y, x_shape, size, scale_factor, mode, align_corners, recompute_scale_factor
    )
    grad = wide(args.grad_y)
    for axis, (n, scale) in enumerate(zip(args.x_shape[2:], args.scales, strict=True), 2):
        grad = np.moveaxis(grad, axis, 0)
        folded = np.zeros((n, *grad.shape[1:]))
        for place, weight in _terms(n, len(grad), scale, mode, args.align_corners):
            np.add.at(folded, place, grad * weight.reshape(-1, *[1] * (grad.ndim - 1)))
        grad = np.moveaxis(folded, 0, axis)
    return rounded(grad, args.grad_y.dtype)


def _terms(n: int, m: int, scale_factor: float | None, mode: str, align_corners: bool):
    """(place, weight) arrays of one or two terms of m outputs."""
    i, scale = np.arange(m), n / m if scale_factor is None else 1 / scale_factor
    if mode == "nearest":
        # PyTorch counts in float32, and takes these two sizes apart.
        place = i // (m // n) if m in (n, 2 * n) else np.floor(i.astype(np.float32) * np.float32(scale)).astype(int)
        return [(np.minimum(place, n - 1), np.ones(m))]
    if mode == "nearest-exact":
        place = np.floor((i + np.float32(0.5)).astype(np.float32) * np.float32(scale)).astype(int)
        return [(np.minimum(place, n - 1), np.ones(m))]
    if n == m:
        place = i.astype(float)
    elif align_corners:
        place = i * ((n - 1) / (m - 1) if m > 1 else 0.0)
    else:
        place = ((i + 0.5) * scale - 0.5).clip(0)
    first = np.minimum(np.floor(place), n - 1).astype(int)
    t = (place - first).clip(0, 1)
    return [(first, 1 - t), (np.minimum(first + 1, n - 1), t)]
