"""How far training is: a bar on a terminal and in a notebook, lines elsewhere.

A run goes on when its output does not: what cannot be written any more, to a closed terminal or pipe, is left out.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from .metrics import Means

_REFRESH = 0.1  # seconds between two looks of the bar
_SIGN_OF_LIFE = 60.0  # seconds without a line after which one tells how far the epoch is


class Silent:
    """Shows nothing."""

    def start_epoch(self, epoch: int) -> None:
        """Epoch `epoch`, counted from 1, begins."""

    def batch(self, size: int, means: Means) -> None:
        """A batch of `size` examples is done."""

    def end_epoch(self, record: dict[str, Any]) -> None:
        """An epoch is done."""

    def note(self, text: str) -> None:
        """Say something between the lines."""

    def close(self) -> None:
        """Training has ended, or was interrupted."""


class _Counted(Silent):
    """What bar and lines share: how many examples are done, of how many."""

    def __init__(self, first_epoch: int, last_epoch: int, images: int, done: int):
        self._last_epoch = last_epoch
        self._images = images  # of an epoch, 0 before that is known
        self._epoch = first_epoch + 1
        self._done = done  # of the epoch at hand
        self._writes = True

    def start_epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch, self._done = epoch, 0

    def end_epoch(self, record: dict[str, Any]) -> None:
        # An iterable tells its length by ending; where training was stopped there is nothing left to count.
        if not self._images:
            self._images = self._done

    def _left(self) -> int | None:
        """Examples left in all epochs."""
        if not self._images:
            return None
        return max(0, self._images * (self._last_epoch - self._epoch + 1) - self._done)

    def _try(self, write: Callable[[], object]) -> None:
        if self._writes:
            try:
                write()
            except (OSError, ValueError):  # a closed file is a ValueError
                self._writes = False


class Lines(_Counted):
    """One line an epoch, and one a minute within long ones, written out at once: for files and pipes."""

    def __init__(self, first_epoch: int, last_epoch: int, images: int, done: int):
        super().__init__(first_epoch, last_epoch, images, done)
        self._seen = 0
        self._started = self._said = time.perf_counter()

    def batch(self, size: int, means: Means) -> None:
        self._done += size
        self._seen += size
        now = time.perf_counter()
        if now - self._said >= _SIGN_OF_LIFE:
            rate = self._seen / max(now - self._started, 1e-9)
            self._say(self._within(means.numbers(), rate))

    def end_epoch(self, record: dict[str, Any]) -> None:
        super().end_epoch(record)
        self._say(line(record, self._last_epoch))

    def note(self, text: str) -> None:
        self._try(lambda: print(text, flush=True))

    def _within(self, figures: dict[str, float], rate: float) -> str:
        of = f"/{self._images:,}" if self._images else ""
        parts = [numbered(self._epoch, self._last_epoch), f"{self._done:,}{of} images", *named(figures)]
        parts.append(f"{rate:,.0f} images/s" if rate >= 10 else f"{rate:.2g} images/s")
        left = self._left()
        if left is not None:
            parts.append(f"{clock(left / rate)} left")
        return "  ".join(parts)

    def _say(self, text: str) -> None:
        self._said = time.perf_counter()
        self._try(lambda: print(text, flush=True))


class Bar(_Counted):
    """A bar over all epochs, with time left, loss, metrics and speed; the lines of past epochs stay above it."""

    def __init__(self, first_epoch: int, last_epoch: int, images: int, done: int):
        super().__init__(first_epoch, last_epoch, images, done)
        if _in_notebook():
            from tqdm.auto import tqdm
        else:
            from tqdm import tqdm
        # What a narrow terminal cuts off stands last.
        self._bar = tqdm(
            total=(last_epoch - first_epoch) * images or None,
            initial=done,
            unit=" images",
            file=sys.stdout,
            leave=False,
            ncols=None if _columns() else 80,
            dynamic_ncols=bool(_columns()),
            bar_format=_FORMAT if images else _OPEN_FORMAT,
        )
        self._shown = time.perf_counter()

    def start_epoch(self, epoch: int) -> None:
        super().start_epoch(epoch)
        self._try(lambda: self._bar.set_description_str(f"epoch {epoch}/{self._last_epoch}"))

    def batch(self, size: int, means: Means) -> None:
        self._done += size
        now = time.perf_counter()
        if now - self._shown >= _REFRESH:
            self._shown = now
            self._bar.set_postfix_str(", ".join(named(means.numbers())), refresh=False)
        self._try(lambda: self._bar.update(size))

    def end_epoch(self, record: dict[str, Any]) -> None:
        known = self._images
        super().end_epoch(record)
        if not known and self._images:
            self._bar.total = self._bar.n + self._images * (self._last_epoch - self._epoch)
            self._bar.bar_format = _FORMAT
        self._try(lambda: self._bar.write(line(record, self._last_epoch), file=sys.stdout))

    def note(self, text: str) -> None:
        self._try(lambda: self._bar.write(text, file=sys.stdout))

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._bar.close()


_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {remaining} left{postfix}, {rate_fmt}"
_OPEN_FORMAT = "{desc} {n_fmt} images in {elapsed}{postfix}, {rate_fmt}"


def say(text: str) -> None:
    """A line of its own, after the last epoch."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            print(text, flush=True)


def line(record: dict[str, Any], last_epoch: int) -> str:
    """An epoch's record for people to read."""
    apart = ("epoch", "images_per_second", "seconds", "lr")
    parts = [numbered(record["epoch"], last_epoch), *named({k: v for k, v in record.items() if k not in apart})]
    return "  ".join([*parts, f"{record['images_per_second']:,.0f} images/s", f"{record['seconds']:.1f} s"])


def numbered(epoch: int, last_epoch: int) -> str:
    """``epoch  3/10``."""
    return f"epoch {epoch:>{len(str(last_epoch))}}/{last_epoch}"


def named(figures: dict[str, Any]) -> list[str]:
    """``loss 0.1234`` and so on, of what is a number."""
    return [f"{name} {short(value)}" for name, value in figures.items() if isinstance(value, (int, float))]


def short(value: float) -> str:
    """Four decimals, or three digits where these would say little or be many."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3g}"


def clock(seconds: float) -> str:
    """``1:02:33``, or ``02:33``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def progress(shown: bool, first_epoch: int, last_epoch: int, images: int, done: int = 0) -> Silent:
    """What fits standard output.

    Parameters
    ----------
    shown : bool
    first_epoch, last_epoch : int
        Epochs that are done, and that will be.
    images : int
        Examples of an epoch, 0 where that is not known.
    done : int
        Of the first epoch, where it goes on.
    """
    # Programs without a console have no standard output.
    if not shown or sys.stdout is None or getattr(sys.stdout, "closed", False):
        return Silent()
    kind = Bar if sys.stdout.isatty() or _in_notebook() else Lines
    return kind(first_epoch, last_epoch, images, done)


def _columns() -> int:
    """How wide the terminal is; 0 where it does not know."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return 1 if _in_notebook() else 0


def _in_notebook() -> bool:
    return type(sys.stdout).__module__.startswith("ipykernel")
