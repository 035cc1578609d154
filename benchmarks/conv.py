"""Convolutions layer by layer, against PyTorch in turns: ``python benchmarks/conv.py [--suite small odd ...]``.

Each row is one pass of one layer: forward, gradient to the input, gradient to weight and bias. A ratio is PyTorch's
time over cconv's: above 1 cconv is faster. The machine's peak is measured in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import NamedTuple

import numpy as np
from measure import Peer, machine, turns, write

import cconv
from cconv import _dispatch
from cconv import functional as F


class Case(NamedTuple):
    """One layer: batch, channels, height and width, filters, kernel, and the options of conv2d."""

    name: str
    batch: int
    channels: int
    size: tuple[int, int]
    filters: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: object = 0
    dilation: int = 1
    groups: int = 1


def square(name, batch, channels, size, filters, kernel, **options) -> Case:
    return Case(
        f"{name} {channels}x{size} {filters}@{kernel} b{batch}",
        batch,
        channels,
        (size, size),
        filters,
        (kernel, kernel),
        **options,
    )


def small() -> list[Case]:
    layers = [
        ("lenet", 1, 28, 6, 5, 2), ("lenet", 6, 14, 16, 5, 0),
        ("sigmoid", 1, 28, 20, 5, 0), ("sigmoid", 20, 12, 40, 5, 0),
        ("cifar", 3, 32, 32, 3, 1), ("cifar", 32, 32, 32, 3, 1),
        ("cifar", 32, 16, 64, 3, 1), ("cifar", 64, 8, 128, 3, 1),
    ]  # fmt: skip
    return [square(n, b, c, s, f, k, padding=p) for n, c, s, f, k, p in layers for b in (1, 8, 64)]


def resnet50() -> list[Case]:
    cases = [square("stem", b, 3, 224, 64, 7, stride=2, padding=3) for b in (1, 8)]
    for size, inner, outer in ((56, 64, 256), (28, 128, 512), (14, 256, 1024), (7, 512, 2048)):
        for b in (1, 8):
            cases += [
                square("reduce", b, outer, size, inner, 1),
                square("middle", b, inner, size, inner, 3, padding=1),
                square("expand", b, inner, size, outer, 1),
            ]
    return cases


def vgg16() -> list[Case]:
    layers = [
        (3, 224, 64),
        (64, 224, 64),
        (64, 112, 128),
        (128, 112, 128),
        (128, 56, 256),
        (256, 56, 256),
        (256, 28, 512),
        (512, 28, 512),
        (512, 14, 512),
    ]
    return [square("vgg", b, c, s, f, 3, padding=1) for c, s, f in layers for b in (1, 8)]


def mobilenet() -> list[Case]:
    cases = []
    for channels, size, stride in ((32, 112, 1), (64, 112, 2), (128, 56, 1), (256, 28, 1), (512, 14, 1), (1024, 7, 1)):
        for b in (1, 8):
            cases.append(
                square(f"depthwise/{stride}", b, channels, size, channels, 3, stride=stride, padding=1, groups=channels)
            )
            out = size // stride
            cases.append(square("pointwise", b, channels, out, min(1024, 2 * channels), 1))
    return cases


def odd() -> list[Case]:
    return [
        square("7x7/2", 8, 3, 112, 64, 7, stride=2, padding=3),
        square("1x1/2", 8, 256, 28, 512, 1, stride=2),
        square("3x3/2", 8, 64, 56, 128, 3, stride=2, padding=1),
        square("dilation 2", 8, 64, 28, 64, 3, padding=2, dilation=2),
        square("dilation 2", 8, 17, 30, 40, 5, padding=4, dilation=2),
        square("groups 2", 8, 64, 28, 64, 3, padding=1, groups=2),
        square("groups 8", 8, 64, 28, 64, 3, padding=1, groups=8),
        square("groups 32", 8, 128, 28, 128, 3, padding=1, groups=32),
        square("11x11/4", 8, 3, 224, 64, 11, stride=4, padding=2),
        square("channels", 8, 3, 32, 17, 3, padding=1),
        square("channels", 8, 17, 32, 20, 3, padding=1),
        square("channels", 8, 20, 32, 40, 5),
        square("channels", 8, 40, 32, 100, 3, padding=1),
        square("channels", 8, 100, 16, 100, 3, padding=1),
        square("even", 8, 32, 28, 48, 4, padding=1),
        square("even", 8, 16, 28, 24, 2),
        square("unequal", 8, 32, 28, 32, 3, padding=((0, 2), (1, 0))),
        Case("oblong 24x20x44 36@1x7 b8", 8, 24, (20, 44), 36, (1, 7), padding=(0, 3)),
    ]


SUITES = {"small": small, "resnet50": resnet50, "vgg16": vgg16, "mobilenet": mobilenet, "odd": odd}
PASSES = ("forward", "input", "weight")


def measure(case: Case, peer: Peer, rounds: int) -> list[dict]:
    """Rows of one layer, one a pass."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.batch, case.channels, *case.size), np.float32)
    weight = rng.standard_normal((case.filters, case.channels // case.groups, *case.kernel), np.float32)
    bias = rng.standard_normal(case.filters, np.float32)
    options = {"stride": case.stride, "padding": case.padding, "dilation": case.dilation, "groups": case.groups}
    grad_y = rng.standard_normal(F.conv2d(x, weight, bias, **options).shape, np.float32)
    sides = case.padding if isinstance(case.padding, tuple) else (case.padding, case.padding)
    pads = tuple(side if isinstance(side, tuple) else (side, side) for side in sides)
    calls = {
        "forward": lambda: F.conv2d(x, weight, bias, **options),
        "input": lambda: F.conv2d_backward(grad_y, x, weight, **options, needs=(True, False, False)),
        "weight": lambda: F.conv2d_backward(grad_y, x, weight, **options, needs=(False, True, True)),
    }
    operations = 2 * grad_y.size * weight[0].size
    rows = []
    for name, call in calls.items():
        peer.ask("conv", (name, x, weight, bias, grad_y, case.stride, pads, case.dilation, case.groups))
        ours, theirs = turns(call, peer, rounds, 0.02)
        if theirs / ours < 0.9:  # once more before it is believed
            ours, theirs = turns(call, peer, rounds, 0.02)
        rows.append({"layer": case.name, "pass": name, "ms": 1e3 * ours, "peer_ms": 1e3 * theirs,
                     "gflops": operations / ours / 1e9, "ratio": theirs / ours, "case": case._asdict()})  # fmt: skip
    return rows


def kind(row: dict) -> tuple:
    """Kernel, stride, dilation, groups."""
    case = row["case"]
    return case["kernel"][0], case["stride"], case["dilation"], case["groups"]


# Rows that share what limits them, over all suites.
KINDS = {
    "3x3 of stride 1, 64 channels and more, batch 8 and more": lambda row: (
        kind(row) == (3, 1, 1, 1)
        and min(row["case"]["channels"], row["case"]["filters"]) >= 64
        and row["case"]["batch"] >= 8
    ),
    "3x3 of resnet50": lambda row: row["suite"] == "resnet50" and kind(row)[0] == 3,
    "1x1 of resnet50": lambda row: row["suite"] == "resnet50" and kind(row)[0] == 1,
}


def peak(peer: Peer) -> dict[str, float]:
    """GFLOP/s of multiply-adds in registers, and GB/s of copying (bytes read plus bytes written)."""
    threads = cconv.get_num_threads()
    out, start = np.zeros(64 * threads, np.float32), np.array([1.0, 1e-9] * 8, np.float32)
    size = 1 << 25
    peer.ask("copying", (size,))
    flops, copies = [], []
    for _ in range(7):
        begin = time.perf_counter()
        done = _dispatch.peak.multiply_add(out, start, 2_000_000, threads)
        flops.append(done / (time.perf_counter() - begin) / 1e9)
        copies.append(8 * size / peer.run(1) / 1e9)
    return {"gflops": statistics.median(flops), "copy_gb_s": statistics.median(copies)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", nargs="+", default=list(SUITES), choices=SUITES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    peer = Peer()
    limit, about = peak(peer), machine(peer)
    print(about)
    print(f"peak {limit['gflops']:.0f} GFLOP/s of multiply-adds, {limit['copy_gb_s']:.0f} GB/s of copying\n")
    print(f"{'layer':36} {'pass':8} {'cconv ms':>9} {'PyTorch ms':>10} {'GFLOP/s':>8} {'ratio':>6}")
    rows: list[dict] = []
    for suite in options.suite:
        for case in SUITES[suite]():
            for row in measure(case, peer, options.rounds):
                rows.append({"suite": suite, **row})
                times = f"{row['ms']:9.3f} {row['peer_ms']:10.3f} {row['gflops']:8.0f} {row['ratio']:6.2f}"
                print(f"{row['layer']:36} {row['pass']:8} {times}", flush=True)
    peer.close()
    print("\nGeometric means of the ratios, all rows and split by PyTorch's time:")
    print(f"{'suite':10} {'rows':>5} {'all':>6} {'under 1 ms':>11} {'over 1 ms':>10} {'least':>6}")
    for suite in options.suite:
        own = [row for row in rows if row["suite"] == suite]
        means = []
        for part in (own, [r for r in own if r["peer_ms"] < 1], [r for r in own if r["peer_ms"] >= 1]):
            means.append(f"{statistics.geometric_mean(r['ratio'] for r in part):.2f}" if part else "-")
        least = min(row["ratio"] for row in own)
        print(f"{suite:10} {len(own):5} {means[0]:>6} {means[1]:>11} {means[2]:>10} {least:6.2f}")
    for name, fits in KINDS.items():
        own = [row for row in rows if fits(row)]
        if own:
            mean, most = statistics.geometric_mean(row["ratio"] for row in own), max(row["gflops"] for row in own)
            least = min(row["ratio"] for row in own)
            print(f"{name}: {len(own)} rows, mean {mean:.2f}, least {least:.2f}, fastest {most:.0f} GFLOP/s")
    write(options.json, {"machine": about, "peak": limit, "rows": rows})


if __name__ == "__main__":
    main()
