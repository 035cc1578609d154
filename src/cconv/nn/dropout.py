"""Dropout."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import _arguments, _random
from ..functional import dropout, dropout2d, dropout2d_backward, dropout_backward
from .layer import Backward, Layer


class Dropout(Layer):
    """Training sets each number to 0 with probability `p`, and divides others by ``1 - p`` (Srivastava et al. 2014).

    Prediction, and ``forward(x, train=False)``, give x itself. The mask is a function of `seed`, `step` and a number's
    place; backward makes it again, nothing is kept.

    Parameters
    ----------
    p : float
        0 to 1.
    inplace : bool
        As `ReLU`'s.
    rng : numpy.random.Generator or int, optional
        What `seed` is drawn from; by default the generator that `cconv.manual_seed` seeds.

    Attributes
    ----------
    seed : int
    step : int
        Calls of `forward` in training so far; with `seed` it is all that the next mask depends on, and may be set.
    """

    _pair: ClassVar[tuple[Callable[..., Any], Callable[..., Any]]] = (dropout, dropout_backward)

    def __init__(self, p: float = 0.5, inplace: bool = False, *, rng: np.random.Generator | int | None = None):
        self.p = _arguments.probability(type(self).__name__, p)
        self.seed = _random.fresh_seed(rng)
        self.step = 0

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        if not train:
            y, options = np.asarray(x), None
        else:
            forwards, backwards = self._pair
            options = self.p, True, self.seed, self.step
            y = forwards(x, *options)
            self.step += 1

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            if not need_x:
                return None
            return grad_y if options is None else backwards(grad_y, *options)

        return y, Backward(backward, y)

    def get_extra_state(self) -> dict[str, Any]:
        """Seed and step."""
        return {"seed": self.seed, "step": self.step}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_extra_state` gave."""
        try:
            seed, step = [operator.index(state[name]) for name in ("seed", "step")]
            if not (0 <= seed < 2**64 and 0 <= step < 2**64):
                raise TypeError
            self.seed, self.step = seed, step
        except (KeyError, TypeError):
            raise ValueError(f"{type(self).__name__}: state must have whole numbers seed and step: {state!r}") from None

    def extra_repr(self) -> str:
        return f"p={self.p:g}"


class Dropout2d(Dropout):
    """Training sets whole channels of x (N, C, H, W) to 0 (Tompson et al. 2015, arXiv 1411.4280); else as `Dropout`."""

    _pair: ClassVar = (dropout2d, dropout2d_backward)
