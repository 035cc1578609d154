"""Layers and containers: modes, closures, gradients, errors."""

import copy
import functools
import pickle
import threading
import weakref
from unittest import mock

import numpy as np
import pytest

from cconv import gradcheck, nn, optim


def images(*shape, dtype=np.float64):
    """Distinct values away from zero: no ties in a pooling, no kinks of a ReLU."""
    size = int(np.prod(shape))
    values = (np.random.default_rng(1).permutation(size) + 0.5) / size * 4 - 2
    return values.reshape(shape).astype(dtype)


def tracked(layer):
    """A batch normalisation that has seen data, and has a scale and offset."""
    rng = np.random.default_rng(5)
    for holder in (layer.running_mean, layer.weight, layer.bias):
        if holder is not None:
            holder.value = rng.normal(size=holder.value.shape)
    layer.running_var.value = rng.random(layer.num_features) + 0.5
    return layer


def scaled(layer):
    """A normalisation with a weight and bias of its own for each channel."""
    rng = np.random.default_rng(5)
    for parameter in layer.parameters():
        parameter.value = rng.normal(size=parameter.value.shape)
    return layer


def dense(channels, growth, seed, **options):
    """A step of a DenseNet."""
    conv = nn.Conv2d(channels, growth, 3, padding=1, rng=seed, **options)
    return nn.Parallel(nn.Identity(), nn.Sequential(scaled(nn.GroupNorm(1, channels, **options)), nn.GELU(), conv))


LAYERS = {
    "conv": (lambda **o: nn.Conv2d(4, 6, 3, rng=0, **o), (2, 4, 7, 6)),
    "conv_everything": (
        lambda **o: nn.Conv2d(
            4, 6, (3, 2), stride=(2, 1), padding=((2, 0), (1, 3)), dilation=(1, 2), groups=2, rng=0, **o
        ),
        (2, 4, 7, 6),
    ),
    "conv_same_no_bias": (lambda **o: nn.Conv2d(3, 2, 4, padding="same", bias=False, rng=0, **o), (2, 3, 5, 5)),
    "conv_reflect": (
        lambda **o: nn.Conv2d(2, 3, 4, padding="same", padding_mode="reflect", rng=0, **o),
        (2, 2, 5, 6),
    ),
    "conv_replicate": (
        lambda **o: nn.Conv2d(2, 3, 3, 2, (3, 1), padding_mode="replicate", rng=0, **o),
        (2, 2, 2, 5),
    ),
    "conv_circular": (
        lambda **o: nn.Conv2d(2, 3, 3, padding=(1, 3), dilation=2, padding_mode="circular", rng=0, **o),
        (2, 2, 4, 3),
    ),
    "adaptive_max_pool": (lambda **o: nn.AdaptiveMaxPool2d((3, None)), (2, 3, 7, 5)),
    "conv1d": (lambda **o: nn.Conv1d(4, 6, 3, rng=0, **o), (2, 4, 9)),
    "conv1d_everything": (lambda **o: nn.Conv1d(4, 6, 3, 2, 3, 2, 2, False, "reflect", rng=0, **o), (2, 4, 9)),
    "conv1d_same": (lambda **o: nn.Conv1d(2, 3, 4, padding="same", rng=0, **o), (2, 2, 9)),
    "max_pool1d": (lambda **o: nn.MaxPool1d(2), (2, 3, 7)),
    "max_pool1d_everything": (lambda **o: nn.MaxPool1d(3, 2, 1, 2, True), (2, 3, 10)),
    "avg_pool1d": (lambda **o: nn.AvgPool1d(2), (2, 3, 7)),
    "avg_pool1d_everything": (lambda **o: nn.AvgPool1d(3, 2, 1, True, False), (2, 3, 10)),
    "adaptive_avg_pool1d": (lambda **o: nn.AdaptiveAvgPool1d(3), (2, 3, 10)),
    "conv_transpose": (lambda **o: nn.ConvTranspose2d(4, 6, 2, 2, rng=0, **o), (2, 4, 4, 3)),
    "conv_transpose_everything": (
        lambda **o: nn.ConvTranspose2d(4, 6, (3, 2), (2, 1), (2, 1), (1, 2), 2, False, (1, 3), rng=0, **o),
        (2, 4, 5, 6),
    ),
    "linear": (lambda **o: nn.Linear(5, 3, rng=0, **o), (4, 5)),
    "linear_no_bias": (lambda **o: nn.Linear(5, 3, bias=False, rng=0, **o), (4, 5)),
    "max_pool": (lambda **o: nn.MaxPool2d(2), (2, 3, 6, 5)),
    "max_pool_everything": (lambda **o: nn.MaxPool2d(3, 2, padding=1, dilation=2, ceil_mode=True), (2, 2, 9, 8)),
    "avg_pool": (lambda **o: nn.AvgPool2d(2), (2, 3, 6, 5)),
    "avg_pool_everything": (
        lambda **o: nn.AvgPool2d((3, 2), (2, 1), padding=(1, 0), ceil_mode=True, count_include_pad=False),
        (2, 2, 8, 7),
    ),
    "adaptive_avg_pool": (lambda **o: nn.AdaptiveAvgPool2d((3, None)), (2, 3, 7, 5)),
    "batch_norm": (lambda **o: tracked(nn.BatchNorm2d(3, **o)), (2, 3, 5, 4)),
    "batch_norm_features": (lambda **o: tracked(nn.BatchNorm1d(5, eps=0.1, **o)), (4, 5)),
    "batch_norm_sequences": (lambda **o: tracked(nn.BatchNorm1d(5, affine=False, **o)), (4, 5, 6)),
    "group_norm": (lambda **o: scaled(nn.GroupNorm(2, 6, **o)), (2, 6, 5, 4)),
    "group_norm_narrow": (lambda **o: scaled(nn.GroupNorm(2, 6, eps=0.1, **o)), (3, 6, 3)),
    "group_norm_plain": (lambda **o: nn.GroupNorm(3, 6, affine=False, **o), (2, 6, 3, 3)),
    "layer_norm": (lambda **o: scaled(nn.LayerNorm(7, **o)), (2, 3, 7)),
    "layer_norm_no_bias": (lambda **o: scaled(nn.LayerNorm((3, 4), bias=False, **o)), (2, 3, 4)),
    "residual": (lambda **o: nn.Residual(nn.Conv2d(3, 3, 3, padding=1, rng=0, **o)), (2, 3, 5, 4)),
    "residual_shortcut": (
        lambda **o: nn.Residual(
            nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, rng=0, **o), nn.Tanh()),
            nn.Conv2d(3, 4, 1, 2, rng=1, **o),
            relu=True,
        ),
        (2, 3, 5, 4),
    ),
    "parallel": (
        lambda **o: nn.Parallel(nn.Identity(), nn.Conv2d(3, 2, 3, padding=1, rng=0, **o), nn.Tanh()),
        (2, 3, 5, 4),
    ),
    "parallel_sum": (
        lambda **o: nn.Parallel(nn.Conv2d(3, 4, 3, 2, 1, rng=0, **o), nn.Conv2d(3, 4, 1, 2, rng=1, **o), merge="sum"),
        (2, 3, 5, 4),
    ),
    "parallel_last": (lambda **o: nn.Parallel(nn.Sigmoid(), nn.MaxPool2d((1, 2)), dim=-1), (2, 3, 5, 4)),
    "dense_block": (lambda **o: nn.Sequential(dense(3, 2, 0, **o), dense(5, 2, 1, **o)), (2, 3, 5, 4)),
    "flatten": (lambda **o: nn.Flatten(), (2, 3, 4, 5)),
    "flatten_between": (lambda **o: nn.Flatten(1, 2), (2, 3, 4, 5)),
    "unflatten": (lambda **o: nn.Unflatten(1, (2, -1)), (2, 6, 4)),
    "zero_pad": (lambda **o: nn.ZeroPad2d((1, 2, 0, -1)), (2, 3, 4, 5)),
    "reflection_pad": (lambda **o: nn.ReflectionPad2d(2), (2, 3, 4, 5)),
    "replication_pad": (lambda **o: nn.ReplicationPad2d((1, 0, 2, 1)), (2, 3, 4, 5)),
    "adaptive_max_pool1d": (lambda **o: nn.AdaptiveMaxPool1d(3), (2, 3, 7)),
    "upsample": (lambda **o: nn.Upsample(scale_factor=2, mode="bilinear"), (2, 3, 4, 5)),
    "flatten_2": (lambda **o: nn.Flatten(start_dim=2), (2, 3, 4, 5)),
    "relu": (lambda **o: nn.ReLU(), (2, 3, 4)),
    "leaky_relu": (lambda **o: nn.LeakyReLU(0.2), (2, 3, 4)),
    "sigmoid": (lambda **o: nn.Sigmoid(), (2, 3, 4)),
    "tanh": (lambda **o: nn.Tanh(), (2, 3, 4)),
    "softplus": (lambda **o: nn.Softplus(beta=2.0, threshold=3.0), (2, 3, 4)),
    "elu": (lambda **o: nn.ELU(0.7), (2, 3, 4)),
    "gelu": (lambda **o: nn.GELU(), (2, 3, 4)),
    "gelu_tanh": (lambda **o: nn.GELU("tanh"), (2, 3, 4)),
    "silu": (lambda **o: nn.SiLU(), (2, 3, 4)),
    "hardswish": (lambda **o: nn.Hardswish(), (2, 3, 4)),
    "hardtanh": (lambda **o: nn.Hardtanh(-0.5, 0.8), (2, 3, 4)),
    "relu6": (lambda **o: nn.Sequential(nn.Rescale(5, **o), nn.ReLU6()), (2, 3, 4)),
    "hardsigmoid": (lambda **o: nn.Hardsigmoid(), (2, 3, 4)),
    "softmax": (lambda **o: nn.Softmax(), (2, 3, 4)),
    "softmax_last": (lambda **o: nn.Softmax(-1), (2, 3, 4)),
    "log_softmax": (lambda **o: nn.LogSoftmax(), (2, 5)),
    "maxout": (lambda **o: nn.Maxout(3), (2, 6, 4)),
    "identity": (lambda **o: nn.Identity(), (2, 3, 4)),
    "rescale": (lambda **o: nn.Rescale(0.5, -1.0, **o), (2, 3, 4, 4)),
    "normalize": (lambda **o: nn.Normalize([0.1, 0.2, 0.3], [1.0, 2.0, 3.0], **o), (2, 3, 4, 4)),
    "sequential": (
        lambda **o: nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1, rng=0, **o),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Sequential(nn.Conv2d(3, 4, 2, rng=1, **o), nn.LeakyReLU()),
            nn.Flatten(),
            nn.Linear(36, 5, rng=2, **o),
        ),
        (2, 1, 8, 8),
    ),
}


