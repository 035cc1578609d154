"""Callbacks that write figures down: lines of JSON, TensorBoard's files."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._shapes import whole


class JsonLines:
    """Write a line of JSON an epoch to a file, written out at once.

    An epoch's line is its record in the history: ``{"epoch": 1, "loss": 0.52, "accuracy": 0.81, ...}``. What is not
    finite is null. A run that goes on from a checkpoint drops the lines that came after it, and writes them anew.

    Parameters
    ----------
    path : path-like
        Replaced when a new run writes its first line.
    every : int, optional
        Also a line every so many batches: ``{"epoch": 1, "batch": 100, "loss": 0.61, "lr": 0.001}``, with the loss of
        that batch.
    append : bool
        Write behind what the file holds.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """

    def __init__(self, path: str | os.PathLike, *, every: int | None = None, append: bool = False):
        self.path = os.fspath(path)
        self.every = None if every is None else whole("JsonLines", "every", every, 1)
        folder = os.path.dirname(os.path.abspath(self.path))
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"JsonLines: no such folder to write to: {folder}")
        self._end: int | None = None  # bytes of this run and those before it
        self._append = append
        self._batch = 0  # of the epoch at hand
        self._ready = False  # whether the file ends where the next line goes

    def on_batch_end(self, trainer: Any, batch: int, loss: float) -> None:
        # A step that takes several batches counts them all.
        before, self._batch = self._batch, batch
        if self.every is not None and batch // self.every > before // self.every:
            self._write({"epoch": trainer.epoch + 1, "batch": batch, "loss": loss, "lr": trainer.optimizer.lr})

    def on_epoch_end(self, trainer: Any, record: Mapping[str, Any]) -> None:
        self._batch = 0
        self._write(record)

    def state_dict(self) -> dict[str, Any]:
        return {"end": self._end, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        # The file is cut when there is a line to write: a run that does not go on leaves it as it is.
        self._end, self._ready = None if state["end"] is None else int(state["end"]), False
        self._batch = int(state["batch"])

    def _write(self, record: Mapping[str, Any]) -> None:
        import json  # takes as long to import as much of cconv

        text = json.dumps(plain(record), allow_nan=False)
        if not self._ready:
            self._prepare()
        # One write a line: whatever happens, the file holds whole lines.
        with open(self.path, "ab", buffering=0) as file:
            file.write(text.encode() + b"\n")
            self._end = file.tell()

    def _prepare(self) -> None:
        """Leave the lines that this run goes on from."""
        if self._end is not None and os.path.exists(self.path):
            with open(self.path, "r+b") as file:
                # After a crash of the machine what was written may be missing, or end within a line.
                file.truncate(file.read(self._end).rfind(b"\n") + 1)
        elif not self._append:
            with open(self.path, "wb"):
                pass
        self._ready = True


class TensorBoard:
    """Write figures for TensorBoard: an epoch's by epoch, and a batch's loss and learning rate by batch.

    Needs tensorboardX: ``pip install "cconv[tensorboard]"``. A run that goes on from a checkpoint hides the points that
    came after it.

    Parameters
    ----------
    folder : path-like
        Made if need be. Batches go to a folder ``batches`` in it, a run of its own in TensorBoard.
    every : int, optional
        Also every so many batches.

    Raises
    ------
    ImportError
        If tensorboardX is not installed.
    """

    def __init__(self, folder: str | os.PathLike, *, every: int | None = None):
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise ImportError('TensorBoard: tensorboardX is not installed: pip install "cconv[tensorboard]"') from error
        self.folder = os.fspath(folder)
        self.every = None if every is None else whole("TensorBoard", "every", every, 1)
        self._done = {"epochs": 0, "batches": 0}
        self._resumed = False
        self._writers: dict[str, Any] = {}

    def on_batch_end(self, trainer: Any, batch: int, loss: float) -> None:
        self._done["batches"] += 1
        step = self._done["batches"]
        if self.every is not None and step % self.every == 0:
            writer = self._writer("batches")
            writer.add_scalar("loss", loss, step)
            writer.add_scalar("lr", trainer.optimizer.lr, step)

    def on_epoch_end(self, trainer: Any, record: Mapping[str, Any]) -> None:
        writer = self._writer("epochs")
        for name, value in record.items():
            if name != "epoch" and isinstance(value, (int, float)):
                writer.add_scalar(name, value, record["epoch"])
        self._done["epochs"] = int(record["epoch"])
        for open_writer in self._writers.values():
            open_writer.flush()

    def on_fit_end(self, trainer: Any) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
        self._resumed = False

    def state_dict(self) -> dict[str, Any]:
        return dict(self._done)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.on_fit_end(None)
        self._done = {name: int(state[name]) for name in self._done}
        self._resumed = True

    def _writer(self, name: str) -> Any:
        if name not in self._writers:
            from tensorboardX import SummaryWriter

            folder = self.folder if name == "epochs" else os.path.join(self.folder, name)
            purge = self._done[name] + (name == "epochs") if self._resumed else None
            # Files are told apart by the second they were made in, and read in the order of their names.
            self._writers[name] = SummaryWriter(folder, purge_step=purge, filename_suffix=f".{time.time_ns()}")
        return self._writers[name]


def plain(value: Any) -> Any:
    """`value` as JSON has it: arrays as lists, and None for what is not finite."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
