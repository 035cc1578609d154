"""`cconv.check`: healthy networks pass, faults are named, and nothing that it was given changes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import doctor_cases as cases
import numpy as np
import pytest

import cconv
from cconv import _random, data, models, nn, optim
from cconv.doctor import KINDS, Finding, Report
from cconv.doctor.folding import folded
from cconv.doctor.kinds import EFFECTS, order_of

DOCS = Path(__file__).parents[1] / "docs" / "doctor.md"


@pytest.fixture(scope="module")
def digits():
    train, _ = data.digits()
    return train.x, train.y


def mnist(**options):
    try:
        train, _ = data.mnist(**options)
    except FileNotFoundError:
        pytest.skip("MNIST is not on this machine")
    return train.x[:4000], train.y[:4000]


# Healthy networks


@pytest.mark.parametrize("name", [*cases.TUNED, *cases.HELD])
def test_networks_that_learn_have_no_error(name, digits):
    build = (cases.TUNED | cases.HELD)[name]
    report = cases.setup(build, *digits).check(seconds=20)
    assert report.ok, str(report)
    assert not report.warnings, str(report)


@pytest.mark.parametrize("loss", cases.LOSSES)
def test_every_loss(loss, digits):
    for build in (cases.TUNED["lenet5"], cases.HELD["sigmoid lenet"]):
        assert cases.setup(build, *digits, loss=loss).check(seconds=20).ok


def test_random_images_and_labels_are_no_error():
    report = cases.setup(cases.TUNED["lenet5"], *cases.images()).check(seconds=20)
    assert report.ok, str(report)


def test_quantities():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 12)).astype(np.float32)
    y = (x[:, :1] ** 2 - x[:, 1:2]).astype(np.float32)
    model = nn.Sequential(nn.Linear(12, 32, rng=0), nn.ReLU(), nn.Linear(32, 1, rng=1))
    for loss in (nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), nn.SmoothL1Loss()):
        report = cconv.check(model, x, y, loss)
        assert not report.errors, str(report)
        assert not report.warnings, str(report)


def test_bytes_are_fine_for_a_network_that_rescales_them(digits):
    x, y = digits
    model = nn.Sequential(nn.Rescale(1 / 255), models.lenet5(10, (1, 8, 8), rng=0))
    report = cconv.check(model, (x * 255).astype(np.uint8), y, nn.CrossEntropyLoss(), seconds=30)
    assert len(report) == 0, str(report)


def test_several_inputs_and_outputs_do_not_stop_it():
    class Pair(nn.Layer):
        def __init__(self):
            self.one, self.two = nn.Linear(4, 3, rng=0), nn.Linear(5, 3, rng=1)

        def forward(self, x, train=True):
            (a, back_a), (b, back_b) = self.one.forward(x[0], train), self.two.forward(x[1], train)
            return a + b, lambda grad, need_x=True: (back_a(grad), back_b(grad))

    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 4)).astype(np.float32), rng.standard_normal((60, 5)).astype(np.float32)
    report = cconv.check(Pair(), x, rng.integers(0, 3, 60), nn.CrossEntropyLoss())
    assert report.ok, str(report)


def test_a_zero_last_layer_is_a_usual_start(digits):
    model = models.lenet5(10, (1, 8, 8), rng=0)
    nn.init.zeros(model[-1].weight)
    nn.init.zeros(model[-1].bias)
    report = cconv.check(model, *digits, nn.CrossEntropyLoss())
    assert not {"zero-weights", "identical-filters"} & {finding.kind for finding in report.errors}, str(report)


# Faults


@pytest.mark.parametrize("fault", cases.FAULTS)
@pytest.mark.parametrize("name", ["lenet5", "tanh lenet", "cnn"])
def test_faults_are_named_first(fault, name, digits):
    kinds, make = cases.FAULTS[fault]
    faulty = make(cases.setup((cases.TUNED | cases.HELD)[name], *digits))
    if not faulty:
        pytest.skip("does not apply")
    report = faulty.check(seconds=1)
    assert len(report), "nothing was found"
    assert report[0].kind in kinds, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*cases.TUNED, *cases.HELD])
def test_the_whole_sweep(name, digits):
    build = (cases.TUNED | cases.HELD)[name]
    x, y = mnist()
    sets = [digits, (x, y), ((x - 0.1307) / 0.3081, y), cases.images()]
    for x, y in sets:
        for loss in cases.LOSSES:
            report = cases.setup(build, x, y, loss, seed=1).check(seconds=30)
            assert report.ok, f"{loss}: {report}"
    missed, count = [], 0
    for x, y in sets[:2]:
        for fault, (kinds, make) in cases.FAULTS.items():
            faulty = make(cases.setup(build, x, y, seed=1))
            if faulty:
                report = faulty.check(seconds=1)
                count += 1
                if not len(report) or report[0].kind not in kinds:
                    missed.append((fault, str(report)))
    assert len(missed) <= 0.05 * count, missed


# The patients


def article(low, high):
    """Two sigmoid convolutions, each uniform within a bound whose fan is counted from the sizes of images."""
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, rng=0), nn.Sigmoid(), nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 5, rng=1), nn.Sigmoid(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(192, 10, rng=2), nn.Sigmoid())  # fmt: skip
    bound = np.sqrt(6 / (28 * 28 + 24 * 24))
    for i in (0, 3):
        nn.init.uniform(model[i].weight, low * bound, high * bound, rng=i)
    return model


def bright():
    """Images of 0..255, half of their pixels ink."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 300)
    patterns = rng.random((10, 1, 28, 28)) > 0.5
    x = 255 * (patterns[y] ^ (rng.random((300, 1, 28, 28)) > 0.9))
    return x.astype(np.float32), y


