"""What layers within a model give, without changing the model."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

from .layer import Layer, pair_of


class _Done(BaseException):
    """All outputs are there. No error: containers, which name the layer of an Exception, let it pass."""


def outputs_of(model: Layer, x: Any, names: tuple[str, ...]) -> Any:
    """The outputs of the layers called `names` in a prediction for x."""
    # A copy of the layers, which shares all arrays, listens: the model may be predicting meanwhile.
    shared: dict[int, Any] = {id(item): item for _, item in [*model.named_parameters(), *model.named_buffers()]}
    listener = copy.deepcopy(model, shared)
    layers = dict(listener.named_layers())
    if not names:
        raise ValueError("activations: give the name of at least one layer, such as " + repr([*layers][-1]))
    found: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        if name not in layers:
            known = _listed([*layers][1:])
            raise ValueError(f"activations: {type(model).__name__} has no layer {name!r}, it has {known}")
        _listen(layers[name], name, found, len(set(names)))
    with contextlib.suppress(_Done):
        listener(x)
    for name in names:
        if name not in found:
            raise ValueError(f"activations: a prediction of {type(model).__name__} does not call {name!r}")
    return found[names[0]] if len(names) == 1 else tuple(found[name] for name in names)


def _listen(layer: Layer, name: str, found: dict[str, Any], wanted: int) -> None:
    """Have `layer` keep its first output in `found`, and end the prediction with the last one that is wanted."""
    kind = type(layer)

    def keep(y: Any) -> Any:
        found.setdefault(name, y)
        if len(found) == wanted:
            raise _Done
        return y

    # A class and not a function on the instance: of a `forward` without marks no output is written over.
    class Listening(kind):  # type: ignore[misc, valid-type]
        def forward(self, x: Any, train: bool = True, **options: Any) -> Any:
            result = pair_of(self, super().forward(x, train, **options))
            keep(result[0])
            return result

        def __call__(self, x: Any, **options: Any) -> Any:
            return keep(super().__call__(x, **options))

    Listening.__name__ = kind.__name__
    layer.__class__ = Listening


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
