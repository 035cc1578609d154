"""`Report.plot`: what it draws, of which layers, and that nothing changes by it."""

from __future__ import annotations

import itertools
import sys

import doctor_cases as cases
import numpy as np
import pytest

import cconv
from cconv import _random, data, nn, optim
from cconv.doctor import Finding, Report
from cconv.doctor.experiment import Experiment, Shuffled
from cconv.doctor.series import BINS, LAYERS, series


@pytest.fixture(scope="module")
def digits():
    train, _ = data.digits()
    return train.x, train.y


@pytest.fixture
def plt():
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def of(s, findings=()):
    return Report(findings, "", Experiment(s.model, s.loss, s.optimizer, Shuffled(s.x, s.y)))


def test_a_row_a_layer_and_the_loss(plt, digits):
    report = cases.setup(cases.TUNED["lenet5"], *digits).check(seconds=0)
    before = _random.default_state()
    drawn = report.plot(4)
    assert _random.default_state() == before
    assert drawn is plt.gcf()
    loss, *layers = drawn.axes
    assert len(layers) == 2 * 9
    assert len(loss.lines[0].get_ydata()) == 4
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), report.try_cures(4).baseline.losses)
    titles = [ax.get_title(loc="left") for ax in layers[::2]]
    assert titles[:3] == ["0 Conv2d", "1 ReLU", "3 Conv2d"]
    assert titles[-1] == "11 Linear"
    drawn.canvas.draw()


def test_layers_that_findings_name_are_told(plt, digits):
    report = cases.FAULTS["first dead"][1](cases.setup(cases.TUNED["lenet5"], *digits)).check(seconds=0)
    told = {ax.get_title(loc="left"): ax for ax in report.plot(2).axes}
    ax = next(ax for title, ax in told.items() if title.startswith("1 ReLU: dead-units"))
    red, black = ax._left_title.get_color(), told["4 ReLU"]._left_title.get_color()
    assert red != black


@pytest.mark.parametrize("fault", ["positive", "tiny", "dead", "huge", "zeros", "no derivative", "255"])
def test_labels_do_not_overlap(plt, digits, fault):
    s = cases.FAULTS[fault][1](cases.setup(cases.TUNED["lenet5"], *digits))
    drawn = s.check(seconds=0).plot(3)
    drawn.canvas.draw()
    for ax in drawn.axes:
        boxes = [
            label.get_window_extent()
            for label, at in zip(ax.get_yticklabels(), ax.get_yticks(), strict=True)
            if label.get_text() and ax.get_ylim()[0] <= at <= ax.get_ylim()[1]
        ]
        for one, other in itertools.pairwise(boxes):
            assert not one.overlaps(other), [label.get_text() for label in ax.get_yticklabels()]
        for text in (ax._left_title, ax.xaxis.label):
            assert text.get_window_extent().x1 <= drawn.bbox.x1


def test_a_loss_that_diverges_ends_the_picture(plt, digits):
    s = cases.setup(cases.TUNED["lenet5"], *digits)
    s.optimizer = optim.SGD(s.model.parameters(), lr=1e30)
    found = series(of(s).experiment, 20)
    assert 1 < len(found.losses) < 20
    assert not np.isfinite(found.losses[-1])
    drawn = of(s).plot(20)
    assert "in step" in drawn.axes[0].texts[0].get_text()
    drawn.canvas.draw()


# What is drawn


def test_shares_add_up(digits):
    found = series(of(cases.setup(cases.TUNED["lenet5"], *digits)).experiment, 3)
    assert len(found.losses) == 3
    for layer in found.layers:
        assert layer.activations.shares.shape == (3, BINS)
        np.testing.assert_allclose(layer.activations.shares.sum(1), 1)
        sizes = layer.gradients
        assert sizes.scale == "log"
        np.testing.assert_allclose(sizes.shares.sum(1) + sizes.zeros, 1)
        assert (np.diff(layer.activations.edges) > 0).all()


