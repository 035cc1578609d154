"""What `Layer.summary` prints: each layer's output shape, parameters and multiply-adds."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np

from .._shapes import whole
from .._tree import each
from ._several import shape_of
from ._wrap import Forward, wrapped
from .layer import Layer


class Row(NamedTuple):
    """One layer as it was called.

    Attributes
    ----------
    path : str
        As in the parameters' names; "" for the model itself.
    kind : str
    output_shape : tuple
        Its first entry is N, a number only if `summary` was given one.
    parameters : int or None
        Of the layer itself, without child layers; None where all were counted in an earlier row.
    multiply_adds : int
        An image.
    """

    path: str
    kind: str
    output_shape: tuple[Any, ...]
    parameters: int | None
    multiply_adds: int


class Summary:
    """A model's table; `str` and `print` show it.

    Attributes
    ----------
    rows : list of Row
        In the order of the calls; containers, which have nothing of their own, are left out.
    input_shape : tuple
        Of several inputs a tuple or dict of shapes.
    parameters, trainable_parameters : int
        A shared parameter counts once.
    multiply_adds : int
        An image.
    """

    def __init__(self, model: Layer, input_shape: tuple[Any, ...], rows: list[Row]):
        parameters = model.parameters()
        self.rows = rows
        self.input_shape = input_shape
        self.parameters = sum(p.value.size for p in parameters)
        self.trainable_parameters = sum(p.value.size for p in parameters if p.trainable)
        self.multiply_adds = sum(row.multiply_adds for row in rows)
        self._kind = type(model).__name__

    def __str__(self) -> str:
        head = ("Layer", "Output shape", "Parameters", "Multiply-adds an image")
        cells = [
            (
                f"{row.path} {row.kind}".lstrip(),
                _shape(row.output_shape),
                "shared" if row.parameters is None else f"{row.parameters:,}",
                f"{row.multiply_adds:,}",
            )
            for row in self.rows
        ]
        total = ("Total", "", f"{self.parameters:,}", f"{self.multiply_adds:,}")
        widths = [max(len(line[i]) for line in (head, *cells, total)) for i in range(4)]
        rule = "-" * (sum(widths) + 6)

        def line(row: tuple[str, ...]) -> str:
            layer, shape, parameters, multiply_adds = row
            left = f"{layer:<{widths[0]}}  {shape:<{widths[1]}}"
            return f"{left}  {parameters:>{widths[2]}}  {multiply_adds:>{widths[3]}}"

        lines = [f"{self._kind} for an input of {_shape(self.input_shape)}", line(head), rule]
        lines += [*map(line, cells), rule, line(total)]
        frozen = self.parameters - self.trainable_parameters
        if frozen:
            lines.append(f"Trainable parameters: {self.trainable_parameters:,}; frozen: {frozen:,}")
        return "\n".join(lines)

    __repr__ = __str__


def summarise(model: Layer, input_shape: Any, batched: bool | None) -> Summary:
    """The summary of `model`: one example of zeros is sent through it, however large the batch named."""
    parameters = model.parameters()
    dtype = parameters[0].value.dtype if parameters else np.float32
    batch: list[int] = []

    def zeros(shape: Any) -> Any:
        if isinstance(shape, dict):
            return {key: zeros(item) for key, item in shape.items()}
        if isinstance(shape, (tuple, list)) and shape and all(isinstance(item, (tuple, list, dict)) for item in shape):
            return tuple(map(zeros, shape))
        sizes = _sizes(shape)
        if len(sizes) in (2, 4) if batched is None else batched:
            batch.append(sizes.pop(0))
        return np.zeros((1, *sizes), dtype)

    x = zeros(input_shape)
    n: int | str = batch[0] if batch else "N"
    rows = [_with_batch(row, n) for row in _trace(model, x)]
    return Summary(model, each(lambda array: (n, *array.shape[1:]), x), rows)


def _sizes(shape: Any) -> list[int]:
    if not isinstance(shape, (tuple, list)) or not 1 <= len(shape) <= 4:
        raise ValueError(f"summary: input_shape must be (C, H, W), (N, C, H, W) or (features,), got {shape!r}")
    return [whole("summary", "input_shape", size) for size in shape]


def _trace(model: Layer, x: Any) -> list[Row]:
    # A copy of the layers, which shares the parameters, records its calls: the model may be predicting meanwhile.
    shared: dict[int, Any] = {id(item): item for _, item in [*model.named_parameters(), *model.named_buffers()]}
    recorder = copy.deepcopy(model, shared)
    rows: list[Row | None] = []
    counted: set[int] = set()
    layers = recorder.named_layers()
    with wrapped(layers, lambda path, layer, forward: _recording(path, layer, forward, rows, counted)):
        recorder.forward(x, train=False)
    return [row for row in rows if row is not None]


def _recording(path: str, layer: Layer, forward: Forward, rows: list[Row | None], counted: set[int]) -> Forward:
    within = {id(p) for _, child in layer.named_layers()[1:] for p in child.parameters()}
    own = [p for p in layer.parameters() if id(p) not in within]
    container = len(layer.named_layers()) > 1

    def recording(x: np.ndarray, train: bool = True, **options: Any) -> Any:
        place = len(rows)
        # The row stands where the layer is called, before those of its children.
        rows.append(None)
        result = forward(x, train, **options)
        new = [p for p in own if id(p) not in counted]
        counted.update(id(p) for p in new)
        shape = shape_of(result[0])
        work = layer.multiply_adds(shape_of(x), shape)
        if not container or own or work:
            count = None if own and not new else sum(p.value.size for p in new)
            rows[place] = Row(path, type(layer).__name__, shape, count, work)
        return result

    return recording


def _with_batch(row: Row, n: int | str) -> Row:
    return row._replace(output_shape=(n, *row.output_shape[1:])) if row.output_shape[:1] == (1,) else row


def _shape(shape: Any) -> str:
    if isinstance(shape, dict):
        return ", ".join(f"{key} {_shape(item)}" for key, item in shape.items())
    if isinstance(shape, tuple) and any(isinstance(item, (tuple, dict)) for item in shape):
        return ", ".join(map(_shape, shape))
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
