"""Preprocessing: from pictures in files to the arrays that a model takes, and how to do it again elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _state
from .._checks import FormatError, choice
from .._shapes import pair, whole
from .._threads import get_num_threads

if TYPE_CHECKING:
    from PIL.Image import Image

_KEY = "cconv.preprocessing"
_VERSION = 1
_CHUNK = 16  # pictures a thread between two waits for all of them

# Pillow has decoders that run other programs, and many that nobody checks: these are what pictures come in.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")


class Preprocessing:
    """How pictures become arrays, to be kept with the model that was trained on them.

    A picture is turned as its EXIF orientation says, laid on white where it is transparent, taken to grey or RGB,
    resized, and ends as bytes or as float32 in 0..1. What comes after, such as taking off a mean, is the model's:
    ``nn.Rescale`` and ``nn.Normalize`` keep their constants in its file.

    Parameters
    ----------
    size : int or (height, width)
    channels : 3 or 1
        RGB, or grey (ITU-R 601 luma).
    resize : "crop" or "stretch"
        "crop" scales a picture to cover `size` with nothing to spare in one direction, and takes the middle of it;
        "stretch" changes its proportions. Both average over what a pixel covers (Pillow's bilinear filter).
    dtype : float32 or uint8
        0..1, or 0..255 at a quarter of the memory, for a model that begins with ``nn.Rescale(1 / 255)``.
    classes : sequence of str, optional
        The name of each label.

    Examples
    --------
    >>> import numpy as np
    >>> grey = Preprocessing((2, 3), channels=1, dtype="uint8")
    >>> grey(np.full((20, 30, 3), 9, np.uint8)).tolist()
    [[[[9, 9, 9], [9, 9, 9]]]]
    >>> Preprocessing.from_metadata(grey.to_metadata()) == grey
    True
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        channels: int = 3,
        *,
        resize: str = "crop",
        dtype: Any = np.float32,
        classes: Sequence[str] | None = None,
    ):
        where = "Preprocessing"
        self.size = pair(where, "size", size)
        self.channels = whole(where, "channels", channels)
        if self.channels not in (1, 3):
            raise ValueError(f"{where}: channels must be 1 (grey) or 3 (RGB), got {channels!r}")
        self.resize = choice(where, "resize", resize, ("crop", "stretch"))
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.uint8):
            raise ValueError(f"{where}: dtype must be float32 (0..1) or uint8 (0..255), got {self.dtype}")
        if isinstance(classes, str) or not all(isinstance(name, str) for name in classes or ()):
            raise TypeError(f"{where}: classes must be a sequence of str, got {classes!r}")
        self.classes = None if classes is None else tuple(classes)

    def __call__(self, pictures: Any) -> np.ndarray:
        """The batch that a model takes.

        Parameters
        ----------
        pictures : path, PIL image, or uint8 array (H, W), (H, W, 3) or (H, W, 4); or several of these
            One picture is a batch of one. Several come in any iterable, such as ``dataset.paths``.

        Returns
        -------
        ndarray (N, channels, height, width)

        Raises
        ------
        FormatError
            If a file is no picture, broken, or so large that Pillow takes it for an attack
            (``PIL.Image.MAX_IMAGE_PIXELS``).
        ImportError
            If Pillow is not installed.
        """
        one = isinstance(pictures, (str, os.PathLike)) or hasattr(pictures, "getexif")
        if isinstance(pictures, np.ndarray):
            one = pictures.dtype.kind not in "OU" and pictures.ndim < 4
        sources = [pictures] if one else list(pictures)
        x = np.empty((len(sources), *self.shape), self.dtype)
        for i, (row, error) in enumerate(self.rows(sources)):
            if error is not None:
                raise error
            x[i] = row
        return x

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one picture, (C, H, W): what `models` take as ``input_shape``."""
        return self.channels, *self.size

    def rows(self, sources: Sequence[Any]) -> Iterator[tuple[np.ndarray, None] | tuple[None, FormatError]]:
        """(array (C, H, W), None), or (None, error) of a broken file, of each source in order; threads decode."""
        pillow("Preprocessing")
        threads = min(get_num_threads(), len(sources))
        if threads < 2:
            yield from map(self._row, sources, range(len(sources)))
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(threads) as pool:
            step = _CHUNK * threads
            for start in range(0, len(sources), step):
                yield from pool.map(self._row, sources[start : start + step], range(start, start + step))

    def to_metadata(self) -> dict[str, str]:
        """For ``model.save(path, metadata=...)``: all of this as text."""
        values = {
            "version": _VERSION,
            "size": self.size,
            "channels": self.channels,
            "resize": self.resize,
            "dtype": self.dtype.name,
            "classes": self.classes,
        }
        return {_KEY: json.dumps(values)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Preprocessing:
        """What `to_metadata` gave.

        Raises
        ------
        FormatError
            If `metadata` holds none, or one that is broken.
        """
        if _KEY not in metadata:
            raise FormatError(
                f"no {_KEY} in the metadata ({', '.join(metadata) or 'which is empty'}): save the model with "
                "metadata=preprocessing.to_metadata()"
            )
        try:
            values = json.loads(metadata[_KEY])
            version = values.pop("version")
            if version != _VERSION:
                raise ValueError(f"version {version!r}, expected {_VERSION}")
            return cls(tuple(values.pop("size")), values.pop("channels"), **values)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise FormatError(f"{_KEY} in the metadata is broken: {type(error).__name__}: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike) -> Preprocessing:
        """From the file of a model that was saved with ``metadata=preprocessing.to_metadata()``.

        Raises
        ------
        FormatError
            If the file is damaged or holds none.
        """
        _, metadata = _state.load(path)
        try:
            return cls.from_metadata(metadata)
        except FormatError as error:
            raise FormatError(f"{os.fspath(path)}: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Preprocessing) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        names = "" if self.classes is None else f", classes={self.classes}"
        return f"Preprocessing({self.size}, {self.channels}, resize={self.resize!r}, dtype={self.dtype.name!r}{names})"

    def _row(self, source: Any, number: int) -> tuple[np.ndarray, None] | tuple[None, FormatError]:
        if not isinstance(source, (str, os.PathLike)):
            return self._pixels(_image(source, number)), None
        with open(source, "rb") as file:
            try:
                from PIL import Image

                with Image.open(file, formats=FORMATS) as image:
                    limit = Image.MAX_IMAGE_PIXELS
                    if limit is not None and image.width * image.height > limit:
                        raise ValueError(
                            f"{image.width}x{image.height} pixels, more than Image.MAX_IMAGE_PIXELS={limit}"
                        )
                    return self._pixels(image), None
            except MemoryError:
                raise
            except Exception as error:  # decoders raise nearly anything
                # The file is named in the error, and Pillow names it by the object that it is read from.
                what = "no picture that Pillow reads" if type(error).__name__ == "UnidentifiedImageError" else error
                return None, FormatError(f"{os.fspath(source)}: {what}")

    def _pixels(self, image: Image) -> np.ndarray:
        """A picture as an array (C, H, W)."""
        from PIL import Image, ImageOps

        upright = _bytes_or_floats(ImageOps.exif_transpose(image))
        if upright.mode != "F":
            upright = upright.convert("L" if self.channels == 1 else "RGB")
        height, width = self.size
        box = _middle(upright.size, (width, height)) if self.resize == "crop" else None
        pixels = np.asarray(upright.resize((width, height), Image.Resampling.BILINEAR, box))
        planes = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else np.broadcast_to(pixels, self.shape)
        if self.dtype == np.uint8:
            return (planes if planes.dtype == np.uint8 else np.rint(planes).clip(0, 255)).astype(np.uint8)
        return np.divide(planes, np.float32(255), dtype=np.float32)


def pillow(where: str) -> None:
    """Raise ImportError saying what to install, where Pillow is not."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ImportError(f'data.{where} needs Pillow: pip install "cconv[images]"') from error


