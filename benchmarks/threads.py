"""How large convolutions scale with threads, in turns: ``python benchmarks/threads.py [--threads 1 2 ...]``.

Each row is one pass of one layer; a figure is the time on one thread over that on so many. The first row is the limit
of this machine in the same minutes: multiply-adds in registers alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from conv import Case, square
from measure import write

import cconv
from cconv import _dispatch
from cconv import functional as F

CASES = [
    square("3x3", 8, 64, 56, 64, 3, padding=1),
    square("3x3", 8, 256, 14, 256, 3, padding=1),
    square("3x3", 1, 128, 56, 128, 3, padding=1),
    square("5x5", 8, 32, 56, 64, 5, padding=2),
    square("stem 7x7/2", 8, 3, 224, 64, 7, stride=2, padding=3),
    square("1x1", 8, 256, 28, 512, 1),
    square("1x1", 1, 512, 28, 256, 1),
    square("depthwise", 8, 256, 56, 256, 3, padding=1, groups=256),
]


def passes(case: Case) -> dict[str, Callable[[], object]]:
    """The three calls of a layer."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.batch, case.channels, *case.size), np.float32)
    weight = rng.standard_normal((case.filters, case.channels // case.groups, *case.kernel), np.float32)
    options = {"stride": case.stride, "padding": case.padding, "groups": case.groups}
    grad_y = rng.standard_normal(F.conv2d(x, weight, **options).shape, np.float32)
    return {
        "forward": lambda: F.conv2d(x, weight, **options),
        "input": lambda: F.conv2d_backward(grad_y, x, weight, **options, needs=(True, False, False)),
        "weight": lambda: F.conv2d_backward(grad_y, x, weight, **options, needs=(False, True, True)),
    }


def peak() -> None:
    """Multiply-adds in registers, a share a thread."""
    threads = cconv.get_num_threads()
    out, start = np.zeros(64 * threads, np.float32), np.array([1.0, 1e-9] * 8, np.float32)
    _dispatch.peak.multiply_add(out, start, 2_000_000 // threads, threads)


def scaling(call: Callable[[], object], threads: list[int], rounds: int) -> list[float]:
    """Speed over that on one thread: medians of turns."""
    seconds: dict[int, list[float]] = {n: [] for n in threads}
    for _ in range(rounds + 1):
        for n in threads:
            cconv.set_num_threads(n)
            call()
            begin = time.perf_counter()
            count = 0
            while count < 2 or time.perf_counter() - begin < 0.03:
                call()
                count += 1
            seconds[n].append((time.perf_counter() - begin) / count)
    return [statistics.median(a / b for a, b in zip(seconds[1][1:], seconds[n][1:], strict=True)) for n in threads]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, len(os.sched_getaffinity(0))])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    threads = sorted({1, *options.threads})
    print(f"{'layer':36} {'pass':8}" + "".join(f"{n:8}" for n in threads))
    rows = []
    calls = [("peak", "", peak)] + [(case.name, name, call) for case in CASES for name, call in passes(case).items()]
    for layer, name, call in calls:
        figures = scaling(call, threads, options.rounds)
        rows.append({"layer": layer, "pass": name, **{str(n): f for n, f in zip(threads, figures, strict=True)}})
        print(f"{layer:36} {name:8}" + "".join(f"{figure:8.2f}" for figure in figures), flush=True)
    write(options.json, rows)


if __name__ == "__main__":
    main()
