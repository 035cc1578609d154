"""What ``import cconv`` brings along, and what it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cconv


def run(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.split()


def test_import_brings_nothing_heavy():
    loaded = set(run("import sys, cconv; print(*sys.modules)"))
    heavy = {
        *(
            "cconv.reference",
            "matplotlib",
            "mpi4py",
            "onnx",
            "pandas",
            "safetensors",
            "scipy",
            "sklearn",
            "torch",
            "tqdm",
        ),
        *("concurrent.futures", "hashlib", "http.client", "inspect", "multiprocessing", "numpy.random", "ssl"),
        *("tempfile", "unittest", "urllib.request"),
    }
    brought = set(run("import sys, numpy; print(*sys.modules)"))
    assert loaded & heavy - brought == set()


def test_one_instruction_set_is_loaded():
    kernels = [
        name for name in run("import sys, cconv; print(*sys.modules)") if name.startswith("cconv._kernels.conv2d")
    ]
    assert len(kernels) == 1


def test_the_reference_comes_when_asked_for():
    assert run("import cconv; print(cconv.reference.conv2d.__module__)") == ["cconv.reference.conv"]


def test_an_unknown_name_is_an_attribute_error():
    assert run("import cconv; print(hasattr(cconv, 'nothing'))") == ["False"]


def test_public_names_exist():
    assert all(hasattr(cconv, name) for name in cconv.__all__)
    assert sorted(cconv.__all__) == cconv.__all__


def test_types_are_declared():
    assert (Path(cconv.__file__).parent / "py.typed").exists()
