"""gradcheck: right gradients pass, each kind of wrong one is caught, kinks are left out."""

import numpy as np
import pytest

from cconv import gradcheck, nn

X = np.random.default_rng(0).normal(size=(4, 3))


class Altered(nn.Layer):
    """A linear layer whose gradients a test spoils."""

    def __init__(self, spoil):
        self.linear = nn.Linear(3, 2, rng=0)
        self.spoil = spoil

    def forward(self, x, train=True):
        y, backward = self.linear.forward(x, train)

        def spoilt(grad_y, need_x=True):
            return self.spoil(self.linear, backward, grad_y, need_x)

        return y, spoilt


def right(linear, backward, grad_y, need_x):
    return backward(grad_y, need_x)


def scaled(linear, backward, grad_y, need_x):
    return backward(grad_y, need_x) * (1 + 1e-5)


def zero(linear, backward, grad_y, need_x):
    return backward(grad_y, need_x) * 0


def nan(linear, backward, grad_y, need_x):
    return backward(grad_y, need_x) * np.nan


def one_weight(linear, backward, grad_y, need_x):
    grad_x = backward(grad_y, need_x)
    linear.weight.grad[1, 2] *= 1.001
    return grad_x


def bias_averaged(linear, backward, grad_y, need_x):
    before = linear.bias.grad.copy()
    grad_x = backward(grad_y, need_x)
    linear.bias.grad = before + grad_y.mean(0)
    return grad_x


def ungiven(linear, backward, grad_y, need_x):
    backward(grad_y, need_x)


def transposed(linear, backward, grad_y, need_x):
    return backward(grad_y).T


def replacing(linear, backward, grad_y, need_x):
    linear.zero_grad()
    return backward(grad_y, need_x)


def test_a_right_layer_passes():
    report = gradcheck(Altered(right), X)
    assert report and report.ok and report.max_error < 1e-8
    assert set(report.errors) == {"x", "linear.weight", "linear.bias"}
    assert [len(a.entries) for a in report.arrays] == [12, 6, 2]
    assert report.kinks == 0 and report.problems == []
    for a in report.arrays:
        for entry in a.entries:
            assert entry.analytic == pytest.approx(entry.numeric, rel=1e-7)


@pytest.mark.parametrize(
    ("spoil", "error", "where"),
    [
        (zero, 1.0, "x"),
        (nan, np.inf, "x"),
        (one_weight, 1e-3, "linear.weight"),
        (bias_averaged, 0.75, "linear.bias"),
    ],
)
def test_wrong_values_are_caught_where_they_are(spoil, error, where):
    layer = Altered(spoil)
    if spoil in (zero, nan):
        # need_x=False returns None, which cannot be scaled.
        layer.spoil = lambda linear, backward, grad_y, need_x: spoil(linear, backward, grad_y, True)
    report = gradcheck(layer, X)
    assert not report and report.max_error == report.errors[where] == pytest.approx(error, rel=1e-2)
    assert [name for name, e in report.errors.items() if e > report.tolerance] == [where]
    assert "not ok" in str(report) and "WRONG" in str(report)


def test_the_tolerance_decides():
    layer = Altered(lambda linear, backward, grad_y, need_x: scaled(linear, backward, grad_y, True))
    assert not gradcheck(layer, X)
    assert gradcheck(layer, X, tolerance=1e-4)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (ungiven, r"backward returns None for grad_x, expected shape (4, 3)"),
        (transposed, r"backward returns shape (3, 4) for grad_x, expected shape (4, 3)"),
        (replacing, "linear.weight: a second backward(grad_y, need_x=False) does not add the same gradient again"),
    ],
)
def test_breaches_of_the_protocol(spoil, problem):
    report = gradcheck(Altered(spoil), X)
    assert not report and problem in report.problems and problem in str(report)
    assert report.max_error < 1e-8


def test_an_input_that_forward_changes():
    class InPlace(nn.Layer):
        def forward(self, x, train=True):
            x *= 2
            return x.copy(), lambda grad_y, need_x=True: grad_y * 2 if need_x else None

    report = gradcheck(InPlace(), X)
    assert "forward or backward changes x, which belongs to the caller" in report.problems


def test_kinks_are_left_out_and_counted():
    x = np.array([[0.0, 1.0, -1.0, 0.0, 1e-9]])
    report = gradcheck(nn.ReLU(), x)
    assert report and report.kinks == 3
    assert [entry.index for entry in report.arrays[0].entries] == [(0, 1), (0, 2)]
    ties = np.array([[[[1.0, 1.0, 5.0, 2.0], [0.0, 0.5, 3.0, 4.0]]]])
    report = gradcheck(nn.MaxPool2d(2), ties)
    assert report and report.kinks == 2 and len(report.arrays[0].entries) == 6


