"""What each layer does, in numbers, as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Activity:
    """One layer at the last look; NaN where a number does not apply to it.

    Attributes
    ----------
    layer, kind : str
    size : float
        Root of the mean square of its outputs.
    active : float
        Of an activation: the share of its outputs above the middle of its range (a sigmoid's above one half), or above
        0 where it has no end. About half for a sigmoid, less for a ReLU.
    silent : float
        Of a ReLU and its like: the share of units that fired for none of the examples of the last looks.
    saturated : float
        Of a bounded activation: the share of its outputs at the ends of the range.
    gradient : float
        Root of the mean square of the loss's gradient with respect to its outputs.
    grad_to_weight, step_to_weight : float
        Sizes of the weight's gradient, and of what a step adds to it, over that of the weight.
    """

    layer: str
    kind: str
    size: float = math.nan
    active: float = math.nan
    silent: float = math.nan
    saturated: float = math.nan
    gradient: float = math.nan
    grad_to_weight: float = math.nan
    step_to_weight: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: None where a number does not apply."""
        numbers = {name: value for name, value in asdict(self).items() if name not in ("layer", "kind")}
        told = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {"layer": self.layer, "kind": self.kind, **told}


_HEAD = ("layer", "size", "active", "silent", "saturated", "gradient", "gradient/weight", "step/weight")


def table(layers: Sequence[Activity]) -> str:
    """A line for each layer."""
    rows: list[tuple[str, ...]] = [_HEAD]
    for each in layers:
        shares = (_share(each.active), _share(each.silent), _share(each.saturated))
        ratios = (_number(each.gradient), _number(each.grad_to_weight), _number(each.step_to_weight))
        rows.append((f"{each.layer} {each.kind}".strip(), _number(each.size), *shares, *ratios))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Iterable[str], widths: Sequence[int]) -> str:
    first, *others = row
    cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
    return "  ".join([f"{first:<{widths[0]}}", *cells]).rstrip()


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0%}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2g}"