def test_values_are_those_of_the_layers():
    class Ones(nn.Layer):
        def forward(self, x, train=True):
            return np.where(x > 0, np.float32(2), np.float32(0)), lambda grad_y, need_x=True: 1000 * grad_y

    x = np.float32([[1, 1, 1, -1]] * 8)
    model = nn.Sequential(Ones(), nn.Linear(4, 1, rng=0))
    experiment = Experiment(model, nn.MSELoss(), None, Shuffled(x, np.ones((8, 1), np.float32)))
    ones, linear = series(experiment, 2).layers
    assert (ones.kind, linear.kind) == ("Ones", "Linear")
    np.testing.assert_array_equal(ones.activations.zeros, 0.25)
    edges, shares = ones.activations.edges, ones.activations.shares[0]
    assert shares[np.searchsorted(edges, 2.0) - 1] == 0.75
    assert shares[np.searchsorted(edges, 0.0) - 1] == 0.25
    # d/d output of the mean of 8 squares
    output = model(x)[0, 0]
    size = abs(2 * (output - 1) / 8)
    edges, shares = linear.gradients.edges, linear.gradients.shares[0]
    assert shares[np.searchsorted(edges, size) - 1] == 1


def test_what_grows_a_thousandfold_is_drawn_in_decades(digits):
    s = cases.setup(cases.TUNED["mlp"], *digits)
    s.optimizer = optim.SGD(s.model.parameters(), lr=100.0)
    assert "symlog" in {layer.activations.scale for layer in series(of(s).experiment, 6).layers}


def test_at_most_twelve_with_those_that_are_named(digits):
    s = cases.setup(cases.HELD["resnet20"], *digits)
    every = series(of(s).experiment, 1, most=1000).layers
    assert len(every) > 40
    named = every[17].path
    chosen = [layer.path for layer in series(of(s).experiment, 1, [named]).layers]
    assert len(chosen) == LAYERS
    assert {named, every[0].path, every[-1].path} <= set(chosen)
    assert chosen == [layer.path for layer in every if layer.path in chosen]


def test_equal_calls_are_equal_and_nothing_changes(digits):
    s = cases.setup(cases.TUNED["dropout"], *digits)
    before = {name: value.tobytes() for name, value in s.model.state_dict().items()}
    report = of(s)
    one, other = series(report.experiment, 3), series(report.experiment, 3)
    assert one.losses == other.losses == report.try_cures(3).baseline.losses
    for a, b in zip(one.layers, other.layers, strict=True):
        assert a.gradients.shares.tobytes() == b.gradients.shares.tobytes()
    assert {name: value.tobytes() for name, value in s.model.state_dict().items()} == before
    assert not any("forward" in vars(layer) for _, layer in report.experiment.model.named_layers())


def test_several_inputs_and_layers_that_are_no_arrays():
    class Two(nn.Layer):
        def __init__(self):
            self.one, self.two = nn.Linear(3, 2, rng=0), nn.Linear(3, 2, rng=1)

        def forward(self, x, train=True):
            (a, back_a), (b, back_b) = self.one.forward(x[0], train), self.two.forward(x[1], train)
            return (a, b), lambda grad, need_x=True: (back_a(grad[0]), back_b(grad[1]))

    rng = np.random.default_rng(0)
    x = tuple(rng.standard_normal((20, 3)).astype(np.float32) for _ in range(2))
    y = tuple(rng.standard_normal((20, 2)).astype(np.float32) for _ in range(2))
    loss = nn.MultiLoss([nn.MSELoss(), nn.MSELoss()])
    found = series(Experiment(Two(), loss, None, Shuffled(x, y)), 2)
    assert [layer.path for layer in found.layers] == ["one", "two"]


def test_arguments(digits, monkeypatch):
    with pytest.raises(ValueError, match=r"Report\.plot: the report has no experiment"):
        Report([Finding("saturated", "error", "")]).plot()
    s = cases.setup(cases.TUNED["mlp"], *digits)
    with pytest.raises(ValueError, match=r"Report\.plot: steps"):
        of(s).plot(0)
    with pytest.raises(ValueError, match=r"Report\.plot: step 0 of the training raises Misfit"):
        cases._misfit(s).check().plot(2)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"cconv\[plot\]"):
        cconv.check(nn.Linear(3, 2), np.ones((9, 3), np.float32), np.zeros(9, int), nn.CrossEntropyLoss()).plot(1)
