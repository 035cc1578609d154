"""Activations and softmax: against the reference, at the edges of the range, and to the unit in the last place."""

from __future__ import annotations

import numpy as np
import pytest
from cases import distance
from numpy.testing import assert_allclose, assert_array_equal

from cconv import functional as F
from cconv import reference as R
from cconv.functional.activation import added

pytestmark = pytest.mark.usefixtures("poison")

INF, NAN = np.inf, np.nan

# Name, what backward takes besides grad_y, options.
ELEMENTWISE = [
    ("relu", "y", {}),
    ("leaky_relu", "x", {}),
    ("leaky_relu", "x", {"negative_slope": 0.3}),
    ("sigmoid", "y", {}),
    ("tanh", "y", {}),
    ("softplus", "x", {}),
    ("softplus", "x", {"beta": 2.5, "threshold": 1.0}),
    ("elu", "x", {}),
    ("elu", "x", {"alpha": 0.3}),
    ("gelu", "x", {}),
    ("gelu", "x", {"approximate": "tanh"}),
    ("silu", "x", {}),
    ("hardswish", "x", {}),
    ("hardtanh", "x", {}),
    ("hardtanh", "x", {"min_val": 0, "max_val": 6}),
    ("hardsigmoid", "x", {}),
]
# Around registers, and around the 16,384 numbers of a task.
SIZES = [(0,), (), (1,), (2, 3), (7,), (8,), (9,), (3, 5), (17,), (31,), (2, 2, 2, 5), (16384,), (3, 16385)]
CLOSE = {"float32": 5e-7, "float64": 1e-15}


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize(("name", "kept", "options"), ELEMENTWISE)
def test_elementwise(name, kept, options, shape, isa, dtype, n_threads, rng):
    x = np.asarray(3 * rng.normal(size=shape), dtype)
    grad_y = np.asarray(rng.normal(size=shape), dtype)
    y = getattr(R, name)(x, **options)
    got = getattr(F, name)(x, **options)
    value = x if kept == "x" else y
    back = getattr(F, f"{name}_backward")(grad_y, value, **options)
    for a, b in ((got, y), (back, getattr(R, f"{name}_backward")(grad_y, value, **options))):
        assert a.dtype == dtype and a.shape == shape and a.flags.c_contiguous
        assert distance(a, b) < CLOSE[dtype.name]


@pytest.mark.parametrize(
    "shape", [(4, 1), (2, 7), (5, 15), (3, 16), (3, 17), (2, 33), (2, 100), (2, 5, 3), (3, 20, 4, 6), (0, 4), (3, 0)]
)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, shape, isa, dtype, n_threads, rng):
    x, grad_y = (np.asarray(5 * rng.normal(size=shape), dtype) for _ in range(2))
    for dim in range(-1, len(shape)):
        got = getattr(F, name)(x, dim)
        back = getattr(F, f"{name}_backward")(grad_y, x, dim)
        for a, b in ((got, getattr(R, name)(x, dim)), (back, getattr(R, f"{name}_backward")(grad_y, x, dim))):
            assert a.dtype == dtype and a.shape == shape and a.flags.c_contiguous
            # Terms of the gradient as large as grad_y may cancel.
            assert_allclose(a, b, rtol=0, atol=4 * CLOSE[dtype.name] * max(1, np.abs(grad_y).max(initial=0)))


# NaN, infinity, zeros ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kept", "options"), ELEMENTWISE)
def test_edges_are_those_of_the_reference(name, kept, options, isa, dtype):
    big, tiny = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    edges = np.array([NAN, INF, -INF, 0.0, -0.0, big, -big, tiny, -tiny, 1.0, -1.0], dtype)
    y = getattr(F, name)(edges, **options)
    expected = getattr(R, name)(edges, **options)
    assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps, atol=tiny)
    grad_y, value = (a.ravel() for a in np.meshgrid(edges, edges if kept == "x" else expected))
    back = getattr(F, f"{name}_backward")(grad_y, value, **options)
    wanted = getattr(R, f"{name}_backward")(grad_y, value, **options)
    assert_allclose(back, wanted, rtol=4 * np.finfo(dtype).eps, atol=tiny)


