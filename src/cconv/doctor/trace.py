"""Where NaN or infinity first appears in a training step: layer, pass, and example."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..nn._wrap import Forward, wrapped
from ..nn.layer import Layer, Parameter, pair_of


class NotFinite(NamedTuple):
    """The first array of a step that holds NaN or infinity.

    Attributes
    ----------
    layer : str
        The path of the layer, "" for the model itself.
    kind : str
        Its class.
    what : str
        "output", "gradient of the input", or the name of one of its parameters or of a parameter's gradient.
    value : str
        "NaN" or "infinity".
    example : int or None
        The first example of the batch that has it, where the array has examples.
    """

    layer: str
    kind: str
    what: str
    value: str
    example: int | None

    def __str__(self) -> str:
        place = f"{self.kind} {self.layer!r}" if self.layer else self.kind
        example = "" if self.example is None else f", from example {self.example} of the batch on"
        return f"the {self.what} of {place} holds {self.value}{example}"


def first_not_finite(model: Any, loss: Any, x: Any, y: Any, **options: Any) -> NotFinite | None:
    """Run a training step, without its update, and say where NaN or infinity first appears.

    Parameters
    ----------
    model : Layer
        Gradients are added to its parameters', and its random counters and running statistics go on, as in a step.
    loss : Loss
    x, y
        A batch.
    **options
        Of ``loss.forward``.

    Returns
    -------
    NotFinite or None
        None where all is finite.
    """
    layers = model.named_layers() if isinstance(model, Layer) else []
    for what, part in (("input", x), ("target", y), *options.items()):
        finding = _first(part)
        if finding is not None:
            return NotFinite("", type(model).__name__, what, *finding)
    for path, layer in layers:
        for name, value in vars(layer).items():
            if isinstance(value, Parameter) and (bad := _value(value.value)):
                return NotFinite(path, type(layer).__name__, name, bad, None)
    found: list[NotFinite] = []
    with np.errstate(all="ignore"), wrapped(layers, _noting(found)):
        logits, backward = pair_of(model, model.forward(x))
        value, loss_backward = loss.forward(logits, y, **options)
        if not found and not np.isfinite(value).all():
            found.append(NotFinite("", type(loss).__name__, "output", _value(np.asarray(value)) or "NaN", None))
        if not found:
            grad = loss_backward()
            finding = _first(grad)
            if finding is not None:
                found.append(NotFinite("", type(loss).__name__, "gradient of the input", *finding))
        if not found:
            backward(grad, need_x=False)
    return found[0] if found else None


def _noting(found: list[NotFinite]) -> Callable[[str, Layer, Forward], Forward]:
    """Each layer's forward, and the closure it returns, look at what they give."""

    def watching(path: str, layer: Layer, forward: Forward) -> Forward:
        kind = type(layer).__name__

        def note(what: str, array: Any) -> None:
            if not found and (finding := _first(array)):
                found.append(NotFinite(path, kind, what, *finding))

        def watched_forward(*args: Any, **options: Any) -> tuple[Any, Callable[..., Any]]:
            y, backward = pair_of(layer, forward(*args, **options))
            note("output", y)

            def watched_backward(grad_y: Any, *args: Any, **options: Any) -> Any:
                grad_x = backward(grad_y, *args, **options)
                for name, value in vars(layer).items():
                    if isinstance(value, Parameter) and not found and (bad := _value(value.grad)):
                        found.append(NotFinite(path, kind, f"gradient of the {name}", bad, None))
                if grad_x is not None:
                    note("gradient of the input", grad_x)
                return grad_x

            return y, watched_backward

        return watched_forward

    return watching


def _first(tree: Any) -> tuple[str, int | None] | None:
    """("NaN" or "infinity", the first example that has it) of an array, or of the first array of several."""
    for array in _leaves(tree):
        found = _value(array)
        if found:
            if not np.ndim(array):
                return found, None
            bad = ~np.isfinite(array)
            return found, int(np.argmax(bad.reshape(len(array), -1).any(1)))
    return None


def _value(array: Any) -> str:
    array = np.asarray(array)
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return ""
    return "NaN" if np.isnan(array).any() else "infinity"


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, (tuple, list, dict)):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(part)
    else:
        yield tree
