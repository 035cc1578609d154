"""Fixtures: every instruction set, dtype and number of threads; memory that holds NaN where nothing was written."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from cconv import _dispatch, _scratch, _threads

FUNCTIONAL = [importlib.import_module(f"cconv.functional.{m}") for m in ("activation", "conv", "linear", "loss", "pool")]


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

    def use(n):
        monkeypatch.setattr(_threads, "_threads", n)

    return use


@pytest.fixture(params=[1, 2, 3])
def n_threads(request, threads):
    """Each number of threads, in use for the test however small its work."""
    threads(request.param)
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class PoisonedNumPy:
    """NumPy, but fresh arrays hold NaN, or an integer that is no index."""

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype):
        return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else -(2**62), dtype)

    def empty_like(self, array):
        return self.empty(array.shape, array.dtype)


@pytest.fixture
def poison(monkeypatch):
    """Outputs and working memory hold NaN before each call: an element never written shows, and so does one read too early."""

    def poisoned_scratch(count, dtype):
        memory = _scratch.scratch(count, dtype)
        memory.fill(np.nan)
        return memory

    for module in FUNCTIONAL:
        monkeypatch.setattr(module, "np", PoisonedNumPy())
        if hasattr(module, "scratch"):
            monkeypatch.setattr(module, "scratch", poisoned_scratch)