def test_relu_keeps_nan_and_passes_its_gradient(isa, dtype):
    y = F.relu(np.array([NAN, -1, 2], dtype))
    assert_array_equal(y, [NAN, 0, 2])
    assert_array_equal(F.relu_backward(np.array([3, 4, 5], dtype), y), [3, 0, 5])


@pytest.mark.parametrize("name", ["elu", "gelu", "silu", "hardswish"])
def test_the_sign_of_zero_stays(name, isa, dtype):
    assert_array_equal(np.signbit(getattr(F, name)(np.array([0.0, -0.0], dtype))), [False, True])


@pytest.mark.parametrize("shape", [(2, 6), (3, 6, 1), (2, 12, 15), (3, 6, 4, 4), (2, 6, 33), (2, 6, 9, 9)])
@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_maxout(shape, size, isa, dtype, n_threads, rng):
    """Few different numbers: many groups have several maxima. NaN wins over all."""
    x = rng.integers(-2, 3, shape).astype(dtype)
    x[rng.random(shape) < 0.1] = NAN
    x[rng.random(shape) < 0.1] = -INF
    got, want = (M.maxout(x, size) for M in (F, R))
    assert got.dtype == dtype
    assert_array_equal(got, want)
    grad_y = rng.normal(size=got.shape).astype(dtype)
    assert_array_equal(*(M.maxout_backward(grad_y, x, size) for M in (F, R)))


