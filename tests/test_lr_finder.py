"""The learning-rate range test, and that it leaves no trace."""

import math

import numpy as np
import pytest

import cconv
from cconv import nn, optim
from cconv.train.lr_finder import LRCurve, find_lr


class Counting(nn.Layer):
    """A layer with a counter of its own."""

    def __init__(self):
        self.calls = 0

    def forward(self, x, train=True):
        self.calls += train
        return x, lambda grad_y, need_x=True: grad_y

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=1), nn.BatchNorm2d(4), nn.ReLU(), Counting(), nn.Flatten(), nn.Linear(4 * 36, 3, rng=2)
    )


def given(n=48):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    x = rng.standard_normal((n, 1, 8, 8)).astype(np.float32)
    x[:, 0, 0, :3] += 3 * np.eye(3, dtype=np.float32)[y]
    return [(x[i : i + 16], y[i : i + 16]) for i in range(0, n, 16)]


def step(model, optimizer, batch):
    outputs, backward = model.forward(batch[0])
    backward(nn.CrossEntropyLoss().forward(outputs, batch[1])[1](), need_x=False)
    optimizer.step()


def bits(model, optimizer):
    arrays = (
        model.state_dict() | optimizer.state_dict() | {f"grad{i}": p.grad for i, p in enumerate(model.parameters())}
    )
    return {name: (array.dtype, array.tobytes()) for name, array in arrays.items()}


