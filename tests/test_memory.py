"""No kernel steps outside of its arguments, results and working memory; a result's memory serves the next."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cconv import functional as F
from cconv._kernels import memory

SIDES = pytest.mark.parametrize("side", ["end", "start"])
needs_mprotect = pytest.mark.skipif(os.name != "posix", reason="needs mprotect")


def guarded(*arguments: str) -> tuple[int, str]:
    """Exit status and last line of the program in guarded.py."""
    program = Path(__file__).with_name("guarded.py")
    done = subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True, timeout=300)
    return done.returncode, (done.stdout.splitlines() or [""])[-1] + done.stderr[-2000:]


@needs_mprotect
@SIDES
def test_a_step_outside_stops_the_process(side):
    status, _ = guarded("step", side)
    assert status < 0


@needs_mprotect
@SIDES
def test_no_kernel_steps_outside(side):
    assert guarded("call", side) == (0, "done")


# The memory of results ------------------------------------------------------------------------------------------------

LARGE = 100_000


@pytest.fixture
def nothing_kept():
    """Blocks that earlier tests gave back are gone."""
    memory.keep_at_most(0)
    memory.keep_at_most(256 << 20)


@pytest.mark.parametrize(
    "shape", [(), (0,), 5, (3, 0, 2), (2, 3), (4095,), (4096,), (4097,), (7, 11, 13, 17), LARGE], ids=str
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_empty(shape, dtype):
    array, like = memory.empty(shape, dtype), np.empty(shape, dtype)
    assert (array.shape, array.dtype, array.flags.c_contiguous) == (like.shape, like.dtype, True)
    assert array.flags.owndata and array.flags.writeable and array.ctypes.data % 64 == 0


def test_freed_memory_comes_back(nothing_kept):
    array = memory.empty(LARGE, np.float32)
    place = array.ctypes.data
    del array
    assert memory.empty((LARGE - 9, 1), np.float32).ctypes.data == place


def test_memory_that_is_held_does_not(nothing_kept):
    array = memory.empty(LARGE, np.float32)
    place, view = array.ctypes.data, array[5:]
    del array
    assert memory.empty(LARGE, np.float32).ctypes.data != place
    del view
    assert memory.empty(LARGE, np.float32).ctypes.data == place


def churn(seed: int) -> None:
    """Allocate and free at random; what is held keeps what was written."""
    rng = np.random.default_rng(seed)
    held = {}
    for mark in range(400):
        array = memory.empty(int(np.exp2(rng.uniform(0, 18))), np.float64)
        array.fill(mark)
        held[mark] = array
        while len(held) > 20:
            old = int(rng.choice(list(held)))
            assert (held.pop(old) == old).all()
    assert all((array == mark).all() for mark, array in held.items())


def test_no_two_arrays_share_memory():
    churn(0)


def test_no_two_threads_share_memory():
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(1, 9)))


def test_an_array_can_be_resized():
    array = memory.empty(LARGE, np.float64)
    array[:] = np.arange(LARGE)
    for size in (2 * LARGE, 10, LARGE // 2):
        array.resize(size, refcheck=False)
        assert (array[:10] == np.arange(10)).all()


def test_no_more_is_kept_than_allowed(nothing_kept):
    arrays = [memory.empty(LARGE, np.float64) for _ in range(10)]
    arrays.clear()
    assert 10 * 8 * LARGE <= memory.keep_at_most(256 << 20) < 13 * 8 * LARGE
    assert memory.keep_at_most(3 << 20) <= 3 << 20
    arrays = [memory.empty(LARGE, np.float64) for _ in range(10)]
    arrays.clear()
    assert memory.keep_at_most(256 << 20) <= 3 << 20


def test_a_larger_block_serves(nothing_kept):
    """One up to half as large again; a smaller one never does, and a much larger one waits for its like."""
    array = memory.empty(LARGE, np.float32)
    place = array.ctypes.data
    del array
    for size, same in ((LARGE * 3 // 4, True), (LARGE + LARGE // 2, False), (LARGE // 2, False), (LARGE, True)):
        assert (memory.empty(size, np.float32).ctypes.data == place) == same


def test_sizes_that_vary_take_little_more_than_was_in_use():
    code = (
        "import numpy as np\nfrom cconv._kernels import memory\n"
        "rng = np.random.default_rng(0)\n"
        "for _ in range(2000):\n    array = memory.empty(int(rng.integers(1, 8 << 20)), np.uint8)\n    del array\n"
        "print(memory.keep_at_most(256 << 20))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(found) <= 1.5 * (8 << 20) * 1.125


def test_other_arrays_are_left_alone():
    """NumPy's own allocator is back after each call, and after one that fails."""
    name = (np._core if hasattr(np, "_core") else np.core).multiarray.get_handler_name
    before = name(np.empty(LARGE))
    assert name(memory.empty(LARGE, np.float32)) == name(F.relu(np.ones(LARGE))) == "cconv"
    with pytest.raises(MemoryError):
        memory.empty(2**56, np.float64)
    with pytest.raises(ValueError, match="negative"):
        memory.empty(-1, np.float64)
    assert name(np.empty(LARGE)) == before != "cconv"
