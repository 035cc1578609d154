"""What `Trainer.fit` and `evaluate` take as data, as batches of a numbered epoch."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from ..data import Dataset, Loader
from ..data.dataset import parts_of
from ..data.rows import as_arrays, joined, leaves, same_length, size_of

Batch = tuple[Any, ...]  # (x, y) or (x, y, sample_weight)


class Source(Protocol):
    """Batches of an epoch, from any of them on."""

    @property
    def examples(self) -> int | None:
        """Of an epoch, where that is known."""

    def __len__(self) -> int: ...

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from number `start` on."""

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same for an epoch to be continued: plain values by name."""


class Again:
    """What the first updates of a training were made from, once more; batches whose gradients are added up in one.

    Parameters
    ----------
    source : Source
    epoch : int
        The first.
    accumulate : int
    start : int
        The first batch of that epoch.
    """

    def __init__(self, source: Source, epoch: int, accumulate: int, start: int = 0):
        self._source = source
        self._start = start
        self._epoch = epoch
        self._accumulate = accumulate
        # What an iterable of the user's own would give another time, and what that would do, is not known.
        self.repeatable = isinstance(source, Loader)
        self.data = [array for part in source.data for _, array in leaves(part)] if isinstance(source, Loader) else []

    def __call__(self, n: int) -> list[Batch]:
        """Of the first n updates."""
        found: list[Batch] = []
        for epoch in itertools.count(self._epoch):
            before = len(found)
            start = self._start if epoch == self._epoch else 0
            with contextlib.closing(self._source.batches(epoch, start)) as batches:  # type: ignore[type-var]
                while len(found) < n and (several := list(itertools.islice(batches, self._accumulate))):
                    together = len(several) > 1
                    found.append(tuple(map(joined, zip(*several, strict=True))) if together else several[0])
            if len(found) in (n, before):
                return found
        return found


class Batches:
    """An iterable of batches of the user's own, one pass an epoch.

    An iterable with ``set_epoch(epoch)`` is told the epoch first, as PyTorch's samplers are.
    """

    examples = None

    def __init__(self, where: str, name: str, iterable: Iterable[Any]):
        self._where = f"{where}: {name}"
        self._iterable = iterable
        self._used = False

    def __len__(self) -> int:
        try:
            return len(self._iterable)  # type: ignore[arg-type]
        except TypeError:
            return 0

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        if hasattr(self._iterable, "set_epoch"):
            self._iterable.set_epoch(epoch)
        iterator = iter(self._iterable)
        if iterator is self._iterable and self._used:
            raise ValueError(
                f"{self._where} is an iterator, used up after one epoch: give an object whose __iter__ starts anew"
            )
        self._used = True
        try:
            for number, batch in enumerate(iterator):
                if number >= start:
                    yield self._checked(batch)
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    def _checked(self, batch: Any) -> Batch:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            got = f"a {type(batch).__name__} of {len(batch)}" if isinstance(batch, (tuple, list)) else type(batch)
            raise TypeError(f"{self._where} must give batches (x, y) or (x, y, sample_weight), got {got}")
        parts = tuple(as_arrays(part) for part in batch)
        same_length(f"{self._where} gives a batch", **dict(zip(("x", "y", "sample_weight"), parts, strict=False)))
        return parts

    def fingerprint(self) -> dict[str, Any]:
        return {"data": type(self._iterable).__name__}


def source(where: str, name: str, data: Any, batch_size: int, **options: Any) -> Source:
    """`data` as a Source: arrays in batches of `batch_size`, made by a Loader with `options`."""
    if isinstance(data, Batches):
        return data
    if isinstance(data, Loader):
        if not len(data):
            raise ValueError(f"{where}: {name} gives no batch: {data!r}")
        return data
    several = isinstance(data, list) and all(isinstance(batch, (tuple, list)) for batch in data)
    if isinstance(data, (Dataset, tuple, list)) and not several:
        parts = parts_of(f"{where}: {name}", "data", data)
        if not size_of(parts[0]):
            raise ValueError(f"{where}: {name} is empty")
        return Loader(parts, batch_size, **options)
    if isinstance(data, np.ndarray) or not isinstance(data, Iterable):
        hint = ": give the pair, fit((x, y))" if isinstance(data, np.ndarray) and name == "train" else ""
        raise TypeError(
            f"{where}: {name} must be a Dataset, (x, y), a Loader or an iterable of batches, "
            f"got {type(data).__name__}{hint}"
        )
    if options.get("augment") is not None:
        raise TypeError(f"{where}: augment goes with arrays, and {name} gives batches: apply it there")
    return Batches(where, name, data)
