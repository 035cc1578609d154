"""Checkpoints: when `fit` writes them, under which names, and which of them is read to go on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _state
from .._checks import FormatError, number
from .._shapes import whole
from .state import capture, restore

if TYPE_CHECKING:
    from .trainer import Trainer

_NAME = re.compile(r"checkpoint-(\d+)\.safetensors")
_METADATA = "cconv.training"


class Checkpoint:
    """A folder of checkpoints, and how often `Trainer.fit` writes one.

    One is written after each epoch, when training is interrupted, and in between as told here. Each is a safetensors
    file named by the number of batches, ``checkpoint-000001875.safetensors``, which stands complete on the disk before
    any older one goes. It holds the model's arrays under ``model/0.weight`` and so on, and whatever else the next
    batch depends on. Nothing that runs code is read from it.

    Parameters
    ----------
    folder : path-like
        Made if it is not there.
    every_batches : int, optional
        Write after so many batches, too.
    every_seconds : float, optional
        Write when so much time has passed since the last one; never if None.
    keep : int
        How many to keep, the newest.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        every_batches: int | None = None,
        every_seconds: float | None = 300.0,
        keep: int = 3,
    ):
        where = "Checkpoint"
        try:
            self.folder = Path(os.fsdecode(folder))
        except TypeError:
            raise TypeError(f"{where}: folder must be a path, got {folder!r}") from None
        self.every_batches = None if every_batches is None else whole(where, "every_batches", every_batches, 1)
        self.every_seconds = None if every_seconds is None else number(where, "every_seconds", every_seconds, 0)
        self.keep = whole(where, "keep", keep, 1)
        self._batches = 0
        self._last = time.monotonic()

    def files(self) -> list[Path]:
        """The checkpoints, the newest first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            found = [(int(m[1]), path) for path in self.folder.iterdir() if (m := _NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found, reverse=True)]

    def prepare(self) -> None:
        """Make the folder, and clear it of what a crash while writing left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _state.sweep(self.folder, _NAME.fullmatch, after=0)
        self._batches, self._last = 0, time.monotonic()

    def due(self, batches: int) -> bool:
        """Whether to write now that `batches` more are done."""
        self._batches += batches
        if self.every_batches is not None and self._batches >= self.every_batches:
            return True
        return self.every_seconds is not None and time.monotonic() - self._last >= self.every_seconds

    def write(self, trainer: Trainer) -> Path:
        """Write a checkpoint, then drop the oldest of those that are too many."""
        path = self.folder / f"checkpoint-{trainer.steps:09d}.safetensors"
        write(path, trainer)
        # Those of more batches are of a run that was gone back on: going on must not begin from them.
        files = self.files()
        at = files.index(path)
        for old in (*files[:at], *files[at + self.keep :]):
            old.unlink(missing_ok=True)
        self._batches, self._last = 0, time.monotonic()
        return path

    def newest(self) -> Saved | None:
        """The newest checkpoint that is whole, if there is one.

        Raises
        ------
        FormatError
            If there are checkpoints, and none can be read.
        """
        failures = []
        for path in self.files():
            try:
                saved = Saved.read(path)
            except FormatError as error:
                failures.append(str(error))
                continue
            for failure in failures:
                warnings.warn(f"{failure}: going on from {path.name}", stacklevel=4)
            return saved
        if failures:
            raise FormatError(f"{self.folder}: no checkpoint can be read: {'; '.join(failures)}")
        return None

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.folder)!r}, keep={self.keep})"


class Saved(NamedTuple):
    """What a checkpoint's file holds."""

    path: str
    arrays: dict[str, np.ndarray]
    plain: dict[str, Any]

    @classmethod
    def read(cls, path: str | os.PathLike) -> Saved:
        """Read a file; FormatError if it is none of a checkpoint, or damaged."""
        path = os.fspath(path)
        arrays, metadata = _state.load(path)
        if _METADATA not in metadata:
            raise FormatError(f"{path}: holds weights but no training to go on with: not a checkpoint")
        try:
            plain = json.loads(metadata[_METADATA])
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{path}: damaged: {error}") from error
        if not isinstance(plain, dict):
            raise FormatError(f"{path}: damaged: holds a {type(plain).__name__} in the place of a training")
        return cls(path, arrays, plain)

    def restore(self, trainer: Trainer) -> None:
        """Put `trainer` where the run was; all of it or nothing."""
        restore(trainer, self.arrays, self.plain, self.path)


def write(path: str | os.PathLike, trainer: Trainer) -> None:
    """Write a checkpoint, whole or not at all."""
    arrays, plain = capture(trainer)
    try:
        text = json.dumps(plain, default=_plain)
    except TypeError as error:
        raise TypeError(f"checkpoint: a state must be of arrays and plain values: {error}") from None
    _state.save(path, arrays, {_METADATA: text})


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy's, which a callback may have put into the history."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r}")
