"""The picture of a training: the loss, and per layer activations and gradients over the steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .series import Histograms, Series

_WIDTH, _LOSS, _ROW = 9.0, 1.7, 0.95  # inches
_LABEL = 56
_NAMED = "tab:red"


def figure(series: Series, title: str, named: dict[str, str]) -> Any:
    """Draw with matplotlib.

    Parameters
    ----------
    series
    title : str
    named : dict of str to str
        What findings say of layers, by path.

    Returns
    -------
    matplotlib.figure.Figure
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('Report.plot: matplotlib is not installed: pip install "cconv[plot]"') from error
    rows = len(series.layers)
    drawn = plt.figure(figsize=(_WIDTH, _LOSS + 0.7 + _ROW * rows), layout="constrained")
    grid = drawn.add_gridspec(1 + rows, 2, height_ratios=[_LOSS, *[_ROW] * rows])
    drawn.suptitle(title, fontsize=10)
    _draw_loss(drawn.add_subplot(grid[0, :]), series.losses)
    for row, layer in enumerate(series.layers, 1):
        told = named.get(layer.path, "")
        for column, (histograms, colours) in enumerate(((layer.activations, "Blues"), (layer.gradients, "Oranges"))):
            ax = drawn.add_subplot(grid[row, column])
            draw_histograms(ax, histograms, colours)
            if row == 1:
                ax.set_title(("activations", "size of the gradient")[column], loc="right", fontsize=8, color="gray")
            if row < rows:
                ax.set_xticklabels([])
            else:
                ax.set_xlabel("step", fontsize=8)
            if column == 0:
                label = f"{layer.path} {layer.kind}".strip() + (f": {told}" if told else "")
                ax.set_title(
                    label if len(label) <= _LABEL else label[: _LABEL - 3] + "...",
                    loc="left",
                    fontsize=8,
                    color=_NAMED if told else "black",
                )
    drawn.supxlabel("the darker, the more of the numbers; grey: the share of exact zeros", fontsize=7, color="gray")
    return drawn


def _draw_loss(ax: Any, losses: list[float]) -> None:
    finite = [loss for loss in losses if math.isfinite(loss)]
    ax.plot(range(len(finite)), finite, color="black", linewidth=1.2)
    if len(finite) < len(losses):
        ax.axvline(len(finite), color=_NAMED, linestyle="--", linewidth=1)
        ax.annotate(
            f" {losses[-1]} in step {len(losses)}", (len(finite), 0.9), xycoords=("data", "axes fraction"),
            color=_NAMED, fontsize=8, va="top",
        )  # fmt: skip
    if finite and min(finite) > 0 and max(finite) > 50 * min(finite):
        ax.set_yscale("log")
    ax.set_xlim(-0.5, max(len(losses) - 0.5, 0.5))
    ax.set_title("loss", loc="left", fontsize=8)
    ax.tick_params(labelsize=7)


def draw_histograms(ax: Any, histograms: Histograms, colours: str) -> None:
    """A column a step, a row a bin; below sizes a row for zeros."""
    from matplotlib.colors import PowerNorm

    shares = histograms.shares.T
    steps = shares.shape[1]
    places = _places(histograms)
    # Shares differ by orders of magnitude, and few numbers count, too.
    norm = PowerNorm(0.4, 0, max(float(shares.max(initial=0)), 1e-3))
    across = np.arange(steps + 1) - 0.5
    ax.pcolormesh(across, places, np.ma.masked_equal(shares, 0), cmap=colours, norm=norm)
    ticks, labels = _ticks(histograms)
    if histograms.scale == "log":
        room = 0.2 * (places[-1] - places[0])
        below = np.array([places[0] - 1.6 * room, places[0] - 0.6 * room])
        ax.pcolormesh(across, below, histograms.zeros[None], cmap="Greys", vmin=0, vmax=1)
        ticks, labels = [below.mean(), *ticks], ["0", *labels]
        ax.set_ylim(below[0], places[-1])
    ax.set_yticks(ticks, labels)
    ax.tick_params(labelsize=6, length=2)


def _places(histograms: Histograms) -> np.ndarray:
    """Where edges are drawn: all bins have the same height."""
    if histograms.scale == "log":
        return np.log10(histograms.edges)
    return histograms.edges if histograms.scale == "linear" else np.linspace(-1, 1, len(histograms.edges))


def _ticks(histograms: Histograms) -> tuple[list[float], list[str]]:
    """A few values to label."""
    edges, places = histograms.edges, _places(histograms)
    if not histograms.shares.any():
        return [], []
    if histograms.scale == "log":
        low, high = round(places[0]), round(places[-1])
        middle = [(low + high) // 2] if high - low > 3 else []
        values = [low, *middle, high]
        return [float(v) for v in values], [f"1e{v}" for v in values]
    if histograms.scale == "symlog":
        quarter = len(edges) // 4
        chosen = [quarter // 2, len(edges) // 2, -1 - quarter // 2]
        return [float(places[i]) for i in chosen], [f"{edges[i]:.0e}" if i != chosen[1] else "0" for i in chosen]
    low, high = float(edges[0]), float(edges[-1])
    unit = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = next(unit * m for m in (1, 2, 5, 10) if (high - low) / (unit * m) <= 3)
    round_values = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return round_values, [f"{value:.6g}" for value in round_values]
