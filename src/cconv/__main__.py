"""``python -m cconv``: what this build is and what it uses here."""

import platform
import sys

import numpy as np

from . import __version__, _dispatch, _threads
from ._kernels import cpu


def main() -> None:
    """Print version, instruction sets, threads, OpenMP, NumPy and Python."""
    unusable = [name for name in _dispatch.compiled() if name not in _dispatch.usable()]
    sets = ", ".join(_dispatch.compiled()) + (f" (not for this processor: {', '.join(unusable)})" if unusable else "")
    openmp = cpu.openmp()
    rows = {
        "cconv": __version__,
        "instruction set": f"{_dispatch.isa} (compiled in: {sets}; CCONV_ISA chooses)",
        "threads": f"{_threads.get_num_threads()} (from {_threads.source})",
        "OpenMP": f"{openmp // 100}-{openmp % 100:02d}" if openmp else "not in this build",
        "NumPy": np.__version__,
        "Python": f"{platform.python_version()} on {sys.platform} {platform.machine()}",
    }
    for name, value in rows.items():
        print(f"{name:16} {value}")


if __name__ == "__main__":
    main()
