"""Train LeNet-5 on small pictures, and show what it learned.

    python examples/lenet5.py                          scikit-learn's digits: nothing to download, seconds
    python examples/lenet5.py --data mnist             MNIST: at most 0.8 % test errors in 20 epochs
    python examples/lenet5.py --data fashion-mnist
    python examples/lenet5.py --data optdigits

Writes lenet5-<data>.png (learning curves, first-layer filters, confusion matrix) and lenet5-<data>.safetensors (the
weights) to --out. Needs the extra `examples`: pip install "cconv[examples]".
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import cconv
from cconv import data, models, nn, optim

# How each set is loaded, and for how many epochs it is trained on: a small one has fewer steps in an epoch.
SETS = {
    "digits": (data.digits, 40),
    "optdigits": (data.optdigits, 40),
    "mnist": (data.mnist, 20),
    "fashion-mnist": (data.fashion_mnist, 20),
}


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    load, epochs = SETS[args.data]
    epochs = epochs if args.epochs is None else args.epochs
    train, test = (as_28x28(part) for part in load())
    print(f"{train}\n{test}", flush=True)

    cconv.manual_seed(args.seed)  # fixes the initial weights; the Trainer's seed fixes the order of images
    model = models.lenet5()
    # Nesterov's momentum with a rate that falls along a cosine ends at fewer errors than Adam does on these sets.
    # Smaller batches have noisier gradients: with the full rate some runs would diverge.
    lr = 0.03 * min(1, args.batch_size / 32)
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = optim.CosineAnnealingLR(optimizer, epochs)
    trainer = cconv.Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=schedule, seed=args.seed)
    history = trainer.fit(train, epochs=epochs, batch_size=args.batch_size, validation=test)

    predicted = trainer.predict(test.x).argmax(1)
    wrong = np.count_nonzero(predicted != test.y)
    speed = np.median(history["images_per_second"])
    print(f"test accuracy {1 - wrong / len(test):.2%}: {wrong} of {len(test):,} images wrong")
    print(f"{speed:,.0f} images per second in training")

    weights = args.out / f"lenet5-{args.data}.safetensors"
    model.save(weights)
    picture = args.out / f"lenet5-{args.data}.png"
    draw(history, model, predicted, test, f"LeNet-5 on {args.data}").savefig(picture, dpi=120)
    print(f"weights: {weights}\npicture: {picture}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=SETS, default="digits")
    parser.add_argument("--epochs", type=int, help="default: 40 for the 8x8 digits, 20 for the larger sets")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for the picture and the weights")
    return parser.parse_args()


def as_28x28(part):
    """An 8x8 digit at LeNet-5's own size, each pixel as 3x3 within a border of 2: fewer errors than 8x8 as it is."""
    if part.x.shape[2:] == (28, 28):
        return part
    large = part.x.repeat(3, axis=2).repeat(3, axis=3)
    return data.Dataset(np.pad(large, [(0, 0), (0, 0), (2, 2), (2, 2)]), part.y, part.name, part.classes)


def draw(history, model, predicted, test, title):
    figure = Figure(figsize=(13, 8), layout="constrained")
    figure.suptitle(f"{title}: {np.mean(predicted == test.y):.2%} of {len(test):,} test images right", fontsize=14)
    left, right = figure.subfigures(1, 2, width_ratios=[5, 6])
    curves, filters = left.subfigures(2, 1, height_ratios=[4, 3])
    draw_curves(curves, history)
    draw_filters(filters, model.parameters()[0].value)
    draw_confusion(right, predicted, test)
    return figure


def draw_curves(figure, history):
    loss, error = figure.subplots(2, 1, sharex=True)
    for prefix, label in (("", "training"), ("val_", "test")):
        loss.plot(history["epoch"], history[f"{prefix}loss"], label=label)
        error.plot(history["epoch"], 100 * (1 - np.array(history[f"{prefix}accuracy"])), label=label)
    loss.set(ylabel="cross-entropy", yscale="log", title="Learning curves")
    # Logarithmic down to 1 % and linear below: the last tenths show, and so does 0.
    error.set_yscale("symlog", linthresh=1)
    error.set(xlabel="epoch", ylabel="errors (%)", ylim=(0, None))
    error.yaxis.set_major_formatter("{x:g}")
    error.xaxis.get_major_locator().set_params(integer=True)
    for axes in (loss, error):
        axes.grid(alpha=0.3)
        axes.legend()


def draw_filters(figure, weight):
    """Weights (6, 1, 5, 5); white is zero, so that edges and their direction stand out."""
    figure.suptitle("First-layer filters (red adds, blue subtracts)", fontsize=12)
    largest = np.abs(weight).max()
    axes = figure.subplots(2, len(weight) // 2)
    for i, (axis, kernel) in enumerate(zip(axes.flat, weight[:, 0], strict=True)):
        image = axis.imshow(kernel, cmap="RdBu_r", vmin=-largest, vmax=largest)
        axis.set(xticks=[], yticks=[], ylabel=f"filter {i}")
    figure.colorbar(image, ax=axes, label="weight")


def draw_confusion(figure, predicted, test):
    classes = len(test.classes)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (test.y, predicted), 1)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes = figure.subplots()
    # The root makes few errors among many right answers visible.
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if share[row, column] > 0.4 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=9)
    axes.set(title="Confusion matrix: test images", xlabel="predicted", ylabel="true")
    axes.set_xticks(range(classes), test.classes, rotation=45 if len(max(test.classes, key=len)) > 1 else 0)
    axes.set_yticks(range(classes), test.classes)


if __name__ == "__main__":
    main()
