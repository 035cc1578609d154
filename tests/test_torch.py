"""Every operation and its gradients against PyTorch on random configurations: 2e-5 in float32, 1e-12 in float64."""

from __future__ import annotations

import numpy as np
import pytest
from cases import DRAWS, FORWARD, LOSSES, distance, draw_call
from numpy.testing import assert_array_equal

from cconv import functional as F
from cconv._shapes import padding_pairs, pair

torch = pytest.importorskip("torch")
T = torch.nn.functional
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]

BOUND = {"float32": 2e-5, "float64": 1e-12}


def tensor(a):
    return torch.tensor(a, requires_grad=a.dtype.kind == "f")


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, algorithm="auto"):
    (top, bottom), (left, right) = padding_pairs(
        "", padding, weight.shape[2:], pair("", "", stride), pair("", "", dilation)
    )
    return T.conv2d(T.pad(x, (left, right, top, bottom)), weight, bias, stride, 0, dilation, groups)


def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, algorithm="auto"
):
    (top, bottom), (left, right) = padding_pairs("", padding, (1, 1), (1, 1), (1, 1))
    y = T.conv_transpose2d(x, weight, bias, stride, 0, output_padding, groups, dilation)
    return T.pad(y, (-left, -right, -top, -bottom))


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    return T.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if isinstance(padding, tuple):
        x, padding = T.pad(x, padding[0]), 0
    return T.conv1d(x, weight, bias, stride, padding, dilation, groups)


def max_pool1d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    return T.max_pool1d(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)


def pad(x, pad, mode="constant", value=None):
    # PyTorch pads as many axes as x has but for one or two, and no others.
    if mode != "constant" and len(pad) == 2 and x.ndim == 4:
        return T.pad(x, (*pad, 0, 0), mode)
    return T.pad(x, pad, mode, value)


def interpolate(x, mode, **options):
    if x.ndim == 4 or mode == "linear":
        return T.interpolate(x, mode=mode, **options)
    # PyTorch's kernels for sequences count places of nearest numbers in another precision than those for images.
    options |= {name: (1, *options[name]) for name in ("size", "scale_factor") if name in options}
    return T.interpolate(x[:, :, None], mode=mode, **options)[:, :, 0]


def batch_norm(x, running_mean=None, running_var=None, weight=None, bias=None, training=False, eps=1e-5):
    """With the statistics that x is normalised with, as PyTorch reports them through running ones that keep nothing."""
    if not training:
        y = T.batch_norm(x, running_mean.detach(), running_var.detach(), weight, bias, False, eps=eps)
        return y, running_mean, running_var
    mean, var, m = torch.zeros(x.shape[1], dtype=x.dtype), torch.zeros(x.shape[1], dtype=x.dtype), x[:, 0].numel()
    y = T.batch_norm(x, mean, var, weight, bias, True, momentum=1.0, eps=eps)
    return y, mean, var * ((m - 1) / m)


def batch_norm_gradients(g, a, y, o):
    grads = F.batch_norm_backward(g, a["x"], y[1], y[2], a.get("weight"), **o)
    return grads if "weight" in a else grads[:1]


def loss_twin(name):
    """The loss in PyTorch; samples' weights, which are not its own, by hand."""

    def twin(x, target, reduction="mean", sample_weight=None, **options):
        options = {key: value.detach() if torch.is_tensor(value) else value for key, value in options.items()}
        target = target.detach()
        if sample_weight is None or reduction == "none":
            losses = getattr(T, name)(x, target, reduction=reduction, **options)
            return losses if sample_weight is None else losses * sample_weight.detach()
        counts = torch.ones(target.shape, dtype=x.dtype)
        if target.shape != x.shape:
            kept = target != options.get("ignore_index", -100)
            if "weight" in options:
                counts = options["weight"][torch.where(kept, target, 0)]
            counts = counts * kept
        else:
            counts = torch.ones(sample_weight.shape, dtype=x.dtype)
        losses = getattr(T, name)(x, target, reduction="none", **options) * sample_weight.detach()
        total = losses.sum()
        return total / (counts * sample_weight.detach()).sum() if reduction == "mean" else total

    return twin


TWINS = {
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "linear": T.linear,
    "max_pool2d": max_pool2d,
    "avg_pool2d": T.avg_pool2d,
    "adaptive_avg_pool2d": T.adaptive_avg_pool2d,
    # PyTorch draws other masks: ours is handed to it.
    "dropout": lambda x, **o: x * tensor(F.dropout(np.ones(x.shape, x.detach().numpy().dtype), **o)),
    "dropout2d": lambda x, **o: x * tensor(F.dropout2d(np.ones(x.shape, x.detach().numpy().dtype), **o)),
    "batch_norm": batch_norm,
    "group_norm": lambda x, weight=None, bias=None, *, num_groups, eps: T.group_norm(x, num_groups, weight, bias, eps),
    "layer_norm": lambda x, weight=None, bias=None, *, normalized_shape, eps: T.layer_norm(
        x, tuple(np.atleast_1d(normalized_shape)), weight, bias, eps
    ),
    "pad": pad,
    "interpolate": interpolate,
    "conv1d": conv1d,
    "max_pool1d": max_pool1d,
    "avg_pool1d": T.avg_pool1d,
    "adaptive_avg_pool1d": T.adaptive_avg_pool1d,
    "adaptive_max_pool1d": lambda x, output_size: T.adaptive_max_pool1d(x, output_size, return_indices=True),
    "adaptive_max_pool2d": lambda x, output_size: T.adaptive_max_pool2d(x, output_size, return_indices=True),
    **{
        name: getattr(T, name)
        for name in (
            *("relu", "leaky_relu", "sigmoid", "tanh", "softplus", "softmax", "log_softmax"),
            *("elu", "gelu", "silu", "hardswish", "hardtanh"),
        )
    },
    # PyTorch's own gradient has a sixth rounded to float32.
    "hardsigmoid": lambda x: T.relu6(x + 3) / 6,
    "maxout": lambda x, pool_size: x.unflatten(1, (-1, pool_size)).max(2).values,
    **{name: loss_twin(name) for name in LOSSES},
}
# Of a forward operation's arguments: those with a gradient, and how its backward takes them.
GRADIENTS = {
    "conv2d": (("x", "weight", "bias"), lambda g, a, y, o: F.conv2d_backward(g, a["x"], a["weight"], **o)),
    "conv_transpose2d": (
        ("x", "weight", "bias"),
        lambda g, a, y, o: F.conv_transpose2d_backward(g, a["x"], a["weight"], **o),
    ),
    "linear": (("x", "weight", "bias"), lambda g, a, y, o: F.linear_backward(g, a["x"], a["weight"])),
    "max_pool2d": (("x",), lambda g, a, y, o: (F.max_pool2d_backward(g, y[1], a["x"].shape),)),
    "avg_pool2d": (("x",), lambda g, a, y, o: (F.avg_pool2d_backward(g, a["x"].shape, **o),)),
    "adaptive_avg_pool2d": (("x",), lambda g, a, y, o: (F.adaptive_avg_pool2d_backward(g, a["x"].shape),)),
    **{
        name: (("x",), lambda g, a, y, o, name=name: (getattr(F, f"{name}_backward")(g, **o),))
        for name in ("dropout", "dropout2d")
    },
    "batch_norm": (("x", "weight", "bias"), batch_norm_gradients),
    "group_norm": (
        ("x", "weight", "bias"),
        lambda g, a, y, o: F.group_norm_backward(g, a["x"], weight=a.get("weight"), **o),
    ),
    "layer_norm": (
        ("x", "weight", "bias"),
        lambda g, a, y, o: F.layer_norm_backward(g, a["x"], weight=a.get("weight"), **o),
    ),
    "conv1d": (("x", "weight", "bias"), lambda g, a, y, o: F.conv1d_backward(g, a["x"], a["weight"], **o)),
    "max_pool1d": (("x",), lambda g, a, y, o: (F.max_pool1d_backward(g, y[1], a["x"].shape),)),
    "avg_pool1d": (("x",), lambda g, a, y, o: (F.avg_pool1d_backward(g, a["x"].shape, **o),)),
    "adaptive_avg_pool1d": (("x",), lambda g, a, y, o: (F.adaptive_avg_pool1d_backward(g, a["x"].shape),)),
    "adaptive_max_pool1d": (("x",), lambda g, a, y, o: (F.adaptive_max_pool1d_backward(g, y[1], a["x"].shape),)),
    "adaptive_max_pool2d": (("x",), lambda g, a, y, o: (F.adaptive_max_pool2d_backward(g, y[1], a["x"].shape),)),
    "interpolate": (("x",), lambda g, a, y, o: (F.interpolate_backward(g, a["x"].shape, **o),)),
    "pad": (
        ("x",),
        lambda g, a, y, o: (F.pad_backward(g, a["x"].shape, o["pad"], o.get("mode", "constant")),),
    ),
    **{
        name: (("x",), lambda g, a, y, o, name=name: (getattr(F, f"{name}_backward")(g, y[0]),))
        for name in ("relu", "sigmoid", "tanh")
    },
    **{
        name: (("x",), lambda g, a, y, o, name=name: (getattr(F, f"{name}_backward")(g, a["x"], **o),))
        for name in (
            *("leaky_relu", "softplus", "softmax", "log_softmax"),
            *("elu", "gelu", "silu", "hardswish", "hardtanh", "hardsigmoid", "maxout"),
        )
    },
    **{
        name: ((first,), lambda g, a, y, o, name=name: (getattr(F, f"{name}_backward")(g, **a, **o),))
        for name, first in LOSSES.items()
    },
}


def compare(call, dtype, exact=False):
    """Forward and backward in both libraries."""
    tensors = {k: tensor(a) for k, a in call.arrays.items()}
    first, *others = tensors
    others = {k: tensors[k] for k in others}
    twin = TWINS[call.name](tensors[first], **others, **call.options)
    twin = twin if isinstance(twin, tuple) else (twin,)
    y = call()
    for got, want in zip(y, twin, strict=True):
        if exact:
            assert_array_equal(got, want.detach().numpy())
            continue
        assert distance(got, want.detach().numpy()) <= (0 if got.dtype == np.int64 else BOUND[dtype.name])
    grad = np.random.default_rng(1).normal(size=np.shape(y[0])).astype(dtype)
    twin[0].backward(torch.tensor(grad))
    names, backward = GRADIENTS[call.name]
    grad = grad if grad.ndim else float(grad)
    for name, got in zip(names, backward(grad, call.arrays, y, call.options), strict=False):
        if exact:
            assert_array_equal(got, tensors[name].grad.numpy())
        elif name in tensors:
            assert distance(got, tensors[name].grad.numpy()) <= BOUND[dtype.name], name


MANY = (
    *(
        "conv2d",
        "conv_transpose2d",
        "conv1d",
        "max_pool2d",
        "max_pool1d",
        "avg_pool2d",
        "avg_pool1d",
        "adaptive_avg_pool2d",
    ),
    *("batch_norm", "group_norm", "layer_norm", "pad", "interpolate"),
    *LOSSES,
)
CALLS = [(name, seed) for name in FORWARD for seed in range(100, 160 if name in MANY else 110)]


@pytest.mark.parametrize(("name", "seed"), CALLS)
def test_random_configurations(name, seed, isa, dtype):
    compare(draw_call(name, seed, dtype), dtype)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", LOSSES)
def test_reduced_losses(name, seed, reduction, dtype):
    call = draw_call(name, seed, dtype)
    compare(call._replace(options=call.options | {"reduction": reduction}), dtype)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (1, 5)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_padding_by_name(padding, kernel, dilation, dtype, rng):
    x, weight = rng.normal(size=(2, 3, 9, 10)).astype(dtype), rng.normal(size=(4, 3, *kernel)).astype(dtype)
    want = T.conv2d(torch.tensor(x), torch.tensor(weight), padding=padding, dilation=dilation).numpy()
    assert distance(F.conv2d(x, weight, padding=padding, dilation=dilation), want) <= BOUND[dtype.name]


# NaN and infinity ----------------------------------------------------------------------------------------------------

EDGES = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -1.5, 1e4, -1e4]


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "tanh", "softplus"])
def test_activations_at_the_edges(name, isa, dtype):
    x = np.array(EDGES, dtype)
    twin = tensor(x)
    y = TWINS[name](twin)
    y.backward(torch.full(x.shape, 2, dtype=y.dtype))
    got = getattr(F, name)(x)
    _, backward = GRADIENTS[name]
    (back,) = backward(np.full(x.shape, 2, dtype), {"x": x}, (got,), {})
    np.testing.assert_allclose(got, y.detach().numpy(), rtol=BOUND[dtype.name])
    np.testing.assert_allclose(back, twin.grad.numpy(), rtol=BOUND[dtype.name])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("elu", {"alpha": 0.5}),
        ("gelu", {}),
        ("gelu", {"approximate": "tanh"}),
        ("silu", {}),
        ("hardswish", {}),
        ("hardtanh", {"min_val": 0, "max_val": 6}),
    ],
)
def test_products_at_the_edges(name, options, isa, dtype):
    """PyTorch one number at a time: its vectors make gelu(inf) NaN in float32, and so do slopes of gelu's approximation
    at 1e30 of numbers whose cube overflows."""
    x = np.array([*EDGES, 3, -3, 2.999, -2.999, 20, -20, 1e9, -1e9], dtype)
    got = getattr(F, name)(x, **options)
    back = getattr(F, f"{name}_backward")(np.full(x.shape, 2, dtype), x, **options)
    for i in range(len(x)):
        twin = tensor(x[i : i + 1])
        y = TWINS[name](twin, **options)
        y.backward(torch.full((1,), 2, dtype=y.dtype))
        bound = BOUND[dtype.name]
        np.testing.assert_allclose(got[i : i + 1], y.detach().numpy(), rtol=bound, atol=bound)
        np.testing.assert_allclose(back[i : i + 1], twin.grad.numpy(), rtol=bound, atol=bound)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("seed", range(8))
def test_maxout_of_nan_and_infinity(seed, value, isa, dtype, rng):
    call = draw_call("maxout", seed, dtype)
    x = call.arrays["x"].copy()
    x[rng.random(x.shape) < 0.5] = value
    compare(call._replace(arrays={"x": x}), dtype, exact=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("seed", range(12))
def test_max_pool_of_nan_and_infinity(seed, value, isa, dtype, rng):
    call = draw_call("max_pool2d", seed, dtype)
    x = call.arrays["x"].copy()
    x[rng.random(x.shape) < 0.5] = value
    y, indices = F.max_pool2d(x, **call.options)
    twin_y, twin_indices = max_pool2d(torch.tensor(x), **call.options)
    assert_array_equal(y, twin_y.numpy())
    assert_array_equal(indices, twin_indices.numpy())


@pytest.mark.parametrize(
    "row", [[np.nan, 0, 0], [np.inf, 0, 0], [0, -np.inf, 0], [-np.inf] * 3, [1e4, -1e4, 1e4]], ids=str
)
def test_softmax_at_the_edges(row, isa, dtype):
    x = np.array([row], dtype)
    for name in ("softmax", "log_softmax"):
        np.testing.assert_allclose(getattr(F, name)(x), TWINS[name](torch.tensor(x), 1).numpy(), rtol=BOUND[dtype.name])
    loss = T.cross_entropy(torch.tensor(x), torch.tensor([0])).numpy()
    np.testing.assert_allclose(F.cross_entropy(x, np.array([0])), loss, rtol=BOUND[dtype.name])


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"weight": [1, 2, 3]}], ids=str)
@pytest.mark.parametrize("labels", [[-100, -100], [1, -100], [-100, 1]], ids=str)
@pytest.mark.parametrize("first", [0.0, np.nan, np.inf])
def test_cross_entropy_of_ignored_positions(first, labels, options, isa, dtype):
    """A mean over nothing is NaN; its gradient is 0 where the row is finite."""
    logits, labels = np.array([[0.5, 1, 2], [first, 1, 3]], dtype), np.array(labels)
    options = {k: np.array(v, dtype) if k == "weight" else v for k, v in options.items()}
    twin = tensor(logits)
    loss = T.cross_entropy(
        twin, torch.tensor(labels), **{k: torch.tensor(v) if k == "weight" else v for k, v in options.items()}
    )
    loss.backward()
    np.testing.assert_allclose(F.cross_entropy(logits, labels, **options), loss.detach().numpy(), rtol=1e-6)
    got = F.cross_entropy_backward(1.0, logits, labels, **options)
    np.testing.assert_allclose(got, twin.grad.numpy(), rtol=BOUND[dtype.name], atol=1e-7)


@pytest.mark.parametrize("name", ["l1_loss", "huber_loss", "smooth_l1_loss"])
def test_distances_at_the_edges(name, dtype):
    x = np.array(EDGES, dtype)
    twin = tensor(x)
    losses = getattr(T, name)(twin, torch.zeros_like(twin), reduction="none")
    losses.sum().backward()
    zeros = np.zeros_like(x)
    np.testing.assert_allclose(getattr(F, name)(x, zeros, reduction="none"), losses.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(getattr(F, f"{name}_backward")(1.0, x, zeros, reduction="sum"), twin.grad.numpy())


def test_binary_cross_entropy_of_certain_answers(dtype):
    x, target = np.array([0, 0, 1, 1, 1e-30, 0.5], dtype), np.array([0, 1, 0, 1, 1, 0.25], dtype)
    twin = tensor(x)
    losses = T.binary_cross_entropy(twin, torch.tensor(target), reduction="none")
    losses.sum().backward()
    np.testing.assert_allclose(F.binary_cross_entropy(x, target, reduction="none"), losses.detach().numpy(), rtol=1e-6)
    got = F.binary_cross_entropy_backward(1.0, x, target, reduction="sum")
    np.testing.assert_allclose(got, twin.grad.numpy(), rtol=1e-6)


def test_no_operation_is_left_out():
    assert set(TWINS) == set(GRADIENTS) == set(FORWARD)
    assert set(DRAWS) == {*FORWARD, *(f"{name}_backward" for name in FORWARD)}
