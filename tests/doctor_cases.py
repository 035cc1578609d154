"""Networks that learn, and faults to put into them: what `check` is held to.

Thresholds were chosen while looking at `TUNED` architectures alone; `HELD` ones tell how well they hold elsewhere.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

import cconv
from cconv import models, nn, optim

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


@dataclass
class Setup:
    """What `check` is called with."""

    model: nn.Layer
    x: Any
    y: Any
    loss: Any
    optimizer: Any = None

    def check(self, **options):
        return cconv.check(self.model, self.x, self.y, self.loss, optimizer=self.optimizer, **options)


def drawn(model, how):
    for _, layer in model.named_layers():
        if isinstance(layer, LINEAR):
            how(layer.weight)
            if layer.bias is not None:
                nn.init.zeros(layer.bias)
    return model


def mlp(sizes, activation, how=None, norm=None):
    model = nn.Sequential(nn.Flatten())
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        model.append(nn.Linear(a, b))
        if i < len(sizes) - 2:
            if norm:
                model.append(norm(b))
            model.append(activation())
    return drawn(model, how) if how else model


def normed(shape, norm, activation=nn.ReLU):
    c = shape[0]
    make = (lambda n: nn.GroupNorm(4, n)) if norm is nn.GroupNorm else norm
    return nn.Sequential(
        nn.Conv2d(c, 16, 3, padding=1, bias=False), make(16), activation(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), make(32), activation(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 10))  # fmt: skip


def separable(shape):
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 32, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))  # fmt: skip


def dropped(shape):
    c, h, w = shape
    return nn.Sequential(
        nn.Conv2d(c, 16, 3), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(16, 16, 3), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(16 * (h - 4) * (w - 4), 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))  # fmt: skip


def pooled_late(shape):
    """The pooling before the activation, averages, and a residual block."""
    c, h, w = shape
    body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
    return nn.Sequential(
        nn.Conv2d(c, 8, 3, padding=1), nn.AvgPool2d(2), nn.ReLU(), nn.Residual(body, relu=True), nn.Flatten(),
        nn.Linear(8 * (h // 2) * (w // 2), 10))  # fmt: skip


class Swish(nn.Layer):
    """An activation of one's own."""

    def forward(self, x, train=True):
        s = 1 / (1 + np.exp(-x))

        def backward(grad_y, need_x=True):
            return (grad_y * (s + x * s * (1 - s))).astype(x.dtype) if need_x else None

        return (x * s).astype(x.dtype), backward


class OwnRelu(nn.Layer):
    def forward(self, x, train=True):
        def backward(grad_y, need_x=True):
            return grad_y * (x > 0) if need_x else None

        return np.maximum(x, 0), backward


class ZeroRelu(nn.Layer):
    """The derivative as a well-known article prints it: ``1 if output & 0 else 0``."""

    def forward(self, x, train=True):
        def backward(grad_y, need_x=True):
            return np.zeros_like(x)

        return np.maximum(x, 0), backward


class Mixing(nn.Layer):
    """A reshape that takes examples apart."""

    def forward(self, x, train=True):
        def backward(grad_y, need_x=True):
            return np.ascontiguousarray(grad_y.reshape(grad_y.shape[1], grad_y.shape[0]).T)

        return np.ascontiguousarray(x.T).reshape(x.shape), backward


class Deaf(nn.Layer):
    """Forgets its input."""

    def forward(self, x, train=True):
        def backward(grad_y, need_x=True):
            return np.zeros_like(x)

        return np.ones_like(x), backward


class Spare(nn.Layer):
    """Has a layer that it never calls."""

    def __init__(self, body):
        self.body, self.spare = body, nn.Linear(4, 4)

    def forward(self, x, train=True):
        return self.body.forward(x, train)


def he(p):
    nn.init.he_normal(p)


def xavier(p):
    nn.init.xavier_uniform(p)


def flat(shape):
    return int(np.prod(shape))


