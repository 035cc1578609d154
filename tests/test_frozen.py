"""A backbone trained before: its features, a new head on them, and that nothing of it changes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import cconv
from cconv import models, nn, optim


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Block(nn.Layer):
    """Of one's own: its forward makes the containers anew."""

    def __init__(self):
        self.first = nn.Conv2d(2, 3, 3, padding=1, rng=0)
        self.norm = nn.BatchNorm2d(3)
        self.parts = [nn.Conv2d(3, 3, 1, rng=1), {"last": nn.Conv2d(3, 2, 1, rng=2)}]

    def forward(self, x, train=True):
        body = nn.Sequential(self.first, self.norm, nn.ReLU(), self.parts[0], nn.ReLU(), self.parts[1]["last"])
        return nn.Residual(body).forward(x, train)


def backbone(seed=0):
    """With running statistics that are not 0 and 1."""
    model = models.resnet20(4, 1, rng=seed)
    for i in range(3):
        model.forward(images(8, 1, 16, 16, seed=i))
    return model


class TestActivations:
    def test_of_any_layer(self):
        model, x = backbone(), images(2, 1, 16, 16)
        state, parts = model.state_dict(), [getattr(model, f"layer{i}") for i in (1, 2, 3)]
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        expected = nn.Sequential(stem, *parts[:2])(x)
        assert_array_equal(model.activations(x, "layer2"), expected)
        block = nn.Sequential(stem, parts[0])(x)
        assert_array_equal(model.activations(x, "layer2.0.conv1"), parts[1][0].conv1(block))
        first, last = model.activations(x, "layer3", "layer1")
        assert_array_equal(last, block)
        assert_array_equal(first, parts[2](expected))
        assert_array_equal(model.activations(x, ""), model(x))
        assert all(np.array_equal(value, state[name]) for name, value in model.state_dict().items())
        assert type(model.layer2) is nn.Sequential

    def test_of_blocks_of_ones_own(self):
        model, x = nn.Sequential(Block(), Block()), images(2, 2, 5, 5)
        assert_array_equal(model.activations(x, "0"), model[0](x))
        y = model[0](x)
        inner = nn.Sequential(model[1].first, model[1].norm, nn.ReLU(), model[1].parts[0])(y)
        assert_array_equal(model.activations(x, "1.parts.0"), inner)
        assert_array_equal(model.activations(x, "1.parts.1.last"), model[1].parts[1]["last"](np.maximum(inner, 0)))

    def test_what_later_layers_write_over_is_kept(self):
        model, x = nn.Sequential(nn.Conv2d(1, 2, 1, rng=0), nn.ReLU(), nn.ReLU(), nn.Flatten()), images(2, 1, 3, 3)
        first, second = model.activations(x, "0", "1")
        assert (first < 0).any() and (second >= 0).all()

    def test_what_comes_after_is_not_computed(self):
        calls = []

        class Counted(nn.Identity):
            def forward(self, x, train=True):
                calls.append(train)
                return super().forward(x, train)

        model = nn.Sequential(nn.Tanh(), nn.Sequential(Counted(), nn.Tanh()), Counted())
        model.activations(images(2, 3), "1.0")
        assert calls == [False]

    def test_many_threads_at_once(self):
        model, x = backbone(), images(2, 1, 16, 16)
        names = [f"layer{i}.{j}.conv2" for i in (1, 2, 3) for j in (0, 1, 2)]
        expected, got = [model.activations(x, name) for name in names], {}
        run = [threading.Thread(target=lambda n=n: got.update({n: model.activations(x, n)})) for n in names]
        for thread in run:
            thread.start()
        for thread in run:
            thread.join()
        for name, y in zip(names, expected, strict=True):
            assert_array_equal(got[name], y)

    def test_errors(self):
        model = nn.Sequential(nn.Tanh(), nn.Sequential(nn.Linear(3, 2)))
        with pytest.raises(ValueError, match=r"Sequential has no layer 'fc', it has '0', '1', '1.0'"):
            model.activations(images(2, 3), "fc")
        with pytest.raises(ValueError, match=r"give the name of at least one layer, such as '1\.0'"):
            model.activations(images(2, 3))
        with pytest.raises(
            ValueError, match=r"Sequential\[1\] Sequential\[0\] Linear: in_features=3, but Tanh gives 4"
        ):
            model.activations(images(2, 4), "1.0")
        model.spare = nn.Tanh()
        with pytest.raises(ValueError, match="a prediction of Sequential does not call 'spare'"):
            model.activations(images(2, 3), "spare")


