"""Working memory for kernels, reused from call to call: fresh large arrays cost page faults each step."""

from __future__ import annotations

import threading

import numpy as np

from ._kernels import memory

# A thread keeps at most this much between calls; larger requests are served and let go.
KEPT_BYTES = 64 << 20
_ALIGNMENT = 64  # a cache line, and the widest register

_local = threading.local()


def scratch(count: int, dtype: np.dtype) -> np.ndarray:
    """`count` uninitialised numbers, aligned to a cache line, valid until the calling thread's next request."""
    size = count * dtype.itemsize
    kept = getattr(_local, "buffer", None)
    if kept is None or kept.size < size:
        try:
            raw = np.empty(size + _ALIGNMENT, np.uint8)
        except MemoryError:
            memory.release()
            raw = np.empty(size + _ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % _ALIGNMENT
        kept = raw[start : start + size]
        if size <= KEPT_BYTES:
            _local.buffer = kept
    return kept[:size].view(dtype)