def test_patient_1a_the_fan_counted_from_image_sizes():
    x, y = bright()
    report = cconv.check(article(-1, 1), x, np.eye(10, dtype=np.float32)[y], nn.MSELoss())
    assert report[0].kind == "input-scale"
    fan = next(finding for finding in report if finding.kind == "fan-from-image")
    assert fan.evidence["fan_in"] == 25
    # What its author saw, 20 in the second layer, these weights cannot give.
    assert fan.evidence["largest_sum"] < 10
    assert "sqrt(6 / (28 * 28 + 24 * 24))" in fan.cause


def test_patient_1b_weights_of_one_sign():
    x, y = bright()
    report = cconv.check(article(0, 1), x, np.eye(10, dtype=np.float32)[y], nn.MSELoss())
    assert report[0].kind == "positive-weights", str(report)
    saturated = next(finding for finding in report[0].consequences if finding.kind == "saturated")
    assert saturated.evidence["saturated"] > 0.9
    assert saturated.evidence["mean_input"] > 2


class Difference(nn.Loss):
    """Activation minus label, as its author wrote it: the label is a digit."""

    def forward(self, logits, target):
        gap = logits - np.asarray(target, logits.dtype)[:, None]
        return (gap * gap).mean() / 2, lambda grad_loss=1.0: (grad_loss * gap / gap.size).astype(logits.dtype)


def test_patient_2_digits_for_targets():
    train, _ = data.digits(scale=False)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 30, rng=0), nn.Sigmoid(), nn.Linear(30, 10, rng=1), nn.Sigmoid())
    wide = np.repeat(train.y[:, None], 10, 1)
    rows = "y = np.eye(10, dtype=np.float32)[{}]"
    for y, loss, cure in (
        (wide, nn.MSELoss(), rows.format("y[:, 0]")),
        # This loss takes labels alone.
        (train.y, Difference(), rows.format("y") + "; loss = nn.MSELoss()"),
    ):
        report = cconv.check(model, train.x, y, loss)
        assert report[0].kind == "target-range", str(report)
        assert report[0].cures[0] == cure


def test_patient_3_one_filter():
    rng = np.random.default_rng(0)
    x = (255 * rng.random((60, 3, 8, 8))).astype(np.float32)
    y = (x[:, :, :4].mean((1, 2, 3)) > x[:, :, 4:].mean((1, 2, 3))).astype(np.float32)[:, None]
    model = nn.Sequential(nn.Conv2d(3, 1, 3, rng=0), nn.ReLU(), nn.Flatten(), nn.Linear(36, 1, rng=1))
    for i in (0, 3):
        nn.init.uniform(model[i].weight, 0, 1, rng=i)
    report = cconv.check(model, x, y, nn.BCEWithLogitsLoss(), optimizer=optim.SGD(model.parameters(), lr=0.1))
    assert report[0].kind == "positive-weights", str(report)
    below = [finding.kind for finding in report[0].consequences]
    assert "exploding-gradient" in below
    assert "input-scale" in report.kinds()


def test_patient_6_tiny_weights_and_a_derivative_of_zero(digits):
    model = models.lenet5(10, (1, 8, 8), rng=0)
    for parameter in model.parameters():
        nn.init.uniform(parameter, -1e-4, 1e-4, rng=0)
    report = cconv.check(model, *digits, nn.CrossEntropyLoss())
    assert (report[0].kind, report[0].severity, report[0].layer) == ("weight-scale", "error", "0")
    assert "constant-output" in report.kinds()
    model = models.lenet5(10, (1, 8, 8), activation=cases.ZeroRelu, rng=0)
    report = cconv.check(model, *digits, nn.CrossEntropyLoss())
    assert report[0].kind == "backward-zero"
    assert "cconv.gradcheck(model[" in report[0].cures[0]


# Single findings


def test_every_misfit_is_named_with_the_number_that_fits():
    x, y = cases.images(shape=(1, 12, 12))
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(100, 20), nn.ReLU(),
        nn.Linear(30, 10))  # fmt: skip
    report = cconv.check(model, x, y, nn.CrossEntropyLoss())
    found = [(finding.layer, finding.cures[0]) for finding in report if finding.kind == "shape-mismatch"]
    assert found[0][0] == "2"
    assert found[1] == ("5", "model[5] = nn.Linear(512, 20)")
    assert found[2] == ("7", "model[7] = nn.Linear(20, 10)")


def test_channels_last_that_were_made_to_pass():
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 28, 28, 1)).astype(np.float32), rng.integers(0, 10, 40)
    model = nn.Sequential(nn.Conv2d(28, 8, (3, 1)), nn.ReLU(), nn.Flatten(), nn.Linear(208, 10))
    assert cconv.check(model, x, y, nn.CrossEntropyLoss())[0].kind == "input-layout"


