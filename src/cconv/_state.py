"""State dicts and safetensors files."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, Protocol

import numpy as np

from ._checks import FormatError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# A model of another kind misses every key: this many say so.
_MOST_LISTED = 20


class Holder(Protocol):
    """What has an array under `value`: a parameter or a buffer."""

    @property
    def value(self) -> np.ndarray: ...


def assign(
    holders: Sequence[tuple[str, Holder]],
    state: Mapping[str, Any],
    where: str,
    error: type[ValueError] = ValueError,
) -> None:
    """Copy the arrays of `state` into the holders of the same names, cast to their dtypes; all of them or none.

    Raises
    ------
    ValueError
        Or `error`, naming every key that is missing, unexpected, of another shape, or of a dtype that does not cast.
    """
    names = {name for name, _ in holders}
    arrays = {name: np.asarray(state[name]) for name in names if name in state}
    misshaped, mistyped = [], []
    for name, holder in holders:
        array, value = arrays.get(name), holder.value
        if array is None:
            continue
        if array.shape != value.shape:
            misshaped.append(f"{name} has shape {array.shape}, expected {value.shape}")
        elif not np.can_cast(array.dtype, value.dtype, "same_kind"):
            mistyped.append(f"{name} has dtype {array.dtype}, expected {value.dtype}")
    wrong = [
        f"{kind}: {_listed(found)}"
        for kind, found in (
            ("missing", [name for name, _ in holders if name not in arrays]),
            ("unexpected", [str(name) for name in state if name not in names]),
            ("wrong shape", misshaped),
            ("wrong dtype", mistyped),
        )
        if found
    ]
    if wrong:
        raise error(f"{where}: the state does not fit the model: {'; '.join(wrong)}")
    for name, holder in holders:
        np.copyto(holder.value, arrays[name], casting="same_kind")


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def save(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays by name, and text, to a safetensors file, whole or not at all."""
    from safetensors.numpy import save as serialised

    if metadata is not None and not all(isinstance(text, str) for item in metadata.items() for text in item):
        raise TypeError(f"save: metadata must map str to str, got {metadata!r}")
    # safetensors reads the memory of an array as it lies.
    laid_out = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = serialised(laid_out, None if metadata is None else dict(metadata))
    with replacing(path) as file:
        file.write(content)


def load(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays by name, and the text, of a safetensors file; FormatError where it is damaged."""
    from safetensors import SafetensorError, safe_open

    path = os.fsdecode(path)
    # safetensors maps the file into memory: for what is no readable file, open() has the better error.
    with open(path, "rb") as opened:
        try:
            with safe_open(_in_utf8(path, opened), "np") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except SafetensorError as error:
            opened.seek(0)
            # What torch.save writes: a zip archive, and before PyTorch 1.6 a pickle.
            torch = opened.read(4).startswith((b"PK\x03\x04", b"\x80\x02"))
            hint = (
                ": it looks like torch.save's: in PyTorch, safetensors.torch.save_file(state_dict, name)"
                if torch
                else ""
            )
            raise FormatError(f"{path}: not a safetensors file, or damaged: {error}{hint}") from error
        except (TypeError, AttributeError) as error:
            raise FormatError(f"{path}: holds a dtype that NumPy does not have: {error}") from error
        except ValueError as error:
            raise FormatError(f"{path}: holds a tensor that NumPy cannot: {error}") from error


def _in_utf8(path: str, opened: IO[bytes]) -> str:
    """`path`, or where its bytes are no UTF-8, which safetensors wants, another name of the opened file."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"/dev/fd/{opened.fileno()}"
    return path


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A temporary file in the folder of `path`, open for writing, that takes the place of `path` at the end.

    After a crash at any moment `path` holds the old file or the new one, whole. On an error the temporary file goes.
    """
    # A link stays a link: what it points to is replaced.
    target = os.path.realpath(os.fsdecode(path))
    folder, name = os.path.split(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "no such folder to save in", folder)
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file to save to", target)
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EINVAL, "a device or pipe, not a file to save to", target)
    sweep(folder, lambda other: other == _shortened(name))
    temporary = os.path.join(folder, f".{_shortened(name)}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            with contextlib.suppress(OSError):  # not every file system has locks
                _lock(file)
            yield file
            file.flush()
            with contextlib.suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = target  # the name that the caller knows
        raise
    if os.name == "posix":
        # The new name is on the disk once the folder is. Not every file system does that; the file is whole anyway.
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)
_STRAY_AFTER = 60.0  # seconds since a file was last written


def sweep(folder: str | os.PathLike, of: Callable[[str], object], after: float = _STRAY_AFTER) -> None:
    """Remove temporary files that killed processes have left, for targets whose names `of` accepts.

    A process that writes one holds a lock on it, and has touched it in the last `after` seconds: those stay.
    """
    with contextlib.suppress(OSError), os.scandir(os.fsdecode(folder)) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found and of(found[1]):
                with contextlib.suppress(OSError):
                    _remove_stray(entry.path, after)


def _remove_stray(path: str, after: float) -> None:
    if time.time() - os.stat(path, follow_symlinks=False).st_mtime < after:
        return
    with open(path, "rb") as file:
        _lock(file)
    os.unlink(path)


def _lock(file: IO[bytes]) -> None:
    """Lock a file while it is open; OSError where another process has. Windows lets nobody remove an open file."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _shortened(name: str) -> str:
    """What of a name leaves room for more in the 255 bytes that a file's may have."""
    return os.fsdecode(os.fsencode(name)[:200])
