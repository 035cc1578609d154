"""What a layer's forward and backward promise beside right numbers, and whether they keep it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...nn.layer import Parameter

Forward = Callable[[np.ndarray], tuple[Any, Callable[..., Any]]]

# What a layer may do whose gradients are right, as long as it is used once at a time.
LATER_CALL = "later_call"

# Outputs of a pooling that ties are tried at.
_OUTPUTS = 32


class Breach(NamedTuple):
    """A promise that is not kept: about which array ("" for none), a slip's name, what is wrong, what to do."""

    array: str
    slip: str
    text: str
    hint: str


class Found(NamedTuple):
    """grad_x, None if it has the wrong shape, and what breaks the rules of `Layer.forward`."""

    grad_x: np.ndarray | None
    breaches: list[Breach]


def breaches(
    forward: Forward, x: np.ndarray, parameters: list[tuple[str, Parameter]], projection: np.ndarray, loss: bool
) -> Found:
    """Run a layer once and again, and look at what it changes; leaves each parameter's gradient in its `grad`."""
    found: list[Breach] = []
    before, values = x.copy(), [p.value.copy() for _, p in parameters]
    _, backward = forward(x)
    given: Any = projection.copy() if projection.ndim else float(projection)
    try:
        grad_x = backward(given)
    except ValueError as error:
        if "broadcast" in str(error):
            error.add_note(
                "gradcheck: a gradient must have its array's shape: is one not summed over examples or positions?"
            )
        raise
    if not np.array_equal(x, before, equal_nan=True):
        hint = "compute on a copy: `y = x * 2`, not `x *= 2`"
        found.append(Breach("x", "x_changed", "forward or backward changes x, which belongs to the caller", hint))
        x[...] = before
    if not np.array_equal(given, projection):
        text = "backward changes grad_y, which belongs to the caller"
        found.append(Breach("x", "grad_y_changed", text, "another layer may read it: compute on a copy"))
    for (name, p), value in zip(parameters, values, strict=True):
        if not np.array_equal(p.value, value, equal_nan=True):
            text = f"{name}: backward changes its value"
            hint = "only add to its gradient: updates are the optimiser's"
            found.append(Breach(name, "value_changed", text, hint))
            p.value[...] = value
    if grad_x is None or np.shape(grad_x) != x.shape:
        got = "None" if grad_x is None else f"shape {np.shape(grad_x)}"
        text = f"backward returns {got} for grad_x, expected shape {x.shape}"
        hint = "`return grad_x` at its end" if grad_x is None else ""
        found.append(Breach("x", "not_returned" if grad_x is None else "wrong_shape", text, hint))
        grad_x = None
    grad_x = None if grad_x is None else np.array(grad_x, np.float64)
    if parameters:
        found += not_added(forward, x, parameters, projection)
    if not loss and not any(b.slip in ("value_changed", "x_changed") for b in found):
        found += _later_call(forward, x, parameters, projection, grad_x)
        found += _ties(forward, x, parameters)
    return Found(grad_x, found)


def only_float32(forward: Forward, x: np.ndarray) -> bool:
    """Whether y holds nothing but float32 numbers where x does not."""
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        y = np.asarray(forward(x * (1 + 1e-4 * rng.random(x.shape)))[0])
        # Some fractions are float32 numbers of themselves.
        return bool((y == y.astype(np.float32)).all() and (4096 * y != np.round(4096 * y)).any())


def not_added(
    forward: Forward, x: np.ndarray, parameters: list[tuple[str, Parameter]], projection: np.ndarray
) -> list[Breach]:
    """Whether a second backward adds to gradients; leaves them as they are."""
    found = []
    once = [p.grad.copy() for _, p in parameters]
    _, backward = forward(x)
    backward(projection.copy(), need_x=False)
    for (name, p), grad in zip(parameters, once, strict=True):
        if not np.allclose(p.grad, 2 * grad, rtol=1e-9, atol=0, equal_nan=True):
            text = f"{name}: a second backward(grad_y, need_x=False) does not add the same gradient again"
            overwritten = np.allclose(p.grad, grad, rtol=1e-9, atol=0, equal_nan=True)
            hint = "`+=` or add_grad, where now `=` forgets what was there" if overwritten else ""
            found.append(Breach(name, "overwritten" if overwritten else "not_repeatable", text, hint))
        p.grad = grad
    return found


def _later_call(
    forward: Forward,
    x: np.ndarray,
    parameters: list[tuple[str, Parameter]],
    projection: np.ndarray,
    grad_x: np.ndarray | None,
) -> list[Breach]:
    """Whether another call of forward between a forward and its backward changes the gradients."""
    grads = [p.grad.copy() for _, p in parameters]
    expected = [grad_x, *grads]
    for _, p in parameters:
        p.zero_grad()
    try:
        _, backward = forward(x)
        forward(0.9 * np.flip(x))
        found = [backward(projection.copy()), *(p.grad.copy() for _, p in parameters)]
    except Exception:
        # A layer that does not take this other input, or that says by itself that it must not be called so.
        found = expected
    finally:
        for (_, p), grad in zip(parameters, grads, strict=True):
            p.grad = grad.copy()
    for a, b in zip(found, expected, strict=True):
        if b is not None and not np.array_equal(np.asarray(a), b, equal_nan=True) and not _close(a, b):
            text = "backward works with what a later call of forward left behind"
            hint = "keep what backward needs in variables of forward, not in attributes: a layer may be used twice"
            return [Breach("", LATER_CALL, text, hint)]
    return []


def _close(a: Any, b: np.ndarray) -> bool:
    return np.shape(a) == b.shape and bool(np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True))


def _ties(forward: Forward, x: np.ndarray, parameters: list[tuple[str, Parameter]]) -> list[Breach]:
    """Where several numbers of a window share the maximum, the error must arrive once in all."""
    if parameters or x.ndim < 2:
        return []
    y = np.asarray(forward(x)[0])
    if not 0 < y.size < x.size or not np.isin(y, x).all():
        return []
    rng = np.random.default_rng(0)
    tied = rng.integers(0, 2, x.shape).astype(np.float64)
    try:
        y = np.asarray(forward(tied)[0])
        places = rng.permutation(y.size)[:_OUTPUTS]
        sums, counts = [], []
        for place in places:
            grad_y = np.zeros(y.size)
            grad_y[place] = 1
            _, backward = forward(tied)
            grad = np.asarray(backward(grad_y.reshape(y.shape)))
            sums.append(grad.sum())
            counts.append(np.count_nonzero(grad))
            if (tied[grad != 0] != y.reshape(-1)[place]).any():
                return []
    except Exception:
        return []
    if np.allclose(sums, counts) and max(sums) > 1.5:
        text = "x: where several numbers share the maximum, each of them gets the whole error"
        return [Breach("x", "ties", text, "give it to one of them, the first: argmax, not `x == max`")]
    return []