def test_one_bad_label_of_many(digits):
    x, y = digits
    y = np.concatenate([np.tile(y, 5), [10]])
    report = cconv.check(
        models.lenet5(10, (1, 8, 8), rng=0), np.concatenate([np.tile(x, (5, 1, 1, 1)), x[:1]]), y, nn.CrossEntropyLoss()
    )
    assert report[0].kind == "label-range"
    assert "nn.Linear(84, 11)" in report[0].cures[0]


def test_a_softmax_of_ones_own(digits):
    class Shares(nn.Layer):
        def __init__(self):
            self.inner = nn.Softmax()

        def forward(self, x, train=True):
            return self.inner.forward(x, train)

    model = nn.Sequential(models.lenet5(10, (1, 8, 8), rng=0), Shares())
    assert cconv.check(model, *digits, nn.CrossEntropyLoss())[0].kind == "double-softmax"


def test_thirty_layers_of_small_weights_fade(digits):
    cconv.manual_seed(0)
    model = cases.mlp([64, *[64] * 30, 10], nn.ReLU)
    report = cconv.check(model, *digits, nn.CrossEntropyLoss())
    assert report[0].kind in ("vanishing-gradient", "constant-output"), str(report)
    assert not report


def test_a_trained_network_is_healthy(digits):
    x, y = digits
    model = models.lenet5(10, (1, 8, 8), rng=0)
    trainer = cconv.Trainer(
        model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=3e-3), seed=0, progress=False
    )
    trainer.fit((x, y), epochs=10, batch_size=64)
    report = cconv.check(model, x, y, nn.CrossEntropyLoss(), optimizer=trainer.optimizer)
    assert len(report) == 0, str(report)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: optim.SGD(p, lr=1e-3),
        lambda p: optim.Adam(p, lr=1e-2),
        lambda p: optim.AdamW(p, lr=1e-4),
        lambda p: optim.RMSprop(p, lr=1e-3),
    ],
)
def test_usual_optimisers(make, digits):
    for build in (cases.TUNED["lenet5"], cases.TUNED["batch norm"]):
        s = cases.setup(build, *digits)
        s.optimizer = make(s.model.parameters())
        report = s.check(seconds=20)
        assert len(report) == 0, str(report)


def test_kernel_larger_than_the_image():
    x, y = cases.images(shape=(1, 8, 8))
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4, 10)
    )
    report = cconv.check(model, x, y, nn.CrossEntropyLoss())  # fmt: skip
    assert (report[0].kind, report[0].layer) == ("kernel-too-large", "3")


def test_a_softmax_of_one_output(digits):
    x, y = digits
    model = cases.mlp([64, 20, 1], nn.ReLU)
    assert cconv.check(model, x, y % 2, nn.CrossEntropyLoss())[0].kind in ("single-output", "label-range")


def test_deep_sigmoids_fade(digits):
    cconv.manual_seed(0)
    model = cases.mlp([64, *[30] * 14, 10], nn.Sigmoid, cases.xavier)
    report = cconv.check(model, *digits, nn.CrossEntropyLoss())
    assert report[0].kind in ("vanishing-gradient", "constant-output"), str(report)
    assert "vanishing-gradient" in report.kinds()


def test_scales_of_features_and_targets():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((200, 6)) * [1, 1, 1, 1, 1, 900]).astype(np.float32)
    y = (3000 + 500 * rng.standard_normal((200, 1))).astype(np.float32)
    model = nn.Sequential(nn.Linear(6, 16, rng=0), nn.ReLU(), nn.Linear(16, 1, rng=1))
    kinds = cconv.check(model, x, y, nn.MSELoss(), seconds=0).kinds()
    assert "target-scale" in kinds
    assert "input-scale" in kinds or "feature-scales" in kinds


def test_what_does_no_harm_is_a_note(digits):
    x, y = digits
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, rng=0),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(288, 10, rng=1),
        nn.LogSoftmax(),
    )
    model[4].bias.trainable = False
    report = cconv.check(model, x, y, nn.CrossEntropyLoss())
    assert {finding.kind for finding in report.notes} == {"bias-before-norm", "frozen", "double-softmax"}, str(report)
    assert len(report) == 3


def test_imbalance_and_contradictions(digits):
    x, y = digits
    few = np.flatnonzero(y != 3)[:20]
    rows = np.concatenate([np.tile(np.flatnonzero(y == 3), 10), few])
    report = cconv.check(models.lenet5(10, (1, 8, 8), rng=0), x[rows], y[rows], nn.CrossEntropyLoss())
    assert "class-imbalance" in report.kinds()
    twice = np.concatenate([x[:100], x[:100]]), np.concatenate([y[:100], (y[:100] + 1) % 10])
    report = cconv.check(models.lenet5(10, (1, 8, 8), rng=0), *twice, nn.CrossEntropyLoss())
    assert "contradicting-labels" in report.kinds()


def test_a_wrong_backward_of_ones_own(digits):
    class Half(nn.Layer):
        def forward(self, x, train=True):
            return np.tanh(x), lambda grad_y, need_x=True: grad_y * 0.5

    model = cases.mlp([64, 20, 10], Half)
    assert cconv.check(model, *digits, nn.CrossEntropyLoss())[0].kind == "wrong-gradient"