TUNED = {
    "lenet5": lambda s: models.lenet5(10, s),
    "mlp": lambda s: mlp([flat(s), 100, 10], nn.ReLU),
    "sigmoid mlp": lambda s: mlp([flat(s), 30, 10], nn.Sigmoid, xavier),
    "tanh cnn": lambda s: models.cnn(s, [[16], [16]], fc=[32], activation=nn.Tanh),
    "deep he": lambda s: mlp([flat(s), *[64] * 8, 10], nn.ReLU, he),
    "batch norm": lambda s: normed(s, nn.BatchNorm2d),
    "linear": lambda s: mlp([flat(s), 10], nn.ReLU),
    "dropout": dropped,
    "pooled late": pooled_late,
}
HELD = {
    "cnn": lambda s: models.cnn(s, [[16, 16], [32]], fc=[64]),
    "gelu cnn": lambda s: models.cnn(s, [[16], [32]], fc=[64], activation=nn.GELU),
    "elu cnn": lambda s: models.cnn(s, [[8], [8]], fc=[], activation=nn.ELU),
    "softplus mlp": lambda s: mlp([flat(s), 50, 50, 10], nn.Softplus),
    "sigmoid lenet": lambda s: drawn(models.lenet5(10, s, activation=nn.Sigmoid), xavier),
    "tanh lenet": lambda s: drawn(models.lenet5(10, s, activation=nn.Tanh), xavier),
    "deeper he": lambda s: mlp([flat(s), *[48] * 14, 10], nn.ReLU, he),
    "six default": lambda s: mlp([flat(s), *[64] * 5, 10], nn.ReLU),
    "group norm": lambda s: normed(s, nn.GroupNorm, nn.SiLU),
    "norm mlp": lambda s: mlp([flat(s), *[64] * 6, 10], nn.Tanh, None, nn.BatchNorm1d),
    "separable": separable,
    "own": lambda s: nn.Sequential(
        nn.Flatten(), nn.Linear(flat(s), 40), Swish(), nn.Linear(40, 40), OwnRelu(), nn.Linear(40, 10)
    ),
    "resnet20": lambda s: models.resnet20(10, s[0]),
    "leaky sigmoid": lambda s: nn.Sequential(
        nn.Conv2d(s[0], 8, 3), nn.LeakyReLU(), nn.Flatten(),
        nn.Linear(8 * (s[1] - 2) * (s[2] - 2), 20), nn.Sigmoid(), nn.Linear(20, 10)
    ),
}  # fmt: skip


def one_hot(y):
    return np.eye(10, dtype=np.float32)[y]


# What follows the logits, the loss, and the targets that it takes.
LOSSES = {
    "cross-entropy": (None, nn.CrossEntropyLoss, None),
    "smoothed": (None, lambda: nn.CrossEntropyLoss(label_smoothing=0.1), None),
    "one-hot": (None, nn.CrossEntropyLoss, one_hot),
    "nll": (nn.LogSoftmax, nn.NLLLoss, None),
    "mse": (None, nn.MSELoss, one_hot),
    "sigmoid mse": (nn.Sigmoid, nn.MSELoss, one_hot),
    "huber": (None, nn.HuberLoss, one_hot),
    "logistic": (None, nn.BCEWithLogitsLoss, one_hot),
    "bce": (nn.Sigmoid, nn.BCELoss, one_hot),
    "sum": (None, lambda: nn.CrossEntropyLoss(reduction="sum"), None),
}


def setup(build, x, y, loss="cross-entropy", seed=0, optimizer=True):
    """A network that learns."""
    cconv.manual_seed(seed)
    model = build(x.shape[1:])
    end, criterion, targets = LOSSES[loss]
    if end is not None:
        model = nn.Sequential(model, end())
    made = optim.Adam(model.parameters(), lr=1e-3) if optimizer else None
    return Setup(model, x, y if targets is None else targets(y), criterion(), made)


def images(seed=0, n=400, shape=(1, 12, 12)):
    """Random images of 0..1 and random labels."""
    rng = np.random.default_rng(seed)
    return rng.random((n, *shape), np.float32), rng.integers(0, 10, n)


def _linear(model):
    return [layer for _, layer in model.named_layers() if isinstance(layer, LINEAR)]


def _has(model, *kinds):
    return any(isinstance(layer, kinds) for _, layer in model.named_layers())


def _weights(s, change):
    for layer in _linear(s.model):
        change(layer.weight)
    return s


def _end(s, layer, loss=None, y=None):
    s.model, s.optimizer = nn.Sequential(s.model, layer), None
    s.loss, s.y = loss or s.loss, s.y if y is None else y
    return s


def _no_activations(s):
    if not isinstance(s.model, nn.Sequential):
        return None
    acts = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.GELU, nn.Softplus, nn.SiLU, nn.LeakyReLU, Swish, OwnRelu)
    kept = [layer for layer in s.model if not isinstance(layer, acts)]
    if len(kept) == len(s.model) or _has(s.model, nn.Residual):
        return None
    s.model, s.optimizer = nn.Sequential(*kept), None
    return s


