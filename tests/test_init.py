"""Initialisers, and what layers start with."""

import math

import numpy as np
import pytest

import cconv
from cconv import nn
from cconv.nn import init

SHAPE = (40, 30, 5, 4)
FAN_IN, FAN_OUT = 600, 800

# The bound of a uniform distribution, the standard deviation of a normal one.
UNIFORM = {
    "xavier_uniform": math.sqrt(6 / (FAN_IN + FAN_OUT)),
    "he_uniform": math.sqrt(6 / FAN_IN),
    "kaiming_uniform": math.sqrt(6 / FAN_IN),
    "lecun_uniform": math.sqrt(3 / FAN_IN),
}
NORMAL = {
    "xavier_normal": math.sqrt(2 / (FAN_IN + FAN_OUT)),
    "he_normal": math.sqrt(2 / FAN_IN),
    "kaiming_normal": math.sqrt(2 / FAN_IN),
    "lecun_normal": math.sqrt(1 / FAN_IN),
}


def test_fan_counts_filter_taps():
    assert init.fan((84, 120)) == (120, 84)
    assert init.fan((20, 1, 5, 5)) == (25, 500)
    assert init.fan(SHAPE) == (FAN_IN, FAN_OUT)
    with pytest.raises(ValueError, match=r"fan: shape must have at least 2 dimensions \(out, in, ...\), got \(6,\)"):
        init.fan((6,))


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_ones_fill_their_range(name):
    values = getattr(init, name)(np.empty(SHAPE), rng=0)
    bound = UNIFORM[name]
    assert np.abs(values).max() <= bound
    assert values.max() > 0.999 * bound and values.min() < -0.999 * bound
    assert abs(values.mean()) < 0.02 * bound
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize("name", NORMAL)
def test_normal_ones_have_their_spread(name):
    values = getattr(init, name)(np.empty(SHAPE), rng=0)
    assert abs(values.mean()) < 0.02 * NORMAL[name]
    assert values.std() == pytest.approx(NORMAL[name], rel=0.02)
    assert np.abs(values).max() > 3 * NORMAL[name]


def test_options_scale():
    one = init.xavier_uniform(np.empty(SHAPE), rng=0)
    np.testing.assert_allclose(init.xavier_uniform(np.empty(SHAPE), gain=2.0, rng=0), 2 * one)
    one = init.he_normal(np.empty(SHAPE), rng=0)
    np.testing.assert_allclose(init.he_normal(np.empty(SHAPE), a=1.0, rng=0), one / math.sqrt(2))
    np.testing.assert_allclose(
        init.he_normal(np.empty(SHAPE), mode="fan_out", rng=0), one * math.sqrt(FAN_IN / FAN_OUT)
    )


@pytest.mark.parametrize("name", [*UNIFORM, *NORMAL, "uniform", "normal"])
def test_fills_in_place_reproducibly_and_alike_in_both_dtypes(name):
    fill = getattr(init, name)
    p = nn.Parameter(np.zeros((4, 3), np.float32))
    value = p.value
    assert fill(p, rng=7) is p and p.value is value
    double = fill(np.zeros((4, 3)), rng=7)
    np.testing.assert_array_equal(value, double.astype(np.float32))
    assert not np.array_equal(fill(np.zeros((4, 3)), rng=8), double)


def test_a_generator_goes_on_and_the_default_one_is_seeded():
    rng = np.random.default_rng(0)
    assert not np.array_equal(init.normal(np.empty(5), rng=rng), init.normal(np.empty(5), rng=rng))
    cconv.manual_seed(3)
    first = nn.Linear(4, 3).weight.value
    second = nn.Linear(4, 3).weight.value
    cconv.manual_seed(3)
    np.testing.assert_array_equal(nn.Linear(4, 3).weight.value, first)
    assert not np.array_equal(first, second)


def test_constants():
    p = nn.Parameter(np.ones((2, 3)))
    assert init.zeros(p) is p and not p.value.any()
    assert (init.constant(p, 2.5).value == 2.5).all()
    assert (init.uniform(np.empty(100), -2, -1, rng=0) <= -1).all()
    assert init.normal(np.empty(1000), 5, 0.1, rng=0).mean() == pytest.approx(5, abs=0.02)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: init.he_normal(np.zeros(6)), ValueError, "at least 2 dimensions"),
        (lambda: init.he_normal(np.zeros((0, 6))), ValueError, r"he_normal: a weight of shape \(0, 6\) is empty"),
        (lambda: init.he_uniform(np.zeros((2, 2)), mode="fan"), ValueError, "mode must be one of 'fan_in', 'fan_out'"),
        (lambda: init.zeros([1.0]), TypeError, "expected a Parameter or a float array to fill, got list"),
        (lambda: init.uniform(np.zeros(2, int)), TypeError, "expected a Parameter or a float array to fill"),
        (lambda: init.uniform(np.zeros(2), 1, 0), ValueError, "low must be at most high, got 1.0 and 0.0"),
        (lambda: init.normal(np.zeros(2), 0, -1), ValueError, "normal: std must be at least 0, got -1"),
        (lambda: init.constant(np.zeros(2), "a"), TypeError, "constant: value must be a number, got 'a'"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Linear(50, 300, rng=0), 50),
        (nn.Conv2d(8, 300, 3, rng=0), 72),
        (nn.Conv2d(8, 300, 3, groups=4, rng=0), 18),
        (nn.Conv1d(8, 300, 3, groups=2, rng=0), 12),
        (nn.ConvTranspose2d(8, 300, 3, groups=4, rng=0), 675),
    ],
)
def test_layers_start_as_pytorchs(layer, fan_in):
    bound = 1 / math.sqrt(fan_in)
    for p in layer.parameters():
        assert np.abs(p.value).max() <= bound * (1 + 1e-6)
        assert np.abs(p.value).max() > 0.97 * bound
        assert p.value.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_layers_of_one_seed_agree_in_both_dtypes():
    for make in (lambda d: nn.Linear(5, 3, rng=4, dtype=d), lambda d: nn.Conv2d(2, 3, 3, rng=4, dtype=d)):
        for single, double in zip(make(np.float32).parameters(), make(np.float64).parameters(), strict=True):
            np.testing.assert_array_equal(single.value, double.value.astype(np.float32))