def test_a_parameter_without_gradient(digits):
    class Scale(nn.Layer):
        def __init__(self):
            self.weight = nn.Parameter(np.ones((1, 20), np.float32))

        def forward(self, x, train=True):
            return x * self.weight.value, lambda grad_y, need_x=True: grad_y * self.weight.value

    report = cconv.check(cases.mlp([64, 20, 10], Scale), *digits, nn.CrossEntropyLoss())
    assert "no-gradient" in report.kinds()


def test_saturation_where_the_gradient_passes_is_none(digits):
    class Sign(nn.Layer):
        """With a straight-through gradient."""

        def forward(self, x, train=True):
            return np.sign(x), lambda grad_y, need_x=True: grad_y * (np.abs(x) <= 1)

    report = cconv.check(cases.mlp([64, 64, 10], Sign), *digits, nn.CrossEntropyLoss())
    assert report.ok and all(f.severity == "note" for f in report if f.kind == "saturated"), str(report)


def test_what_learns_all_the_same_is_no_error(digits):
    """Small positive weights come to 96 %, those of LeNet-5 to 10 %."""
    nets = {}
    for name, model in (("mlp", cases.mlp([64, 64, 10], nn.ReLU)), ("lenet5", models.lenet5(10, (1, 8, 8)))):
        model = cases.drawn(model, lambda p: nn.init.uniform(p, 0, 0.05, rng=0))
        nets[name] = cconv.check(model, *digits, nn.CrossEntropyLoss())
    assert [nets[name][0].kind for name in nets] == ["positive-weights"] * 2
    assert nets["mlp"].ok and not nets["lenet5"].ok


@pytest.mark.parametrize(
    "make, kind, severity",
    [
        (lambda p: optim.SGD(p, lr=30.0, momentum=0.9), "learning-rate", "error"),
        (lambda p: optim.Adam(p, lr=1e-9), "learning-rate", "warning"),
        (lambda p: optim.SGD(p, lr=0.0), "learning-rate", "warning"),
        (lambda p: optim.SGD(p, lr=0.01, momentum=1.0), "learning-rate", "warning"),
        (lambda p: optim.Adam(p, weight_decay=1.0), "weight-decay", "warning"),
        (lambda p: optim.AdamW(p, weight_decay=50.0), "weight-decay", "warning"),
        (lambda p: optim.SGD(p, lr=0.1, weight_decay=1.0), "weight-decay", "warning"),
        (lambda p: optim.Adam(p[-2:]), "frozen", "warning"),
    ],
)
def test_optimisers_that_learn_badly(make, kind, severity, digits):
    s = cases.setup(cases.TUNED["mlp"], *digits)
    s.optimizer = make(s.model.parameters())
    report = s.check()
    assert (report[0].kind, report[0].severity) == (kind, severity), str(report)


def test_frozen_parameters_are_judged_by_what_is_left(digits):
    severities = []
    for trained in (lambda p: p.value.ndim == 1, lambda p: False, lambda p: p.value.shape[0] == 10):
        s = cases.setup(cases.TUNED["mlp"], *digits, optimizer=False)
        for parameter in s.model.parameters():
            parameter.trainable = trained(parameter)
        severities.append(next(f.severity for f in s.check() if f.kind == "frozen"))
    assert severities == ["error", "error", "note"]  # biases alone: 16 examples cannot be learned, either


def test_a_wrong_gradient_is_named_with_its_slip(digits):
    def made(slip):
        class Own(nn.Layer):
            def forward(self, x, train=True):
                y = np.tanh(x)
                return y, lambda grad_y, need_x=True: slip(grad_y, y)

        return cconv.check(cases.mlp([64, 20, 10], Own), *digits, nn.CrossEntropyLoss())[0]

    missing, turned = made(lambda g, y: g), made(lambda g, y: g * (y * y - 1))
    assert (missing.kind, missing.severity, missing.evidence["slip"]) == (
        *("wrong-gradient", "warning"),
        "derivative_missing",
    )
    assert "derivative" in missing.cause
    assert (turned.kind, turned.severity, turned.evidence["slip"]) == ("wrong-gradient", "error", "sign")


def test_a_wrong_gradient_of_a_loss_of_ones_own(digits):
    class Own(nn.Loss):
        def forward(self, logits, target):
            value, backward = nn.CrossEntropyLoss().forward(logits, target)
            return value, lambda grad_loss=1.0: -backward(grad_loss)

    class Count(nn.Loss):
        def forward(self, logits, target):
            return (logits.argmax(1) != target).mean(), lambda grad_loss=1.0: np.zeros_like(logits)

    model = cases.mlp([64, 20, 10], nn.ReLU)
    assert cconv.check(model, *digits, Own())[0].kind == "wrong-gradient"
    report = cconv.check(model, *digits, Count())
    assert report[0].kind == "zero-gradient" and "no slope" in report[0].cause


def test_what_lets_next_to_nothing_through(digits):
    x, y = digits
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Tanh(), nn.Linear(1, 10))
    assert "bottleneck" in cconv.check(narrow, x, y, nn.CrossEntropyLoss()).kinds()
    dropped = nn.Sequential(nn.Flatten(), nn.Linear(64, 99), nn.ReLU(), nn.Dropout(0.95), nn.Linear(99, 10))
    assert "dropout-rate" in cconv.check(dropped, x, y, nn.CrossEntropyLoss()).kinds()
    weight = (np.arange(10) > 4).astype(np.float32)
    report = cconv.check(cases.mlp([64, 20, 10], nn.ReLU), x, y, nn.CrossEntropyLoss(weight=weight))
    assert report[0].kind == "class-imbalance" and "5 of 10 classes" in report[0].cause