@pytest.fixture(params=LAYERS)
def case(request):
    make, shape = LAYERS[request.param]
    return make, images(*shape)


def gradients(layer, x, need_x=True):
    layer.zero_grad()
    y, backward = layer.forward(x)
    grad_x = backward(np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape), need_x=need_x)
    return grad_x, [p.grad.copy() for p in layer.parameters()]


def test_gradients(case):
    make, x = case
    report = gradcheck(make(dtype=np.float64), x)
    assert report, str(report)
    assert report.kinks == 0


def test_prediction_has_the_bits_of_forward(case):
    make, x = case
    layer = make()
    x = x.astype(np.float32)
    y = layer(x)
    np.testing.assert_array_equal(layer.forward(x, train=False)[0], y)
    if not isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        np.testing.assert_array_equal(layer.forward(x)[0], y)
    assert y.dtype == np.float32


def test_without_need_x_only_grad_x_is_missing(case):
    make, x = case
    layer = make(dtype=np.float64)
    grad_x, grads = gradients(layer, x)
    assert grad_x.shape == x.shape and grad_x.dtype == x.dtype
    nothing, same = gradients(layer, x, need_x=False)
    assert nothing is None
    for a, b in zip(grads, same, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_closure_runs_once(case):
    make, x = case
    layer = make(dtype=np.float64)
    y, backward = layer.forward(x)
    backward(np.ones_like(y))
    with pytest.raises(RuntimeError, match="call forward again"):
        backward(np.ones_like(y))


def test_a_call_leaves_the_layer_and_the_input_as_they_are(case):
    make, x = case
    layer = make(dtype=np.float64)
    x.flags.writeable = False
    before = [(id(item), dict(vars(item))) for _, item in layer.named_layers()]
    y, backward = layer.forward(x)
    backward(np.ones_like(y))
    layer(x)
    assert [(id(item), dict(vars(item))) for _, item in layer.named_layers()] == before


def test_a_batch_of_no_images(case):
    make, x = case
    layer = make(dtype=np.float64)
    y, backward = layer.forward(x[:0])
    assert y.shape == (0, *layer(x).shape[1:])
    assert backward(np.ones_like(y)).shape == (0, *x.shape[1:])
    assert all((p.grad == 0).all() for p in layer.parameters())


def test_deepcopy_and_pickle(case):
    make, x = case
    layer = make()
    x = x.astype(np.float32)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(twin(x), layer(x))
        for p in twin.parameters():
            p.value[...] = 0
    assert all(p.value.any() for p in layer.parameters())


def test_repr_is_pytorchs_with_defaults_left_out():
    assert repr(nn.Conv2d(1, 6, 5, padding=2)) == "Conv2d(1, 6, kernel_size=(5, 5), padding=2)"
    assert repr(nn.Conv2d(4, 6, (3, 1), 2, "valid", dilation=2, groups=2, bias=False)) == (
        "Conv2d(4, 6, kernel_size=(3, 1), stride=(2, 2), padding='valid', dilation=(2, 2), groups=2, bias=False)"
    )
    assert repr(nn.Conv1d(1, 6, 3, 2, padding=1)) == "Conv1d(1, 6, kernel_size=3, stride=2, padding=1)"
    assert repr(nn.MaxPool1d(3, 2, 1, 2)) == "MaxPool1d(kernel_size=3, stride=2, padding=1, dilation=2)"
    assert repr(nn.AvgPool1d(3, ceil_mode=True)) == "AvgPool1d(kernel_size=3, ceil_mode=True)"
    assert repr(nn.AdaptiveAvgPool1d(3)) == "AdaptiveAvgPool1d(output_size=3)"
    assert repr(nn.Conv2d(1, 6, 3, padding=1, padding_mode="circular")) == (
        "Conv2d(1, 6, kernel_size=(3, 3), padding=1, padding_mode='circular')"
    )
    assert repr(nn.ConvTranspose2d(8, 4, 2, 2, output_padding=1, bias=False)) == (
        "ConvTranspose2d(8, 4, kernel_size=(2, 2), stride=(2, 2), output_padding=(1, 1), bias=False)"
    )
    assert repr(nn.Linear(400, 120)) == "Linear(400, 120)"
    assert repr(nn.Linear(4, 1, bias=False)) == "Linear(4, 1, bias=False)"
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=(2, 2))"
    assert repr(nn.MaxPool2d(3, 2, 1, 2, True)) == (
        "MaxPool2d(kernel_size=(3, 3), stride=(2, 2), padding=1, dilation=(2, 2), ceil_mode=True)"
    )
    assert repr(nn.AvgPool2d(2, count_include_pad=False)) == "AvgPool2d(kernel_size=(2, 2), count_include_pad=False)"
    assert repr(nn.LeakyReLU(0.2)) == "LeakyReLU(negative_slope=0.2)"
    assert repr(nn.Softplus()) == "Softplus(beta=1, threshold=20)"
    assert repr(nn.ELU(0.5)) == "ELU(alpha=0.5)"
    assert repr(nn.GELU()) == "GELU()" and repr(nn.GELU("tanh")) == "GELU(approximate='tanh')"
    assert repr(nn.Softmax(-1)) == "Softmax(dim=-1)" and repr(nn.Maxout(2)) == "Maxout(2)"
    assert repr(nn.Flatten()) == "Flatten()"
    assert repr(nn.Rescale(0.5, -1)) == "Rescale(0.5, offset=-1)"
    assert repr(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh()))) == (
        "Sequential(\n  (0): ReLU()\n  (1): Sequential(\n    (0): Tanh()\n  )\n)"
    )


