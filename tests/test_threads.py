"""How many threads a call uses and who decides; one answer from many callers; a forked child that does not hang."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import DRAWS, draw_call, same_bits

import cconv
from cconv import _threads


def python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    clean = {k: v for k, v in os.environ.items() if k not in ("CCONV_NUM_THREADS", "OMP_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


# Many callers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRAWS)
def test_many_callers_get_one_answer(name, dtype, threads):
    """Eight Python threads at once, on shared inputs and on their own, each call in threads of its own."""
    threads(2)
    calls = [draw_call(name, seed, dtype) for seed in range(4)]
    expected = [call() for call in calls]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: calls[i % 4](), range(40)))
    assert all(same_bits(result, expected[i % 4]) for i, result in enumerate(results))


# Who decides ---------------------------------------------------------------------------------------------------------

ASK = "import cconv; print(cconv.get_num_threads(), 'from', cconv._threads.source)"


def test_the_environment_decides():
    assert python(ASK, CCONV_NUM_THREADS="3", OMP_NUM_THREADS="5") == "3 from CCONV_NUM_THREADS"
    assert python(ASK, OMP_NUM_THREADS="5,2") == "5 from OMP_NUM_THREADS"
    assert python(ASK, OMP_NUM_THREADS="") == f"{_threads._available()} from the CPUs this process may use"


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5", "99999"])
def test_a_wrong_number_in_the_environment_is_named(value):
    message = f"ValueError: CCONV_NUM_THREADS must be a whole number in 1..1024, got '{value}'"
    assert python(ASK, CCONV_NUM_THREADS=value) == message


def test_set_num_threads(monkeypatch):
    monkeypatch.setattr(_threads, "_threads", 1)
    monkeypatch.setattr(_threads, "source", "before")
    cconv.set_num_threads(7)
    assert (cconv.get_num_threads(), _threads.source) == (7, "set_num_threads")
    for bad, error in (
        (0, ValueError),
        (-1, ValueError),
        (1.5, TypeError),
        (True, TypeError),
        (None, TypeError),
        ("2", TypeError),
    ):
        with pytest.raises(error, match="set_num_threads: n must be"):
            cconv.set_num_threads(bad)
    assert cconv.get_num_threads() == 7


def test_small_work_stays_on_the_calling_thread(monkeypatch):
    monkeypatch.setattr(_threads, "_threads", 4)
    share = _threads.WORK_A_THREAD
    assert [_threads.threads_for(work * share) for work in (0, 1, 1.9, 2, 3.5, 100)] == [1, 1, 1, 2, 3, 4]


@pytest.mark.skipif(not cconv._kernels.cpu.openmp(), reason="a build without OpenMP has no limit")
def test_threadpoolctl_sets_a_limit(monkeypatch):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    before = cconv._kernels.cpu.max_threads()
    monkeypatch.setattr(_threads, "_threads", before + 2)
    # A limit counts from when it differs from the one at import.
    for limit in {1, before + 1} - {before}:
        with threadpoolctl.threadpool_limits(limit, user_api="openmp"):
            assert cconv.get_num_threads() == _threads.threads_for(1e12) == limit
        assert cconv.get_num_threads() == before + 2


# The machine ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, np.inf),
        ({"cpu.max": "max 100000\n"}, np.inf),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, np.inf),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.5),
        ({"cpu/cpu.cfs_quota_us": "1\n", "cpu/cpu.cfs_period_us": "0\n"}, np.inf),
        ({"cpu.max": "?\n"}, np.inf),
    ],
)
def test_control_groups(files, limit, tmp_path, monkeypatch):
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(_threads, "Path", lambda path: tmp_path / path.lstrip("/"))
    assert _threads._cgroup_limit() == limit


@pytest.mark.parametrize(("limit", "threads"), [(np.inf, 6), (0.5, 1), (1.0, 1), (2.5, 3), (64.0, 6)])
def test_affinity_and_the_limit_of_the_control_group(limit, threads, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(_threads, "_cgroup_limit", lambda: limit)
    assert _threads._available() == threads


# Forks ---------------------------------------------------------------------------------------------------------------

FORK = """
import os, signal, warnings
import numpy as np
import cconv
from cconv import _threads, functional as F

warnings.simplefilter("ignore")  # Python 3.12 warns of a fork beside threads: that is the test
_threads.WORK_A_THREAD = 1
cconv.set_num_threads(2)
x, weight = (np.random.default_rng(0).normal(size=shape) for shape in ((8, 3, 20, 20), (16, 3, 3, 3)))
before = F.conv2d(x, weight).tobytes()
child = os.fork()
if child == 0:
    signal.alarm(20)
    assert cconv.get_num_threads() == 1
    os._exit(0 if F.conv2d(x, weight).tobytes() == before else 1)
_, status = os.waitpid(child, 0)
assert F.conv2d(x, weight).tobytes() == before and cconv.get_num_threads() == 2
print("child ended with", os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_computes_the_same_bits():
    assert python(FORK) == "child ended with 0"


def test_more_threads_than_a_process_could_start_are_refused():
    with pytest.raises(ValueError, match="n must be at most 1024, got 1000000000"):
        _threads.set_num_threads(10**9)
