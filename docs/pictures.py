"""The pictures of doctor.md: a network that learns beside one with a fault, and what tells them apart.

    python docs/pictures.py [KIND ...]

writes docs/pictures/KIND.png, all of them in half a minute, from trainings on `data.optdigits()`, or `data.digits()`
where the former is not there. Before a picture is drawn, the doctor must name its kind in the faulty network, and must
not in the healthy one. Needs matplotlib and Pillow. Equal runs write equal files.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullFormatter
from PIL import Image

import cconv
from cconv import data, nn, optim
from cconv.doctor import Report
from cconv.doctor.descent import descent
from cconv.doctor.experiment import Experiment
from cconv.doctor.figure import draw_histograms
from cconv.doctor.monitor import monitor
from cconv.doctor.series import LayerSeries, series
from cconv.doctor.watch import Call, Watched

FOLDER = Path(__file__).parent / "pictures"
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#6b6b6b"  # told apart by the colour-blind, too
MAPS = {BLUE: "Blues", ORANGE: "Oranges"}
COLOURS = 128  # of a file

STYLE: Any = {
    "font.size": 9.5, "axes.titlesize": 10, "axes.labelsize": 9.5, "legend.fontsize": 9.5, "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.8, "legend.frameon": False,
}  # fmt: skip

try:
    TRAIN, TEST = data.optdigits()
except FileNotFoundError:
    TRAIN, TEST = data.digits()
X, Y = TRAIN.x, TRAIN.y
ONE_HOT = np.eye(10, dtype=np.float32)
GUESS = float(np.log(10))

PICTURES: dict[str, Callable[[str], Figure]] = {}


def picture(draw: Callable[[str], Figure]) -> Callable[[str], Figure]:
    """The function's name is that of the kind, which it is called with."""
    PICTURES[draw.__name__.replace("_", "-")] = draw
    return draw


# Networks and their trainings


class Case(NamedTuple):
    """What a training is made of; SGD of rate `lr`, where no optimizer is given."""

    model: nn.Layer
    loss: Any = None
    lr: float = 0.1
    x: np.ndarray = X
    y: np.ndarray = Y
    optimizer: Any = None
    validation: Any = None

    @property
    def objective(self) -> Any:
        return self.loss or nn.CrossEntropyLoss()

    @property
    def method(self) -> Any:
        return self.optimizer or optim.SGD(self.model.parameters(), lr=self.lr)


def mlp(*sizes: int, activation: Any = nn.ReLU, draw: Callable[[Any], Any] = nn.init.he_uniform) -> nn.Sequential:
    """Linear layers of these sizes with activations between them."""
    cconv.manual_seed(0)
    layers: list[nn.Layer] = [nn.Flatten()]
    for i in range(len(sizes) - 1):
        linear = nn.Linear(sizes[i], sizes[i + 1])
        assert linear.bias is not None
        draw(linear.weight)
        nn.init.zeros(linear.bias)
        layers += [linear, activation()]
    return nn.Sequential(*layers[:-1])


def kinds(report: Report) -> set[str]:
    found = list(report)
    for finding in found:
        found += finding.consequences
    return {finding.kind for finding in found}


def told_apart(kind: str, healthy: Iterable[Report], faulty: Iterable[Report]) -> None:
    for wanted, reports in ((False, healthy), (True, faulty)):
        for report in reports:
            if (kind in kinds(report)) != wanted:
                raise AssertionError(f"{kind} was {'not ' if wanted else ''}named:\n{report}")


def checked(kind: str, healthy: Case, *faulty: Case) -> list[Experiment]:
    """The trainings of all cases, which `check` has looked at."""
    reports = [cconv.check(c.model, c.x, c.y, c.objective, optimizer=c.method) for c in (healthy, *faulty)]
    told_apart(kind, reports[:1], reports[1:])
    return [experiment(report) for report in reports]


def fitted(kind: str, epochs: int, healthy: Case, *faulty: Case, shuffle: Sequence[bool] = ()) -> list[cconv.Trainer]:
    """Trainers of all cases, whose monitors have looked at them."""
    trainers = []
    for i, c in enumerate((healthy, *faulty)):
        cconv.manual_seed(0)
        trainer = cconv.Trainer(c.model, c.objective, c.method, seed=0, progress=False)
        examples = data.Loader((c.x, c.y), 32, shuffle=shuffle[i] if shuffle else True, seed=0)
        with suppress(FloatingPointError):  # it ends with NaN
            trainer.fit(examples, epochs, validation=c.validation)
        trainers.append(trainer)
    told_apart(kind, [trainers[0].report], [trainer.report for trainer in trainers[1:]])
    return trainers


def experiment(report: Report) -> Experiment:
    assert report.experiment is not None
    return report.experiment


def losses(case: Experiment | cconv.Trainer, steps: int) -> list[float]:
    return (case if isinstance(case, Experiment) else experiment(case.report)).run(steps).losses


def first_step(case: Experiment) -> dict[str, Call]:
    """What went through the layers, by path."""
    with case.started(1) as setting, Watched(setting.model) as watched:
        list(descent(setting.model, setting.loss, setting.optimizer, setting.batches))
    return {call.path: call for call in watched.leaves}


def trained_model(case: Experiment, steps: int) -> Any:
    return case.run(steps).setting.model


def layer_series(case: Experiment, steps: int, path: str) -> LayerSeries:
    return next(layer for layer in series(case, steps).layers if layer.path == path)


# Drawing


def blank() -> Any:
    return Figure(figsize=(7.2, 2.4), dpi=100, layout=ConstrainedLayoutEngine(wspace=0.08))


def panels(count: int, titles: Sequence[str] = (), **options: Any) -> tuple[Any, Any]:
    figure = blank()
    axes = figure.subplots(1, count, **options)
    for ax, title in zip(np.ravel(axes), titles, strict=False):
        ax.set_title(title)
    return figure, axes


def curves(title: str, lines: dict[str, tuple[Any, str]], ylabel: str = "loss", xlabel: str = "step", **options: Any):
    """Lines by name, (values, colour); options: log, level (name, value), width, at (x of each value)."""
    figure, ax = panels(1)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if "level" in options:
        name, value = options["level"]
        ax.axhline(value, color=GREY, linestyle="--", linewidth=1.2, label=name)
    for name, (values, colour) in lines.items():
        at = options.get("at", range(len(values)))
        dashed = options.get("dashed", ())
        style = {"linestyle": ":" if name in dashed else "-", "linewidth": options.get("width", 1.8)}
        ax.plot(at, values, color=colour, label=name, marker=options.get("marker"), markersize=4.5, **style)
    if options.get("log"):
        ax.set_yscale(options["log"] if isinstance(options["log"], str) else "log")
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure, ax


