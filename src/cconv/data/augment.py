"""Augmentation: random changes to the images of a batch, drawn for each image, with torchvision's names.

How they are called, and put together, stands in transform.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._checks import choice, number
from .._shapes import pair
from ._geometry import INTERPOLATIONS
from .transform import Filling, Geometric


class RandomHorizontalFlip(Geometric):
    """Left and right exchanged, with probability `p`."""

    def __init__(self, p: float = 0.5):
        self.p = _share("RandomHorizontalFlip", "p", p)

    def matrices(self, n, size, rng):
        m = _identity(n)
        flipped = rng.random(n) < self.p
        m[flipped, 0, 0], m[flipped, 0, 2] = -1, size[1] - 1
        return m, size


class RandomVerticalFlip(Geometric):
    """Top and bottom exchanged, with probability `p`."""

    def __init__(self, p: float = 0.5):
        self.p = _share("RandomVerticalFlip", "p", p)

    def matrices(self, n, size, rng):
        m = _identity(n)
        flipped = rng.random(n) < self.p
        m[flipped, 1, 1], m[flipped, 1, 2] = -1, size[0] - 1
        return m, size


class RandomShift(Geometric):
    """Moved by whole pixels, up to `size` either way; pixels keep their values exactly.

    Parameters
    ----------
    size : int or (int, int)
        Rows and columns at most.
    padding_mode : {"constant", "edge", "reflect", "symmetric"}
        What comes in at the border, as in `numpy.pad`.
    fill : float
        For "constant".
    """

    def __init__(self, size: int | tuple[int, int], padding_mode: str = "constant", fill: float = 0.0):
        self.size = pair("RandomShift", "size", size, 0)
        self._outside("RandomShift", padding_mode, fill)

    def matrices(self, n, size, rng):
        m = _identity(n)
        for axis, most in ((1, self.size[0]), (0, self.size[1])):
            m[:, axis, 2] = rng.integers(-most, most + 1, n)
        return m, size


class RandomCrop(Geometric):
    """A part of `size` at a random place; pixels keep their values exactly.

    Parameters
    ----------
    size : int or (int, int)
        Height and width.
    padding : int or (int, int)
        Put around the image first: above and below, left and right.
    padding_mode : {"constant", "edge", "reflect", "symmetric"}
        As in `numpy.pad`.
    fill : float
        For "constant".
    """

    def __init__(self, size: Any, padding: Any = 0, padding_mode: str = "constant", fill: float = 0.0):
        self.size = pair("RandomCrop", "size", size)
        self.padding = pair("RandomCrop", "padding", padding, 0)
        self._outside("RandomCrop", padding_mode, fill)

    def matrices(self, n, size, rng):
        m = _identity(n)
        for axis, (have, want, padding) in enumerate(zip(size, self.size, self.padding, strict=True)):
            if have + 2 * padding < want:
                raise ValueError(
                    f"RandomCrop: size {self.size} is larger than images of {size} with padding {self.padding}"
                )
            m[:, 1 - axis, 2] = rng.integers(0, have + 2 * padding - want + 1, n) - padding
        return m, self.size


class RandomResizedCrop(Geometric):
    """A box of random area and shape, brought to `size`.

    Of ten boxes drawn the first that fits is taken, and else the largest in the middle, as in torchvision. Pixels
    near a box's edge are interpolated with those outside it.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the result.
    scale : (float, float)
        Least and largest share of the image's area.
    ratio : (float, float)
        Least and largest width over height, which is drawn uniformly in its logarithm.
    interpolation : {"bilinear", "nearest"}
    """

    border = "edge"

    def __init__(
        self,
        size: Any,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
    ):
        where = "RandomResizedCrop"
        self.size = pair(where, "size", size)
        self.scale, self.ratio = _positive(where, "scale", scale), _positive(where, "ratio", ratio)
        self.mode = choice(where, "interpolation", interpolation, INTERPOLATIONS)

    def matrices(self, n, size, rng):
        height, width, fits = _boxes(n, size, self.scale, self.ratio, rng)
        shape = size[1] / size[0]
        low, high = self.ratio
        height = np.where(fits, height, size[0] if shape >= low else round(size[1] / low))
        width = np.where(fits, width, size[1] if shape <= high else round(size[0] * high))
        draw = rng.random((2, n))
        top = np.where(fits, np.floor(draw[0] * (size[0] - height + 1)), (size[0] - height) // 2)
        left = np.where(fits, np.floor(draw[1] * (size[1] - width + 1)), (size[1] - width) // 2)
        m = _identity(n)
        for axis, first, length, want in ((1, top, height, self.size[0]), (0, left, width, self.size[1])):
            # Pixel centres: (i + 1/2) * length / want - 1/2.
            m[:, axis, axis] = length / want
            m[:, axis, 2] = first + (length / want - 1) / 2
        return m, self.size


class RandomAffine(Geometric):
    """Turned, moved, scaled and sheared around the middle.

    Parameters
    ----------
    degrees : float or (float, float)
        Angles, clockwise; a number d stands for (-d, d).
    translate : (float, float), optional
        Largest shift as a share of the width, and of the height. Not rounded to whole pixels.
    scale : (float, float), optional
        Least and largest factor.
    shear : float or (float, float) or (float, float, float, float), optional
        Angles of the shear in degrees, parallel to the x axis, and with four numbers to the y axis, too.
    interpolation : {"bilinear", "nearest"}
    padding_mode : {"constant", "edge", "reflect", "symmetric"}
        What lies outside the image, as in `numpy.pad`.
    fill : float
        For "constant".

    Notes
    -----
    Arguments and the map are those of torchvision's transform of this name, where interpolation is "nearest" unless
    told otherwise, shifts are whole pixels, and what lies outside is `fill`.
    """

    def __init__(
        self,
        degrees: Any,
        translate: tuple[float, float] | None = None,
        scale: tuple[float, float] | None = None,
        shear: Any = None,
        interpolation: str = "bilinear",
        padding_mode: str = "constant",
        fill: float = 0.0,
    ):
        where = "RandomAffine"
        self.degrees = _angles(where, "degrees", degrees)
        self.translate = None if translate is None else _numbers(where, "translate", translate, 2)
        if self.translate is not None and not all(0 <= share <= 1 for share in self.translate):
            raise ValueError(f"{where}: translate must be in 0..1, got {translate!r}")
        self.scale = None if scale is None else _positive(where, "scale", scale)
        four = isinstance(shear, Sequence) and len(shear) == 4
        if shear is None:
            self.shear = None
        elif four:
            self.shear = _numbers(where, "shear", shear, 4)
        else:
            self.shear = (*_angles(where, "shear", shear), 0.0, 0.0)
        if self.shear is not None and max(map(abs, self.shear)) >= 90:
            raise ValueError(f"{where}: shear must be within 90 degrees, got {shear!r}")
        self.mode = choice(where, "interpolation", interpolation, INTERPOLATIONS)
        self._outside(where, padding_mode, fill)

    def matrices(self, n, size, rng):
        angle = rng.uniform(*self.degrees, n)
        x, y = np.zeros(n), np.zeros(n)
        if self.translate is not None:
            x, y = (rng.uniform(-t * s, t * s, n) for t, s in zip(self.translate, size[::-1], strict=True))
        scale = np.ones(n) if self.scale is None else rng.uniform(*self.scale, n)
        shear_x, shear_y = np.zeros(n), np.zeros(n)
        if self.shear is not None:
            shear_x, shear_y = rng.uniform(*self.shear[:2], n), rng.uniform(*self.shear[2:], n)
        return affine_matrices(size, angle, x, y, scale, shear_x, shear_y), size


class RandomRotation(Geometric):
    """Turned around the middle.

    Parameters
    ----------
    degrees : float or (float, float)
        Angles, counter-clockwise as in torchvision; a number d stands for (-d, d).
    interpolation, padding_mode, fill
        As in `RandomAffine`.
    """

    def __init__(
        self, degrees: Any, interpolation: str = "bilinear", padding_mode: str = "constant", fill: float = 0.0
    ):
        self.degrees = _angles("RandomRotation", "degrees", degrees)
        self.mode = choice("RandomRotation", "interpolation", interpolation, INTERPOLATIONS)
        self._outside("RandomRotation", padding_mode, fill)

    def matrices(self, n, size, rng):
        low, high = self.degrees
        clockwise, zeros = rng.uniform(-high, -low, n), np.zeros(n)
        return affine_matrices(size, clockwise, zeros, zeros, np.ones(n), zeros, zeros), size


class ElasticTransform(Geometric):
    """Distorted smoothly: each pixel is read a little aside, neighbours alike (Simard, Steinkraus and Platt 2003,
    "Best practices for convolutional neural networks applied to visual document analysis").

    Displacements are noise, uniform in -1..1, under a Gaussian filter of `sigma` pixels, times ``alpha / 2`` pixels:
    torchvision's on square images. As the filter averages, they are far smaller than that: typically
    ``0.08 * alpha / sigma``.

    Parameters
    ----------
    alpha, sigma : float
    interpolation : {"bilinear", "nearest"}
    padding_mode : {"constant", "edge", "reflect", "symmetric"}
        What lies outside the image, as in `numpy.pad`.
    fill : float
        For "constant".
    """

    distorts = True

    def __init__(
        self,
        alpha: float = 50.0,
        sigma: float = 5.0,
        interpolation: str = "bilinear",
        padding_mode: str = "constant",
        fill: float = 0.0,
    ):
        where = "ElasticTransform"
        self.alpha, self.sigma = number(where, "alpha", alpha, 0), number(where, "sigma", sigma, 0)
        self.mode = choice(where, "interpolation", interpolation, INTERPOLATIONS)
        self._outside(where, padding_mode, fill)

    def matrices(self, n, size, rng):
        return _identity(n), size

    def noise(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """Uniform in -1..1."""
        noise = rng.random((n, 2, *size), np.float32)
        noise *= 2
        noise -= 1
        return noise


class RandomErasing(Filling):
    """A box of random place, area and shape filled, with probability `p` (Zhong et al. 2017, arXiv 1708.04896).

    Of ten boxes drawn the first that fits is taken; where none does, the image stays as it is.

    Parameters
    ----------
    p : float
    scale : (float, float)
        Least and largest share of the image's area.
    ratio : (float, float)
        Least and largest width over height, which is drawn uniformly in its logarithm.
    value : float or sequence of float
        For all channels, or for each.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | Sequence[float] = 0.0,
    ):
        where = "RandomErasing"
        self.p = _share(where, "p", p)
        self.scale, self.ratio = _positive(where, "scale", scale), _positive(where, "ratio", ratio)
        self.value = value

    def boxes(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        wanted = rng.random(n) < self.p
        height, width, fits = _boxes(n, size, self.scale, self.ratio, rng)
        draw = rng.random((2, n))
        top, left = (np.floor(draw[i] * (size[i] - side + 1)) for i, side in enumerate((height, width)))
        boxes = np.stack([top, left, top + height, left + width], axis=1)
        return np.where((wanted & fits)[:, None], boxes, 0).astype(np.int32)


class Cutout(Filling):
    """A square filled whose middle lies anywhere in the image (DeVries and Taylor 2017, arXiv 1708.04552).

    Parameters
    ----------
    size : int or (int, int)
        Height and width; what would lie outside the image is cut off.
    value : float or sequence of float
        For all channels, or for each.
    """

    def __init__(self, size: int | tuple[int, int], value: float | Sequence[float] = 0.0):
        self.size = pair("Cutout", "size", size)
        self.value = value

    def boxes(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        first = np.stack([rng.integers(0, size[i], n) - self.size[i] // 2 for i in (0, 1)], axis=1)
        return np.concatenate([np.maximum(first, 0), np.minimum(first + self.size, size)], axis=1).astype(np.int32)


def affine_matrices(
    size: tuple[int, int],
    angle: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    scale: np.ndarray,
    shear_x: np.ndarray,
    shear_y: np.ndarray,
) -> np.ndarray:
    """(n, 3, 3) from (column, row, 1) of results to those of images of `size`.

    A point goes through T C R H S C^-1: the middle C to the origin, scaled (S), sheared (H), turned clockwise by
    `angle` degrees (R), back, and shifted by (x, y) (T). The matrices are the inverse of that, torchvision's.
    """
    angle, shear_x, shear_y = (np.deg2rad(a) for a in (angle, shear_x, shear_y))
    a = np.cos(angle - shear_y) / np.cos(shear_y)
    b = -a * np.tan(shear_x) - np.sin(angle)
    c = np.sin(angle - shear_y) / np.cos(shear_y)
    d = -c * np.tan(shear_x) + np.cos(angle)
    m = _identity(len(angle))
    m[:, 0, 0], m[:, 0, 1], m[:, 1, 0], m[:, 1, 1] = d / scale, -b / scale, -c / scale, a / scale
    middle_y, middle_x = (size[0] - 1) / 2, (size[1] - 1) / 2
    for i, middle in enumerate((middle_x, middle_y)):
        m[:, i, 2] = middle - m[:, i, 0] * (middle_x + x) - m[:, i, 1] * (middle_y + y)
    return m


def _boxes(
    n: int, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height, width, and whether it fits, of the first of ten boxes a piece that does."""
    area = size[0] * size[1] * rng.uniform(*scale, (10, n))
    shape = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), (10, n)))
    height, width = np.rint(np.sqrt(area / shape)), np.rint(np.sqrt(area * shape))
    fits = (height > 0) & (height <= size[0]) & (width > 0) & (width <= size[1])
    first = fits.argmax(axis=0), np.arange(n)
    return height[first], width[first], fits[first]


def _identity(n: int) -> np.ndarray:
    return np.tile(np.eye(3), (n, 1, 1))


def _share(where: str, name: str, value: Any) -> float:
    value = number(where, name, value, 0)
    if value > 1:
        raise ValueError(f"{where}: {name} must be in 0..1, got {value:g}")
    return value


def _numbers(where: str, name: str, value: Any, count: int) -> tuple[float, ...]:
    if isinstance(value, str) or not isinstance(value, (Sequence, np.ndarray)) or len(value) != count:
        raise ValueError(f"{where}: {name} must be {count} numbers, got {value!r}")
    return tuple(number(where, name, v) for v in value)


def _interval(where: str, name: str, value: Any) -> tuple[float, float]:
    low, high = _numbers(where, name, value, 2)
    if low > high:
        raise ValueError(f"{where}: {name} must be (least, largest), got {value!r}")
    return low, high


def _positive(where: str, name: str, value: Any) -> tuple[float, float]:
    low, high = _interval(where, name, value)
    if low <= 0:
        raise ValueError(f"{where}: {name} must be more than 0, got {value!r}")
    return low, high


def _angles(where: str, name: str, value: Any) -> tuple[float, float]:
    """A number d as (-d, d)."""
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str):
        return _interval(where, name, value)
    value = number(where, name, value, 0)
    return -value, value
