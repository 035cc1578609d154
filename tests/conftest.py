"""Fixtures: every instruction set, dtype and number of threads; memory that holds NaN where nothing was written."""

from __future__ import annotations

import importlib
import signal

import numpy as np
import pytest

from cconv import _dispatch, _threads
from cconv.functional import _calls

# A shell's background jobs ignore SIGINT, and so would the tests of Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SUBJECTS = (
    *("activation", "conv", "conv_transpose", "dropout", "linear", "loss", "norm", "pad", "pool", "resize"),
    *("_calls", "_winograd"),
)


@pytest.fixture
def keep_isa():
    """Whatever instruction set the test selects, the next test finds the one before it."""
    before = _dispatch.isa
    yield
    _dispatch.select(before)


@pytest.fixture(params=_dispatch.usable())
def isa(request, keep_isa):
    """Each instruction set that was built and that this processor runs, in use for the test."""
    _dispatch.select(request.param)
    return request.param


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture
def threads(monkeypatch):
    """A function that sets the number of threads, and lets the smallest work be shared among them."""
    monkeypatch.setattr(_threads, "WORK_A_THREAD", 1)
    _calls.forget()

    def use(n):
        monkeypatch.setattr(_threads, "_threads", n)

    yield use
    _calls.forget()


@pytest.fixture(params=[1, 2, 3])
def n_threads(request, threads):
    """Each number of threads, in use for the test however small its work."""
    threads(request.param)
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def poisoned_empty(shape, dtype):
    """An array of NaN, or of an integer that is no index."""
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else -(2**62), dtype)


@pytest.fixture
def poison(monkeypatch):
    """Outputs and working memory hold NaN before each call: a number never written shows, and one read too early."""
    for module in (importlib.import_module(f"cconv.functional.{subject}") for subject in SUBJECTS):
        monkeypatch.setattr(module, "empty", poisoned_empty, raising=False)
        monkeypatch.setattr(module, "scratch", poisoned_empty, raising=False)
