"""Transposed convolution against the reference, and against the convolution that it transposes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from cases import distance
from numpy.testing import assert_array_equal

from cconv import functional as F
from cconv import reference as R

pytestmark = pytest.mark.usefixtures("poison")


def case(x, weight, **options):
    return x, weight, options


# Shapes of x and weight, and options.
CASES = {
    "one number": case((1, 1, 1, 1), (1, 1, 1, 1)),
    "u-net": case((2, 24, 6, 5), (24, 12, 2, 2), stride=2),
    "dcgan": case((2, 10, 4, 4), (10, 20, 4, 4), stride=2, padding=1),
    "dcgan first": case((2, 40, 1, 1), (40, 16, 4, 4)),
    "no images": case((0, 3, 6, 6), (3, 4, 3, 3), padding=1),
    "3x3": case((2, 20, 9, 8), (20, 33, 3, 3), padding=1),
    "full": case((2, 4, 3, 3), (4, 40, 5, 5)),
    "output padding": case((2, 3, 5, 6), (3, 5, 3, 3), stride=2, padding=1, output_padding=1),
    "output padding of rows alone": case((2, 3, 5, 6), (3, 17, 3, 3), stride=(2, 1), output_padding=(1, 0)),
    "output padding under dilation": case((2, 3, 5, 6), (3, 5, 3, 2), dilation=(3, 4), output_padding=(2, 3)),
    "output padding over the stride": case((2, 3, 5, 6), (3, 5, 3, 2), stride=2, dilation=4, output_padding=3),
    "output padding, pointwise": case((2, 17, 5, 7), (17, 16, 1, 1), dilation=2, output_padding=1),
    "output padding of one number": case((2, 3, 1, 1), (3, 5, 2, 2), stride=3, output_padding=2),
    "output padding against padding": case(
        (2, 17, 6, 7), (17, 16, 1, 1), dilation=2, padding=((0, 1), (0, 1)), output_padding=1
    ),
    "stride wider than the kernel": case((2, 5, 4, 3), (5, 9, 2, 1), stride=(4, 3), output_padding=(3, 2)),
    "stride, one row": case((1, 5, 1, 30), (5, 9, 1, 4), stride=(2**31 - 1, 2), padding=(0, 1)),
    "strided pointwise": case((2, 12, 5, 4), (12, 17, 1, 1), stride=2),
    "pointwise": case((2, 9, 12, 12), (9, 40, 1, 1)),
    "padding wider than the kernel": case((2, 3, 7, 8), (3, 4, 2, 3), padding=(3, 2)),
    "unequal padding": case((2, 3, 5, 6), (3, 18, 4, 3), stride=2, padding=((3, 0), (1, 2)), output_padding=(0, 1)),
    "dilated": case((2, 4, 5, 6), (4, 14, 3, 3), dilation=(2, 3), padding=2),
    "groups": case((2, 6, 5, 5), (6, 3, 3, 3), groups=3, stride=2, output_padding=1),
    "groups of whole registers": case((2, 32, 4, 4), (32, 16, 3, 3), groups=2, padding=1),
    "depthwise": case((2, 17, 5, 6), (17, 1, 3, 3), groups=17, padding=1),
    "depthwise, strided": case((2, 5, 5, 21), (5, 1, 4, 4), groups=5, stride=2, padding=1),
    "depthwise, strided and dilated": case(
        (2, 5, 5, 6), (5, 1, 3, 3), groups=5, stride=2, dilation=3, output_padding=2
    ),
    "depthwise, several channels an output": case((2, 12, 5, 20), (12, 1, 3, 3), groups=4, stride=2, padding=1),
    "bilinear upsampling": case((2, 3, 6, 7), (3, 1, 4, 4), groups=3, stride=2, padding=1),
    "to one channel": case((2, 16, 9, 9), (16, 1, 5, 5), stride=2, padding=2, output_padding=1),
    "many images": case((37, 3, 4, 4), (3, 14, 3, 3), stride=2),
    "winograd": case((2, 17, 9, 10), (17, 18, 3, 3), padding=1, algorithm="winograd"),
}


@cache
def drawn(name: str):
    """Small integers: x, weight, bias, grad_y, options, and the reference's results."""
    rng = np.random.default_rng(len(name))
    x_shape, weight_shape, options = CASES[name]
    x, weight = rng.integers(-3, 4, x_shape).astype(float), rng.integers(-3, 4, weight_shape).astype(float)
    bias = rng.integers(-3, 4, weight_shape[1] * options.get("groups", 1)).astype(float)
    y = R.conv_transpose2d(x, weight, bias, **options)
    grad_y = rng.integers(-3, 4, y.shape).astype(float)
    return x, weight, bias, grad_y, options, (y, *R.conv_transpose2d_backward(grad_y, x, weight, **options))


