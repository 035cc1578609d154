"""Which examples an epoch holds, where it is not each of them once."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._shapes import whole


class BalancedSampler:
    """Every class equally often, however rare it is.

    An epoch has `num_samples` examples in a random order, of each class as many (one more of some, drawn anew for each
    epoch, where they do not divide). Within a class no example comes a second time before each other has come once:
    those of a rare class are repeated, some of a common one left out.

    Parameters
    ----------
    y : array (N,)
        The label of each example.
    num_samples : int, optional
        Examples in an epoch; as many as there are if None.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array([0, 0, 0, 0, 0, 1])
    >>> chosen = BalancedSampler(y).indices(0, np.random.default_rng(0))
    >>> sorted(y[chosen].tolist())
    [0, 0, 0, 1, 1, 1]
    """

    def __init__(self, y: Any, num_samples: int | None = None):
        labels = np.asarray(y)
        if labels.ndim != 1 or not labels.size:
            raise ValueError(
                f"BalancedSampler: y must be an array (N,) of at least one label, got shape {labels.shape}"
            )
        classes = np.unique(labels, return_inverse=True)[1]
        self._rows = np.split(np.argsort(classes, kind="stable"), np.cumsum(np.bincount(classes))[:-1])
        self.num_samples = _number("BalancedSampler", num_samples, labels.size)

    def indices(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """The indices of an epoch's examples, in order."""
        share, over = divmod(self.num_samples, len(self._rows))
        counts = np.full(len(self._rows), share)
        counts[rng.permutation(len(self._rows))[:over]] += 1
        chosen = [self._rounds(rows, count, rng) for rows, count in zip(self._rows, counts.tolist(), strict=True)]
        return rng.permutation(np.concatenate(chosen))

    @staticmethod
    def _rounds(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        full, rest = divmod(count, len(rows))
        return np.concatenate([np.tile(rows, full), rng.permutation(rows)[:rest]])


class WeightedSampler:
    """Each example with a probability in proportion to its weight, as PyTorch's ``WeightedRandomSampler``.

    Parameters
    ----------
    weights : array (N,)
        At least 0, not all of them 0; their sum is of no matter.
    num_samples : int, optional
        Examples in an epoch; as many as there are if None.
    replacement : bool
        Whether an example can come several times in an epoch. Without, each draw is from those not yet drawn
        (Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir").

    Examples
    --------
    >>> import numpy as np
    >>> WeightedSampler([0, 1, 0], 4).indices(0, np.random.default_rng(0)).tolist()
    [1, 1, 1, 1]
    """

    def __init__(self, weights: Any, num_samples: int | None = None, *, replacement: bool = True):
        values = np.asarray(weights)
        if values.dtype.kind not in "buif":
            raise TypeError(f"WeightedSampler: weights must be real numbers, got dtype {values.dtype}")
        if values.ndim != 1:
            raise ValueError(f"WeightedSampler: weights must be an array (N,), got shape {values.shape}")
        values = values.astype(np.float64)
        if not np.isfinite(values).all() or (values < 0).any() or not values.any():
            raise ValueError(f"WeightedSampler: weights must be finite, at least 0 and not all 0, got {weights!r}")
        self._weights = values / values.max()  # so that no sum overflows
        self.num_samples = _number("WeightedSampler", num_samples, values.size)
        self.replacement = bool(replacement)
        possible = np.count_nonzero(self._weights)
        if not self.replacement and self.num_samples > possible:
            raise ValueError(
                f"WeightedSampler: num_samples={self.num_samples} without replacement is more than the {possible} "
                "examples whose weight is not 0"
            )

    def indices(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """The indices of an epoch's examples, in order."""
        if self.replacement:
            bounds = np.cumsum(self._weights)
            found = np.searchsorted(bounds, rng.random(self.num_samples) * bounds[-1], side="right")
            # Rounding may take a product to the last bound itself.
            return np.minimum(found, np.flatnonzero(self._weights)[-1])
        possible = np.flatnonzero(self._weights)
        with np.errstate(over="ignore"):
            waits = rng.standard_exponential(possible.size) / self._weights[possible]
        return possible[np.argsort(waits)[: self.num_samples]]


def _number(where: str, num_samples: int | None, length: int) -> int:
    return length if num_samples is None else whole(where, "num_samples", num_samples, 1)


def drawn(where: str, sampler: Any, epoch: int, rng: np.random.Generator, length: int) -> np.ndarray:
    """The indices that a sampler gives for an epoch, checked."""
    indices = getattr(sampler, "indices", sampler)
    if isinstance(sampler, type) or not callable(indices):
        got = f"the class {sampler.__name__}" if isinstance(sampler, type) else repr(sampler)
        raise TypeError(f"{where}: sampler must have indices(epoch, rng), or be a callable of these, got {got}")
    found = np.asarray(indices(epoch, rng))
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise TypeError(
            f"{where}: sampler must give an array (n,) of integers, got {found.dtype} of shape {found.shape}"
        )
    if found.size and not (found.min() >= 0 and found.max() < length):
        raise ValueError(
            f"{where}: sampler must give indices in 0..{length - 1}, got {found.min()} to {found.max()} "
            f"in epoch {epoch}"
        )
    return found.astype(np.int64, copy=False)
