"""Train ResNet-20 on Fashion-MNIST, padded to CIFAR-10's 32x32: at least 93 % of the test images right.

    python examples/fashion_resnet20.py                12 epochs

Crops, flips and erased boxes; SGD along one cycle of the learning rate; what is tested is a running average of the
weights.
"""

import argparse
import time

import numpy as np

import cconv
from cconv import data, models, nn, optim


def main():
    args = arguments()
    train, test = (padded(part) for part in data.fashion_mnist())
    augment = data.Compose(
        [data.RandomCrop(32, padding=2), data.RandomHorizontalFlip(), data.RandomErasing(0.25, scale=(0.02, 0.2))]
    )
    loader = data.Loader(train, args.batch_size, augment=augment, drop_last=True, seed=args.seed)
    model = models.resnet20(10, in_channels=1, rng=args.seed)
    optimizer = optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    trainer = cconv.Trainer(
        model,
        nn.CrossEntropyLoss(),
        optimizer,
        schedule=optim.OneCycleLR(optimizer, args.lr, args.epochs * len(loader), cycle_momentum=False),
        schedule_interval="step",
        ema=optim.EMA(model, 0.998, warmup=True),
        seed=args.seed,
    )
    trainer.fit(loader, args.epochs, validation=test)
    print(f"test accuracy {trainer.history['val_accuracy'][-1]:.2%}, CPU time {time.process_time():.0f} s")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1, help="the largest")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def padded(part):
    """Pictures of 32x32, with the training set's mean at 0 and its deviation at 1."""
    x = np.pad(part.x, [(0, 0), (0, 0), (2, 2), (2, 2)])
    return data.Dataset((x - 0.286) / 0.353, part.y, part.name, part.classes)


if __name__ == "__main__":
    main()
