"""Slips in taking an activation's derivative."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .activations import IDENTITY, SIGMOID, TANH, Activation, same


def delta_factors(act: Activation, z: np.ndarray, y: np.ndarray) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
    """Ways to take an activation's derivative: the right one, and slips. The factor multiplies grad_y."""
    slope = act.slope(z)
    yield ("", "", ""), slope
    if act is IDENTITY:
        return
    yield missing(act), np.ones_like(slope)
    if not same(act.slope(y), slope):
        yield at_output(act), act.slope(y)
    if act in (SIGMOID, TANH) and act.of_output is not None:
        yield formula_at_input(act), act.of_output(z)
    if not same(slope * slope, slope):
        yield twice(act), slope * slope


def missing(act: Activation) -> tuple[str, str, str]:
    """Slip, text and hint of a derivative that is left out."""
    factor = f"({act.formula})" if " " in act.formula else act.formula
    return (
        "derivative_missing",
        f"the derivative of the {act.name} is missing",
        f"multiply grad_y by {factor} first, and use the product for every gradient",
    )


def at_output(act: Activation) -> tuple[str, str, str]:
    """Slip, text and hint of a derivative taken at y."""
    hint = f"take it at the weighted input; in terms of the output it is {act.formula}"
    if act.name == "sigmoid":
        return (
            "derivative_at_output",
            "the derivative of the sigmoid is taken at its output: sigma'(sigma(z)) where sigma'(z) is due",
            hint,
        )
    return "derivative_at_output", f"the derivative of the {act.name} is taken at its output, f'(f(z)) for f'(z)", hint


def formula_at_input(act: Activation) -> tuple[str, str, str]:
    """Slip, text and hint of a formula in y that is given z."""
    wrong = act.formula.replace("y", "z")
    return (
        "derivative_formula_at_input",
        f"the derivative of the {act.name} is computed as {wrong} with z the input of the {act.name}, not its output",
        f"{act.formula} is meant for the output y",
    )


def twice(act: Activation) -> tuple[str, str, str]:
    """Slip, text and hint of a derivative multiplied in twice."""
    return (
        "derivative_twice",
        f"the derivative of the {act.name} is multiplied in twice",
        "multiply grad_y by it once",
    )