def smooth(values: Sequence[float], width: int = 9) -> np.ndarray:
    """Means over neighbours, of fewer at the ends."""
    ones = np.ones(min(width, len(values)))
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def two_heat_maps(titles: Sequence[str], pair: Sequence[LayerSeries], ylabel: str) -> Figure:
    figure, axes = panels(2, titles)
    for ax, layer, colour in zip(axes, pair, (BLUE, ORANGE), strict=True):
        draw_histograms(ax, layer.activations, MAPS[colour])
        ax.tick_params(labelsize=9)
        ax.set(xlabel="step", ylabel=ylabel)
    return figure


def two_histograms(titles: Sequence[str], pair: Sequence[np.ndarray], xlabel: str) -> Figure:
    figure, axes = panels(2, titles, sharex=True)
    bins = np.histogram_bin_edges(np.concatenate([np.ravel(values) for values in pair]), 70)
    for ax, values, colour in zip(axes, pair, (BLUE, ORANGE), strict=True):
        ax.hist(values.ravel(), bins, color=colour)
        ax.axvline(0, color=GREY, linewidth=1)
        ax.set(xlabel=xlabel, yticks=[])
        ax.spines.left.set_visible(False)
    return figure


def two_images(
    titles: Sequence[str], pair: Sequence[np.ndarray], xlabel: str, ylabel: str, cmap: str = "viridis", **options: Any
) -> Figure:
    figure, axes = panels(2, titles)
    for ax, values in zip(axes, pair, strict=True):
        ax.imshow(values, aspect="auto", cmap=cmap, interpolation="nearest", **options)
        ax.set(xlabel=xlabel, ylabel=ylabel)
    return figure


def sizes_by_layer(title: str, ylabel: str, lines: dict[str, tuple[dict[str, float], str]], **options: Any) -> Figure:
    figure, ax = curves(
        title, {name: (list(sizes.values()), colour) for name, (sizes, colour) in lines.items()}, ylabel, "layer",
        log=True, marker="o", **options,
    )  # fmt: skip
    count = len(next(iter(lines.values()))[0])
    ax.set_xticks(range(count), ["first", *map(str, range(2, count)), "last"])
    return figure


