"""Which layer of several is wrong: what reaches each layer within another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...nn._wrap import Forward, wrapped
from ...nn.layer import Layer, _members


def inputs_of_children(layer: Layer, run: Callable[[], Any]) -> list[tuple[str, Layer, np.ndarray]]:
    """(path, layer, x) of each layer next within another, with the first array that reaches it.

    Parameters
    ----------
    layer : Layer
    run : callable
        Calls the layer's forward.

    Notes
    -----
    A layer that is given more than one array, or that is not called through `forward`, is left out.
    """
    children: dict[int, tuple[str, Layer]] = {}
    for name, item in _members(layer):
        if isinstance(item, Layer):
            children.setdefault(id(item), (name, item))
    seen: dict[int, np.ndarray] = {}
    with wrapped(list(children.values()), lambda _, child, forward: _noting(forward, seen, id(child))):
        run()
    return [(name, child, seen[key]) for key, (name, child) in children.items() if key in seen]


def _noting(forward: Forward, seen: dict[int, np.ndarray], key: int) -> Forward:
    def noting_forward(x: Any, *args: Any, **options: Any) -> Any:
        if key not in seen and isinstance(x, np.ndarray) and not any(isinstance(a, np.ndarray) for a in args):
            seen[key] = x.copy()
        return forward(x, *args, **options)

    return noting_forward
