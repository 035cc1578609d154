"""Prediction in batches, within a bound on memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._checks import number
from .._scratch import forget
from .._shapes import whole
from .._tree import each, leaves
from ..data import Dataset
from ..data.rows import Rows, as_arrays, same_length, size_of, take

MEMORY = 256 << 20  # bytes, by default
_LARGEST = 256  # a batch of more images is no faster
_PROBE = 8  # the first batch, after one image
_WORTH = 1.25  # how many times larger a batch must be to be measured, too

# Tracing is the process's: one prediction measures at a time.
_tracing = threading.Lock()


def predict(
    model: Callable[[Any], Any],
    x: Any,
    batch_size: int | None = None,
    *,
    memory: float = MEMORY,
    out: Any = None,
) -> Any:
    """The model's outputs, computed in batches. Bits do not depend on the batches.

    Parameters
    ----------
    model : Layer or callable
        Called with a batch of x.
    x : array, Dataset or iterable
        An array (N, ...), a memory-mapped one, or a tuple or dict of arrays for a model of several inputs. Or batches:
        a Loader or another iterable of x, of (x, y) or of (x, y, sample_weight); of these x is taken.
    batch_size : int, optional
        By default at most 256, and so few that what the model allocates for a batch stays within `memory`: that is
        measured on the first batches, of one example, of eight, and of as many as these say.
    memory : float
        Bytes. An example that takes more by itself is predicted alone.
    out : array (N, ...), optional
        Where to write; a memory-mapped array, say. A tuple or dict of arrays where the model gives one.

    Returns
    -------
    array (N, ...)
        Or a tuple or dict of arrays, as the model gives them. `out`, if given, or its first N rows.

    Raises
    ------
    ValueError
        If inputs differ in length, `out` does not fit, or a Loader shuffles.
    """
    where = "predict"
    size = None if batch_size is None else whole(where, "batch_size", batch_size, 1)
    memory = number(where, "memory", memory, 0, above=True)
    outputs = _Outputs(out)
    sizes = _Sizes(size, memory)
    if isinstance(x, Dataset):
        x = x.x
    if isinstance(x, (np.ndarray, Rows, tuple, list, Mapping)) or hasattr(x, "__array__"):
        x = as_arrays(x)
        if isinstance(x, np.ndarray) and x.ndim == 0:
            return model(x)
        outputs.expected = same_length(where, x=x)
        _run(model, x, sizes, outputs)
        return outputs.result()
    if getattr(x, "shuffle", None) is True or getattr(x, "sampler", None) is not None:
        raise ValueError(
            f"{where}: the loader shuffles or samples, so that outputs could not be told apart: shuffle=False"
        )
    outputs.expected = getattr(x, "examples", None)
    # A loader's own count of epochs stays as it is.
    for batch in x.batches(0) if hasattr(x, "batches") else x:
        part = as_arrays(batch[0] if isinstance(batch, (tuple, list)) else batch)
        _run(model, part, sizes, outputs)
    if outputs.done == 0 and outputs.held is None:
        raise ValueError(f"{where}: x has no batches, or is an iterator that has come to its end")
    return outputs.result()


def _run(model: Callable[[Any], Any], x: Any, sizes: _Sizes, outputs: _Outputs) -> None:
    count, start = same_length("predict", x=x), 0
    while start < count or start == 0:
        size = min(sizes.next(), count - start)
        part = take(x, slice(start, start + size))
        outputs.add(sizes.run(model, part, size), size)
        start += max(size, 1)


class _Sizes:
    """How many examples to predict at once: those asked for, or as many as `memory` is seen to hold."""

    def __init__(self, size: int | None, memory: float):
        self._size = size
        self._memory = memory
        self._next = 1

    def next(self) -> int:
        return self._next if self._size is None else self._size

    def run(self, model: Callable[[Any], Any], x: Any, size: int) -> Any:
        """The outputs for `size` examples. Until the number for all that follow is known, this measures."""
        if self._size is not None or size == 0:
            return model(x)
        y, peak = _traced(model, x)
        # What does not grow with the batch, such as working memory, is counted as if it did: this never takes too many.
        fit = max(1, min(_LARGEST, int(self._memory * size // max(peak, 1))))
        # Batches of the caller's may be smaller than what was to be measured: their word will do.
        if size < self._next or fit < size * _WORTH or (fit == _LARGEST and size > 1):
            self._size = fit
        self._next = min(fit, _PROBE) if size == 1 else fit
        return y


def _traced(model: Callable[[Any], Any], x: Any) -> tuple[Any, int]:
    """The outputs, and the most bytes that Python and NumPy had allocated meanwhile, working memory included."""
    import tracemalloc

    with _tracing:
        ours = not tracemalloc.is_tracing()
        if ours:
            tracemalloc.start()
        try:
            forget()
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            y = model(x)
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            if ours:
                tracemalloc.stop()
    return y, peak


class _Outputs:
    """Outputs of batches, one after another, in arrays of their own or of the caller's."""

    def __init__(self, out: Any):
        self.expected: int | None = None
        self.done = 0
        self.held: Any = out
        self._given = out is not None

    def add(self, y: Any, size: int) -> None:
        """Write the outputs of `size` examples behind those so far."""
        y = as_arrays(tuple(y) if isinstance(y, list) else y)
        each(lambda array: _check_rows(array, size), y)
        end = self.done + size
        if self.held is None:
            self.held = each(lambda array: np.empty((self.expected or size, *array.shape[1:]), array.dtype), y)
        elif self._given:
            _pairs(lambda held, array: _check_out(held, array, max(end, self.expected or 0)), self.held, y)
        if not self._given and end > size_of(self.held):
            room = max(end, 2 * size_of(self.held))
            self.held = each(
                lambda held: np.concatenate([held, np.empty((room - len(held), *held.shape[1:]), held.dtype)]),
                self.held,
            )
        _pairs(lambda held, array: np.copyto(held[self.done : end], array, casting="same_kind"), self.held, y)
        self.done = end

    def result(self) -> Any:
        """All outputs."""
        if size_of(self.held) == self.done:
            return self.held
        return each(lambda held: held[: self.done] if self._given else held[: self.done].copy(), self.held)


def _check_rows(array: np.ndarray, size: int) -> None:
    if array.ndim == 0 or len(array) != size:
        raise ValueError(f"predict: the model gives {array.shape} for {size} examples, expected ({size}, ...)")


def _check_out(held: Any, array: np.ndarray, rows: int) -> None:
    if not isinstance(held, np.ndarray) or held.shape[1:] != array.shape[1:] or held.ndim == 0 or len(held) < rows:
        shape = held.shape if isinstance(held, np.ndarray) else type(held).__name__
        raise ValueError(f"predict: out must be an array of at least {(rows, *array.shape[1:])}, got {shape}")
    if not np.can_cast(array.dtype, held.dtype, "same_kind"):
        raise ValueError(f"predict: out has dtype {held.dtype}, the outputs {array.dtype}")


def _pairs(function: Callable[[Any, Any], object], first: Any, second: Any) -> None:
    """`function` of each two arrays in the same place of two trees."""
    one, two = ([array for _, array in leaves(tree)] for tree in (first, second))
    if len(one) != len(two):
        raise ValueError(f"predict: out has {len(one)} arrays, the model gives {len(two)}")
    for pair in zip(one, two, strict=True):
        function(*pair)
