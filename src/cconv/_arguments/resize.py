"""Interpolation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._checks import choice, number, real
from .._shapes import whole
from .shared import match_output, shape3, shape4


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
    x_shape = shape3(where, "x_shape", x_shape) if grad_y.ndim == 3 else shape4(where, "x_shape", x_shape)
    options = size, scale_factor, mode, align_corners, recompute_scale_factor
    sizes, scales = _resized(where, "x_shape", x_shape, *options)
    match_output(where, grad_y, (*x_shape[:2], *sizes))
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
