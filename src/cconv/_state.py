"""State dicts and safetensors files."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Protocol

import numpy as np

from ._checks import FormatError

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

    path = os.fspath(path)
    # safetensors maps the file into memory: for what is no readable file, open() has the better error.
    with open(path, "rb"):
        pass
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise FormatError(f"{path}: not a safetensors file, or damaged: {error}") from error
    except (TypeError, AttributeError) as error:
        raise FormatError(f"{path}: holds a dtype that NumPy does not have: {error}") from error
    except ValueError as error:
        raise FormatError(f"{path}: holds a tensor that NumPy cannot: {error}") from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A temporary file in the folder of `path`, open for writing, that takes the place of `path` at the end.

    After a crash at any moment `path` holds the old file or the new one, whole. On an error the temporary file goes.
    """
    # A link stays a link: what it points to is replaced.
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "no such folder to save in", folder)
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file to save to", target)
    temporary = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if os.name == "posix":
        # The new name is on the disk once the folder is.
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
