"""Calls seen before: checked once, planned once.

At batch 1 checks and plans took as long as arithmetic. Both depend on shapes, types and options alone, that is on a
call's signature; so what they come to is kept by it, and an equal call finds it with one look-up. A call that is
refused is never kept, nor one whose arguments have no signature. Nothing here holds an array of the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from .. import _dispatch
from .._kernels import arrays
from .._scratch import scratch
from .._threads import get_num_threads

KEPT = 1024

_kept: dict[bytes | None, Any] = {}
recall, forget = _kept.get, _kept.clear
Call = TypeVar("Call")


def signature(*arguments: Any) -> bytes | None:
    """What a call's checks and plans depend on, the instruction set and the threads included; None for arguments that
    are not plain."""
    return arrays.signature(_dispatch.isa, get_num_threads(), *arguments)


def keep(key: bytes | None, call: Call) -> Call:
    """Have `recall(key)` give `call` from now on."""
    if key is not None:
        if len(_kept) >= KEPT:
            _kept.clear()
        _kept[key] = call
    return call


class Kernel(NamedTuple):
    """A kernel with all that a call needs beside the arrays."""

    run: Callable[..., None]
    tables: tuple
    room: int  # numbers of scratch
    options: tuple

    def __call__(self, *arrays) -> None:
        self.run(*arrays, *self.tables, scratch(self.room, arrays[0].dtype), *self.options)
