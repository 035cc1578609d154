"""The five networks that cconv was made for: each builds, learns, and reaches the figure it should.

Those that take longer than a few seconds are marked slow: ``pytest -m slow tests/test_systems.py``.
"""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cconv
from cconv import data, models, nn, optim
from cconv import functional as F


def load(name):
    try:
        return getattr(data, name)()
    except OSError as error:
        pytest.skip(f"{name} is not on this machine: {error}")


def fit(model, train, test, epochs, batch_size, seed, lr, momentum=0.9, loss=None, **options):
    """Test accuracy after SGD with Nesterov's momentum, along a cosine."""
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=momentum, nesterov=momentum > 0, **options)
    schedule = optim.CosineAnnealingLR(optimizer, epochs)
    trainer = cconv.Trainer(
        model, loss or nn.CrossEntropyLoss(), optimizer, schedule=schedule, seed=seed, progress=False
    )
    trainer.fit(train, epochs, batch_size)
    return trainer.evaluate(test)["accuracy"]


def one_hot(part):
    return data.Dataset(part.x, np.eye(10, dtype=np.float32)[part.y])


# --- 1: two sigmoid convolutions on MNIST -------------------------------------------------------------------


@pytest.mark.slow
def test_two_sigmoid_convolutions_learn_mnist():
    train, test = load("mnist")
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Conv2d(1, 20, 5, rng=rng), nn.Sigmoid(), nn.MaxPool2d(2),
        nn.Conv2d(20, 40, 5, rng=rng), nn.Sigmoid(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(40 * 4 * 4, 100, rng=rng), nn.Sigmoid(), nn.Linear(100, 10, rng=rng),
    )  # fmt: skip
    for layer in model:
        # The fan of a convolution is channels x kernel area; counted from image sizes, signals fade.
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform(layer.weight, rng=rng)
    assert fit(model, train, test, epochs=8, batch_size=32, seed=0, lr=0.1) >= 0.985


# --- 2: a 64-30-10 perceptron on optdigits ------------------------------------------------------------------


def perceptron(sizes, activation, seed):
    rng = np.random.default_rng(seed)
    layers = [nn.Rescale(2.0, -1.0), nn.Flatten()]  # 0..1 to -1..1
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs, rng=rng), activation()]
    return nn.Sequential(*layers[:-1])  # the last activation belongs to the loss


@pytest.mark.parametrize(
    ("batch_size", "lr", "momentum"),
    [
        pytest.param(1, 0.01, 0.0, marks=pytest.mark.slow, id="example by example"),
        pytest.param(32, 0.1, 0.9, id="in batches"),
    ],
)
def test_tanh_perceptron_learns_optdigits(batch_size, lr, momentum):
    train, test = load("optdigits")
    accuracies = [
        fit(perceptron((64, 30, 10), nn.Tanh, seed), one_hot(train), one_hot(test), 30, batch_size, seed, lr, momentum)
        for seed in range(5)
    ]
    assert np.mean(accuracies) >= 0.955
    assert min(accuracies) >= 0.95


# --- 3: circles and crosses ---------------------------------------------------------------------------------


def shapes(count, rng, size=16):
    """RGB images (count, 3, size, size) of a circle (label 0) or a cross (label 1); place, size, colours vary."""
    y = rng.integers(0, 2, count)
    row, column = np.mgrid[:size, :size]
    x = np.empty((count, 3, size, size), np.float32)
    for image, label in zip(x, y, strict=True):
        radius = rng.uniform(3.5, 5.5)
        up, across = row - rng.uniform(6.5, 8.5), column - rng.uniform(6.5, 8.5)
        if label:
            drawn = (np.minimum(abs(up - across), abs(up + across)) < 1.0) & (np.maximum(abs(up), abs(across)) < radius)
        else:
            drawn = abs(np.hypot(up, across) - radius) < 0.8
        dark, bright = rng.uniform(0, 0.3, (3, 1)), rng.uniform(0.6, 1, (3, 1))
        image.reshape(3, -1)[:] = np.where(drawn.ravel(), bright, dark) + rng.normal(0, 0.03, (3, size * size))
    return x, y