def _bytes_or_floats(image: Image) -> Image:
    """In a mode of 8 bits without transparency; 16 bits of grey as floats in 0..255, as these cannot be resized."""
    from PIL import Image

    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"grey values from {values.min()} to {values.max()}, expected 8 or 16 bits")
        return Image.fromarray(values.astype(np.float32) / np.float32(257))
    if image.mode == "F":
        raise ValueError("floating-point pixels, which have no range of their own, expected 8 or 16 bits")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return image


def _middle(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest box (left, top, right, bottom) of the target's proportions, in the middle of a picture."""
    scale = min(size[0] / target[0], size[1] / target[1])
    width, height = (min(t * scale, float(n)) for t, n in zip(target, size, strict=True))
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, min(left + width, float(size[0])), min(top + height, float(size[1]))


def _image(source: Any, number: int) -> Image:
    from PIL import Image

    if isinstance(source, Image.Image):
        return source
    if not isinstance(source, np.ndarray):
        kind = type(source).__name__
        raise TypeError(f"Preprocessing: picture {number} must be a path, a PIL image or an array, got {kind}")
    shape = source.shape
    if source.dtype != np.uint8 or not source.size or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise ValueError(
            f"Preprocessing: picture {number} must be a uint8 array (H, W), (H, W, 3) or (H, W, 4), "
            f"got {source.dtype} {shape}"
        )
    return Image.fromarray(np.ascontiguousarray(source))
