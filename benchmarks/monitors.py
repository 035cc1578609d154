"""What the doctor costs in training: ``python benchmarks/monitors.py [--networks lenet5 ...]``.

Training with and without it in turns. "share" is the time that its looks and judgements took over all of the call of
`fit`, summed in the process; "ratio" the time with it over that without, which a noisy machine moves by more than that.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

import cconv
from cconv import data, models, nn, optim


def made_up(n: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Images of ten classes that can be told apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, n)
    patterns = rng.random((10, *shape), np.float32)
    return patterns[y] + 0.3 * rng.random((n, *shape), np.float32), y


NETWORKS = {
    "lenet5": (lambda: models.lenet5(), lambda: data.mnist()[0], 64, 1),
    "lenet5 b1": (lambda: models.lenet5(), lambda: data.mnist()[0], 1, 1),
    "perceptron": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10)),
        lambda: data.mnist()[0],
        *(32, 2),
    ),
    "resnet20": (lambda: models.resnet20(10, 3), lambda: made_up(2048, (3, 32, 32)), 64, 1),
    "resnet18": (lambda: models.resnet18(10), lambda: made_up(160, (3, 112, 112)), 8, 1),
}


def run(name: str, doctor: bool) -> tuple[float, cconv.Trainer]:
    """Seconds of a call of `fit`."""
    build, given, batch_size, epochs = NETWORKS[name]
    cconv.manual_seed(0)
    model = build()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    trainer = cconv.Trainer(model, nn.CrossEntropyLoss(), optimizer, seed=0, progress=False, doctor=doctor)
    train = given()
    begun = time.perf_counter()
    trainer.fit(train, epochs, batch_size)
    return time.perf_counter() - begun, trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'network':<12} {'seconds':>8} {'looks':>6} {'share':>7} {'ratio':>6}  findings")
    for name in arguments.networks:
        took: dict[bool, list[float]] = {True: [], False: []}
        shares = []
        for _ in range(arguments.turns):
            for doctor in (True, False):
                seconds, trainer = run(name, doctor)
                took[doctor].append(seconds)
                if doctor:
                    monitor = trainer.monitor
                    shares.append(monitor.seconds / monitor.total)
                    looks, found = monitor.looks, len(trainer.report)
        with_it, without = (statistics.median(took[doctor]) for doctor in (True, False))
        share = statistics.median(shares)
        print(f"{name:<12} {without:8.2f} {looks:6} {share:7.2%} {with_it / without:6.3f}  {found}")


if __name__ == "__main__":
    main()
