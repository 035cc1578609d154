"""Augmentation of batches of MNIST's and CIFAR-10's sizes, against PyTorch in turns.

``python benchmarks/augmentation.py``. PyTorch's side is made of its own operations, each image with parameters of its
own: ``affine_grid`` and ``grid_sample``, and padding and indexing for crops and flips. Both draw them in each call.
"""

from __future__ import annotations

import argparse

import numpy as np
from measure import Peer, machine, turns, write

from cconv import data

SHAPES = {"MNIST": (128, 1, 28, 28), "CIFAR-10": (128, 3, 32, 32)}
AFFINE = data.RandomAffine(10, (0.1, 0.1), (0.9, 1.1))
# Ours, and the name of PyTorch's in peer.augmentation (None: it has nothing of the kind for a batch).
CASES = {
    "crop and flip": (lambda size: data.Compose([data.RandomCrop(size, 4), data.RandomHorizontalFlip()]), "crop"),
    "affine": (lambda size: AFFINE, "affine"),
    "crop, flip and affine, in one": (
        lambda size: data.Compose([data.RandomCrop(size, 4), data.RandomHorizontalFlip(), AFFINE]),
        "crop and affine",
    ),
    "elastic": (lambda size: data.ElasticTransform(30, 4), "elastic"),
    "erasing": (lambda size: data.RandomErasing(), None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    peer = Peer()
    about = machine(peer)
    print(about, "\n")
    print(f"{'images':9} {'operation':30} {'cconv/s':>10} {'PyTorch/s':>10} {'ratio':>6}")
    rng, rows = np.random.default_rng(0), []
    for images, shape in SHAPES.items():
        x = rng.random(shape, np.float32)
        for name, (make, theirs) in CASES.items():
            transform = make(shape[2])
            peer.ask("augmentation", (theirs or "crop", x))
            seconds = turns(lambda t=transform, x=x: t(x, rng), peer, options.rounds)
            row = {"images": images, "operation": name, "per_second": len(x) / seconds[0]}
            row |= {"peer_per_second": len(x) / seconds[1], "ratio": seconds[1] / seconds[0]} if theirs else {}
            rows.append(row)
            figures = f"{row['peer_per_second']:10,.0f} {row['ratio']:6.2f}" if theirs else ""
            print(f"{images:9} {name:30} {row['per_second']:10,.0f} {figures}", flush=True)
    peer.close()
    write(options.json, {"machine": about, "rows": rows})


if __name__ == "__main__":
    main()