def bare(ax: Any) -> None:
    """For an image: no ticks, no frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def rms(array: Any) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def output_sizes(case: Experiment) -> dict[str, float]:
    return {path: rms(call.y) for path, call in first_step(case).items() if call.layer.parameters()}


def gradient_sizes(case: Experiment) -> dict[str, float]:
    return {path: rms(call.grad_y) for path, call in first_step(case).items() if call.layer.parameters()}


# The data and the network


@picture
def input_layout(kind: str) -> Figure:
    images = X[:, 0, :, :, None] * np.array([0.9, 0.4, 0.1], np.float32)
    image = images[0]

    def network(channels: int, size: int) -> nn.Layer:
        cconv.manual_seed(0)
        return nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(size, 10))

    right = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    checked(kind, Case(network(3, 8 * 8 * 8), x=right), Case(network(8, 8 * 8 * 3), x=images))
    figure = blank()
    left, right = figure.subfigures(1, 2, width_ratios=(1, 2))
    ax = left.subplots()
    ax.imshow(image)
    bare(ax)
    ax.set_title("the image: 8 x 8 pixels, 3 colours", loc="center")
    for i, ax in enumerate(right.subplots(1, 8)):
        ax.imshow(image[i], cmap="Oranges_r", vmin=0, vmax=1)
        bare(ax)
        ax.set(xlabel=f"{i + 1}")
    right.suptitle("channels last, read as (C, H, W): 8 “channels” of 8 x 3", fontsize=10)
    return figure


@picture
def input_constant(kind: str) -> Figure:
    same = np.repeat(X[:1], len(X), 0)
    checked(kind, Case(mlp(64, 32, 10)), Case(mlp(64, 32, 10), x=same))
    figure = blank()
    titles = ("healthy", "every example the same, whatever its label")
    for part, x, colour, title in zip(figure.subfigures(1, 2), (X, same), (BLUE, ORANGE), titles, strict=True):
        part.suptitle(title, fontsize=10)
        for i, ax in enumerate(part.subplots(2, 5).ravel()):
            ax.imshow(x[i, 0], cmap="Greys")
            bare(ax)
            ax.set_title(f"{Y[i]}", color=colour, loc="center")
    return figure


# Targets and loss


@picture
def target_range(kind: str) -> Figure:
    def network() -> nn.Layer:
        return nn.Sequential(*mlp(64, 30, 10, activation=nn.Sigmoid, draw=nn.init.xavier_uniform), nn.Sigmoid())

    numbers = np.repeat(Y[:, None], 10, 1).astype(np.float32)
    cases = checked(
        kind, Case(network(), nn.MSELoss(), 5.0, y=ONE_HOT[Y]), Case(network(), nn.MSELoss(), 5.0, y=numbers)
    )
    figure, axes = panels(2, ("one-hot targets: within reach", "digits as targets: out of reach"), sharex=True)
    for ax, case, y, colour in zip(axes, cases, (ONE_HOT[Y], numbers), (BLUE, ORANGE), strict=True):
        outputs = trained_model(case, 1500)(X[:40])
        ax.axhspan(0, 1, color="#dddddd", label="what a sigmoid can say")
        ax.plot(y[:40, 3], "x", color="black", markersize=5, label="target")
        ax.plot(outputs[:, 3], "o", color=colour, markersize=4, label="output after 1500 steps")
        ax.set(xlabel="example", ylabel="output number 3", ylim=(-0.1 * y.max(), 1.1 * y.max()))
        handles = ax.get_legend_handles_labels()
    legend = figure.legend(*handles, loc="outside lower center", ncols=3)
    legend.legend_handles[2].set_color(GREY)
    return figure


@picture
def labels_as_numbers(kind: str) -> Figure:
    healthy = Case(mlp(64, 32, 10))
    faulty = Case(mlp(64, 32, 1), nn.MSELoss(), 0.01, y=Y[:, None].astype(np.float32))
    ok, bad = checked(kind, healthy, faulty)
    wrong = np.random.default_rng(0)
    figure, axes = panels(2, ("an output for each class: the largest", "one output, rounded: a neighbour will do"))
    for ax, case, colour in zip(axes, (ok, bad), (BLUE, ORANGE), strict=True):
        outputs = trained_model(case, 600)(TEST.x)
        said = outputs.argmax(1) if outputs.shape[1] > 1 else outputs[:, 0]
        jitter = wrong.uniform(-0.3, 0.3, (2, len(said)))
        ax.plot(
            TEST.y + jitter[0], said + (jitter[1] if said.dtype.kind == "i" else 0), ".", color=colour, markersize=1.5
        )
        right = (np.round(said) == TEST.y).mean()
        ax.set(
            xlabel=f"label ({right:.0%} right)",
            ylabel="answer",
            xticks=range(10),
            yticks=range(0, 10, 3),
            ylim=(-2, 11),
        )
    return figure


@picture
def sorted_batches(kind: str) -> Figure:
    order = np.argsort(Y, kind="stable")
    case = [Case(mlp(64, 32, 10), x=X[order], y=Y[order]) for _ in range(2)]
    ok, bad = fitted(kind, 2, *case, shuffle=(True, False))
    figure, _ = curves(
        "Sorted by class: each new class is a surprise, and the last one is forgotten",
        {"shuffled": (losses(ok, 240), BLUE), "sorted": (losses(bad, 240), ORANGE)},
        level=("a guess", GUESS), width=1.2,
    )  # fmt: skip
    return figure


# The end of the network and the loss


@picture
def softmax_axis(kind: str) -> Figure:
    cases = [Case(nn.Sequential(*mlp(64, 32, 10), nn.LogSoftmax(dim)), nn.NLLLoss()) for dim in (1, 0)]
    figure, ax = panels(1)
    for case, colour, name in zip(checked(kind, *cases), (BLUE, ORANGE), ("dim=1", "dim=0"), strict=True):
        sums = np.exp(trained_model(case, 200)(TEST.x[:32])).sum(1)
        ax.plot(range(1, 33), sums, "o-", color=colour, label=name, markersize=4, linewidth=1)
    ax.set(title="Sums of an example's ten probabilities", xlabel="example", ylabel="sum", ylim=(0, None))
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@picture
def double_softmax(kind: str) -> Figure:
    ok, bad = checked(kind, Case(mlp(64, 32, 10)), Case(nn.Sequential(*mlp(64, 32, 10), nn.Softmax())))
    figure, _ = curves(
        "On probabilities, cross-entropy ends at 1.46",
        {"logits": (smooth(losses(ok, 1200)), BLUE), "softmax first": (smooth(losses(bad, 1200)), ORANGE)},
        level=("1.46", float(np.log(np.e + 9) - 1)),
    )  # fmt: skip
    return figure


@picture
def missing_softmax(kind: str) -> Figure:
    ok, bad = checked(
        kind, Case(nn.Sequential(*mlp(64, 32, 10), nn.LogSoftmax()), nn.NLLLoss(), 0.05),
        Case(mlp(64, 32, 10), nn.NLLLoss(), 0.05),
    )  # fmt: skip
    figure, ax = curves(
        "Without a LogSoftmax, NLLLoss falls without limit",
        {"LogSoftmax first": (losses(ok, 60), BLUE), "logits": (losses(bad, 60), ORANGE)},
        log="symlog",
    )
    ax.axhline(0, color=GREY, linewidth=1)
    ax.set_ylim(top=10)
    return figure


@picture
def missing_sigmoid(kind: str) -> Figure:
    ok = Case(nn.Sequential(*mlp(64, 32, 10), nn.Sigmoid()), nn.BCELoss(), y=ONE_HOT[Y])
    cases = checked(kind, ok, Case(mlp(64, 32, 10), nn.BCELoss(), y=ONE_HOT[Y]))
    figure = two_histograms(
        ("after a sigmoid: all within 0 and 1", "without: no probabilities"),
        [case.model(TEST.x) for case in cases], "outputs",
    )  # fmt: skip
    for ax in figure.axes:
        ax.axvspan(0, 1, color="#dddddd", zorder=0)
    return figure


@picture
def relu_before_loss(kind: str) -> Figure:
    ok, bad = checked(kind, Case(mlp(64, 32, 10)), Case(nn.Sequential(*mlp(64, 32, 10), nn.ReLU())))
    outputs = [trained_model(case, 300)(TEST.x) for case in (ok, bad)]
    cut = float((outputs[1] == 0).mean())
    return two_histograms(
        ("healthy: logits of both signs", f"after a ReLU: {cut:.0%} of them are 0"),
        outputs,
        "outputs after 300 steps",
    )


@picture
def squashed_logits(kind: str) -> Figure:
    ok, bad = checked(kind, Case(mlp(64, 32, 10)), Case(nn.Sequential(*mlp(64, 32, 10), nn.Tanh())))
    figure, _ = curves(
        "Logits within ±1 leave no room for being sure",
        {"logits": (smooth(losses(ok, 1200)), BLUE), "tanh first": (smooth(losses(bad, 1200)), ORANGE)},
        level=("0.80", float(np.log1p(9 * np.exp(-2)))),
    )  # fmt: skip
    return figure


@picture
def dropout_before_output(kind: str) -> Figure:
    ok, bad = checked(kind, Case(mlp(64, 32, 10)), Case(nn.Sequential(*mlp(64, 32, 10), nn.Dropout(0.5))))
    figure, _ = curves(
        "Logits that are set to 0 at random keep the loss up",
        {"healthy": (smooth(losses(ok, 600)), BLUE), "dropout at the end": (smooth(losses(bad, 600)), ORANGE)},
        level=("a guess", GUESS),
    )
    return figure


# The network


class Slip(nn.Layer):
    """A layer of one's own, whose backward is (gradient of the output, input) -> gradient of the input."""

    def __init__(self, function: Callable[[Any], Any], backward: Callable[[Any, Any], Any]):
        self.function, self.slip = function, backward

    def forward(self, x: Any, train: bool = True) -> Any:
        return self.function(x), lambda grad_y, need_x=True: self.slip(grad_y, x)


def relus(backward: Callable[[Any, Any], Any]) -> nn.Sequential:
    """A network with ReLUs of one's own."""
    model = mlp(64, 32, 32, 10)
    for i in (2, 4):
        model[i] = Slip(lambda x: np.maximum(x, 0), backward)
    return model


