"""gradcheck's diagnosis: each slip, put into layers written by hand, is named; right layers are given no name."""

import re
from pathlib import Path

import numpy as np
import pytest
from slips import ACTIVATIONS, OF_OUTPUT, AveragePool, Conv, Dense, Elementwise, MaxPool, Perceptron
from test_nn import LAYERS, images

from cconv import gradcheck, nn
from cconv.doctor import slips

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(5, 4))
IMAGES = RNG.normal(size=(3, 2, 5, 6))


def named(report):
    return {(d.layer, d.array): d.slip for d in report.diagnosis}


def only(report):
    """The one slip that all findings name."""
    slips = {d.slip for d in report.diagnosis}
    assert len(slips) == 1, report
    return slips.pop()


DERIVATIVES = [
    (name, slip)
    for name in list(ACTIVATIONS)[1:]
    for slip in (
        "derivative_missing",
        "derivative_at_output",
        "derivative_twice",
        "derivative_formula_at_input",
        "zero",
    )
    # The derivative of a piecewise linear function is the same at its output.
    if not (name == "ReLU" and slip in ("derivative_at_output", "derivative_twice"))
    and not (name == "leaky ReLU" and slip == "derivative_at_output")
    and (slip != "derivative_formula_at_input" or name in OF_OUTPUT)
]


@pytest.mark.parametrize(("name", "slip"), [*DERIVATIVES, ("ReLU", "zero"), ("sigmoid", "zero")])
def test_slips_in_an_activation(name, slip):
    assert gradcheck(Elementwise(name), ROWS)
    assert named(gradcheck(Elementwise(name, slip), ROWS)) == {("", "x"): slip}
    everywhere = {("", "x"): slip, ("", "weight"): slip, ("", "bias"): slip}
    assert named(gradcheck(Dense(4, 3, name, slip), ROWS)) == everywhere
    if slip == "derivative_missing":
        assert named(gradcheck(Conv(2, 3, (2, 3), 2, 1, name, slip), IMAGES)) == everywhere


@pytest.mark.parametrize("activation", ["", "sigmoid", "ReLU"])
@pytest.mark.parametrize(
    ("slip", "array", "name"),
    [
        ("ignores_grad_y", "weight", "ignores_grad_y"),
        ("not_linear_in_grad_y", "x", "not_linear_in_grad_y"),
        ("bias_averaged", "bias", "averaged"),
        ("bias_missing", "bias", "missing"),
        ("bias_zero", "bias", "zero"),
        ("bias_last_example", "bias", "one_example"),
        ("bias_first_example", "bias", "one_example"),
        ("bias_from_weight", "bias", "bias_from_weight"),
        ("weight_averaged", "weight", "averaged"),
        ("averaged", "x", "averaged"),
        ("averaged_twice", "weight", "averaged"),
        ("summed", "weight", "summed"),
        ("sign", "weight", "sign"),
        ("sign_x", "x", "sign"),
        ("learning_rate", "weight", "factor"),
        ("swapped", "x", "swapped"),
        ("swapped_shape", "x", "swapped"),
        ("weight_last_example", "weight", "one_example"),
        ("weight_from_weight", "weight", "swapped"),
        ("x_one_channel", "x", "one_channel"),
        ("grad_y_changed", "x", "grad_y_changed"),
        ("value_changed", "weight", "value_changed"),
        ("overwritten", "weight", "overwritten"),
        ("unknown", "weight", "unknown"),
        ("random_wrong", "x", "unknown"),
    ],
)
def test_slips_in_a_fully_connected_layer(slip, array, name, activation):
    report = gradcheck(Dense(4, 3, activation, slip), ROWS)
    assert not report
    assert only(report) == name
    assert ("", array) in named(report)


def test_a_transposed_weight():
    for turned in (False, True):
        report = gradcheck(Dense(4, 4, "tanh", "transposed_weight", turned), ROWS)
        assert named(report) == {("", "x"): "transposed_weight"}


