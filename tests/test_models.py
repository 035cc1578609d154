"""LeNet-5 and the builder of the classic pattern."""

import numpy as np
import pytest

from cconv import gradcheck, models, nn


def kinds(model):
    return [type(layer).__name__ for layer in model]


class TestLeNet5:
    def test_of_28x28_is_the_published_shape(self):
        model = models.lenet5()
        summary = model.summary((1, 28, 28))
        assert [row.output_shape[1:] for row in summary.rows if row.parameters] == [
            (6, 28, 28),
            (16, 10, 10),
            (120,),
            (84,),
            (10,),
        ]
        assert summary.parameters == 61706
        assert repr(model) == repr(
            nn.Sequential(
                nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
            )
        )  # fmt: skip

    @pytest.mark.parametrize("shape", [(1, 8, 8), (1, 4, 4), (3, 32, 32), (2, 12, 11), (1, 13, 40), (1, 12, 12)])
    def test_of_any_size(self, shape):
        model = models.lenet5(7, shape)
        assert model(np.zeros((2, *shape), np.float32)).shape == (2, 7)

    def test_small_images_pad_the_second_convolution(self):
        model = models.lenet5(input_shape=(1, 8, 8))
        assert model[3].padding == 2 and model[7].in_features == 64
        assert models.lenet5(input_shape=(1, 12, 12))[3].padding == 0

    def test_options(self):
        model = models.lenet5(activation=nn.Tanh, rng=3, dtype=np.float64)
        assert kinds(model).count("Tanh") == 4 and "ReLU" not in kinds(model)
        assert all(p.value.dtype == np.float64 for p in model.parameters())
        for p, q in zip(model.parameters(), models.lenet5(rng=3).parameters(), strict=True):
            np.testing.assert_array_equal(p.value.astype(np.float32), q.value)
        assert not np.array_equal(model[7].weight.value[:10, :84], model[11].weight.value)

    def test_gradients(self):
        x = np.random.default_rng(0).random((2, 1, 8, 8))
        report = gradcheck(models.lenet5(input_shape=(1, 8, 8), rng=0), x, samples=25)
        assert report, str(report)

    def test_errors(self):
        with pytest.raises(ValueError, match=r"input_shape \(1, 3, 8\) must have at least 4 rows and 4 columns"):
            models.lenet5(input_shape=(1, 3, 8))
        with pytest.raises(ValueError, match=r"lenet5: input_shape must be \(C, H, W\), got \(28, 28\)"):
            models.lenet5(input_shape=(28, 28))
        with pytest.raises(ValueError, match="out_features must be at least 1, got 0"):
            models.lenet5(0)


class TestCnn:
    def test_the_pattern(self):
        model = models.cnn((1, 28, 28), conv=[[32, 32], [64, 64]], pool=True, fc=[128], num_classes=10)
        block = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
        assert kinds(model) == [*block, *block, "Flatten", "Linear", "ReLU", "Linear"]
        assert [layer.out_channels for layer in model if isinstance(layer, nn.Conv2d)] == [32, 32, 64, 64]
        assert model(np.zeros((2, 1, 28, 28), np.float32)).shape == (2, 10)
        assert model.summary((1, 28, 28)).rows[9].output_shape == ("N", 64, 7, 7)

    def test_unpadded_sigmoids_as_of_old(self):
        model = models.cnn(
            (1, 28, 28), [[20], [40]], fc=[100], kernel_size=5, padding=0, activation=nn.Sigmoid, pooling=nn.AvgPool2d
        )
        assert kinds(model)[:3] == ["Conv2d", "Sigmoid", "AvgPool2d"]
        assert model[7].in_features == 40 * 4 * 4
        assert model(np.zeros((1, 1, 28, 28), np.float32)).shape == (1, 10)

    def test_pooling_of_some_blocks(self):
        model = models.cnn((3, 9, 6), [[4], [5, 5], [6]], pool=[True, False, True], fc=[], num_classes=2)
        assert kinds(model).count("MaxPool2d") == 2
        assert isinstance(model[-1], nn.Linear) and model[-1].in_features == 6 * 2 * 1
        assert model(np.zeros((2, 3, 9, 6), np.float32)).shape == (2, 2)

    def test_without_convolutions_it_is_a_perceptron(self):
        model = models.cnn((1, 8, 8), conv=[], fc=[30], activation=nn.Tanh)
        assert kinds(model) == ["Flatten", "Linear", "Tanh", "Linear"]
        assert model[1].in_features == 64

    def test_seeds(self):
        first, same, other = (models.cnn((1, 8, 8), rng=seed) for seed in (1, 1, 2))
        x = np.random.default_rng(0).random((1, 1, 8, 8)).astype(np.float32)
        np.testing.assert_array_equal(first(x), same(x))
        assert not np.array_equal(first(x), other(x))

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: models.cnn((28, 28)), r"cnn: input_shape must be \(C, H, W\), got \(28, 28\)"),
            (lambda: models.cnn((1, 8, 8), [[4]], pool=[True, False]), "cnn: pool has 2 entries, conv 1 blocks"),
            (lambda: models.cnn((1, 4, 4), [[4]] * 3), "cnn: block 2 has 1x1 left, too little to pool: use pool=False"),
            (lambda: models.cnn((1, 4, 4), [[4]], kernel_size=5, padding=0), "kernel height 5 is larger than"),
            (lambda: models.cnn((1, 8, 8), [[0]]), "out_channels must be at least 1, got 0"),
        ],
    )
    def test_errors(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()