class TestParameter:
    def test_owns_its_array(self):
        given = np.ones((2, 3))
        p = nn.Parameter(given)
        p.value[...] = 5
        assert (given == 1).all()
        assert p.grad.shape == (2, 3) and p.grad.dtype == np.float64 and not p.grad.any() and p.trainable

    def test_assigning_copies_into_it(self):
        p = nn.Parameter(np.ones(3, np.float32))
        array, grad = p.value, p.grad
        given = np.array([1.0, 2.0, 3.0])
        p.value = given
        p.value *= 2
        p.grad += 1
        assert p.value is array and p.grad is grad
        assert array.tolist() == [2, 4, 6] and given.tolist() == [1, 2, 3] and grad.tolist() == [1, 1, 1]
        with pytest.raises(ValueError, match=r"value has shape \(3,\), cannot assign \(2,\)"):
            p.value = np.zeros(2)

    def test_big_endian_and_integer_values(self):
        assert nn.Parameter(np.array([1.0, 2.0], ">f4")).value.dtype == np.float32
        with pytest.raises(TypeError, match="Parameter: value has dtype int64"):
            nn.Parameter([1, 2])

    def test_add_grad(self):
        p = nn.Parameter(np.zeros(2))
        p.add_grad(np.ones(2))
        p.add_grad(None)
        p.add_grad(np.ones(2))
        assert p.grad.tolist() == [2, 2]
        p.trainable = False
        p.add_grad(np.ones(2))
        assert p.grad.tolist() == [2, 2]
        p.zero_grad()
        assert p.grad.tolist() == [0, 0]


class Block(nn.Layer):
    """A layer of one's own with children in lists and dicts."""

    def __init__(self):
        self.scale = nn.Parameter(np.full(1, 0.5))
        self.name = "block"
        self.stack = [nn.Linear(4, 4, rng=0, dtype=np.float64), nn.Tanh(), nn.Linear(4, 4, rng=1, dtype=np.float64)]
        self.heads = {"a": nn.Linear(4, 2, rng=2, dtype=np.float64)}
        self.again = self.stack[0]
        self.shift = nn.Buffer(np.ones(4))

    def forward(self, x, train=True):
        scaled = x * self.scale.value + self.shift.value
        y, backwards = scaled, []
        for layer in [*self.stack, self.again, self.heads["a"]]:
            y, back = layer.forward(y, train)
            backwards.append(back)

        def backward(grad_y, need_x=True):
            for back in reversed(backwards):
                grad_y = back(grad_y)
            self.scale.add_grad((grad_y * x).sum(keepdims=True).reshape(1))
            return grad_y * self.scale.value if need_x else None

        return y, backward


class TestOwnLayer:
    def test_children_are_found_in_attribute_order_and_shared_ones_once(self):
        block = Block()
        assert [path for path, _ in block.named_parameters()] == [
            "scale",
            "stack.0.weight",
            "stack.0.bias",
            "stack.2.weight",
            "stack.2.bias",
            "heads.a.weight",
            "heads.a.bias",
        ]
        assert [path for path, _ in block.named_buffers()] == ["shift"]
        assert [path for path, _ in block.named_layers()] == ["", "stack.0", "stack.1", "stack.2", "heads.a"]
        assert len(block.parameters()) == 7

    def test_gradients_of_a_layer_used_twice_add_up(self):
        report = gradcheck(nn.Sequential(Block(), nn.Tanh()), images(3, 4))
        assert report, str(report)

    def test_repr_shows_children(self):
        assert "(stack.0): Linear(4, 4)" in repr(Block())

    def test_a_cycle_ends(self):
        parent, child = nn.Sequential(nn.ReLU()), Block()
        child.parent = parent
        parent.append(child)
        assert len(parent.parameters()) == 7

    def test_without_forward(self):
        class Empty(nn.Layer):
            pass

        with pytest.raises(NotImplementedError, match=r"Empty has no forward\(self, x, train=True\)"):
            Empty()(np.zeros(1))


