"""Trainings that reach their accuracy, and faults to put into them: what the doctor as a whole is held to.

A `Recipe` names a training; `run` makes it. Networks and the faults that show before training are those of
`doctor_cases`. Like the architectures, data and faults are halves: thresholds were chosen while looking at `TUNED`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import doctor_cases as cases
import numpy as np
from doctor_cases import HELD, LOSSES, TUNED, Setup

import cconv
from cconv import data, nn, optim

# Data


@dataclass
class Data:
    """Examples for training and for testing, what counts as learned, and how long that takes."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    reached: float  # accuracy on the test examples; of quantities, the share of their variance that is explained
    epochs: int
    slower: float = 1.0  # what learning rates are divided by

    @property
    def quantities(self) -> bool:
        return self.y.dtype.kind == "f"


def _of(sets, count, tested, reached, epochs, change=lambda x: x, slower=1.0):
    train, test = sets
    return Data(
        change(train.x[:count]), train.y[:count], change(test.x[:tested]), test.y[:tested], reached, epochs, slower
    )


def _smooth(rng, shape):
    x = rng.standard_normal(shape)
    for axis in (-1, -2):
        x = x + np.roll(x, 1, axis) + np.roll(x, -1, axis)
    return x / x.std()


def _colours():
    """Ten patterns in three channels, shifted, in noise."""
    rng = np.random.default_rng(0)
    patterns, n = _smooth(rng, (10, 3, 10, 10)), 1800
    y = rng.integers(0, 10, n)
    shifts = rng.integers(-1, 2, (n, 2))
    x = np.stack([np.roll(patterns[label], shift, (1, 2)) for label, shift in zip(y, shifts, strict=True)])
    x = (x + 0.7 * rng.standard_normal(x.shape)).astype(np.float32)
    return Data(x[:1400], y[:1400], x[1400:], y[1400:], 0.9, 16)


def _waves():
    """Ten quantities that bend with an image's three channels."""
    rng = np.random.default_rng(1)
    n = 2000
    hidden = rng.standard_normal((n, 4))
    x = np.tensordot(hidden, _smooth(rng, (4, 3, 8, 8)), 1) + 0.1 * rng.standard_normal((n, 3, 8, 8))
    bent = np.concatenate([np.tanh(hidden), np.abs(hidden) - 0.8, hidden[:, :2] * hidden[:, 2:]], 1)
    x, y = x.astype(np.float32) / 2, bent.astype(np.float32)
    return Data(x[:1600], y[:1600], x[1600:], y[1600:], 0.6, 24)


DATA: dict[str, Callable[[], Data]] = {
    "digits": lambda: _of(data.digits(), None, None, 0.93, 25),
    "optdigits": lambda: _of(data.optdigits(), None, None, 0.9, 12),
    "optdigits 0..16": lambda: _of(data.optdigits(scale=False), None, None, 0.9, 12, slower=10),
    "mnist": lambda: _of(data.mnist(), 4000, 1000, 0.87, 7),
    "mnist standardised": lambda: _of(data.mnist(), 4000, 1000, 0.87, 7, lambda x: (x - 0.1307) / 0.3081),
    "colours": _colours,
    "waves": _waves,
}


@functools.cache
def loaded(name: str) -> Data:
    return DATA[name]()


# Recipes

