"""How many threads a call may use, and where that number came from."""

from __future__ import annotations

import os
from pathlib import Path

from ._kernels import cpu
from ._shapes import whole

# Fewer multiply-adds (or comparable steps) than this a thread are done sooner by one thread than by waking another.
WORK_A_THREAD = 200_000

# OpenMP ends the process where it cannot start the threads it is asked for.
MOST_THREADS = 1024


def _cgroup_limit() -> float:
    """CPUs that the control group grants (v2, then v1); infinite where none is set."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):
        pass
    try:
        v1 = Path("/sys/fs/cgroup/cpu")
        quota_us = float((v1 / "cpu.cfs_quota_us").read_text())
        return quota_us / float((v1 / "cpu.cfs_period_us").read_text()) if quota_us > 0 else float("inf")
    except (OSError, ValueError, ZeroDivisionError):
        return float("inf")


def _available() -> int:
    """CPUs that this process may use: its affinity, and its control group's limit rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _cgroup_limit()
    return max(1, min(cpus, int(-(-limit // 1)) if limit != float("inf") else cpus))


def _initial() -> tuple[int, str]:
    for name in ("CCONV_NUM_THREADS", "OMP_NUM_THREADS"):
        # OMP_NUM_THREADS may list a number for each nesting level.
        value = os.environ.get(name, "").split(",")[0].strip()
        if value:
            if value.isdigit() and 0 < int(value) <= MOST_THREADS:
                return int(value), name
            if name == "CCONV_NUM_THREADS":
                raise ValueError(f"CCONV_NUM_THREADS must be a whole number in 1..{MOST_THREADS}, got {value!r}")
    return _available(), "the CPUs this process may use"


_threads, source = _initial()
_openmp_limit = cpu.max_threads()
_forked = False


def get_num_threads() -> int:
    """Threads that a call may use now.

    The number given to `set_num_threads`, else CCONV_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs that this
    process may use (affinity and cgroup limit); lowered by a limit that was set since, such as threadpoolctl's.
    """
    if _forked:
        return 1
    limit = cpu.max_threads()
    return _threads if limit == _openmp_limit else min(_threads, limit)


def set_num_threads(n: int) -> None:
    """Let calls use up to `n` threads. Results do not depend on it, to the bit."""
    global _threads, source
    n = whole("set_num_threads", "n", n, 1)
    if n > MOST_THREADS:
        raise ValueError(f"set_num_threads: n must be at most {MOST_THREADS}, got {n}")
    _threads, source = n, "set_num_threads"


def threads_for(work: float) -> int:
    """Threads for a call of so many multiply-adds: small work stays on the calling thread."""
    if work < 2 * WORK_A_THREAD or _forked:
        return 1
    return min(get_num_threads(), int(work / WORK_A_THREAD))


def _after_fork() -> None:
    # GNU OpenMP hangs in a forked child that enters a parallel region after its parent did, whatever is set then.
    global _threads, source, _forked
    _threads, source, _forked = 1, "a forked child stays on one thread", True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