def test_targets_of_several_outputs(digits):
    class Two(nn.Layer):
        def __init__(self):
            self.one, self.two = nn.Linear(64, 10, rng=0), nn.Linear(64, 3, rng=1)

        def forward(self, x, train=True):
            (a, back_a), (b, back_b) = self.one.forward(x, train), self.two.forward(x, train)
            return (a, b), lambda grads, need_x=True: back_a(grads[0]) + back_b(grads[1])

    x, y = digits
    loss = nn.MultiLoss([nn.CrossEntropyLoss(), nn.CrossEntropyLoss()])
    flat = x.reshape(len(x), -1)
    assert not cconv.check(Two(), flat, (y, y % 3), loss).errors
    report = cconv.check(Two(), flat, (y, y % 4), loss)
    assert report[0].kind == "label-range" and report[0].cause.startswith("output 1: labels run from 0 to 3")


# Promises


def test_nothing_changes(digits):
    x, y = digits
    cconv.manual_seed(3)
    model = cases.dropped((1, 8, 8))
    model.append(nn.BatchNorm1d(10))
    model.zero_grad()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    logits, backward = model.forward(x[:32])
    backward(np.ones_like(logits))
    optimizer.step()
    state, moments = model.state_dict(), optimizer.state_dict()
    grads = [parameter.grad.copy() for parameter in model.parameters()]
    extra = [layer.get_extra_state() for _, layer in model.named_layers()]
    forwards = [vars(layer).get("forward") for _, layer in model.named_layers()]
    kept, before = (x.copy(), y.copy()), _random.default_state()
    cconv.check(model, x, y, nn.CrossEntropyLoss(), optimizer=optimizer)
    assert _random.default_state() == before
    assert all(np.array_equal(a, b) for a, b in zip(state.values(), model.state_dict().values(), strict=True))
    assert all(np.array_equal(a, p.grad) for a, p in zip(grads, model.parameters(), strict=True))
    assert [layer.get_extra_state() for _, layer in model.named_layers()] == extra
    assert [vars(layer).get("forward") for _, layer in model.named_layers()] == forwards
    assert str(optimizer.state_dict()) == str(moments)
    assert np.array_equal(x, kept[0])
    assert np.array_equal(y, kept[1])


def test_the_same_answer_twice(digits):
    told = [cases.setup(cases.HELD["cnn"], *digits).check(seconds=20).to_json() for _ in range(2)]
    strip = [re.sub(r"examples, [0-9.]+ s", "", text) for text in told]
    assert strip[0] == strip[1]


def test_without_time_a_large_network_is_not_judged():
    x, y = cases.images(n=20, shape=(3, 32, 32))
    report = cconv.check(models.resnet20(10, rng=0), x, y, nn.CrossEntropyLoss(), seconds=0)
    assert [finding.kind for finding in report] == ["overfit-not-tried"], str(report)


def test_read_only_and_strided_arrays_lists_and_memmaps(digits, tmp_path):
    x, y = digits
    model, loss = models.lenet5(10, (1, 8, 8), rng=0), nn.CrossEntropyLoss()
    fixed = x.copy()
    fixed.flags.writeable = False
    file = np.memmap(tmp_path / "x", np.float32, "w+", shape=x.shape)
    file[:] = x
    for given in (fixed, np.asfortranarray(x), x.astype(">f4"), file, x[:40].tolist()):
        assert cconv.check(model, given, y[: len(given)], loss).ok


def test_arguments():
    model, loss = nn.Linear(3, 2), nn.CrossEntropyLoss()
    x, y = np.ones((4, 3), np.float32), np.zeros(4, int)
    with pytest.raises(TypeError, match="model must be a Layer"):
        cconv.check(3, x, y, loss)
    with pytest.raises(TypeError, match=r"write CrossEntropyLoss\(\)"):
        cconv.check(model, x, y, nn.CrossEntropyLoss)
    with pytest.raises(ValueError, match="same length"):
        cconv.check(model, x, y[:3], loss)
    with pytest.raises(ValueError, match="empty"):
        cconv.check(model, x[:0], y[:0], loss)
    with pytest.raises(ValueError, match="seconds"):
        cconv.check(model, x, y, loss, seconds=-1)


# Findings and reports


def test_a_finding_is_at_most_three_lines_and_a_report_sorts():
    below = [Finding("saturated", "error", f"layer {i} is saturated") for i in range(6)]
    cause = Finding("input-scale", "warning", "inputs are large", ("x = x / 255",), consequences=below)
    report = Report(
        [Finding("frozen", "note", "one is frozen"), cause, Finding("double-softmax", "error", "twice")], "it"
    )
    assert [finding.kind for finding in report] == ["double-softmax", "input-scale", "frozen"]
    assert not report
    assert Report()
    assert "nothing wrong found" in str(Report())
    assert len(str(cause).splitlines()) == 3
    assert "and 3 more" in str(cause)
    assert str(report).startswith("it: 1 error, 1 warning, 1 note")
    assert report[:1] == [report[0]]


