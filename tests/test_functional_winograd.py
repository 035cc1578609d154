"""Convolution by minimal filtering: against the reference, where NaN and infinity go, and when it is taken."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from cases import distance, same_bits
from numpy.testing import assert_array_equal

from cconv import functional as F
from cconv import nn
from cconv import reference as R
from cconv._shapes import padding_pairs
from cconv.functional import _conv_choice as choice
from cconv.functional import _conv_plan as plans
from cconv.functional import _winograd
from cconv.functional._convolve import machine_of

pytestmark = pytest.mark.usefixtures("poison")

RESULTS = ("y", "grad_x", "grad_weight", "grad_bias")

# Shapes of x and weight, and options.
CASES = {
    "one number": ((1, 1, 1, 1), (1, 1, 3, 3), {"padding": 1}),
    "one output": ((2, 3, 3, 3), (5, 3, 3, 3), {}),
    "one tile": ((2, 16, 4, 4), (16, 16, 3, 3), {"padding": 1}),
    "no padding": ((2, 5, 11, 9), (7, 5, 3, 3), {}),
    "unequal padding": ((2, 4, 7, 6), (13, 4, 3, 3), {"padding": ((2, 0), (1, 3))}),
    "padding wider than the kernel": ((2, 2, 3, 4), (3, 2, 3, 3), {"padding": ((5, 4), (0, 6))}),
    "groups": ((3, 36, 6, 7), (51, 12, 3, 3), {"padding": 1, "groups": 3}),
    "depthwise": ((2, 5, 8, 9), (5, 1, 3, 3), {"padding": 1, "groups": 5}),
    "a row of several strips": ((1, 3, 2, 130), (4, 3, 3, 3), {"padding": 1}),
    "several blocks": ((9, 17, 33, 31), (20, 17, 3, 3), {"padding": 1}),
    "several chunks of blocks": ((16, 7, 30, 31), (20, 7, 3, 3), {"padding": 1}),
    "several chunks of several blocks": ((30, 2, 61, 45), (3, 2, 3, 3), {"padding": 1}),
    "several blocks of one sum": ((3, 60, 40, 41), (140, 60, 3, 3), {"padding": 1}),
    "several slabs of channels": ((2, 200, 9, 9), (40, 200, 3, 3), {"padding": 1}),
    "several slabs, several blocks": ((9, 160, 21, 5), (17, 160, 3, 3), {"padding": 1}),
    "several panels of outputs": ((2, 33, 8, 8), (100, 33, 3, 3), {"padding": 1}),
}
CASES |= {
    f"{k} filters of {c}": ((2, c, 6, 5), (k, c, 3, 3), {"padding": 1})
    for k, c in zip((1, 4, 8, 15, 16, 31, 33), (33, 31, 16, 15, 9, 7, 1), strict=True)
}


def run(module, x, weight, bias, grad_y, options):
    """The four results of one convolution."""
    options = {**options, "algorithm": "winograd"}
    return module.conv2d(x, weight, bias, **options), *module.conv2d_backward(grad_y, x, weight, **options)


@cache
def drawn(name: str, dtype):
    rng = np.random.default_rng(len(name))
    x_shape, weight_shape, options = CASES[name]
    x, weight, bias = (rng.normal(size=s).astype(dtype) for s in (x_shape, weight_shape, weight_shape[0]))
    options = {**options, "algorithm": "winograd"}
    return x, weight, bias, rng.normal(size=R.conv2d(x, weight, **options).shape).astype(dtype), options


@cache
def expected(name: str, dtype):
    return run(R, *drawn(name, dtype))


@pytest.mark.parametrize("name", CASES)
def test_results_are_close_to_the_definition(name, isa, dtype, n_threads):
    for result, got, want in zip(RESULTS, run(F, *drawn(name, dtype)), expected(name, dtype), strict=True):
        assert got.dtype == dtype and got.flags.c_contiguous
        assert distance(got, want) < (8e-6 if dtype == np.float32 else 2e-14), result


def test_the_error_is_a_few_times_that_of_direct_sums(rng):
    """As documented: 64 to 256 channels, normal images, weights as a fresh layer draws them."""
    for channels in (64, 256):
        x = rng.normal(size=(2, channels, 16, 16)).astype(np.float32)
        weight = rng.uniform(-1, 1, (32, channels, 3, 3)).astype(np.float32) / np.float32(3 * channels**0.5)
        exact = F.conv2d(x.astype(np.float64), weight.astype(np.float64), padding=1, algorithm="direct")
        errors = {a: distance(F.conv2d(x, weight, padding=1, algorithm=a), exact) for a in ("direct", "winograd")}
        assert errors["winograd"] < min(6e-6, 6 * errors["direct"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("argument", ["x", "weight", "bias", "grad_y"])
@pytest.mark.parametrize("name", ["no padding", "unequal padding", "groups", "several slabs of channels"])
def test_nan_and_infinity_spread_as_in_the_reference(name, argument, value, isa, dtype, rng):
    *arrays, options = drawn(name, dtype)
    arrays = [a.copy() for a in arrays]
    special = arrays[("x", "weight", "bias", "grad_y").index(argument)]
    special.flat[rng.integers(special.size, size=2)] = value
    for result, got, want in zip(RESULTS, run(F, *arrays, options), run(R, *arrays, options), strict=True):
        finite = np.isfinite(want)
        assert_array_equal(np.where(finite, 0, got), np.where(finite, 0, want), err_msg=result)
        assert distance(got[finite], want[finite]) < (8e-6 if dtype == np.float32 else 2e-14), result


@pytest.mark.parametrize("scale", [1e30, 1e36])
def test_what_overflows_in_a_transform_alone_is_summed_directly(scale, isa):
    x = np.full((2, 4, 8, 8), scale, np.float32)
    x[0] = 1
    weight = np.full((4, 4, 3, 3), 1 / 64, np.float32)
    y = F.conv2d(x, weight, algorithm="winograd")
    assert distance(y[0], np.full((4, 6, 6), 36 / 64)) < 8e-6
    assert distance(y[1] / scale, np.full((4, 6, 6), 36 / 64)) < 8e-6
    assert np.isfinite(F.conv2d_backward(y, x / np.float32(scale), weight, algorithm="winograd")[1]).all()


def test_one_bad_image_leaves_the_bits_of_the_others(isa, dtype):
    x, weight, bias, _, options = drawn("several blocks", dtype)
    want = F.conv2d(x, weight, bias, **options)
    spoilt = x.copy()
    spoilt[3, 2, 5, 5] = np.nan
    got = F.conv2d(spoilt, weight, bias, **options)
    others = np.arange(len(x)) != 3
    assert same_bits([got[others]], [want[others]])
    assert np.isnan(got[3]).any() and not np.isnan(got[3]).all()


def test_no_images(dtype):
    x, weight, grad_y = (np.ones(s, dtype) for s in ((0, 16, 8, 8), (32, 16, 3, 3), (0, 32, 8, 8)))
    y, grad_x, grad_weight, grad_bias = run(F, x, weight, None, grad_y, {"padding": 1})
    assert y.shape == grad_y.shape and grad_x.shape == x.shape
    assert not grad_weight.any() and not grad_bias.any()


# When it is taken ----------------------------------------------------------------------------------------------------


def shape(channels, size, filters, kernel=(3, 3), stride=(1, 1), dilation=(1, 1)):
    output = tuple(
        (n + 2 - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    )
    return plans.Shape(channels, *size, filters, kernel, stride, ((1, 1), (1, 1)), dilation, 1, output)


DIRECTIONS = ("forward", "input", "weight")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_many_channels_take_it(direction):
    assert choice.by_winograd("auto", shape(64, (56, 56), 64), direction, 8)
    assert not choice.by_winograd("direct", shape(64, (56, 56), 64), direction, 8)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    "layer",
    [
        shape(3, (32, 32), 16),
        shape(64, (56, 56), 64, kernel=(5, 5)),
        shape(64, (56, 56), 64, stride=(2, 1)),
        shape(64, (56, 56), 64, dilation=(2, 2)),
    ],
)
def test_other_layers_do_not(direction, layer):
    assert not choice.by_winograd("auto", layer, direction, 8)


def test_forward_does_not_look_at_the_batch():
    for c, n in ((16, 8), (24, 5), (64, 4), (512, 7)):
        for direction in ("forward", "input"):
            assert len({choice.by_winograd("auto", shape(c, (n, n), c), direction, i) for i in (1, 2, 64)}) == 1


def test_the_cases_reach_every_path(isa):
    reached, machine = set(), machine_of(np.dtype("f4"))
    for x, weight, options in CASES.values():
        padding = padding_pairs("", options.get("padding", 0), (3, 3), (1, 1), (1, 1))
        output = tuple(n + sum(p) - 2 for n, p in zip(x[2:], padding, strict=True))
        layer = plans.Shape(x[1], *x[2:], weight[0], (3, 3), (1, 1), padding, (1, 1), options.get("groups", 1), output)
        for threads in (1, 2, 3):
            for turned in (False, True):
                plan = _winograd.correlation(layer, machine, turned, 4, x[0], threads)
                g = _winograd.Geometry(*plan.fields)
                reached |= {f"packed first: {plan.pack_first}", f"splits: {plan.splits > 1}", f"pieces: {g.pieces > 1}"}
                reached.add(f"several slabs, packed first: {plan.pack_first}" if g.channels > g.slab else "one slab")
                reached.add("a block of several strips" if g.room > g.widest else "a block of one strip")
        plan = _winograd.weight_gradient(layer, machine, 4, x[0])
        g = _winograd.Geometry(*plan.fields)
        if plan.chunks:
            reached.add(f"weight in chunks, several blocks each: {g.blocks > plan.chunks}")
        else:
            reached.add(f"weight, several blocks: {g.blocks > 1}")
    either = ("packed first", "splits", "pieces", "several slabs, packed first")
    either += "weight, several blocks", "weight in chunks, several blocks each"
    want = {f"{what}: {value}" for what in either for value in (True, False)}
    assert want | {"one slab", "a block of several strips", "a block of one strip"} == reached


def test_an_algorithm_that_does_not_fit_is_refused():
    x, weight = np.ones((1, 2, 8, 8), np.float32), np.ones((4, 2, 3, 3), np.float32)
    for module in (F, R):
        with pytest.raises(ValueError, match=r"algorithm must be one of 'auto', 'direct', 'winograd', got 'fft'"):
            module.conv2d(x, weight, algorithm="fft")
        with pytest.raises(
            ValueError, match=r"conv2d: algorithm='winograd' takes a 3x3 kernel .* got kernel \(3, 3\), stride \(2, 2\)"
        ):
            module.conv2d(x, weight, stride=2, algorithm="winograd")
        with pytest.raises(ValueError, match="conv2d_backward: algorithm='winograd' takes a 3x3 kernel"):
            module.conv2d_backward(np.ones((1, 4, 7, 7), np.float32), x, weight[:, :, :2, :2], algorithm="winograd")
    with pytest.raises(ValueError, match=r"Conv2d: algorithm='winograd' takes a 3x3 kernel .* got kernel \(5, 5\)"):
        nn.Conv2d(2, 4, 5, algorithm="winograd")


def test_a_layer_passes_it_on(rng):
    x = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    layer = nn.Conv2d(3, 8, 3, algorithm="winograd", rng=0)
    y, backward = layer.forward(x)
    assert same_bits([y], [F.conv2d(x, layer.weight.value, layer.bias.value, algorithm="winograd")])
    grad_x = backward(y)
    want = F.conv2d_backward(y, x, layer.weight.value, algorithm="winograd")
    assert same_bits([grad_x, layer.weight.grad], want[:2])
    assert "algorithm='winograd'" in repr(layer)
