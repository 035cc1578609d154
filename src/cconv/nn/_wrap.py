"""Layers whose `forward` someone watches for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .layer import Layer, is_wrapper

Forward = Callable[..., Any]


@contextlib.contextmanager
def wrapped(layers: Iterable[tuple[str, Layer]], wrap: Callable[[str, Layer, Forward], Forward]) -> Iterator[None]:
    """Within this context each layer's `forward` is ``wrap(path, layer, forward)``.

    It is set on the instance and has no marks, so that nothing is written over what it returns. Copies of the layer do
    not have it, and what an interrupt left behind is taken off by the next that watches.
    """
    own: list[tuple[Layer, Forward | None, Forward]] = []
    try:
        for path, layer in layers:
            before = vars(layer).get("forward")
            if is_wrapper(before):
                del vars(layer)["forward"]
                before = None
            worn = wrap(path, layer, layer.forward)
            worn.wraps_for_a_while = True  # type: ignore[attr-defined]
            own.append((layer, before, worn))
            vars(layer)["forward"] = worn
        yield
    finally:
        for layer, before, worn in own:
            # Another thread may have put its own over it.
            if vars(layer).get("forward") is worn:
                if before is None:
                    del vars(layer)["forward"]
                else:
                    vars(layer)["forward"] = before