def test_consequences_fold_under_their_cause():
    found = folded(
        [
            Finding("vanishing-gradient", "error", "fades"),
            Finding("input-scale", "warning", "large"),
            Finding("saturated", "warning", "saturated"),
            Finding("class-imbalance", "note", "uneven"),
        ]
    )
    assert [finding.kind for finding in found] == ["input-scale", "class-imbalance"]
    assert [finding.kind for finding in found[0].consequences] == ["saturated", "vanishing-gradient"]
    assert found[0].severity == "error"


def test_json_is_json():
    report = Report(
        [Finding("initial-loss", "error", "large", evidence={"loss": np.inf, "n": np.int64(3), "x": np.float32(1)})]
    )
    told = json.loads(report.to_json())
    assert told["ok"] is False
    assert told["findings"][0]["evidence"] == {"loss": "inf", "n": 3, "x": 1.0}
    assert told["findings"][0]["link"] == "docs/doctor.md#initial-loss"


def _a_note(kind):
    return KINDS[kind].order >= KINDS["class-imbalance"].order


def test_kinds_are_closed_and_each_has_a_section():
    with pytest.raises(ValueError, match="kind must be one of"):
        Finding("nothing", "error", "")
    with pytest.raises(ValueError, match="severity must be one of"):
        Finding("saturated", "bad", "")
    if not DOCS.exists():
        pytest.skip("the docs are not here")
    anchors = re.findall(r'<a id="([a-z0-9-]+)"></a>\n### ([a-z0-9-]+)\n', DOCS.read_text(encoding="utf-8"))
    assert [a for a, _ in anchors] == [b for _, b in anchors]
    assert sorted(a for a, _ in anchors) == sorted(KINDS)
    assert set(EFFECTS) <= set(KINDS)
    assert {effect for effects in EFFECTS.values() for effect in effects} <= set(KINDS)
    # A cause comes before its effects: else it would never be their root.
    for kind, effects in EFFECTS.items():
        for effect in effects:
            later = any(order_of(effect, step) > order_of(kind, step) for step in (0, 1))
            # What was there before training may bring about what comes with it.
            assert later or _a_note(effect) or (kind, effect) == ("vanishing-gradient", "constant-output")


def test_an_activation_within_a_layer_of_ones_own(digits):
    class Units(nn.Linear):
        def forward(self, x, train=True):
            z, backward = super().forward(x, train)
            y = (1 + np.tanh(z / 2)) / 2
            return y, lambda grad_y, need_x=True: backward(grad_y * y * (1 - y), need_x)

    x, y = digits
    model = nn.Sequential(nn.Flatten(), Units(64, 30, rng=0), Units(30, 10, rng=1))
    report = cconv.check(model, x, np.repeat(y[:, None], 10, 1).astype(np.float32), nn.MSELoss())
    assert (report[0].kind, report[0].layer) == ("target-range", "2")
    nn.init.uniform(model[1].weight, 0, 1, rng=0)
    report = cconv.check(model, 100 * x, cases.one_hot(y), nn.MSELoss())
    saturated = next(f for finding in report for f in (finding, *finding.consequences) if f.kind == "saturated")
    assert saturated.layer == "1"
    assert "mean before activation" not in saturated.cause


def test_factors_of_ones_own_may_be_positive(digits):
    class Factors(nn.Layer):
        def __init__(self, channels):
            self.scale = nn.Parameter(np.random.default_rng(0).uniform(0.5, 1.5, (channels, 1, 1)).astype(np.float32))

        def forward(self, x, train=True):
            def backward(grad_y, need_x=True):
                self.scale.add_grad((grad_y * x).sum((0, 2, 3)).reshape(-1, 1, 1))
                return grad_y * self.scale.value

            return x * self.scale.value, backward

    model = nn.Sequential(nn.Conv2d(1, 32, 3, rng=0), nn.ReLU(), Factors(32), nn.Flatten(), nn.Linear(1152, 10, rng=0))
    assert not len(cconv.check(model, *digits, nn.CrossEntropyLoss()))


def test_a_relu_with_an_upper_end_is_saturated_there_alone(digits):
    class ReLU6(nn.Layer):
        def forward(self, x, train=True):
            return np.clip(x, 0, 6), lambda grad, need_x=True: grad * ((x > 0) & (x < 6))

    class Hardtanh(nn.Layer):
        def forward(self, x, train=True):
            return np.clip(x, -1, 1), lambda grad, need_x=True: grad * (np.abs(x) < 1)

    def kinds(activation, bias):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=0), activation, nn.Linear(32, 10, rng=1))
        model[1].bias.value[...] = bias
        report = cconv.check(model, *digits, nn.CrossEntropyLoss(), seconds=0)
        return {finding.kind for first in report for finding in (first, *first.consequences)}

    for relu6 in (ReLU6(), nn.ReLU6()):
        # Most are 0, and all units fire for some.
        assert not {"saturated", "dead-units"} & kinds(relu6, -0.4)
        assert "saturated" in kinds(relu6, 20)
        assert "dead-units" in kinds(relu6, -20)
    assert "saturated" in kinds(Hardtanh(), -20)


