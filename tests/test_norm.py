"""Batch normalisation layers: which statistics are used and kept, and the numbers of PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from cases import distance

import cconv
from cconv import gradcheck, nn, optim

OPTIONS = {
    "default": {},
    "cumulative": {"momentum": None},
    "all of the last": {"momentum": 1.0},
    "none of the last": {"momentum": 0.0},
    "without parameters": {"affine": False},
    "without statistics": {"track_running_stats": False},
    "without either": {"affine": False, "track_running_stats": False},
    "large eps": {"eps": 0.5},
}
SHAPES = {"BatchNorm2d": [(4, 5, 6, 7)], "BatchNorm1d": [(6, 5), (4, 5, 9)]}
CASES = [(kind, shape, name) for kind, shapes in SHAPES.items() for shape in shapes for name in OPTIONS]


def drawn(shape, dtype=np.float32, seed=0):
    return (3 * np.random.default_rng(seed).normal(size=shape) + 1).astype(dtype)


class TestStatistics:
    def test_training_keeps_running_ones_and_prediction_uses_them(self):
        layer = nn.BatchNorm2d(3, dtype=np.float64)
        mean, var = np.zeros(3), np.ones(3)
        for seed in range(4):
            x = drawn((2, 3, 4, 5), np.float64, seed)
            y, _ = layer.forward(x)
            np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-12)
            mean = 0.9 * mean + 0.1 * x.mean((0, 2, 3))
            var = 0.9 * var + 0.1 * x.var((0, 2, 3), ddof=1)
        np.testing.assert_allclose(layer.running_mean.value, mean, rtol=1e-12)
        np.testing.assert_allclose(layer.running_var.value, var, rtol=1e-12)
        assert layer.num_batches_tracked.value == 4
        x = drawn((1, 3, 1, 1), np.float64)
        want = (x - mean.reshape(3, 1, 1)) / np.sqrt(var.reshape(3, 1, 1) + 1e-5)
        np.testing.assert_allclose(layer(x), want, rtol=1e-12)

    def test_prediction_changes_nothing(self):
        layer = nn.BatchNorm2d(3)
        layer.forward(drawn((2, 3, 4, 5)))
        before = layer.state_dict()
        layer(drawn((2, 3, 4, 5), seed=1))
        _, backward = layer.forward(drawn((2, 3, 4, 5), seed=2), train=False)
        backward(drawn((2, 3, 4, 5)))
        for name, value in layer.state_dict().items():
            np.testing.assert_array_equal(value, before[name])

    def test_frozen_statistics_have_a_gradient(self):
        layer = nn.BatchNorm1d(2, dtype=np.float64)
        layer.running_var.value = [3.0, 8.0]
        layer.weight.value = [2.0, 5.0]
        _, backward = layer.forward(np.ones((1, 2)), train=False)
        np.testing.assert_allclose(backward(np.ones((1, 2))), [[2 / np.sqrt(3 + 1e-5), 5 / np.sqrt(8 + 1e-5)]])

    def test_a_batch_of_nothing_counts_and_changes_nothing_else(self):
        layer = nn.BatchNorm1d(3)
        y, backward = layer.forward(np.zeros((0, 3), np.float32))
        assert backward(y).shape == (0, 3)
        assert layer.num_batches_tracked.value == 1
        assert (layer.running_mean.value == 0).all() and (layer.running_var.value == 1).all()

    def test_a_closure_keeps_the_statistics_of_its_call(self):
        layer = nn.BatchNorm2d(3, dtype=np.float64)
        x, grad = drawn((2, 3, 4, 5), np.float64), drawn((2, 3, 4, 5), np.float64, 1)
        alone = layer.forward(x)[1](grad)
        _, backward = layer.forward(x)
        layer.forward(10 * x + 3)
        np.testing.assert_array_equal(backward(grad), alone)

    def test_frozen_parameters_get_no_gradient(self):
        layer = nn.BatchNorm2d(3)
        layer.weight.trainable = False
        y, backward = layer.forward(drawn((2, 3, 4, 5)))
        backward(y)
        assert not layer.weight.grad.any() and layer.bias.grad.shape == (3,)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("kind", "shape", "name"), CASES)
def test_gradients(kind, shape, name, train):
    layer = getattr(nn, kind)(5, **OPTIONS[name])
    if layer.weight is not None:
        layer.weight.value = np.linspace(0.5, 2, 5)
    report = gradcheck(layer, drawn(shape), train=train)
    assert report, str(report)


class TestState:
    def test_names_and_types_are_those_of_pytorch(self):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        assert list(model.state_dict()) == [
            *("0.weight", "0.bias", "1.weight", "1.bias"),
            *("1.running_mean", "1.running_var", "1.num_batches_tracked"),
        ]
        assert model.state_dict()["1.num_batches_tracked"].dtype == np.int64
        assert model.state_dict()["1.num_batches_tracked"].shape == ()
        assert [name for name, _ in model.named_buffers()] == [
            *("1.running_mean", "1.running_var", "1.num_batches_tracked"),
        ]
        assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias"]

    def test_saved_and_loaded(self, tmp_path):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        for seed in range(3):
            model.forward(drawn((2, 3, 6, 6), seed=seed))
        model.save(tmp_path / "model.safetensors")
        other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).load(tmp_path / "model.safetensors")
        x = drawn((2, 3, 6, 6))
        np.testing.assert_array_equal(other(x), model(x))
        assert other[1].num_batches_tracked.value == 3

    def test_a_state_without_statistics_is_refused(self):
        layer = nn.BatchNorm2d(4)
        state = layer.state_dict()
        del state["running_var"]
        with pytest.raises(ValueError, match="missing: running_var"):
            layer.load_state_dict(state)
        with pytest.raises(ValueError, match=r"unexpected: running_mean, running_var, num_batches_tracked"):
            nn.BatchNorm2d(4, track_running_stats=False).load_state_dict(layer.state_dict())


def test_training_is_the_same_at_any_number_of_threads(threads):
    def states():
        rng = np.random.default_rng(0)
        model = nn.Sequential(
            nn.Conv2d(2, 20, 3, rng=0), nn.BatchNorm2d(20), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.BatchNorm1d(80), nn.Linear(80, 3, rng=1),
        )  # fmt: skip
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            y, backward = model.forward(rng.normal(size=(7, 2, 9, 9)).astype(np.float32))
            backward(y, need_x=False)
            optimizer.step()
            optimizer.zero_grad()
        return [value.tobytes() for value in model.state_dict().values()]

    threads(1)
    alone = states()
    for n in (2, 3):
        threads(n)
        assert states() == alone


class TestErrors:
    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: nn.BatchNorm2d(0), "BatchNorm2d: num_features must be at least 1, got 0"),
            (lambda: nn.BatchNorm2d(3, eps=-1), "BatchNorm2d: eps must be at least 0, got -1"),
            (lambda: nn.BatchNorm1d(3, momentum=1.5), "BatchNorm1d: momentum must be at most 1, got 1.5"),
            (lambda: nn.BatchNorm1d(3, momentum=-0.1), "momentum must be at least 0"),
            (
                lambda: nn.BatchNorm2d(3)(drawn((2, 3))),
                r"BatchNorm2d: x has 2 dimensions \(2, 3\), expected 4 \(N, C, H, W\)",
            ),
            (
                lambda: nn.BatchNorm1d(3)(drawn((2, 3, 4, 4))),
                r"BatchNorm1d: x has 4 dimensions \(2, 3, 4, 4\), expected 2 \(N, C\) or 3 \(N, C, L\)",
            ),
            (lambda: nn.BatchNorm2d(3)(drawn((2, 4, 5, 5))), r"num_features=3, but x .* has 4: use BatchNorm2d\(4\)"),
            (lambda: nn.BatchNorm2d(3)(drawn((2, 5, 5, 3))), "looks like NHWC"),
            (
                lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(8))(drawn((2, 3, 5, 5))),
                r"Sequential\[1\] BatchNorm2d: num_features=8, but Conv2d gives 6 for an input of \(2, 3, 5, 5\): "
                r"use BatchNorm2d\(6\)",
            ),
            (
                lambda: nn.BatchNorm2d(3).forward(drawn((1, 3, 1, 1))),
                r"x \(1, 3, 1, 1\) has one value a channel, which has no variance: training needs more images",
            ),
        ],
    )
    def test_values(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()

    def test_types(self):
        with pytest.raises(TypeError, match="BatchNorm2d: x has dtype uint8, expected float32 or float64"):
            nn.BatchNorm2d(3)(np.zeros((2, 3, 4, 4), np.uint8))
        with pytest.raises(TypeError, match="num_features must be an integer"):
            nn.BatchNorm2d(3.5)
        with pytest.raises(TypeError, match="dtype must be float32 or float64"):
            nn.BatchNorm2d(3, dtype=np.float16)

    def test_repr(self):
        assert repr(nn.BatchNorm2d(3)) == "BatchNorm2d(3)"
        assert repr(nn.BatchNorm1d(3, 0.1, None, False, False)) == (
            "BatchNorm1d(3, eps=0.1, momentum=None, affine=False, track_running_stats=False)"
        )


class TestGroupsAndRows:
    def test_names(self):
        assert list(nn.GroupNorm(2, 4).state_dict()) == list(nn.LayerNorm(4).state_dict()) == ["weight", "bias"]
        assert list(nn.LayerNorm(4, bias=False).state_dict()) == ["weight"]
        assert not nn.LayerNorm(4, elementwise_affine=False).state_dict()
        assert not nn.GroupNorm(2, 4, affine=False).state_dict()
        assert nn.LayerNorm((2, 3)).weight.value.shape == (2, 3)

    def test_repr(self):
        assert repr(nn.GroupNorm(2, 4, 0.1, False)) == "GroupNorm(2, 4, eps=0.1, affine=False)"
        assert repr(nn.LayerNorm(4)) == "LayerNorm((4,))"
        assert repr(nn.LayerNorm((2, 4), 0.1, bias=False)) == "LayerNorm((2, 4), eps=0.1, bias=False)"
        assert repr(nn.LayerNorm(4, elementwise_affine=False)) == "LayerNorm((4,), elementwise_affine=False)"

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: nn.GroupNorm(2, 5), "GroupNorm: num_groups=2 does not divide num_channels=5"),
            (lambda: nn.GroupNorm(0, 4), "GroupNorm: num_groups must be at least 1, got 0"),
            (lambda: nn.GroupNorm(2, 4)(drawn((2, 6, 5, 5))), r"num_channels=4, but x .* has 6: use GroupNorm\(2, 6\)"),
            (lambda: nn.GroupNorm(2, 4)(drawn((2, 5, 5, 4))), "looks like NHWC"),
            (lambda: nn.GroupNorm(2, 4)(drawn((4,))), "GroupNorm: x has 1 dimensions"),
            (lambda: nn.LayerNorm(4)(drawn((2, 5))), r"layer_norm: x has shape \(2, 5\), which does not end with"),
            (lambda: nn.LayerNorm(4, eps=-1), "LayerNorm: eps must be at least 0, got -1"),
        ],
    )
    def test_errors(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


class TestResidual:
    def test_without_a_shortcut_x_is_added(self):
        body = nn.Conv2d(3, 3, 3, padding=1, rng=0)
        x = drawn((2, 3, 5, 5))
        np.testing.assert_array_equal(nn.Residual(body)(x), body(x) + x)
        np.testing.assert_array_equal(nn.Residual(body, relu=True)(x), np.maximum(body(x) + x, 0))

    def test_arrays_of_others_are_left_alone(self):
        """Branches may hand on x or a gradient itself."""
        layer = nn.Residual(nn.Identity(), nn.Identity())
        x, grad = drawn((2, 3)), drawn((2, 3), seed=1)
        x.flags.writeable = grad.flags.writeable = False
        y, backward = layer.forward(x)
        np.testing.assert_array_equal(y, 2 * x)
        np.testing.assert_array_equal(backward(grad), 2 * grad)

    def test_inputs_are_cast_as_layers_cast_them(self):
        layer = nn.Residual(nn.Conv2d(3, 3, 3, padding=1, rng=0))
        assert layer(drawn((2, 3, 5, 5), np.float64)).dtype == np.float32

    def test_names(self):
        layer = nn.Residual(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False)), nn.Conv2d(3, 4, 1, bias=False))
        assert list(layer.state_dict()) == ["body.0.weight", "shortcut.weight"]

    def test_nan_and_infinity(self):
        y = nn.Residual(nn.Identity(), relu=True)(np.array([[np.nan, np.inf, -np.inf, -0.0]], np.float32))
        np.testing.assert_array_equal(y, [[np.nan, np.inf, 0, 0]])

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda: nn.Residual(None), TypeError, "Residual: body must be a layer, got None"),
            (lambda: nn.Residual(nn.ReLU(), nn.ReLU), TypeError, "Residual: shortcut must be a layer"),
            (
                lambda: nn.Residual(nn.Conv2d(3, 4, 3))(drawn((2, 3, 5, 5))),
                ValueError,
                r"Residual: body gives \(2, 4, 3, 3\), x is \(2, 3, 5, 5\): they must be equal: give a shortcut",
            ),
            (
                lambda: nn.Residual(nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 1))(drawn((2, 3, 5, 5))),
                ValueError,
                r"Residual: body gives \(2, 4, 3, 3\), shortcut gives \(2, 4, 5, 5\): they must be equal$",
            ),
        ],
    )
    def test_errors(self, call, error, message):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kind", "shape", "name"), CASES)
def test_against_pytorch(kind, shape, name, dtype):
    torch = pytest.importorskip("torch")
    ours = getattr(nn, kind)(5, **OPTIONS[name], dtype=dtype)
    theirs = getattr(torch.nn, kind)(5, **OPTIONS[name], dtype=getattr(torch, dtype))
    if ours.weight is not None:
        ours.weight.value, ours.bias.value = drawn(5, dtype, 7), drawn(5, dtype, 8)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    bound = {"float32": 2e-5, "float64": 1e-10}[dtype]
    for step in range(3):
        x, grad = drawn(shape, dtype, step), drawn(shape, dtype, step + 10)
        for train in (True, False):
            theirs.train(train)
            theirs.zero_grad()
            ours.zero_grad()
            tensor = torch.tensor(x, requires_grad=True)
            y, backward = ours.forward(x, train)
            want = theirs(tensor)
            want.backward(torch.tensor(grad))
            assert distance(y, want.detach().numpy()) < bound
            assert distance(backward(grad), tensor.grad.numpy()) < bound
            for parameter, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
                assert distance(parameter.grad, twin.grad.numpy()) < bound
            state = theirs.state_dict()
            assert list(state) == list(ours.state_dict())
            for key, value in ours.state_dict().items():
                assert distance(value, state[key].numpy()) < bound, key


def test_the_trainer_trains_and_evaluates_with_it(rng):
    x = rng.normal(size=(40, 3, 6, 6)).astype(np.float32)
    y = (x.mean((1, 2, 3)) > 0).astype(np.int64)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, rng=0), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    trainer = cconv.Trainer(
        model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.05), progress=False, seed=0
    )
    trainer.fit((x, y), epochs=2, batch_size=10)
    before = model.state_dict()
    assert before["1.num_batches_tracked"] == 8
    trainer.evaluate((x, y))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
