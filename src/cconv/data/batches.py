"""Batches of examples, in an order that a seed fixes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._random import SHUFFLE, fresh_seed, generator, philox
from .._shapes import whole


def batches(
    x: Any,
    y: Any,
    batch_size: int,
    *,
    shuffle: bool = True,
    drop_last: bool = False,
    rng: np.random.Generator | int | None = None,
    epoch: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches (x, y) of `batch_size` examples; the last may be smaller.

    Parameters
    ----------
    x, y : arrays of the same length
    batch_size : int
        At least 1.
    shuffle : bool
        In an order drawn anew for each `epoch`; else in the order given, the batches being views.
    drop_last : bool
        Leave out a last batch that is smaller.
    rng : int or numpy.random.Generator, optional
        An int fixes the order of every epoch. None draws from the default generator.
    epoch : int
        Which order of those that `rng` fixes.

    Yields
    ------
    x, y : arrays of at most `batch_size` rows

    Examples
    --------
    >>> import numpy as np
    >>> [y.tolist() for x, y in batches(np.zeros((5, 1)), np.arange(5), 2, shuffle=False)]
    [[0, 1], [2, 3], [4]]
    """
    x, y = np.asanyarray(x), np.asanyarray(y)
    size = whole("batches", "batch_size", batch_size, 1)
    epoch = whole("batches", "epoch", epoch)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise ValueError(f"batches: x {x.shape} and y {y.shape} must have the same length")
    end = len(x) // size * size if drop_last else len(x)
    order = philox(fresh_seed(generator(rng)), SHUFFLE, epoch).permutation(len(x)) if shuffle else None
    return _batches(x, y, size, end, order)


def _batches(
    x: np.ndarray, y: np.ndarray, size: int, end: int, order: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, end, size):
        rows = slice(start, min(start + size, end))
        if order is None:
            yield x[rows], y[rows]
        else:
            chosen = order[rows]
            yield x[chosen], y[chosen]
