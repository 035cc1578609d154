"""Memory of training steps, against PyTorch: ``python benchmarks/memory.py [--networks lenet5 ...] [--long]``.

Each figure comes from a process of its own, on Linux. A step is forward, loss, backward, SGD with momentum and weight
decay, gradients back to zero, as in training.py.

- peak: largest resident set over all steps, less that after import: what the network and its training take;
- growth: the same over the steps after the first, less the resident set after the first.

``--long`` runs 1,000 steps whose batches vary as a script's do (a smaller last one), then 1,000 of random sizes up to
the batch, and shows the growth over the first 100 of each kind and over all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

SGD = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
CASES = [("lenet5", 64), ("lenet5", 256), ("cifar", 64), ("cifar", 256), ("resnet18", 8), ("resnet20", 128)]
SIDES = ("cconv", "pytorch")
MB = 1 << 20


def resident(which: str = "VmRSS") -> int:
    """Bytes of this process in memory: now, or the most so far ("VmHWM")."""
    found = re.search(rf"^{which}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) << 10


def forget_peak() -> None:
    """Have VmHWM begin again from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def described(name: str) -> tuple[list[tuple], tuple[int, ...]]:
    """The layers of a network, as training.py writes them, and the shape of an image."""
    from training import NETWORKS, basic_block, layer

    if name != "resnet20":
        return NETWORKS[name]
    stem = [layer("Conv2d", 3, 16, 3, padding=1, bias=False), layer("BatchNorm2d", 16), layer("ReLU")]
    blocks, before = [], 16
    for channels in (16, 32, 64):
        for i in range(3):
            blocks.append(basic_block(before, channels, 2 if channels > 16 and i == 0 else 1))
            before = channels
    head = [layer("AdaptiveAvgPool2d", 1), layer("Flatten"), layer("Linear", 64, 10)]
    return [*stem, *blocks, *head], (3, 32, 32)


Step = Callable[[np.ndarray, np.ndarray], None]


def step_of_cconv(layers: list[tuple]) -> Step:
    """A training step on a batch."""
    from training import network

    from cconv import nn, optim

    model = network(layers)
    criterion, optimizer = nn.CrossEntropyLoss(), optim.SGD(model.parameters(), **SGD)

    def step(x: np.ndarray, y: np.ndarray) -> None:
        logits, backward = model.forward(x)
        _, loss_backward = criterion.forward(logits, y)
        backward(loss_backward(), need_x=False)
        optimizer.step()
        optimizer.zero_grad()

    return step


def step_of_pytorch(layers: list[tuple]) -> Step:
    """The same."""
    import torch
    from peer import network

    model = network(layers)
    criterion, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), **SGD)

    def step(x: np.ndarray, y: np.ndarray) -> None:
        criterion(model(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def sizes(kind: str, batch: int, steps: int) -> Iterator[int]:
    """How large each batch is."""
    rng = np.random.default_rng(1)
    for i in range(steps):
        if kind == "random":
            yield int(rng.integers(1, batch + 1))
        else:
            yield batch if kind == "equal" or i % 10 < 9 else batch // 3


def measure(side: str, name: str, batch: int, kind: str, steps: int) -> dict[str, float]:
    """Peaks in bytes, in this process."""
    layers, image = described(name)
    if side == "cconv":
        import cconv  # noqa: F401
    else:
        import peer  # noqa: F401
    rng = np.random.default_rng(0)
    x = rng.random((batch, *image), np.float32)
    y = rng.integers(0, 10, batch)
    imported = resident()
    step = {"cconv": step_of_cconv, "pytorch": step_of_pytorch}[side](layers)
    step(x, y)
    warm, peak = resident(), resident("VmHWM")
    forget_peak()
    early = 0
    for i, size in enumerate(sizes(kind, batch, steps)):
        step(x[:size], y[:size])
        if i == steps // 10:
            early = resident("VmHWM")
    later = resident("VmHWM")
    return {"peak": max(peak, later) - imported, "growth": later - warm, "early": early - warm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=sorted({name for name, _ in CASES}))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--long", action="store_true", help="1,000 steps of varying batches, of cconv")
    parser.add_argument("--json", help="write the rows to this file")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        side, name, batch, kind, steps = options.measure
        print(json.dumps(measure(side, name, int(batch), kind, int(steps))))
        return
    cases = [case for case in CASES if options.networks is None or case[0] in options.networks]
    rows = (long if options.long else compared)(cases, options.steps)
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1))


def compared(cases: list[tuple[str, int]], steps: int) -> list[dict]:
    """A row for each network and batch."""
    print(f"{'':20} {'peak, MB':>19} {'growth, MB':>19}")
    print(f"{'network':14} {'batch':>5} {'cconv':>9} {'PyTorch':>9} {'cconv':>9} {'PyTorch':>9}")
    rows = []
    for name, batch in cases:
        ours, theirs = (apart(side, name, batch, "equal", steps) for side in SIDES)
        rows.append({"network": name, "batch": batch, "cconv": ours, "pytorch": theirs})
        figures = [found[which] / MB for which in ("peak", "growth") for found in (ours, theirs)]
        print(f"{name:14} {batch:5} " + " ".join(f"{figure:9.1f}" for figure in figures), flush=True)
    return rows


def long(cases: list[tuple[str, int]], _: int) -> list[dict]:
    """A row for each network, batch and kind of batches."""
    print(f"{'network':14} {'batch':>5} {'batches':>9} {'growth, MB: 100 steps':>22} {'1,000 steps':>12}")
    rows = []
    for name, batch in cases:
        for kind in ("last", "random"):
            found = apart("cconv", name, batch, kind, 1000)
            rows.append({"network": name, "batch": batch, "batches": kind, "cconv": found})
            print(f"{name:14} {batch:5} {kind:>9} {found['early'] / MB:22.1f} {found['growth'] / MB:12.1f}", flush=True)
    return rows


def apart(side: str, name: str, batch: int, kind: str, steps: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--measure", side, name, str(batch), kind, str(steps)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout)


if __name__ == "__main__":
    main()
