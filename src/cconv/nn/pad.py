"""Borders around images."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from .._shapes import whole
from ..functional import pad, pad_backward
from .layer import Backward, Layer, fresh


class ZeroPad2d(Layer):
    """Zeros around images (PyTorch's ``ZeroPad2d``).

    Parameters
    ----------
    padding : int or (left, right, top, bottom)
        In PyTorch's order. Negative sizes cut off.
    """

    _mode: ClassVar[str] = "constant"

    def __init__(self, padding: int | tuple[int, int, int, int]):
        kind, sizes = type(self).__name__, padding if isinstance(padding, (tuple, list)) else (padding,) * 4
        if len(sizes) != 4:
            raise ValueError(f"{kind}: padding must be an int or (left, right, top, bottom), got {padding!r}")
        least = -(2**31) if self._mode == "constant" else 0
        self.padding = tuple(whole(kind, "padding", size, least) for size in sizes)

    @fresh
    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        padding, mode, x_shape = self.padding, self._mode, np.shape(x)
        if len(x_shape) != 4:
            kind = type(self).__name__
            raise ValueError(f"{kind}: x has {len(x_shape)} dimensions {x_shape}, expected 4 (N, C, H, W)")
        y = pad(x, padding, mode)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return pad_backward(grad_y, x_shape, padding, mode) if need_x else None

        return y, Backward(backward, y, fresh=True)

    def extra_repr(self) -> str:
        return str(self.padding)


class ReflectionPad2d(ZeroPad2d):
    """Images mirrored at their outermost rows and columns, which are not repeated (``ReflectionPad2d``).

    Parameters
    ----------
    padding : int or (left, right, top, bottom)
        Each less than the image's size.
    """

    _mode = "reflect"


class ReplicationPad2d(ZeroPad2d):
    """The outermost rows and columns again and again (PyTorch's ``ReplicationPad2d``).

    Parameters
    ----------
    padding : int or (left, right, top, bottom)
    """

    _mode = "replicate"
