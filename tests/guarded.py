"""Arrays beside a forbidden page: a number read or written past their end (or before their start) stops the process.

Run as a program, it calls every operation with such arguments, results and working memory, and names each call first.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import sys

import numpy as np
from cases import DRAWS, draw_call
from conftest import SUBJECTS
from test_functional_conv import CASES, drawn, run

from cconv import _dispatch, _threads
from cconv import functional as F
from cconv.functional.conv import conv2d_relu

libc = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE


class Guard:
    """Makes arrays that lie right before a forbidden page, or right after one."""

    def __init__(self, side: str):
        self.side = side

    def empty(self, shape, dtype) -> np.ndarray:
        size = int(np.prod(shape, dtype=np.intp)) * np.dtype(dtype).itemsize
        room = -(-size // PAGE) * PAGE
        memory = mmap.mmap(-1, room + PAGE)
        forbidden, start = (room, room - size) if self.side == "end" else (0, PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        if libc.mprotect(ctypes.c_void_p(address + forbidden), PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
        return np.frombuffer(memory, np.uint8, size, start).view(dtype).reshape(shape)

    def copy(self, array: np.ndarray) -> np.ndarray:
        copy = self.empty(array.shape, array.dtype)
        copy[...] = array
        return copy


def call_everything(guard: Guard) -> None:
    for subject in SUBJECTS:
        module = importlib.import_module(f"cconv.functional.{subject}")
        module.empty = module.scratch = guard.empty
    _threads.WORK_A_THREAD, _threads._threads = 1, 3
    for isa in _dispatch.usable():
        _dispatch.select(isa)
        for dtype in (np.float32, np.float64):
            for name in CASES:
                print(isa, dtype.__name__, "convolution:", name, flush=True)
                *arrays, options = drawn(name)
                arrays = [guard.copy(a.astype(dtype)) for a in arrays]
                run(F, *arrays, options)
                conv2d_relu(*arrays[:3], **options)
            for name in DRAWS:
                for seed in range(20 if "pool" in name else 8):
                    print(isa, dtype.__name__, name, "with seed", seed, flush=True)
                    call = draw_call(name, seed, dtype)
                    call._replace(arrays={k: guard.copy(a) for k, a in call.arrays.items()})()
    print("done")


def step_over(guard: Guard) -> None:
    """Read one number beyond a guarded array."""
    array = guard.copy(np.zeros(5, np.float32))
    beyond = array.ctypes.data + (array.nbytes if guard.side == "end" else -array.itemsize)
    print(ctypes.c_float.from_address(beyond).value)


if __name__ == "__main__":
    action, side = sys.argv[1:]
    {"call": call_everything, "step": step_over}[action](Guard(side))
