"""Dropout: the generator, masks, and the layers."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import cconv
from cconv import functional as F
from cconv import gradcheck, nn
from cconv import reference as R
from cconv.reference.dropout import philox

pytestmark = pytest.mark.usefixtures("poison")

SHAPES = [(0,), (), (1,), (63,), (64,), (65,), (3, 4095), (4097,), (2, 3, 50, 50)]


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([2**32 - 1] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0_A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_numbers_of_its_authors(counter, key, words):
    assert philox(np.array([counter], np.uint64), key).tolist() == [words]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("p", "seed", "step"), [(0.5, 0, 0), (0.1, 2**64 - 1, 7), (0.9, 12345678901234, 2**31 - 1)])
def test_against_the_reference(shape, p, seed, step, isa, dtype, n_threads, rng):
    x = np.asarray(rng.normal(size=shape), dtype)
    got, want = (M.dropout(x, p, seed=seed, step=step) for M in (F, R))
    assert got.dtype == dtype and got.shape == shape
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps)
    assert_array_equal(got == 0, want == 0)
    assert_array_equal(F.dropout_backward(x, p, seed=seed, step=step), got)


def test_the_share_of_zeros_and_its_spread():
    for p in (0.1, 0.5, 0.9):
        ones = F.dropout(np.ones((1000, 1000), np.float32), p, seed=3)
        assert abs((ones == 0).mean() - p) < 0.002 and abs(ones.mean() - 1) < 0.01
        # Rows and columns are as far from p as independent draws put them.
        for axis in (0, 1):
            assert 0.85 < (ones == 0).mean(axis).std() / np.sqrt(p * (1 - p) / 1000) < 1.15


def test_masks_of_other_seeds_and_steps_differ():
    ones = np.ones(10_000)
    masks = [F.dropout(ones, 0.5, seed=seed, step=step) > 0 for seed in (0, 1, 2**32) for step in (0, 1)]
    for i in range(6):
        for j in range(i):
            assert abs((masks[i] == masks[j]).mean() - 0.5) < 0.03


def test_all_and_nothing(isa, dtype):
    x = np.array([1, -2, np.inf, np.nan], dtype)
    for M in (F, R):
        assert_array_equal(M.dropout(x, 0.0), x)
        assert_array_equal(M.dropout(x, 1.0), [0, 0, np.nan, np.nan])
        assert_array_equal(M.dropout(x, 0.5, training=False), x)
        assert M.dropout(x, training=False) is not x


def test_whole_channels(isa, dtype, rng):
    x = rng.normal(size=(6, 50, 4, 5)).astype(dtype)
    got, want = (M.dropout2d(x, 0.3, seed=5, step=2) for M in (F, R))
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps)
    zero = (got == 0).reshape(300, 20)
    assert_array_equal(zero.all(1), zero.any(1))
    assert 0.2 < zero.mean() < 0.4
    assert_array_equal(F.dropout2d(x, 0.3, False), x)


class Fixed(nn.Layer):
    """A dropout that draws one mask each time."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, x, train=True):
        self.layer.step = 4
        return self.layer.forward(x, train)


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout2d])
class TestLayers:
    def test_gradients(self, kind, rng):
        for train in (True, False):
            report = gradcheck(Fixed(kind(0.4, rng=0)), rng.normal(size=(3, 4, 2, 3)), train=train)
            assert report, str(report)

    def test_prediction_is_the_identity_and_draws_nothing(self, kind, rng):
        layer, x = kind(0.4), rng.normal(size=(2, 3, 4, 4))
        assert_array_equal(layer(x), x)
        y, backward = layer.forward(x, train=False)
        assert_array_equal(y, x)
        assert_array_equal(backward(x), x)
        assert layer.step == 0

    def test_backward_has_the_mask_of_its_call(self, kind):
        layer, ones = kind(0.5, rng=1), np.ones((4, 8, 3, 3), np.float32)
        calls = [layer.forward(ones) for _ in range(3)]
        for y, backward in reversed(calls):
            assert_array_equal(backward(ones), y)
        assert not np.array_equal(calls[0][0], calls[1][0])
        y, backward = layer.forward(ones)
        assert backward(ones, need_x=False) is None

    def test_seeds(self, kind):
        ones = np.ones((4, 8, 3, 3), np.float32)

        def drawn():
            cconv.manual_seed(3)
            first, second = kind(), kind()
            return [layer.forward(ones)[0] for layer in (first, second, first)]

        again = drawn()
        for a, b in zip(drawn(), again, strict=True):
            assert_array_equal(a, b)
        assert not np.array_equal(again[0], again[1]) and not np.array_equal(again[0], again[2])
        assert_array_equal(kind(rng=5).forward(ones)[0], kind(rng=5).forward(ones)[0])

    def test_copies_go_on_alike(self, kind):
        layer, ones = kind(rng=5), np.ones((4, 8, 3, 3), np.float32)
        layer.forward(ones)
        copies = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
        y = layer.forward(ones)[0]
        for twin in copies:
            assert_array_equal(twin.forward(ones)[0], y)

    def test_state_and_repr(self, kind):
        assert not kind().state_dict() and repr(kind(0.25)) == f"{kind.__name__}(p=0.25)"

    def test_errors(self, kind):
        with pytest.raises(ValueError, match=f"{kind.__name__}: p must be at most 1, got 2"):
            kind(2)
        with pytest.raises(TypeError, match="p must be a number"):
            kind("half")
