"""What is said of a wrong gradient without trying slips: of its shape, of grad_y's part in it, and where none fits."""

from __future__ import annotations

import math

import numpy as np

from .diagnosis import Diagnosis
from .point import Point, near


def of_another_shape(point: Point) -> list[Diagnosis]:
    """What a grad_x of the wrong shape is."""
    given = [found["x"] for found in point.given]
    found = []
    for name, array in point.arrays.items():
        order = np.arange(array.size).reshape(array.shape)
        layouts = {"": order}
        if name == "x":
            layouts = {"transposed": order.T, "reshaped": order}
        elif array.ndim > 1:
            layouts["transposed"] = order.T
        for how, layout in layouts.items():
            if all(g is not None and g.size == array.size for g in given) and _equals(point, name, layout, given):
                if name == "x":
                    slip, text, hint = "transposed", f"what is returned is grad_x {how}", "give it the shape of x"
                    if how == "reshaped":
                        slip = "not_reshaped"
                else:
                    slip, text = "swapped", f"what is returned is the gradient of {name}, {how}".rstrip(", ")
                    hint = "grad_x is due: grad_y times the weight; the gradient of a parameter goes to its add_grad"
                found.append(Diagnosis("", "", "x", slip, text, hint, 0.0))
                break
        if found:
            return found
    x = point.x
    for axis in range(x.ndim):
        rest = x.shape[:axis] + x.shape[axis + 1 :]
        for word, by in (("summed", 1.0), ("averaged", 1.0 / x.shape[axis])):
            lines = np.moveaxis(np.arange(x.size).reshape(x.shape), axis, -1).reshape(-1, x.shape[axis])[:12]
            if all(
                g is not None
                and g.size == math.prod(rest)
                and near(
                    g.reshape(-1)[: len(lines)],
                    by * point.numeric("x", point.gs[j], lines.reshape(-1)).reshape(lines.shape).sum(1),
                )
                for j, g in enumerate(given)
            ):
                what = "the examples" if axis == 0 else f"axis {axis}"
                text = f"what is returned is grad_x {word} over {what}"
                return [Diagnosis("", "", "x", f"{word}_over_axis", text, "each number of x has its own gradient", 0.0)]
    return []


def _equals(point: Point, name: str, order: np.ndarray, given: list[np.ndarray | None]) -> bool:
    places = np.random.default_rng(0).permutation(order.size)[:24]
    return all(
        g is not None and near(g.reshape(-1)[places], point.numeric(name, point.gs[j], order.reshape(-1)[places]))
        for j, g in enumerate(given)
    )


def not_linear(point: Point, name: str) -> list[Diagnosis]:
    """Gradients that do not depend on grad_y as they must: linearly."""
    first, second = (point.given[j][name] for j in (0, 1))
    double = point.back(2 * point.gs[0])[name]
    if first is None or second is None or double is None or not first.any():
        return []
    if not all(np.isfinite(a).all() for a in (first, second, double)):
        return []
    if np.allclose(first, second, rtol=1e-9, atol=0):
        indices = point.entries(name)
        plain = point.numeric(name, np.ones_like(point.y), indices)
        exactly = np.allclose(first.reshape(-1)[indices], plain, rtol=1e-5, atol=1e-9)
        text = "it does not depend on grad_y" + (": it is the derivative of y alone" if exactly else "")
        return [Diagnosis("", "", name, "ignores_grad_y", text, "multiply by grad_y (the chain rule)", 0.0)]
    if not np.allclose(double, 2 * first, rtol=1e-6, atol=1e-9 * float(np.abs(first).max())):
        text = "it is not proportional to grad_y"
        hint = "grad_y is the gradient of the loss to y: multiply by it once, and do nothing else with it"
        if np.allclose(double, 4 * first, rtol=1e-6):
            text = "grad_y is multiplied in twice"
        elif np.allclose(double, first, rtol=1e-6):
            text = "only the sign of grad_y counts"
        return [Diagnosis("", "", name, "not_linear_in_grad_y", text, hint, 0.0)]
    return []


def unknown(point: Point, name: str) -> Diagnosis:
    """What can be said where no slip fits: where it is right, and where it is wrong."""
    indices = point.entries(name)
    given = point.given[0][name]
    text = "not one of the slips known here"
    if given is not None and len(indices):
        values, right = given.reshape(-1)[indices], point.numeric(name, point.gs[0], indices)
        if values.astype(np.float32).astype(np.float64).tolist() == values.tolist() and np.allclose(
            values, right, rtol=1e-4, atol=1e-5 * float(np.abs(right).max())
        ):
            text = "it is right to the digits of float32: something in the layer computes in float32"
            return Diagnosis("", "", name, "float32", text, "keep the dtype of x: no astype, no np.float32 array", 0.0)
        good = np.isclose(values, right, rtol=1e-5, atol=1e-8 * float(np.abs(right).max()))
        if 0 < good.sum() < len(good):
            text += f": {_where(point.arrays[name].shape, indices, good, values)}"
    return Diagnosis("", "", name, "unknown", text, "", math.nan)


def _where(shape: tuple[int, ...], indices: np.ndarray, good: np.ndarray, values: np.ndarray) -> str:
    places = np.array(np.unravel_index(indices, shape))
    wrong = "zero" if not values[~good].any() else "wrong"
    if len(shape) > 2:
        inside = [(places[a] > 0) & (places[a] < shape[a] - 1) for a in range(2, len(shape)) if shape[a] > 2]
        border = ~np.logical_and.reduce(inside) if inside else np.zeros(len(good), bool)
        if border.any() and good[~border].all():
            return f"{wrong} at the border alone, so look at the padding"
    for axis in range(len(shape)):
        for step in range(2, min(shape[axis], 5)):
            for rest in range(step):
                on = places[axis] % step == rest
                if (good == on).all():
                    return (
                        f"right at every {step}. place along axis {axis} from {rest} on, {wrong} elsewhere: the stride?"
                    )
        for index in range(shape[axis]):
            on = places[axis] == index
            if (good == on).all() or (good == ~on).all():
                which = "right" if good[on].all() else wrong
                return f"{which} at index {index} of axis {axis} alone"
    return f"right at {int(good.sum())} of {len(good)} entries looked at, {wrong} at the others"
