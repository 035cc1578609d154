"""Max and average pooling against the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from cases import distance
from numpy.testing import assert_array_equal

from cconv import functional as F
from cconv import reference as R

pytestmark = pytest.mark.usefixtures("poison")

INF, NAN = np.inf, np.nan

# Shape of x, kernel and options that both poolings share.
CASES = {
    "lenet": ((3, 6, 28, 28), 2, {}),
    "one number": ((1, 1, 1, 1), 1, {}),
    "whole plane": ((2, 3, 5, 4), (5, 4), {}),
    "no images": ((0, 3, 6, 6), 2, {}),
    "no channels": ((2, 0, 6, 6), 2, {}),
    "odd size": ((2, 3, 7, 9), 2, {}),
    "odd size, ceil": ((2, 3, 7, 9), 2, {"ceil_mode": True}),
    "overlapping": ((2, 3, 9, 8), 3, {"stride": 1}),
    "overlapping, padded": ((2, 3, 9, 8), 3, {"stride": 2, "padding": 1}),
    "overlapping, padded, ceil": ((2, 3, 8, 9), 3, {"stride": 2, "padding": 1, "ceil_mode": True}),
    "stride wider than the kernel": ((2, 3, 11, 12), 2, {"stride": (3, 4)}),
    "stride wider than the kernel, ceil": ((2, 3, 12, 11), (2, 1), {"stride": (5, 4), "ceil_mode": True}),
    "stride wider than the image": ((2, 2, 3, 4), 2, {"stride": 1000, "ceil_mode": True}),
    "kernel hangs over the end": ((2, 2, 3, 3), 5, {"stride": 3, "padding": 2, "ceil_mode": True}),
    "unequal padding": ((2, 3, 7, 8), (4, 5), {"stride": (2, 3), "padding": ((2, 0), (1, 2))}),
    "unequal padding, ceil": ((2, 3, 8, 7), (4, 5), {"stride": (3, 2), "padding": ((0, 2), (2, 1)), "ceil_mode": True}),
    "5x1": ((2, 3, 12, 6), (5, 1), {"padding": (2, 0)}),
    "1x4": ((2, 3, 6, 12), (1, 4), {"padding": (0, 2), "stride": (1, 2)}),
    "same": ((2, 3, 6, 7), (4, 3), {"stride": 1, "padding": "same"}),
    "one row": ((2, 3, 1, 40), (1, 3), {"stride": (1, 2)}),
    "one column": ((2, 3, 40, 1), (3, 1), {"stride": (2, 1)}),
    **{f"{w} columns out": ((1, 2, 3, 2 * w), 2, {}) for w in (7, 8, 15, 16, 17, 33)},
    # More than the 256 columns of a pass.
    "long rows": ((1, 2, 4, 600), 2, {}),
    "long rows, overlapping, padded": ((1, 2, 4, 530), 5, {"stride": (2, 1), "padding": 2}),
    "long rows, stride 3": ((1, 1, 4, 1700), 4, {"stride": 3, "padding": 1, "ceil_mode": True}),
}
DILATED = {
    "dilated": ((2, 3, 9, 10), 3, {"stride": 1, "dilation": 2}),
    "dilated, padded, strided": ((2, 3, 11, 12), (3, 4), {"stride": (2, 3), "dilation": (3, 2), "padding": (1, 2)}),
    "dilated, ceil": ((2, 2, 10, 9), 2, {"stride": 3, "dilation": (2, 5), "padding": 1, "ceil_mode": True}),
    "dilation that skips the padding": ((1, 2, 6, 5), 3, {"stride": 1, "dilation": 3, "padding": 1}),
}
# Every divisor of an average divides this number, so that shares are whole and sums exact.
SHARE = 3600


@cache
def maximum(name: str, dtype):
    """x with many ties, and the reference's results on it."""
    rng = np.random.default_rng(len(name))
    shape, kernel, options = (CASES | DILATED)[name]
    x = rng.integers(-3, 4, shape).astype(dtype)
    y, indices = R.max_pool2d(x, kernel, **options)
    grad_y = rng.integers(-4, 5, y.shape).astype(dtype)
    return x, grad_y, y, indices, R.max_pool2d_backward(grad_y, indices, shape)


