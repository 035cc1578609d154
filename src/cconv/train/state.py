"""The whole state of a training run, as arrays and plain values: what makes a continued run give the same bits."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _random
from .._checks import FormatError
from .history import History
from .metrics import Means

if TYPE_CHECKING:
    from .trainer import Trainer

_FORMAT = 1

Arrays = dict[str, np.ndarray]
Plain = dict[str, Any]


@dataclasses.dataclass
class Position:
    """Where a run is, beside the epochs and batches that the trainer counts."""

    call: int = 0  # number of the call of `fit`, from 1
    call_epoch: int = 0  # epochs that were done when it began
    data: Plain | None = None  # fingerprint of what it trains on
    # Of the epoch in progress.
    batch: int = 0
    images: int = 0
    seconds: float = 0.0
    means: Means | None = None

    def forget_epoch(self) -> None:
        """No epoch is in progress."""
        self.batch, self.images, self.seconds, self.means = 0, 0, 0.0, None


def capture(trainer: Trainer) -> tuple[Arrays, Plain]:
    """Copies of all that the next batch depends on."""
    arrays: Arrays = {}
    parts = {name: _split(name, part.state_dict(), arrays) for name, part in _parts(trainer)}
    for path, layer in _layers(trainer.model):
        state = layer.get_extra_state()
        if state:
            name = f"layer.{path}"
            parts[name] = _split(name, state, arrays)
    plain = {
        "format": _FORMAT,
        "kinds": _kinds(trainer),
        "parts": parts,
        "epoch": trainer.epoch,
        "steps": trainer.steps,
        "stop": trainer.stop,
        "seed": trainer.seed,
        "history": list(trainer.history),
        "call": trainer._at.call,
        "call_epoch": trainer._at.call_epoch,
        "data": trainer._at.data,
        "batch": trainer._at.batch,
        "images": trainer._at.images,
        "seconds": trainer._at.seconds,
        "default_generator": _random.default_state(),
    }
    return arrays, plain


def restore(trainer: Trainer, arrays: Mapping[str, np.ndarray], plain: Plain, where: str) -> None:
    """Take over what `capture` gave, all of it or nothing.

    Raises
    ------
    FormatError
        If it does not fit the trainer.
    """
    if plain.get("format") != _FORMAT:
        raise FormatError(f"{where}: a checkpoint of format {plain.get('format')!r}, expected {_FORMAT}")
    before = capture(trainer)
    try:
        _apply(trainer, arrays, plain)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError) as error:
        _apply(trainer, *before)
        found = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise FormatError(f"{where}: not a checkpoint of this training: {found}") from error


def _apply(trainer: Trainer, arrays: Mapping[str, np.ndarray], plain: Plain) -> None:
    kinds = _kinds(trainer)
    for name in ("optimizer", "schedule", "ema"):
        kind, now = plain["kinds"].get(name), kinds.get(name)
        if kind != now:
            raise ValueError(f"{name} was {kind}, is {now}")
    parts: dict[str, Plain] = plain["parts"]
    for name, part in _parts(trainer):
        # Means are made below, of the metrics that the trainer has now; a callback may be new.
        if name != "means" and (name in parts or not name.startswith("callbacks.")):
            part.load_state_dict(_joined(name, parts[name], arrays))
    for path, layer in _layers(trainer.model):
        name = f"layer.{path}"
        layer.set_extra_state(_joined(name, parts[name], arrays) if name in parts else {})
    means = None
    if "means" in parts:
        means = Means(trainer._metrics)
        means.load_state_dict(_joined("means", parts["means"], arrays))
    counts = {name: _count(plain, name) for name in ("epoch", "steps", "batch", "images", "call", "call_epoch", "seed")}
    if counts["call_epoch"] > counts["epoch"]:
        raise ValueError(f"call_epoch is {counts['call_epoch']}, after {counts['epoch']} epochs")
    if not (plain["data"] is None or isinstance(plain["data"], dict)):
        raise ValueError(f"data is {plain['data']!r}")
    history = History(dict(record) for record in plain["history"])
    if len(history) != counts["epoch"]:
        raise ValueError(f"{len(history)} records in the history of {counts['epoch']} epochs")
    stop, seconds, data = bool(plain["stop"]), float(plain["seconds"]), plain["data"]
    _random.set_default_state(plain["default_generator"])
    trainer.epoch, trainer.steps, trainer.stop = counts["epoch"], counts["steps"], stop
    trainer.seed = counts["seed"]
    trainer._at = Position(
        counts["call"], counts["call_epoch"], data, counts["batch"], counts["images"], seconds, means
    )
    # The same object: whoever holds it sees the epochs that come.
    trainer.history[:] = history


def _parts(trainer: Trainer) -> Iterator[tuple[str, Any]]:
    """What has a state of its own, by name."""
    yield "model", trainer.model
    yield "optimizer", trainer.optimizer
    for name in ("schedule", "ema"):
        part = getattr(trainer, name)
        if part is not None:
            yield name, part
    seen: Counter[str] = Counter()
    for callback in trainer.callbacks:
        if hasattr(callback, "state_dict"):
            kind = type(callback).__name__
            yield f"callbacks.{kind}.{seen[kind]}", callback
            seen[kind] += 1
    if trainer._at.means is not None:
        yield "means", trainer._at.means


def _kinds(trainer: Trainer) -> dict[str, str]:
    return {name: type(part).__name__ for name, part in _parts(trainer) if name not in ("model", "means")}


def _layers(model: Any) -> list[tuple[str, Any]]:
    return model.named_layers() if hasattr(model, "named_layers") else []


def _count(plain: Plain, name: str) -> int:
    value = plain[name]
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is {value!r}, expected a whole number")
    return value


def _split(name: str, state: Mapping[str, Any], arrays: Arrays) -> Plain:
    """Put the arrays of `state` into `arrays`, and return its plain values."""
    plain = {}
    for key, value in state.items():
        if isinstance(value, np.ndarray):
            arrays[f"{name}/{key}"] = value.copy()
        else:
            plain[key] = value.item() if isinstance(value, np.generic) else value
    return plain


def _joined(name: str, plain: Plain, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The state that `_split` took apart."""
    prefix = f"{name}/"
    return dict(plain) | {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}


class Volatile:
    """What a batch changes before the update: running statistics, random counters. Put back where a batch fails."""

    def __init__(self, model: Any):
        self._buffers = [buffer for _, buffer in model.named_buffers()] if hasattr(model, "named_buffers") else []
        self._layers = [layer for _, layer in _layers(model) if layer.get_extra_state()]
        self.keep()

    def keep(self) -> None:
        """Remember what is now."""
        self._values = [buffer.value.copy() for buffer in self._buffers]
        self._states = [layer.get_extra_state() for layer in self._layers]

    def put_back(self) -> None:
        """Make it as it was at the last `keep`."""
        for buffer, value in zip(self._buffers, self._values, strict=True):
            buffer.value = value
        for layer, state in zip(self._layers, self._states, strict=True):
            layer.set_extra_state(state)