class TestParallel:
    def test_side_by_side_and_added(self):
        first, second, x = nn.Tanh(), nn.Sigmoid(), images(2, 3, 4, 4)
        for dim in (0, 1, -1):
            y = nn.Parallel(first, second, dim=dim)(x)
            np.testing.assert_array_equal(y, np.concatenate([first(x), second(x)], dim))
        np.testing.assert_array_equal(nn.Parallel(first, second, merge="sum")(x), first(x) + second(x))

    def test_names_and_repr(self):
        layer = nn.Parallel(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(2, 1, bias=False)))
        assert list(layer.state_dict()) == ["0.weight", "0.bias", "1.1.weight"]
        assert len(layer) == 2 and layer[1] is list(layer)[1]
        assert repr(nn.Parallel(nn.ReLU(), merge="sum")) == "Parallel(merge='sum'\n  (0): ReLU()\n)"

    def test_arrays_of_others_are_left_alone(self):
        x, grad = images(2, 3), images(2, 6)
        x.flags.writeable = grad.flags.writeable = False
        y, backward = nn.Parallel(nn.Identity(), nn.Identity()).forward(x)
        np.testing.assert_array_equal(y, np.concatenate([x, x], 1))
        np.testing.assert_array_equal(backward(grad), grad[:, :3] + grad[:, 3:])

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda: nn.Parallel(), ValueError, "at least one branch"),
            (lambda: nn.Parallel(nn.ReLU), TypeError, r"Parallel\[0\]: expected a layer, got the class ReLU"),
            (
                lambda: nn.Parallel(nn.ReLU(), merge="mean"),
                ValueError,
                "merge must be one of 'concat', 'sum', got 'mean'",
            ),
            (lambda: nn.Parallel(nn.ReLU(), dim=2)(images(2, 3)), ValueError, r"dim must be in -2..1 .* got 2"),
            (
                lambda: nn.Parallel(nn.ReLU(), nn.MaxPool2d(2))(images(2, 3, 4, 4)),
                ValueError,
                r"Parallel\[1\] MaxPool2d: gives \(2, 3, 2, 2\), branch 0 gives \(2, 3, 4, 4\): "
                "they must be equal but for dim 1",
            ),
            (
                lambda: nn.Parallel(nn.ReLU(), nn.Linear(3, 4), merge="sum")(images(2, 3)),
                ValueError,
                r"Parallel\[1\] Linear: gives \(2, 4\), branch 0 gives \(2, 3\): they must be equal$",
            ),
            (
                lambda: nn.Sequential(nn.ReLU(), nn.Parallel(nn.ReLU(), nn.Linear(5, 4)))(images(2, 3)),
                ValueError,
                r"Sequential\[1\] Parallel\[1\] Linear: in_features=5, but ReLU gives 3",
            ),
        ],
    )
    def test_errors(self, call, error, message):
        with pytest.raises(error, match=message):
            call()

    def test_a_dense_network_learns(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(64, 1, 6, 6)).astype(np.float32)
        labels = (x[:, 0, :3].mean((1, 2)) > x[:, 0, 3:].mean((1, 2))).astype(np.int64)
        model = nn.Sequential(dense(1, 4, 0), dense(5, 4, 1), nn.Flatten(), nn.Linear(324, 2, rng=2))
        criterion, optimizer = nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.01)
        for _ in range(30):
            logits, backward = model.forward(x)
            _, loss_backward = criterion.forward(logits, labels)
            backward(loss_backward(), need_x=False)
            optimizer.step()
            optimizer.zero_grad()
        assert criterion(model(x), labels) < 0.1


