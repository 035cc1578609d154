"""The instruction set in use, who chooses it, and what ``python -m cconv`` says of it."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

import cconv
from cconv import _dispatch, _threads


def run(*arguments: str, isa: str | None = None) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "CCONV_ISA"} | (
        {} if isa is None else {"CCONV_ISA": isa}
    )
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60)


ASK = "from cconv import _dispatch as d; print(d.isa, d.conv2d.__name__)"


@pytest.mark.parametrize("isa", _dispatch.usable())
def test_the_environment_chooses(isa):
    assert run("-c", ASK, isa=isa).stdout.split() == [isa, f"cconv._kernels.conv2d_{isa}"]


@pytest.mark.parametrize("isa", [None, ""])
def test_the_widest_is_the_default(isa):
    assert run("-c", ASK, isa=isa).stdout.split()[0] == _dispatch.usable()[0]


def test_a_wrong_name_is_refused():
    error = run("-c", "import cconv", isa="avx9").stderr.strip().splitlines()[-1]
    assert error.startswith(f"ValueError: CCONV_ISA must be one of {', '.join(_dispatch.usable())} here")
    assert error.endswith("got 'avx9'")


def test_a_set_that_this_processor_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(_dispatch.cpu, "best", lambda: _dispatch.compiled()[-1])
    assert _dispatch.usable() == _dispatch.compiled()[-1:]
    for name in _dispatch.compiled()[:-1]:
        with pytest.raises(ValueError, match="CCONV_ISA must be one of"):
            _dispatch.select(name)


def test_select_takes_every_kernel(isa):
    assert _dispatch.isa == isa
    for kernel in _dispatch._KERNELS:
        assert getattr(_dispatch, kernel) is importlib.import_module(f"cconv._kernels.{kernel}_{isa}")


def test_python_m_cconv():
    done = run("-m", "cconv")
    lines = {line[:16].strip(): line[16:].strip() for line in done.stdout.splitlines()}
    assert done.returncode == 0 and not done.stderr
    assert lines["cconv"] == cconv.__version__
    assert lines["instruction set"].startswith(
        f"{_dispatch.usable()[0]} (compiled in: {', '.join(_dispatch.compiled())}"
    )
    assert lines["NumPy"] == np.__version__
    assert lines["Python"].startswith(platform.python_version())
    assert lines["OpenMP"]
    threads, _, source = lines["threads"].partition(" (from ")
    assert int(threads) >= 1 and source.rstrip(")") in ("CCONV_NUM_THREADS", "OMP_NUM_THREADS", _threads._initial()[1])