@pytest.mark.parametrize(
    ("stride", "pad", "activation", "true"), [(1, 1, "", False), (2, 1, "ReLU", True), (1, 0, "sigmoid", False)]
)
@pytest.mark.parametrize(
    ("slip", "array", "name"),
    [
        ("filter_not_flipped", "x", "filter_not_flipped"),
        ("stride_not_expanded", "x", "stride_not_expanded"),
        ("weight_stride_not_expanded", "weight", "stride_not_expanded"),
        ("overlap_overwritten", "x", "overlap_overwritten"),
        ("padding_off", "x", "padding_off"),
        ("padding_uncut", "x", "padding_off"),
        ("padding_off_right", "x", "padding_off"),
        ("weight_padding_off", "weight", "padding_off"),
        ("padding_wraps", "x", "padding_read_out_of_bounds"),
        ("weight_flipped", "weight", "filter_flipped"),
        ("bias_last_term", "bias", "one_term"),
        ("bias_last_example", "bias", "one_example"),
        ("bias_first_position", "bias", "one_position"),
        ("bias_mean", "bias", "averaged"),
        ("bias_over_examples", "bias", "averaged"),
        ("bias_from_weight", "bias", "bias_from_weight"),
        ("averaged", "weight", "averaged"),
        ("averaged_twice", "weight", "averaged"),
        ("positions_averaged", "weight", "averaged"),
        ("x_one_channel", "x", "one_channel"),
        ("bias_missing", "bias", "missing"),
    ],
)
def test_slips_in_a_convolution(slip, array, name, stride, pad, activation, true):
    if ("stride" in slip and stride == 1) or ("padding" in slip and pad == 0):
        return
    report = gradcheck(Conv(2, 3, (3, 3), stride, pad, activation, slip, true), IMAGES, samples=30)
    assert not report
    assert only(report) == name
    assert ("", array) in named(report)


def test_the_words_say_by_what_a_gradient_is_divided():
    def text(slip):
        (finding,) = [d for d in gradcheck(Conv(2, 3, (2, 2), 1, 0, "", slip), IMAGES).diagnosis if d.array != "x"][-1:]
        return finding.text

    assert text("bias_mean") == "divided by the batch size times the number of output positions"
    assert text("bias_over_examples") == "divided by the batch size"
    assert text("positions_averaged") == "divided by the number of output positions"
    assert text("averaged_twice") == "divided by the square of the batch size"
    # One example more told the batch size from 2, and from the square of it.
    assert gradcheck(Dense(4, 3, "", "weight_averaged"), ROWS[:2]).diagnosis[0].text == "divided by the batch size"


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("slip", ["ties", "whole_window", "window_averaged", "first_of_window"])
def test_slips_in_max_pooling(slip, size):
    x = RNG.normal(size=(2, 2, 6, 6))
    # Without ties in x: a point with ties is made.
    assert gradcheck(MaxPool(size), x) and gradcheck(MaxPool(size, "spread"), x)
    assert named(gradcheck(MaxPool(size, slip), x)) == {("", "x"): slip}


@pytest.mark.parametrize("slip", ["summed", "first_of_window"])
def test_slips_in_average_pooling(slip):
    x = RNG.normal(size=(2, 2, 6, 6))
    assert gradcheck(AveragePool(3), x)
    assert named(gradcheck(AveragePool(3, slip), x)) == {("", "x"): slip}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("hidden", "last"), [("ReLU", ""), ("sigmoid", "sigmoid"), ("tanh", "sigmoid")])
def test_slips_in_a_network_that_is_one_layer(hidden, last, turned):
    x = RNG.normal(size=(6, 5))
    assert gradcheck(Perceptron((5, 6, 4, 3), hidden, last, "", turned), x)
    for slip in ("hidden:derivative_missing", "derivative_missing", "passed", "derivative_at_output"):
        report = gradcheck(Perceptron((5, 6, 4, 3), hidden, last, slip, turned), x)
        if hidden == "ReLU" and slip == "derivative_at_output":
            assert report
            continue
        assert only(report) == ("derivative_missing" if slip == "passed" else slip.removeprefix("hidden:"))
        assert ("passed back" in report.diagnosis[0].text) == (slip == "passed")
        assert ("", "weights.0") in named(report)