def measured_gradients(kind: str, title: str, wrong: Callable[[Any, Any], Any]) -> Figure:
    """Gradients of some weights: by such a backward of the ReLUs, beside what a small change does to the loss."""

    def right(grad_y: Any, x: Any) -> Any:
        return grad_y * (x > 0)

    checked(kind, Case(relus(right)), Case(relus(wrong)))
    figure, axes = panels(2, ("healthy: the same", title), sharex=True, sharey=True)
    x, y, loss, eps = X[:64], Y[:64], nn.CrossEntropyLoss(), 1e-3
    places = [(i, 20 + i % 24) for i in range(32)] + [(i, 44 - i % 24) for i in range(32)]
    for ax, backward, colour in zip(axes, (right, wrong), (BLUE, ORANGE), strict=True):
        model = relus(backward)
        logits, back = model.forward(x)
        back(loss.forward(logits, y)[1](), need_x=False)
        weight, numbers = model[1].weight, []
        for place in places:
            kept, ends = weight.value[place], []
            for step in (eps, -eps):
                weight.value[place] = kept + step
                ends.append(float(loss(model(x), y)))
            weight.value[place] = kept
            numbers.append((ends[0] - ends[1]) / (2 * eps))
        ax.axline((0, 0), slope=1, color=GREY, linewidth=1)
        ax.plot(numbers, [weight.grad[place] for place in places], "o", color=colour, markersize=4)
        ax.set(xlabel="gradient, measured", ylabel="by backward")
    return figure


@picture
def backward_zero(kind: str) -> Figure:
    return measured_gradients(kind, "a derivative that is always 0", lambda grad_y, x: 0 * grad_y)


@picture
def wrong_gradient(kind: str) -> Figure:
    return measured_gradients(kind, "the activation's derivative left out", lambda grad_y, x: grad_y * 1)


@picture
def examples_mixed(kind: str) -> Figure:
    model = mlp(64, 32, 32, 10)
    mixing = Slip(lambda x: x - x.mean(0), lambda grad_y, x: grad_y - grad_y.mean(0))
    ok, bad = checked(kind, Case(model), Case(nn.Sequential(*model[:3], mixing, *mlp(64, 32, 32, 10)[3:])))
    figure, ax = panels(1)
    for case, colour, name in ((ok, BLUE, "healthy"), (bad, ORANGE, "examples mixed")):
        model = trained_model(case, 200)
        said = [float(model(np.concatenate([X[:1], X[i : i + 3]]))[0, int(Y[0])]) for i in range(1, 41)]
        ax.plot(range(1, 41), said, "o-", color=colour, label=name, markersize=4, linewidth=1)
    ax.set(title="An image's output, with other images beside it", xlabel="batch", ylabel="output")
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@picture
def no_activation(kind: str) -> Figure:
    even = Y % 2
    ok, bad = checked(kind, Case(mlp(64, 32, 32, 2), y=even), Case(mlp(64, 32, 32, 2, activation=nn.Identity), y=even))
    figure, _ = curves(
        "Is a digit even? Linear layers alone draw one straight line",
        {"with ReLU": (smooth(losses(ok, 1500), 31), BLUE), "without": (smooth(losses(bad, 1500), 31), ORANGE)},
        level=("a guess", float(np.log(2))),
    )  # fmt: skip
    return figure


@picture
def bottleneck(kind: str) -> Figure:
    ok, bad = checked(kind, Case(mlp(64, 32, 10)), Case(mlp(64, 32, 1, 10)))
    figure, _ = curves(
        "Ten classes cannot be told from one number",
        {"32 numbers": (smooth(losses(ok, 800)), BLUE), "one number": (smooth(losses(bad, 800)), ORANGE)},
        level=("a guess", GUESS),
    )
    return figure


@picture
def dropout_rate(kind: str) -> Figure:
    def network(p: float) -> nn.Layer:
        model = mlp(64, 64, 10)
        return nn.Sequential(*model[:3], nn.Dropout(p), model[3])

    ok, bad = checked(kind, Case(network(0.2)), Case(network(0.95)))
    figure, _ = curves(
        "p is what dropout takes away: one unit in twenty is left",
        {"p=0.2": (smooth(losses(ok, 600)), BLUE), "p=0.95": (smooth(losses(bad, 600)), ORANGE)},
        level=("a guess", GUESS),
    )
    return figure


# The weights


@picture
def zero_weights(kind: str) -> Figure:
    ok, bad = checked(kind, Case(mlp(64, 32, 10)), Case(mlp(64, 32, 10, draw=nn.init.zeros)))
    figure, _ = curves(
        "Zeros hand no gradient back, and stay zeros",
        {"random weights": (smooth(losses(ok, 400)), BLUE), "zeros": (smooth(losses(bad, 400)), ORANGE)},
        level=("a guess", GUESS),
    )
    return figure


@picture
def identical_filters(kind: str) -> Figure:
    def same(p: Any) -> None:
        nn.init.constant(p, 0.05)

    ok, bad = checked(kind, Case(mlp(64, 8, 10)), Case(mlp(64, 8, 10, draw=same)))
    figure = blank()
    titles = ("healthy: each unit its own", "started alike: one unit, eight times")
    for part, case, title in zip(figure.subfigures(1, 2), (ok, bad), titles, strict=True):
        weight = trained_model(case, 400)[1].weight.value.reshape(8, 8, 8)
        part.suptitle(title, fontsize=10)
        for ax, unit in zip(part.subplots(2, 4).ravel(), weight, strict=True):
            ax.imshow(unit, cmap="PuOr", vmin=-abs(weight).max(), vmax=abs(weight).max())
            bare(ax)
    return figure


@picture
def positive_weights(kind: str) -> Figure:
    ok = Case(mlp(64, 32, 32, 10, activation=nn.Sigmoid, draw=nn.init.xavier_uniform))
    bad = Case(mlp(64, 32, 32, 10, activation=nn.Sigmoid, draw=lambda p: nn.init.uniform(p, 0, 1)))
    sums = [first_step(case)["3"].y for case in checked(kind, ok, bad)]
    figure = two_histograms(
        ("weights of both signs: sums around 0", "weights in 0..1: every sum is large"), sums,
        "sums in the second layer, before the sigmoid",
    )  # fmt: skip
    for ax in figure.axes:
        ax.axvspan(-5, 5, color="#dddddd", zorder=0)
    figure.axes[1].text(-4.6, 0.97 * figure.axes[1].get_ylim()[1], "where a\nsigmoid\nbends", va="top", color=GREY)
    return figure