def test_close_kinks_do_not_hide_a_gradient():
    report = gradcheck(nn.ReLU(), np.array([3e-6, -4e-7, 5e-5, -2e-4]))
    assert report and report.kinks == 0


def test_nothing_but_kinks_is_no_pass():
    report = gradcheck(nn.ReLU(), np.zeros((2, 2)))
    assert not report and "x: all 4 entries lie on kinks" in str(report)


def test_a_wrong_gradient_is_not_taken_for_a_kink():
    class Square(nn.Layer):
        def forward(self, x, train=True):
            return x * x, lambda grad_y, need_x=True: grad_y * x if need_x else None

    report = gradcheck(Square(), X * 100)
    assert not report and report.kinks == 0 and report.max_error == pytest.approx(0.5, rel=1e-6)

    class HalfReLU(nn.ReLU):
        def forward(self, x, train=True):
            y, backward = super().forward(x, train)
            return y, lambda grad_y, need_x=True: backward(grad_y) / 2 if need_x else None

    report = gradcheck(nn.Sequential(nn.Linear(3, 50, rng=0), HalfReLU(), nn.Linear(50, 2, rng=1)), X)
    assert not report and report.kinks == 0
    assert report.errors["0.weight"] > 0.1 and report.errors["2.weight"] < 1e-8


def test_steep_and_flat_functions():
    steep = nn.Sequential(nn.Rescale(3000.0), nn.Linear(3, 4, rng=0), nn.Tanh())
    assert gradcheck(steep, X * 1e-3)
    assert gradcheck(nn.Sigmoid(), np.array([-30.0, -5.0, 0.0, 5.0]))
    assert gradcheck(nn.Rescale(1 / 255), np.arange(12).reshape(3, 4) * 20)


def test_the_layer_and_the_arrays_are_left_alone():
    layer = nn.Sequential(nn.Linear(3, 2, rng=0), nn.Normalize(0.5, 2.0))
    layer[0].bias.trainable = False
    layer[0].weight.grad += 1
    before = layer.state_dict()
    x = X.astype(np.float32)
    x.flags.writeable = False
    report = gradcheck(layer, x)
    assert report and "0.bias" in report.errors
    assert not layer[0].bias.trainable and (layer[0].weight.grad == 1).all()
    for name, array in layer.state_dict().items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, before[name])


def test_samples_are_drawn_reproducibly():
    layer = nn.Linear(30, 20, rng=0)
    x = np.random.default_rng(0).normal(size=(2, 30))

    def indices(rng):
        arrays = gradcheck(layer, x, samples=10, rng=rng).arrays
        return [[entry.index for entry in a.entries] for a in arrays]

    assert [len(i) for i in indices(1)] == [10, 10, 10]
    assert indices(1) == indices(1) != indices(2)


def test_the_table_shows_small_parameters_weight_by_weight():
    text = str(gradcheck(nn.Conv2d(3, 2, 3, stride=2, padding=1, rng=0), np.random.default_rng(0).random((1, 3, 5, 5))))
    assert text.startswith("gradcheck of Conv2d(3, 2, kernel_size=(3, 3), stride=(2, 2), padding=1)\nok: ")
    weights = text[text.index("\nweight\n") : text.index("\nbias\n")]
    for index in np.ndindex(2, 3, 3, 3):
        assert f"  {index} " in weights
    assert "x, the 3 worst" in text
    text = str(gradcheck(nn.Linear(30, 20, rng=0), np.ones((1, 30))))
    assert "weight, the 3 worst" in text


def test_losses():
    assert gradcheck(nn.CrossEntropyLoss(), X, [0, 2, 1, 1])
    with pytest.raises(TypeError, match=r"a loss needs a target: gradcheck\(criterion, logits, target\)"):
        gradcheck(nn.CrossEntropyLoss(), X)

    class Halved(nn.MSELoss):
        def forward(self, logits, target):
            loss, backward = super().forward(logits, target)
            return loss, lambda grad_loss=1.0: backward(grad_loss) / 2

    assert gradcheck(Halved(), X, X + 1).max_error == pytest.approx(0.5, rel=1e-6)


def test_errors():
    class Single(nn.Layer):
        def forward(self, x, train=True):
            return x.astype(np.float32), None

    with pytest.raises(TypeError, match="gradcheck: Single gives float32 for float64 inputs"):
        gradcheck(Single(), X)
    with pytest.raises(TypeError, match="layer must be a Layer or a Loss, got <class"):
        gradcheck(nn.ReLU, X)
    with pytest.raises(ValueError, match=r"x \(0, 3\) is empty"):
        gradcheck(nn.ReLU(), X[:0])
    with pytest.raises(ValueError, match="tolerance must be more than 0"):
        gradcheck(nn.ReLU(), X, tolerance=0)
    with pytest.raises(ValueError, match="samples must be at least 1"):
        gradcheck(nn.ReLU(), X, samples=0)
