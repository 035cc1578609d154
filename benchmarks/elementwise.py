"""Pooling, interpolation, batch normalisation and activations on a batch of 64x32x32x32, against PyTorch in turns.

``python benchmarks/elementwise.py``. Beside the ratio stands the bandwidth that the arrays' least traffic comes to, and
the machine's own for a copy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from conv import peak
from measure import Peer, machine, turns, write

from cconv import functional as F

SHAPE = (64, 32, 32, 32)


def operations(x: np.ndarray) -> list[tuple[str, dict, Callable, Callable, float]]:
    """PyTorch's name and options, our forward and backward, and an output's size for each number of x."""
    ones = np.ones_like(x)
    pooled, indices = F.max_pool2d(x, 2)
    small, one = np.ones_like(pooled), np.ones((*x.shape[:2], 1, 1), x.dtype)
    _, mean, var = F.batch_norm(x, training=True)
    own_statistics = {"running_mean": None, "running_var": None, "training": True}
    rows: list[tuple[str, dict, Callable, Callable, float]] = [
        ("max_pool2d", {"kernel_size": 2, "return_indices": True}, lambda: F.max_pool2d(x, 2),
         lambda: F.max_pool2d_backward(small, indices, x.shape), 0.25),
        ("avg_pool2d", {"kernel_size": 2}, lambda: F.avg_pool2d(x, 2),
         lambda: F.avg_pool2d_backward(small, x.shape, 2), 0.25),
        ("adaptive_avg_pool2d", {"output_size": 1}, lambda: F.adaptive_avg_pool2d(x, 1),
         lambda: F.adaptive_avg_pool2d_backward(one, x.shape), one.size / x.size),
        ("batch_norm", own_statistics, lambda: F.batch_norm(x, training=True),
         lambda: F.batch_norm_backward(ones, x, mean, var, training=True, needs=(True, False, False)), 1.0),
    ]  # fmt: skip
    for mode in ("nearest", "bilinear"):
        options = {"scale_factor": 2, "mode": mode}
        large = np.ones_like(F.interpolate(x, **options))
        rows.append(
            ("interpolate", options, lambda o=options: F.interpolate(x, **o),
             lambda o=options, g=large: F.interpolate_backward(g, x.shape, **o), 4.0)
        )  # fmt: skip
    for name in ("relu", "sigmoid", "tanh"):
        forward, backward = getattr(F, name), getattr(F, f"{name}_backward")
        y = forward(x)
        rows.append((name, {}, lambda f=forward: f(x), lambda b=backward, y=y: b(ones, y), 1.0))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    peer = Peer()
    limit, about = peak(peer), machine(peer)
    print(about)
    print(f"copying: {limit['copy_gb_s']:.0f} GB/s\n")
    print(f"{'operation':20} {'pass':9} {'cconv ms':>9} {'PyTorch ms':>10} {'GB/s':>6} {'ratio':>6}")
    x = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
    rows = []
    for name, keywords, forward, backward, share in operations(x):
        for direction, ours in (("forward", forward), ("backward", backward)):
            back = direction == "backward"
            peer_options = {"kernel_size": 2} if back and name == "max_pool2d" else keywords
            peer.ask("elementwise", (name, peer_options, x, back))
            mine, theirs = turns(ours, peer, options.rounds)
            # Forward reads x and writes y; backward reads grad_y (and x or y, but for a pooling) and writes grad_x.
            traffic = x.nbytes * (1 + share + (back and share == 1))
            label = f"{name} {keywords['mode']}" if "mode" in keywords else name
            row = {"operation": label, "pass": direction, "ms": 1e3 * mine, "peer_ms": 1e3 * theirs,
                   "gb_s": traffic / mine / 1e9, "ratio": theirs / mine}  # fmt: skip
            rows.append(row)
            figures = f"{row['ms']:9.3f} {row['peer_ms']:10.3f} {row['gb_s']:6.1f} {row['ratio']:6.2f}"
            print(f"{label:20} {direction:9} {figures}", flush=True)
    peer.close()
    write(options.json, {"machine": about, "peak": limit, "rows": rows})


if __name__ == "__main__":
    main()