@picture
def weight_scale(kind: str) -> Figure:
    sizes = [64, *[48] * 6, 10]
    cases = checked(
        kind, Case(mlp(*sizes)), Case(mlp(*sizes, draw=lambda p: nn.init.uniform(p, -1e-4, 1e-4))),
        Case(mlp(*sizes, draw=nn.init.normal)),
    )  # fmt: skip
    small, large = (output_sizes(case) for case in cases[1:])
    return sizes_by_layer(
        "The size of what goes through the network", "outputs",
        {"spread of 1": (large, "#e69f00"), "He's scale": (output_sizes(cases[0]), BLUE), "±1e-4": (small, ORANGE)},
    )  # fmt: skip


@picture
def large_bias(kind: str) -> Figure:
    model = mlp(64, 32, 10)
    nn.init.constant(model[1].bias, -10)
    sums = [first_step(case)["1"].y for case in checked(kind, Case(mlp(64, 32, 10)), Case(model))]
    return two_histograms(
        ("biases of 0: some sums are positive", "biases of -10: none ever is"),
        sums,
        "sums before the ReLU",
    )


# The scale of the data


@picture
def input_scale(kind: str) -> Figure:
    ok, bad = checked(kind, Case(mlp(64, 32, 32, 10)), Case(mlp(64, 32, 32, 10), x=X * 255))
    figure, ax = curves(
        "The same network and learning rate, other units of brightness",
        {"inputs 0..1": (losses(ok, 150), BLUE), "inputs 0..255": (losses(bad, 150), ORANGE)},
        log=True, level=("a guess", GUESS), width=1.4,
    )  # fmt: skip
    ax.set_ylim(0.1, 1000)
    return figure


@picture
def feature_scales(kind: str) -> Figure:
    columns = X[:, 0, 2, 1:7].reshape(len(X), -1).copy()
    healthy = (columns - columns.mean(0)) / np.maximum(columns.std(0), 1e-3)
    faulty = healthy.copy()
    faulty[:, 4] = 2000 + 800 * healthy[:, 4]
    cases = checked(kind, Case(mlp(6, 32, 10), x=healthy), Case(mlp(6, 32, 10), x=faulty))
    figure, axes = panels(2, ("columns of one size", "one column in thousands decides all"))
    for ax, case, colour in zip(axes, cases, (BLUE, ORANGE), strict=True):
        call = first_step(case)["1"]
        shares = np.abs(call.x[:, None] * call.layer.weight.value).mean((0, 1))
        ax.bar(range(1, 7), shares / shares.sum(), color=colour)
        ax.set(xlabel="column", ylabel="share in the sums", ylim=(0, 1), xticks=range(1, 7))
    return figure


@picture
def target_scale(kind: str) -> Figure:
    quantity = X[:, 0, 2:5].sum((1, 2))[:, None]
    wanted = (quantity - quantity.mean()) / quantity.std()
    ok, bad = checked(
        kind, Case(mlp(64, 32, 1), nn.MSELoss(), 0.02, y=wanted),
        Case(mlp(64, 32, 1), nn.MSELoss(), 0.02, y=500 + 200 * wanted),
    )  # fmt: skip
    figure, _ = curves(
        "Loss beside the spread of the targets: the first steps throw it off",
        {"targets near 1": (losses(ok, 120), BLUE), "in the hundreds": (np.array(losses(bad, 120)) / 200**2, ORANGE)},
        "loss / spread²", log=True, level=("always the mean", 1.0),
    )  # fmt: skip
    return figure


@picture
def fan_from_image(kind: str) -> Figure:
    large = np.kron(X[:1500], np.ones((1, 1, 4, 4), np.float32))

    def network(from_image: bool) -> nn.Layer:
        cconv.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 5), nn.Sigmoid(), nn.Conv2d(6, 6, 5), nn.Sigmoid(), nn.Conv2d(6, 6, 5), nn.Sigmoid(),
            nn.Flatten(), nn.Linear(6 * 20 * 20, 10))  # fmt: skip
        for i, pixels in ((0, 32**2 + 28**2), (2, 28**2 + 24**2), (4, 24**2 + 20**2)):
            weight = model[i].weight
            if from_image:
                bound = float(np.sqrt(6 / pixels))
                nn.init.uniform(weight, -bound, bound)
            else:
                nn.init.xavier_uniform(weight)
        return model

    ok, bad = checked(kind, Case(network(False), x=large, y=Y[:1500]), Case(network(True), x=large, y=Y[:1500]))

    def spread(case: Experiment) -> dict[str, float]:
        calls = first_step(case).items()
        return {path: float(call.y.std(0).mean()) for path, call in calls if isinstance(call.layer, nn.Sigmoid)}

    return sizes_by_layer(
        "What is left of the differences between examples", "spread of outputs",
        {"fan of the filter": (spread(ok), BLUE), "fan of the image": (spread(bad), ORANGE)},
    )  # fmt: skip


@picture
def learning_rate(kind: str) -> Figure:
    cases = checked(
        kind, Case(mlp(64, 32, 32, 10)), Case(mlp(64, 32, 32, 10), lr=1e-8), Case(mlp(64, 32, 32, 10), lr=30)
    )
    right, low, high = (losses(case, 200) for case in cases)
    figure, ax = curves(
        "Too low a learning rate learns nothing, too high a one destroys the weights",
        {"too high: 30": (high, ORANGE), "too low: 1e-8": (low, "#e69f00"), "right: 0.1": (right, BLUE)},
        log=True, level=("a guess", GUESS), width=1.4,
    )  # fmt: skip
    ax.set_ylim(0.08, 300)
    return figure


# What is seen


@picture
def input_ignored(kind: str) -> Figure:
    deaf = Slip(lambda x: np.ones_like(x), lambda grad_y, x: 0 * grad_y)
    bad = nn.Sequential(*mlp(64, 32, 10)[:2], deaf, mlp(64, 32, 10)[3])
    return outputs_of_thirty(
        checked(kind, Case(mlp(64, 32, 10)), Case(bad)), "faulty: a layer that does not use its input"
    )


