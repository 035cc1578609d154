"""Files of known content: found on this machine or downloaded, and checked either way.

A file is looked for in the folder that CCONV_DATA names, in the user's cache, and where Linux distributions put data
sets; then it is downloaded into the cache. Its SHA-256 is that of the unzipped bytes, which all mirrors agree on,
whatever their gzip header, or, of an archive that is kept `packed`, of the file as it is.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import NamedTuple

from .._checks import FormatError
from .streams import read_up_to, unzipped

_SYSTEM = (Path("/usr/local/share/datasets"), Path("/usr/share/datasets"))
_TIMEOUT = 30  # seconds without an answer
_CHUNK = 1 << 16
_SLACK = 1 << 22  # a download may be larger than its file by this: a zip archive holds a few others


class File(NamedTuple):
    """A file by its name, its folder (one a data set), and its content: unzipped, unless it is `packed`. A URL that
    ends in ``.zip`` is an archive that holds the file under its name; any other gives the file, plain or gzip."""

    folder: str
    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]
    packed: bool = False


def cache_folder() -> Path:
    """Where downloads go: ``$XDG_CACHE_HOME/cconv`` or ``~/.cache/cconv``, and the like on macOS and Windows."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "cconv" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "cconv"
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    return (chosen if chosen.is_absolute() else Path.home() / ".cache") / "cconv"


def folders() -> list[Path]:
    """The folders to look in, in order."""
    chosen = os.environ.get("CCONV_DATA")
    return ([Path(chosen).expanduser()] if chosen else []) + [cache_folder(), *_SYSTEM]


def path_of(file: File) -> Path | None:
    """Where this machine has `file`, if it has it."""
    for folder in folders():
        for name in (file.name, file.name + ".gz"):
            path = folder / file.folder / name
            if path.is_file():
                return path
    return None


def load(file: File) -> bytearray:
    """The checked content of `file`.

    Raises
    ------
    FormatError
        If a copy on this machine is not the file: no other copy is then tried.
    FileNotFoundError
        If there is no copy, and none could be downloaded.
    """
    path = path_of(file)
    if path is None:
        return _download(file)
    with open(path, "rb") as source:
        return _checked(source, path, file)


def _checked(source: io.IOBase, name: str | os.PathLike, file: File) -> bytearray:
    with contextlib.nullcontext(source) if file.packed else unzipped(source, name) as stream:  # type: ignore[arg-type]
        data = read_up_to(stream, file.size + 1)  # type: ignore[arg-type]
    import hashlib  # here, as it takes longer than the rest of this module

    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        size = f"over {file.size}" if len(data) > file.size else f"{len(data)}"
        raise FormatError(
            f"{name}: is not {file.name}: {'' if file.packed else 'unzipped, '}expected {file.size} bytes of "
            f"SHA-256 {file.sha256}, found {size} bytes of {found}; delete it, or replace it by a good copy"
        )
    return data


def _download(file: File) -> bytearray:
    target = cache_folder() / file.folder / file.name
    failures = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in file.urls:
            try:
                data = _checked(_fetch(url, file), url, file)
            except (OSError, FormatError) as error:
                failures.append(f"{url}: {error}")
            else:
                _write(target, data)
                return data
    except OSError as error:
        failures.append(f"{target}: {error}")
    place = folders()[0] / file.folder
    wanted, state = (file.name, "") if file.packed else (f"{file.name} or {file.name}.gz", ", unzipped,")
    raise FileNotFoundError(
        f"{file.name} of {file.folder} is not on this machine and could not be downloaded. Put {wanted} in {place} "
        f"(the environment variable CCONV_DATA names another folder that may hold {file.folder}). Its SHA-256"
        f"{state} is {file.sha256}. Tried:\n  " + "\n  ".join(failures)
    )


def _fetch(url: str, file: File) -> io.BytesIO:
    """What `url` serves, out of its zip archive if it is one; OSError where that fails."""
    # Imported here: together they take longer than all of NumPy's share of `import cconv`.
    import http.client
    import urllib.request
    import zipfile
    import zlib

    from tqdm import tqdm

    data = io.BytesIO()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            limit = file.size + _SLACK
            # disable=None: no bar where the output is not a terminal.
            with tqdm(total=total, desc=file.name, unit="B", unit_scale=True, leave=False, disable=None) as bar:
                while chunk := answer.read(_CHUNK):
                    data.write(chunk)
                    bar.update(len(chunk))
                    if data.tell() > limit:
                        raise OSError(f"stopped at {limit} bytes, more than the file has")
        if total is not None and data.tell() != total:
            raise OSError(f"the connection closed after {data.tell()} of {total} bytes")
        data.seek(0)
        if url.endswith(".zip"):
            with zipfile.ZipFile(data) as archive, archive.open(file.name) as member:
                return io.BytesIO(read_up_to(member, file.size + 1))
        return data
    except (http.client.HTTPException, zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _write(target: Path, data: bytearray) -> None:
    """Write through a temporary file in the same folder, so that no reader ever meets half a file."""
    import tempfile

    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(data)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