OPTIMIZERS: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "SGD": (optim.SGD, (0.03, 0.1, 0.2)),
    "momentum": (lambda p, **o: optim.SGD(p, **{"momentum": 0.9} | o), (0.01, 0.03)),
    "Nesterov": (lambda p, **o: optim.SGD(p, **{"momentum": 0.9, "nesterov": True} | o), (0.02,)),
    "Adam": (optim.Adam, (5e-4, 1e-3, 3e-3)),
    "AdamW": (optim.AdamW, (1e-3, 3e-3)),
    "RMSprop": (optim.RMSprop, (3e-4, 1e-3)),
}
PLAIN = ("SGD", "momentum", "Nesterov")  # steps as large as gradients
AVERAGED = ("mse", "sigmoid mse", "huber", "logistic", "bce", "l1", "smooth l1")  # over the ten outputs, too
QUANTITIES = {"mse": nn.MSELoss, "l1": nn.L1Loss, "huber": nn.HuberLoss, "smooth l1": nn.SmoothL1Loss}
SLOW = ("resnet20",)  # trained on small images alone, and for fewer epochs
EXTRA = {  # what the sets of architectures lack
    "TUNED": {
        "average pools": lambda s: cconv.models.cnn(s, [[8], [16]], fc=[32], pooling=nn.AvgPool2d),
        "residual": lambda s: nn.Sequential(
            nn.Conv2d(s[0], 12, 3, padding=1), nn.ReLU(),
            nn.Residual(nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1))),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(192, 10)),
        "leaky mlp": lambda s: cases.mlp([cases.flat(s), 64, 32, 10], nn.LeakyReLU),
    },
    "HELD": {
        "layer norm": lambda s: cases.mlp([cases.flat(s), 64, 64, 10], nn.GELU, None, nn.LayerNorm),
        "strided": lambda s: nn.Sequential(
            nn.Conv2d(s[0], 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * ((s[1] + 3) // 4) * ((s[2] + 3) // 4), 10)),
        "wide mlp": lambda s: cases.mlp([cases.flat(s), 400, 10], nn.Tanh),
    },
}  # fmt: skip
HALVES = {"tuned": TUNED | EXTRA["TUNED"], "held": HELD | EXTRA["HELD"]}
NETWORKS = HALVES["tuned"] | HALVES["held"]


@dataclass(frozen=True)
class Recipe:
    network: str
    data: str
    loss: str
    optimizer: str
    lr: float
    batch_size: int = 32
    seed: int = 0

    @property
    def half(self) -> str:
        return "tuned" if self.network in HALVES["tuned"] else "held"

    def __str__(self) -> str:
        return f"{self.network}, {self.data}, {self.loss}, {self.optimizer} {self.lr:g}, batches of {self.batch_size}"


def recipes(count: int, seed: int = 0) -> list[Recipe]:
    """So many, half of them of each half of the architectures: always the same."""
    rng = np.random.default_rng(seed)
    found: dict[Recipe, None] = {}
    for network in itertools.cycle(itertools.chain(*zip(*(_repeated(half) for half in HALVES.values()), strict=True))):
        if len(found) == count:
            return list(found)
        name = str(rng.choice([name for name in DATA if "mnist" not in name] if network in SLOW else list(DATA)))
        losses = list(QUANTITIES) if name == "waves" else [*["cross-entropy"] * 8, *LOSSES]
        kind = str(rng.choice(list(OPTIMIZERS)))
        lr = float(rng.choice(OPTIMIZERS[kind][1]))
        found[Recipe(network, name, str(rng.choice(losses)), kind, lr, int(rng.choice([16, 32, 64])), len(found))] = (
            None
        )
    raise AssertionError


def _repeated(half: dict) -> list[str]:
    longest = max(map(len, HALVES.values()))
    return list(itertools.islice(itertools.cycle(half), longest))


# Runs


@dataclass
class Run(Setup):
    """What `check` is called with, and all that `Trainer` is told.

    Attributes
    ----------
    validation : (x, y)
        As training would be given it.
    test : (x, y)
        What tells whether it has learned: inputs as the network takes them; true labels or quantities.
    fed : data for `fit`, or None for (x, y)
    made : kind of optimiser and its options
    trainer, fit : options of `Trainer` and of `Trainer.fit`
    """

    validation: Any = None
    test: Any = None
    fed: Any = None
    epochs: int = 1
    batch_size: int = 32
    made: tuple[str, dict[str, Any]] = ("Adam", {})
    trainer: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)

    def optimise(self, **options: Any) -> Run:
        """With the recipe's optimiser, and these options of it."""
        kind, given = self.made
        self.made = kind, given | options
        self.optimizer = None
        return self

    def ready(self) -> Run:
        """A fault that changed the model has taken its optimiser away."""
        if self.optimizer is None:
            kind, options = self.made
            self.optimizer = OPTIMIZERS[kind][0](self.model.parameters(), **options)
        return self

    def score(self, trainer: Any) -> float:
        """Accuracy, or the share of variance that is explained."""
        x, y = self.test
        with np.errstate(all="ignore"):
            got = trainer.predict(x)
        if y.dtype.kind != "f":
            return float((got.argmax(1) == y).mean())
        with np.errstate(all="ignore"):
            return float(1 - ((got - y) ** 2).mean() / ((y - y.mean(0)) ** 2).mean())


def run(recipe: Recipe) -> Run:
    """A training that learns."""
    of = loaded(recipe.data)
    cconv.manual_seed(recipe.seed)
    model = NETWORKS[recipe.network](of.x.shape[1:])
    lr = recipe.lr / (of.slower if recipe.optimizer in PLAIN else of.slower**0.5)
    if of.quantities:
        criterion, targets = QUANTITIES[recipe.loss](), None
    else:
        end, make, targets = LOSSES[recipe.loss]
        criterion = make()
        if end is not None:
            model = nn.Sequential(model, end())
    if recipe.optimizer in PLAIN:
        # What the loss divides gradients by, or does not.
        lr *= 5 if recipe.loss in AVERAGED else 1 / recipe.batch_size if recipe.loss == "sum" else 1
    epochs = of.epochs // 4 if recipe.network in SLOW else of.epochs
    y, test_y = (of.y, of.test_y) if targets is None else (targets(of.y), targets(of.test_y))
    made = recipe.optimizer, {"lr": lr}
    return Run(
        model, of.x, y, criterion, None, (of.test_x, test_y), (of.test_x, of.test_y), None, epochs,
        recipe.batch_size, made,
    ).ready()  # fmt: skip


# Faults


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a training.

    Attributes
    ----------
    kinds : tuple of str
        What may be named as its root.
    make : callable
        Puts it into a Run, which it returns; or nothing, where it does not apply.
    early : bool
        Whether `check` can see it.
    late : bool
        Whether it cannot be seen in the first epoch.
    effect : callable, optional
        (how it went, how the same went without the fault) -> whether it does harm; `harm` by default.
    both : bool
        Whether validation and test examples are given as wrongly as those for training.
    on : str, optional
        The data that it needs: "quantities", or labels.
    """

    kinds: tuple[str, ...]
    make: Callable[[Run], Run | None]
    early: bool = True
    late: bool = False
    effect: Callable[[Learned | None, Learned], bool] | None = None
    both: bool = True
    on: str = "labels"


CLEARLY = 0.05


@dataclass
class Learned:
    """How a run went: its score at the end, and the entries of its epochs."""

    score: float
    history: list[dict[str, float]]

    def over(self, name: str) -> float:
        """The mean over the epochs."""
        return float(np.mean([record.get(name, np.nan) for record in self.history]))


def harm(ill: Learned | None, well: Learned) -> bool:
    """Whether it ends clearly lower than without the fault, or gets there clearly later."""
    later = ill is not None and ill.over("val_accuracy") < well.over("val_accuracy") - CLEARLY
    return ill is None or later or not ill.score > well.score - CLEARLY


def faulty(recipe: Recipe, fault: Fault) -> Run | None:
    """The training with the fault in it; nothing where that does not apply."""
    of = loaded(recipe.data)
    if of.slower > 1:
        return None  # inputs of 0..16 are a fault of their own
    if of.quantities != (fault.on == "quantities") or not (of.quantities or recipe.loss == "cross-entropy"):
        return None
    made = fault.make(run(recipe))
    if not made:
        return None
    if not isinstance(made, Run):
        fresh = run(recipe)
        made = replace(fresh, model=made.model, x=made.x, y=made.y, loss=made.loss, optimizer=made.optimizer)
    if fault.both and fault.early:
        # The same is done to the examples of the test, by a second fault of the same kind.
        fresh = run(recipe)
        fresh.x, fresh.y = fresh.validation
        other = fault.make(fresh)
        made.validation = (other.x, other.y)
        made.test = (other.x, of.test_y)
    return made.ready()


def _rows(r: Run, rows: Any) -> Run:
    r.x, r.y = r.x[rows], r.y[rows]
    return r


def _validated(r: Run, change: Callable[[np.ndarray], np.ndarray]) -> Run:
    r.validation = change(r.validation[0]), r.validation[1]
    return r


def _sorted(r: Run) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(r.y, kind="stable")
    return r.x[order], r.y[order]


def _sorted_loader(r: Run) -> Run:
    r.fed = data.Loader(_sorted(r), r.batch_size, shuffle=False)
    return r


def _sorted_list(r: Run) -> Run:
    x, y = _sorted(r)
    r.fed = [(x[i : i + r.batch_size], y[i : i + r.batch_size]) for i in range(0, len(x), r.batch_size)]
    return r


def _with(r: Run, rows: int, value: float) -> Run:
    r.x = r.x.copy()
    r.x.reshape(len(r.x), -1)[rows, 3] = value
    return r


def _y_with(r: Run, row: int, value: float) -> Run:
    r.y = r.y.copy()
    r.y[row] = value
    return r


def _leak(r: Run, share: float) -> Run:
    """Few examples, learned by heart, of which some are in the validation, too."""
    _rows(r, slice(0, 200))
    n = int(150 * share)
    x, y = r.validation
    r.validation = np.concatenate([r.x[:n], x[: 150 - n]]), np.concatenate([r.y[:n], y[: 150 - n]])
    r.epochs *= 5
    return r


def _few(r: Run, count: int) -> Run:
    r.epochs = min(150, r.epochs * len(r.x) // count)
    return _rows(r, slice(0, count))


def _permuted(r: Run) -> Run:
    r.y = np.random.default_rng(0).permutation(r.y)
    return r


def _contradicted(r: Run) -> Run:
    """Each example four times, with other labels."""
    r.x = np.concatenate([r.x] * 4)
    r.y = np.concatenate([(r.y + i * 3) % 10 for i in range(4)])
    r.epochs = max(2, r.epochs // 3)
    return r


class Slipped(nn.Layer):
    """An activation whose backward is wrong."""

    def __init__(self, slip: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]):
        self.slip = slip

    def forward(self, x, train=True):
        y = np.tanh(x)
        return y, lambda grad_y, need_x=True: self.slip(grad_y, x, y).astype(x.dtype) if need_x else None


class OwnLinear(nn.Layer):
    """A linear layer by hand, whose backward does something else with its weight's gradient."""

    def __init__(self, like: nn.Linear, slip: Callable[[np.ndarray, np.ndarray], np.ndarray], turned: bool = False):
        self.weight, self.bias = nn.Parameter(like.weight.value), nn.Parameter(like.bias.value)
        self.slip, self.turned = slip, turned

    def forward(self, x, train=True):
        def backward(grad_y, need_x=True):
            self.weight.add_grad(self.slip(grad_y, x).astype(self.weight.value.dtype))
            self.bias.add_grad(grad_y.sum(0))
            return (-1 if self.turned else 1) * (grad_y @ self.weight.value)

        return x @ self.weight.value.T + self.bias.value, backward


def _own_linear(r: Run, slip: Callable[[np.ndarray, np.ndarray], np.ndarray], turned: bool = False) -> Run | None:
    """In the place of the linear layer before the last."""
    if not isinstance(r.model, nn.Sequential):
        return None
    at = [i for i, layer in enumerate(r.model) if isinstance(layer, nn.Linear)]
    if len(at) < 2:
        return None
    r.model[at[-2]] = OwnLinear(r.model[at[-2]], slip, turned)
    r.optimizer = None
    return r


def _slipped(r: Run, slip: Callable) -> Run | None:
    made = cases._own(r, Slipped(slip))
    if made:
        made.optimizer = None
    return made


def _frozen(r: Run, kept: Callable[[list], list]) -> Run:
    parameters = r.model.parameters()
    left = {id(p) for p in kept(parameters)}
    for parameter in parameters:
        parameter.trainable = id(parameter) in left
    return r


def _biases(r: Run, value: float) -> Run | None:
    if not cases._has(r.model, nn.ReLU) or not cases._plain(r):
        return None
    for layer in cases._linear(r.model)[:-1]:
        nn.init.constant(layer.bias, value)
    return r


def _sigmoid_weights(r: Run, factor: float) -> Run | None:
    if not cases._has(r.model, nn.Sigmoid, nn.Tanh) or not cases._plain(r):
        return None
    for layer in cases._linear(r.model):
        layer.weight.value = layer.weight.value * np.float32(factor)
    return r


def _deep_sigmoids(r: Run) -> Run:
    r.model = cases.mlp([cases.flat(r.x.shape[1:]), *[40] * 10, 10], nn.Sigmoid)
    r.optimizer = None
    return r


def _decayed(r: Run, decoupled: float, coupled: float) -> Run:
    """So that weights lose a twentieth of their size a step; what is coupled outweighs the loss's gradient."""
    kind, options = r.made
    value = decoupled / options["lr"] if kind == "AdamW" else coupled
    if kind in PLAIN:
        value = min(value, 0.1 / options["lr"])
    return r.optimise(weight_decay=value)


def _faster(r: Run, gradient: float, adaptive: float, **more: Any) -> Run:
    kind, _ = r.made
    plain = kind in PLAIN
    return r.optimise(lr=gradient if plain else adaptive, **(more if plain else {}))


def _slower(r: Run, factor: float) -> Run:
    return r.optimise(lr=r.made[1]["lr"] * factor)


def _leaked(ill: Learned | None, well: Learned) -> bool:
    return ill is not None and ill.history[-1]["val_accuracy"] > ill.score + CLEARLY


def _by_heart(ill: Learned | None, well: Learned) -> bool:
    return ill is not None and ill.history[-1]["accuracy"] > ill.score + 2 * CLEARLY


def _misjudged(ill: Learned | None, well: Learned) -> bool:
    return ill is not None and not ill.history[-1]["val_accuracy"] > ill.score - CLEARLY


def _standardised(r: Run) -> Run:
    mean, spread = r.x.mean(), r.x.std()
    r.x = (r.x - mean) / spread
    r.test = (r.test[0] - mean) / spread, r.test[1]
    return r


_TOO_FAST = ("learning-rate", "diverging-weights")

# Those of `doctor_cases` that are seen before training, and these, which mostly show in it.
TRAINING: dict[str, Fault] = {
    "learning rate 30": Fault(_TOO_FAST, lambda r: _faster(r, 30.0, 1.0)),
    "learning rate x 300, momentum": Fault(_TOO_FAST, lambda r: _faster(r, 1.0, 0.3, momentum=0.99)),
    "learning rate / 10,000": Fault(("learning-rate",), lambda r: _slower(r, 1e-4)),
    "learning rate / a million": Fault(("learning-rate",), lambda r: _slower(r, 1e-6)),
    "weight decay": Fault(("weight-decay",), lambda r: _decayed(r, 0.05, 1.0)),
    "weight decay 0.3": Fault(("weight-decay",), lambda r: _decayed(r, 0.02, 0.3)),
    "sorted, by a Loader": Fault(("sorted-batches",), _sorted_loader, early=False),
    "sorted batches": Fault(("sorted-batches",), _sorted_list, early=False),
    "validation x 255": Fault(
        ("validation-inputs",), lambda r: _validated(r, lambda x: x * 255), early=False, effect=_misjudged
    ),
    "validation / 255": Fault(
        ("validation-inputs",), lambda r: _validated(r, lambda x: x / 255), early=False, effect=_misjudged
    ),
    "validation not standardised": Fault(("validation-inputs",), _standardised, early=False, effect=_misjudged),
    "validation reversed": Fault(
        ("validation-inputs",), lambda r: _validated(r, lambda x: x.max() - x), early=False, effect=_misjudged
    ),
    "validation of training examples": Fault(
        ("validation-leak",), lambda r: _leak(r, 1.0), early=False, late=True, effect=_leaked
    ),
    "half of validation trained on": Fault(
        ("validation-leak",), lambda r: _leak(r, 0.5), early=False, late=True, effect=_leaked
    ),
    "60 examples": Fault(("overfitting",), lambda r: _few(r, 60), early=False, late=True, effect=_by_heart),
    "150 examples": Fault(("overfitting",), lambda r: _few(r, 150), early=False, late=True, effect=_by_heart),
    "labels permuted": Fault(("stalled-loss", "overfitting"), _permuted, early=False, late=True),
    "labels contradict": Fault(("contradicting-labels",), _contradicted, both=False),
    "one NaN": Fault(("input-not-finite",), lambda r: _with(r, 137, np.nan), both=False),
    "one infinity": Fault(("input-not-finite",), lambda r: _with(r, 211, np.inf), both=False),
    "gradient turned": Fault(("wrong-gradient",), lambda r: _slipped(r, lambda g, x, y: g * (y * y - 1))),
    "derivative missing": Fault(("wrong-gradient",), lambda r: _slipped(r, lambda g, x, y: g)),
    "gradient of another example": Fault(
        ("wrong-gradient", "examples-mixed"), lambda r: _slipped(r, lambda g, x, y: np.roll(g, 1, 0) * (1 - y * y))
    ),
    "derivative at the output": Fault(
        ("wrong-gradient",), lambda r: _slipped(r, lambda g, x, y: g * (1 - np.tanh(y) ** 2))
    ),
    "weight's gradient turned": Fault(("wrong-gradient",), lambda r: _own_linear(r, lambda g, x: -(g.T @ x))),
    "weight's gradient of the first example": Fault(
        ("wrong-gradient",), lambda r: _own_linear(r, lambda g, x: g[:1].T @ x[:1])
    ),
    "input's gradient turned": Fault(("wrong-gradient",), lambda r: _own_linear(r, lambda g, x: g.T @ x, True)),
    "all frozen": Fault(("frozen",), lambda r: _frozen(r, lambda p: p[-1:])),
    "weights frozen": Fault(("frozen",), lambda r: _frozen(r, lambda p: [each for each in p if each.value.ndim < 2])),
    "biases of -5": Fault(("large-bias", "dead-units"), lambda r: _biases(r, -5)),
    "biases of -30": Fault(("large-bias", "dead-units"), lambda r: _biases(r, -30)),
    "weights x 40": Fault(("weight-scale", "saturated"), lambda r: _sigmoid_weights(r, 40)),
    "ten sigmoids": Fault(("vanishing-gradient", "constant-output"), _deep_sigmoids),
    "targets x 1,000": Fault(
        ("target-scale",), lambda r: _quantities(r, lambda y: y * 1000), both=False, on="quantities"),
    "one target NaN": Fault(
        ("target-not-finite",), lambda r: _y_with(r, 400, np.nan),
        both=False, on="quantities"),
}  # fmt: skip


class Astray(nn.Loss):
    """Cross-entropy by hand, whose gradient is something else."""

    def __init__(self, slip: Callable[[np.ndarray], np.ndarray]):
        super().__init__()
        self.slip, self.inner = slip, nn.CrossEntropyLoss()

    def forward(self, logits, target):
        value, backward = self.inner.forward(logits, target)
        return value, lambda grad_loss=1.0: self.slip(backward(grad_loss))


class Counted(nn.Loss):
    """The share of wrong answers, which has no slope."""

    def forward(self, logits, target):
        wrong = logits.argmax(1) != target
        return wrong.astype(logits.dtype).mean(), lambda grad_loss=1.0: np.zeros_like(logits)


def _loss(r: Run, loss: Any) -> Run:
    r.loss = loss
    return r


def _scheduled(r: Run, factor: Callable[[int], float]) -> Run:
    r.trainer = {"schedule": optim.LambdaLR(r.optimizer, factor), "schedule_interval": "step"}
    return r


def _head(r: Run, parameters: Callable[[list], list]) -> Run:
    kind, options = r.made
    r.optimizer = OPTIMIZERS[kind][0](parameters(r.model.parameters()), **options)
    return r


def _instead(r: Run, layer: Callable[[], nn.Layer], count: int) -> Run | None:
    """In the place of the first activations."""
    for _ in range(count):
        if cases._own(r, layer()) is None:
            return None
    return r


def _narrow(r: Run) -> Run | None:
    if not isinstance(r.model, nn.Sequential) or not isinstance(r.model[-1], nn.Linear):
        return None
    last = r.model[-1]
    r.model[-1] = nn.Sequential(nn.Linear(last.in_features, 1), nn.ReLU(), nn.Linear(1, 10))
    r.optimizer = None
    return r


def _noise(x: np.ndarray) -> np.ndarray:
    return np.random.default_rng(len(x)).random(x.shape, np.float32)


def _one_pixel(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.reshape(len(x), -1)[:, 5] = 1000 * np.random.default_rng(0).random(len(x))
    return x


def _blocks(r: Run) -> Run:
    """Each batch of one class, one class after the other."""
    groups = [np.flatnonzero(r.y == label) for label in np.unique(r.y)]
    size, count = r.batch_size, min(map(len, groups))
    order = [group[i : i + size] for i in range(0, count, size) for group in groups]
    r.fed = [(r.x[rows], r.y[rows]) for rows in order if len(rows)]
    return r


def _one_batch(r: Run) -> Run:
    r.fed = [(r.x[:64], r.y[:64])] * (len(r.x) // 32)
    return r


def _x_of(r: Run, change: Callable[[np.ndarray], np.ndarray]) -> Run:
    r.x, r.validation = change(r.x), (change(r.validation[0]), r.validation[1])
    r.test = change(r.test[0]), r.test[1]
    return r


def _labelled(r: Run, change: Callable[[np.ndarray], np.ndarray]) -> Run:
    r.validation = r.validation[0], change(r.validation[1])
    return r


def _ended(r: Run, layer: nn.Layer) -> Run:
    r.model = nn.Sequential(r.model, layer)
    r.optimizer = None
    return r


def _dropped(r: Run, p: float) -> Run | None:
    if not isinstance(r.model, nn.Sequential) or len(r.model) < 4:
        return None
    at = next(i for i, layer in enumerate(r.model) if layer is cases._linear(r.model)[-1])
    r.model = nn.Sequential(*list(r.model)[:at], nn.Dropout(p), *list(r.model)[at:])
    r.optimizer = None
    return r


def _one_nan(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[7] = np.nan
    return x


def _quantities(r: Run, change: Callable[[np.ndarray], np.ndarray]) -> Run:
    r.test = r.validation = r.test[0], change(r.test[1])
    r.y = change(r.y)
    return r


def _offset(r: Run) -> Run:
    bias = cases._linear(r.model)[-1].bias
    bias.value = (1000 * np.random.default_rng(0).standard_normal(bias.value.shape)).astype(np.float32)
    return r


# Drawn when `check` and the monitors were there, without looking at what they look for.
NEW: dict[str, Fault] = {
    "validation transposed": Fault(
        ("validation-inputs",), lambda r: _validated(r, lambda x: np.ascontiguousarray(x.transpose(0, 1, 3, 2))),
        early=False, effect=_misjudged),
    "validation labels off by one": Fault(
        ("validation-targets",), lambda r: _labelled(r, lambda y: (y + 1) % 10), early=False, effect=_misjudged),
    "validation with a NaN": Fault(
        ("validation-inputs", "input-not-finite"), lambda r: _validated(r, _one_nan),
        early=False, effect=lambda ill, well: True),
    "dropout 0.99": Fault(("dropout-rate",), lambda r: _dropped(r, 0.99)),
    "clipped to 1e-7": Fault(("learning-rate",), lambda r: replace(r, trainer={"clip_norm": 1e-7}), early=False),
    "momentum 1": Fault(
        (*_TOO_FAST, "oscillating-loss", "diverging-loss"),
        lambda r: r.optimise(momentum=1.0) if r.made[0] in ("SGD", "momentum") else None),
    "schedule to zero": Fault(("learning-rate",), lambda r: _scheduled(r, lambda step: 0.0), early=False),
    "learning rate 0": Fault(("learning-rate",), lambda r: r.optimise(lr=0.0)),
    "gradient of the loss averaged twice more": Fault(
        ("wrong-gradient",), lambda r: _loss(r, Astray(lambda g: g / len(g) ** 2))),
    "gradient of the loss turned": Fault(("wrong-gradient",), lambda r: _loss(r, Astray(lambda g: -g))),
    "loss without slope": Fault(("zero-gradient", "wrong-gradient", "backward-zero"), lambda r: _loss(r, Counted())),
    "augmentation to black": Fault(
        ("input-constant",), lambda r: replace(r, fit={"augment": lambda x, rng: np.zeros_like(x)}), early=False),
    "sum with the rate of a mean": Fault(
        (*_TOO_FAST, "exploding-gradient"),
        lambda r: _loss(_faster(r, 0.2, 1e-2), nn.CrossEntropyLoss(reduction="sum"))),
    "half of the classes weigh nothing": Fault(
        ("class-imbalance",), lambda r: _loss(r, nn.CrossEntropyLoss(weight=(np.arange(10) > 4).astype(np.float32)))),
    "noise for images": Fault(("stalled-loss", "overfitting"), lambda r: _x_of(r, _noise), early=False, late=True),
    "one pixel of thousands": Fault(("feature-scales", "input-scale"), lambda r: _x_of(r, _one_pixel), both=False),
    "the optimiser of a bias": Fault(("frozen",), lambda r: _head(r, lambda p: p[-1:])),
    "the optimiser of all but the last": Fault(("frozen",), lambda r: _head(r, lambda p: p[:-2])),
    "logits x 200": Fault(
        ("initial-loss", "exploding-gradient", "weight-scale", "learning-rate"),
        lambda r: _ended(r, nn.Rescale(200.0))),
    "outputs' biases of 1,000": Fault(("large-bias", "initial-loss"), _offset),
    "softmax between": Fault(("vanishing-gradient", "constant-output"), lambda r: _instead(r, nn.Softmax, 2)),
    "one batch again and again": Fault(("overfitting",), _one_batch, early=False, late=True, effect=_by_heart),
    "a layer of one unit": Fault(("bottleneck",), _narrow),
    "batches of one class": Fault(("sorted-batches",), _blocks, early=False),
    "smoothing of 1": Fault(
        ("stalled-loss", "target-constant"), lambda r: _loss(r, nn.CrossEntropyLoss(label_smoothing=1.0)), early=False),
    "Adam's eps of 1,000": Fault(
        ("learning-rate",), lambda r: r.optimise(eps=1000.0) if r.made[0] in ("Adam", "AdamW", "RMSprop") else None),
    "ReLU at the end": Fault(("target-range", "relu-before-loss"), lambda r: _ended(r, nn.ReLU()), on="quantities"),
    "tanh at the end": Fault(
        ("target-range",), lambda r: _ended(_quantities(r, lambda y: y * 10), nn.Tanh()), on="quantities", both=False),
    "quantities permuted": Fault(
        ("stalled-loss", "overfitting"), _permuted, early=False, late=True, on="quantities"),
    "targets of 1,000 to 1,050": Fault(
        ("target-scale",), lambda r: _quantities(r, lambda y: y * 10 + 1000), on="quantities", both=False),
}  # fmt: skip


def _faults() -> dict[str, Fault]:
    """All: those of set-up take what they need from `doctor_cases`."""
    before = {}
    for name, (kinds, make) in cases.FAULTS.items():
        before[f"set-up: {name}"] = Fault(kinds, make, both=name not in ("nan", "nan target", "one bad label"))
    return before | TRAINING | NEW


FAULTS = _faults()
# Every other one, in the order in which they are listed.
_planned = [name for name in FAULTS if name not in NEW]
FAULT_HALVES = {
    "tuned": {name: FAULTS[name] for name in _planned[::2]},
    "held": {name: FAULTS[name] for name in _planned[1::2]},
    "new": NEW,
}
