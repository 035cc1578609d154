"""Several arrays where one may stand: tuples and dicts of them, nested as one likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def each(function: Callable[[Any], Any], value: Any) -> Any:
    """`function` of each array, in a tuple or dict as it was."""
    if isinstance(value, tuple):
        return tuple(each(function, item) for item in value)
    if isinstance(value, Mapping):
        return {key: each(function, item) for key, item in value.items()}
    return function(value)


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, array) of each array: ``x``, ``x[0]``, ``x['left']``."""
    if isinstance(value, (tuple, Mapping)):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from leaves(item, f"{name}[{key!r}]")
    else:
        yield name, value
