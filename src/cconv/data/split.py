"""Splitting a data set in two, and the statistics of its channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import number
from .._random import generator
from .dataset import Dataset


def split(
    dataset: Dataset,
    fraction: float,
    *,
    stratified: bool = False,
    rng: np.random.Generator | int | None = None,
) -> tuple[Dataset, Dataset]:
    """Split a set in two by chance, each part in the order of the whole.

    Parameters
    ----------
    dataset : Dataset
        Of an ``np.memmap`` nothing is read: the parts' arrays hand out rows as they are asked for.
    fraction : float
        The share of the first part, between 0 and 1.
    stratified : bool
        Split each class in this proportion, to within one example; ``dataset.y`` then holds labels (N,).
    rng : Generator or int, optional
        Draws the parts; the default generator if None.

    Returns
    -------
    first, second : Dataset
        Of fraction and 1 - fraction of the examples, rounded.

    Examples
    --------
    >>> first, second = split(Dataset(np.zeros((10, 1)), np.arange(10) % 2), 0.6, stratified=True, rng=0)
    >>> np.bincount(first.y).tolist(), np.bincount(second.y).tolist()
    ([3, 3], [2, 2])
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(f"split: dataset must be a Dataset, got {type(dataset).__name__}: use data.Dataset(x, y)")
    share = number("split", "fraction", fraction, 0, above=True)
    if share >= 1:
        raise ValueError(f"split: fraction must be less than 1, got {fraction!r}")
    rng = generator(rng)
    n = len(dataset)
    wanted = round(share * n)
    if not 0 < wanted < n:
        raise ValueError(f"split: fraction={fraction!r} of {n} examples leaves one part empty")
    groups = _classes(dataset.y) if stratified else [np.arange(n)]
    counts = _shares(np.array([len(rows) for rows in groups]), share, wanted)
    chosen = np.zeros(n, bool)
    for rows, count in zip(groups, counts.tolist(), strict=True):
        chosen[rng.permutation(rows)[:count]] = True
    return dataset.lazily(np.flatnonzero(chosen)), dataset.lazily(np.flatnonzero(~chosen))


def _classes(y: Any) -> list[np.ndarray]:
    """The rows of each class."""
    labels = np.asarray(y) if not isinstance(y, (tuple, dict)) else None
    if labels is None or labels.ndim != 1:
        got = type(y).__name__ if labels is None else f"shape {labels.shape}"
        raise ValueError(f"split: stratified=True needs y to be labels (N,), got {got}")
    classes = np.unique(labels, return_inverse=True)[1]
    return np.split(np.argsort(classes, kind="stable"), np.cumsum(np.bincount(classes))[:-1])


def _shares(sizes: np.ndarray, share: float, wanted: int) -> np.ndarray:
    """Whole numbers near share * sizes whose sum is `wanted`: the largest remainders are rounded up."""
    exact = share * sizes
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: wanted - counts.sum()]] += 1
    return counts


def mean_std(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, for ``nn.Normalize(*mean_std(train.x))``.

    Parameters
    ----------
    x : array (N, C, ...)
        Read a part at a time: it may be an ``np.memmap``.

    Returns
    -------
    mean, std : ndarray (C,) of float64

    Examples
    --------
    >>> mean, std = mean_std(np.array([[0, 5], [2, 5], [4, 5.0]]))
    >>> mean.tolist(), (std**2).tolist()
    ([2.0, 5.0], [2.6666666666666665, 0.0])
    """
    if len(x.shape) < 2 or not all(x.shape):
        raise ValueError(f"mean_std: x must be an array (N, C, ...) of one value or more, got shape {x.shape}")
    step = max(1, 2**20 // int(np.prod(x.shape[1:])))
    axes = (0, *range(2, len(x.shape)))
    count, mean, squares = 0, np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for start in range(0, x.shape[0], step):
        # Chan, Golub and LeVeque 1979: means and sums of squares of parts, put together without cancellation.
        part = np.asarray(x[start : start + step], np.float64)
        n = part.size // part.shape[1]
        part_mean = part.mean(axes)
        part -= part_mean.reshape(-1, *[1] * (part.ndim - 2))
        apart = part_mean - mean
        squares += (part * part).sum(axes) + apart * apart * (count * n / (count + n))
        mean += apart * (n / (count + n))
        count += n
    return mean, np.sqrt(squares / count)
