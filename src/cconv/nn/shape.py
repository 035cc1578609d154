"""Layers that change an array's shape and none of its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._shapes import whole
from .layer import Backward, Layer


class Flatten(Layer):
    """Join the dimensions from `start_dim` to `end_dim` into one: (N, C, H, W) becomes (N, C*H*W).

    Parameters
    ----------
    start_dim, end_dim : int
        The first and the last of them; negative ones count from the end.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim = whole("Flatten", "start_dim", start_dim, -(2**31))
        self.end_dim = whole("Flatten", "end_dim", end_dim, -(2**31))

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        x = np.asarray(x)
        shape, ndim = x.shape, x.ndim
        for name, dim in (("start_dim", self.start_dim), ("end_dim", self.end_dim)):
            if not -ndim <= dim < ndim:
                raise ValueError(f"Flatten: x has {ndim} dimensions {shape}, {name}={dim} needs more")
        first, last = self.start_dim % ndim, self.end_dim % ndim
        if first > last:
            raise ValueError(f"Flatten: start_dim={self.start_dim} is beyond end_dim={self.end_dim} of x {shape}")
        # The product and not -1, which NumPy cannot resolve for a batch of none.
        y = x.reshape(*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return grad_y.reshape(shape) if need_x else None

        return y, Backward(backward, y)

    def extra_repr(self) -> str:
        given = {"start_dim": (self.start_dim, 1), "end_dim": (self.end_dim, -1)}
        return ", ".join(f"{name}={value}" for name, (value, default) in given.items() if value != default)


class Unflatten(Layer):
    """Split one dimension into several (PyTorch's ``Unflatten``).

    Parameters
    ----------
    dim : int
    unflattened_size : tuple of int
        One of them may be -1: what is left.

    Examples
    --------
    >>> Unflatten(1, (16, 5, 5))        # (N, 400) becomes (N, 16, 5, 5)
    """

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]):
        self.dim = whole("Unflatten", "dim", dim, -(2**31))
        if not isinstance(unflattened_size, (tuple, list)) or not unflattened_size:
            raise ValueError(f"Unflatten: unflattened_size must be a tuple of sizes, got {unflattened_size!r}")
        sizes = tuple(whole("Unflatten", "unflattened_size", size, -1) for size in unflattened_size)
        if sizes.count(-1) > 1:
            raise ValueError(f"Unflatten: unflattened_size may hold one -1, got {unflattened_size!r}")
        self.unflattened_size = sizes

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        x = np.asarray(x)
        shape, sizes = x.shape, self.unflattened_size
        if not -x.ndim <= self.dim < x.ndim:
            raise ValueError(f"Unflatten: x has {x.ndim} dimensions {shape}, dim={self.dim} needs more")
        dim = self.dim % x.ndim
        known = math.prod(size for size in sizes if size != -1)
        if -1 in sizes:
            sizes = tuple(shape[dim] // max(known, 1) if size == -1 else size for size in sizes)
        if math.prod(sizes) != shape[dim]:
            raise ValueError(
                f"Unflatten: x {shape} has {shape[dim]} in dim {dim}, which {self.unflattened_size} is not"
            )
        y = x.reshape(*shape[:dim], *sizes, *shape[dim + 1 :])

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            return grad_y.reshape(shape) if need_x else None

        return y, Backward(backward, y)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
