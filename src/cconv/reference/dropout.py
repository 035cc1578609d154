"""Dropout and its gradient."""

from __future__ import annotations

import numpy as np

from .. import _arguments
from ._precision import ieee, rounded, wide

_STREAM = 2


@ieee
def dropout(x, p=0.5, training=True, seed=0, step=0):
    """Drop numbers at random, and scale the others up (Srivastava et al. 2014).

    ::

        y = x * mask / (1 - p)

    A number of the mask is 0 with probability `p`, else 1: 0 where its word, of 32 random bits, is less than
    ``round(p * 2**32)``. Words are Philox4x32-10's (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
    3") of key `seed`: place 64 b + 16 w + k of x takes word w of counter (low half of 16 b + k, high half, `step`, 2).

    Parameters
    ----------
    x : array of any shape
        float32 or float64.
    p : float
        0 to 1.
    training : bool
        False for x itself.
    seed, step : int
        The mask is a function of both, of p and of x's shape.

    Returns
    -------
    array of x's shape
        NaN where x is NaN or infinite and dropped, as in PyTorch.

    Raises
    ------
    TypeError, ValueError
        If x has another dtype or a number is out of range.
    """
    return _numbers(*_arguments.dropout("dropout", "x", x, None, p, seed, step), training)


@ieee
def dropout_backward(grad_y, p=0.5, training=True, seed=0, step=0):
    """Gradient of `dropout`: grad_y by the same mask and scale. Raises what `dropout` raises."""
    return _numbers(*_arguments.dropout("dropout_backward", "grad_y", grad_y, None, p, seed, step), training)


@ieee
def dropout2d(x, p=0.5, training=True, seed=0, step=0):
    """Drop whole channels at random, and scale the others up (Tompson et al. 2015, arXiv 1411.4280).

    ::

        y = x * mask / (1 - p)

    A number of the mask is 0 with probability `p`, else 1: 0 where its word, of 32 random bits, is less than
    ``round(p * 2**32)``. Words are Philox4x32-10's (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
    3") as in `dropout`, a plane of x in place of a number.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    p : float
        0 to 1.
    training : bool
        False for x itself.
    seed, step : int
        The mask is a function of both, of p and of x's shape.

    Returns
    -------
    array of x's shape
        NaN where x is NaN or infinite and dropped, as in PyTorch.

    Raises
    ------
    TypeError, ValueError
        If x has another dtype or rank, or a number is out of range.
    """
    return _planes(*_arguments.dropout("dropout2d", "x", x, 4, p, seed, step), training)


@ieee
def dropout2d_backward(grad_y, p=0.5, training=True, seed=0, step=0):
    """Gradient of `dropout2d`: grad_y by the same mask and scale. Raises what `dropout2d` raises."""
    return _planes(*_arguments.dropout("dropout2d_backward", "grad_y", grad_y, 4, p, seed, step), training)


def philox(counter: np.ndarray, key: int) -> np.ndarray:
    """Philox4x32-10: four words of 32 bits from each row of four, under a key of 64 bits; all in uint64."""
    low32 = np.uint64(2**32 - 1)
    a, b, c, d = np.asarray(counter, np.uint64).T
    for r in range(10):
        first = np.uint64((key + r * 0x9E3779B9) % 2**32)
        second = np.uint64(((key >> 32) + r * 0xBB67AE85) % 2**32)
        p, q = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (q >> np.uint64(32)) ^ b ^ first, q & low32, (p >> np.uint64(32)) ^ d ^ second, p & low32
    return np.stack([a, b, c, d], axis=1)


def _factors(size: int, p: float, seed: int, step: int) -> np.ndarray:
    """What each number is multiplied by: 0, or 1 / (1 - p)."""
    place = np.arange(size)
    counter = place // 64 * 16 + place % 16
    rows = np.stack([counter % 2**32, counter >> 32, np.full(size, step), np.full(size, _STREAM)], axis=1)
    words = philox(rows, seed)[place, place % 64 // 16]
    return np.where(words < round(p * 2**32), 0, 0.0 if p == 1 else 1 / (1 - p))


def _numbers(x: np.ndarray, p: float, seed: int, step: int, training: bool) -> np.ndarray:
    factors = _factors(x.size, p, seed, step).reshape(x.shape)
    return rounded(wide(x) * factors, x.dtype) if training else x.copy()


def _planes(x: np.ndarray, p: float, seed: int, step: int, training: bool) -> np.ndarray:
    n, c = x.shape[:2]
    factors = _factors(n * c, p, seed, step).reshape(n, c, 1, 1)
    return rounded(wide(x) * factors, x.dtype) if training else x.copy()
