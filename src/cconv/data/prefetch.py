"""Items prepared ahead of their consumer by a thread.

Two queues and no lock of our own: permits, one for each item that may lie ready, and results. So an iterator that is
dropped at any moment, in any thread, even by the garbage collector within this one, can always stop the thread.
"""

from __future__ import annotations

import atexit
import contextvars
import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

# What a thread may take longer than this for, it finishes alone: its result is dropped.
_PATIENCE = 1.0  # seconds

_running: set[_Worker] = set()


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
        self._thread.start()
        _running.add(self)

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
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)


@atexit.register
def _stop_all() -> None:
    # A thread that is in a kernel while the process takes its libraries down may crash.
    for worker in list(_running):
        worker.stop()
