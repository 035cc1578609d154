"""Ctrl-C during training: at once where a batch can be taken back, after the update where it cannot."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Interrupts:
    """A context in which SIGINT raises KeyboardInterrupt, but waits while `hold` is in force.

    Only in the main thread, and only where nobody else has taken the signal over.
    """

    def __init__(self) -> None:
        self._held = False
        self._waiting = False
        self._installed = False

    def __enter__(self) -> Interrupts:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(self, *error: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False

    def _handle(self, number: int, frame: Any) -> None:
        if not self._held:
            raise KeyboardInterrupt
        self._waiting = True

    def hold(self) -> None:
        """From here on an interrupt waits for `release`."""
        self._held = True

    def release(self) -> None:
        """Raise the interrupt that came since `hold`, if one did."""
        self._held = False
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt
