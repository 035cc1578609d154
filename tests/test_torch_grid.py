"""Layers, losses, optimisers and schedules side by side with PyTorch's of the same name, arguments drawn.

The same keyword arguments go to both: what PyTorch takes and cconv refuses fails here, too.
All in float64, to 1e-10.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cconv import nn, optim

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

BOUND = 1e-10
DRAWN = 12  # cases of each kind that are kept as tests


class Draw:
    """Random arguments and arrays."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def of(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def upto(self, n: int, least: int = 1) -> int:
        return int(self.rng.integers(least, n + 1))

    def maybe(self, **options: Any) -> dict[str, Any]:
        """Each option or none: defaults count, too."""
        return {name: value for name, value in options.items() if self.rng.random() < 0.6}

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=shape)

    def pair(self, n: int, least: int = 1) -> Any:
        return self.of(self.upto(n, least), (self.upto(n, least), self.upto(n, least)))

    def batch(self) -> int:
        return self.of(0, 1, 2, 2, 3, 3)


Case = tuple[str, dict[str, Any], np.ndarray]


def convolution(draw: Draw, ndim: int) -> Case:
    groups = draw.of(1, 1, 2, 3)
    size = (lambda n, least=1: draw.pair(n, least)) if ndim == 2 else (lambda n, least=1: draw.upto(n, least))
    options = {
        "in_channels": groups * draw.upto(3),
        "out_channels": groups * draw.upto(4),
        "kernel_size": size(4),
        **draw.maybe(stride=size(3), dilation=size(2), groups=groups, bias=draw.of(True, False)),
        **draw.maybe(padding=size(2, 0), padding_mode=draw.of("zeros", "reflect", "replicate", "circular")),
    }
    if draw.of(*range(5)) == 0:
        options |= {"padding": draw.of("same", "valid"), "stride": 1}
    shape = [draw.of(1, 2, 5, 8, 13) for _ in range(ndim)]
    return f"Conv{ndim}d", options, draw.normal(draw.batch(), options["in_channels"], *shape)


def transposed(draw: Draw) -> Case:
    groups = draw.of(1, 1, 2, 3)
    options = {
        "in_channels": groups * draw.upto(3),
        "out_channels": groups * draw.upto(4),
        "kernel_size": draw.pair(4),
        **draw.maybe(stride=draw.pair(3), padding=draw.pair(2, 0), output_padding=draw.pair(2, 0), groups=groups),
        **draw.maybe(bias=draw.of(True, False), dilation=draw.pair(2)),
    }
    size = draw.upto(7), draw.upto(7)
    return "ConvTranspose2d", options, draw.normal(draw.upto(3), options["in_channels"], *size)


def pooling(draw: Draw, name: str, ndim: int) -> Case:
    size = (lambda n, least=1: draw.pair(n, least)) if ndim == 2 else (lambda n, least=1: draw.upto(n, least))
    options = {"kernel_size": size(4), **draw.maybe(stride=draw.of(None, size(4)), padding=size(2, 0))}
    options |= draw.maybe(ceil_mode=draw.of(True, False))
    if name.startswith("Avg"):
        options |= draw.maybe(count_include_pad=draw.of(True, False))
    else:
        options |= draw.maybe(dilation=size(2))
    return name, options, draw.normal(draw.batch(), draw.upto(3), *(draw.upto(12) for _ in range(ndim)))


def adaptive(draw: Draw, name: str, ndim: int) -> Case:
    size = draw.upto(6) if ndim == 1 else draw.of(draw.upto(6), (draw.upto(6), None), (None, draw.upto(6)))
    return name, {"output_size": size}, draw.normal(draw.batch(), draw.upto(3), *(draw.upto(9) for _ in range(ndim)))


def batch_norm(draw: Draw, name: str) -> Case:
    channels = draw.upto(5)
    options = {"num_features": channels, **draw.maybe(eps=draw.of(1e-5, 1e-3, 0.1), affine=draw.of(True, False))}
    options |= draw.maybe(momentum=draw.of(None, 0.1, 0.5, 1.0, 0.0), track_running_stats=draw.of(True, False))
    sizes = (draw.upto(5), draw.upto(5)) if name.endswith("2d") else draw.of((), (draw.upto(6),))
    return name, options, 2 + draw.normal(draw.of(1, 2, 4, 7), channels, *sizes)


def group_norm(draw: Draw) -> Case:
    groups = draw.upto(3)
    channels = groups * draw.upto(3)
    options = {"num_groups": groups, "num_channels": channels, **draw.maybe(eps=0.01, affine=draw.of(True, False))}
    sizes = draw.of((), (draw.upto(4),), (draw.upto(4), draw.upto(5)), (2, 3, 2))
    return "GroupNorm", options, 1 + draw.normal(draw.batch(), channels, *sizes)


def layer_norm(draw: Draw) -> Case:
    shape = draw.of((draw.upto(20),), (draw.upto(5), draw.upto(6)), (2, 3, 3))
    options = {"normalized_shape": draw.of(shape, list(shape), shape[0] if len(shape) == 1 else shape)}
    options |= draw.maybe(eps=0.01, elementwise_affine=draw.of(True, False), bias=draw.of(True, False))
    return "LayerNorm", options, 1 + draw.normal(*draw.of((), (draw.batch(),), (2, draw.upto(3))), *shape)


def linear(draw: Draw) -> Case:
    options = {"in_features": draw.upto(20), "out_features": draw.upto(20), **draw.maybe(bias=draw.of(True, False))}
    leading = draw.of((draw.batch(),), (draw.batch(),), (2, draw.upto(4)), (2, 0), (2, 3, 2))
    return "Linear", options, draw.normal(*leading, options["in_features"])


def activation(draw: Draw, name: str) -> Case:
    shape = draw.of((), (draw.upto(40),), (draw.batch(), draw.upto(9)), (2, 3, draw.upto(5), draw.upto(9)))
    options = {
        "LeakyReLU": draw.maybe(negative_slope=draw.of(0.01, 0.3, -0.5, 0)),
        "Softplus": draw.maybe(beta=draw.of(1, 0.5, 3.0), threshold=draw.of(20, 1.5)),
        "ELU": draw.maybe(alpha=draw.of(1.0, 0.3, 2)),
        "GELU": draw.maybe(approximate=draw.of("none", "tanh")),
        "Hardtanh": draw.maybe(min_val=draw.of(-1, -2.0), max_val=draw.of(1, 0.5)),
    }.get(name, {})
    if name in ("ReLU", "ReLU6", "LeakyReLU", "ELU", "SiLU", "Hardswish", "Hardtanh"):
        options |= draw.maybe(inplace=False)
    return name, options, 2 * draw.normal(*shape)


def softmax(draw: Draw, name: str) -> Case:
    shape = draw.of((draw.upto(9), 7), (2, draw.upto(9), 3), (2, 1, 3, draw.upto(4)), (5,), (0, 3))
    return name, {"dim": draw.upto(len(shape) - 1, -len(shape))}, 3 * draw.normal(*shape)


def upsample(draw: Draw) -> Case:
    ndim = draw.of(1, 2, 2, 2)
    sizes = tuple(draw.upto(9) for _ in range(ndim))
    options: dict[str, Any] = {"mode": draw.of("nearest", "linear" if ndim == 1 else "bilinear")}
    if options["mode"] != "nearest":
        options |= draw.maybe(align_corners=draw.of(True, False, None))
    if draw.of(True, False):
        size = tuple(draw.upto(20) for _ in range(ndim))
        options["size"] = draw.of(size[0], size)
    else:
        # Nearest numbers where i * scale is no integer but for rounding: there PyTorch's own kernels differ.
        scales = (2, 3, 2.0) if options["mode"] == "nearest" else (2, 1.5, 0.7, 3, 1, 2.3)
        options["scale_factor"] = draw.of(draw.of(*scales), tuple(float(draw.of(*scales)) for _ in range(ndim)))
        options |= draw.maybe(recompute_scale_factor=draw.of(True, False, None))
    return "Upsample", options, draw.normal(draw.of(1, 2, 3), draw.upto(3), *sizes)


def padding(draw: Draw, name: str) -> Case:
    least = -1 if name == "ZeroPad2d" else 0
    sizes = draw.of(draw.upto(3, least), tuple(draw.upto(3, least) for _ in range(4)))
    return name, {"padding": sizes}, draw.normal(draw.of(1, 2, 3), draw.upto(3), draw.upto(6), draw.upto(6))


def flatten(draw: Draw) -> Case:
    options = draw.maybe(start_dim=draw.upto(4, -4), end_dim=draw.upto(4, -4))
    return "Flatten", options, draw.normal(*(draw.upto(4) for _ in range(draw.upto(4))))


def unflatten(draw: Draw) -> Case:
    sizes = draw.upto(3), draw.upto(3)
    options = {"dim": draw.of(1, -2), "unflattened_size": draw.of(sizes, (-1, sizes[1]), (sizes[0], -1))}
    return "Unflatten", options, draw.normal(draw.upto(3), sizes[0] * sizes[1], 4)


LAYERS: dict[str, Callable[[Draw], Case]] = {
    "Conv1d": lambda d: convolution(d, 1),
    "Conv2d": lambda d: convolution(d, 2),
    "ConvTranspose2d": transposed,
    **{
        f"{kind}Pool{n}d": lambda d, kind=kind, n=n: pooling(d, f"{kind}Pool{n}d", n)
        for kind in ("Max", "Avg")
        for n in (1, 2)
    },
    **{
        name: lambda d, name=name: adaptive(d, name, int(name[-2]))
        for name in ("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d")
    },
    **{name: lambda d, name=name: batch_norm(d, name) for name in ("BatchNorm1d", "BatchNorm2d")},
    "GroupNorm": group_norm,
    "LayerNorm": layer_norm,
    "Linear": linear,
    **{
        name: lambda d, name=name: activation(d, name)
        for name in (
            *("ReLU", "LeakyReLU", "Sigmoid", "Tanh", "Softplus", "ELU", "GELU", "SiLU", "Hardswish"),
            *("Hardtanh", "ReLU6", "Identity"),
        )
    },
    **{name: lambda d, name=name: softmax(d, name) for name in ("Softmax", "LogSoftmax")},
    "Upsample": upsample,
    **{name: lambda d, name=name: padding(d, name) for name in ("ZeroPad2d", "ReflectionPad2d", "ReplicationPad2d")},
    "Flatten": flatten,
    "Unflatten": unflatten,
}
HELD = ("Conv1d", "Conv2d", "ConvTranspose2d", "BatchNorm1d", "BatchNorm2d", "GroupNorm", "LayerNorm", "Linear")


def close(got: Any, want: Any, what: str) -> None:
    got, want = np.asarray(got), want.detach().numpy()
    assert got.shape == want.shape and got.dtype == want.dtype, (what, got.shape, want.shape, got.dtype, want.dtype)
    if want.size:
        both = np.isfinite(want)
        assert np.array_equal(got[~both], want[~both], equal_nan=True), what
        scale = max(1.0, np.abs(want[both]).max(initial=0))
        assert np.abs(got[both] - want[both]).max(initial=0) <= BOUND * scale, what


