"""Layers whose `forward` someone watches for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .layer import Layer

Forward = Callable[..., Any]


@contextlib.contextmanager
def wrapped(layers: Iterable[tuple[str, Layer]], wrap: Callable[[str, Layer, Forward], Forward]) -> Iterator[None]:
    """Within this context each layer's `forward` is ``wrap(path, layer, forward)``.

    It is set on the instance and has no marks, so that nothing is written over what it returns.
    """
    own = [(layer, vars(layer).get("forward")) for _, layer in layers]
    try:
        for path, layer in layers:
            vars(layer)["forward"] = wrap(path, layer, layer.forward)
        yield
    finally:
        for layer, before in own:
            if before is None:
                vars(layer).pop("forward", None)
            else:
                vars(layer)["forward"] = before
