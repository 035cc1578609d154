"""Train one network on MNIST to high accuracy: images warped at random, one learning-rate cycle, averaged weights.

    python examples/mnist_accuracy.py                       a CNN of six layers: at least 99.6 %
    python examples/mnist_accuracy.py --model lenet5        LeNet-5: at least 99.4 %

Nothing is chosen by the test images: the figure is that of the last epoch.
"""

import argparse
import time

import cconv
from cconv import data, models, nn, optim

MEAN, DEVIATION = 0.1307, 0.3081  # of the training images
BLACK = -MEAN / DEVIATION

RECIPES = {
    "cnn": {
        "epochs": 20,
        "lr": 0.15,
        "smoothing": 0.1,
        "augment": data.Compose(
            [
                data.RandomAffine(12, translate=(0.08, 0.08), scale=(0.88, 1.12), shear=8, fill=BLACK),
                data.ElasticTransform(alpha=25, sigma=4, fill=BLACK),
            ]
        ),
    },
    "lenet5": {
        "epochs": 30,
        "lr": 0.05,
        "smoothing": 0.0,
        "augment": data.RandomAffine(8, translate=(0.07, 0.07), scale=(0.92, 1.08), shear=5, fill=BLACK),
    },
}


def main():
    args = arguments()
    recipe = RECIPES[args.model]
    epochs = args.epochs or recipe["epochs"]
    train, test = (normalized(part) for part in data.mnist())
    cconv.manual_seed(args.seed)  # fixes the initial weights and the dropout
    model = cnn() if args.model == "cnn" else models.lenet5()
    optimizer = optim.SGD(model.parameters(), lr=recipe["lr"], momentum=0.9, nesterov=True, weight_decay=5e-4)
    loader = data.Loader(train, args.batch_size, augment=recipe["augment"], drop_last=True, seed=args.seed)
    trainer = cconv.Trainer(
        model,
        nn.CrossEntropyLoss(label_smoothing=recipe["smoothing"]),
        optimizer,
        schedule=optim.OneCycleLR(optimizer, recipe["lr"], epochs * len(loader), pct_start=0.2, cycle_momentum=False),
        schedule_interval="step",
        ema=optim.EMA(model, 0.999, warmup=True),
        seed=args.seed,
    )
    trainer.fit(loader, epochs, validation=test)
    seconds = sum(trainer.history["seconds"])
    right = trainer.history["val_accuracy"][-1]
    print(f"seed {args.seed}: test accuracy {right:.2%} after {seconds:.0f} s, CPU time {time.process_time():.0f} s")


def cnn():
    """16, 32, 48, 64 and 96 filters, each layer with batch normalisation, and a linear map: 110,938 parameters."""

    def conv(before, filters, size, *pooling):
        convolution = nn.Conv2d(before, filters, size, padding="same", bias=False)
        return convolution, *pooling, nn.BatchNorm2d(filters), nn.ReLU()

    return nn.Sequential(
        # Pooling comes before normalisation, which has then a quarter to do.
        *conv(1, 16, 5, nn.MaxPool2d(2)),
        *conv(16, 32, 3), *conv(32, 48, 3, nn.MaxPool2d(2)),
        *conv(48, 64, 3), *conv(64, 96, 3), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 3 * 3, 10),
    )  # fmt: skip


def normalized(part):
    return data.Dataset((part.x - MEAN) / DEVIATION, part.y, part.name, part.classes)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=RECIPES, default="cnn")
    parser.add_argument("--epochs", type=int, help="default: 20, and 30 for LeNet-5")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
