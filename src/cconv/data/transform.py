"""Transforms: what they are, and how one or several of them change the images of a batch.

A transform is called as ``augment(x, rng)`` on images (N, C, H, W) of float32, float64 or uint8, and returns new ones;
x is never changed. The numbers come from `rng` alone, and each image is computed by itself: threads change no bit.

`Compose` puts transforms together. Those that move pixels from place to place become one in it: their maps are
multiplied, and an image is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._checks import choice, number
from ._geometry import BORDERS, erase, fill_value, images, move, resample

Augmentation = Callable[[np.ndarray, "np.random.Generator"], np.ndarray]  # quoted: NumPy would import numpy.random


class Transform:
    """What all have in common: a call on a batch."""

    def __call__(self, x: Any, rng: np.random.Generator) -> np.ndarray:
        return _run([self], x, rng)

    def __repr__(self) -> str:
        arguments = {"border": "padding_mode", "mode": "interpolation"}
        given = [f"{arguments.get(name, name)}={value!r}" for name, value in vars(self).items()]
        return f"{type(self).__name__}({', '.join(given)})"


class Geometric(Transform):
    """A transform that reads each pixel at another place: `matrices` says where.

    Places outside the image read `border` (and `fill`); None where there are none, or all the same.
    """

    border: str | None = None
    fill: float = 0.0
    mode: str | None = None  # of interpolation; None where places are those of pixels
    distorts: bool = False  # by `noise`, under a filter of `sigma` and times `alpha`
    sigma: float = 0.0
    alpha: float = 0.0

    def matrices(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
        """(n, 3, 3) from (column, row, 1) of the result to that of its input of `size`; and the result's size."""
        raise NotImplementedError

    def noise(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray | None:
        """(n, 2, height, width): displacements along columns and along rows, where there are any."""
        return None

    def _outside(self, where: str, padding_mode: str, fill: float) -> None:
        self.border = choice(where, "padding_mode", padding_mode, BORDERS)
        self.fill = number(where, "fill", fill)


class Filling(Transform):
    """A transform that fills one box of each image with `value`, a number for all channels or for each."""

    value: float | Sequence[float]

    def boxes(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """(n, 4): top, left, bottom, right; all 0 where nothing is filled."""
        raise NotImplementedError

    def values(self, x: np.ndarray) -> np.ndarray:
        """`value` for each channel."""
        where, channels = type(self).__name__, x.shape[1]
        value = self.value
        if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str):
            if len(value) != channels:
                raise ValueError(f"{where}: value has {len(value)} numbers, the images {channels} channels")
            return np.array([fill_value(where, "value", v, x.dtype) for v in value])
        return np.full(channels, fill_value(where, "value", value, x.dtype))


class Compose(Transform):
    """Transforms one after the other.

    Neighbours among `Geometric` ones become one: the maps of an image are multiplied, so that it is read, and
    interpolated, once. What one of them would have moved out of the image is then not lost to the next. They stay apart
    where they differ in what lies outside the image or in interpolation, and after an `ElasticTransform`.

    Parameters
    ----------
    transforms : sequence of callable
        Transforms, or functions (x, rng) -> x of one's own.

    Examples
    --------
    >>> augment = Compose([RandomCrop(32, padding=4), RandomHorizontalFlip(), Cutout(8)])
    >>> y = augment(x, np.random.default_rng(0))
    """

    def __init__(self, transforms: Sequence[Augmentation]):
        if callable(transforms):
            raise TypeError(f"Compose: transforms must be a sequence, got {transforms!r}")
        self.transforms = list(transforms)
        for transform in self.transforms:
            if isinstance(transform, type) or not callable(transform):
                raise TypeError(f"Compose: transforms must be callable as (x, rng), got {transform!r}")

    def __call__(self, x: Any, rng: np.random.Generator) -> np.ndarray:
        return _run(self._flat(), x, rng)

    def _flat(self) -> list[Augmentation]:
        parts = ([t] if not isinstance(t, Compose) else t._flat() for t in self.transforms)
        return [transform for part in parts for transform in part]


def _run(transforms: Sequence[Augmentation], x: Any, rng: np.random.Generator) -> np.ndarray:
    """Transforms on a batch, neighbouring maps as one."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"augment: rng must be a numpy.random.Generator, got {rng!r}")
    given = images("augment", x)
    x = given
    for step in _grouped(transforms):
        if isinstance(step, Filling):
            values, boxes = step.values(x), step.boxes(len(x), x.shape[2:], rng)
            # Results of the steps before may be written to.
            x = erase(x.copy() if np.may_share_memory(x, given) else x, boxes, values)
        else:
            x = images("augment", step(x, rng))
    return x.copy() if np.may_share_memory(x, given) else x


def _grouped(transforms: Sequence[Augmentation]) -> list[Augmentation]:
    """The transforms, maps that can be one as one."""
    steps: list[Augmentation] = []
    for transform in transforms:
        if not isinstance(transform, Geometric):
            steps.append(transform)
            continue
        group = steps[-1] if steps else None
        if not (isinstance(group, _Group) and group.takes(transform)):
            group = _Group()
            steps.append(group)
        group.add(transform)
    return steps


class _Group:
    """Maps that can be one: nothing differs in what they read outside the image, nor in interpolation."""

    def __init__(self):
        self.members: list[Geometric] = []
        self.border: tuple[str, float] | None = None
        self.mode: str | None = None

    def takes(self, transform: Geometric) -> bool:
        if self.members[-1].distorts:
            return False
        border = None if transform.border is None else (transform.border, transform.fill)
        return all(
            mine is None or other is None or mine == other
            for mine, other in ((self.border, border), (self.mode, transform.mode))
        )

    def add(self, transform: Geometric) -> None:
        self.members.append(transform)
        if transform.border is not None:
            self.border = transform.border, transform.fill
        self.mode = transform.mode or self.mode

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, size = len(x), x.shape[2:]
        border, fill = self.border or ("edge", 0.0)
        fill_value(type(self.members[-1]).__name__, "fill", fill, x.dtype)
        matrix, size = self.members[0].matrices(n, size, rng)
        for member in self.members[1:]:
            further, size = member.matrices(n, size, rng)
            matrix = matrix @ further
        if self.mode is None:
            # Each row is a sign and a whole number: exact in doubles.
            rows, columns = (
                _places(matrix[:, axis, axis], matrix[:, axis, 2], length, x.shape[3 - axis], border)
                for axis, length in ((1, size[0]), (0, size[1]))
            )
            return move(x, rows, columns, fill)
        matrix = matrix[:, :2].reshape(n, 6)
        last = self.members[-1]
        noise = last.noise(n, size, rng)
        return resample(x, matrix, size, noise, last.sigma, last.alpha, border, fill, self.mode)


def _places(sign: np.ndarray, first: np.ndarray, length: int, size: int, border: str) -> np.ndarray:
    """(n, length) pixels of an axis of `size`, -1 for the fill."""
    place = (first[:, None] + sign[:, None] * np.arange(length)).astype(np.int64)
    if border == "constant":
        return np.where((place >= 0) & (place < size), place, -1)
    if border == "edge":
        return place.clip(0, size - 1)
    if border == "reflect":
        period = max(2 * (size - 1), 1)
        place %= period
        return np.minimum(place, (period - place) % period)
    place %= 2 * size
    return np.minimum(place, 2 * size - 1 - place)
