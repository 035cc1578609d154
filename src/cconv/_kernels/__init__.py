"""Compiled kernels, each module once an instruction set (``conv2d_avx2``, ...). `cconv._dispatch` picks; see README.md.

The first of them loads the OpenMP runtime, whose settings are read from the environment at that moment.
"""

import os

# Threads that wait soon sleep. On a machine that others use, a spinning thread spends the time slice that the thread it
# waits for needs, and LeNet-5 trains many times slower; one that sleeps at once is woken too late on a quiet machine.
# _kernels/README.md has the figures.
_POLICIES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
if not any(name in os.environ for name in _POLICIES):
    os.environ["GOMP_SPINCOUNT"] = "1000"
    try:
        from . import cpu
    finally:
        del os.environ["GOMP_SPINCOUNT"]
else:
    from . import cpu

__all__ = ["cpu"]