@pytest.mark.parametrize("name", CASES | DILATED)
def test_max(name, isa, dtype, n_threads):
    shape, kernel, options = (CASES | DILATED)[name]
    x, grad_y, y, indices, grad_x = maximum(name, dtype)
    got, where = F.max_pool2d(x, kernel, **options)
    assert_array_equal(got, y)
    assert_array_equal(where, indices)
    back = F.max_pool2d_backward(grad_y, where, shape)
    assert_array_equal(back, grad_x)
    assert (got.dtype, where.dtype, back.dtype) == (dtype, np.int64, dtype)
    assert got.flags.c_contiguous and where.flags.c_contiguous and back.flags.c_contiguous


@cache
def average(name: str, include_pad: bool, dtype):
    rng = np.random.default_rng(len(name))
    shape, kernel, options = CASES[name]
    x = rng.integers(-9, 10, shape).astype(dtype)
    y = R.avg_pool2d(x, kernel, **options, count_include_pad=include_pad)
    grad_y = SHARE * rng.integers(-4, 5, y.shape).astype(dtype)
    grad_x = R.avg_pool2d_backward(grad_y, shape, kernel, **options, count_include_pad=include_pad)
    return x, grad_y, y, grad_x


@pytest.mark.parametrize("name", CASES)
def test_average(name, isa, dtype, n_threads):
    shape, kernel, options = CASES[name]
    for include_pad in (True, False):
        x, grad_y, y, grad_x = average(name, include_pad, dtype)
        got = F.avg_pool2d(x, kernel, **options, count_include_pad=include_pad)
        back = F.avg_pool2d_backward(grad_y, shape, kernel, **options, count_include_pad=include_pad)
        assert_array_equal(got, y)
        assert_array_equal(back, grad_x)
        assert got.dtype == back.dtype == dtype
        assert got.flags.c_contiguous and back.flags.c_contiguous


@pytest.mark.parametrize("name", CASES)
def test_average_of_normal_numbers(name, isa, dtype, rng):
    shape, kernel, options = CASES[name]
    x = rng.normal(size=shape).astype(dtype)
    y = R.avg_pool2d(x, kernel, **options)
    grad_y = rng.normal(size=y.shape).astype(dtype)
    bound = 1e-6 if dtype == np.float32 else 2e-15
    assert distance(F.avg_pool2d(x, kernel, **options), y) < bound
    back = F.avg_pool2d_backward(grad_y, shape, kernel, **options)
    assert distance(back, R.avg_pool2d_backward(grad_y, shape, kernel, **options)) < bound


# Shape of x and output size.
ADAPTIVE = {
    "whole plane": ((3, 5, 7, 7), 1),
    "whole narrow plane": ((3, 5, 2, 2), 1),
    "whole large plane": ((2, 3, 31, 33), (1, 1)),
    "rows": ((2, 3, 9, 40), (4, 1)),
    "even shares": ((2, 3, 8, 12), (4, 3)),
    "overlapping shares": ((2, 3, 7, 11), (3, 4)),
    "more than there are": ((2, 3, 3, 2), (5, 7)),
    "as it is": ((2, 3, 5, 6), None),
    "one kept": ((2, 3, 5, 6), (None, 2)),
    "no images": ((0, 3, 5, 6), 2),
    "no channels": ((2, 0, 5, 6), 2),
    "one number": ((1, 1, 1, 1), 1),
    "wide": ((1, 2, 3, 600), (2, 7)),
}
# Every share's size divides this number.
EVEN = 5040


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive(name, isa, dtype, n_threads, rng):
    shape, output_size = ADAPTIVE[name]
    x = rng.integers(-9, 10, shape).astype(dtype)
    y = F.adaptive_avg_pool2d(x, output_size)
    assert_array_equal(y, R.adaptive_avg_pool2d(x, output_size))
    grad_y = EVEN * rng.integers(-4, 5, y.shape).astype(dtype)
    back = F.adaptive_avg_pool2d_backward(grad_y, shape)
    assert distance(back, R.adaptive_avg_pool2d_backward(grad_y, shape)) < 2 * np.finfo(dtype).eps
    assert y.dtype == back.dtype == dtype


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_maximum(name, isa, dtype, n_threads, rng):
    shape, output_size = ADAPTIVE[name]
    for value in (0, NAN, INF, -INF):
        x = rng.integers(-3, 4, shape).astype(dtype)
        x[rng.random(shape) < 0.3] = value
        y, indices = F.adaptive_max_pool2d(x, output_size)
        for got, want in zip((y, indices), R.adaptive_max_pool2d(x, output_size), strict=True):
            assert_array_equal(got, want)
            assert got.dtype == want.dtype
        grad_y = rng.integers(-4, 5, y.shape).astype(dtype)
        back = F.adaptive_max_pool2d_backward(grad_y, indices, shape)
        assert_array_equal(back, R.adaptive_max_pool2d_backward(grad_y, indices, shape))
        assert back.dtype == dtype


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_of_nan_and_infinity(name, isa, dtype, rng):
    shape, output_size = ADAPTIVE[name]
    for value in (NAN, INF):
        x = rng.integers(-3, 4, shape).astype(dtype)
        x[rng.random(shape) < 0.1] = value
        assert_array_equal(F.adaptive_avg_pool2d(x, output_size), R.adaptive_avg_pool2d(x, output_size))


