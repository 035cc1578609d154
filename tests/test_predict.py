"""Prediction in batches: the same bits, within a bound on memory."""

import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cconv import nn
from cconv.data import Dataset, Loader
from cconv.train.predict import predict

MB = 1 << 20


def network(channels=8):
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1, rng=0), nn.BatchNorm2d(channels), nn.ReLU(),
        nn.Residual(nn.Conv2d(channels, channels, 3, padding=1, rng=1), relu=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(channels * 64, 5, rng=2),
    )  # fmt: skip


def images(n, size=16):
    return np.random.default_rng(0).standard_normal((n, 3, size, size)).astype(np.float32)


class Own(nn.Layer):
    """A layer in NumPy that takes much more memory than its input and output."""

    def forward(self, x, train=True):
        wide = np.repeat(x, 40, axis=1) * np.float32(2)
        return wide.reshape(len(x), 40, -1).sum(1), None


class Noted:
    """A model that notes the batches it is given."""

    def __init__(self, model):
        self.model, self.sizes = model, []

    def __call__(self, x):
        self.sizes.append(len(x))
        return self.model(x)


@pytest.mark.parametrize("n", [1, 2, 9, 10, 40])
def test_bits_do_not_depend_on_the_batch(n):
    model, x = network(), images(n)
    expected = model(x)
    for options in ({}, {"batch_size": 1}, {"batch_size": 7}, {"batch_size": n}, {"memory": 1}, {"memory": 300_000}):
        found = predict(model, x, **options)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_what_x_may_be(tmp_path):
    model, x = network(), images(40)
    expected = model(x)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    parts = [x[i : i + 13] for i in range(0, 40, 13)]
    labels = np.zeros(13, int)
    for given in (
        *(mapped, Dataset(x, np.zeros(40, int)), list(x), iter(parts)),
        iter([(part, labels) for part in parts]),
        iter([(part, labels, labels) for part in parts]),
    ):
        np.testing.assert_array_equal(predict(model, given), expected)
    for batch_size in (5, 20):
        np.testing.assert_array_equal(predict(model, iter(parts), batch_size), expected)


class TwoInputs(nn.Layer):
    def forward(self, x, train=True):
        a, b = (x["a"], x["b"]) if isinstance(x, dict) else x
        return {"sum": a + b, "both": (a.sum(1), b)} if isinstance(x, dict) else (a + b, a[:, 0]), None


def test_several_inputs_and_outputs():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 30, 4))
    first, second = predict(TwoInputs(), (a, b), 7)
    np.testing.assert_array_equal(first, a + b)
    np.testing.assert_array_equal(second, a[:, 0])
    found = predict(TwoInputs(), {"a": a, "b": b}, 7)
    np.testing.assert_array_equal(found["sum"], a + b)
    np.testing.assert_array_equal(found["both"][0], a.sum(1))
    out = np.empty((30, 4)), np.empty(30)
    assert predict(TwoInputs(), (a, b), 7, out=out)[0] is out[0]
    np.testing.assert_array_equal(out[0], a + b)


def test_out(tmp_path):
    model, x = network(), images(20)
    expected = model(x)
    out = np.memmap(tmp_path / "out", np.float64, "w+", shape=(20, 5))
    assert predict(model, x, 6, out=out) is out
    np.testing.assert_array_equal(out, expected)
    larger = np.full((25, 5), 7.0)
    found = predict(model, iter([x[:9], x[9:]]), out=larger)
    assert np.shares_memory(found, larger) and len(found) == 20 and (larger[20:] == 7).all()
    np.testing.assert_array_equal(found, expected)


def test_nothing_gives_nothing():
    assert predict(network(), images(0)).shape == (0, 5)
    assert predict(network(), iter([images(0), images(3)])).shape == (3, 5)


