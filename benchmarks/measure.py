"""What the benchmarks share: timing in turns with a peer, the machine's name, and the file of figures."""

from __future__ import annotations

import json
import pickle
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import cconv
from cconv import _dispatch


class Peer:
    """PyTorch in another process, one call at a time: while one side is measured, the other waits."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("peer.py"))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, name: str, arguments: object = ()) -> object:
        """The answer to a request of peer.py."""
        assert self._process.stdin
        assert self._process.stdout
        pickle.dump((name, arguments), self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)

    def run(self, count: int) -> float:
        """Seconds that `count` calls took; then long enough for its threads to stop spinning."""
        seconds = self.ask("run", count)
        time.sleep(0.01)
        assert isinstance(seconds, float)
        return seconds

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def turns(ours: Callable[[], object], peer: Peer, rounds: int, seconds: float = 0.05) -> tuple[float, float]:
    """Median seconds a call of `ours` and of what the peer was last asked for, measured A B A B ... in `rounds` rounds.

    Each turn takes about `seconds`.
    """

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            ours()
        return time.perf_counter() - start

    sides = (run, peer.run)
    counts = []
    for side in sides:
        side(2)
        counts.append(max(1, min(2000, int(seconds / max(side(1), 1e-7)))))
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for side, count, into in zip(sides, counts, times, strict=True):
            into.append(side(count) / count)
    return statistics.median(times[0]), statistics.median(times[1])


def machine(peer: Peer) -> str:
    """One line that says what the figures were measured on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return (
        f"{name}, {cconv.get_num_threads()} threads of cconv {cconv.__version__} ({_dispatch.isa}), "
        f"{peer.ask('about')}, NumPy {np.__version__}, Python {platform.python_version()}"
    )


def write(path: str | None, result: object) -> None:
    """The figures as JSON, where a file is named."""
    if path:
        Path(path).write_text(json.dumps(result, indent=1))