@pytest.mark.parametrize("name", [*CASES, *DILATED])
def test_max_of_nan_and_infinity(name, isa, dtype, rng):
    shape, kernel, options = (CASES | DILATED)[name]
    for value in (NAN, INF, -INF):
        x = rng.integers(-3, 4, shape).astype(dtype)
        x[rng.random(shape) < 0.4] = value
        got, indices = F.max_pool2d(x, kernel, **options)
        y, expected = R.max_pool2d(x, kernel, **options)
        assert_array_equal(got, y)
        assert_array_equal(indices, expected)


@pytest.mark.parametrize("name", CASES)
def test_average_of_nan_and_infinity(name, isa, dtype, rng):
    shape, kernel, options = CASES[name]
    for value in (NAN, INF):
        x = rng.integers(-3, 4, shape).astype(dtype)
        x[rng.random(shape) < 0.1] = value
        y = R.avg_pool2d(x, kernel, **options)
        assert_array_equal(F.avg_pool2d(x, kernel, **options), y)
        grad_y = SHARE * np.where(np.isfinite(y), 1, y)
        grad_x = R.avg_pool2d_backward(grad_y, shape, kernel, **options)
        assert_array_equal(F.avg_pool2d_backward(grad_y, shape, kernel, **options), grad_x)


class TestByHand:
    """A few places where a tie, a NaN or minus infinity decides."""

    def test_the_first_maximum_wins(self, isa, dtype):
        x = np.array([[5, 1, 7, 7], [5, 5, 7, 2]], dtype)[None, None]
        y, indices = F.max_pool2d(x, 2)
        assert_array_equal(y, [[[[5, 7]]]])
        assert_array_equal(indices, [[[[0, 2]]]])

    def test_the_last_nan_wins(self, isa, dtype):
        x = np.array([[NAN, INF, 3, NAN], [NAN, 9, 1, 2]], dtype)[None, None]
        y, indices = F.max_pool2d(x, 2)
        assert_array_equal(y, [[[[NAN, NAN]]]])
        assert_array_equal(indices, [[[[4, 3]]]])

    def test_minus_infinity_alone_has_a_valid_index(self, isa, dtype):
        x = np.full((1, 1, 3, 3), -INF, dtype)
        y, indices = F.max_pool2d(x, 3, stride=2, padding=1)
        assert_array_equal(y, np.full((1, 1, 2, 2), -INF))
        assert_array_equal(indices, [[[[0, 1], [3, 4]]]])

    def test_overlapping_windows_add_up(self, isa, dtype):
        x = np.array([[1, 9, 2]], dtype)[None, None]
        _, indices = F.max_pool2d(x, (1, 2), stride=1)
        assert_array_equal(F.max_pool2d_backward(np.array([[[[10, 5]]]], dtype), indices, x.shape), [[[[0, 15, 0]]]])

    def test_padding_counts_in_an_average_or_not(self, isa, dtype):
        x = np.full((1, 1, 2, 2), 4, dtype)
        assert_array_equal(F.avg_pool2d(x, 2, stride=2, padding=1), np.full((1, 1, 2, 2), 1))
        assert_array_equal(F.avg_pool2d(x, 2, stride=2, padding=1, count_include_pad=False), x)
