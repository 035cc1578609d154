"""Activations and gradients of layers over the steps of a training, as histograms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .._random import generator
from ..nn.layer import Layer
from .checks.case import PASSING
from .cures import told
from .descent import descent
from .experiment import Experiment
from .watch import Call, Watched

BINS = 48
LAYERS = 12
_NUMBERS = 4096  # of an array, chosen at random, that stand for it
_DECADES = 12  # of gradients' sizes


@dataclass
class Histograms:
    """One histogram a step, all with the same bins.

    Attributes
    ----------
    edges : array (bins + 1,)
        Numbers outside count in the first and the last bin.
    shares : array (steps, bins)
        Of all numbers of a step; what is missing to 1 is zero (of sizes), NaN or infinite.
    zeros : array (steps,)
        The share of exact zeros.
    scale : {"linear", "symlog", "log"}
        How bins are spaced: "log" is of sizes, without their signs.
    """

    edges: np.ndarray
    shares: np.ndarray
    zeros: np.ndarray
    scale: str


@dataclass
class LayerSeries:
    """A layer over the steps.

    Attributes
    ----------
    path, kind : str
    activations : Histograms
        Of its outputs.
    gradients : Histograms
        Of the sizes of the loss's gradient with respect to its outputs.
    """

    path: str
    kind: str
    activations: Histograms
    gradients: Histograms


@dataclass
class Series:
    """What `Report.plot` draws.

    Attributes
    ----------
    losses : list of float
        It ends early with one that is not finite.
    layers : list of LayerSeries
        In the order in which they are called.
    """

    losses: list[float] = field(default_factory=list)
    layers: list[LayerSeries] = field(default_factory=list)


def series(experiment: Experiment, steps: int, named: Iterable[str] = (), most: int = LAYERS) -> Series:
    """Run the training as it is, with its layers watched.

    Parameters
    ----------
    experiment
    steps : int
    named : iterable of str
        Paths of layers that must be among those chosen.
    most : int
        Layers with parameters and activations, chosen evenly where there are more.

    Raises
    ------
    ValueError
        If a step raises.
    """
    losses: list[float] = []
    chosen: list[tuple[str, str]] = []
    kept: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    with experiment.started(steps) as setting:
        model = setting.model
        for batch in setting.batches:
            with Watched(model) as watched:
                try:
                    for value, _ in descent(model, setting.loss, setting.optimizer, [batch], setting.clip_norm):
                        losses.append(value)
                        if not math.isfinite(value):
                            break
                except Exception as error:
                    raise ValueError(f"Report.plot: step {len(losses)} of the training raises {told(error)}") from error
            calls = _calls(watched.leaves)
            if not chosen:
                chosen = _chosen([(call.path, call.kind) for call in calls.values()], set(named), most)
                kept = {path: ([], []) for path, _ in chosen}
            for path, (outputs, gradients) in kept.items():
                outputs.append(_some(calls[path].y) if path in calls else np.empty(0))
                gradients.append(_some(calls[path].grad_y) if path in calls else np.empty(0))
            if not math.isfinite(losses[-1]):
                break
    layers = [LayerSeries(path, kind, _of_values(kept[path][0]), _of_sizes(kept[path][1])) for path, kind in chosen]
    return Series(losses, layers)


def _calls(leaves: list[Call]) -> dict[str, Call]:
    """The first call of each layer with parameters, and of each activation."""
    found: dict[str, Call] = {}
    for call in leaves:
        if call.plain and call.y.dtype.kind == "f" and (call.layer.parameters() or _activation(call.layer, call)):
            found.setdefault(call.path, call)
    return found


def _activation(layer: Layer, call: Call) -> bool:
    return call.x.shape == call.y.shape and not isinstance(layer, PASSING)


def _chosen(layers: list[tuple[str, str]], named: set[str], most: int) -> list[tuple[str, str]]:
    must = [i for i, (path, _) in enumerate(layers) if path in named][:most]
    rest = [i for i in range(len(layers)) if i not in must]
    room = min(most - len(must), len(rest))
    even = [rest[i] for i in np.linspace(0, len(rest) - 1, room).round().astype(int)] if room else []
    return [layers[i] for i in sorted({*must, *even})]


def _some(array: object) -> np.ndarray:
    """Numbers that stand for an array's, in float64."""
    if not isinstance(array, np.ndarray):
        return np.empty(0)
    flat = array.reshape(-1)
    if flat.size > _NUMBERS:
        flat = flat[generator(0).integers(flat.size, size=_NUMBERS)]
    return flat.astype(np.float64)


def _of_values(steps: Sequence[np.ndarray]) -> Histograms:
    finite = [numbers[np.isfinite(numbers)] for numbers in steps]
    every = np.concatenate([*finite, np.zeros(1)])
    sizes = [float(np.percentile(np.abs(numbers), 99)) for numbers in finite if numbers.any()]
    if sizes and max(sizes) > 100 * min(sizes):
        # They grow or shrink on the way: the same bins must show both.
        unit = max(min(sizes), 1e-6 * max(sizes)) / 3
        top = np.arcsinh(max(sizes) / unit)
        return _counted(steps, unit * np.sinh(np.linspace(-top, top, BINS + 1)), "symlog")
    low, high = (float(v) for v in np.percentile(every, (0.5, 99.5)))
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = -1.0, 1.0
    margin = 0.06 * (high - low)
    return _counted(steps, np.linspace(low - margin, high + margin, BINS + 1), "linear")


def _of_sizes(steps: Sequence[np.ndarray]) -> Histograms:
    sizes = [np.abs(numbers) for numbers in steps]
    every = np.concatenate(sizes)
    every = every[np.isfinite(every) & (every > 0)]
    high = math.ceil(np.log10(every.max())) if every.size else 0
    low = max(math.floor(np.log10(np.percentile(every, 1))), high - _DECADES) if every.size else -1
    edges = np.logspace(min(low, high - 1), high, BINS + 1)
    return _counted([numbers[numbers != 0] for numbers in sizes], edges, "log", sizes)


def _counted(
    steps: Sequence[np.ndarray], edges: np.ndarray, scale: str, every: Sequence[np.ndarray] | None = None
) -> Histograms:
    every = steps if every is None else every
    shares = [
        np.histogram(np.clip(numbers[np.isfinite(numbers)], edges[0], edges[-1]), edges)[0] / max(whole.size, 1)
        for numbers, whole in zip(steps, every, strict=True)
    ]
    zeros = [np.count_nonzero(numbers == 0) / max(numbers.size, 1) for numbers in every]
    return Histograms(edges, np.array(shares), np.array(zeros), scale)
