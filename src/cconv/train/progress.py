"""How far training is: a bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from .metrics import Means

_REFRESH = 0.1  # seconds between two looks of the bar


class Silent:
    """Shows nothing."""

    def start_epoch(self, epoch: int) -> None:
        """Epoch `epoch`, counted from 1, begins."""

    def batch(self, size: int, means: Means) -> None:
        """A batch of `size` examples is done."""

    def end_epoch(self, record: dict[str, Any]) -> None:
        """An epoch is done."""

    def close(self) -> None:
        """Training has ended, or was interrupted."""


class Lines(Silent):
    """One line an epoch, written out at once: for files and pipes."""

    def __init__(self, last_epoch: int):
        self._last_epoch = last_epoch

    def end_epoch(self, record: dict[str, Any]) -> None:
        print(line(record, self._last_epoch), flush=True)


class Bar(Silent):
    """A bar over all epochs, with the loss, metrics, speed and time left; the lines of past epochs stay above it."""

    def __init__(self, first_epoch: int, last_epoch: int, images: int):
        from tqdm import tqdm

        total = (last_epoch - first_epoch) * images
        self._bar = tqdm(total=total, unit=" images", file=sys.stdout, leave=False, dynamic_ncols=True)
        self._last_epoch = last_epoch
        self._shown = time.perf_counter()

    def start_epoch(self, epoch: int) -> None:
        self._bar.set_description(f"epoch {epoch}/{self._last_epoch}")

    def batch(self, size: int, means: Means) -> None:
        now = time.perf_counter()
        if now - self._shown >= _REFRESH:
            self._shown = now
            self._bar.set_postfix_str(", ".join(f"{k} {v:.4f}" for k, v in means.result().items()), refresh=False)
        self._bar.update(size)

    def end_epoch(self, record: dict[str, Any]) -> None:
        self._bar.write(line(record, self._last_epoch), file=sys.stdout)

    def close(self) -> None:
        self._bar.close()


def line(record: dict[str, Any], last_epoch: int) -> str:
    """An epoch's record for people to read."""
    width = len(str(last_epoch))
    parts = [f"epoch {record['epoch']:>{width}}/{last_epoch}"]
    parts += [f"{k} {v:.4f}" for k, v in record.items() if k not in ("epoch", "images_per_second", "seconds", "lr")]
    return "  ".join([*parts, f"{record['images_per_second']:,.0f} images/s", f"{record['seconds']:.1f} s"])


def progress(shown: bool, first_epoch: int, last_epoch: int, images: int) -> Silent:
    """What fits standard output, for the epochs after `first_epoch` to `last_epoch` of `images` examples each."""
    # Programs without a console have no standard output.
    if not shown or sys.stdout is None:
        return Silent()
    if sys.stdout.isatty():
        return Bar(first_epoch, last_epoch, images)
    return Lines(last_epoch)