@picture
def not_finite(kind: str) -> Figure:
    ok, bad = fitted(kind, 1, *(Case(mlp(64, 32, 32, 10, activation=nn.LeakyReLU), lr=lr) for lr in (0.1, 4.0)))
    lost = losses(bad, 40)
    figure, ax = curves(
        f"The loss grows until it is {lost[-1]}, and every weight would be after it",
        {"learning rate 0.1": (losses(ok, 40), BLUE), "learning rate 4": (lost[:-1], ORANGE)},
        log=True, level=("a guess", GUESS),
    )  # fmt: skip
    ax.plot(len(lost) - 2, lost[-2], "X", color=ORANGE, markersize=9)
    ax.text(len(lost) - 1.2, lost[-2], str(lost[-1]), color=ORANGE, va="center")
    return figure


@picture
def exploding_gradient(kind: str) -> Figure:
    sizes = [64, *[48] * 6, 10]
    ok, bad = checked(kind, Case(mlp(*sizes)), Case(mlp(*sizes, draw=lambda p: nn.init.normal(p, 0, 2))))

    def ratios(case: Experiment) -> dict[str, float]:
        with case.started(1) as setting:
            named = {n: p for n, p in setting.model.named_parameters() if p.value.ndim > 1}
            before = {n: rms(p.value) for n, p in named.items()}
            list(descent(setting.model, setting.loss, setting.optimizer, setting.batches))
            return {n: rms(p.grad) / before[n] for n, p in named.items()}

    return sizes_by_layer(
        "Gradients beside the weights that they are to change", "gradient / weight",
        {"weights too large": (ratios(bad), ORANGE), "healthy": (ratios(ok), BLUE)}, level=("30: too much", 30),
    )  # fmt: skip


@picture
def saturated(kind: str) -> Figure:
    ok = Case(mlp(64, 32, 32, 10, activation=nn.Sigmoid, draw=nn.init.xavier_uniform), lr=1.0)
    bad = Case(mlp(64, 32, 32, 10, activation=nn.Sigmoid, draw=lambda p: nn.init.normal(p, 0, 4)), lr=1.0)
    pair = [layer_series(case, 200, "4") for case in checked(kind, ok, bad)]
    return two_heat_maps(("healthy: values in between", "saturated: all at the ends"), pair, "sigmoid's outputs")


@picture
def dead_units(kind: str) -> Figure:
    trainers = fitted(kind, 2, Case(mlp(64, 24, 24, 10), lr=0.03), Case(mlp(64, 24, 24, 10), lr=1.5))

    def silent(case: Experiment, steps: int = 120, every: int = 4) -> np.ndarray:
        rows = []
        with case.started(steps) as setting:
            for i, batch in enumerate(setting.batches):
                list(descent(setting.model, setting.loss, setting.optimizer, [batch]))
                if i % every == 0:
                    rows.append((setting.model.activations(X[:512], "4") > 0).any(0))
        return ~np.array(rows).T

    images = [silent(experiment(trainer.report)) for trainer in trainers]
    return two_images(
        ("healthy: nearly all fire for some example", "faulty: black units fire for none"), images, "step", "unit",
        "Greys", vmin=0, vmax=1, extent=(0, 120, 24, 0),
    )  # fmt: skip


@picture
def vanishing_signal(kind: str) -> Figure:
    sizes = [64, *[48] * 6, 10]
    ok, bad = checked(kind, Case(mlp(*sizes)), Case(mlp(*sizes, draw=lambda p: nn.init.normal(p, 0, 1e-3))))
    return sizes_by_layer(
        "Each layer takes a part of the signal away", "outputs",
        {"healthy": (output_sizes(ok), BLUE), "weights of 1e-3": (output_sizes(bad), ORANGE)},
    )  # fmt: skip


def outputs_of_thirty(cases: Sequence[Experiment], title: str) -> Figure:
    images = []
    for case in cases:
        outputs = trained_model(case, 150)(TEST.x[:30]).T
        images.append((outputs - outputs.min()) / (outputs.max() - outputs.min()))
    return two_images(("healthy: each example has its own answer", title), images, "example", "output")


@picture
def constant_output(kind: str) -> Figure:
    bad = Case(mlp(64, 32, 32, 10, activation=nn.Sigmoid, draw=lambda p: nn.init.uniform(p, 0, 1)))
    return outputs_of_thirty(checked(kind, Case(mlp(64, 32, 32, 10)), bad), "faulty: the same answer for all 30")


@picture
def vanishing_gradient(kind: str) -> Figure:
    sizes = [64, *[32] * 9, 10]
    ok = Case(mlp(*sizes))
    bad = Case(mlp(*sizes, activation=nn.Sigmoid, draw=nn.init.xavier_uniform))
    cases = checked(kind, ok, bad)
    return sizes_by_layer(
        "From the loss, on the right, back to the first layer", "gradient",
        {"ReLU, He's scale": (gradient_sizes(cases[0]), BLUE), "sigmoids": (gradient_sizes(cases[1]), ORANGE)},
    )  # fmt: skip


@picture
def zero_gradient(kind: str) -> Figure:
    model = mlp(64, 32, 32, 10)
    nn.init.constant(model[3].bias, -100)
    cases = checked(kind, Case(mlp(64, 32, 32, 10)), Case(model))
    figure, axes = panels(2, ("healthy: sizes of a layer's gradients", "dead layers above: they are exactly 0"))
    for ax, case, colour in zip(axes, cases, (BLUE, ORANGE), strict=True):
        draw_histograms(ax, layer_series(case, 100, "1").gradients, MAPS[colour])
        ax.tick_params(labelsize=9)
        ax.set(xlabel="step", ylabel="size (grey: zeros)")
    return figure


@picture
def initial_loss(kind: str) -> Figure:
    model = mlp(64, 32, 10)
    model[3].weight.value *= 20
    ok, bad = checked(kind, Case(mlp(64, 32, 10)), Case(model))
    figure, _ = curves(
        "Who knows nothing should be as good as a guess: ln(10) = 2.3",
        {"healthy": (losses(ok, 150), BLUE), "last weights × 20": (losses(bad, 150), ORANGE)},
        log=True, level=("a guess", GUESS), width=1.4,
    )  # fmt: skip
    return figure


# During training


