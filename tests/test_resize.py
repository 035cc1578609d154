"""Interpolation against its definition, and the layer around it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cconv import functional as F
from cconv import gradcheck, nn
from cconv import reference as R

pytestmark = pytest.mark.usefixtures("poison")

MODES = ({"mode": "nearest"}, {"mode": "nearest-exact"}, {"mode": "bilinear"},
         {"mode": "bilinear", "align_corners": True})  # fmt: skip
SIZES = [(1, 1), (2, 3), (5, 5), (7, 16), (9, 33), (31, 4), (1, 70)]


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("x_size", [(1, 1), (5, 5), (4, 7), (19, 36)], ids=str)
def test_agrees_with_the_reference(x_size, size, options, isa, n_threads, dtype, rng):
    x = rng.normal(size=(2, 3, *x_size)).astype(dtype)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-13, "atol": 1e-13}
    y = F.interpolate(x, size, **options)
    assert_allclose(y, R.interpolate(x, size, **options), **tolerance)
    assert y.dtype == dtype and y.flags.c_contiguous
    grad_y = rng.normal(size=y.shape).astype(dtype)
    got, want = (M.interpolate_backward(grad_y, x.shape, size, **options) for M in (F, R))
    scale = abs(want).max()
    assert_allclose(got / scale, want / scale, **tolerance)


def test_by_hand():
    x = np.array([[[0.0, 4.0, 8.0]]])
    assert F.interpolate(x, scale_factor=2).ravel().tolist() == [0, 0, 4, 4, 8, 8]
    assert F.interpolate(x, 6, mode="linear").ravel().tolist() == [0, 1, 3, 5, 7, 8]
    assert F.interpolate(x, 5, mode="linear", align_corners=True).ravel().tolist() == [0, 2, 4, 6, 8]
    assert F.interpolate(x, 1, mode="nearest").item() == 0 and F.interpolate(x, 1, mode="nearest-exact").item() == 4
    assert F.interpolate_backward(np.ones((1, 1, 6)), x.shape, scale_factor=2).ravel().tolist() == [2, 2, 2]
    grad = F.interpolate_backward(np.ones((1, 1, 6)), x.shape, 6, mode="linear")
    assert grad.ravel().tolist() == [1.75 + 0.25, 2, 2]


def test_a_scale_that_is_no_integer():
    x = np.arange(7.0).reshape(1, 1, 7)
    assert F.interpolate(x, scale_factor=1.5).shape == (1, 1, 10)
    # With the scale given, places are 2/3 apart; recomputed, 7/10.
    assert F.interpolate(x, scale_factor=1.5).ravel()[-1] == 6
    third = F.interpolate(x, scale_factor=1.5, mode="linear").ravel()[2]
    again = F.interpolate(x, scale_factor=1.5, mode="linear", recompute_scale_factor=True).ravel()[2]
    assert_allclose([third, again], [2.5 / 1.5 - 0.5, 2.5 * 0.7 - 0.5])


@pytest.mark.parametrize("options", MODES, ids=str)
def test_batches_of_nothing_and_other_layouts(options, rng):
    assert F.interpolate(np.ones((0, 2, 3, 4)), 5, **options).shape == (0, 2, 5, 5)
    assert F.interpolate_backward(np.ones((0, 2, 5, 5)), (0, 2, 3, 4), 5, **options).shape == (0, 2, 3, 4)
    x = rng.normal(size=(5, 4, 3, 2)).transpose(3, 2, 1, 0)
    assert_array_equal(F.interpolate(x.astype(">f8"), 7, **options), F.interpolate(x.copy(), 7, **options))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_where_it_belongs(value, dtype, isa):
    x = np.zeros((1, 1, 9, 9), dtype)
    x[0, 0, 4, 4] = value
    for options in MODES:
        y = F.interpolate(x, 18, **options)
        touched = np.argwhere(~np.isfinite(y[0, 0]))
        assert len(touched) and touched.min() >= 6 and touched.max() <= 12
        grad_x = F.interpolate_backward(np.where(np.isfinite(y), 0, y), x.shape, 18, **options)
        assert np.isfinite(grad_x[0, 0, :3]).all() and np.isfinite(grad_x[0, 0, :, 6:]).all()
        assert not np.isfinite(grad_x[0, 0, 4, 4])


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Upsample(scale_factor=2), (2, 3, 4, 5)),
        (nn.Upsample((7, 3), mode="bilinear"), (2, 3, 4, 5)),
        (nn.Upsample(scale_factor=(1.5, 0.7), mode="bilinear", align_corners=True), (2, 3, 4, 5)),
        (nn.Upsample(scale_factor=2.5, mode="linear", recompute_scale_factor=True), (2, 3, 5)),
    ],
    ids=str,
)
def test_layer(layer, shape, rng):
    assert (report := gradcheck(layer, rng.normal(size=shape))), str(report)


def test_repr():
    assert repr(nn.Upsample(scale_factor=2, mode="bilinear")) == "Upsample(scale_factor=2, mode='bilinear')"


@pytest.mark.parametrize("M", [F, R])
def test_errors(M):
    x = np.ones((2, 3, 4, 5))
    for arguments, message in (
        ({}, "give either size or scale_factor, got None and None"),
        ({"size": 2, "scale_factor": 2}, "give either size or scale_factor, got 2 and 2"),
        ({"size": (2, 2, 2)}, r"size must be one number or 2, got \(2, 2, 2\)"),
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"scale_factor": 0}, "scale_factor must be more than 0, got 0"),
        ({"scale_factor": 0.2}, "output size must be at least 1, got 0"),
        ({"size": 2, "mode": "bicubic"}, "mode must be one of 'nearest', .* got 'bicubic'"),
        ({"size": 2, "align_corners": True}, "align_corners is for mode 'linear' or 'bilinear', got mode='nearest'"),
        ({"size": 2, "mode": "linear"}, r"x has 4 dimensions \(2, 3, 4, 5\), mode='linear' expects \(N, C, L\)"),
        ({"size": 2, "recompute_scale_factor": True}, "recompute_scale_factor is for scale_factor"),
    ):
        with pytest.raises(ValueError, match=f"interpolate: {message}"):
            M.interpolate(x, **arguments)
    with pytest.raises(ValueError, match=r"grad_y has shape \(2, 3, 4, 5\), the output has \(2, 3, 8, 10\)"):
        M.interpolate_backward(x, (2, 3, 4, 5), scale_factor=2)
    with pytest.raises(ValueError, match=r"x \(2, 3, 0, 5\) has nothing to interpolate"):
        M.interpolate(np.ones((2, 3, 0, 5)), 4)