def _misfit(s):
    if not isinstance(s.model, nn.Sequential):
        return None
    last = _linear(s.model)[-1]
    index = next(i for i, layer in enumerate(s.model) if layer is last)
    s.model[index] = nn.Linear(last.in_features + 3, 10)
    s.optimizer = None
    return s


def _dead(s):
    if not _has(s.model, nn.ReLU) or _has(s.model, *NORMS) or len(_linear(s.model)) < 2:
        return None
    nn.init.constant(_linear(s.model)[-2].bias, -100)
    return s


def _own(s, layer):
    """In the place of the first activation."""
    if not isinstance(s.model, nn.Sequential):
        return None
    for i, each in enumerate(s.model):
        if isinstance(each, (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.GELU, nn.Softplus, nn.LeakyReLU, nn.SiLU)):
            s.model[i] = layer
            return s
    return None


def _mixing(s):
    if not isinstance(s.model, nn.Sequential):
        return None
    for i, layer in enumerate(s.model):
        if isinstance(layer, nn.Flatten):
            s.model = nn.Sequential(*list(s.model)[: i + 1], Mixing(), *list(s.model)[i + 1 :])
            s.optimizer = None
            return s
    return None


def _one(s, change):
    """The last layer but one."""
    weight = _linear(s.model)[-2].weight
    weight.value = change(weight.value)
    return s


def _first(s, change):
    weight = _linear(s.model)[0].weight
    weight.value = change(weight.value)
    return s


def _first_dead(s):
    if not _has(s.model, nn.ReLU) or not _plain(s):
        return None
    nn.init.constant(_linear(s.model)[0].bias, -20)
    return s


def _sigmoids(s):
    more = [layer for _ in range(40) for layer in (nn.Sigmoid(), nn.Linear(10, 10))]
    return _end(s, nn.Sequential(*more))


def _x(s, change):
    s.x = change(s.x)
    return s


def _y(s, change):
    s.y = change(s.y)
    return s


def _lr(s, lr):
    s.optimizer = optim.Adam(s.model.parameters(), lr=lr)
    return s


def _deep(s):
    return len(_linear(s.model)) > 1


def _bare(s):
    """No normalisation, which undoes a factor."""
    return not _has(s.model, *NORMS)


def _plain(s):
    return _deep(s) and _bare(s)


def _channels_last(s):
    return _x(s, lambda x: x.transpose(0, 2, 3, 1)) if _has(s.model, nn.Conv2d) else None


def _elsewhere(s):
    """The optimiser was made for another model."""
    s.optimizer = optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    return s


def _small(s):
    """Images smaller than the first kernel."""
    first = s.model[0] if isinstance(s.model, nn.Sequential) else None
    return _x(s, lambda x: x[:, :, :2, :2]) if isinstance(first, nn.Conv2d) and first.padding == 0 else None


def _nan_row(y):
    y[3] = np.nan
    return y


def _with_nan(x):
    x = x.copy()
    x[7, 0, 2, 3] = np.nan
    return x