def test_what_mixes_examples_is_an_error_where_it_does_not_learn(digits):
    class Standardise(nn.Layer):
        def forward(self, x, train=True):
            std = x.std(0) + 1e-5
            return (x - x.mean(0)) / std, lambda grad, need_x=True: grad / std

    class Rolled(nn.Layer):
        def forward(self, x, train=True):
            return np.roll(x, 1, 0), lambda grad, need_x=True: np.roll(grad, -1, 0)

    class Noise(nn.Layer):
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def forward(self, x, train=True):
            keep = (2 * (self.rng.random(x.shape) > 0.5)).astype(x.dtype)
            return x * keep, lambda grad, need_x=True: grad * keep

    def found(layer):
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32, rng=0), nn.ReLU(), nn.Linear(32, 32, rng=1), layer, nn.Linear(32, 10, rng=2)
        )
        report = cconv.check(model, *digits, nn.CrossEntropyLoss(), seconds=20)
        return next(finding for finding in report if finding.kind == "examples-mixed")

    assert found(Standardise()).severity == "warning"
    assert found(Rolled()).severity == "error"
    noise = found(Noise())
    assert noise.severity == "warning"
    assert "each time" in noise.cause


def test_a_forgotten_flatten_is_put_where_it_is_missing(digits):
    def trained(model):
        report = cconv.check(model, *digits, nn.CrossEntropyLoss(), seconds=0)
        assert [finding.kind for finding in report.errors] == ["shape-mismatch"], str(report)
        assert all(not trial.error for trial in report.try_cures(5, report[0].cures) if trial.cures)
        return report[0].cures[0]

    model = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.ReLU(), nn.MaxPool2d(2), nn.Linear(36, 10, rng=1))
    assert trained(model) == "model.insert(3, nn.Flatten())"

    class Net(nn.Layer):
        def __init__(self):
            self.conv, self.head = nn.Conv2d(1, 4, 3, rng=0), nn.Linear(144, 10, rng=1)

        def forward(self, x, train=True):
            y, back = self.conv.forward(x, train)
            z, back_head = self.head.forward(y, train)
            return z, lambda grad, need_x=True: back(back_head(grad), need_x)

    assert trained(Net()) == "model.head = nn.Sequential(nn.Flatten(), model.head)"


def _learns(report, steps=30):
    """Whether training with the first cure runs and helps."""
    return report.try_cures(steps, report[0].cures[:1]).best is not None


def test_rows_of_several_classes_want_another_loss(digits):
    x, y = digits
    rows = np.stack([y % 2 == 0, y > 4, y == 7], 1).astype(np.float32)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=0), nn.ReLU(), nn.Linear(32, 3, rng=1))
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    report = cconv.check(model, x, rows, nn.CrossEntropyLoss(), optimizer=optimizer)
    assert report[0].kind == "target-range"
    assert report[0].cures == ("loss = nn.BCEWithLogitsLoss()",)
    trial = next(trial for trial in report.try_cures(30, report[0].cures) if trial.cures)
    assert trial.last < trial.first


def test_labels_with_gaps_are_numbered_anew(digits):
    x, y = digits
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=0), nn.ReLU(), nn.Linear(32, 3, rng=1))
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    report = cconv.check(model, x, np.array([3, 17, 42])[y % 3], nn.CrossEntropyLoss(), optimizer=optimizer)
    assert len(report) == 1
    assert report[0].kind == "label-range"
    assert report[0].cures[0] == "y = np.unique(y, return_inverse=True)[1].reshape(y.shape)"
    assert _learns(report)
    masks = np.where(x[:300, 0] > 0.5, 255, 0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, rng=0), nn.ReLU(), nn.Conv2d(8, 2, 1, rng=1))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    report = cconv.check(model, x[:300], masks, nn.CrossEntropyLoss(), optimizer=optimizer)
    assert report[0].kind == "label-range"
    assert _learns(report)


def test_little_to_gain_is_no_error(digits):
    x, y = digits
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=0), nn.ReLU(), nn.Linear(32, 10, rng=1))
    report = cconv.check(model, x, y, nn.CrossEntropyLoss(label_smoothing=0.95), seconds=20)
    assert not report.errors, str(report)
    report = cconv.check(model, x[:1], y[:1], nn.CrossEntropyLoss(), seconds=20)
    assert not report.errors, str(report)


def test_what_cannot_be_learned_is_told_beside_the_same_answer_for_all():
    class Ignores(nn.Layer):
        def __init__(self):
            self.weight = nn.Parameter(np.zeros((1, 3), np.float32))

        def forward(self, x, train=True):
            y = np.repeat(self.weight.value, len(x), 0) + 1e-3 * x

            def backward(grad, need_x=True):
                self.weight.add_grad(grad.sum(0, keepdims=True))
                return 1e-3 * grad

            return y, backward

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 3)).astype(np.float32), rng.integers(0, 3, 64)
    report = cconv.check(Ignores(), x, y, nn.CrossEntropyLoss(label_smoothing=0.5), seconds=20)
    found = next(finding for finding in report if finding.kind == "cannot-overfit")
    assert "always giving the same answer would score 1." in found.cause


