"""Where NaN and infinity begin is named: layer, pass, example."""

import numpy as np
import pytest

from cconv import nn, optim
from cconv.doctor.trace import first_not_finite
from cconv.train import Trainer

X = np.random.default_rng(0).standard_normal((6, 2, 8, 8)).astype(np.float32)
Y = np.arange(6) % 3


def network(inner=None):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, rng=0),
        nn.Sequential(nn.BatchNorm2d(4), nn.Tanh(), inner or nn.Identity()),
        nn.Dropout(0.2, rng=0),
        nn.Flatten(),
        nn.Linear(4 * 36, 3, rng=0),
    )


class Log(nn.Layer):
    """log of relu(x): infinite at 0."""

    def forward(self, x, train=True):
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(x, 0)), lambda grad_y, need_x=True: grad_y / x


class Root(nn.Layer):
    """sqrt(relu(x)): finite, with an infinite derivative at 0."""

    def forward(self, x, train=True):
        y = np.sqrt(np.maximum(x, 0))

        def backward(grad_y, need_x=True):
            with np.errstate(all="ignore"):
                return grad_y / (2 * y)

        return y, backward


class Counted(nn.Layer):
    """A parameter whose gradient overflows."""

    def __init__(self):
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, x, train=True):
        def backward(grad_y, need_x=True):
            self.scale.add_grad(np.full(1, np.inf, np.float32))
            return grad_y

        return x * self.scale.value, backward


def test_all_finite():
    assert first_not_finite(network(), nn.CrossEntropyLoss(), X, Y) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_input(value):
    x = X.copy()
    x[4, 1, 2, 3] = value
    found = first_not_finite(network(), nn.CrossEntropyLoss(), x, Y)
    assert (found.what, found.example, found.value) == ("input", 4, "NaN" if np.isnan(value) else "infinity")


def test_targets_and_weights_of_samples():
    loss, y = nn.MSELoss(), np.zeros((6, 3), np.float32)
    y[2] = np.nan
    assert str(first_not_finite(network(), loss, X, y)).startswith("the target of Sequential holds NaN, from example 2")
    weight = np.array([1, 1, 1, np.inf, 1, 1], np.float32)
    found = first_not_finite(network(), nn.CrossEntropyLoss(), X, Y, sample_weight=weight)
    assert (found.what, found.example) == ("sample_weight", 3)


def test_a_parameter_before_what_it_causes():
    model = network()
    model[4].bias.value[1] = np.inf
    found = first_not_finite(model, nn.CrossEntropyLoss(), X, Y)
    assert str(found) == "the bias of Linear '4' holds infinity"


def test_the_output_of_the_layer_within():
    x = X.copy()
    found = first_not_finite(network(Log()), nn.CrossEntropyLoss(), x, Y)
    assert (found.layer, found.kind, found.what) == ("1.2", "Log", "output")


def test_the_gradient_of_a_layer_whose_output_is_finite():
    found = first_not_finite(network(Root()), nn.CrossEntropyLoss(), X, Y)
    assert (found.layer, found.kind, found.what) == ("1.2", "Root", "gradient of the input")


def test_the_gradient_of_a_parameter():
    found = first_not_finite(network(Counted()), nn.CrossEntropyLoss(), X, Y)
    assert str(found) == "the gradient of the scale of Counted '1.2' holds infinity"


def test_the_loss():
    class Broken(nn.MSELoss):
        def forward(self, logits, target):
            return np.float32(np.nan), lambda grad=1: logits

    found = first_not_finite(network(), Broken(), X, Y)
    assert str(found) == "the output of Broken holds NaN"


def test_layers_are_as_they_were():
    model = network(Log())
    first_not_finite(model, nn.CrossEntropyLoss(), X, Y)
    assert not any("forward" in vars(layer) for _, layer in model.named_layers())


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (Log(), r"the loss is (nan|inf|-inf) in epoch 1, batch 1 of 2: the output of Log '1\.2' holds infinity, from"),
        (Root(), r"a gradient is not finite in epoch 1, batch 1 of 2: the gradient of the input of Root '1\.2' holds"),
        (Counted(), r"a gradient is not finite .*: the gradient of the scale of Counted '1\.2' holds infinity: lower"),
    ],
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_stops_and_nothing_has_changed(inner, message, accumulate):
    model = network(inner)
    trainer = Trainer(
        model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), progress=False, accumulate=accumulate
    )
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    dropout = model[2].get_extra_state()
    with pytest.raises(FloatingPointError, match=message):
        trainer.fit((X, Y), batch_size=3)
    assert {name: array.tobytes() for name, array in model.state_dict().items()} == before
    assert model[2].get_extra_state() == dropout and trainer.steps == 0
    assert not any(parameter.grad.any() for parameter in model.parameters())


def test_training_goes_on_if_told_so():
    model = network(Root())
    trainer = Trainer(
        model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), progress=False, stop_on_nan=False
    )
    with np.errstate(all="ignore"):
        trainer.fit((X, Y), batch_size=3)
    assert trainer.steps == 2