def test_a_probe_is_not_wasted():
    model = Noted(network())
    predict(model, images(700))
    assert model.sizes == [1, 8, 256, 256, 179]
    model.sizes.clear()
    predict(model, iter([images(3)] * 9), memory=MB)
    assert model.sizes == [1, 2] + [3] * 8
    model.sizes.clear()
    predict(model, images(20), 8)
    assert model.sizes == [8, 8, 4]


def peak_of(function):
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_results_of_operations_are_traced():
    """On which the measure rests: NumPy reports what our allocator gives out."""
    x = np.zeros(MB, np.float32)
    assert peak_of(lambda: nn.ReLU()(x)) >= 4 * MB


class Dense(nn.Layer):
    """Keeps all its layers' outputs."""

    def __init__(self):
        self.layers = [nn.Conv2d(3 + 8 * i, 8, 3, padding=1, rng=i) for i in range(4)]

    def forward(self, x, train=True):
        for layer in self.layers:
            x = np.concatenate([x, layer(x)], 1)
        return x.mean((2, 3)), None


@pytest.mark.parametrize("memory", [2 * MB, 5 * MB, 20 * MB])
@pytest.mark.parametrize("make", [lambda: network(32), Own, Dense], ids=["layers", "own", "dense"])
def test_peak_memory_stays_within_the_bound(make, memory):
    model, x = Noted(make()), images(400)
    model(x[:1])
    model.sizes.clear()
    out = np.empty((400, *model(x[:1]).shape[1:]), np.float32)
    peak = peak_of(lambda: predict(model, x, memory=memory, out=out))
    assert peak <= memory
    assert max(model.sizes) == 256 or peak > memory / 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_process_stays_within_the_bound():
    """As the system sees it: 3,000 images whose activations would take 800 MB at once."""
    code = """
import numpy as np
from cconv import nn
from cconv.train.predict import predict
def resident(which):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(which)) / 1024
model = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 256, 4))
x = np.zeros((3000, 1, 32, 32), np.float32)
x += 1
model(x[:2])
before = resident("VmRSS")
predict(model, x, memory=32 << 20)
print(resident("VmHWM") - before)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    # The bound, freed blocks that are kept, and Python's own for tracing.
    assert float(found) < 32 * 1.5 + 8


def test_from_many_threads():
    model, x = network(), images(60)
    expected = model(x)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: predict(model, x, memory=MB), range(8)):
            np.testing.assert_array_equal(found, expected)
    assert not tracemalloc.is_tracing()


def test_a_tracing_caller_goes_on_tracing():
    tracemalloc.start()
    try:
        predict(network(), images(20))
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


def test_loaders():
    model, x = network(), images(30)
    loader = Loader((x, np.zeros(30, int)), 7, shuffle=False)
    np.testing.assert_array_equal(predict(model, loader), model(x))
    assert loader.epoch == 0
    for wrong in (Loader((x, x), 7), Loader((x, x), shuffle=False, sampler=lambda epoch, rng: np.arange(9))):
        with pytest.raises(ValueError, match="the loader shuffles or samples"):
            predict(model, wrong)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: predict(network(), images(3), 0), ValueError, "predict: batch_size must be at least 1, got 0"),
        (lambda: predict(network(), images(3), memory=0), ValueError, "predict: memory must be more than 0"),
        (lambda: predict(network(), iter([])), ValueError, "predict: x has no batches"),
        (
            lambda: predict(TwoInputs(), (np.zeros(3), np.zeros(4))),
            ValueError,
            r"predict: x\[0\] \(3,\) and x\[1\] \(4,\) must have the same length",
        ),
        (lambda: predict(network(), images(3), out=np.zeros((2, 5))), ValueError, r"at least \(3, 5\), got \(2, 5\)"),
        (lambda: predict(network(), images(3), out=np.zeros((3, 5), int)), ValueError, "out has dtype int64"),
        (lambda: predict(network(), images(3), out=()), ValueError, "out has 0 arrays, the model gives 1"),
        (lambda: predict(lambda x: x.sum(), images(3)), ValueError, r"gives \(\) for 1 examples, expected \(1, ...\)"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()
