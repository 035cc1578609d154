"""Batches prepared ahead of their consumer by a thread.

Two queues and no lock of our own: permits, one for each item that may lie ready, and results. So an iterator that is
dropped at any moment, in any thread, even by the garbage collector within this one, can always stop the thread.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .._shapes import whole

# What takes a thread longer than this, it finishes alone, and its result is dropped: Ctrl-C is not to wait for it.
_PATIENCE = 0.25  # seconds

_END = object()
_ENDLESS = range(2**62)

_running: set[_Worker] = set()


class Prefetch:
    """Batches of any iterable, prepared ahead by a thread: what `Loader` does of itself.

    Parameters
    ----------
    batches : iterable
        Of batches (x, y) or (x, y, sample_weight), or of anything else; each ``for`` loop goes through it once. All of
        its code runs in the thread.
    prefetch : int
        How many may lie ready.

    Notes
    -----
    ``len()`` and ``set_epoch`` are those of `batches`, where it has them. An exception is raised in its turn, with the
    traceback of where it arose; a loop that is left early ends the thread.

    Examples
    --------
    >>> list(Prefetch(range(3)))
    [0, 1, 2]
    """

    def __init__(self, batches: Iterable[Any], prefetch: int = 2):
        if not isinstance(batches, Iterable):
            raise TypeError(f"Prefetch: batches must be an iterable, got {type(batches).__name__}")
        self._batches = batches
        self._most = whole("Prefetch", "prefetch", prefetch, 1)
        self._used = False

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """Tell `batches` the epoch that the next ``for`` loop is for, if it wants to know."""
        if hasattr(self._batches, "set_epoch"):
            self._batches.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self._batches)
        if iterator is self._batches and self._used:
            raise ValueError(
                "Prefetch: batches is an iterator, used up after one loop: give an object whose __iter__ starts anew"
            )
        self._used = True
        return _through(iterator, self._most)


def _through(iterator: Iterator[Any], most: int) -> Iterator[Any]:
    process = os.getpid()

    def following(_: int) -> Any:
        if os.getpid() != process:
            raise RuntimeError("Prefetch: a forked child cannot go on with a loop of its parent: begin a new one")
        return next(iterator, _END)

    results = ahead(following, _ENDLESS, most)
    try:
        for item in results:
            if item is _END:
                return
            yield item
    finally:
        results.close()  # type: ignore[attr-defined]
        # Still at work where the thread did not end in time; what it holds goes with it.
        with contextlib.suppress(ValueError):
            getattr(iterator, "close", lambda: None)()


def ahead(prepare: Callable[[int], Any], numbers: range, most: int) -> Iterator[Any]:
    """``prepare(number)`` of each number in order, up to `most` of them ready before they are asked for.

    An exception in `prepare` is raised here, in its turn. The thread ends with the iterator, however that ends. In a
    forked child, which has no such thread, a new one prepares what the child has not taken.
    """
    worker = None
    try:
        for i in range(len(numbers)):
            if worker is None or worker.process != os.getpid():
                worker = _Worker(prepare, numbers[i:], most)
                worker.start()
            yield worker.take()
    finally:
        if worker is not None and worker.process == os.getpid():
            worker.stop()


class _Worker:
    def __init__(self, prepare: Callable[[int], Any], numbers: range, most: int):
        self.process = os.getpid()
        self._prepare = prepare
        self._numbers = numbers
        self._permits: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        self._stopped = False
        for _ in range(most):
            self._permits.put(None)
        # In the caller's context, so that np.errstate and the like hold there, too. A daemon: a script that ends in
        # the middle of an epoch ends.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._work,), name="cconv prefetch", daemon=True)

    def start(self) -> None:
        _running.add(self)
        self._thread.start()

    def _work(self) -> None:
        for number in self._numbers:
            self._permits.get()
            if self._stopped:
                return
            try:
                self._results.put((True, self._prepare(number)))
            except BaseException as error:
                self._results.put((False, error))
                return

    def take(self) -> Any:
        good, result = self._results.get()
        if good:
            self._permits.put(None)
            return result
        try:
            raise result
        finally:
            del result  # or the exception would hold this frame, and the frame the exception

    def stop(self) -> None:
        self._stopped = True
        self._permits.put(None)
        _running.discard(self)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)


@atexit.register
def _stop_all() -> None:
    # A thread that is in a kernel while the process takes its libraries down may crash.
    for worker in list(_running):
        worker.stop()
