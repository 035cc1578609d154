"""Plain or gzip files as one stream, read up to a bound."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from .._checks import FormatError

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20


@contextmanager
def unzipped(source: IO[bytes], name: str | os.PathLike) -> Iterator[IO[bytes]]:
    """`source`, unzipped if it holds gzip data; FormatError naming the file where that data is broken."""
    zipped = source.read(2) == _GZIP
    source.seek(0)
    if not zipped:
        yield source
        return
    import gzip
    import zlib

    try:
        with gzip.GzipFile(fileobj=source) as stream:
            yield stream  # type: ignore[misc]
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FormatError(f"{name}: broken gzip data: {error}") from error


def read_up_to(stream: IO[bytes], limit: int) -> bytearray:
    """At most `limit` bytes. Memory grows with the bytes that come, whatever the limit: a short file that
    promises much costs little."""
    data = bytearray()
    while len(data) < limit:
        chunk = stream.read(min(_CHUNK, limit - len(data)))
        if not chunk:
            break
        data += chunk
    return data