def test_the_layer_that_is_wrong_is_found():
    model = nn.Sequential(
        Dense(4, 6, "ReLU"),
        Dense(6, 5, "ReLU", "derivative_missing", seed=1),
        nn.Sequential(Dense(5, 4, "ReLU", "derivative_missing", seed=2), nn.Identity()),
        Dense(4, 2, "", "bias_averaged", seed=3),
    )
    report = gradcheck(model, ROWS)
    slip = "derivative_missing"
    expected = {(layer, a): slip for layer in ("1", "2.0") for a in ("x", "weight", "bias")}
    assert named(report) == {**expected, ("3", "bias"): "averaged"}
    assert "1 (Dense): x, weight, bias: the derivative of the ReLU is missing\n" in str(report)
    assert model[1].slip == slip and "forward" not in vars(model[1])


def test_right_layers_that_are_put_together_wrongly():
    class Shortcut(nn.Layer):
        def __init__(self):
            self.inner = nn.Linear(4, 4, rng=0)

        def forward(self, x, train=True):
            y, backward = self.inner.forward(x, train)
            return x + y, lambda grad_y, need_x=True: backward(grad_y, need_x=need_x)

    report = gradcheck(Shortcut(), ROWS)
    assert named(report) == {("", "x"): "shortcut_missing"}
    assert "the layers within are right one by one" in report.diagnosis[0].text


def test_backward_with_what_a_later_call_left():
    class Remembers(nn.Layer):
        def forward(self, x, train=True):
            self.x = x
            return x * x, lambda grad_y, need_x=True: 2 * self.x * grad_y if need_x else None

    report = gradcheck(Remembers(), ROWS)
    # Its gradients are right as long as it is used once at a time: a word, and no failure.
    assert report.ok and not report.diagnosis and len(report.remarks) == 1
    assert "a layer may be used twice" in str(report)


def test_softmax_and_normalisation():
    class Softmax(nn.Softmax):
        def forward(self, x, train=True):
            y = nn.Softmax(1)(x)
            return y, lambda grad_y, need_x=True: grad_y * y * (1 - y)

    assert named(gradcheck(Softmax(), ROWS)) == {("", "x"): "softmax_diagonal"}

    class Norm(nn.Layer):
        def forward(self, x, train=True):
            spread = np.sqrt(x.var(0) + 1e-5)
            return (x - x.mean(0)) / spread, lambda grad_y, need_x=True: grad_y / spread

    assert named(gradcheck(Norm(), ROWS)) == {("", "x"): "statistics_constant"}


def test_losses():
    class Summed(nn.MSELoss):
        def forward(self, logits, target):
            loss, backward = super().forward(logits, target)
            return loss, lambda grad_loss=1.0: backward(grad_loss) * logits.size

    report = gradcheck(Summed(), ROWS, ROWS + 1)
    assert named(report) == {("", "x"): "summed"} and "number of numbers in x" in report.diagnosis[0].text

    class Half(nn.MSELoss):
        def forward(self, logits, target):
            loss, backward = super().forward(logits, target)
            return loss, lambda grad_loss=1.0: backward(grad_loss) / 2

    assert gradcheck(Half(), ROWS, ROWS + 1).diagnosis[0].text.startswith("it is half of what is due")


def test_two_slips_at_once():
    for activation in ("sigmoid", "ReLU"):
        report = gradcheck(Dense(4, 3, activation, "averaged_and_missing"), ROWS)
        assert named(report) == {("", "weight"): "derivative_missing+averaged"}


def test_a_factor_that_may_be_read_in_two_ways():
    class Halved(Conv):
        def forward(self, x, train=True):
            y, backward = super().forward(x, train)
            return y, lambda grad_y, need_x=True: backward(grad_y) / 2 if need_x else backward(grad_y)

    assert [(d.array, d.slip) for d in gradcheck(Halved(2, 3, (2, 2)), IMAGES).diagnosis] == [
        ("x", "averaged"),
        ("x", "factor"),
    ]


def test_grad_x_of_another_shape():
    class Turned(nn.Layer):
        def forward(self, x, train=True):
            return x * x, lambda grad_y, need_x=True: (2 * x * grad_y).T if need_x else None

    assert named(gradcheck(Turned(), ROWS)) == {("", "x"): "transposed"}

    class Summed(nn.Layer):
        def forward(self, x, train=True):
            return x * x, lambda grad_y, need_x=True: (2 * x * grad_y).sum(0) if need_x else None

    assert named(gradcheck(Summed(), ROWS)) == {("", "x"): "summed_over_axis"}