@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (2, 4, 0)])
def test_maxout_of_nothing(shape, dtype):
    x = np.zeros(shape, dtype)
    for M in (F, R):
        y = M.maxout(x, 2)
        assert y.shape == (shape[0], shape[1] // 2, *shape[2:]) and M.maxout_backward(y, x, 2).shape == shape


def test_odd_functions_keep_the_sign_of_zero(isa, dtype):
    assert_array_equal(np.signbit(F.tanh(np.array([0.0, -0.0], dtype))), [False, True])


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_at_the_edges(name, isa, dtype):
    big = np.finfo(dtype).max
    x = np.array(
        [[0, -INF, 0, 1], [INF, 0, 1, 2], [-INF] * 4, [NAN, 0, 0, 0], [1e4, 0, -1e4, 1e4], [big, -big, 0, 0]], dtype
    )  # fmt: skip
    assert_allclose(getattr(F, name)(x), getattr(R, name)(x), rtol=4 * np.finfo(dtype).eps)
    grad_y = np.ones_like(x)
    got, expected = getattr(F, f"{name}_backward")(grad_y, x), getattr(R, f"{name}_backward")(grad_y, x)
    assert_allclose(got, expected, atol=8 * np.finfo(dtype).eps)


# Units in the last place ---------------------------------------------------------------------------------------------

# What _kernels/vmath.pxd states.
ULPS = {"sigmoid": 2.5, "tanh": 2.6, "softplus": 3.0, "elu": 2.0, "silu": 3.0, "gelu": 7.0}
EXP_ULPS = 1.1


def precise(name: str, x):
    """The function in a wider type, which rounds far below x's last place."""
    e = np.exp(-np.abs(x))
    if name == "gelu":
        return x * normal_distribution(x)
    if name == "silu":
        return x * np.where(x < 0, e, 1) / (1 + e)
    if name == "elu":
        return np.where(x > 0, x, np.expm1(-np.abs(x)))
    if name == "sigmoid":
        return np.where(x < 0, e, 1) / (1 + e)
    return np.tanh(x) if name == "tanh" else np.maximum(x, 0) + np.log1p(e)


def normal_distribution(x):
    """Phi: a Taylor series near 0, a continued fraction further out. x holds numbers of a type half as wide or less."""
    a = np.minimum(np.abs(x), 300)
    short = a.astype(np.float32 if x.dtype == np.longdouble else np.float16).astype(x.dtype)
    density = (
        np.exp(-short * short / 2) * np.exp((short - a) * (short + a) / 2) / np.sqrt(8 * np.arctan(x.dtype.type(1)))
    )
    near = np.minimum(a, 2)
    term, total = near, near
    for n in range(1, 60):
        term = term * near * near / (2 * n + 1)
        total = total + term
    far = np.maximum(a, 2)
    ratio = far
    for n in range(400, 0, -1):
        ratio = far + n / ratio
    tail = np.where(a < 2, x.dtype.type(0.5) - density * total, density / ratio)
    return np.where(x < 0, tail, 1 - tail)


def ulps(got, exact):
    """The largest error, in units of the last place that got's dtype has at the exact value."""
    info = np.finfo(got.dtype)
    _, exponent = np.frexp(exact)
    unit = np.ldexp(np.ones_like(exact), np.maximum(exponent - 1, info.minexp) - info.nmant)
    return (np.abs(got.astype(exact.dtype) - exact) / unit).max()


@pytest.fixture
def wide(dtype):
    """A type with ten more bits than `dtype`."""
    if dtype == np.float32:
        return np.float64
    if np.finfo(np.longdouble).nmant < np.finfo(dtype).nmant + 10:
        pytest.skip("this platform has no type wider than float64")
    return np.longdouble


def everywhere(dtype, rng):
    """Numbers of all magnitudes, and more of them where the functions bend."""
    info = np.finfo(dtype)
    signs = rng.choice([-1, 1], 20_000)
    magnitudes = np.exp2(rng.uniform(np.log2(float(info.smallest_subnormal)), np.log2(float(info.max)), 20_000))
    underflow = 1.01 * np.log(float(info.smallest_subnormal))
    lines = rng.uniform(underflow, -underflow, 50_000), rng.uniform(-20, 20, 100_000), rng.uniform(-1, 1, 20_000)
    return np.concatenate([signs * magnitudes, *lines]).astype(dtype)


@pytest.mark.parametrize("name", ULPS)
def test_last_place(name, isa, dtype, wide, rng):
    x = everywhere(dtype, rng)
    options = {"threshold": np.finfo(dtype).max} if name == "softplus" else {}
    assert ulps(getattr(F, name)(x, **options), precise(name, x.astype(wide))) < ULPS[name]


def test_last_place_of_gelu_by_tanh(isa, dtype, wide, rng):
    """Its exponent z is rounded: an error of three units more for each that z counts."""
    x = everywhere(dtype, rng)
    x = x[np.abs(x) < 30]
    exact = x.astype(wide)
    z = np.sqrt(2 / np.arctan(wide(1))) * (exact + wide(44715) / 1_000_000 * exact**3)
    e = np.exp(-np.abs(z))
    exact = exact * np.where(z < 0, e, 1) / (1 + e)
    got = F.gelu(x, "tanh")
    _, exponent = np.frexp(exact)
    info = np.finfo(dtype)
    unit = np.ldexp(np.ones_like(exact), np.maximum(exponent - 1, info.minexp) - info.nmant)
    assert (np.abs(got.astype(wide) - exact) / unit / (4 + 3 * np.abs(z))).max() < 1


def test_last_place_of_exp(isa, dtype, wide, rng):
    """Far below zero 1 + exp(x) rounds to 1, and sigmoid is exp to the bit."""
    info = np.finfo(dtype)
    x = rng.uniform(1.01 * np.log(float(info.smallest_subnormal)), np.log(info.eps / 4), 200_000).astype(dtype)
    assert ulps(F.sigmoid(x), np.exp(x.astype(wide))) < EXP_ULPS


@pytest.mark.parametrize("size", [0, 1, 7, 16, 33, 20_000, 40_001])
@pytest.mark.parametrize("rectified", [False, True])
def test_added(rectified, size, isa, dtype, n_threads, rng):
    """The sum where branches meet, to the bit; NaN stays, and infinities of opposite signs give one."""
    x, other = rng.normal(size=(2, size)).astype(dtype)
    if size > 4:
        x[:4], other[:4] = [np.nan, np.inf, np.inf, -np.inf], [1, -np.inf, 1, 2]
    with np.errstate(invalid="ignore"):
        want = x + other
    want = np.where(want < 0, 0, want) if rectified else want
    got = added(x, other, rectified)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, want)
