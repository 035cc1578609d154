"""The IDX format (LeCun, Cortes, Burges: "The MNIST database"): two zero bytes, a type code, the rank, the sizes
as big-endian uint32, then the values, big-endian, in C order."""

from __future__ import annotations

import math
import operator
import os
from typing import IO

import numpy as np

from .._checks import FormatError
from .streams import read_up_to, unzipped

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_RANK = 32  # the most that every NumPy takes


def read_idx(path: str | os.PathLike, max_bytes: int = 2**31) -> np.ndarray:
    """Read an IDX file, plain or gzip.

    Parameters
    ----------
    path : path of the file
        Gzip data is recognised by its content, not by its name.
    max_bytes : int
        Refuse a file that declares more data than this: a small gzip file may unzip to a thousand times its size.

    Returns
    -------
    ndarray
        Of the file's shape and type (uint8, int8, int16, int32, float32 or float64), in native byte order.

    Raises
    ------
    FormatError
        If the file is not IDX, is cut short or broken, or goes on after its data.
    OSError
        If it cannot be read.
    """
    limit = operator.index(max_bytes)
    with open(path, "rb") as source, unzipped(source, path) as stream:
        return parse_idx(stream, path, limit)


def parse_idx(stream: IO[bytes], name: str | os.PathLike, limit: int) -> np.ndarray:
    """The array in an IDX stream of at most `limit` bytes of data; `name` is for errors."""
    dtype, shape = _header(stream, name)
    declared = math.prod(shape) * dtype.itemsize
    if declared > limit:
        raise FormatError(
            f"{name}: declares {declared} bytes, shape {shape} of {dtype.name}, more than max_bytes={limit}"
        )
    # NumPy counts what even an empty array would need along its other axes.
    if math.prod(n for n in shape if n) * dtype.itemsize >= 2**63:
        raise FormatError(f"{name}: shape {shape} of {dtype.name} overflows")
    data = read_up_to(stream, declared + 1)
    if len(data) < declared:
        raise FormatError(f"{name}: cut short: shape {shape} of {dtype.name} takes {declared} bytes, found {len(data)}")
    if len(data) > declared:
        raise FormatError(f"{name}: goes on after the {declared} bytes that shape {shape} of {dtype.name} takes")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(stream: IO[bytes], name: str | os.PathLike) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise FormatError(
            f"{name}: not an IDX file: it starts with {magic.hex(' ') or 'nothing'}, expected 00 00, a type, a rank"
        )
    rank = magic[3]
    if rank > _MAX_RANK:
        raise FormatError(f"{name}: rank {rank}, expected at most {_MAX_RANK}")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise FormatError(f"{name}: cut short: {rank} sizes take {4 * rank} bytes, found {len(sizes)}")
    return np.dtype(_DTYPES[magic[2]]), tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