def weight_sizes(case: cconv.Trainer, steps: int) -> list[float]:
    with experiment(case.report).started(steps) as setting:
        sizes = []
        for batch in setting.batches:
            weights = [p.value.ravel() for p in setting.model.parameters() if p.value.ndim > 1]
            sizes.append(rms(np.concatenate(weights)))
            list(descent(setting.model, setting.loss, setting.optimizer, [batch]))
        return sizes


@picture
def weight_decay(kind: str) -> Figure:
    model = mlp(64, 32, 10)
    method = optim.SGD(model.parameters(), lr=0.1, weight_decay=1.0)
    ok, bad = fitted(kind, 2, Case(mlp(64, 32, 10)), Case(model, optimizer=method))
    figure, _ = curves(
        "The decay takes the weights away faster than they learn",
        {"no decay": (weight_sizes(ok, 200), BLUE), "weight_decay=1": (weight_sizes(bad, 200), ORANGE)},
        "size of the weights", log=True,
    )  # fmt: skip
    return figure


@picture
def diverging_weights(kind: str) -> Figure:
    cases = []
    for lr in (0.003, 1.0):
        model = mlp(64, 200, 10, activation=nn.LeakyReLU)
        cases.append(Case(model, optimizer=optim.Adam(model.parameters(), lr=lr)))
    ok, bad = fitted(kind, 3, *cases)
    figure, _ = curves(
        "Weights that grow and grow",
        {"learning rate 1": (weight_sizes(bad, 360), ORANGE), "learning rate 0.003": (weight_sizes(ok, 360), BLUE)},
        "size of the weights",
    )  # fmt: skip
    return figure


@picture
def diverging_loss(kind: str) -> Figure:
    ok, bad = fitted(kind, 2, *(Case(mlp(64, 32, 32, 10, activation=nn.Tanh), lr=lr) for lr in (0.1, 1.5)))
    figure, _ = curves(
        "A loss above that of a guess, and no way back",
        {"learning rate 0.1": (losses(ok, 200), BLUE), "learning rate 1.5": (losses(bad, 200), ORANGE)},
        log=True, level=("a guess", GUESS), width=1.4,
    )  # fmt: skip
    return figure


@picture
def oscillating_loss(kind: str) -> Figure:
    cases = []
    for lr in (0.003, 0.3):
        model = mlp(64, 200, 10, activation=nn.LeakyReLU)
        cases.append(Case(model, optimizer=optim.Adam(model.parameters(), lr=lr)))
    ok, bad = fitted(kind, 3, *cases)
    figure, ax = curves(
        "Good steps, and again and again one worse than a guess",
        {"learning rate 0.003": (losses(ok, 360), BLUE), "learning rate 0.3": (losses(bad, 360), ORANGE)},
        level=("a guess", GUESS), width=1.0,
    )  # fmt: skip
    ax.set_ylim(0, 12)
    return figure


@picture
def stalled_loss(kind: str) -> Figure:
    shuffled = np.random.default_rng(0).permutation(Y)
    ok, bad = fitted(kind, 3, Case(mlp(64, 32, 10)), Case(mlp(64, 32, 10), y=shuffled))
    figure, _ = curves(
        "What cannot be learned: labels that were shuffled against the images",
        {"healthy": (smooth(losses(ok, 350)), BLUE), "shuffled labels": (smooth(losses(bad, 350)), ORANGE)},
        level=("a guess", GUESS),
    )
    return figure


@picture
def overfitting(kind: str) -> Figure:
    few = slice(0, 60)
    noisy = np.where(np.random.default_rng(0).random(len(Y)) < 0.2, np.random.default_rng(1).integers(0, 10, len(Y)), Y)
    ok, bad = mlp(64, 200, 10), mlp(64, 200, 10)
    trainers = [
        fitted_one(Case(model, x=x, y=y, optimizer=optim.Adam(model.parameters(), lr=lr), validation=TEST), epochs)
        for model, x, y, lr, epochs in ((ok, X, Y, 1e-3, 12), (bad, X[few], noisy[few], 3e-3, 120))
    ]
    told_apart(kind, [trainers[0].report], [trainers[1].report])
    figure, axes = panels(2, ("healthy: both fall", "60 examples: val_loss turns, loss falls on"))
    for ax, trainer, colour in zip(axes, trainers, (BLUE, ORANGE), strict=True):
        epochs = range(1, len(trainer.history) + 1)
        ax.plot(epochs, [r["val_loss"] for r in trainer.history], color=colour, label="val_loss")
        ax.plot(epochs, [r["loss"] for r in trainer.history], color=colour, linestyle=":", label="loss")
        ax.set(xlabel="epoch", ylim=(0, None))
        ax.legend()
    return figure


def fitted_one(case: Case, epochs: int) -> cconv.Trainer:
    cconv.manual_seed(0)
    trainer = cconv.Trainer(case.model, case.objective, case.method, seed=0, progress=False)
    trainer.fit((case.x, case.y), epochs, validation=case.validation)
    return trainer


@picture
def validation_inputs(kind: str) -> Figure:
    mean, std = X.mean(), X.std()
    normed = (X - mean) / std
    fitted(
        kind, 1, Case(mlp(64, 32, 10), x=normed, validation=((TEST.x - mean) / std, TEST.y)),
        Case(mlp(64, 32, 10), x=normed, validation=(TEST.x * 16, TEST.y)),
    )  # fmt: skip
    figure, axes = panels(2, ("prepared alike", "training normalised, validation not"), sharey=True)
    for ax, held, colour in zip(axes, ((TEST.x - mean) / std, TEST.x * 16), (BLUE, ORANGE), strict=True):
        bins = np.linspace(-1, 17, 37)
        solid, outline = {"color": GREY, "alpha": 0.5}, {"color": colour, "histtype": "step", "linewidth": 2}
        for x, name, how in ((normed, "training", solid), (held, "validation", outline)):
            ax.hist(x.ravel(), bins, weights=np.full(x.size, 1 / x.size), label=name, **how)
        ax.set(xlabel="pixel", ylabel="share of pixels")
        ax.legend(loc="upper right")
    return figure