OPTIMIZERS = {
    "sgd": lambda parameters: optim.SGD(parameters, lr=0.01, momentum=0.9),
    "adam": lambda parameters: optim.Adam(parameters, lr=0.01, amsgrad=True),
    "groups": lambda parameters: optim.AdamW([{"params": parameters[:2], "lr": 0.1}, {"params": parameters[2:]}]),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("before", [0, 3])
def test_all_is_as_before(kind, before):
    model = network()
    optimizer = OPTIMIZERS[kind](model.parameters())
    optim.StepLR(optimizer, 2)  # marks the groups
    for _ in range(before):
        step(model, optimizer, given()[0])  # and gradients stay
    kept, values = bits(model, optimizer), [p.value for p in model.parameters()]
    curve = find_lr(model, nn.CrossEntropyLoss(), optimizer, given(), steps=30, clip_norm=1.0)
    assert len(curve.lrs) > 10
    assert bits(model, optimizer) == kept
    assert all(p.value is value for p, value in zip(model.parameters(), values, strict=True))
    assert model[3].calls == before
    # And training goes on to the same bits.
    twin = network()
    other = OPTIMIZERS[kind](twin.parameters())
    for _ in range(before):
        step(twin, other, given()[0])
    step(twin, other, given()[1])
    step(model, optimizer, given()[1])
    assert bits(model, optimizer)["0.weight"] == bits(twin, other)["0.weight"]


@pytest.mark.skipif(not hasattr(nn.Dropout, "get_extra_state"), reason="dropout has no state to keep")
def test_dropout_draws_as_if_nothing_had_been():
    model = nn.Sequential(nn.Dropout(0.5, rng=1), nn.Flatten(), nn.Linear(64, 3, rng=1))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    find_lr(model, nn.CrossEntropyLoss(), optimizer, given(), steps=5)
    assert model[0].step == 0


def test_all_is_as_before_after_an_error():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    kept = bits(model, optimizer)

    def broken():
        yield from given()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_lr(model, nn.CrossEntropyLoss(), optimizer, broken())
    assert bits(model, optimizer) == kept


def test_the_sweep():
    seen = []

    class Noted(optim.SGD):
        def step(self):
            seen.append([group["lr"] for group in self.param_groups])

    model = network()
    parameters = model.parameters()
    optimizer = Noted([{"params": parameters[:1], "lr": 0.2}, {"params": parameters[1:], "lr": 0.1}], lr=0.1)
    curve = find_lr(model, nn.CrossEntropyLoss(), optimizer, given(), start=1e-3, end=1e-1, steps=5, smoothing=0.5)
    np.testing.assert_allclose(curve.lrs, [1e-3, 10**-2.5, 1e-2, 10**-1.5, 1e-1], rtol=1e-12)
    np.testing.assert_allclose(seen, [[lr, lr / 2] for lr in curve.lrs], rtol=1e-12)
    # Nothing is learnt, so the losses are those of the batches in turn.
    assert curve.losses[3] == curve.losses[0] != curve.losses[1]
    a, b = curve.losses[:2]
    np.testing.assert_allclose(curve.smoothed[:2], [a, (a / 4 + b / 2) / 0.75], rtol=1e-12)


def test_it_ends_when_the_loss_diverges():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for divergence in (4, 1e30):
        curve = find_lr(model, nn.CrossEntropyLoss(), optimizer, given(), end=1e30, steps=150, divergence=divergence)
        assert 10 < len(curve.lrs) < 150 and np.isfinite(curve.losses).all()


def test_sample_weights_reach_the_loss():
    model = network()
    weights = []

    class Weighted(nn.CrossEntropyLoss):
        def forward(self, logits, target, sample_weight=None):
            weights.append(sample_weight)
            return super().forward(logits, target, sample_weight=sample_weight)

    batches = [(*batch, np.ones(16, np.float32)) for batch in given()]
    find_lr(model, Weighted(), optim.SGD(model.parameters(), lr=0.1), batches, steps=4)
    assert all(weight is batches[i % 3][2] for i, weight in enumerate(weights)) and len(weights) == 4


def test_the_suggestion_lies_on_the_way_down():
    lrs = np.geomspace(1e-5, 10, 61)
    smoothed = 2 - 1.5 / (1 + (1e-2 / lrs) ** 2) + (lrs / 3) ** 2
    curve = LRCurve(lrs, smoothed, smoothed)
    assert 5e-3 < curve.steepest < 2e-2 < curve.minimum < 1
    assert curve.suggestion == min(curve.steepest, curve.minimum / 10)
    rising = LRCurve(lrs, lrs, lrs)
    assert rising.suggestion == rising.minimum / 10 == lrs[0] / 10
    assert rising.steepest == rising.minimum
    assert repr(rising) == "LRCurve(61 steps from 1e-05 to 10, suggestion=1e-06)"


def test_the_suggestion_trains():
    model, batches = network(), given(1600)
    lr = find_lr(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=1e-9), batches).suggestion
    assert 1e-4 < lr < 5
    trainer = cconv.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=lr), seed=0, progress=False)
    x, y = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    losses = trainer.fit((x, y), epochs=3, batch_size=16)["loss"]
    assert losses[-1] < 0.7 * losses[0]


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    lrs = np.geomspace(1e-3, 1, 10)
    axes = LRCurve(lrs, 1 / lrs, 1 / lrs).plot()
    assert axes.get_xscale() == "log" and len(axes.lines) == 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"start": 0}, ValueError, "find_lr: start must be more than 0"),
        ({"start": 1, "end": 0.1}, ValueError, r"find_lr: end must be more than start 1, got 0\.1"),
        ({"steps": 1}, ValueError, "steps must be at least 2"),
        ({"smoothing": 1}, ValueError, "smoothing must be less than 1"),
        ({"divergence": 0.5}, ValueError, "divergence must be at least 1"),
        ({"batches": []}, ValueError, "batches is empty"),
        ({"batches": iter(given())}, ValueError, "an iterator that has come to its end: give a list"),
        (
            {"loss": nn.CrossEntropyLoss(reduction="none")},
            ValueError,
            r"an array of shape \(16,\): use reduction='mean'",
        ),
        ({"batches": [(np.full((2, 1, 8, 8), math.nan), np.zeros(2, int))]}, ValueError, "not finite at the first"),
    ],
)
def test_bad_calls(options, error, message):
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    kept = bits(model, optimizer)
    arguments = {"loss": nn.CrossEntropyLoss(), "batches": given()} | options
    with pytest.raises(error, match=message):
        find_lr(model, arguments.pop("loss"), optimizer, arguments.pop("batches"), **arguments)
    assert bits(model, optimizer) == kept
