"""Arrays that share their first axis: one, or tuples and dicts of them where a model has several inputs or outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .._tree import each, leaves


class Rows:
    """Some rows of a memmap, read when they are asked for: shape, dtype, length, and indexing along the first axis.

    Parameters
    ----------
    source : array
    rows : array (n,) of int
    """

    def __init__(self, source: np.ndarray, rows: np.ndarray):
        self._source = source
        self._rows = rows
        self.shape = (len(rows), *source.shape[1:])
        self.dtype = source.dtype
        self.ndim = source.ndim

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self._source[self._rows[index]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("Rows: the rows of a memmap are read into a new array, but copy=False")
        return np.asarray(self[:], dtype)

    def __repr__(self) -> str:
        return f"Rows(shape={self.shape}, dtype={self.dtype}: np.asarray(...) reads them all)"


def as_arrays(value: Any) -> Any:
    """`value` with arrays in the place of what is array_like; a memmap stays one."""
    return each(lambda item: item if isinstance(item, Rows) else np.asanyarray(item), value)


def same_length(where: str, **parts: Any) -> int:
    """The length that all arrays of all parts share (None is passed over), else ValueError."""
    found = []
    for name, part in parts.items():
        if part is not None:
            inside = list(leaves(part, name))
            if not inside:
                raise ValueError(f"{where}: {name} holds no array: {part!r}")
            found += inside
    if len({array.shape[:1] for _, array in found}) != 1 or not found[0][1].ndim:
        *first, last = (f"{name} {array.shape}" for name, array in found)
        raise ValueError(f"{where}: {', '.join(first)} and {last} must have the same length")
    return len(found[0][1])


def size_of(value: Any) -> int:
    """The length of the first array: the number of examples."""
    return len(next(leaves(value))[1])


def take(value: Any, rows: slice | np.ndarray, copy: bool = False) -> Any:
    """Those rows of each array. A slice of an array in memory is a view, unless `copy`; a memmap's rows are read."""

    def taken(array: Any) -> Any:
        found = array[rows]
        if isinstance(array, Rows):
            return found
        if isinstance(array, np.memmap):
            return np.array(found) if isinstance(rows, slice) else np.asarray(found)
        return found.copy() if copy and isinstance(rows, slice) else found

    return each(taken, value)


def joined(parts: Iterable[Any]) -> Any:
    """The rows of several values, one after the other, in new arrays."""
    first, *_ = parts = list(parts)
    columns = zip(*([array for _, array in leaves(part)] for part in parts), strict=True)
    return each(lambda _: np.concatenate(next(columns)), first)


def lazily(value: Any, rows: np.ndarray) -> Any:
    """As `take` with an array of indices, but of a memmap nothing is read yet."""

    def later(array: Any) -> Any:
        if isinstance(array, Rows):
            return Rows(array._source, array._rows[rows])
        return Rows(array, rows) if isinstance(array, np.memmap) else array[rows]

    return each(later, value)


def loss_options(weight: list[Any]) -> dict[str, Any]:
    """What a batch (x, y) or (x, y, sample_weight) tells its loss beside x and y: `weight` is the rest."""
    return {"sample_weight": weight[0]} if weight else {}
