"""Upsampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._arguments import resize_options
from ..functional import interpolate, interpolate_backward
from .layer import Backward, Layer, fresh


class Upsample(Layer):
    """Images or sequences made larger, or smaller, by interpolation (PyTorch's ``Upsample``).

    Parameters
    ----------
    size : int or (height, width), optional
    scale_factor : float or (height, width), optional
        Either this or `size`. Sizes are rounded down.
    mode : {"nearest", "nearest-exact", "bilinear", "linear"}
        "linear" for sequences, (N, C, L), "bilinear" for images, (N, C, H, W). See `cconv.functional.interpolate`.
    align_corners : bool, optional
        For the linear modes: first and last numbers stay at the ends. False by default.
    recompute_scale_factor : bool, optional
        Place numbers by the sizes, even where `scale_factor` is given.

    Examples
    --------
    >>> Upsample(scale_factor=2, mode="bilinear")
    """

    def __init__(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ):
        options = size, scale_factor, mode, align_corners, recompute_scale_factor
        self.size, self.scale_factor = resize_options("Upsample", None, *options)
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        options: Any = self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        y = interpolate(x, *options)
        x_shape = np.shape(x)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return interpolate_backward(grad_y, x_shape, *options) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        names = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor")
        given = {name: getattr(self, name) for name in names}
        return ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
