"""Dropout, forward and backward."""

from __future__ import annotations

import numpy as np

from .. import _arguments, _dispatch, _random
from .._kernels.memory import empty
from .._threads import threads_for
from .activation import ieee

# Multiply-adds' worth of work a number.
_WORK = 8


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


def dropout_backward(grad_y, p=0.5, training=True, seed=0, step=0):
    """Gradient of `dropout`: grad_y by the same mask and scale. Raises what `dropout` raises."""
    return _numbers(*_arguments.dropout("dropout_backward", "grad_y", grad_y, None, p, seed, step), training)


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


def dropout2d_backward(grad_y, p=0.5, training=True, seed=0, step=0):
    """Gradient of `dropout2d`: grad_y by the same mask and scale. Raises what `dropout2d` raises."""
    return _planes(*_arguments.dropout("dropout2d_backward", "grad_y", grad_y, 4, p, seed, step), training)


def _numbers(x: np.ndarray, p: float, seed: int, step: int, training: bool) -> np.ndarray:
    y = empty(x.shape, x.dtype)
    if not training:
        y[...] = x
        return y
    threshold, scale = min(round(p * 2**32), 2**32 - 1), 0.0 if p == 1 else 1 / (1 - p)
    _dispatch.dropout.apply(y, x, threshold, scale, seed, _random.DROPOUT, step, threads_for(x.size * _WORK))
    return y


@ieee
def _planes(x: np.ndarray, p: float, seed: int, step: int, training: bool) -> np.ndarray:
    factors = _numbers(np.ones((*x.shape[:2], 1, 1), x.dtype), p, seed, step, training)
    return np.multiply(x, factors, out=empty(x.shape, x.dtype))
