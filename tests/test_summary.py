"""Layer.summary: shapes, parameters and multiply-adds."""

import numpy as np
import pytest

from cconv import nn


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1176, 10),
    )


def test_two_filters_of_three_by_three_by_three_have_56_parameters():
    summary = nn.Conv2d(3, 2, 3, stride=2, padding=1).summary((3, 5, 5))
    assert summary.parameters == 56
    # 2 filters at 3x3 places, each over 3x3x3 values.
    assert summary.multiply_adds == 2 * 9 * 27
    assert str(summary).splitlines() == [
        "Conv2d for an input of (N, 3, 5, 5)",
        "Layer   Output shape  Parameters  Multiply-adds an image",
        "--------------------------------------------------------",
        "Conv2d  (N, 2, 3, 3)          56                     486",
        "--------------------------------------------------------",
        "Total                         56                     486",
    ]


def test_rows_by_layer():
    summary = lenet().summary((1, 28, 28))
    assert [tuple(row) for row in summary.rows] == [
        ("0", "Conv2d", ("N", 6, 28, 28), 156, 6 * 28 * 28 * 25),
        ("1", "ReLU", ("N", 6, 28, 28), 0, 0),
        ("2", "MaxPool2d", ("N", 6, 14, 14), 0, 0),
        ("3", "Flatten", ("N", 1176), 0, 0),
        ("4", "Linear", ("N", 10), 11770, 11760),
    ]
    assert summary.parameters == 156 + 11770 and summary.multiply_adds == 117600 + 11760
    assert repr(summary) == str(summary)
    assert "11,926" in str(summary) and "129,360" in str(summary)


def test_a_batch_size_is_shown_and_not_run():
    one, many = lenet().summary((1, 28, 28)), lenet().summary((10**9, 1, 28, 28))
    assert many.rows[0].output_shape == (10**9, 6, 28, 28)
    assert many.multiply_adds == one.multiply_adds
    assert lenet().summary((0, 1, 28, 28)).rows[-1].output_shape == (0, 10)


def test_features():
    model = nn.Sequential(nn.Linear(64, 30), nn.Tanh(), nn.Linear(30, 10))
    for shape in ((64,), (5, 64)):
        summary = model.summary(shape)
        assert summary.parameters == 64 * 30 + 30 + 30 * 10 + 10
        assert summary.rows[0].output_shape == (shape[0] if len(shape) == 2 else "N", 30)


def test_groups_reduce_the_work():
    summary = nn.Conv2d(4, 8, 3, groups=4, bias=False).summary((4, 5, 5))
    assert summary.parameters == 8 * 9 and summary.multiply_adds == 8 * 9 * 9


@pytest.mark.parametrize(("shape", "batched", "n"), [((4, 20), False, "N"), ((7, 4, 20), True, 7)])
def test_sequences_say_whether_they_are_a_batch(shape, batched, n):
    summary = nn.Sequential(nn.Conv1d(4, 8, 5, groups=2), nn.MaxPool1d(2)).summary(shape, batched=batched)
    assert [row.output_shape for row in summary.rows] == [(n, 8, 16), (n, 8, 8)]
    assert summary.parameters == 8 * 2 * 5 + 8 and summary.multiply_adds == 16 * 8 * 2 * 5


def test_a_transposed_convolution_works_once_an_input():
    summary = nn.ConvTranspose2d(8, 4, 3, stride=2, groups=2).summary((8, 5, 5))
    assert summary.rows[0].output_shape == ("N", 4, 11, 11)
    assert summary.parameters == 8 * 2 * 9 + 4 and summary.multiply_adds == 8 * 5 * 5 * 2 * 9


def test_shared_layers_count_once_and_frozen_ones_are_told():
    layer = nn.Linear(4, 4)
    layer.bias.trainable = False
    summary = nn.Sequential(layer, nn.ReLU(), layer).summary((4,))
    assert [row.parameters for row in summary.rows] == [20, 0, None]
    assert summary.parameters == 20 and summary.trainable_parameters == 16 and summary.multiply_adds == 32
    assert "shared" in str(summary) and str(summary).endswith("Trainable parameters: 16; frozen: 4")


def test_layers_of_ones_own():
    class Residual(nn.Layer):
        def __init__(self):
            self.gain = nn.Parameter(np.ones(1))
            self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

        def forward(self, x, train=True):
            y, backward = self.body.forward(x, train)
            return x + y * self.gain.value, backward

        def multiply_adds(self, x_shape, y_shape):
            return y_shape[1]

    rows = nn.Sequential(Residual(), nn.Linear(4, 2)).summary((4,)).rows
    assert [(row.path, row.kind, row.parameters, row.multiply_adds) for row in rows] == [
        ("0", "Residual", 1, 4),
        ("0.body.0", "Linear", 20, 16),
        ("0.body.1", "ReLU", 0, 0),
        ("1", "Linear", 10, 8),
    ]


def test_the_model_is_left_alone():
    model = lenet()
    attributes = [dict(vars(layer)) for _, layer in model.named_layers()]
    before = model.state_dict()
    model.summary((1, 28, 28))
    assert [dict(vars(layer)) for _, layer in model.named_layers()] == attributes
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_parameters_are_not_copied(monkeypatch):
    model = nn.Sequential(nn.Linear(4, 2))
    monkeypatch.setattr(nn.Parameter, "__deepcopy__", lambda *a: pytest.fail("copied"), raising=False)
    model.summary((4,))


def test_errors():
    with pytest.raises(ValueError, match=r"Sequential\[4\] Linear: in_features=1176, but Flatten gives 1536"):
        lenet().summary((1, 32, 32))
    with pytest.raises(ValueError, match="summary: input_shape must be"):
        lenet().summary(())
    with pytest.raises(TypeError, match=r"summary: input_shape must be an integer, got 1\.5"):
        lenet().summary((1, 1.5, 2))
