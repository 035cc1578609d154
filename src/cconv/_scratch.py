"""Working memory for kernels, reused from call to call: fresh large arrays cost page faults each step."""

from __future__ import annotations

import threading

import numpy as np

from ._kernels.memory import empty

# A thread keeps at most this much between calls; larger requests are served and let go.
KEPT_BYTES = 64 << 20

_local = threading.local()


def scratch(count: int, dtype: np.dtype) -> np.ndarray:
    """`count` uninitialised numbers, aligned to a cache line, valid until the calling thread's next request."""
    size = count * dtype.itemsize
    kept = getattr(_local, "buffer", None)
    if kept is None or kept.size < size:
        kept = _local.buffer = None  # before the larger one is there
        kept = empty(size, np.uint8)
        if size <= KEPT_BYTES:
            _local.buffer = kept
    return kept[:size].view(dtype)


def forget() -> None:
    """Let go of what the calling thread keeps."""
    _local.buffer = None
