"""Linear maps against the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from cases import distance
from numpy.testing import assert_array_equal

from cconv import functional as F
from cconv import reference as R

pytestmark = pytest.mark.usefixtures("poison")

RESULTS = ("y", "grad_x", "grad_weight", "grad_bias")

# Images, features in, features out: around the kernel's registers, tiles (16 x 24 results) and passes (512 terms
# forward, 128 backward).
SHAPES = [
    *((0, 5, 3), (1, 1, 1), (1, 400, 120), (3, 84, 10), (64, 400, 10)),
    *((2, features, 5) for features in (2, 7, 8, 15, 16, 17, 31, 33, 63, 65, 511, 512, 513, 1100)),
    *((3, 20, outputs) for outputs in (2, 7, 23, 24, 25, 47, 49, 130)),
    *((images, 9, 6) for images in (15, 16, 17, 33, 127, 128, 129, 300)),
    *((130, 70, 260), (29, 3, 57), (60, 33, 60)),
]


def run(module, x, weight, bias, grad_y):
    return module.linear(x, weight, bias), *module.linear_backward(grad_y, x, weight)


@cache
def arrays_and_results(shape, integers: bool, dtype):
    rng = np.random.default_rng(0)
    n, features, outputs = shape
    shapes = (n, features), (outputs, features), (outputs,), (n, outputs)
    arrays = [(rng.integers(-4, 5, s) if integers else rng.normal(size=s)).astype(dtype) for s in shapes]
    return arrays, run(R, *arrays)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_integers_are_exact(shape, isa, dtype, n_threads):
    arrays, expected = arrays_and_results(shape, True, dtype)
    for result, got, want in zip(RESULTS, run(F, *arrays), expected, strict=True):
        assert got.dtype == dtype and got.flags.c_contiguous
        assert_array_equal(got, want, err_msg=result)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_normal_numbers_are_close(shape, isa, dtype, threads):
    threads(2)
    arrays, expected = arrays_and_results(shape, False, dtype)
    for result, got, want in zip(RESULTS, run(F, *arrays), expected, strict=True):
        assert distance(got, want) < (2e-6 if dtype == np.float32 else 4e-15), result


@pytest.mark.parametrize(
    "needs", [(True, False, False), (False, True, False), (False, False, True), (False, False, False)]
)
def test_only_needed_gradients_come(needs, isa, dtype):
    (x, weight, _, grad_y), (_, *expected) = arrays_and_results((60, 33, 60), True, dtype)
    for need, result, want in zip(needs, F.linear_backward(grad_y, x, weight, needs), expected, strict=True):
        if need:
            assert_array_equal(result, want)
        else:
            assert result is None


def test_without_a_bias(isa, dtype):
    (x, weight, _, _), _ = arrays_and_results((29, 3, 57), True, dtype)
    assert_array_equal(F.linear(x, weight), R.linear(x, weight))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("argument", range(4))
@pytest.mark.parametrize("shape", [(3, 20, 25), (29, 3, 57), (130, 70, 260)], ids=str)
def test_nan_and_infinity_spread_as_in_the_reference(shape, argument, value, isa, dtype, rng):
    arrays = [a.copy() for a in arrays_and_results(shape, True, dtype)[0]]
    arrays[argument].flat[rng.integers(arrays[argument].size, size=2)] = value
    expected = run(R, *arrays)
    assert not all(np.isfinite(want).all() for want in expected)
    for result, got, want in zip(RESULTS, run(F, *arrays), expected, strict=True):
        assert_array_equal(got, want, err_msg=result)