OPTIMISERS = {
    "sgd": lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda p: optim.Adam(p, 0.01, weight_decay=0.1, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, 0.01, weight_decay=0.1),
    "rmsprop": lambda p: optim.RMSprop(p, 0.01, momentum=0.9, weight_decay=0.1, centered=True),
}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_new_head_leaves_the_backbone_alone(optimiser):
    """New classes: every parameter and every buffer below the head has the same bits afterwards."""
    model = backbone().freeze()
    model.fc = nn.Linear(64, 3, rng=5)
    before = model.state_dict()
    ema = optim.EMA(model, 0.9)
    optimizer = OPTIMISERS[optimiser](model.parameters())
    criterion, labels, x = nn.CrossEntropyLoss(), np.arange(12) % 3, images(12, 1, 16, 16, seed=9)
    losses = []
    for _ in range(25):
        logits, backward = model.forward(x)
        loss, loss_backward = criterion.forward(logits, labels)
        backward(loss_backward(), need_x=False)
        optim.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update()
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    after = model.state_dict()
    changed = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert changed == {"fc.weight", "fc.bias"}
    with ema.averaged():
        averaged = model.state_dict()
    assert {name for name in before if before[name].tobytes() != averaged[name].tobytes()} == changed
    assert not any(parameter.grad.any() for parameter in model.parameters() if not parameter.trainable)


def test_trained_by_the_trainer():
    model = backbone().freeze()
    model.fc = nn.Linear(64, 3, rng=5)
    before = model.state_dict()
    trainer = cconv.Trainer(
        model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), 0.1, momentum=0.9), seed=0, progress=False
    )
    trainer.fit((images(12, 1, 16, 16), np.arange(12) % 3), epochs=2, batch_size=4)
    after = model.state_dict()
    assert {n for n in before if before[n].tobytes() != after[n].tobytes()} == {"fc.weight", "fc.bias"}


def test_no_gradient_is_computed_below_the_first_layer_that_trains(monkeypatch):
    model = backbone().freeze()
    model.fc = nn.Linear(64, 3, rng=5)
    calls = []
    forward, original = nn.Conv2d._calls
    monkeypatch.setattr(nn.Conv2d, "_calls", (forward, lambda *a, **o: calls.append(1) or original(*a, **o)))

    def step():
        calls.clear()
        logits, backward = model.forward(images(2, 1, 16, 16))
        backward(np.ones_like(logits), need_x=False)
        return len(calls)

    assert step() == 0
    model.layer3[2].unfreeze()
    assert step() == 2
    model.layer3[2].freeze()
    model.layer3[2].conv2.weight.trainable = True
    assert step() == 1
    model.unfreeze()
    assert step() == 21


def test_a_head_on_features_or_on_a_slice():
    """Features computed once are as good as the frozen layers before the head."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2))
    x, labels = images(6, 1, 8, 8), np.arange(6) % 3
    features = model[:-1](x)
    assert_array_equal(features, model.activations(x, "3"))
    heads = [nn.Linear(16, 3, rng=1) for _ in range(2)]
    whole = nn.Sequential(*model[:-1].freeze(), heads[0])
    for network, data in ((whole, x), (heads[1], features)):
        optimizer = optim.SGD(network.parameters(), 0.1)
        for _ in range(3):
            logits, backward = network.forward(data)
            backward(nn.CrossEntropyLoss().forward(logits, labels)[1](), need_x=False)
            optimizer.step()
            optimizer.zero_grad()
    assert_array_equal(heads[0].weight.value, heads[1].weight.value)


class TestBatchNorm:
    @pytest.mark.parametrize("make", [nn.BatchNorm2d, nn.BatchNorm1d])
    def test_frozen_it_predicts(self, make):
        layer = make(3)
        x = images(4, 3, 5, 5) if make is nn.BatchNorm2d else images(4, 3, 5)
        layer.forward(x + 2)
        before = layer.state_dict()
        layer.freeze()
        y, backward = layer.forward(x)
        assert_array_equal(y, layer(x))
        assert_array_equal(backward(np.ones_like(y)), layer.forward(x, train=False)[1](np.ones_like(y)))
        assert all(np.array_equal(value, before[name]) for name, value in layer.state_dict().items())

    def test_half_frozen_it_trains(self):
        for name in ("weight", "bias"):
            layer = nn.BatchNorm2d(3)
            getattr(layer, name).trainable = False
            layer.forward(images(4, 3, 5, 5))
            assert int(layer.num_batches_tracked.value) == 1

    def test_unfrozen_it_trains_again(self):
        layer = nn.BatchNorm2d(3).freeze().unfreeze()
        layer.forward(images(4, 3, 5, 5))
        assert int(layer.num_batches_tracked.value) == 1

    def test_without_parameters_it_trains_as_ever(self):
        layer = nn.BatchNorm2d(3, affine=False).freeze()
        layer.forward(images(4, 3, 5, 5))
        assert int(layer.num_batches_tracked.value) == 1

    def test_without_statistics_it_takes_the_batchs(self):
        layer, x = nn.BatchNorm2d(3, track_running_stats=False).freeze(), images(4, 3, 5, 5)
        assert abs(layer.forward(x)[0].mean((0, 2, 3))).max() < 1e-6

    def test_one_value_a_channel_is_enough(self):
        assert nn.BatchNorm2d(3).freeze().forward(images(1, 3, 1, 1))[0].shape == (1, 3, 1, 1)


def test_freeze_returns_the_layer():
    model = backbone()
    assert model.freeze() is model and not any(p.trainable for p in model.parameters())
    assert model.fc.unfreeze() is model.fc and [p.trainable for p in model.parameters()][-2:] == [True, True]