@pytest.mark.parametrize("seed", range(3))
def test_one_relu_filter_tells_circles_from_crosses(seed):
    rng = np.random.default_rng(seed)
    train, train_y = shapes(400, rng)
    fresh, fresh_y = shapes(300, rng)
    model = nn.Sequential(
        nn.Normalize(train.mean((0, 2, 3)), train.std((0, 2, 3))),
        nn.Conv2d(3, 1, 3, rng=rng), nn.ReLU(), nn.Flatten(), nn.Linear(14 * 14, 1, rng=rng),
    )  # fmt: skip
    target = train_y[:, None].astype(np.float32)
    optimizer = optim.SGD(model.parameters(), lr=0.02)
    trainer = cconv.Trainer(model, nn.BCEWithLogitsLoss(), optimizer, seed=seed, progress=False)
    trainer.fit((train, target), epochs=20, batch_size=1)
    wrong = np.count_nonzero((model(fresh)[:, 0] > 0) != fresh_y)
    assert wrong == 0
    fires = (model[:3](fresh) > 0).mean()
    assert 0.05 < fires < 0.95


# --- 4: a four-layer ReLU perceptron ------------------------------------------------------------------------


def test_four_layer_relu_perceptron_has_right_gradients():
    model = perceptron((64, 40, 30, 10), nn.ReLU, seed=0)
    x = np.random.default_rng(0).random((8, 64))
    report = cconv.gradcheck(model, x)
    assert report
    assert report.max_error <= 1e-6


def test_four_layer_relu_perceptron_learns_optdigits():
    train, test = load("optdigits")
    accuracies = [
        fit(perceptron((64, 40, 30, 10), nn.ReLU, seed), train, test, 30, 32, seed, lr=0.05) for seed in range(5)
    ]
    assert np.mean(accuracies) >= 0.95


# --- 5: a convolution worked out by hand, and LeNet-5 -------------------------------------------------------


@pytest.fixture
def worked():
    """A 5x5x3 input and two 3x3x3 filters, simple enough to do by hand.

    Channel 0 is 1 everywhere, channel 1 the row's number, channel 2 the column's. Filter 0 adds up its window in
    channel 0 and the middle of channel 1, and 1. Filter 1 takes twice what lies above the middle in channel 1, what
    lies right less what lies left of it in channel 2, and -1.
    """
    rows, columns = np.mgrid[:5, :5]
    x = np.stack([np.ones((5, 5)), rows, columns])[None].astype(np.float32)
    layer = nn.Conv2d(3, 2, 3, stride=2, padding=1)
    weight = np.zeros((2, 3, 3, 3), np.float32)
    weight[0, 0] = 1
    weight[0, 1, 1, 1] = 1
    weight[1, 1, 0, 1] = 2
    weight[1, 2, 1] = [-1, 0, 1]
    layer.weight.value, layer.bias.value = weight, [1, -1]
    return layer, x


def test_convolution_by_hand(worked):
    layer, x = worked
    # The windows' middles are rows and columns 0, 2, 4. Of 9 places a corner window has 4 inside, one at an edge 6.
    counts = np.array([[4, 6, 4], [6, 9, 6], [4, 6, 4]])
    first = counts + np.array([[0], [2], [4]]) + 1
    assert first.tolist() == [[5, 7, 5], [9, 12, 9], [9, 11, 9]]
    # Above the middle: padding, row 1, row 3, doubled. Right less left: 1 - 0, 3 - 1, 0 - 3 with padding at both ends.
    second = np.array([[0], [2], [6]]) + np.array([1, 2, -3]) - 1
    assert second.tolist() == [[0, 1, -4], [2, 3, -2], [6, 7, 2]]
    np.testing.assert_array_equal(layer(x)[0], [first, second])