# What each fault may be called, and what makes it of a Setup that learns; nothing where it does not apply.
FAULTS = {
    "255": (("input-scale",), lambda s: _bare(s) and _x(s, lambda x: x * 255)),
    "bytes": (("input-dtype",), lambda s: _x(s, lambda x: (x * 255).clip(0, 255).astype(np.uint8))),
    "channels last": (("input-layout",), _channels_last),
    "divided twice": (("input-scale",), lambda s: _bare(s) and _x(s, lambda x: x / 255)),
    "constant": (("input-constant",), lambda s: _x(s, lambda x: np.zeros_like(x) + x[:1])),
    "nan": (("input-not-finite",), lambda s: _x(s, _with_nan)),
    "nan target": (("target-not-finite",), lambda s: _end(s, nn.Identity(), nn.MSELoss(), _nan_row(one_hot(s.y)))),
    "from 1": (("labels-one-based",), lambda s: _y(s, lambda y: y + 1)),
    "floats": (("label-dtype",), lambda s: _y(s, lambda y: y.astype(np.float32))),
    "column": (("label-shape",), lambda s: _y(s, lambda y: y[:, None])),
    "more classes": (("label-range",), lambda s: _y(s, lambda y: y * 3)),
    "one label": (("target-constant",), lambda s: _y(s, np.zeros_like)),
    "digits": (
        ("target-range",),
        lambda s: _end(s, nn.Sigmoid(), nn.MSELoss(), np.repeat(s.y[:, None], 10, 1).astype(np.float32)),
    ),
    "labels with mse": (("target-shape",), lambda s: _end(s, nn.Identity(), nn.MSELoss())),
    "softmax": (("double-softmax",), lambda s: _end(s, nn.Softmax())),
    "sigmoid twice": (("double-softmax",), lambda s: _end(s, nn.Sigmoid(), nn.BCEWithLogitsLoss(), one_hot(s.y))),
    "sigmoid": (("squashed-logits",), lambda s: _end(s, nn.Sigmoid())),
    "softmax over examples": (("softmax-axis",), lambda s: _end(s, nn.LogSoftmax(0), nn.NLLLoss())),
    "nll": (("missing-softmax",), lambda s: _end(s, nn.Identity(), nn.NLLLoss())),
    "bce": (("missing-sigmoid",), lambda s: _end(s, nn.Identity(), nn.BCELoss(), one_hot(s.y))),
    "relu": (("relu-before-loss",), lambda s: _end(s, nn.ReLU())),
    "dropout": (("dropout-before-output",), lambda s: _end(s, nn.Dropout(0.5))),
    "no activation": (("no-activation", "missing-activation"), _no_activations),
    "misfit": (("shape-mismatch",), _misfit),
    "tiny": (("weight-scale",), lambda s: _plain(s) and _weights(s, lambda p: nn.init.uniform(p, -1e-4, 1e-4))),
    "huge": (("weight-scale",), lambda s: _plain(s) and _weights(s, lambda p: nn.init.normal(p, 0, 3))),
    "positive": (("positive-weights",), lambda s: _deep(s) and _weights(s, lambda p: nn.init.uniform(p, 0, 1))),
    "zeros": (("zero-weights",), lambda s: _deep(s) and _weights(s, nn.init.zeros)),
    "equal": (("identical-filters",), lambda s: _deep(s) and _weights(s, lambda p: nn.init.constant(p, 0.05))),
    "dead": (("large-bias", "dead-units"), _dead),
    "no derivative": (("backward-zero",), lambda s: _own(s, ZeroRelu())),
    "deaf": (("input-ignored", "constant-output"), lambda s: _own(s, Deaf())),
    "mixing": (("examples-mixed",), _mixing),
    "spare": (("layer-unused",), lambda s: Setup(Spare(s.model), s.x, s.y, s.loss)),
    "one tiny": (("weight-scale",), lambda s: _plain(s) and _one(s, lambda w: w * 1e-5)),
    "one huge": (("weight-scale",), lambda s: _plain(s) and _one(s, lambda w: w * 100)),
    "one positive": (("positive-weights",), lambda s: _deep(s) and _one(s, lambda w: np.abs(w))),
    "one equal": (("identical-filters",), lambda s: _deep(s) and _one(s, lambda w: w * 0 + 0.1)),
    "nan weight": (("weights-not-finite",), lambda s: _deep(s) and _one(s, lambda w: w + np.nan)),
    "other optimizer": (("learning-rate",), _elsewhere),
    "slow": (("learning-rate",), lambda s: _lr(s, 1e-10)),
    "small kernel": (("kernel-too-large",), _small),
    "eight times": (
        ("weight-scale", "initial-loss", "exploding-gradient", "saturated"),
        lambda s: _plain(s) and _weights(s, lambda p: nn.init.normal(p, 0, 8 / np.sqrt(nn.init.fan(p.value.shape)[0]))),
    ),
    "first layer": (("weight-scale",), lambda s: _plain(s) and _first(s, lambda w: w * 1e-4)),
    "first dead": (("large-bias", "dead-units", "saturated"), _first_dead),
    "0 to 20": (("input-scale",), lambda s: _bare(s) and _x(s, lambda x: x * 20)),
    "shifted": (("input-scale",), lambda s: _bare(s) and _x(s, lambda x: x + 50)),
    "one bad label": (("label-range",), lambda s: _y(s, lambda y: np.concatenate([y[:-1], [11]]))),
    "log-softmax missing": (("missing-softmax",), lambda s: _end(s, nn.Softmax(), nn.NLLLoss())),
    "relu then sigmoid": (
        ("relu-before-loss",),
        lambda s: _end(s, nn.Sequential(nn.ReLU(), nn.Sigmoid()), nn.BCELoss(), one_hot(s.y)),
    ),
    "two linear": (("missing-activation", "no-activation"), lambda s: _end(s, nn.Linear(10, 10))),
    "nine outputs": (("label-range",), lambda s: _end(s, nn.Sequential(nn.ReLU(), nn.Linear(10, 9)))),
    "forty sigmoids": (("vanishing-gradient", "constant-output"), _sigmoids),
    "fast": (("learning-rate",), lambda s: _lr(s, 3.0)),
}  # fmt: skip
