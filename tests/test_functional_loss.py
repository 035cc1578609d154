"""Losses against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cconv import functional as F
from cconv import reference as R

pytestmark = pytest.mark.usefixtures("poison")

INF, NAN = np.inf, np.nan
REDUCTIONS = ("mean", "sum", "none")
CLOSE = {"float32": 2e-6, "float64": 4e-15}
SHAPES = [(1, 1), (3, 2), (5, 10), (2, 16), (4, 17), (2, 33), (2, 1000), (3, 4, 5), (2, 3, 2, 2), (300, 10)]


def close(got, expected, dtype, scale=1.0):
    """Within the rounding of terms as large as `scale`."""
    assert got.dtype == dtype and np.shape(got) == np.shape(expected)
    assert_allclose(got, expected, rtol=CLOSE[dtype.name], atol=CLOSE[dtype.name] * scale)


def gradient(reduction, losses, rng):
    """A gradient of the loss: a number, or an array for "none"."""
    return np.asarray(rng.normal(size=losses.shape), losses.dtype) if reduction == "none" else 1.75


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["labels", "soft", "one-hot"])
def test_cross_entropy(kind, shape, isa, dtype, n_threads, rng):
    logits = np.asarray(4 * rng.normal(size=shape), dtype)
    labels = rng.integers(shape[1], size=(shape[0], *shape[2:]))
    one_hot = np.moveaxis(np.eye(shape[1], dtype=int)[labels], -1, 1)
    target = {"labels": labels, "soft": np.asarray(rng.random(shape), dtype), "one-hot": one_hot}[kind]
    terms = shape[1] if kind == "soft" else 1
    for reduction in REDUCTIONS:
        losses = R.cross_entropy(logits, target, reduction=reduction)
        close(F.cross_entropy(logits, target, reduction=reduction), losses, dtype, 20 * terms)
        grad_loss = gradient(reduction, losses, rng)
        back = F.cross_entropy_backward(grad_loss, logits, target, reduction=reduction)
        assert back.flags.c_contiguous
        close(back, R.cross_entropy_backward(grad_loss, logits, target, reduction=reduction), dtype, terms)


def test_labels_and_one_hot_give_one_loss(isa, dtype, rng):
    logits, labels = rng.normal(size=(6, 4)).astype(dtype), rng.integers(4, size=6)
    assert_allclose(
        F.cross_entropy(logits, labels), F.cross_entropy(logits, np.eye(4)[labels].astype(dtype)), rtol=1e-6
    )
    for labels_dtype in (np.int8, np.uint8, np.int32, np.uint64, ">i8"):
        assert F.cross_entropy(logits, labels.astype(labels_dtype)) == F.cross_entropy(logits, labels)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["mse_loss", "binary_cross_entropy_with_logits"])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 4, 5), (20, 1000)], ids=str)
def test_elementwise_losses(name, shape, reduction, isa, dtype, n_threads, rng):
    x, target = np.asarray(3 * rng.normal(size=shape), dtype), np.asarray(rng.random(shape), dtype)
    losses = getattr(R, name)(x, target, reduction=reduction)
    close(getattr(F, name)(x, target, reduction=reduction), losses, dtype)
    grad_loss = gradient(reduction, losses, rng)
    back = getattr(F, f"{name}_backward")(grad_loss, x, target, reduction=reduction)
    close(back, getattr(R, f"{name}_backward")(grad_loss, x, target, reduction=reduction), dtype)


def test_small_losses_keep_their_digits(isa, dtype):
    """A confident and right answer costs exp(-|x|), however far that lies below one unit in the last place of x."""
    x, target = np.array([-30, 30, -80, 5], dtype), np.array([0, 1, 0, 1], dtype)
    losses = F.binary_cross_entropy_with_logits(x, target, reduction="none")
    assert_allclose(losses, np.log1p(np.exp([-30.0, -30, -80, -5])), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_at_the_edges(reduction, isa, dtype):
    """NaN and infinity come as in the reference, and in silence."""
    big = np.finfo(dtype).max / 4  # whose square overflows
    x, target = np.meshgrid(np.array([NAN, INF, -INF, 0, big, -big, 1], dtype), np.array([0, 1, 0.5], dtype))
    for name in ("mse_loss", "binary_cross_entropy_with_logits"):
        assert_allclose(
            getattr(F, name)(x, target, reduction=reduction),
            getattr(R, name)(x, target, reduction=reduction),
            rtol=1e-6,
        )
        back = getattr(F, f"{name}_backward")(1.0, x, target, reduction=reduction)
        assert_allclose(back, getattr(R, f"{name}_backward")(1.0, x, target, reduction=reduction), rtol=1e-6)


@pytest.mark.parametrize(
    "row",
    [[NAN, 0, 0], [INF, 0, 0], [0, INF, 0], [-INF, 0, 0], [0, -INF, 0], [-INF, -INF, -INF], [1e30, -1e30, 0]],
    ids=str,
)
def test_cross_entropy_at_the_edges(row, isa, dtype):
    logits, labels = np.array([row, [0, 0, 0]], dtype), np.array([0, 2])
    for target in (labels, np.eye(3, dtype=dtype)[labels]):
        assert_array_equal(
            F.cross_entropy(logits, target, reduction="none")[0], R.cross_entropy(logits, target, reduction="none")[0]
        )
        got = F.cross_entropy_backward(1.0, logits, target, reduction="sum")
        assert_allclose(got, R.cross_entropy_backward(1.0, logits, target, reduction="sum"), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2), (2, 3, 0)])
def test_losses_over_nothing(shape, isa, dtype):
    x, labels = np.zeros(shape, dtype), np.zeros((shape[0], *shape[2:]), int)
    for target in (labels, x):
        assert np.isnan(F.cross_entropy(x, target)) and F.cross_entropy(x, target, reduction="sum") == 0
        assert F.cross_entropy(x, target, reduction="none").shape == labels.shape
        for reduction in REDUCTIONS:
            assert F.cross_entropy_backward(1.0, x, target, reduction=reduction).shape == shape
    for name in ("mse_loss", "binary_cross_entropy_with_logits"):
        assert np.isnan(getattr(F, name)(x, x)) and getattr(F, name)(x, x, reduction="sum") == 0
        assert getattr(F, f"{name}_backward")(1.0, x, x).shape == shape
