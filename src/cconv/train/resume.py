"""Where a call of `Trainer.fit` begins: anew, where the trainer is, or where a checkpoint says."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._checks import FormatError
from ..data import Loader
from .checkpoint import Checkpoint, Saved
from .sources import Source

if TYPE_CHECKING:
    from .trainer import Trainer


def begin_call(trainer: Trainer, where: str, saver: Checkpoint | None, resume: Any) -> bool:
    """Number the call, and go to where it was stopped.

    False where it was over when the checkpoint was written, by a later call of the same script, which will go on.
    """
    call = trainer._calls + 1
    saved = _saved(where, saver, resume)
    if saver is not None:
        saver.prepare()
        if saved is None and os.path.realpath(saver.folder) not in trainer._written and saver.files():
            raise ValueError(
                f"{where}: {saver.folder} holds checkpoints of an earlier run: give resume=True to go on with it, "
                "or another folder"
            )
    # A checkpoint of an earlier call holds less than there is now.
    number = call if saved is None else saved.plain.get("call")
    if type(number) is not int:
        raise FormatError(f"{saved.path}: damaged: call is {number!r}")  # type: ignore[union-attr]
    if saved is not None and number >= call:
        seed = saved.plain.get("seed")
        if trainer._seed_given and seed != trainer.seed:
            raise ValueError(f"{where}: seed was {seed} in {saved.path}, is {trainer.seed}")
        saved.restore(trainer)
        if trainer.progress and sys.stdout is not None:
            print(
                f"going on from {saved.path}: {trainer.epoch} epochs and {trainer._at.batch} batches done", flush=True
            )
        if trainer._at.call > call:
            trainer._calls = call
            return False
    else:
        trainer._at.call, trainer._at.call_epoch = call, trainer.epoch
    if saver is not None:
        trainer._written.add(os.path.realpath(saver.folder))
    return True


def check_data(trainer: Trainer, where: str, train: Source, resume: bool) -> None:
    """An epoch in progress goes on with the data that it began with, or not at all."""
    at = trainer._at
    before = at.data or {}
    if resume and isinstance(train, Loader) and not train.seed_given and "seed" in before:
        train.reseed(before["seed"])
    at.data = data = train.fingerprint()
    if at.batch and data != before:
        names = [name for name in data | before if data.get(name) != before.get(name)]
        changed = ", ".join(f"{name} was {before.get(name)}, is {data.get(name)}" for name in names)
        if resume:
            raise ValueError(f"{where}: an epoch in progress cannot go on with other data: {changed}")
        warnings.warn(f"{where}: the epoch in progress begins anew: {changed}", stacklevel=3)
        at.forget_epoch()


def _saved(where: str, saver: Checkpoint | None, resume: Any) -> Saved | None:
    if resume is None or resume is False:
        return None
    if resume is True:
        if saver is None:
            raise ValueError(f"{where}: resume=True needs checkpoint, the folder to go on from")
        return saver.newest()
    path = Path(os.fsdecode(resume))
    if not path.is_dir():
        return Saved.read(path)
    saved = Checkpoint(path).newest()
    if saved is None:
        raise FileNotFoundError(f"{where}: there is no checkpoint in {path}")
    return saved