def test_weights_of_classes_that_do_not_occur(digits):
    x, y = digits
    with np.errstate(divide="ignore"):
        weight = (1 / np.bincount(y % 5, minlength=10)).astype(np.float32)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=0), nn.ReLU(), nn.Linear(32, 10, rng=1))
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    report = cconv.check(model, x, y % 5, nn.CrossEntropyLoss(weight=weight), optimizer=optimizer)
    assert [finding.kind for finding in report.errors] == ["not-finite"], str(report)
    assert "weight of CrossEntropyLoss is inf for class 5 and 4 more" in report[0].cause
    assert _learns(report), str(report.try_cures(30))


def test_cures_are_told_as_one_would_write_them(digits):
    x, y = digits
    one = nn.Sequential(nn.Flatten(), nn.Linear(64, 1, rng=0))
    signs = np.where(y > 4, 1, -1).astype(np.float32)[:, None]
    assert cconv.check(one, x, signs, nn.BCEWithLogitsLoss(), seconds=0)[0].cures[0] == "y = (y + 1) / 2"
    high = np.where(y > 4, 255, 0).astype(np.float32)[:, None]
    assert cconv.check(one, x, high, nn.BCEWithLogitsLoss(), seconds=0)[0].cures[0] == "y = y / 255"
    ten = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
    report = cconv.check(ten, x, y, nn.CrossEntropyLoss(ignore_index=0), seconds=20)
    assert not len(report), str(report)
    assert "1 output takes 0 alone" in cconv.check(one, x, y, nn.CrossEntropyLoss(), seconds=0)[0].cause
    assert "1 of 1 example," in cconv.check(ten, x[:1], y[:1], nn.CrossEntropyLoss(), seconds=0).subject


def test_a_mask_with_a_channel(digits):
    x, _ = digits
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, rng=0), nn.ReLU(), nn.Conv2d(8, 2, 1, rng=1))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    report = cconv.check(model, x[:300], (x[:300] > 0.5).astype(int), nn.CrossEntropyLoss(), optimizer=optimizer)
    assert [finding.kind for finding in report] == ["label-shape"], str(report)
    assert report[0].cures == ("y = y[:, 0]",)
    assert _learns(report)


def test_sequences_with_their_channels_last():
    x = np.random.default_rng(0).standard_normal((300, 64, 3)).astype(np.float32)
    y = (x[:, :, 0].mean(1) > 0).astype(int)
    model = nn.Sequential(
        nn.Conv1d(3, 8, 5, rng=0), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2, rng=1)
    )
    report = cconv.check(model, x, y, nn.CrossEntropyLoss(), optimizer=optim.Adam(model.parameters(), lr=1e-2))
    assert [finding.kind for finding in report] == ["input-layout"], str(report)
    assert report[0].cures == ("x = x.transpose(0, 2, 1)",)
    assert _learns(report)


def test_rates_of_several_groups(digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=0), nn.ReLU(), nn.Linear(32, 10, rng=1))
    parameters = model.parameters()
    optimizer = optim.SGD([{"params": parameters[:2], "lr": 0.0}, {"params": parameters[2:], "lr": 1e-6}], lr=0.1)
    report = cconv.check(model, *digits, nn.CrossEntropyLoss(), optimizer=optimizer)
    assert report[0].kind == "learning-rate"
    assert "lr=1e-06" in report[0].cause
    assert _learns(report, 150)


def test_a_backward_without_return(digits):
    class Forgets(nn.Layer):
        def forward(self, x, train=True):
            def backward(grad, need_x=True):
                grad * (x > 0)

            return np.maximum(x, 0), backward

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=0), Forgets(), nn.Linear(32, 10, rng=1))
    report = cconv.check(model, *digits, nn.CrossEntropyLoss())
    assert report[0].cause == "backward of Forgets '2' returned None: it has no return?"


def test_x_and_y_are_two_arguments(digits):
    x, y = digits
    model, loss = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0)), nn.CrossEntropyLoss()
    with pytest.raises(TypeError, match=r"got a Dataset: write check\(model, dataset\.x, dataset\.y, loss\)"):
        cconv.check(model, data.Dataset(x, y), None, loss)
    with pytest.raises(TypeError, match=r"got None: write check\(model, pair\[0\], pair\[1\], loss\)"):
        cconv.check(model, (x, y), None, loss)
    with pytest.raises(TypeError, match=r"got None: write check\(model, x, y, loss\)"):
        cconv.check(model, x, None, loss)
    with pytest.raises(TypeError, match="got a Loader: write x, y = next"):
        cconv.check(model, data.Loader((x, y), 64), None, loss)


def test_small_inputs_and_sparse_ones(digits):
    x, y = digits
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=0), nn.ReLU(), nn.Linear(32, 10, rng=1))
    for by in (16, 255):
        report = cconv.check(model, x / by, y, nn.CrossEntropyLoss(), optimizer=optim.SGD(model.parameters(), lr=0.05))
        assert "input-scale" in {finding.kind for finding in report}, str(report)
    words = np.eye(2000, dtype=np.float32)[np.random.default_rng(0).integers(0, 2000, 500)]
    model = nn.Sequential(nn.Linear(2000, 32, rng=0), nn.ReLU(), nn.Linear(32, 2, rng=1))
    report = cconv.check(model, words, (words[:, :1000].sum(1) > 0).astype(int), nn.CrossEntropyLoss())
    assert "input-scale" not in {finding.kind for finding in report}, str(report)