def run(x, weight, bias, grad_y, options):
    gradients = F.conv_transpose2d_backward(grad_y, x, weight, **options)
    return F.conv_transpose2d(x, weight, bias, **options), *gradients


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_reference(name, isa, dtype, n_threads):
    *arrays, options, want = drawn(name)
    got = run(*(a.astype(dtype) for a in arrays), {"algorithm": "direct", **options})
    for g, w in zip(got, want, strict=True):
        if options.get("algorithm") == "winograd":
            assert distance(g, w) < (2e-5 if dtype == np.float32 else 1e-13)
        else:
            assert_array_equal(g, w)
        assert g.dtype == dtype and g.flags.c_contiguous


@pytest.mark.parametrize("name", CASES)
def test_transposes_the_convolution(name, dtype):
    """The sum of conv2d(grad_y) * x is that of grad_y * conv_transpose2d(x)."""
    x, weight, _, grad_y, options, _ = drawn(name)
    y = F.conv_transpose2d(x, weight, **options)
    (grad_x, _, _) = F.conv_transpose2d_backward(grad_y, x, weight, **options)
    assert (grad_x * x).sum() == pytest.approx((grad_y * y).sum(), rel=1e-12)
    if "output_padding" not in options:
        assert_array_equal(F.conv2d(grad_y, weight, **options), grad_x)


@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False, False, True), (False,) * 3])
def test_only_what_is_needed(needs, dtype):
    x, weight, _, grad_y, options, want = drawn("output padding")
    arrays = [a.astype(dtype) for a in (grad_y, x, weight)]
    for need, got, expected in zip(
        needs, F.conv_transpose2d_backward(*arrays, **options, needs=needs), want[1:], strict=True
    ):
        assert_array_equal(got, expected) if need else assert_array_equal(got, None)


# NaN and infinity ----------------------------------------------------------------------------------------------------


def with_one(rng, array, value):
    array = array.copy()
    array.flat[rng.integers(array.size)] = value
    return array


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("argument", ["x", "weight", "bias", "grad_y"])
@pytest.mark.parametrize("name", [name for name in CASES if name != "no images"])
def test_nan_and_infinity_spread_as_in_the_reference(name, argument, value, isa, dtype, rng):
    x, weight, bias, grad_y, options, _ = drawn(name)
    arrays = {"x": x, "weight": weight, "bias": bias, "grad_y": grad_y}
    arrays[argument] = with_one(rng, arrays[argument], value)
    x, weight, bias, grad_y = (a.astype(dtype) for a in arrays.values())
    want = R.conv_transpose2d(x, weight, bias, **options), *R.conv_transpose2d_backward(grad_y, x, weight, **options)
    exact = options.get("algorithm") != "winograd"
    for g, w in zip(run(x, weight, bias, grad_y, {"algorithm": "direct", **options}), want, strict=True):
        assert_array_equal(*((g, w) if exact else (g[~np.isfinite(w)], w[~np.isfinite(w)])))
        assert_array_equal(np.isfinite(g), np.isfinite(w))


@pytest.mark.torch
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("argument", ["x", "weight"])
@pytest.mark.parametrize("name", [n for n, (_, _, o) in CASES.items() if n != "no images" and "algorithm" not in o])
def test_nan_and_infinity_spread_as_in_pytorch(name, argument, value, rng):
    """In float64: in float32 PyTorch multiplies zeros around x for some shapes and not for others."""
    torch = pytest.importorskip("torch")
    x, weight, bias, _, options, _ = drawn(name)
    if isinstance(options.get("padding"), tuple) and isinstance(options["padding"][0], tuple):
        pytest.skip("PyTorch pads both sides alike")
    if max(np.broadcast_to(options.get("stride", 1), 2)) > 1000:
        pytest.skip("PyTorch's sizes overflow")
    arrays = {"x": x, "weight": weight, "bias": bias}
    arrays[argument] = with_one(rng, arrays[argument], value)
    arrays = list(arrays.values())
    want = torch.nn.functional.conv_transpose2d(*map(torch.tensor, arrays), **options).numpy()
    assert_array_equal(F.conv_transpose2d(*arrays, **options, algorithm="direct"), want)