class TestSequential:
    def test_is_a_sequence(self):
        layers = [nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)]
        model = nn.Sequential(*layers)
        assert len(model) == 3 and list(model) == layers
        assert model[0] is layers[0] and model[-1] is layers[2]
        part = model[1:]
        assert isinstance(part, nn.Sequential) and list(part) == layers[1:]
        assert model.append(nn.Tanh()) is model and isinstance(model[3], nn.Tanh)
        model[-1] = nn.Sigmoid()
        assert isinstance(model[3], nn.Sigmoid)
        assert [path for path, _ in model.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
        with pytest.raises(IndexError):
            model[4]

    def test_of_nothing_is_the_identity(self):
        x = images(2, 3)
        y, backward = nn.Sequential().forward(x)
        assert y is x and backward(x) is x
        assert nn.Sequential()(x) is x

    @pytest.mark.parametrize(
        ("layers", "message"),
        [
            ((nn.Flatten(), nn.ReLU), r"Sequential\[1\]: expected a layer, got the class ReLU: write ReLU\(\)"),
            (([nn.ReLU()],), r"Sequential\[0\]: expected a layer, got a list: write Sequential\(\*layers\)"),
            ((np.tanh,), r"Sequential\[0\]: expected a layer, got <ufunc 'tanh'>"),
        ],
    )
    def test_takes_layers_alone(self, layers, message):
        with pytest.raises(TypeError, match=message):
            nn.Sequential(*layers)

    def test_a_subclass_keeps_its_own_attributes(self):
        class Scaled(nn.Sequential):
            def __init__(self, *layers):
                super().__init__(*layers)
                self.gain = nn.Parameter(np.ones(1))

        assert [path for path, _ in Scaled(nn.Linear(2, 1, bias=False)).named_parameters()] == ["0.weight", "gain"]

    def test_hands_train_on(self):
        seen = []

        class Spy(nn.Identity):
            def forward(self, x, train=True):
                seen.append(train)
                return super().forward(x, train)

        model = nn.Sequential(Spy(), nn.Sequential(Spy()))
        model.forward(images(1))
        model.forward(images(1), train=False)
        model(images(1))
        assert seen == [True, True, False, False, False, False]

    def test_without_need_x_goes_down_to_the_first_layer_that_trains(self):
        asked = []

        class Spy(nn.Linear):
            def forward(self, x, train=True):
                y, backward = super().forward(x, train)

                def spying(grad_y, need_x=True):
                    asked.append((self.in_features, need_x))
                    return backward(grad_y, need_x)

                return y, spying

        model = nn.Sequential(nn.Rescale(2.0), Spy(3, 4), nn.Tanh(), Spy(4, 5), Spy(5, 6))
        x = images(2, 3)
        for frozen, expected in [
            ([], [(5, True), (4, True), (3, False)]),
            ([1], [(5, True), (4, False)]),
            ([1, 3, 4], []),
        ]:
            for i in frozen:
                for p in model[i].parameters():
                    p.trainable = False
            asked.clear()
            y, backward = model.forward(x)
            assert backward(np.ones_like(y), need_x=False) is None
            assert asked == expected
        asked.clear()
        y, backward = model.forward(x)
        assert backward(np.ones_like(y)).shape == x.shape
        assert asked == [(5, True), (4, True), (3, True)]

    def test_backward_frees_what_forward_kept(self):
        class Kept(np.ndarray):
            """Arrays themselves take no weak references."""

        kept = []

        class Keeping(nn.Identity):
            def forward(self, x, train=True):
                array = np.ones(3).view(Kept)
                kept.append(weakref.ref(array))
                return x, nn.Backward(lambda grad_y, need_x=True: grad_y + array.sum() * 0, x)

        alive = []

        class Looking(nn.Identity):
            def forward(self, x, train=True):
                def backward(grad_y, need_x=True):
                    alive.append([ref() is not None for ref in kept])
                    return grad_y

                return x, backward

        model = nn.Sequential(Keeping(), Looking(), Keeping())
        x = images(3)
        _, backward = model.forward(x)
        assert all(ref() is not None for ref in kept)
        backward(x)
        assert alive == [[True, False]]
        assert all(ref() is None for ref in kept)

    def test_predicts_from_many_threads(self):
        model = LAYERS["sequential"][0]()
        x = images(2, 1, 8, 8, dtype=np.float32)
        expected, found = model(x), []
        threads = [threading.Thread(target=lambda: found.extend(model(x) for _ in range(20))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 80
        for y in found:
            np.testing.assert_array_equal(y, expected)


class TestTrainable:
    def test_a_frozen_parameter_gets_no_gradient(self):
        model = LAYERS["sequential"][0](dtype=np.float64)
        _, free = gradients(model, images(2, 1, 8, 8))
        model[0].weight.trainable = False
        model[5].bias.trainable = False
        _, grads = gradients(model, images(2, 1, 8, 8))
        for (path, _), grad, before in zip(model.named_parameters(), grads, free, strict=True):
            if path in ("0.weight", "5.bias"):
                assert not grad.any()
            else:
                np.testing.assert_array_equal(grad, before)

    def test_gradients_add_until_zeroed(self):
        layer = nn.Linear(3, 2, rng=0)
        x = images(4, 3, dtype=np.float32)
        _, once = gradients(layer, x)
        y, backward = layer.forward(x)
        backward(np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape))
        np.testing.assert_allclose(layer.weight.grad, 2 * once[0])
        layer.zero_grad()
        assert not layer.weight.grad.any() and not layer.bias.grad.any()


class TestDtypes:
    @pytest.mark.parametrize(
        ("kind", "arguments", "shape"), [(nn.Conv2d, (1, 2, 3), (2, 1, 6, 6)), (nn.Linear, (6, 2), (2, 6))]
    )
    def test_float_inputs_are_cast_to_the_parameters_dtype(self, kind, arguments, shape):
        x = images(*shape)
        single, double = (kind(*arguments, rng=0, dtype=dtype) for dtype in (np.float32, np.float64))
        assert single(x).dtype == np.float32 and double(x.astype(np.float32)).dtype == np.float64
        np.testing.assert_array_equal(single(x), single(x.astype(np.float32)))
        np.testing.assert_array_equal(double.weight.value.astype(np.float32), single.weight.value)

    def test_a_model_of_both_widths_trains(self):
        model = nn.Sequential(nn.Linear(4, 3, rng=0, dtype=np.float64), nn.Tanh(), nn.Linear(3, 2, rng=1))
        x = images(5, 4)
        y, backward = model.forward(x)
        grad_x = backward(np.ones_like(y))
        assert y.dtype == np.float32 and grad_x.dtype == np.float64
        assert model[0].weight.grad.any() and model[2].weight.grad.any()

    def test_a_gradient_of_another_type_is_cast(self):
        x = images(2, 4, dtype=np.float32)
        for layer in (nn.Linear(4, 2), nn.ReLU(), nn.Flatten(), nn.Rescale(2.0), nn.Sequential(nn.Tanh(), nn.ReLU())):
            y, backward = layer.forward(x)
            assert backward(np.ones(y.shape, np.int64)).dtype == np.float32
            _, backward = layer.forward(x)
            assert backward(np.ones(y.shape).tolist()).dtype == np.float32

    def test_layouts_and_byte_orders(self):
        x = images(2, 3, 6, 6, dtype=np.float32)
        layer = nn.Conv2d(3, 2, 3, rng=0)
        for same in (np.asfortranarray(x), x.astype(">f4"), x.tolist()):
            np.testing.assert_array_equal(layer(same), layer(x))

    def test_dtype_takes_any_name_of_a_float_type(self):
        for name in (np.float64, np.dtype("f8"), ">f8", "float64", float):
            assert nn.Linear(3, 2, dtype=name).weight.value.dtype == np.float64

    @pytest.mark.parametrize("layer", [nn.Conv2d(1, 2, 3), nn.Linear(6, 2)])
    def test_integers_are_refused(self, layer):
        shape = (2, 1, 6, 6) if isinstance(layer, nn.Conv2d) else (2, 6)
        cure = r"put nn.Rescale\(1 / 255\) first, or use x.astype\(np.float32\) / 255$"
        with pytest.raises(TypeError, match=f"x has dtype uint8, expected float32 or float64: for images {cure}"):
            layer(np.zeros(shape, np.uint8))
        with pytest.raises(TypeError, match=r"x has dtype int64, .*: use x.astype\(np.float32\)$"):
            layer(np.zeros(shape, np.int64))
        with pytest.raises(TypeError, match="x has dtype complex128"):
            layer(np.zeros(shape, complex))

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool, np.float16, np.float32, np.float64])
    def test_preprocessing_takes_any_real_type_and_gives_float32(self, dtype):
        x = np.arange(24).reshape(2, 3, 2, 2).astype(dtype)
        y = nn.Rescale(1 / 255)(x)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, x.astype(np.float64) / 255, rtol=1e-6)
        y = nn.Normalize([1, 2, 3], [4, 5, 6])(x)
        assert y.dtype == np.float32
        mean, std = (np.reshape(v, (3, 1, 1)) for v in ([1, 2, 3], [4, 5, 6]))
        np.testing.assert_allclose(y, (x.astype(np.float64) - mean) / std, rtol=1e-6)

    def test_rescaled_bytes_reach_one_exactly(self):
        assert nn.Rescale(1 / 255)(np.array([[255]], np.uint8))[0, 0] == 1

    def test_bytes_train_through_rescale(self):
        model = nn.Sequential(nn.Rescale(1 / 255), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 3))
        y, backward = model.forward(np.full((2, 1, 6, 6), 200, np.uint8))
        assert backward(np.ones_like(y)).shape == (2, 1, 6, 6)


