"""The instruction-set table: each kernel is built once a row, as ``cconv._kernels.<kernel>_<row>``.

All else is in pyproject.toml.
"""

import os
import platform
import shutil
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SETS = {
    "x86_64": {
        "baseline": ["-march=x86-64-v2"],
        "avx2": ["-march=x86-64-v2", "-mavx2", "-mfma"],
        "avx512": [
            *("-march=x86-64-v2", "-mavx2", "-mfma", "-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw"),
            "-mprefer-vector-width=512",
        ],
    },
    "aarch64": {"neon": []},
}
NAMES = {"amd64": "x86_64", "arm64": "aarch64"}

KERNELS = Path("src/cconv/_kernels")
# Contraction is explicit (simd.pxd's fma), so that every set with FMA gives the same bits.
if sys.platform == "win32":
    FLAGS, LINK, PREFIX = ["/O2", "/openmp", "/clang:-ffp-contract=off"], [], "/clang:"
elif sys.platform == "darwin":
    # A universal Python compiles for two processors at once; the flags fit one.
    os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")
    FLAGS, LINK, PREFIX = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-Xpreprocessor", "-fopenmp"], ["-lomp"], ""
else:
    FLAGS, LINK, PREFIX = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fopenmp", "-g0"], ["-fopenmp", "-Wl,-s"], ""


def extension(name: str, source: Path, flags: list[str]) -> Extension:
    return Extension(
        f"cconv._kernels.{name}",
        [str(source)],
        include_dirs=[numpy.get_include()],
        define_macros=[
            ("Py_LIMITED_API", "0x030B0000"),
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            ("NPY_TARGET_VERSION", "NPY_1_25_API_VERSION"),
        ],
        extra_compile_args=FLAGS + [PREFIX + flag for flag in flags],
        extra_link_args=LINK,
        depends=["setup.py"],  # where the flags stand
        py_limited_api=True,
    )


def copied(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(source, target))  # with its time: an unchanged kernel is not built again


def extensions() -> list[Extension]:
    machine = NAMES.get(platform.machine().lower(), platform.machine().lower())
    once, build = {KERNELS / f"{name}.pyx" for name in ("arrays", "cpu", "memory")}, Path("build")
    result = [extension(source.stem, copied(source, build / "once" / source.name), []) for source in sorted(once)]
    for isa, flags in SETS.get(machine, {"baseline": []}).items():
        for source in sorted(set(KERNELS.glob("*.pyx")) - once):
            name = f"{source.stem}_{isa}"
            result.append(extension(name, copied(source, build / isa / f"{name}.pyx"), flags))
    return result


class BuildExt(build_ext):
    """On Windows, clang-cl where it is installed: setuptools takes cl, which builds the plain C of each kernel."""

    def build_extensions(self) -> None:
        clang = shutil.which("clang-cl") if self.compiler.compiler_type == "msvc" else None
        if clang:
            self.compiler.initialize()
            self.compiler.cc = clang
            self.compiler.add_library("libomp")
            self.compiler.add_library_dir(str(Path(clang).parents[1] / "lib"))
        super().build_extensions()


setup(
    ext_modules=cythonize(
        extensions(),
        include_path=["src"],
        nthreads=0,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": False,
        },
    ),
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}, "build_ext": {"parallel": True}},
)
