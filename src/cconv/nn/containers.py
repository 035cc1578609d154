"""Layers made of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, overload

import numpy as np

from ..functional import relu_backward
from ..functional.activation import added
from ._errors import locate
from ._several import shape_of
from .layer import Backward, Layer, marked, pair_of


class Sequential(Layer):
    """Layers one after another. Indexing gives a layer, slicing a Sequential of the same layers.

    An error in a layer is raised again with the layer's place: ``Sequential[4] Linear: in_features=400, but ...``.

    Parameters
    ----------
    *layers : Layer

    Examples
    --------
    >>> Sequential(Conv2d(1, 6, 5, padding=2), ReLU(), MaxPool2d(2))
    """

    def __init__(self, *layers: Layer):
        self._layers: list[Layer] = []
        for layer in layers:
            self.append(layer)

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        layers = self._layers
        backwards: list[Callable[..., np.ndarray | None]] = []
        y = x
        ours = False  # whether y is a layer's that nobody else holds
        try:
            for layer in layers:
                run: Any = layer.forward
                over = ours and marked(run, "overwrites")
                y, backward_layer = pair_of(layer, run(y, train, over=True) if over else run(y, train))
                backwards.append(backward_layer)
                ours = marked(run, "fresh")
        except Exception as error:
            self._locate(error, len(backwards), shape_of(x))
            raise

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            # Without need_x nothing below the first layer that trains needs a gradient.
            last = 0 if need_x else next((i for i, layer in enumerate(layers) if layer._trains()), len(backwards))
            grad: Any = grad_y
            ours = False
            try:
                # Each closure is dropped as it is called, and what it kept is freed.
                while len(backwards) > last + 1:
                    run = backwards.pop()
                    over = ours and getattr(run, "overwrites", False)
                    grad = run(grad, over=True) if over else run(grad)
                    ours = getattr(run, "fresh", False)
                if len(backwards) > last:
                    grad = backwards.pop()(grad) if need_x else backwards.pop()(grad, need_x=False)
            except Exception as error:
                self._locate(error, len(backwards))
                raise
            return grad if need_x else None

        return y, Backward(backward, y)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        # As the base class has it, but each layer's input is freed once it is used.
        y, done, ours = x, 0, False
        try:
            for layer in self._layers:
                run: Any = layer.forward
                # A call of one's own may keep y, or do more than `forward`: the marks say nothing of it.
                plain = type(layer).__call__ is Layer.__call__
                over = ours and plain and marked(run, "overwrites")
                y = run(y, False, over=True)[0] if over else layer(y)
                done += 1
                ours = plain and marked(run, "fresh")
        except Exception as error:
            self._locate(error, done, shape_of(x))
            raise
        return y

    def append(self, layer: Layer) -> Sequential:
        """Add a layer at the end, and return the Sequential."""
        self._layers.append(self._checked(layer, len(self)))
        return self

    def extend(self, layers: Iterable[Layer]) -> Sequential:
        """Add layers at the end, and return the Sequential."""
        for layer in list(layers):
            self.append(layer)
        return self

    def insert(self, index: int, layer: Layer) -> Sequential:
        """Add a layer before the one at `index`, and return the Sequential."""
        self._layers.insert(index, self._checked(layer, index))
        return self

    def pop(self, index: int = -1) -> Layer:
        """Take a layer out, by default the last, and return it."""
        return self._layers.pop(index)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Layer:
        return Sequential(*self._layers[index]) if isinstance(index, slice) else self._layers[index]

    def __setitem__(self, index: int, layer: Layer) -> None:
        self._layers[index] = self._checked(layer, index)

    def __delitem__(self, index: int | slice) -> None:
        del self._layers[index]

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def fused(self, fuse: Callable[[Layer], Layer]) -> Layer:
        from .fuse import chain

        return chain(self._layers, fuse)

    def _attributes(self) -> Iterable[tuple[str, Any]]:
        yield from ((str(i), layer) for i, layer in enumerate(self._layers))
        yield from ((name, value) for name, value in vars(self).items() if name != "_layers")

    def _checked(self, layer: Layer, index: int) -> Layer:
        return as_layer(type(self).__name__, layer, index)

    def _locate(self, error: Exception, index: int, x_shape: tuple[int, ...] = ()) -> None:
        locate(error, f"{type(self).__name__}[{index}]", self._layers, index, x_shape)


def as_layer(kind: str, layer: Any, index: int | str) -> Layer:
    if isinstance(layer, type):
        given = f"the class {layer.__name__}: write {layer.__name__}()"
    elif isinstance(layer, (list, tuple)):
        given = f"a {type(layer).__name__}: write {kind}(*layers)"
    elif not isinstance(layer, Layer):
        given = repr(layer)
    else:
        return layer
    raise TypeError(f"{kind}[{index}]: expected a layer, got {given}")


class Residual(Layer):
    """``body(x) + shortcut(x)`` (He et al. 2016, arXiv 1512.03385), or ``body(x) + x`` without a shortcut.

    Parameters
    ----------
    body : Layer
    shortcut : Layer, optional
        Brings x to the shape of the body's output, where that is another.
    relu : bool
        ``relu(body(x) + shortcut(x))``, in one pass.

    Raises
    ------
    TypeError
        If `body` or `shortcut` is no layer.
    ValueError
        When called: if the two shapes that are added differ.

    Examples
    --------
    >>> Residual(Sequential(Conv2d(8, 8, 3, padding=1), ReLU(), Conv2d(8, 8, 3, padding=1)), relu=True)
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None, *, relu: bool = False):
        for name, layer in (("body", body), ("shortcut", shortcut)):
            if not isinstance(layer, Layer) and (layer is not None or name == "body"):
                raise TypeError(f"Residual: {name} must be a layer, got {layer!r}")
        self.body = body
        self.shortcut = shortcut
        self.relu = bool(relu)

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        rectified = self.relu
        through, backward_body = pair_of(self.body, self.body.forward(x, train))
        beside, backward_shortcut = x, None
        if self.shortcut is not None:
            beside, backward_shortcut = pair_of(self.shortcut, self.shortcut.forward(x, train))
        y = self._sum(through, beside)

        def backward(grad_y: np.ndarray, need_x: bool = True) -> np.ndarray | None:
            grad = relu_backward(grad_y, y) if rectified else grad_y
            grad_through = backward_body(grad, need_x=need_x)
            grad_beside = grad if backward_shortcut is None else backward_shortcut(grad, need_x=need_x)
            return added(grad_through, grad_beside) if need_x else None

        return y, Backward(backward, y)

    def _sum(self, through: Any, beside: Any) -> np.ndarray:
        if self.shortcut is None:
            # Layers cast x to their own type.
            beside = np.asarray(beside, through.dtype)
        if np.shape(through) != np.shape(beside):
            other = f"x is {np.shape(beside)}" if self.shortcut is None else f"shortcut gives {np.shape(beside)}"
            fix = ": give a shortcut that brings x to that shape" if self.shortcut is None else ""
            raise ValueError(f"Residual: body gives {np.shape(through)}, {other}: they must be equal{fix}")
        return added(through, beside, self.relu)

    def extra_repr(self) -> str:
        return "relu=True" if self.relu else ""