def test_a_bias_gradient_that_is_not_summed_is_told_of():
    class Unsummed(Dense):
        def forward(self, x, train=True):
            y, backward = super().forward(x, train)

            def unsummed(grad_y, need_x=True):
                self.bias.grad += grad_y
                return backward(grad_y, need_x)

            return y, unsummed

    with pytest.raises(ValueError, match="broadcast") as error:
        gradcheck(Unsummed(4, 3), ROWS)
    assert "not summed over examples or positions" in error.value.__notes__[0]


def test_a_layer_that_takes_one_batch_size_alone():
    class Fixed(Dense):
        def forward(self, x, train=True):
            y, backward = super().forward(x, train)

            def fixed(grad_y, need_x=True):
                grad_x = backward(grad_y, need_x)
                return grad_x + 0 * np.ones((5, 4)) if need_x else None

            return y, fixed

    assert only(gradcheck(Fixed(4, 3, "tanh", "derivative_missing"), ROWS)) == "derivative_missing"


def test_float32_within():
    class Single(Dense):
        def forward(self, x, train=True):
            y, backward = super().forward(x.astype(np.float32).astype(np.float64), train)
            return y.astype(np.float32).astype(np.float64), backward

    assert only(gradcheck(Single(4, 3), ROWS)) == "float32"


@pytest.mark.parametrize("seed", range(12))
def test_slips_in_layers_of_random_shapes(seed):
    rng = np.random.default_rng(seed)
    n, inputs, outputs = rng.integers(2, 6), rng.integers(2, 9), rng.integers(2, 7)
    slips = {
        "derivative_missing": "derivative_missing",
        "derivative_at_output": "derivative_at_output",
        "bias_averaged": "averaged",
        "weight_last_example": "one_example",
        "swapped": "swapped",
    }
    x = rng.normal(size=(n, inputs))
    for slip, name in slips.items():
        assert only(gradcheck(Dense(inputs, outputs, rng.choice(["sigmoid", "tanh"]), slip, seed=seed), x)) == name
    channels, filters, stride = rng.integers(1, 4), rng.integers(1, 4), rng.integers(2, 4)
    kernel = tuple(rng.integers(2, 4, 2))
    x = rng.normal(size=(n, channels, *rng.integers(6, 9, 2)))
    for slip, name in {
        "filter_not_flipped": "filter_not_flipped",
        "stride_not_expanded": "stride_not_expanded",
        "padding_off": "padding_off",
        "bias_mean": "averaged",
        "weight_flipped": "filter_flipped",
    }.items():
        layer = Conv(channels, filters, kernel, stride, 1, rng.choice(["", "ReLU"]), slip, seed=seed)
        assert only(gradcheck(layer, x, samples=20)) == name, slip


@pytest.mark.parametrize("name", LAYERS)
def test_right_layers_are_given_no_name(name):
    make, shape = LAYERS[name]
    # At this tolerance rounding is an error: whatever is tried on a right gradient, no slip explains it.
    report = gradcheck(make(dtype=np.float64), images(*shape), samples=10, tolerance=1e-300)
    assert {d.slip for d in report.diagnosis} <= {"unknown"}


def test_a_finding_is_told_in_three_lines():
    report = gradcheck(Perceptron((4, 5, 6, 3), "tanh", "sigmoid", "derivative_missing"), ROWS)
    text = str(report)
    findings = text[text.index("\nPerceptron") :].split("\n\n")[0].strip().split("\n")
    assert 1 < len(findings) <= 6 and all(len(line) < 120 for line in findings)
    assert "diagnosis" not in str(gradcheck(Dense(4, 3), ROWS)) and gradcheck(Dense(4, 3), ROWS).diagnosis == []


def test_every_name_is_listed():
    folder = Path(slips.__file__).parent
    call = r'(?:Guess|guess|Variant|Breach)\(\s*(?:"x", |name, |bias, |"", )?"([a-z_]+)"'
    used = {name for file in folder.glob("*.py") for name in re.findall(call, file.read_text())}
    assert len(used) > 25
    assert [name for name in sorted(used - {"right"}) if name not in slips.Diagnosis.__doc__] == []
