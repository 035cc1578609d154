"""Calls seen before: what is remembered of them changes neither an answer nor a refusal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import cconv
from cconv import functional as F
from cconv import nn
from cconv import reference as R
from cconv._kernels import arrays
from cconv.functional import _calls
from cconv.functional import _conv_choice as choice


def small(rng, *shape, dtype=np.float32):
    return rng.integers(-3, 4, shape).astype(dtype)


def test_signature_tells_apart():
    x = np.zeros((2, 3), np.float32)
    things = [
        x, x.T.copy(), x.astype(np.float64), x.astype(np.int64), np.zeros(6, np.float32), None, True, False, 0, 1, -1,
        2**40, (), (1,), ((1,),), (1, 1), "", "same", "valid", "a" * 32,
    ]  # fmt: skip
    keys = [arrays.signature(thing) for thing in things]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert arrays.signature(x, 1) == arrays.signature(np.ones((2, 3), np.float32), 1)
    assert arrays.signature((1, 2), 3) != arrays.signature((1,), (2, 3))


@pytest.mark.parametrize(
    "thing",
    [
        1.0, [1], (1.0, 1), 2**64, np.int64(1), np.bool_(True), "a" * 33, "é\ud800", b"", object(),
        np.zeros((2, 3), np.float32).T, np.zeros(4, ">f4"), np.zeros(3, np.float16), np.zeros(3, object),
        np.zeros((2, 2), np.float32).view(np.matrix), np.frombuffer(bytes(9), np.uint8)[1:].view(np.float32),
        tuple(range(200)),
    ],
)  # fmt: skip
def test_no_signature(thing):
    assert arrays.signature(thing) is None


def test_all_below():
    for bad in ([-1], [5], [2**62], [-(2**63)], [0, 1, 2, 3, 4, 4, 3, 2, 5]):
        assert not arrays.all_below(np.array(bad, np.int64), 5)
    assert arrays.all_below(np.array([0, 4, 3], np.int64), 5)
    assert arrays.all_below(np.array([], np.int64), 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_finite(dtype):
    x = np.full(37, np.finfo(dtype).max, dtype)
    assert arrays.all_finite(x)
    for bad in (np.inf, -np.inf, np.nan):
        y = x.copy()
        y[36] = bad
        assert not arrays.all_finite(y)


def test_refusals_after_a_good_call(rng):
    x, weight, bias = small(rng, 2, 3, 6, 6), small(rng, 4, 3, 3, 3), small(rng, 4)
    for _ in range(2):
        y = F.conv2d(x, weight, bias)
        pooled, indices = F.max_pool2d(x, 2)
        F.linear(bias[None], np.ones((2, 4), np.float32))
        F.cross_entropy(y[:, :, 0, 0], np.array([0, 3]))
        F.conv2d_backward(y, x, weight)
        F.max_pool2d_backward(pooled, indices, x.shape)
        with pytest.raises(TypeError, match=r"stride must be an integer, got 1\.0"):
            F.conv2d(x, weight, bias, stride=1.0)
        with pytest.raises(TypeError, match="padding must be an integer, got True"):
            F.conv2d(x, weight, bias, padding=True)
        with pytest.raises(TypeError, match="share one dtype"):
            F.conv2d(x.astype(np.float64), weight, bias)
        with pytest.raises(ValueError, match="x has 4 channels"):
            F.conv2d(small(rng, 2, 4, 6, 6), weight, bias)
        with pytest.raises(ValueError, match="bias has shape"):
            F.conv2d(x, weight, bias[:3])
        with pytest.raises(ValueError, match="grad_y has shape"):
            F.conv2d_backward(y[:, :, :3], x, weight)
        with pytest.raises(TypeError, match="needs must be three"):
            F.conv2d_backward(y, x, weight, needs=(True, True))
        with pytest.raises(TypeError, match="uint8"):
            F.conv2d(x.astype(np.uint8), weight, bias)
        with pytest.raises(ValueError, match="4 features"):
            F.linear(bias[None], np.ones((2, 5), np.float32))
        with pytest.raises(ValueError, match=r"indices hold 36, expected 0\.\.35"):
            F.max_pool2d_backward(pooled, np.full_like(indices, 36), x.shape)
        with pytest.raises(ValueError, match="target has label 4 at index 1"):
            F.cross_entropy(y[:, :, 0, 0], np.array([0, 4]))
        with pytest.raises(ValueError, match="target has label -1 at index 0"):
            F.cross_entropy_backward(1.0, y[:, :, 0, 0], np.array([-1, 3]))


def test_layouts_after_a_good_call(rng):
    x, weight = small(rng, 2, 3, 6, 6), small(rng, 4, 3, 3, 3)
    expected = F.conv2d(x, weight)
    assert_array_equal(F.conv2d(x.astype(">f4"), weight), expected)
    assert_array_equal(F.conv2d(np.asfortranarray(x), weight), expected)
    x.flags.writeable = False
    assert_array_equal(F.conv2d(x, weight, stride=[1, 1], padding=[0, 0]), expected)


def test_infinite_weights_after_finite_ones(rng):
    x, grad_y, weight = small(rng, 2, 20, 9, 9), small(rng, 2, 18, 9, 9), small(rng, 18, 20, 3, 3)
    for value in (1.0, np.inf, 2.0):
        weight[0, 0, 0, 0] = value
        got = F.conv2d_backward(grad_y, x, weight, padding=1, needs=(True, False, False), algorithm="direct")[0]
        assert_array_equal(got, R.conv2d_backward(grad_y, x, weight, padding=1, needs=(True, False, False))[0])


def test_threads_and_instruction_set_between_calls(rng, isa):
    x, weight = rng.standard_normal((8, 6, 14, 14), np.float32), rng.standard_normal((16, 6, 5, 5), np.float32)
    y = F.conv2d(x, weight)
    before = cconv.get_num_threads()
    try:
        results = []
        for threads in (1, 3, 2, 1):
            cconv.set_num_threads(threads)
            results.append((F.conv2d(x, weight), *F.conv2d_backward(y, x, weight), *F.max_pool2d(y, 2)))
    finally:
        cconv.set_num_threads(before)
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            assert_array_equal(one, other)


def test_memory_of_calls_is_bounded(monkeypatch):
    _calls.forget()
    monkeypatch.setattr(_calls, "KEPT", 8)
    weight = np.ones((1, 2), np.float32)
    for n in range(1, 40):
        assert F.linear(np.ones((n, 2), np.float32), weight).shape == (n, 1)
        assert len(_calls._kept) <= 8


# --- the gradient tap by tap --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tap_by_tap(isa, n_threads, dtype, monkeypatch):
    monkeypatch.setattr(choice, "by_taps", lambda shape: shape.stride == (1, 1))
    _calls.forget()
    rng = np.random.default_rng(1)
    for _ in range(25):
        groups, channels, filters = rng.integers(1, 4), rng.integers(1, 6), rng.integers(1, 20)
        kernel, dilation = rng.integers(1, 6, 2), rng.integers(1, 3, 2)
        padding = tuple(tuple(int(p) for p in rng.integers(0, 4, 2)) for _ in range(2))
        size = (kernel - 1) * dilation + 1 + rng.integers(0, 20, 2)
        options = {"padding": padding, "dilation": tuple(int(d) for d in dilation), "groups": int(groups)}
        x = small(rng, rng.integers(0, 4), channels * groups, *size, dtype=dtype)
        weight = small(rng, filters * groups, channels, *kernel, dtype=dtype)
        grad_y = small(rng, *F.conv2d(x, weight, **options).shape, dtype=dtype)
        got = F.conv2d_backward(grad_y, x, weight, **options, needs=(True, False, False))[0]
        assert_array_equal(got, R.conv2d_backward(grad_y, x, weight, **options, needs=(True, False, False))[0])


def test_tap_by_tap_has_more_filters_than_a_pass(isa, rng):
    x, weight = small(rng, 2, 3, 9, 9), small(rng, 300, 3, 5, 5)
    grad_y = small(rng, 2, 300, 5, 5)
    got = F.conv2d_backward(grad_y, x, weight, needs=(True, False, False))[0]
    assert_array_equal(got, R.conv2d_backward(grad_y, x, weight, needs=(True, False, False))[0])


def test_tap_by_tap_keeps_infinity_in_its_place(isa, rng):
    x, weight, grad_y = small(rng, 1, 6, 14, 14), small(rng, 16, 6, 5, 5), small(rng, 1, 16, 10, 10)
    weight[3, 2, 4, 0], grad_y[0, 5, 9, 9] = np.inf, np.nan
    got = F.conv2d_backward(grad_y, x, weight, needs=(True, False, False))[0]
    assert_array_equal(got, R.conv2d_backward(grad_y, x, weight, needs=(True, False, False))[0])


# --- activations over what nobody else holds ----------------------------------------------------------------


def network(activation):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=0), activation(), nn.MaxPool2d(2), activation(), nn.Flatten(),
        nn.Linear(36, 5, rng=1), activation(), nn.Linear(5, 3, rng=2), activation(),
    )  # fmt: skip


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.Tanh])
def test_written_over_or_not_the_same_bits(rng, activation):
    x, grad_y = rng.standard_normal((3, 1, 8, 8), np.float32), rng.standard_normal((3, 3), np.float32)
    kept_x, kept_grad = x.copy(), grad_y.copy()
    model, apart = network(activation), network(activation)
    y, backward = model.forward(x)
    grad_x = backward(grad_y)
    expected, closures = x, []
    for layer in apart:
        expected, closure = layer.forward(expected)
        closures.append(closure)
    grad = grad_y
    for closure in reversed(closures):
        grad = closure(grad)
    assert_array_equal(y, expected)
    assert_array_equal(model(x), expected)
    assert_array_equal(grad_x, grad)
    for one, other in zip(model.parameters(), apart.parameters(), strict=True):
        assert_array_equal(one.grad, other.grad)
    assert_array_equal(x, kept_x)
    assert_array_equal(grad_y, kept_grad)


def test_what_others_hold_is_not_written_over(rng):
    class Watched(nn.Conv2d):
        def forward(self, x, train=True):
            self.seen, backward = super().forward(x, train)
            return self.seen, backward

    class Gives(nn.Layer):
        """Hands on an array that it holds, and a gradient likewise."""

        def forward(self, x, train=True):
            self.seen = x - 0.5

            def backward(grad_y, need_x=True):
                self.grad = grad_y * 2
                return self.grad

            return self.seen, backward

    x = rng.standard_normal((2, 1, 6, 6), np.float32)
    watched, gives = Watched(1, 2, 3, rng=0), Gives()
    model = nn.Sequential(watched, nn.ReLU(), gives, nn.ReLU(), nn.Sequential(nn.ReLU()), gives)
    wrapped = nn.Conv2d(2, 2, 3, rng=0)
    held, forward = [], wrapped.forward
    wrapped.forward = lambda x, train=True: held.append(forward(x, train)) or held[-1]
    model.append(wrapped).append(nn.ReLU())
    y, backward = model.forward(x)
    assert (watched.seen < 0).any()
    assert (held[0][0] < 0).any()
    assert (gives.seen < 0).any()
    backward(np.ones_like(y))
    assert (gives.grad != 0).any()
    model(x)
    assert (watched.seen < 0).any()


def test_a_layer_used_twice_and_from_many_threads(rng):
    conv, relu = nn.Conv2d(2, 2, 3, padding=1, rng=0), nn.ReLU()
    model = nn.Sequential(conv, relu, conv, relu, conv)
    batches = [rng.standard_normal((n, 2, 9, 9), np.float32) for n in (1, 3, 2, 5) * 8]
    expected = [model(x) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        for got, y in zip(pool.map(model, batches), expected, strict=True):
            assert_array_equal(got, y)
    x = batches[1].astype(np.float64)
    twice = nn.Sequential(*(layer for layer in model))
    y, backward = twice.forward(x)
    assert_array_equal(y, model.forward(x)[0])
    backward(np.ones_like(y))
    assert np.abs(conv.weight.grad).sum() > 0
