"""Dataset: examples and their labels, kept together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._tree import each, leaves
from .rows import as_arrays, lazily, same_length


class Dataset:
    """Examples and their labels.

    Parameters
    ----------
    x : array (N, ...), or tuple or dict of such arrays
        Images (N, C, H, W) in the sets that come with cconv; several arrays for a model of several inputs. An
        ``np.memmap`` stays one: only the rows that are asked for are read.
    y : array (N, ...), or tuple or dict of such arrays
    name : str
        Shown by ``repr``.
    classes : sequence of str, optional
        The name of each label.
    sample_weight : array (N, ...), optional
        How much each example counts.

    Notes
    -----
    ``dataset[i]`` is the pair (x[i], y[i]), with its weight as a third where there are weights; a slice, an array of
    indices or a mask gives a Dataset of those examples.
    """

    def __init__(self, x: Any, y: Any, name: str = "", classes: Sequence[str] | None = None, sample_weight: Any = None):
        self.x = as_arrays(x)
        self.y = as_arrays(y)
        self.sample_weight = None if sample_weight is None else as_arrays(sample_weight)
        self.name = name
        self.classes = None if classes is None else tuple(classes)
        self._length = same_length("Dataset", x=self.x, y=self.y, sample_weight=self.sample_weight)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, tuple):
            raise TypeError(f"Dataset: give one index, a slice or an array, got {index!r}")
        x, y = each(lambda array: array[index], self.x), each(lambda array: array[index], self.y)
        weight = None if self.sample_weight is None else each(lambda array: array[index], self.sample_weight)
        if isinstance(index, (int, np.integer)):
            return (x, y) if weight is None else (x, y, weight)
        return self._part(x, y, weight, index)

    def lazily(self, rows: np.ndarray) -> Dataset:
        """``dataset[rows]``, of which the rows of an ``np.memmap`` are read only when they are asked for."""
        weight = None if self.sample_weight is None else lazily(self.sample_weight, rows)
        return self._part(lazily(self.x, rows), lazily(self.y, rows), weight, rows)

    def _part(self, x: Any, y: Any, sample_weight: Any, index: Any) -> Dataset:
        return Dataset(x, y, self.name, self.classes, sample_weight)

    def __repr__(self) -> str:
        parts = {"x": self.x, "y": self.y}
        if self.sample_weight is not None:
            parts["sample_weight"] = self.sample_weight
        shown = [f"{leaf} {array.shape} {array.dtype}" for name in parts for leaf, array in leaves(parts[name], name)]
        if self.classes is not None:
            shown.append(f"{len(self.classes)} classes")
        return f"Dataset({self.name + ': ' if self.name else ''}{', '.join(shown)})"


def parts_of(where: str, name: str, data: Any) -> tuple[Any, ...]:
    """(x, y) or (x, y, sample_weight) of a Dataset or of a tuple or list of two or three, as arrays of one length."""
    if isinstance(data, Dataset):
        return (data.x, data.y) if data.sample_weight is None else (data.x, data.y, data.sample_weight)
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        got = f"a {type(data).__name__} of {len(data)}" if isinstance(data, (tuple, list)) else type(data).__name__
        raise TypeError(f"{where}: {name} must be a Dataset, (x, y) or (x, y, sample_weight), got {got}")
    parts = tuple(as_arrays(part) for part in data)
    same_length(where, **dict(zip(("x", "y", "sample_weight"), parts, strict=False)))
    return parts
