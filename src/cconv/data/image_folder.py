"""image_folder: a data set of a user's own pictures."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from .._checks import choice
from .._state import replacing
from .dataset import Dataset
from .pictures import EXTENSIONS, Preprocessing, pillow

_MOST_LISTED = 10
_ABANDONED = 3600  # seconds in which a file that is being written is written to


class ImageFolder(Dataset):
    """What `image_folder` gives: a Dataset that knows its files and how they were prepared.

    Attributes
    ----------
    x : array (N, C, H, W)
    y : array (N,) of int64
    classes : tuple of str
    paths : array (N,) of str
    preprocessing : Preprocessing
        For pictures that the model meets later; `Preprocessing.to_metadata` goes into the model's file.
    """

    def __init__(self, x: Any, y: Any, name: str, paths: Any, preprocessing: Preprocessing):
        super().__init__(x, y, name, preprocessing.classes)
        self.paths = np.array(paths, object)
        self.preprocessing = preprocessing

    def _part(self, x: Any, y: Any, sample_weight: Any, index: Any) -> Dataset:
        return ImageFolder(x, y, self.name, self.paths[index], self.preprocessing)


def image_folder(
    path: str | os.PathLike,
    size: int | tuple[int, int] | None = None,
    *,
    channels: int = 3,
    resize: str = "crop",
    dtype: Any = np.float32,
    like: Preprocessing | None = None,
    cache: str | os.PathLike | None = None,
    broken: str = "raise",
) -> ImageFolder:
    """Pictures in a folder for each class, ``path/cat/1.jpg``, as torchvision's ImageFolder has them.

    Labels are 0, 1, ... in the order of the folders' sorted names. Pictures may lie deeper in a class's folder; hidden
    files and folders, and files that are no pictures by their name, are passed over. BMP, GIF (the first picture),
    JPEG, PNG, PPM, TIFF and WebP are read, of 8 or 16 bits, with palettes, transparency (which turns white) and EXIF
    orientation.

    Parameters
    ----------
    path : path-like
    size : int or (height, width)
        Of all pictures in the set; not needed with `like`.
    channels : 3 or 1
        RGB, or grey.
    resize : "crop" or "stretch"
        Scale to cover `size` and take the middle, or change the proportions.
    dtype : float32 or uint8
        0..1, or 0..255 for a model that begins with ``nn.Rescale(1 / 255)``.
    like : Preprocessing, optional
        Prepare these pictures as those of another set, ``like=train.preprocessing``, with its size, options and labels;
        a class may then have no pictures here. `size` and the options above are not given.
    cache : path-like, optional
        A folder for the prepared pictures, made if need be. Then ``.x`` is an ``np.memmap`` of a file there, of which
        training reads a batch at a time: for sets that are larger than memory, and to prepare pictures only once. A
        change of any picture or option makes another file. Without, all are held in memory.
    broken : "raise" or "skip"
        Whether a broken picture is an error, or left out with one warning for all of them.

    Returns
    -------
    ImageFolder
        A Dataset: ``.x`` (N, C, H, W), ``.y`` (N,) int64, ``.classes``, ``.paths``, ``.preprocessing``.

    Raises
    ------
    FormatError
        If a picture is broken, or so large that Pillow takes it for an attack; it names the file.
    FileNotFoundError
        If there is no such folder, no class, or a class without pictures.
    ImportError
        If Pillow is not installed (the extra ``images``).
    """
    pillow("image_folder")
    choice("image_folder", "broken", broken, ("raise", "skip"))
    root = os.fspath(path)
    found = _class_folders(root)
    if like is None:
        if size is None:
            raise TypeError("image_folder: size must be given, an int or (height, width), or like=, got neither")
        preprocessing = Preprocessing(size, channels, resize=resize, dtype=dtype, classes=found)
    else:
        preprocessing = _alike(root, like, found, (size, channels, resize, np.dtype(dtype)))
    files = [(label, file) for label, name in enumerate(preprocessing.classes or ()) for file in _files(root, name)]
    _check_none_is_empty(root, found, files, preprocessing)
    reader = _Reader(preprocessing, [file for _, file in files], broken == "skip", root)
    x, skipped = reader.in_memory() if cache is None else reader.cached(cache)
    if skipped:
        files = [item for i, item in enumerate(files) if i not in skipped]
        _check_none_is_empty(root, found, files, preprocessing)
        _warn(list(skipped.values()))
    y = np.array([label for label, _ in files], np.int64)
    return ImageFolder(x, y, os.path.basename(os.path.abspath(root)), [file for _, file in files], preprocessing)


def _alike(root: str, like: Any, found: Sequence[str], options: tuple) -> Preprocessing:
    if not isinstance(like, Preprocessing) or like.classes is None:
        raise TypeError(f"image_folder: like must be the Preprocessing of a set, with its classes, got {like!r}")
    if options != (None, 3, "crop", np.float32):
        raise TypeError("image_folder: like= has size, channels, resize and dtype of its own: give it or these")
    if unknown := [name for name in found if name not in like.classes]:
        raise ValueError(f"image_folder: {root} has classes that like has not: {_listed(unknown)}")
    return like


def _class_folders(root: str) -> list[str]:
    with os.scandir(root) as entries:
        here = [entry for entry in entries if not entry.name.startswith(".")]
    names = sorted(entry.name for entry in here if entry.is_dir())
    if not names:
        some = any(entry.name.lower().endswith(EXTENSIONS) for entry in here)
        hint = ": its pictures should lie in a folder for each class" if some else ""
        raise FileNotFoundError(f"image_folder: {root} has no folders, one a class is expected{hint}")
    return names


def _files(root: str, name: str) -> list[str]:
    """The pictures of a class, sorted; through links, too, but through no folder twice."""
    found = []
    seen = set()
    for folder, below, names in os.walk(os.path.join(root, name), followlinks=True):
        real = os.path.realpath(folder)
        below[:] = [] if real in seen else [one for one in below if not one.startswith(".")]
        if real not in seen:
            found += [
                os.path.join(folder, one)
                for one in names
                if one.lower().endswith(EXTENSIONS) and not one.startswith(".")
            ]
        seen.add(real)
    return sorted(found)


def _check_none_is_empty(
    root: str, folders: Sequence[str], files: Sequence[tuple[int, str]], preprocessing: Preprocessing
) -> None:
    labels = {label for label, _ in files}
    names = preprocessing.classes or ()
    if empty := [name for label, name in enumerate(names) if label not in labels and name in folders]:
        raise FileNotFoundError(f"image_folder: no pictures ({', '.join(EXTENSIONS)}) in {root} of: {_listed(empty)}")


class _Reader:
    """The pictures of some files, into memory or into a file."""

    def __init__(self, preprocessing: Preprocessing, files: list[str], skip: bool, root: str):
        self._preprocessing = preprocessing
        self._files = files
        self._skip = skip
        self._root = root

    def in_memory(self) -> tuple[np.ndarray, dict[int, str]]:
        x = np.empty((len(self._files), *self._preprocessing.shape), self._preprocessing.dtype)
        skipped: dict[int, str] = {}
        n = 0
        for row in self._rows(skipped):
            x[n] = row
            n += 1
        return x[:n], skipped

    def cached(self, cache: str | os.PathLike) -> tuple[np.ndarray, dict[int, str]]:
        os.makedirs(cache, exist_ok=True)
        name = f"{os.path.basename(os.path.abspath(self._root))}-{self._key()}"
        array, notes = Path(cache, f"{name}.npy"), Path(cache, f"{name}.json")
        if array.exists():
            known = self._known(array, notes)
            if known is not None:
                return known
        _sweep(array)
        skipped: dict[int, str] = {}
        with replacing(array) as file:
            n = self._write(file, skipped)
            # The array is the last to appear: where it is, its notes are.
            kept = {"folder": os.path.abspath(self._root), "pictures": n, "skipped": list(skipped.items())}
            with replacing(notes) as text:
                text.write(json.dumps(kept, indent=1).encode())
        known = self._known(array, notes)
        assert known is not None
        return known

    def _known(self, array: Path, notes: Path) -> tuple[np.ndarray, dict[int, str]] | None:
        """What the cache has, if it is whole, and broken pictures may be left out where some were."""
        try:
            skipped = {int(i): str(error) for i, error in json.loads(notes.read_bytes())["skipped"]}
            x = np.lib.format.open_memmap(array, mode="r")
        except (OSError, ValueError, TypeError, KeyError):
            return None
        shape = len(self._files) - len(skipped), *self._preprocessing.shape
        if x.shape != shape or x.dtype != self._preprocessing.dtype or (skipped and not self._skip):
            return None
        return x, skipped

    def _write(self, file: IO[bytes], skipped: dict[int, str]) -> int:
        self._header(file, len(self._files))
        n = 0
        for row in self._rows(skipped):
            file.write(row.tobytes())
            n += 1
        file.seek(0)
        self._header(file, n)
        return n

    def _header(self, file: IO[bytes], n: int) -> None:
        # NumPy leaves room for any length along the first axis, so that the header can be written again.
        values = {"descr": self._preprocessing.dtype.str, "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, values | {"shape": (n, *self._preprocessing.shape)})

    def _rows(self, skipped: dict[int, str]) -> Iterator[np.ndarray]:
        from tqdm import tqdm

        rows = self._preprocessing.rows(self._files)
        # disable=None: no bar where the output is not a terminal.
        for i, (row, error) in enumerate(
            tqdm(rows, "Pictures", len(self._files), leave=False, disable=None, unit=" pictures")
        ):
            if error is None:
                yield row
            elif self._skip:
                skipped[i] = str(error)
            else:
                raise error

    def _key(self) -> str:
        """Of the files as they are, and of what is done with them."""
        import hashlib  # here, as it takes longer than the rest of this module

        seen = hashlib.sha256(json.dumps(self._preprocessing.to_metadata()).encode())
        for file in self._files:
            found = os.stat(file)
            name = os.path.relpath(file, self._root)
            seen.update(f"{name!r} {found.st_size} {found.st_mtime_ns}\n".encode())
        return seen.hexdigest()[:16]


def _sweep(array: Path) -> None:
    """Remove what processes have left that were killed while they wrote this set; another may be writing it now."""
    for path in array.parent.iterdir():
        if path.name.startswith(f".{array.stem}.") and path.suffix == ".tmp":
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()


def _warn(errors: list[str]) -> None:
    more = f"\n  and {len(errors) - _MOST_LISTED} more" if len(errors) > _MOST_LISTED else ""
    lines = "\n  ".join(errors[:_MOST_LISTED])
    warnings.warn(f"image_folder: left out {len(errors)} broken pictures:\n  {lines}{more}", stacklevel=3)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more
