"""Predictions a second, as trained and fused, against PyTorch in turns: ``python benchmarks/prediction.py``.

All sides hold the same network and predict for the same batch of random images: cconv ``model(x)`` and
``model.fuse()(x)``, PyTorch its module in eval mode, within ``torch.inference_mode()``.
"""

from __future__ import annotations

import argparse

import numpy as np
from measure import Peer, machine, turns, write
from training import CIFAR, LENET5, RESNET18, layer, network


def separable(before: int, channels: int, stride: int) -> list[tuple]:
    """A depthwise and a pointwise convolution, as MobileNet has them."""
    return [
        layer("Conv2d", before, before, 3, stride, padding=1, groups=before, bias=False),
        layer("BatchNorm2d", before), layer("ReLU"),
        layer("Conv2d", before, channels, 1, bias=False), layer("BatchNorm2d", channels), layer("ReLU"),
    ]  # fmt: skip


MOBILENET = [
    layer("Conv2d", 3, 32, 3, 2, padding=1, bias=False), layer("BatchNorm2d", 32), layer("ReLU"),
    *separable(32, 64, 1), *separable(64, 128, 2), *separable(128, 128, 1), *separable(128, 256, 2),
    *separable(256, 256, 1), *separable(256, 512, 2), *(part for _ in range(5) for part in separable(512, 512, 1)),
    *separable(512, 1024, 2), *separable(1024, 1024, 1),
    layer("AdaptiveAvgPool2d", 1), layer("Flatten"), layer("Linear", 1024, 10),
]  # fmt: skip

NETWORKS = {
    "lenet5": (LENET5, (1, 28, 28), [1, 64]),
    "cifar": (CIFAR, (3, 32, 32), [64]),
    "resnet18": (RESNET18, (3, 64, 64), [1, 8]),
    "mobilenet": (MOBILENET, (3, 128, 128), [1, 8]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    peer = Peer()
    about = machine(peer)
    print(about)
    rows = measure(options, peer)
    peer.close()
    write(options.json, {"machine": about, "rows": rows})


def measure(options: argparse.Namespace, peer: Peer) -> list[dict]:
    """A row for each network and batch: milliseconds a call, and the two ratios to PyTorch's."""
    print(f"{'network':10} {'batch':>5} {'PyTorch ms':>10} {'model ms':>9} {'ratio':>6} {'fused ms':>9} {'ratio':>6}")
    rows = []
    for name in options.networks:
        layers, image, batches = NETWORKS[name]
        model = network(layers)
        fused = model.fuse()
        weights = [parameter.value.copy() for parameter in model.parameters()]
        for batch in batches:
            x = np.random.default_rng(0).random((batch, *image), np.float32)
            peer.ask("prediction", (layers, weights, x))
            plain, theirs = turns(lambda: model(x), peer, options.rounds)  # noqa: B023
            melted, again = turns(lambda: fused(x), peer, options.rounds)  # noqa: B023
            row = {
                "network": name,
                "batch": batch,
                "pytorch": theirs,
                "model": plain,
                "fused": melted,
                "ratio": theirs / plain,
                "fused ratio": again / melted,
            }
            rows.append(row)
            print(
                f"{name:10} {batch:5} {1e3 * theirs:10.3f} {1e3 * plain:9.3f} {row['ratio']:6.2f} {1e3 * melted:9.3f} "
                f"{row['fused ratio']:6.2f}",
                flush=True,
            )
    return rows


if __name__ == "__main__":
    main()
