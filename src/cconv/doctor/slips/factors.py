"""A gradient that is the right one times a number: what the number may be, and how it is said."""

from __future__ import annotations

import math

import numpy as np

from .point import Point

_PLAIN = ("factor:2", "factor:0.5")
_HINTS = {
    "sign": "turn the sign: backward gives gradients, the optimiser subtracts them",
    "averaged": "sum here: where the loss is a mean, grad_y holds the division already",
    "summed": "leave the factor out: backward gives the gradient of what forward computes",
    "factor": "",
}


def factors(point: Point, name: str, factor: float) -> dict[str, str]:
    """What a constant factor may be, by a key that is the same at other points."""

    def near(a: float, b: float) -> bool:
        return abs(a - b) <= 1e-5 * abs(b)

    sign = "with the wrong sign, and " if factor < 0 else ""
    size = abs(factor)
    if near(factor, -1):
        return {"sign": "the sign is wrong"}
    found = {}
    prefix = "sign+" if factor < 0 else ""
    for what, count in _counts(point, name):
        if count > 1 and near(size, 1 / count):
            found[f"{prefix}averaged:{what}"] = f"{sign}divided by {what}"
        elif count > 1 and near(size, count):
            found[f"{prefix}summed:{what}"] = f"{sign}multiplied by {what}"
    # A number that stays when the sizes change, such as a forgotten 2 of a square.
    number = f"{factor:.6g}"
    text = {"0.5": "it is half of what is due: a factor of 2 is missing", "2": "it is twice what is due"}.get(number)
    found[f"factor:{number}"] = text or f"it is {number} times what is due, everywhere"
    if 0 < size < 0.5 and near(10 ** round(math.log10(size)), size):
        found[f"factor:{number}"] += ": a learning rate?"
    return found


def _counts(point: Point, name: str) -> list[tuple[str, int]]:
    """What may have been averaged or summed over by mistake."""
    y, x, n = point.y, point.x, point.batch
    in_batch = y.ndim == 0 or y.shape[0] == n
    counts = [("the batch size", n)] if in_batch else []
    channels = y.shape[1] if y.ndim > 1 else 1
    places = y.size // (y.shape[0] * channels) if y.ndim > 2 else 1
    counts += [
        ("the number of output positions", places),
        ("the batch size times the number of output positions", n * places if places > 1 and n > 1 else 1),
        ("the number of output channels" if y.ndim > 2 else "the number of outputs", channels),
        ("the number of numbers in y", y.size if y.ndim > 1 and channels > 1 else 1),
        ("the square of the batch size", n * n if n > 1 else 1),
        ("the square of the number of output positions", places**2),
    ]
    if x.ndim > 1:
        counts.append(("the number of input channels" if x.ndim > 2 else "the number of inputs", x.shape[1]))
        counts.append(("the number of numbers in x", x.size if y.ndim == 0 else 1))
    for other, a in point.arrays.items():
        if other != "x" and a.ndim > 2:
            counts.append((f"the filter's area ({other})", math.prod(a.shape[2:])))
            counts.append((f"the number of taps of a filter ({other})", math.prod(a.shape[1:])))
    if len(point.arrays) == 1 and y.ndim > 2 and x.ndim == y.ndim:
        taps = {int(np.count_nonzero(row)) for row in point.columns("x", point.entries("x")).T if row.any()}
        if len(point.arrays["x"].reshape(-1)) <= 48 and len(taps) == 1:
            counts.append(("the number of cells of a window", taps.pop()))
        else:
            window = round(math.prod(x.shape[2:]) / max(1, places))
            counts.append(("the number of cells of a window", window))
    return [(what, count) for what, count in dict(counts).items() if count > 1]


def readings(factors: dict[str, str]) -> list[tuple[str, str, str]]:
    """Slip, text and hint of each way to read what `factors` gave."""
    # A size by its name, and by its number only where that is a likely slip.
    keys = [key for key in factors if not key.startswith("factor:")]
    keys += [key for key in factors if key.startswith("factor:") and (not keys or key in _PLAIN)]
    found = []
    for slip in dict.fromkeys(key.split(":")[0] for key in keys):
        text = _either([factors[key] for key in keys if key.split(":")[0] == slip])
        found.append((slip, text, "; ".join(_HINTS[part] for part in slip.split("+"))))
    return found


def _either(texts: list[str]) -> str:
    """One text of several that begin alike: 'divided by the batch size or by 2'."""
    start = texts[0].split(" by ")[0]
    if len(texts) == 1 or not all(t.startswith(start + " by ") for t in texts):
        return " or ".join(texts[:3])
    return f"{start} by " + " or by ".join(t[len(start) + 4 :] for t in texts[:3])
