"""One training step with every layer watched: what went into each call and came out, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..nn._wrap import wrapped
from ..nn.layer import Layer, pair_of


class Call:
    """One call of a layer.

    Attributes
    ----------
    path : str
    layer : Layer
    x, y : array
        Input and output.
    grad_y, grad_x : array or None
        Gradients, where backward came by.
    source : Call or None
        The call whose output is this one's input, where it was handed on as it is.
    leaf : bool
        Whether no other watched layer was called within.
    """

    __slots__ = ("grad_x", "grad_y", "layer", "leaf", "path", "source", "x", "y")

    def __init__(self, path: str, layer: Layer, x: Any, source: Call | None):
        self.path = path
        self.layer = layer
        self.x = x
        self.y: Any = None
        self.grad_y: Any = None
        self.grad_x: Any = None
        self.source = source
        self.leaf = True

    @property
    def kind(self) -> str:
        return type(self.layer).__name__

    @property
    def name(self) -> str:
        return f"{self.kind} {self.path!r}" if self.path else self.kind

    @property
    def plain(self) -> bool:
        """Whether input and output are arrays of numbers."""
        return isinstance(self.x, np.ndarray) and isinstance(self.y, np.ndarray) and self.y.size > 0


class Watched:
    """Within this context the calls of a model's layers are written down, in the order in which they end.

    Arrays are kept as they are, so that it is for small batches.
    """

    def __init__(self, model: Layer):
        self.calls: list[Call] = []
        self.failed: Call | None = None  # the innermost call that raised
        self._layers = model.named_layers()
        self._open: list[Call] = []
        self._makers: dict[int, Call] = {}

    def __enter__(self) -> Watched:
        self._wrapped = wrapped(self._layers, self._watching)
        self._wrapped.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._wrapped.__exit__(*error)

    @property
    def leaves(self) -> list[Call]:
        return [call for call in self.calls if call.leaf]

    def maker(self, array: Any) -> Call | None:
        """The call that gave this very array."""
        return self._makers.get(id(array))

    def _watching(self, path: str, layer: Layer, forward: Callable[..., Any]) -> Callable[..., Any]:
        def watched_forward(*args: Any, **options: Any) -> tuple[Any, Callable[..., Any]]:
            x = args[0] if args else options.get("x")
            call = Call(path, layer, x, self.maker(x))
            for outer in self._open:
                outer.leaf = False
            self._open.append(call)
            try:
                y, backward = pair_of(layer, forward(*args, **options))
            except Exception:
                self.failed = self.failed or call
                raise
            finally:
                self._open.pop()
            call.y = y
            self.calls.append(call)
            # A container hands on what a layer within it made.
            if call.leaf:
                self._makers[id(y)] = call

            def watched_backward(grad_y: Any, *args: Any, **options: Any) -> Any:
                call.grad_y = grad_y
                grad_x = backward(grad_y, *args, **options)
                call.grad_x = grad_x
                return grad_x

            return y, watched_backward

        return watched_forward