class TestErrorsInANetwork:
    def lenet(self):
        return nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 10), nn.ReLU()
        )

    @pytest.mark.parametrize("call", [lambda m, x: m(x), lambda m, x: m.forward(x)])
    def test_linear_after_flatten(self, call):
        model = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 10))
        with pytest.raises(ValueError) as caught:
            call(model, np.zeros((4, 1, 28, 28), np.float32))
        assert str(caught.value) == (
            "Sequential[4] Linear: in_features=400, but Flatten gives 864 for an input of (4, 1, 28, 28): "
            "use Linear(864, 10)"
        )

    @pytest.mark.parametrize(
        ("x", "kind", "message"),
        [
            (
                np.zeros((4, 28, 28, 1), np.float32),
                ValueError,
                "Sequential[0] Conv2d: in_channels=1, but x (4, 28, 28, 1) has 28: looks like NHWC: "
                "use x.transpose(0, 3, 1, 2)",
            ),
            (
                np.zeros((4, 3, 28, 28), np.float32),
                ValueError,
                "Sequential[0] Conv2d: in_channels=1, but x (4, 3, 28, 28) has 3: use Conv2d(3, 6, ...)",
            ),
            (
                np.zeros((4, 28, 28), np.float32),
                ValueError,
                "Sequential[0] Conv2d: x has 3 dimensions (4, 28, 28), expected 4 (N, C, H, W): "
                "for (N, H, W) use x[:, None]",
            ),
            (
                np.zeros((1, 28, 28), np.float32),
                ValueError,
                "Sequential[0] Conv2d: x has 3 dimensions (1, 28, 28), expected 4 (N, C, H, W): "
                "for (C, H, W) use x[None]",
            ),
            (
                np.zeros((4, 1, 28, 28), np.uint8),
                TypeError,
                "Sequential[0] Conv2d: x has dtype uint8, expected float32 or float64: for images put "
                "nn.Rescale(1 / 255) first, or use x.astype(np.float32) / 255",
            ),
            (
                np.zeros((4, 1, 2, 28), np.float32),
                ValueError,
                "Sequential[0] Conv2d: kernel height 3 is larger than the padded input height 2 (2 + padding 0 + 0)",
            ),
        ],
    )
    def test_wrong_inputs(self, x, kind, message):
        for call in (self.lenet(), self.lenet().forward):
            with pytest.raises(kind) as caught:
                call(x)
            assert str(caught.value) == message

    def test_channels_within(self):
        model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(3, 4, 3))
        with pytest.raises(ValueError) as caught:
            model(np.zeros((4, 1, 28, 28), np.float32))
        assert str(caught.value) == (
            "Sequential[2] Conv2d: in_channels=3, but ReLU gives 6 for an input of (4, 1, 28, 28): "
            "use Conv2d(6, 4, ...)"
        )

    def test_linear_without_flatten(self):
        with pytest.raises(ValueError) as caught:
            nn.Sequential(nn.ReLU(), nn.Linear(9, 2))(np.zeros((4, 1, 3, 3)))
        assert str(caught.value) == (
            "Sequential[1] Linear: x has 4 dimensions (4, 1, 3, 3), expected 2 (N, features): "
            "put nn.Flatten() before it"
        )

    def test_nested(self):
        x = np.zeros((4, 1, 28, 28), np.float32)
        inner = nn.Sequential(nn.Linear(400, 10))
        model = nn.Sequential(nn.Conv2d(1, 6, 5), nn.Flatten(), inner)
        for call in (model, model.forward):
            with pytest.raises(ValueError) as caught:
                call(x)
            assert str(caught.value) == (
                "Sequential[2] Sequential[0] Linear: in_features=400, but Flatten gives 3456 for an input of "
                "(4, 1, 28, 28): use Linear(3456, 10)"
            )
        with pytest.raises(ValueError, match=r"^Sequential\[0\] Sequential\[1\] MaxPool2d: .*kernel height 30"):
            nn.Sequential(nn.Sequential(nn.ReLU(), nn.MaxPool2d(30)))(x)

    def test_alone(self):
        with pytest.raises(ValueError, match=r"^Linear: in_features=4, but x \(2, 3\) has 3: use Linear\(3, 5\)$"):
            nn.Linear(4, 5)(np.zeros((2, 3)))
        with pytest.raises(ValueError, match=r"^Linear: x has 1 dimensions \(4,\).*x\[None\]$"):
            nn.Linear(4, 5)(np.zeros(4))
        with pytest.raises(ValueError, match=r"^Flatten: x has 1 dimensions \(4,\), start_dim=1 needs more$"):
            nn.Flatten()(np.zeros(4))
        with pytest.raises(ValueError, match=r"^Normalize: x \(2, 4, 4, 3\).*looks like NHWC"):
            nn.Normalize([1, 2, 3], [1, 1, 1])(np.zeros((2, 4, 4, 3)))
        with pytest.raises(TypeError, match=r"^Rescale: x has dtype complex128"):
            nn.Rescale(1.0)(np.zeros((2, 2), complex))

    def test_errors_keep_their_type_and_survive_pickling(self):
        class Broken(nn.Layer):
            def __init__(self, error):
                self.error = error

            def forward(self, x, train=True):
                raise self.error

        for error, message in [
            (KeyError("weight"), "'Sequential[0] Broken: weight'"),
            (ZeroDivisionError("by zero"), "Sequential[0] Broken: by zero"),
            (OSError(2, "gone"), "[Errno 2] gone"),
        ]:
            with pytest.raises(type(error)) as caught:
                nn.Sequential(Broken(error))(np.zeros(1))
            assert caught.value is error and str(error) == message
        assert error.__notes__ == ["in Sequential[0] Broken"]
        with pytest.raises(ValueError) as caught:
            nn.Linear(4, 5)(np.zeros((2, 3)))
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

    def test_in_backward(self):
        model = nn.Sequential(nn.ReLU(), nn.Tanh())
        _, backward = model.forward(np.zeros((2, 3)))
        with pytest.raises(ValueError, match=r"^Sequential\[1\] Tanh: .*grad_y has shape \(2, 4\)"):
            backward(np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: nn.Conv2d(0, 2, 3), ValueError, "Conv2d: in_channels must be at least 1, got 0"),
        (lambda: nn.Conv2d(1.5, 2, 3), TypeError, "Conv2d: in_channels must be an integer, got 1.5"),
        (lambda: nn.Conv2d(1, 2, 0), ValueError, "Conv2d: kernel_size must be at least 1, got 0"),
        (lambda: nn.Conv2d(1, 2, (3, 3, 3)), ValueError, r"Conv2d: kernel_size must be an int or \(height, width\)"),
        (lambda: nn.Conv2d(1, 2, 3, stride=0), ValueError, "Conv2d: stride must be at least 1, got 0"),
        (lambda: nn.Conv2d(1, 2, 3, padding=-1), ValueError, "Conv2d: padding must be at least 0, got -1"),
        (lambda: nn.Conv2d(1, 2, 3, padding="full"), ValueError, "Conv2d: padding must be 'same', 'valid' or numbers"),
        (lambda: nn.Conv2d(1, 2, 3, 2, "same"), ValueError, "Conv2d: padding='same' needs stride 1"),
        (lambda: nn.Conv2d(1, 2, 3, dilation=0), ValueError, "Conv2d: dilation must be at least 1, got 0"),
        (lambda: nn.Conv2d(4, 6, 3, groups=4), ValueError, "Conv2d: groups=4 does not divide out_channels=6"),
        (lambda: nn.Conv2d(3, 6, 3, groups=2), ValueError, "Conv2d: groups=2 does not divide in_channels=3"),
        (lambda: nn.Conv1d(1, 2, (3, 3)), ValueError, r"Conv1d: kernel_size must be an int, got \(3, 3\)"),
        (lambda: nn.Conv1d(1, 2, 3, 2, "same"), ValueError, "Conv1d: padding='same' needs stride 1, got stride 2"),
        (
            lambda: nn.Conv1d(3, 2, 3)(images(2, 9, 3)),
            ValueError,
            r"Conv1d: in_channels=3, but x \(2, 9, 3\) has 9: looks like NLC: use x.transpose\(0, 2, 1\)",
        ),
        (
            lambda: nn.Conv1d(1, 2, 3)(images(2, 9)),
            ValueError,
            r"Conv1d: x has 2 dimensions \(2, 9\), expected 3 \(N, C, L\): for \(N, L\) use x\[:, None\]",
        ),
        (
            lambda: nn.MaxPool1d(2, padding=2),
            ValueError,
            "MaxPool1d: padding length 2 is over half the kernel length 2: at most 1",
        ),
        (
            lambda: nn.Conv2d(1, 2, 3, padding_mode="mirror"),
            ValueError,
            "Conv2d: padding_mode must be one of 'zeros', 'reflect', 'replicate', 'circular', got 'mirror'",
        ),
        (
            lambda: nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")(images(1, 1, 4, 1)),
            ValueError,
            r"pad: mode='reflect' of 1 numbers pads at most 0, got \(1, 1\)",
        ),
        (
            lambda: nn.ConvTranspose2d(1, 2, 3, output_padding=1),
            ValueError,
            "ConvTranspose2d: output_padding height 1 must be less than stride 1 or dilation 1",
        ),
        (
            lambda: nn.ConvTranspose2d(1, 2, 3, padding="same"),
            ValueError,
            "ConvTranspose2d: padding must be numbers, got 'same'",
        ),
        (
            lambda: nn.ConvTranspose2d(4, 6, 3, groups=4),
            ValueError,
            "ConvTranspose2d: groups=4 does not divide out_channels=6",
        ),
        (
            lambda: nn.ConvTranspose2d(1, 6, 3)(images(2, 3, 4, 4)),
            ValueError,
            r"ConvTranspose2d: in_channels=1, but x \(2, 3, 4, 4\) has 3: use ConvTranspose2d\(3, 6, ...\)",
        ),
        (lambda: nn.Conv2d(1, 2, 3, dtype=np.int32), TypeError, "Conv2d: dtype must be float32 or float64"),
        (lambda: nn.Conv2d(1, 2, 3, dtype=None), TypeError, "Conv2d: dtype must be float32 or float64, got None"),
        (lambda: nn.Linear(3, 2, dtype="int"), TypeError, "Linear: dtype must be float32 or float64"),
        (lambda: nn.Linear(3, 0), ValueError, "Linear: out_features must be at least 1, got 0"),
        (lambda: nn.Linear(3, 2, rng="0"), TypeError, "seed must be an integer or a numpy.random.Generator"),
        (lambda: nn.Flatten("1"), TypeError, "Flatten: start_dim must be an integer, got '1'"),
        (lambda: nn.MaxPool2d(0), ValueError, "MaxPool2d: kernel_size must be at least 1, got 0"),
        (lambda: nn.MaxPool2d(2, stride=0), ValueError, "MaxPool2d: stride must be at least 1, got 0"),
        (lambda: nn.MaxPool2d(3, padding=2), ValueError, "MaxPool2d: padding height 2 is over half the kernel"),
        (lambda: nn.AvgPool2d(2, padding=(1, 2)), ValueError, "AvgPool2d: padding width 2 is over half"),
        (lambda: nn.LeakyReLU("a"), TypeError, "LeakyReLU: negative_slope must be a number, got 'a'"),
        (lambda: nn.Softplus(beta=0), ValueError, "Softplus: beta must be more than 0, got 0"),
        (lambda: nn.Rescale("a"), TypeError, "Rescale: scale must be a number, got 'a'"),
        (lambda: nn.Rescale([1, 2]), ValueError, "Rescale: scale must be a number, got shape"),
        (lambda: nn.Rescale(np.inf), ValueError, "Rescale: scale must be finite, got inf"),
        (lambda: nn.Normalize(0.5, 0), ValueError, "Normalize: std must be more than 0, got 0"),
        (lambda: nn.Normalize([1, 2], [1, 2, 3]), ValueError, "Normalize: mean has 2 channels, std 3"),
        (lambda: nn.Normalize([], 1), ValueError, "Normalize: mean must be a number, or one a channel"),
    ],
)
def test_constructors_check_their_arguments(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


TORCH = {
    "conv": lambda t: t.nn.Conv2d(4, 6, 3),
    "linear": lambda t: t.nn.Linear(5, 3),
    "linear_no_bias": lambda t: t.nn.Linear(5, 3, bias=False),
    "max_pool": lambda t: t.nn.MaxPool2d(2),
    "max_pool_everything": lambda t: t.nn.MaxPool2d(3, 2, padding=1, dilation=2, ceil_mode=True),
    "avg_pool": lambda t: t.nn.AvgPool2d(2),
    "avg_pool_everything": lambda t: t.nn.AvgPool2d(
        (3, 2), (2, 1), padding=(1, 0), ceil_mode=True, count_include_pad=False
    ),
    "conv_reflect": lambda t: t.nn.Conv2d(2, 3, 4, padding="same", padding_mode="reflect"),
    "conv_replicate": lambda t: t.nn.Conv2d(2, 3, 3, 2, (3, 1), padding_mode="replicate"),
    "conv_circular": lambda t: t.nn.Conv2d(2, 3, 3, padding=(1, 3), dilation=2, padding_mode="circular"),
    "adaptive_max_pool": lambda t: t.nn.AdaptiveMaxPool2d((3, None)),
    "conv1d": lambda t: t.nn.Conv1d(4, 6, 3),
    "conv1d_everything": lambda t: t.nn.Conv1d(4, 6, 3, 2, 3, 2, 2, False, "reflect"),
    "conv1d_same": lambda t: t.nn.Conv1d(2, 3, 4, padding="same"),
    "max_pool1d": lambda t: t.nn.MaxPool1d(2),
    "max_pool1d_everything": lambda t: t.nn.MaxPool1d(3, 2, 1, 2, ceil_mode=True),
    "avg_pool1d": lambda t: t.nn.AvgPool1d(2),
    "avg_pool1d_everything": lambda t: t.nn.AvgPool1d(3, 2, 1, True, False),
    "adaptive_avg_pool1d": lambda t: t.nn.AdaptiveAvgPool1d(3),
    "conv_transpose": lambda t: t.nn.ConvTranspose2d(4, 6, 2, 2),
    "conv_transpose_everything": lambda t: t.nn.ConvTranspose2d(4, 6, (3, 2), (2, 1), (2, 1), (1, 2), 2, False, (1, 3)),
    "conv_same_no_bias": lambda t: t.nn.Conv2d(3, 2, 4, padding="same", bias=False),
    "flatten": lambda t: t.nn.Flatten(),
    "flatten_2": lambda t: t.nn.Flatten(start_dim=2),
    "relu": lambda t: t.nn.ReLU(),
    "leaky_relu": lambda t: t.nn.LeakyReLU(0.2),
    "sigmoid": lambda t: t.nn.Sigmoid(),
    "tanh": lambda t: t.nn.Tanh(),
    "softplus": lambda t: t.nn.Softplus(beta=2.0, threshold=3.0),
    "identity": lambda t: t.nn.Identity(),
    "sequential": lambda t: t.nn.Sequential(
        t.nn.Conv2d(1, 3, 3, padding=1),
        t.nn.Tanh(),
        t.nn.AvgPool2d(2),
        t.nn.Sequential(t.nn.Conv2d(3, 4, 2), t.nn.LeakyReLU()),
        t.nn.Flatten(),
        t.nn.Linear(36, 5),
    ),
}


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", TORCH)
def test_agrees_with_torch(name):
    torch = pytest.importorskip("torch")
    make, shape = LAYERS[name]
    layer, peer = make(dtype=np.float64), TORCH[name](torch).double()
    layer.load_state_dict(peer.state_dict())
    x = images(*shape)
    y, backward = layer.forward(x)
    grad_y = np.cos(np.arange(y.size, dtype=float)).reshape(y.shape)
    grad_x = backward(grad_y)

    peer_x = torch.tensor(x, requires_grad=True)
    peer_y = peer(peer_x)
    peer_y.backward(torch.tensor(grad_y))

    def close(ours, theirs):
        theirs = theirs.detach().numpy()
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1e-12 * np.abs(theirs).max()

    close(y, peer_y)
    close(grad_x, peer_x.grad)
    for (path, p), (peer_path, peer_p) in zip(layer.named_parameters(), peer.named_parameters(), strict=True):
        assert path == peer_path
        close(p.grad, peer_p.grad)


class Forgetful(nn.Layer):
    def forward(self, x, train=True):
        return 2 * x


@pytest.mark.parametrize(
    "use",
    [
        lambda x: Forgetful()(x),
        lambda x: nn.Sequential(Forgetful(), nn.ReLU())(x),
        lambda x: nn.Sequential(Forgetful()).forward(x),
        lambda x: gradcheck(Forgetful(), x),
    ],
)
def test_a_layer_that_forgets_its_backward_is_told(use):
    # Two images unpack into two values: the second must not pass for a closure.
    with pytest.raises(TypeError, match=r"Forgetful: forward must return \(y, backward\).*got ndarray"):
        use(np.ones((2, 3)))


def test_an_array_does_not_replace_a_parameter():
    layer = nn.Linear(3, 2)
    with pytest.raises(TypeError, match=r"Linear: weight is a Parameter.*use weight\.value = "):
        layer.weight = np.zeros((2, 3))
    assert len(layer.parameters()) == 2


@pytest.mark.parametrize("name", ["train", "eval"])
def test_a_mode_flag_is_explained(name):
    with pytest.raises(AttributeError, match="the call decides the mode"):
        getattr(nn.ReLU(), name)()


class TestGradientsTakenOver:
    """The first gradient after `zero_grad` becomes `grad` as it is."""

    def test_what_a_user_holds_stays_as_it_was(self):
        layer = nn.Linear(3, 2, rng=0)
        x, grad = images(4, 3, dtype=np.float32), images(4, 2, dtype=np.float32)
        layer.forward(x)[1](grad)
        layer.zero_grad()
        layer.forward(x)[1](grad)
        held = layer.weight.grad
        before = held.copy()
        layer.zero_grad()
        assert not layer.weight.grad.any()
        layer.forward(2 * x)[1](grad)
        np.testing.assert_array_equal(held, before)
        np.testing.assert_array_equal(layer.weight.grad, 2 * before)

    def test_a_layer_used_twice_adds_up(self):
        layer = nn.Linear(3, 3, rng=0)
        x, grad = images(4, 3, dtype=np.float32), images(3, 4, dtype=np.float32).T
        alone = []
        for _ in range(2):
            layer.zero_grad()
            layer.forward(x)[1](grad)
            alone.append(layer.weight.grad)
        layer.zero_grad()
        for _ in range(2):
            layer.forward(x)[1](grad)
        np.testing.assert_array_equal(layer.weight.grad, alone[0] + alone[1])

    def test_an_array_given_to_add_grad_is_not_kept(self):
        parameter = nn.Parameter(np.zeros(3, np.float32))
        given = np.ones(3, np.float32)
        parameter.add_grad(given)
        parameter.add_grad(given)
        np.testing.assert_array_equal(given, 1)
        np.testing.assert_array_equal(parameter.grad, 2)

    def test_no_gradient_is_zero(self):
        parameter = nn.Parameter(np.ones((2, 3)))
        assert parameter.grad.shape == (2, 3) and not parameter.grad.any()
        parameter.grad = np.ones((2, 3))
        parameter.zero_grad()
        parameter.grad += 2
        np.testing.assert_array_equal(parameter.grad, 2)
        frozen = nn.Parameter(np.ones(2), trainable=False)
        frozen.add_grad(np.ones(2), fresh=True)
        assert not frozen.grad.any()


def recorded(layer, outputs):
    """Wrap a layer's `forward` so that its outputs are kept, as one does to look at features."""
    forward = layer.forward

    @functools.wraps(forward)
    def recording(x, train=True):
        y, backward = forward(x, train)
        outputs.append(y)
        return y, backward

    layer.forward = recording


class TestActivationsInPlace:
    """An activation written over the output before it: never over one that somebody holds."""

    @pytest.fixture
    def model(self):
        return nn.Sequential(nn.Conv2d(2, 3, 3, rng=0), nn.ReLU(), nn.MaxPool2d(2), nn.Tanh())

    def test_a_wrapper_has_no_marks(self, model):
        x = images(2, 2, 7, 8, dtype=np.float32)
        alone = [model[: i + 1](x) for i in range(len(model))]
        for predict in (False, True):
            outputs = []
            seen = copy.deepcopy(model)
            for layer in seen:
                recorded(layer, outputs)
            _ = seen(x) if predict else seen.forward(x)[0]
            for y, want in zip(outputs, alone, strict=True):
                np.testing.assert_array_equal(y, want)

    def test_a_mock_has_no_marks(self, model):
        x = images(2, 2, 7, 8, dtype=np.float32)
        want = model(x)
        with mock.patch.object(model[1], "forward", wraps=model[1].forward) as spy:
            np.testing.assert_array_equal(model.forward(x)[0], want)
        assert spy.call_args.kwargs == {}

    def test_a_call_of_ones_own_has_no_marks(self):
        class Kept(nn.Conv2d):
            def __call__(self, x):
                self.y = super().__call__(x)
                return self.y

        class Doubled(nn.ReLU):
            def __call__(self, x):
                return 2 * super().__call__(x)

        first, second = Kept(2, 3, 3, rng=0), Doubled()
        x = images(2, 2, 7, 8, dtype=np.float32)
        y = first.forward(x)[0]
        np.testing.assert_array_equal(nn.Sequential(first, nn.ReLU())(x), np.maximum(y, 0))
        np.testing.assert_array_equal(first.y, y)
        np.testing.assert_array_equal(nn.Sequential(nn.Conv2d(2, 3, 3, rng=0), second)(x), 2 * np.maximum(y, 0))
