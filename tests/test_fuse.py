"""Fused models predict what their models do."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import test_functional_conv
import test_functional_linear
import test_functional_winograd
from cases import distance, same_bits

import cconv
from cconv import functional as F
from cconv import models, nn
from cconv.functional.conv import conv2d_relu
from cconv.functional.linear import linear_relu
from cconv.functional.sequence import conv1d_relu
from cconv.nn.fuse import RECTIFIED, Chain

WITHIN = {"float32": 1e-5, "float64": 1e-12}


# The kernels ---------------------------------------------------------------------------------------------------------


def holed(array):
    """With numbers that a maximum could lose."""
    array.flat[:: max(7, array.size // 3)] = np.nan
    array.flat[3 :: max(11, array.size // 2)] = np.inf
    return array


CASES = {"direct": test_functional_conv.CASES, "winograd": test_functional_winograd.CASES}


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize(("algorithm", "name"), [(a, name) for a, cases in CASES.items() for name in cases])
def test_a_rectified_convolution_is_relu_of_it(algorithm, name, isa, dtype, n_threads):
    x_shape, weight_shape, options = CASES[algorithm][name]
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.normal(size=s).astype(dtype) for s in (x_shape, weight_shape, weight_shape[0]))
    for given, b in ((x, bias), (x, None), (holed(x.copy()), bias)):
        arguments = {**options, "bias": b, "algorithm": algorithm}
        y = F.conv2d(given, weight, **arguments)
        assert same_bits([conv2d_relu(given, weight, **arguments)], [F.relu(y)])
        assert same_bits([conv2d_relu(given, weight, **arguments, top=1.5)], [F.hardtanh(y, 0, 1.5)])


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("shape", test_functional_linear.SHAPES, ids=str)
def test_a_rectified_linear_map_is_relu_of_it(shape, isa, dtype, n_threads):
    n, features, outputs = shape
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.normal(size=s).astype(dtype) for s in ((n, features), (outputs, features), outputs))
    for given in (x, holed(x.copy())):
        for b in (bias, None):
            y = F.linear(given, weight, b)
            assert same_bits([linear_relu(given, weight, b)], [F.relu(y)])
            assert same_bits([linear_relu(given, weight, b, 1.5)], [F.hardtanh(y, 0, 1.5)])


def test_a_rectified_convolution_of_sequences_is_relu_of_it(rng, dtype):
    x, weight, bias = (rng.normal(size=s).astype(dtype) for s in ((2, 4, 19), (6, 2, 3), 6))
    for options in ({"groups": 2}, {"groups": 2, "stride": 2, "padding": "valid"}, {"groups": 2, "padding": 1}):
        got, want = (run(x, weight, bias, **options) for run in (conv1d_relu, F.conv1d))
        assert same_bits([got], [F.relu(want)])
        assert same_bits([conv1d_relu(x, weight, bias, **options, top=1.5)], [F.hardtanh(want, 0, 1.5)])


# Models --------------------------------------------------------------------------------------------------------------


def trained(model, x, steps=4):
    """The model after some steps, so that running statistics and affine parameters are not those of the start."""
    rng = np.random.default_rng(1)
    for parameter in model.parameters():
        if parameter.value.ndim == 1:
            parameter.value += rng.normal(scale=0.3, size=parameter.value.shape)
    for _ in range(steps):
        batch = (rng.normal(size=x.shape) * 1.7 + 0.4).astype(x.dtype)
        y, backward = model.forward(batch)
        backward(rng.normal(size=y.shape).astype(y.dtype) / y.size)
        for parameter in model.parameters():
            parameter.value -= 0.05 * parameter.grad
        model.zero_grad()
    return model


def kinds(model):
    return [type(layer).__name__ for _, layer in model.named_layers()]


def check(model, x):
    """The fused model, if it predicts what the model does, and the model is as it was."""
    before = {path: array.copy() for path, array in model.state_dict().items()}
    want = model(x)
    fused = model.fuse()
    got = fused(x)
    assert got.dtype == want.dtype
    assert distance([got], [want]) <= WITHIN[got.dtype.name]
    ours = [p.value for p in model.parameters()] + [b.value for _, b in model.named_buffers()]
    new = [p.value for p in fused.parameters()] + [b.value for _, b in fused.named_buffers()]
    assert not any(np.shares_memory(a, b) for a in ours for b in new)
    assert same_bits([model(x)], [want])
    assert all(np.array_equal(array, before[path]) for path, array in model.state_dict().items())
    y, backward = fused.forward(x, train=False)
    assert same_bits([y], [got])
    with pytest.raises(RuntimeError, match="a fused model has no gradient"):
        backward(y)
    with pytest.raises(RuntimeError, match="a fused model does not train: train the model that it was made of"):
        fused.forward(x)
    return fused


def image(*shape, dtype=np.float32):
    return np.random.default_rng(2).normal(size=shape).astype(dtype)


CONVOLUTIONS = {
    "plain": lambda **o: nn.Conv2d(6, 12, 3, **o),
    "without a bias": lambda **o: nn.Conv2d(6, 12, 3, padding=1, bias=False, **o),
    "groups": lambda **o: nn.Conv2d(6, 12, 3, groups=3, stride=2, **o),
    "depthwise": lambda **o: nn.Conv2d(6, 12, 3, groups=6, padding=1, bias=False, **o),
    "pointwise": lambda **o: nn.Conv2d(6, 12, 1, **o),
    "reflected": lambda **o: nn.Conv2d(6, 12, 3, padding=1, padding_mode="reflect", **o),
    "transposed": lambda **o: nn.ConvTranspose2d(6, 12, 3, stride=2, padding=1, **o),
    "transposed, groups": lambda **o: nn.ConvTranspose2d(6, 12, 3, groups=3, bias=False, **o),
}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_batch_normalisation_folds_into_the_convolution_before_it(name, affine, dtype):
    x = image(3, 6, 9, 8, dtype=dtype)
    norm = nn.BatchNorm2d(12, affine=affine, dtype=dtype)
    model = trained(nn.Sequential(CONVOLUTIONS[name](dtype=dtype), norm, nn.ReLU()), x)
    fused = check(model, x)
    rectified = "Transpose" not in kinds(model)[1]
    assert kinds(fused) == ["Fused", "Conv2dReLU"] if rectified else ["Fused", "ConvTranspose2d", "ReLU"]


@pytest.mark.parametrize("bias", [True, False])
def test_vectors_and_sequences(bias, dtype):
    x = image(5, 7, dtype=dtype)
    layers = nn.Linear(7, 9, bias=bias, dtype=dtype), nn.BatchNorm1d(9, dtype=dtype), nn.ReLU()
    fused = check(trained(nn.Sequential(*layers), x), x)
    assert kinds(fused) == ["Fused", "FlatLinearReLU"]
    with pytest.raises(ValueError, match="Linear: x has"):
        fused(image(5, 9, 7, dtype=dtype))
    x = image(5, 6, 11, dtype=dtype)
    conv = nn.Conv1d(6, 4, 3, groups=2, bias=bias, padding_mode="circular", padding=1, dtype=dtype)
    model = trained(nn.Sequential(conv, nn.BatchNorm1d(4, momentum=None, dtype=dtype), nn.ReLU()), x)
    assert kinds(check(model, x)) == ["Fused", "Conv1dReLU"]


@pytest.mark.parametrize(
    ("conv", "folds"),
    [
        (lambda: nn.Conv2d(6, 8, 3, groups=2), True),
        (lambda: nn.Conv2d(6, 8, 3, padding="valid", bias=False), True),
        (lambda: nn.Conv2d(6, 8, 1, padding="same"), False),
        (lambda: nn.Conv2d(6, 8, 3, padding=1), False),
        (lambda: nn.Conv2d(6, 8, 3, padding=((0, 0), (0, 1))), False),
        (lambda: nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect"), True),
        (lambda: nn.Conv2d(6, 8, 3, padding=1, padding_mode="replicate"), True),
        (lambda: nn.ConvTranspose2d(6, 8, 3), False),
    ],
)
def test_batch_normalisation_folds_into_the_convolution_after_it_where_that_is_exact(conv, folds):
    x = image(3, 6, 9, 8)
    fused = check(trained(nn.Sequential(nn.BatchNorm2d(6), conv()), x), x)
    assert ("BatchNorm2d" not in kinds(fused)) == folds


def test_between_two_layers_it_folds_back_and_a_linear_map_takes_it_too():
    x = image(6, 5)
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    assert kinds(check(trained(model, x), x)) == ["Fused", "FlatLinear", "Linear"]


def test_what_is_no_scale_and_shift_stays():
    x = image(3, 6, 5, 5)
    for norm in (nn.BatchNorm2d(8, track_running_stats=False), nn.GroupNorm(2, 8), nn.BatchNorm2d(8, dtype="float64")):
        fused = check(trained(nn.Sequential(nn.Conv2d(6, 8, 3), norm, nn.ReLU()), x), x)
        assert type(norm).__name__ in kinds(fused)


@pytest.mark.parametrize("variance", [0.0, 1e-38, 1e-12])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_tiny_variances(variance, eps):
    """Where folded weights would overflow, or the numbers lose what is left of them, the layers stay apart."""
    x = image(3, 6, 5, 5)
    model = nn.Sequential(nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8, eps=eps))
    model[1].running_var.value[2:4] = variance
    model[1].running_mean.value[:] = np.linspace(-2, 2, 8)
    want, got = model(x), model.fuse()(x)
    assert np.array_equal(np.isfinite(want), np.isfinite(got))
    finite = np.isfinite(want)
    assert distance([got[finite]], [want[finite]]) <= 1e-5


def test_sums_that_cancel_stay_apart():
    x = image(3, 6, 5, 5)
    model = nn.Sequential(nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8))
    model[1].running_mean.value[:] = 1e4
    model[0].bias.value[:] = 1e4
    assert "BatchNorm2d" in kinds(check(model, x))
    model[0].bias.value[:] = 0
    assert "BatchNorm2d" in kinds(check(model, x))
    model[1].running_mean.value[:] = 0
    model[0].bias.value[:] = 1e4
    assert "BatchNorm2d" in kinds(check(model, x))


def test_dropout_and_identity_vanish():
    x = image(3, 6, 5, 5)
    model = nn.Sequential(
        nn.Identity(), nn.Conv2d(6, 8, 3), nn.Dropout2d(0.3), nn.BatchNorm2d(8), nn.Dropout(), nn.ReLU(), nn.Identity()
    )
    assert kinds(check(trained(model, x), x)) == ["Fused", "Conv2dReLU"]
    assert same_bits([nn.Sequential(nn.Dropout()).fuse()(x)], [x])


def test_shared_layers_and_parameters():
    x = image(3, 6, 5, 5)
    conv, relu = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
    tied = nn.Conv2d(6, 6, 3, padding=1)
    tied.weight = conv.weight
    block = nn.Sequential(conv, nn.BatchNorm2d(6), relu)
    model = nn.Sequential(block, conv, relu, tied, nn.BatchNorm2d(6), block, nn.Residual(block), tied, tied)
    fused = check(trained(model, x), x)
    assert "BatchNorm2d" not in kinds(fused)
    # What was not folded is one array, as before.
    pair = nn.Sequential(tied, nn.Sigmoid(), conv).fuse()
    weights = [path for path, _ in pair.named_parameters() if path.endswith("weight")]
    assert weights == ["0.weight"]


def test_containers():
    x = image(3, 6, 8, 8)

    def block(inputs, outputs):
        return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()

    model = nn.Sequential(
        nn.Sequential(*block(6, 8), nn.Sequential(nn.Conv2d(8, 8, 1))),
        nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()),
        nn.Residual(nn.Sequential(*block(8, 8), nn.Conv2d(8, 8, 1)), nn.Sequential(*block(8, 8))), nn.ReLU(),
        nn.Parallel(nn.Identity(), nn.Sequential(*block(8, 4)), nn.Sequential(nn.AvgPool2d(3, 1, 1), *block(8, 4))),
        nn.Parallel(nn.Sequential(*block(16, 4)), nn.Sequential(*block(16, 4)), merge="sum"),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3), nn.Softmax(),
    )  # fmt: skip
    fused = check(trained(model, x), x)
    assert "BatchNorm2d" not in kinds(fused)
    assert kinds(fused).count("ReLU") == 0


class Apart(nn.Layer):
    """Calls its children in an order that no attribute tells, one of them twice."""

    def __init__(self):
        self.norm = nn.BatchNorm2d(6)
        self.convs = [nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)]
        self.named = {"block": nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.ReLU())}
        self.size = [3, "three"]

    def forward(self, x, train=True):
        inner = nn.Sequential(self.convs[1], self.norm, self.named["block"], nn.ReLU(), self.convs[0], self.norm)
        return nn.Residual(inner, self.named["block"]).forward(x, train)


class Told(Apart):
    def fused(self, fuse):
        inner = nn.Sequential(self.convs[1], self.norm, self.named["block"], nn.ReLU(), self.convs[0], self.norm)
        return fuse(nn.Residual(inner, self.named["block"]))


class Overriding(Told):
    def forward(self, x, train=True):
        return nn.Sequential(self.named["block"], self.norm, self.convs[0]).forward(x, train)


class Doubled(nn.Sequential):
    def forward(self, x, train=True):
        y, backward = super().forward(x, train)
        return 2 * y, lambda grad_y, need_x=True: backward(2 * grad_y, need_x)


class DoubledConv(nn.Conv2d):
    def forward(self, x, train=True):
        y, backward = super().forward(x, train)
        return 2 * y, lambda grad_y, need_x=True: backward(2 * grad_y, need_x)


class Named(nn.Conv2d):
    def __init__(self, channels):
        super().__init__(channels, channels, 3, padding=1)


def test_layers_of_ones_own():
    x = image(3, 6, 8, 8)
    for kind, norms in ((Apart, 1), (Told, 0), (Overriding, 1)):
        fused = check(trained(nn.Sequential(kind(), nn.ReLU()), x), x)
        assert kinds(fused).count("BatchNorm2d") == norms, kind
    fused = check(trained(nn.Sequential(Doubled(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)), nn.ReLU()), x), x)
    assert "BatchNorm2d" in kinds(fused)
    fused = check(trained(nn.Sequential(DoubledConv(6, 6, 1), nn.BatchNorm2d(6), nn.ReLU()), x), x)
    assert kinds(fused) == ["Fused", "DoubledConv", "BatchNorm2d", "ReLU"]
    fused = check(trained(nn.Sequential(Named(6), nn.BatchNorm2d(6), nn.ReLU()), x), x)
    assert kinds(fused) == ["Fused", "Conv2dReLU"]


def test_a_forward_of_the_instance_is_left_alone():
    x = image(3, 6, 8, 8)
    model = nn.Sequential(nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)), nn.BatchNorm2d(6))
    inner = model[0].forward
    model[0].forward = lambda x, train=True: (3 * inner(x, train)[0], None)
    assert distance([model.fuse()(x)], [model(x)]) <= 1e-5


def test_a_fused_sequential_is_not_taken_apart():
    class Taps(nn.Layer):
        def __init__(self):
            self.features = nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.ReLU())

        def forward(self, x, train=True):
            return self.features[:2].forward(x, train)

    with pytest.raises(TypeError, match=r"must say how it is fused, see Layer\.fused"):
        Taps().fuse()(image(3, 6, 8, 8))
    assert bool(Chain())


def test_bad_hooks():
    class Bad(nn.ReLU):
        def forward(self, x, train=True):
            return super().forward(x, train)

        def fused(self, fuse):
            return fuse(None)

    with pytest.raises(TypeError, match="fuse: expected a layer, got None"):
        nn.Sequential(Bad()).fuse()
    Bad.fused = lambda self, fuse: None
    with pytest.raises(TypeError, match="Bad: fused must return a layer, got None"):
        Bad().fuse()


def random_layers(rng, channels, depth=0):
    """A random run of layers that keep the size of the image, and the channels at its end."""
    layers = []
    for _ in range(rng.integers(1, 6)):
        draw = rng.integers(0, 12 if depth < 2 else 10)
        if draw < 4:
            after = int(rng.choice([4, 6, 8]))
            groups = int(rng.choice([1, 2]))
            mode = str(rng.choice(["zeros", "zeros", "reflect"]))
            kernel = int(rng.choice([1, 3]))
            bias = bool(rng.integers(2))
            layers.append(
                nn.Conv2d(channels, after, kernel, 1, kernel // 2, groups=groups, bias=bias, padding_mode=mode)
            )
            channels = after
        elif draw < 7:
            layers.append(nn.BatchNorm2d(channels, affine=bool(rng.integers(2))))
        elif draw < 10:
            layers.append([nn.ReLU, nn.ReLU6, nn.Dropout, nn.Identity, nn.Hardswish, nn.Sigmoid][rng.integers(6)]())
        elif draw == 10:
            inner, after = random_layers(rng, channels, depth + 1)
            layers.append(nn.Residual(nn.Sequential(*inner, nn.Conv2d(after, channels, 1)), relu=bool(rng.integers(2))))
        else:
            inner, channels = random_layers(rng, channels, depth + 1)
            layers.append(nn.Sequential(*inner))
        if rng.integers(8) == 0 and isinstance(layers[-1], nn.BatchNorm2d):
            layers.append(layers[-1])
    return layers, channels


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed):
    rng = np.random.default_rng(seed)
    cconv.manual_seed(seed)
    layers, _ = random_layers(rng, 4)
    x = image(4, 4, 7, 6)
    check(trained(nn.Sequential(*layers), x), x)


MODELS = {
    "lenet5": (models.lenet5, (1, 28, 28)),
    "cnn": (lambda: models.cnn((3, 16, 16), [[8, 8], [16]], fc=[20]), (3, 16, 16)),
    "resnet18": (lambda: models.resnet18(7), (3, 40, 40)),
    "resnet20": (models.resnet20, (3, 32, 32)),
    "vgg": (lambda: models.vgg(dropout=0.5), (3, 16, 16)),
    "mobilenet": (models.mobilenet, (3, 24, 24)),
    "mobilenet_v2": (lambda: models.mobilenet_v2(8), (3, 40, 40)),
    "unet": (models.unet, (1, 19, 24)),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    build, shape = MODELS[name]
    x = image(4, *shape)
    fused = check(trained(build(), x, 2), x)
    assert not {"BatchNorm2d", "ReLU", "ReLU6", "Dropout"} & set(kinds(fused))
    assert fused.summary(shape).multiply_adds > 0
    assert repr(fused).startswith("Fused(")


def test_files(tmp_path):
    x = image(4, 3, 32, 32)
    model = trained(models.resnet20(), x, 2)
    fused, other = model.fuse(), models.resnet20().fuse()
    fused.save(tmp_path / "fused.safetensors")
    assert not same_bits([other(x)], [fused(x)])
    assert same_bits([other.load(tmp_path / "fused.safetensors")(x)], [fused(x)])
    with pytest.raises(cconv.FormatError):
        model.load(tmp_path / "fused.safetensors")
    assert same_bits([fused.fuse()(x)], [fused(x)])
    assert same_bits([copy.deepcopy(fused)(x)], [fused(x)])
    assert [path for path, _ in fused.named_parameters()][:2] == ["0.weight", "0.bias"]


def test_promises(isa, threads):
    x = image(5, 3, 32, 32)
    fused = trained(models.resnet20(), x, 2).fuse()
    threads(1)
    y = fused(x)
    for n in (2, 3):
        threads(n)
        assert same_bits([fused(x)], [y])
    assert same_bits([fused(x[2:3])], [y[2:3]])


def test_gradients_are_not_copied(rng):
    model = nn.Sequential(nn.Linear(3, 2))
    y, backward = model.forward(image(2, 3))
    backward(y)
    assert not model.fuse().parameters()[0].grad.any()
    assert model.parameters()[0].grad.any()


def test_a_single_layer_and_what_is_fused_already():
    x = image(4, 6)
    fused = check(nn.Linear(6, 3), x)
    assert fused.summary((6,)).multiply_adds == 18
    assert "6, 3" in repr(fused)
    bigger = nn.Sequential(nn.Sequential(nn.Linear(6, 3), nn.ReLU()).fuse(), nn.Linear(3, 2))
    assert kinds(check(bigger, x)) == ["Fused", "LinearReLU", "Linear"]
    for kinds_of in RECTIFIED.values():
        assert all(kind.forward is base.forward for base, kind in kinds_of.items())