def test_convolution_gradients_by_hand(worked):
    layer, x = worked
    _, backward = layer.forward(x)
    grad_x = backward(np.ones((1, 2, 3, 3), np.float32))
    np.testing.assert_array_equal(layer.bias.grad, [9, 9])
    # Tap row 0 reads rows -1, 1, 3: two inside, whose numbers add up to 4. Row 1 reads 0, 2, 4; row 2 reads 1, 3, 5.
    inside, numbers = np.array([2, 3, 2]), np.array([4, 6, 4])
    one_filter = [np.outer(inside, inside), np.outer(numbers, inside), np.outer(inside, numbers)]
    np.testing.assert_array_equal(layer.weight.grad, [one_filter, one_filter])
    # Channel 0 hears filter 0 alone: even rows from one window, odd ones from two, and columns likewise.
    once_or_twice = np.array([1, 2, 1, 2, 1])
    np.testing.assert_array_equal(grad_x[0, 0], np.outer(once_or_twice, once_or_twice))
    # Channel 1: the middles (even, even) from filter 0, and 2 from filter 1 above each middle (odd, even).
    even, odd = 1 - np.arange(5) % 2, np.arange(5) % 2
    np.testing.assert_array_equal(grad_x[0, 1], np.outer(even, even) + 2 * np.outer(odd, even))
    # Channel 2, on middle rows: each odd column is right of one middle and left of the next.
    np.testing.assert_array_equal(grad_x[0, 2], np.zeros((5, 5)))


def test_convolution_has_56_parameters(worked):
    layer, _ = worked
    summary = str(layer.summary((3, 5, 5)))
    assert "56" in summary.split()
    assert sum(p.value.size for p in layer.parameters()) == 56


def test_gradient_check_prints_each_weight_of_each_filter(worked):
    layer, x = worked
    report = cconv.gradcheck(layer, x)
    assert report.max_error <= 1e-6
    printed = str(report)
    for index in np.ndindex(2, 3, 3, 3):
        assert str(index) in printed


def test_pooling_and_its_errors_by_hand():
    x = np.array([[1, 3, 2, 0], [5, 4, 1, 1], [0, 2, 9, 7], [6, 2, 8, 9]], np.float32)[None, None]
    errors = np.array([[10, 20], [30, 40]], np.float32)[None, None]
    largest, indices = F.max_pool2d(x, 2)
    assert largest[0, 0].tolist() == [[5, 2], [6, 9]]
    assert indices[0, 0].tolist() == [[4, 2], [12, 10]]  # of two nines the first
    routed = F.max_pool2d_backward(errors, indices, x.shape)
    assert routed[0, 0].tolist() == [[0, 0, 20, 0], [10, 0, 0, 0], [0, 0, 40, 0], [30, 0, 0, 0]]
    mean = F.avg_pool2d(x, 2)
    assert mean[0, 0].tolist() == [[3.25, 1], [2.5, 8.25]]
    spread = F.avg_pool2d_backward(errors, x.shape, 2)
    assert spread[0, 0].tolist() == [[2.5, 2.5, 5, 5], [2.5, 2.5, 5, 5], [7.5, 7.5, 10, 10], [7.5, 7.5, 10, 10]]


def test_the_pattern_is_one_line():
    model = models.cnn((1, 28, 28), conv=[[8, 8], [16]], pool=[True, False], fc=[32], num_classes=10)
    kinds = [type(layer).__name__ for layer in model]
    block = ["Conv2d", "ReLU"]
    assert kinds == [*block * 2, "MaxPool2d", *block, "Flatten", "Linear", "ReLU", "Linear"]
    assert model(np.zeros((2, 1, 28, 28), np.float32)).shape == (2, 10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lenet5_learns_mnist(seed):
    train, test = load("mnist")
    model = models.lenet5(rng=seed)
    assert fit(model, train, test, 20, 32, seed, lr=0.03, weight_decay=5e-4) >= 0.992


# --- the examples ---------------------------------------------------------------------------------------------


def example(*command):
    """What a script of examples/ printed, the accuracy last."""
    folder = Path(__file__).parents[1] / "examples"
    done = subprocess.run(
        [sys.executable, folder / command[0], *command[1:]], capture_output=True, text=True, timeout=3600
    )
    assert done.returncode == 0, done.stderr
    return float(re.findall(r"test accuracy ([\d.]+)%", done.stdout)[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("model", "least"), [("cnn", 99.6), ("lenet5", 99.4)])
def test_augmentation_takes_mnist_further(model, least):
    load("mnist")
    assert example("mnist_accuracy.py", "--model", model) >= least


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_an_epoch_and_a_quarter_take_mnist_to_99_percent(seed):
    load("mnist")
    if not list(Path(os.environ.get("CCONV_DATA", Path.home() / ".cache" / "cconv"), "mnist").glob("*.gz")):
        pytest.skip("the example reads gzip files")
    assert example("mnist_fast.py", "--seed", str(seed)) >= 99
