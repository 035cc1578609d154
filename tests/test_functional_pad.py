"""Padding against the reference, NumPy and PyTorch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cconv import functional as F
from cconv import reference as R

pytestmark = pytest.mark.usefixtures("poison")

NUMPYS = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
SIZES = [
    (0, 0),
    (1, 2),
    (4, 0, 0, 3),
    (2, 4, 3, 1),
    (3, 3, 2, 2),
    (0, 0, 0, 0, 1, 2),
    (1, 0, 2, 3, 2, 1, 1, 0),
]
SHAPES = [(3, 4, 4, 5), (2, 3, 7, 6), (3, 3, 4, 9)]


@pytest.mark.parametrize("mode", NUMPYS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_the_reference_and_numpy(shape, sizes, mode, dtype, rng):
    x = rng.integers(-9, 10, shape).astype(dtype)
    y = F.pad(x, sizes, mode)
    assert_array_equal(y, R.pad(x, sizes, mode))
    widths = [(0, 0)] * (4 - len(sizes) // 2) + [sizes[i : i + 2] for i in range(len(sizes) - 2, -1, -2)]
    assert_array_equal(y, np.pad(x, widths, NUMPYS[mode]))
    assert y.dtype == dtype and y.flags.c_contiguous and not np.shares_memory(y, x)
    grad_y = rng.integers(-9, 10, y.shape).astype(dtype)
    before = grad_y.copy()
    grad_x = F.pad_backward(grad_y, shape, sizes, mode)
    assert_array_equal(grad_x, R.pad_backward(grad_y, shape, sizes, mode))
    assert_array_equal(grad_y, before)
    assert grad_x.dtype == dtype and grad_x.flags.c_contiguous and not np.shares_memory(grad_x, grad_y)


@pytest.mark.parametrize("sizes", [(-1, 2), (2, -3, -1, 0), (-2, -2, -3, -1), (-3, -2), (9, 9, -6, 9)], ids=str)
def test_cuts_off(sizes, dtype, rng):
    x = rng.integers(-9, 10, (2, 3, 6, 5)).astype(dtype)
    y = F.pad(x, sizes, value=np.inf)
    assert_array_equal(y, R.pad(x, sizes, value=np.inf))
    grad_y = rng.integers(-9, 10, y.shape).astype(dtype)
    assert_array_equal(F.pad_backward(grad_y, x.shape, sizes), R.pad_backward(grad_y, x.shape, sizes))


@pytest.mark.parametrize("mode", NUMPYS)
def test_the_widest_border_that_a_mode_has(mode, rng):
    most = {"reflect": 3, "circular": 4}.get(mode, 11)
    for sizes in itertools.product((0, 1, most), repeat=4):
        x = rng.integers(-9, 10, (2, 4, 4)).astype(float)
        y = F.pad(x, sizes, mode)
        assert_array_equal(y, R.pad(x, sizes, mode))
        assert_array_equal(F.pad_backward(y, x.shape, sizes, mode), R.pad_backward(y, x.shape, sizes, mode))


@pytest.mark.parametrize("mode", NUMPYS)
def test_batches_of_nothing_and_other_layouts(mode, rng):
    assert F.pad(np.ones((0, 2, 3)), (1, 1), mode).shape == (0, 2, 5)
    assert F.pad_backward(np.ones((0, 2, 5)), (0, 2, 3), (1, 1), mode).shape == (0, 2, 3)
    x = rng.normal(size=(5, 4, 3)).transpose(2, 1, 0)
    assert_array_equal(F.pad(x.astype(">f8"), [1, 2], mode), R.pad(x, (1, 2), mode))


@pytest.mark.parametrize("mode", NUMPYS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_copied(mode, value, dtype, rng):
    x = rng.normal(size=(2, 2, 4, 5)).astype(dtype)
    x[0, 0, 0, 1] = x[1, 1, 3, 3] = value
    y = F.pad(x, (2, 2, 1, 3), mode)
    assert_array_equal(y, R.pad(x, (2, 2, 1, 3), mode))
    got, want = (M.pad_backward(y, x.shape, (2, 2, 1, 3), mode) for M in (F, R))
    assert_array_equal(np.isfinite(got), np.isfinite(want))
    assert_array_equal(got[~np.isfinite(want)], want[~np.isfinite(want)])
