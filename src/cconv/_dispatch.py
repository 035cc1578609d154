"""Picks the instruction set once, at import: the widest that was built and that the processor runs, or CCONV_ISA."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

from ._kernels import cpu

# Widest first.
_ORDER = ("avx512", "avx2", "neon", "baseline")
_KERNELS = (
    *(
        "activation",
        "augment",
        "conv2d",
        "depthwise",
        "dropout",
        "linear",
        "loss",
        "norm",
        "optimizer",
        "peak",
        "pointwise",
        "pool2d",
    ),
    "winograd",
)

augment: ModuleType
conv2d: ModuleType
depthwise: ModuleType
dropout: ModuleType
pool2d: ModuleType
activation: ModuleType
linear: ModuleType
loss: ModuleType
norm: ModuleType
optimizer: ModuleType
peak: ModuleType
pointwise: ModuleType
winograd: ModuleType
isa: str


def compiled() -> tuple[str, ...]:
    """Instruction sets in this build, widest first."""
    return tuple(name for name in _ORDER if importlib.util.find_spec(f"cconv._kernels.conv2d_{name}"))


def usable() -> tuple[str, ...]:
    """Those of them that this processor runs."""
    best = cpu.best()
    return tuple(name for name in compiled() if _ORDER.index(name) >= _ORDER.index(best))


def select(name: str) -> None:
    """Use the kernels of one instruction set from now on."""
    global isa
    if name not in usable():
        raise ValueError(
            f"CCONV_ISA must be one of {', '.join(usable())} here (compiled: {', '.join(compiled())}), got {name!r}"
        )
    for kernel in _KERNELS:
        globals()[kernel] = importlib.import_module(f"cconv._kernels.{kernel}_{name}")
    isa = name


select(os.environ.get("CCONV_ISA") or usable()[0])
