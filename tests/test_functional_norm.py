"""Batch normalisation against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from cases import distance
from numpy.testing import assert_array_equal

from cconv import functional as F
from cconv import reference as R

pytestmark = pytest.mark.usefixtures("poison")

SHAPES = {
    "two images": (2, 1),
    "features": (9, 37),
    "many features": (3, 1100),
    "one channel": (4, 1, 3, 3),
    "one image": (1, 5, 6, 6),
    **{f"planes of {n}": (3, 7, n) for n in (2, 3, 7, 8, 9, 14, 15, 16, 17, 31, 32, 33, 64)},
    "narrow planes, many channels": (3, 130, 3, 3),
    "planes, many channels": (2, 70, 4, 5),
    "large planes": (2, 3, 40, 50),
    "three dimensions of a plane": (2, 3, 2, 3, 4),
}
BOUND = {"float32": 1e-5, "float64": 1e-13}


def drawn(shape, dtype, rng, given=False):
    x = (rng.normal(size=shape) * 2 + 1).astype(dtype)
    channels = shape[1]
    arrays = [rng.normal(size=channels), np.exp(rng.normal(size=channels))] if given else [None, None]
    arrays += [rng.normal(size=channels), rng.normal(size=channels)]
    return x, *(a if a is None else a.astype(dtype) for a in arrays)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_against_the_reference(name, given, isa, dtype, n_threads, rng):
    x, mean, var, weight, bias = drawn(SHAPES[name], dtype, rng, given)
    got, want = (M.batch_norm(x, mean, var, weight, bias, not given) for M in (F, R))
    for a, b in zip(got, want, strict=True):
        assert a.dtype == dtype and distance(a, b) < BOUND[dtype.name]
    grad_y = rng.normal(size=x.shape).astype(dtype)
    got, want = (M.batch_norm_backward(grad_y, x, *want[1:], weight, not given) for M in (F, R))
    for a, b in zip(got, want, strict=True):
        # Two values normalise to -1 and 1 whatever they are: their gradient is what rounding leaves.
        scale = max(1.0, float(np.abs(b).max()))
        assert a.dtype == dtype and np.abs(a - b).max() < 10 * BOUND[dtype.name] * scale


@pytest.mark.parametrize("name", SHAPES)
def test_exact_sums(name, isa, dtype, n_threads, rng):
    """Small integers: gradients under given statistics are exact, and the statistics but for a rounding."""
    shape = SHAPES[name]
    x = rng.integers(-8, 9, shape).astype(dtype)
    grad_y = rng.integers(-4, 5, shape).astype(dtype)
    mean, var = np.full(shape[1], 3, dtype), np.full(shape[1], 3, dtype)
    got, want = (M.batch_norm_backward(grad_y, x, mean, var, eps=1.0) for M in (F, R))
    for a, b in zip(got, want, strict=True):
        assert_array_equal(a, b)
    _, mean, var = F.batch_norm(x, training=True)
    _, want_mean, want_var = R.batch_norm(x, training=True)
    assert np.abs(mean - want_mean).max() < 8 * np.finfo(dtype).eps
    assert distance(var, want_var) < 8 * np.finfo(dtype).eps


@pytest.mark.parametrize("shape", [(64, 3), (8, 3, 16, 16), (8, 3, 3, 3)])
def test_a_mean_far_from_zero_leaves_the_variance(shape, isa, dtype, rng):
    x = (rng.normal(size=shape) + 1e4).astype(dtype)
    got, want = (M.batch_norm(x, training=True) for M in (F, R))
    for a, b in zip(got, want, strict=True):
        assert distance(a, b) < (1e-6 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("outlier", [1e6, -1e8])
def test_a_first_value_far_from_the_others(outlier, isa, dtype, rng):
    """It is the pivot of the sums."""
    x = rng.normal(size=(8, 2, 32, 32)).astype(dtype)
    x[0, :, 0, 0] = outlier
    got, want = (M.batch_norm(x, training=True) for M in (F, R))
    for a, b in zip(got, want, strict=True):
        assert distance(a, b) < (1e-6 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 5, 5)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_nan_and_infinity_stay_in_their_channel(shape, value, place, isa, dtype, rng):
    x, _, _, weight, bias = drawn(shape, dtype, rng)
    x[place, 2] = value
    got, want = (M.batch_norm(x, None, None, weight, bias, True) for M in (F, R))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    grad_y = rng.normal(size=shape).astype(dtype)
    got, want = (M.batch_norm_backward(grad_y, x, *want[1:], weight, True) for M in (F, R))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_infinity_under_given_statistics(isa, dtype, rng):
    """It reaches the weight's gradient alone: grad_x does not depend on x."""
    x, mean, var, weight, _ = drawn((3, 4, 5, 5), dtype, rng, given=True)
    x[1, 2, 0, 3] = np.inf
    grad_y = rng.normal(size=x.shape).astype(dtype)
    got, want = (M.batch_norm_backward(grad_y, x, mean, var, weight) for M in (F, R))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert np.isfinite(got[0]).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("needs", [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)])
def test_needs(needs, training, isa, dtype, rng):
    x, mean, var, weight, _ = drawn((3, 4, 5, 5), dtype, rng, given=True)
    grad_y = rng.normal(size=x.shape).astype(dtype)
    everything = F.batch_norm_backward(grad_y, x, mean, var, weight, training)
    some = F.batch_norm_backward(grad_y, x, mean, var, weight, training, needs=needs)
    for need, a, b in zip(needs, some, everything, strict=True):
        assert (a is None) == (not need)
        if need:
            assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 0), (2, 3, 0, 4)])
def test_nothing(shape, dtype):
    x, ones = np.zeros(shape, dtype), np.ones(shape[1], dtype)
    for M in (F, R):
        for training in (True, False):
            y, mean, var = M.batch_norm(x, ones, ones, training=training)
            assert y.shape == shape and mean.shape == var.shape == shape[1:2]
            assert (mean == (not training)).all() and (var == (not training)).all()
            grad_x, grad_weight, grad_bias = M.batch_norm_backward(x, x, mean, var, training=training)
            assert grad_x.shape == shape and not grad_weight.any() and not grad_bias.any()


def test_running_statistics_are_not_written(dtype, rng):
    x, mean, var, weight, bias = drawn((3, 4, 5, 5), dtype, rng, given=True)
    before = mean.copy(), var.copy()
    for training in (True, False):
        _, used_mean, used_var = F.batch_norm(x, mean, var, weight, bias, training)
        used_mean += 1
        used_var += 1
        assert_array_equal(mean, before[0])
        assert_array_equal(var, before[1])
