"""Training steps a second, against PyTorch in turns: ``python benchmarks/training.py [--batch 1 32 64 256]``.

Both sides hold the same network and weights, take the same batch of random images, and do what a training script does:
forward, loss, backward, optimiser step, gradients back to zero.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
from measure import Peer, machine, turns, write

from cconv import nn, optim

SGD = {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


def layer(name: str, *args, **options) -> tuple:
    return name, args, options


# Layers as both sides name them: (name, arguments, options).
LENET5 = [
    layer("Conv2d", 1, 6, 5, padding=2), layer("ReLU"), layer("MaxPool2d", 2),
    layer("Conv2d", 6, 16, 5), layer("ReLU"), layer("MaxPool2d", 2),
    layer("Flatten"), layer("Linear", 400, 120), layer("ReLU"), layer("Linear", 120, 84), layer("ReLU"),
    layer("Linear", 84, 10),
]  # fmt: skip

SIGMOID = [
    layer("Conv2d", 1, 20, 5), layer("Sigmoid"), layer("MaxPool2d", 2),
    layer("Conv2d", 20, 40, 5), layer("Sigmoid"), layer("MaxPool2d", 2),
    layer("Flatten"), layer("Linear", 640, 100), layer("Sigmoid"), layer("Linear", 100, 10),
]  # fmt: skip

CIFAR = [
    layer("Conv2d", 3, 32, 3, padding=1), layer("ReLU"), layer("Conv2d", 32, 32, 3, padding=1), layer("ReLU"),
    layer("MaxPool2d", 2),
    layer("Conv2d", 32, 64, 3, padding=1), layer("ReLU"), layer("Conv2d", 64, 64, 3, padding=1), layer("ReLU"),
    layer("MaxPool2d", 2),
    layer("Conv2d", 64, 128, 3, padding=1), layer("ReLU"), layer("Conv2d", 128, 128, 3, padding=1), layer("ReLU"),
    layer("MaxPool2d", 2),
    layer("Flatten"), layer("Linear", 2048, 10),
]  # fmt: skip


def basic_block(before: int, channels: int, stride: int) -> tuple:
    """As ResNet-18 has it: the layers of the body, then those of the shortcut."""
    conv = {"padding": 1, "bias": False}
    body = [
        layer("Conv2d", before, channels, 3, stride, **conv), layer("BatchNorm2d", channels), layer("ReLU"),
        layer("Conv2d", channels, channels, 3, **conv), layer("BatchNorm2d", channels),
    ]  # fmt: skip
    project = [layer("Conv2d", before, channels, 1, stride, bias=False), layer("BatchNorm2d", channels)]
    return layer("Residual", body, project if stride > 1 else None)


RESNET18 = [
    layer("Conv2d", 3, 64, 7, 2, padding=3, bias=False), layer("BatchNorm2d", 64), layer("ReLU"),
    layer("MaxPool2d", 3, 2, padding=1),
    basic_block(64, 64, 1), basic_block(64, 64, 1), basic_block(64, 128, 2), basic_block(128, 128, 1),
    basic_block(128, 256, 2), basic_block(256, 256, 1), basic_block(256, 512, 2), basic_block(512, 512, 1),
    layer("AdaptiveAvgPool2d", 1), layer("Flatten"), layer("Linear", 512, 10),
]  # fmt: skip

NETWORKS = {
    "lenet5": (LENET5, (1, 28, 28)),
    "sigmoid": (SIGMOID, (1, 28, 28)),
    "cifar": (CIFAR, (3, 32, 32)),
    "resnet18": (RESNET18, (3, 64, 64)),
}
# Of a network that is not measured at every batch.
BATCHES = {"resnet18": [8]}


def network(layers: list[tuple]) -> nn.Sequential:
    """Layers given as (name, arguments, options); those of Residual as two lists, added before a ReLU."""
    built = []
    for name, args, options in layers:
        if name == "Residual":
            body, shortcut = (part and network(part) for part in args)
            built.append(nn.Residual(body, shortcut, relu=True))
        else:
            built.append(getattr(nn, name)(*args, **options))
    return nn.Sequential(*built)


def step(name: str, batch: int) -> tuple[Callable[[], None], tuple]:
    """A training step of cconv, and what the peer needs to do the same."""
    layers, image = NETWORKS[name]
    rng = np.random.default_rng(0)
    x = rng.random((batch, *image), np.float32)
    y = rng.integers(0, 10, batch)
    model = network(layers)
    weights = [parameter.value.copy() for parameter in model.parameters()]
    criterion, optimizer = nn.CrossEntropyLoss(), optim.SGD(model.parameters(), **SGD)

    def run() -> None:
        logits, backward = model.forward(x)
        _, loss_backward = criterion.forward(logits, y)
        backward(loss_backward(), need_x=False)
        optimizer.step()
        optimizer.zero_grad()

    return run, (layers, weights, x, y, SGD)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--batch", nargs="+", type=int, help="1 32 64 256 by default, and 8 alone for resnet18")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--busy", action="store_true", help="beside a busy process on every core")
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    peer = Peer()
    about = machine(peer) + (", a busy process on every core" if options.busy else "")
    print(about)
    with contextlib.ExitStack() as stack:
        if options.busy:
            for core in os.sched_getaffinity(0):
                stack.enter_context(busy(core))
        rows = measure(options, peer)
    peer.close()
    write(options.json, {"machine": about, "rows": rows})


@contextlib.contextmanager
def busy(core: int) -> Iterator[None]:
    """A process that computes without end on one core."""
    code = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(options: argparse.Namespace, peer: Peer) -> list[dict]:
    """A row for each network and batch."""
    print(f"{'network':10} {'batch':>5} {'cconv images/s':>15} {'PyTorch images/s':>17} {'ratio':>6}")
    rows = []
    for name in options.networks:
        for batch in options.batch or BATCHES.get(name, [1, 32, 64, 256]):
            run, request = step(name, batch)
            peer.ask("training", request)
            ours, theirs = turns(run, peer, options.rounds)
            row = {
                "network": name,
                "batch": batch,
                "cconv": batch / ours,
                "pytorch": batch / theirs,
                "ratio": theirs / ours,
            }
            rows.append(row)
            print(f"{name:10} {batch:5} {row['cconv']:15,.0f} {row['pytorch']:17,.0f} {row['ratio']:6.2f}", flush=True)
    return rows


if __name__ == "__main__":
    main()
