"""Loader: the batches of every epoch of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._random import AUGMENT, fresh_seed, philox
from .._shapes import whole
from .._tree import leaves
from .batches import epoch_generator, number_of, rows_of
from .dataset import parts_of
from .prefetch import ahead
from .rows import take
from .samplers import drawn


class Loader:
    """Batches (x, y), or (x, y, sample_weight), of every epoch: shuffled or sampled, augmented, prepared ahead.

    All that is drawn depends on `seed`, the epoch and the number of the batch alone: not on threads, on `prefetch`, or
    on what was drawn before. So an epoch can be taken up in its middle (`batches`), to the same bits.

    Parameters
    ----------
    data : Dataset, (x, y) or (x, y, sample_weight)
        x and y may be tuples or dicts of arrays, for models of several inputs or outputs; all arrays have the same
        length. Of an ``np.memmap`` only the rows of a batch are read into memory.
    batch_size : int
        The last batch of an epoch may be smaller.
    shuffle : bool
        In an order drawn anew for each epoch, that of ``data.batches(x, y, batch_size, rng=seed, epoch=epoch)``. Not
        looked at where there is a sampler.
    sampler : object or callable, optional
        ``indices(epoch, rng)``, or a callable of these, which gives the indices of the examples of an epoch in order,
        as many in every epoch; some examples may come several times, others not at all. `BalancedSampler`,
        `WeightedSampler`. It is called once at once, for epoch 0, to know how many.
    drop_last : bool
        Leave out a last batch that is smaller.
    augment : callable, optional
        ``augment(x, rng)`` gives what the model trains on in the place of x, all of it where x is a tuple or dict.
    prefetch : int
        Prepare up to so many batches ahead in a thread, which costs their memory. The same bits as without. `augment`
        is then called in that thread.
    seed : int or numpy.random.Generator, optional
        An int fixes all that is drawn. A Generator, or for None the default generator, gives a seed, once.

    Attributes
    ----------
    data : tuple
        (x, y) or (x, y, sample_weight), all of it.
    epoch : int
        The epoch that the next ``for`` loop gets.
    examples : int
        Examples in an epoch.
    seed : int
    seed_given : bool
        Whether it was given as an int; a continued training replaces one that was drawn by that of the run.

    Notes
    -----
    ``for x, y in loader`` gives epoch 0, the next such loop epoch 1, and so on, as PyTorch's DataLoader shuffles anew;
    `set_epoch` goes to another. ``len(loader)`` is the number of batches of an epoch.

    Several loops may run at once. A loop that is left early, by ``break`` or an exception, ends its thread.
    `Trainer.fit` takes a Loader and asks it for epochs by their number.

    Examples
    --------
    >>> import numpy as np
    >>> loader = Loader((np.zeros((5, 1)), np.arange(5)), 2, shuffle=False)
    >>> [y.tolist() for x, y in loader]
    [[0, 1], [2, 3], [4]]
    >>> [y.tolist() for x, y in loader.batches(epoch=0, start=2)]
    [[4]]
    """

    def __init__(
        self,
        data: Any,
        batch_size: int = 32,
        *,
        shuffle: bool = True,
        sampler: Any = None,
        drop_last: bool = False,
        augment: Callable[[Any, np.random.Generator], Any] | None = None,
        prefetch: int = 0,
        seed: np.random.Generator | int | None = None,
    ):
        self.data = parts_of("Loader", "data", data)
        self.batch_size = whole("Loader", "batch_size", batch_size, 1)
        self.prefetch = whole("Loader", "prefetch", prefetch)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.sampler = sampler
        self.augment = _checked_augment(augment)
        self.epoch = 0
        # A seed drawn by chance must be drawn once, or a resumed epoch would not be the same.
        self.seed_given = not (seed is None or isinstance(seed, np.random.Generator))
        self.reseed(seed if self.seed_given else fresh_seed(seed))  # type: ignore[arg-type]
        _, first = next(leaves(self.data[0]))
        self._length = len(first)
        self._drawn = self._length if sampler is None else len(self._indices(0))
        self._batches = number_of(self._drawn, self.batch_size, self.drop_last)
        self.examples = min(self._drawn, self._batches * self.batch_size)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """The batches of epoch `epoch`, which is then one more."""
        epoch = self.epoch
        self.epoch = epoch + 1
        return self.batches(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Let the next ``for`` loop give the batches of this epoch."""
        self.epoch = whole("Loader.set_epoch", "epoch", epoch)

    def batches(self, epoch: int, start: int = 0) -> Iterator[tuple[Any, ...]]:
        """The batches of an epoch, from number `start` on; those before it cost nothing.

        Parameters
        ----------
        epoch : int
        start : int
            At most ``len(loader)``.

        Yields
        ------
        tuple
            (x, y) or (x, y, sample_weight): views of the data without shuffle, sampler and augmentation, else new
            arrays; of an ``np.memmap`` always new arrays.
        """
        epoch = whole("Loader.batches", "epoch", epoch)
        start = whole("Loader.batches", "start", start)
        if start > self._batches:
            raise ValueError(f"Loader.batches: start must be at most {self._batches}, an epoch's batches, got {start}")
        order = self._order(epoch)

        def prepare(batch: int) -> tuple[Any, ...]:
            rows = rows_of(order, self._drawn, self.batch_size, batch)
            x, *others = self.data
            # An augmentation that works in place must not reach the user's arrays.
            x = take(x, rows, copy=self.augment is not None)
            if self.augment is not None:
                x = self._augmented(x, philox(self.seed, AUGMENT, epoch * 2**32 + batch))
            return x, *(take(other, rows) for other in others)

        numbers = range(start, self._batches)
        return ahead(prepare, numbers, self.prefetch) if self.prefetch else (prepare(batch) for batch in numbers)

    def reseed(self, seed: int) -> None:
        """Draw from here on what a Loader of this seed draws."""
        self._key = fresh_seed(seed)
        self.seed = int(seed)

    def fingerprint(self) -> dict[str, Any]:
        """What decides which examples a batch holds, as plain values of JSON: what a checkpoint keeps and compares."""
        return {
            "examples": self._length,
            "batches": self._batches,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle and self.sampler is None,
            "drop_last": self.drop_last,
            "sampler": _name(self.sampler),
            "augment": _name(self.augment),
            "seed": self.seed,
        }

    def _order(self, epoch: int) -> np.ndarray | None:
        if self.sampler is not None:
            indices = self._indices(epoch)
            if len(indices) != self._drawn:
                raise ValueError(
                    f"Loader: sampler must give as many indices in every epoch, got {len(indices)} in epoch {epoch}, "
                    f"{self._drawn} in epoch 0"
                )
            return indices
        return epoch_generator(self._key, epoch).permutation(self._length) if self.shuffle else None

    def _indices(self, epoch: int) -> np.ndarray:
        return drawn("Loader", self.sampler, epoch, epoch_generator(self._key, epoch), self._length)

    def _augmented(self, x: Any, rng: np.random.Generator) -> Any:
        _, before = next(leaves(x))
        result = self.augment(x, rng)
        if type(result) is not type(x) and not (isinstance(x, np.ndarray) and isinstance(result, np.ndarray)):
            kind, got = type(x).__name__, type(result).__name__
            raise TypeError(f"Loader: augment must return x, a {kind} as it was given, got {got}")
        for name, array in leaves(result, "x"):
            if np.shape(array)[:1] != before.shape[:1]:
                raise ValueError(
                    f"Loader: augment must return as many examples as it was given, {len(before)}, "
                    f"got {name} {np.shape(array)}"
                )
        return result

    def __repr__(self) -> str:
        return f"Loader({self._length} examples, {self._batches} batches of {self.batch_size})"


def _checked_augment(augment: Any) -> Any:
    if augment is None or (callable(augment) and not isinstance(augment, type)):
        return augment
    got = f"the class {augment.__name__}" if isinstance(augment, type) else repr(augment)
    raise TypeError(f"Loader: augment must be a callable (x, rng) -> x, got {got}")


def _name(value: Any) -> str | None:
    """How a sampler or an augmentation shows itself, or else what it is called, without an address."""
    if value is None:
        return None
    shown = repr(value) if type(value).__repr__ is not object.__repr__ else ""
    return shown if shown and " at 0x" not in shown else getattr(value, "__qualname__", type(value).__qualname__)