def refused(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return function(), None
    except (ValueError, TypeError, RuntimeError, IndexError, AssertionError) as error:
        return None, error


def compare_layer(name: str, seed: int) -> bool:
    """Whether PyTorch takes the arguments; then cconv must, with the same numbers."""
    draw = Draw(seed)
    kind, options, x = LAYERS[name](draw)
    typed = {"dtype": torch.float64} if kind in HELD else {}
    warnings.simplefilter("ignore")

    def theirs() -> Any:
        module = getattr(torch.nn, kind)(**options, **typed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.tensor(draw.normal(*parameter.shape)))
        tensor = torch.tensor(x, requires_grad=True)
        return module, tensor, module(tensor)

    twin, _ = refused(theirs)

    def ours() -> Any:
        layer = getattr(nn, kind)(**options, **({"dtype": np.float64} if kind in HELD else {}))
        if twin is not None:
            # As they were before PyTorch's forward, which moves a batch normalisation's statistics.
            for path, parameter in layer.named_parameters():
                parameter.value = dict(twin[0].named_parameters())[path].detach().numpy()
        return layer, *layer.forward(x)

    result, our_error = refused(ours)
    if twin is None:
        return False
    if our_error is not None and "holds nothing but padding" in str(our_error):
        return False  # PyTorch gives minus infinity, from a place that the gradient goes to none the less
    if our_error is not None:
        raise AssertionError(f"{kind}({options}) of {x.shape}: {our_error}")
    module, tensor, expected = twin
    layer, y, backward = result
    close(y, expected, "y")
    grad_y = draw.normal(*y.shape)
    if expected.requires_grad:
        expected.backward(torch.tensor(grad_y))
    grad_x = backward(grad_y)
    close(grad_x, torch.zeros_like(tensor) if tensor.grad is None else tensor.grad, "grad_x")
    ours_of, theirs_of = dict(layer.named_parameters()), dict(module.named_parameters())
    assert [*layer.state_dict()] == [*module.state_dict()]
    for path, parameter in theirs_of.items():
        close(ours_of[path].grad, torch.zeros_like(parameter) if parameter.grad is None else parameter.grad, path)
    for path, buffer in module.named_buffers():
        close(dict(layer.named_buffers())[path].value, buffer, path)
    again = draw.normal(*x.shape)
    module.eval()
    close(layer(again), module(torch.tensor(again)), "prediction")
    return True


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    taken = sum(compare_layer(name, seed) for seed in range(DRAWN))
    assert taken >= 3


# Losses ---------------------------------------------------------------------------------------------------------------


def loss_case(draw: Draw, name: str) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    reduction = draw.maybe(reduction=draw.of("mean", "sum", "none"))
    sizes = draw.of((), (draw.upto(4),), (draw.upto(3), draw.upto(4)))
    n, classes = draw.of(1, 2, 5, 8), draw.of(1, 2, 3, 10)
    x = draw.normal(n, classes, *sizes)
    options: dict[str, Any] = dict(reduction)
    if name in ("CrossEntropyLoss", "NLLLoss"):
        target: np.ndarray = draw.rng.integers(classes, size=(n, *sizes))
        options |= draw.maybe(weight=np.exp(draw.normal(classes)))
        if draw.of(True, False):
            options["ignore_index"] = draw.of(-100, 0, classes - 1)
            target = np.where(draw.rng.random(target.shape) < 0.3, options["ignore_index"], target)
        if name == "CrossEntropyLoss":
            options |= draw.maybe(label_smoothing=draw.of(0.0, 0.1, 1.0))
            if draw.of(True, False, False):
                options.pop("ignore_index", None)
                soft = np.exp(draw.normal(*x.shape))
                target = soft / soft.sum(1, keepdims=True)
        else:
            x = np.log(np.exp(x) / np.exp(x).sum(1, keepdims=True))
        return options, x, target
    target = draw.rng.random(x.shape)
    if name == "BCELoss":
        x = 1 / (1 + np.exp(-x))
    if name.startswith("BCE"):
        options |= draw.maybe(weight=np.exp(draw.normal(*draw.of(x.shape, x.shape[1:], (1,)))))
    if name == "BCEWithLogitsLoss":
        options |= draw.maybe(pos_weight=np.exp(draw.normal(classes, *[1] * len(sizes))))
    if name == "HuberLoss":
        options |= draw.maybe(delta=draw.of(1.0, 0.3, 2))
    if name == "SmoothL1Loss":
        options |= draw.maybe(beta=draw.of(1.0, 0.3, 0.0))
    shape = draw.of(x.shape, x.shape, (), (0, 3))
    return (
        options,
        x if shape == x.shape else draw.rng.random(shape),
        (target if shape == x.shape else draw.rng.random(shape)),
    )


LOSSES = (
    "CrossEntropyLoss",
    "NLLLoss",
    "MSELoss",
    "L1Loss",
    "HuberLoss",
    "SmoothL1Loss",
    "BCELoss",
    "BCEWithLogitsLoss",
)


def compare_loss(name: str, seed: int) -> bool:
    draw = Draw(seed)
    options, x, target = loss_case(draw, name)
    theirs = {key: torch.tensor(value) if isinstance(value, np.ndarray) else value for key, value in options.items()}
    tensor = torch.tensor(x, requires_grad=True)
    expected, _ = refused(lambda: getattr(torch.nn, name)(**theirs)(tensor, torch.tensor(target)))
    result, our_error = refused(lambda: getattr(nn, name)(**options).forward(x, target))
    if expected is None:
        return False
    if our_error is not None:
        raise AssertionError(f"{name}({options}) of {x.shape}, {target.shape}: {our_error}")
    loss, backward = result
    close(loss, expected, "loss")
    grad = draw.normal(*expected.shape)
    expected.backward(torch.tensor(grad))
    close(backward(grad if grad.ndim else float(grad)), tensor.grad, "gradient")
    return True


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    assert sum(compare_loss(name, seed) for seed in range(3 * DRAWN)) >= DRAWN


# Optimisers, schedules, clipping --------------------------------------------------------------------------------------


def optimizer_options(draw: Draw, name: str) -> dict[str, Any]:
    options = draw.maybe(lr=draw.of(0.01, 0.1, 1e-3, 0.0), weight_decay=draw.of(0.0, 0.1, 0.01))
    if name == "SGD":
        options |= draw.maybe(momentum=draw.of(0.0, 0.9, 0.5), dampening=draw.of(0.0, 0.1))
        if options.get("momentum") and not options.get("dampening"):
            options |= draw.maybe(nesterov=draw.of(True, False))
    elif name == "RMSprop":
        options |= draw.maybe(alpha=draw.of(0.99, 0.5), eps=draw.of(1e-8, 1e-3), momentum=draw.of(0.0, 0.9))
        options |= draw.maybe(centered=draw.of(True, False))
    else:
        options |= draw.maybe(betas=draw.of((0.9, 0.999), (0.5, 0.9), (0.0, 0.99)), eps=draw.of(1e-8, 1e-3))
        options |= draw.maybe(amsgrad=draw.of(True, False))
    return options


def schedule_options(draw: Draw) -> tuple[str, dict[str, Any]]:
    name = draw.of(
        *("StepLR", "MultiStepLR", "ExponentialLR", "LinearLR", "CosineAnnealingLR", "OneCycleLR", "LambdaLR")
    )
    return name, {
        "StepLR": {"step_size": draw.upto(6), **draw.maybe(gamma=draw.of(0.1, 0.5))},
        "MultiStepLR": {"milestones": sorted(draw.upto(25) for _ in range(draw.upto(3))), **draw.maybe(gamma=0.3)},
        "ExponentialLR": {"gamma": draw.of(0.9, 0.5, 1.0)},
        "LinearLR": draw.maybe(
            start_factor=draw.of(0.1, 1 / 3), end_factor=draw.of(1.0, 0.5), total_iters=draw.upto(9)
        ),
        "CosineAnnealingLR": {"T_max": draw.upto(30, 5), **draw.maybe(eta_min=0.001)},
        "OneCycleLR": {
            "max_lr": 0.3,
            "total_steps": draw.upto(40, 31),
            **draw.maybe(pct_start=draw.of(0.3, 0.5), anneal_strategy=draw.of("cos", "linear"), div_factor=10.0),
            **draw.maybe(final_div_factor=100.0, three_phase=draw.of(True, False)),
            "cycle_momentum": draw.of(True, False),
        },
        "LambdaLR": {"lr_lambda": lambda epoch: 0.95**epoch},
    }[name]


def compare_optimizer(name: str, seed: int) -> bool:
    """Thirty steps, with a schedule and clipping."""
    draw = Draw(seed)
    options, shapes = optimizer_options(draw, name), [(3, 4), (5,), (2, 1, 3)]
    values = [draw.normal(*shape) for shape in shapes]
    tensors = [torch.nn.Parameter(torch.tensor(value)) for value in values]
    groups = draw.of(True, False)

    def grouped(parameters: list) -> Any:
        return [{"params": parameters[:2]}, {"params": parameters[2:], "weight_decay": 0.05}] if groups else parameters

    theirs, _ = refused(lambda: getattr(torch.optim, name)(grouped(tensors), **options))
    parameters = [nn.Parameter(value) for value in values]
    ours, our_error = refused(lambda: getattr(optim, name)(grouped(parameters), **options))
    if theirs is None:
        return False
    if our_error is not None:
        raise AssertionError(f"{name}({options}): {our_error}")
    kind, schedule_of = schedule_options(draw)
    scheduled = draw.of(True, False)
    if scheduled:
        their_schedule = getattr(torch.optim.lr_scheduler, kind)(theirs, **schedule_of)
        our_schedule = getattr(optim, kind)(ours, **schedule_of)
    clip = draw.of("norm", "value", None)
    norm_type = draw.of(2.0, 1.0, float("inf"))
    for _ in range(30):
        for tensor, parameter in zip(tensors, parameters, strict=True):
            grad = draw.normal(*parameter.value.shape)
            tensor.grad, parameter.grad = torch.tensor(grad), grad
        if clip == "norm":
            want = torch.nn.utils.clip_grad_norm_(tensors, 1.5, norm_type)
            got = optim.clip_grad_norm(parameters, 1.5, norm_type)
            assert abs(float(want) - float(got)) < BOUND * max(1, float(want))
        elif clip == "value":
            torch.nn.utils.clip_grad_value_(tensors, 0.7)
            optim.clip_grad_value(parameters, 0.7)
        theirs.step()
        ours.step()
        if scheduled:
            their_schedule.step()
            our_schedule.step()
            assert abs(ours.lr - theirs.param_groups[0]["lr"]) < 1e-12
    for tensor, parameter in zip(tensors, parameters, strict=True):
        close(parameter.value, tensor, f"{name}({options})")
    return True


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_optimisers(name):
    assert sum(compare_optimizer(name, seed) for seed in range(DRAWN)) >= 6
