"""Batch, group and layer normalisation against the reference."""

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


# Groups and rows -----------------------------------------------------------------------------------------------------

GROUPS = {
    "features": ((9, 12), 4),
    "one number a group": ((5, 3), 3),
    "planes": ((3, 6, 5, 7), 2),
    "one group": ((2, 6, 9, 9), 1),
    "instances": ((3, 5, 6, 6), 5),
    **{f"planes of {n}": ((3, 4, n), 2) for n in (2, 7, 15, 16, 17, 31, 32, 33)},
    "many channels": ((2, 300, 3), 3),
    "three dimensions of a plane": ((2, 4, 2, 3, 4), 2),
}
ROWS = {
    **{f"rows of {n}": ((5, n), n) for n in (1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 200)},
    "two dimensions": ((4, 3, 5), (3, 5)),
    "rows of rows": ((4, 3, 20), 20),
    "everything": ((3, 4), (3, 4)),
    "images": ((3, 4, 6, 6), (4, 6, 6)),
    "many rows": ((301, 9), 9),
}
KINDS = [*(("group_norm", *GROUPS[name]) for name in GROUPS), *(("layer_norm", *ROWS[name]) for name in ROWS)]


def weights_of(name, shape, option, dtype, rng):
    size = shape[1:2] if name == "group_norm" else np.atleast_1d(option)
    return rng.normal(size=size).astype(dtype), rng.normal(size=size).astype(dtype)


@pytest.mark.parametrize("affine", ["weight and bias", "weight", "bias", "neither"])
@pytest.mark.parametrize(("name", "shape", "option"), KINDS)
def test_groups_and_rows_against_the_reference(name, shape, option, affine, isa, dtype, n_threads, rng):
    x = (rng.normal(size=shape) * 2 + 1).astype(dtype)
    weight, bias = weights_of(name, shape, option, dtype, rng)
    weight, bias = weight if "weight" in affine else None, bias if "bias" in affine else None
    got, want = (getattr(M, name)(x, option, weight, bias) for M in (F, R))
    assert got.dtype == dtype and got.shape == shape and np.abs(got - want).max() < 10 * BOUND[dtype.name]
    grad_y = rng.normal(size=shape).astype(dtype)
    got, want = (getattr(M, f"{name}_backward")(grad_y, x, option, weight) for M in (F, R))
    for a, b in zip(got, want, strict=True):
        # Two values normalise to -1 and 1 whatever they are: their gradient is what rounding leaves.
        scale = max(1.0, float(np.abs(b).max()))
        assert a.dtype == dtype and a.shape == b.shape and a.flags.c_contiguous
        assert np.abs(a - b).max() < 20 * BOUND[dtype.name] * scale


@pytest.mark.parametrize(("name", "shape", "option"), KINDS)
def test_needs_of_groups_and_rows(name, shape, option, dtype, rng):
    x, grad_y = rng.normal(size=(2, *shape)).astype(dtype)
    weight, _ = weights_of(name, shape, option, dtype, rng)
    backward = getattr(F, f"{name}_backward")
    everything = backward(grad_y, x, option, weight)
    for needs in [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)]:
        for need, a, b in zip(needs, backward(grad_y, x, option, weight, needs=needs), everything, strict=True):
            assert (a is None) == (not need)
            if need:
                assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "shape", "option"),
    [("group_norm", (4, 6, 9, 9), 3), ("group_norm", (4, 6, 3), 2), ("layer_norm", (5, 70), 70)],
)
def test_a_mean_far_from_zero_leaves_the_variance_of_rows(name, shape, option, isa, dtype, rng):
    x, grad_y = (rng.normal(size=shape) + 1e4).astype(dtype), rng.normal(size=shape).astype(dtype)
    weight, bias = weights_of(name, shape, option, dtype, rng)
    got, want = (getattr(M, name)(x, option, weight, bias) for M in (F, R))
    assert distance(got, want) < (1e-6 if dtype == np.float32 else 1e-10)
    got, want = (getattr(M, f"{name}_backward")(grad_y, x, option, weight) for M in (F, R))
    for a, b in zip(got, want, strict=True):
        assert distance(a, b) < (2e-6 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize(
    ("name", "shape", "option"),
    [("group_norm", (4, 6, 5, 5), 3), ("group_norm", (4, 6, 3), 2), ("layer_norm", (5, 70), 70)],
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 2])
def test_nan_and_infinity_stay_in_their_row(name, shape, option, value, place, isa, dtype, rng):
    x, grad_y = rng.normal(size=(2, *shape)).astype(dtype)
    x[1].reshape(-1)[place] = value
    got, want = (getattr(M, name)(x, option) for M in (F, R))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    got, want = (getattr(M, f"{name}_backward")(grad_y, x, option) for M in (F, R))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "shape", "option"),
    [("group_norm", (0, 4, 3), 2), ("group_norm", (2, 0), 1), ("group_norm", (2, 4, 0), 2), ("layer_norm", (0, 3), 3)],
)
def test_groups_and_rows_of_nothing(name, shape, option, dtype):
    x = np.zeros(shape, dtype)
    for M in (F, R):
        assert getattr(M, name)(x, option).shape == shape
        grad_x, grad_weight, grad_bias = getattr(M, f"{name}_backward")(x, x, option)
        assert grad_x.shape == shape and grad_weight.shape == grad_bias.shape == shape[1:2]
        assert not grad_weight.any() and not grad_bias.any()