@picture
def validation_targets(kind: str) -> Figure:
    order = np.argsort(Y, kind="stable")
    x, y = X[order], Y[order]
    cut = int(0.7 * len(y))
    train, held = data.split(data.Dataset(X, Y), 0.7, stratified=True, rng=0)
    ok = Case(mlp(64, 32, 10), x=train.x, y=train.y, validation=held)
    fitted(kind, 1, ok, Case(mlp(64, 32, 10), x=x[:cut], y=y[:cut], validation=(x[cut:], y[cut:])))
    figure, axes = panels(2, ("drawn at random", "the last 30 % of sorted data"), sharey=True)
    for ax, parts, colour in zip(axes, ((train.y, held.y), (y[:cut], y[cut:])), (BLUE, ORANGE), strict=True):
        for labels, name, shift, shade in zip(
            parts, ("training", "validation"), (-0.2, 0.2), (GREY, colour), strict=True
        ):
            shares = np.bincount(labels, minlength=10) / len(labels)
            ax.bar(np.arange(10) + shift, shares, 0.4, color=shade, label=name)
        ax.set(xlabel="class", ylabel="share", xticks=range(10))
        ax.legend()
    return figure


@picture
def validation_leak(kind: str) -> Figure:
    few, others = slice(0, 100), slice(0, 100)
    models = [mlp(64, 100, 10), mlp(64, 100, 10)]
    held = [(X[1000:1100], Y[1000:1100]), (X[others], Y[others])]
    cases = [
        Case(m, x=X[few], y=Y[few], optimizer=optim.Adam(m.parameters(), lr=3e-3), validation=v)
        for m, v in zip(models, held, strict=True)
    ]
    ok, bad = fitted(kind, 30, *cases)
    figure, _ = curves(
        "Learned by heart: examples that were trained on say nothing about new ones",
        {
            "new examples": ([r["val_accuracy"] for r in ok.history], BLUE),
            "leaked ones": ([r["val_accuracy"] for r in bad.history], ORANGE),
        },
        "val_accuracy", "epoch", at=range(1, 31),
    )  # fmt: skip
    return figure


@picture
def cannot_overfit(kind: str) -> Figure:
    model = nn.Sequential(*mlp(64, 32, 32, 10), Slip(lambda x: x, lambda grad_y, x: 0 * grad_y + grad_y.mean(0)))
    cases = checked(kind, Case(mlp(64, 32, 32, 10)), Case(model))
    x, y = X[:16], Y[:16]
    shares = np.bincount(y)[np.unique(y)] / 16
    runs = []
    for case in cases:
        fixed = Experiment(case.model, case.loss, optim.Adam(case.model.parameters(), lr=1e-2), lambda n: [(x, y)] * n)
        runs.append(losses(fixed, 200))
    figure, _ = curves(
        "The loss of 16 examples, over and over",
        {"healthy": (runs[0], BLUE), "something is broken": (runs[1], ORANGE)},
        level=("always the same", float(-(shares * np.log(shares)).sum())),
    )
    return figure


# Worth knowing


@picture
def class_imbalance(kind: str) -> Figure:
    rare = np.flatnonzero((Y == 1) | (np.arange(len(Y)) % 60 == 0))
    model = mlp(64, 32, 10)
    ok, bad = checked(kind, Case(mlp(64, 32, 10)), Case(model, x=X[rare], y=Y[rare]))
    figure, axes = panels(2, ("classes of one size", "one class is nearly all of the data"), sharey=True)
    for ax, case, y, colour in zip(axes, (ok, bad), (Y, Y[rare]), (BLUE, ORANGE), strict=True):
        said = trained_model(case, 100)(TEST.x).argmax(1)
        right = [float((said[TEST.y == label] == label).mean()) for label in range(10)]
        ax.bar(np.arange(10) - 0.2, np.bincount(y, minlength=10) / len(y), 0.4, color=GREY, label="share of the data")
        ax.bar(np.arange(10) + 0.2, right, 0.4, color=colour, label="recognised, of 1")
        ax.set(xlabel="class", xticks=range(10), yticks=(0, 0.5, 1), ylim=(0, 1.35))
        ax.legend(loc="upper center", ncols=2, columnspacing=1, handlelength=1)
    return figure


@picture
def input_offset(kind: str) -> Figure:
    centred = (X - X.mean()) / X.std()
    cases = checked(kind, Case(mlp(64, 32, 10), x=centred), Case(mlp(64, 32, 10), x=centred * 0.3 + 3))
    sums = [first_step(case)["1"].y for case in cases]
    units = [float(((y > 0).all(0) | (y <= 0).all(0)).mean()) for y in sums]
    return two_histograms(
        (f"inputs around 0: {units[0]:.0%} of units always on or off", f"inputs around 3: {units[1]:.0%} of them"),
        sums, "sums before the ReLU",
    )  # fmt: skip


@picture
def contradicting_labels(kind: str) -> Figure:
    twice, labels = np.concatenate([X[:800], X[:800]]), np.concatenate([Y[:800], (Y[:800] + 3) % 10])
    checked(kind, Case(mlp(64, 32, 10)), Case(mlp(64, 32, 10), x=twice, y=labels))
    figure = blank()
    figure.suptitle("the same images twice, with two answers", fontsize=10)
    for row, ax in enumerate(figure.subplots(2, 8).ravel()):
        ax.imshow(twice[row % 8 + 800 * (row // 8), 0], cmap="Greys")
        bare(ax)
        ax.set_title(f"is {labels[row % 8 + 800 * (row // 8)]}", color=(BLUE, ORANGE)[row // 8], loc="center")
    return figure


# All of them


@picture
def report_plot(kind: str) -> Any:
    """No kind: what `Report.plot` draws."""
    model = mlp(64, 32, 32, 10, activation=nn.Sigmoid, draw=lambda p: nn.init.uniform(p, 0, 1))
    nn.init.xavier_uniform(model[5].weight)
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        return cconv.check(model, X, Y, nn.CrossEntropyLoss(), optimizer=optim.SGD(model.parameters(), lr=0.1)).plot()


def save(figure: Any, path: Path) -> int:
    """As a PNG with a palette; its size in bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    image = Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    return path.stat().st_size


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of doctor.md.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="all, where none is named")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.kinds if name not in PICTURES]:
        parser.error(f"no picture of {', '.join(unknown)}; there are {', '.join(PICTURES)}")
    given.folder.mkdir(parents=True, exist_ok=True)
    # Which steps a monitor looks at is a matter of time, and here must not be.
    with matplotlib.rc_context(STYLE), mock.patch.object(monitor, "CREDIT", 100.0):
        for name in given.kinds or PICTURES:
            size = save(PICTURES[name](name), given.folder / f"{name}.png")
            print(f"{name:24} {size / 1000:5.1f} kB")


if __name__ == "__main__":
    main()
