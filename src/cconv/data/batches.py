"""Batches of examples, in an order that a seed fixes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._random import SHUFFLE, fresh_seed, generator, philox
from .._shapes import whole
from .rows import as_arrays, same_length, take


def batches(
    x: Any,
    y: Any,
    batch_size: int,
    *,
    shuffle: bool = True,
    drop_last: bool = False,
    rng: np.random.Generator | int | None = None,
    epoch: int = 0,
) -> Iterator[tuple[Any, Any]]:
    """Batches (x, y) of `batch_size` examples; the last may be smaller.

    `Loader` gives the same for every epoch, and has sampling, augmentation, and preparation ahead in a thread.

    Parameters
    ----------
    x, y : arrays of the same length, or tuples or dicts of such arrays
    batch_size : int
        At least 1.
    shuffle : bool
        In an order drawn anew for each `epoch`; else in the order given, the batches being views (copies of an
        ``np.memmap``).
    drop_last : bool
        Leave out a last batch that is smaller.
    rng : int or numpy.random.Generator, optional
        An int fixes the order of every epoch. None draws from the default generator.
    epoch : int
        Which order of those that `rng` fixes.

    Yields
    ------
    x, y : arrays of at most `batch_size` rows, or tuples or dicts of them

    Examples
    --------
    >>> import numpy as np
    >>> [y.tolist() for x, y in batches(np.zeros((5, 1)), np.arange(5), 2, shuffle=False)]
    [[0, 1], [2, 3], [4]]
    """
    x, y = as_arrays(x), as_arrays(y)
    size = whole("batches", "batch_size", batch_size, 1)
    epoch = whole("batches", "epoch", epoch)
    length = same_length("batches", x=x, y=y)
    order = epoch_generator(fresh_seed(generator(rng)), epoch).permutation(length) if shuffle else None
    return (
        (take(x, rows), take(y, rows))
        for rows in (rows_of(order, length, size, batch) for batch in range(number_of(length, size, drop_last)))
    )


def epoch_generator(key: int, epoch: int) -> np.random.Generator:
    """What the order of an epoch is drawn from; `key` is ``fresh_seed(seed)``."""
    return philox(key, SHUFFLE, epoch)


def number_of(length: int, size: int, drop_last: bool) -> int:
    """How many batches an epoch has."""
    return length // size if drop_last else -(-length // size)


def rows_of(order: np.ndarray | None, length: int, size: int, batch: int) -> slice | np.ndarray:
    """The rows of a batch: of an order, or, where that is None, as they come."""
    rows = slice(batch * size, min((batch + 1) * size, length))
    return rows if order is None else order[rows]
