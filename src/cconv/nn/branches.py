"""Layers beside one another: branches of one input, of an input each, and what joins several arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .._checks import choice
from .._shapes import whole
from ..functional.activation import added
from ._errors import locate
from ._several import shape_of
from .containers import as_layer
from .layer import Backward, Layer, pair_of

Closure = Callable[..., Any]


class _Branches(Layer):
    """What Parallel and Each share: branches, which indexing gives, and whose names are their places or their keys."""

    _branches: dict[str, Layer]

    def _run(self, name: str, x: Any, train: bool) -> tuple[Any, Closure]:
        branch = self._branches[name]
        try:
            return pair_of(branch, branch.forward(x, train))
        except Exception as error:
            self._locate(error, name, shape_of(x))
            raise

    def _back(self, name: str, run: Closure, grad: Any, need_x: bool) -> Any:
        try:
            return run(grad, need_x=need_x)
        except Exception as error:
            self._locate(error, name, ())
            raise

    def _locate(self, error: Exception, name: str, shape: Any) -> None:
        locate(error, f"{type(self).__name__}[{name}]", [self._branches[name]], 0, shape)

    def __getitem__(self, index: int | str) -> Layer:
        return self._branches[index] if isinstance(index, str) else [*self._branches.values()][index]

    def __len__(self) -> int:
        return len(self._branches)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._branches.values())

    def _attributes(self) -> Iterable[tuple[str, Any]]:
        yield from self._branches.items()
        yield from ((name, value) for name, value in vars(self).items() if name != "_branches")


class Parallel(_Branches):
    """Branches that all take x, and their outputs side by side, added up, or as a tuple.

    With `Identity` as a branch it is a step of a DenseNet (Huang et al. 2017, arXiv 1608.06993), with convolutions of
    several sizes a block of Inception (Szegedy et al. 2015, arXiv 1409.4842). Indexing gives a branch.

    Parameters
    ----------
    *branches : Layer
        At least one.
    merge : {"concat", "sum", None}
        Whether outputs stand side by side along `dim`, are added in the order of the branches, or are a tuple: several
        heads, whose losses `MultiLoss` adds up.
    dim : int
        For ``"concat"``; 1, the channels, by default.

    Raises
    ------
    TypeError
        If a branch is no layer, or `dim` no integer.
    ValueError
        If there is no branch. When called: naming the first branch whose output does not fit the one before.

    Examples
    --------
    >>> Parallel(Identity(), Sequential(BatchNorm2d(8), ReLU(), Conv2d(8, 4, 3, padding=1)))
    >>> Sequential(backbone, Parallel(Linear(64, 10), Linear(64, 2), merge=None))     # two heads
    """

    def __init__(self, *branches: Layer, merge: str | None = "concat", dim: int = 1):
        if not branches:
            raise ValueError("Parallel: at least one branch is needed")
        self._branches = {str(i): as_layer("Parallel", branch, i) for i, branch in enumerate(branches)}
        self.merge = merge if merge is None else choice("Parallel", "merge", merge, ("concat", "sum"))
        self.dim = whole("Parallel", "dim", dim, -(2**31))

    def forward(self, x: Any, train: bool = True) -> tuple[Any, Closure]:
        results = [self._run(name, x, train) for name in self._branches]
        backwards = [run for _, run in results]
        outputs = tuple(y for y, _ in results)
        y: Any = outputs
        parts_of: Callable[[Any], Sequence[Any]] = tuple
        if self.merge is not None:
            names = [f"Parallel[{i}] {type(branch).__name__}" for i, branch in enumerate(self)]
            y, parts_of = joined("Parallel", names, outputs, self.dim if self.merge == "concat" else None)
        del results, outputs

        def backward(grad_y: Any, need_x: bool = True) -> Any:
            # Each closure is dropped as it is called, and what it kept is freed.
            grads = []
            for name, grad in zip(self._branches, parts_of(grad_y), strict=True):
                grads.append(self._back(name, backwards.pop(0), grad, need_x))
            return _total(grads) if need_x else None

        return y, Backward(backward, y)

    def extra_repr(self) -> str:
        merge = "" if self.merge == "concat" else f"merge={self.merge!r}"
        return merge or ("" if self.dim == 1 else f"dim={self.dim}")


class Each(_Branches):
    """Branches that each take an input of their own, and the tuple (or dict) of their outputs.

    Parameters
    ----------
    *branches : Layer
        x is a tuple of as many arrays; branch i takes number i.
    **named : Layer
        Or branches by name: x is a dict of as many arrays, and so is the output.

    Raises
    ------
    TypeError
        If a branch is no layer. When called: if x is not a tuple, or a dict.
    ValueError
        If there is no branch, or branches both with and without a name. When called: if x has not an array for each.

    Examples
    --------
    >>> towers = Each(Sequential(Conv2d(1, 8, 3), ReLU(), Flatten()), Linear(4, 16))
    >>> model = Sequential(towers, Concat(), Linear(1368, 10))
    >>> model((images, numbers))
    >>> Each(image=Flatten(), age=Identity())({"image": images, "age": ages})
    """

    def __init__(self, *branches: Layer, **named: Layer):
        if bool(branches) == bool(named):
            raise ValueError("Each: give branches, either all with a name or all without")
        self._named = bool(named)
        given = named or {str(i): branch for i, branch in enumerate(branches)}
        self._branches = {name: as_layer("Each", branch, name) for name, branch in given.items()}

    def forward(self, x: Any, train: bool = True) -> tuple[Any, Closure]:
        inputs = self._inputs(x)
        results = [self._run(name, inputs[name], train) for name in self._branches]
        backwards = [run for _, run in results]
        outputs = [y for y, _ in results]
        y = dict(zip(self._branches, outputs, strict=True)) if self._named else tuple(outputs)
        del results, outputs, inputs

        def backward(grad_y: Any, need_x: bool = True) -> Any:
            parts = [grad_y[name] for name in self._branches] if self._named else grad_y
            grads = {}
            for name, grad in zip(self._branches, parts, strict=True):
                grads[name] = self._back(name, backwards.pop(0), grad, need_x)
            if not need_x:
                return None
            return grads if self._named else tuple(grads.values())

        return y, Backward(backward, y)

    def _inputs(self, x: Any) -> dict[str, Any]:
        """The input of each branch."""
        names = [*self._branches]
        if self._named:
            if not isinstance(x, dict):
                raise TypeError(f"Each: x must be a dict of {', '.join(map(repr, names))}, got {_said(x)}")
            if set(x) != set(names):
                raise ValueError(f"Each: x has {[*x]}, branches are {names}: they must be the same")
            return x
        if not isinstance(x, (tuple, list)):
            raise TypeError(f"Each: x must be a tuple of {len(names)} arrays, got {_said(x)}")
        if len(x) != len(names):
            raise ValueError(f"Each: x has {len(x)} arrays, there are {len(names)} branches")
        return dict(zip(names, x, strict=True))


class Concat(Layer):
    """The arrays of a tuple (or dict, in its order) side by side.

    Parameters
    ----------
    dim : int
        1 by default: channels or features.

    Raises
    ------
    TypeError, ValueError
        When called: if x is no tuple or dict of arrays whose shapes are equal but for `dim`.
    """

    def __init__(self, dim: int = 1):
        self.dim = whole("Concat", "dim", dim, -(2**31))

    def forward(self, x: Any, train: bool = True) -> tuple[np.ndarray, Closure]:
        return _join("Concat", x, self.dim)

    def extra_repr(self) -> str:
        return "" if self.dim == 1 else f"dim={self.dim}"


class Sum(Layer):
    """The arrays of a tuple (or dict, in its order), which are of one shape, added up.

    Raises
    ------
    TypeError, ValueError
        When called: if x is no tuple or dict of arrays of one shape.
    """

    def forward(self, x: Any, train: bool = True) -> tuple[np.ndarray, Closure]:
        return _join("Sum", x, None)


def _join(where: str, x: Any, dim: int | None) -> tuple[np.ndarray, Closure]:
    keys = [*x] if isinstance(x, dict) else None
    if not isinstance(x, (tuple, list, dict)) or not len(x):
        raise TypeError(f"{where}: x must be a tuple or dict of arrays, got {_said(x)}")
    inputs = tuple(np.asarray(item) for item in (x.values() if isinstance(x, dict) else x))
    names = [f"{where}: x[{key!r}]" for key in (range(len(inputs)) if keys is None else keys)]
    dtypes = [array.dtype for array in inputs]
    y, parts_of = joined(where, names, inputs, dim)

    def backward(grad_y: np.ndarray, need_x: bool = True) -> Any:
        if not need_x:
            return None
        grads = tuple(np.asarray(part, dtype) for part, dtype in zip(parts_of(grad_y), dtypes, strict=True))
        return grads if keys is None else dict(zip(keys, grads, strict=True))

    return y, Backward(backward, y)


def joined(
    where: str, names: Sequence[str], arrays: tuple[Any, ...], dim: int | None
) -> tuple[np.ndarray, Callable[[np.ndarray], Sequence[np.ndarray]]]:
    """Arrays side by side along `dim`, or added up without it; and what gives each its part of a gradient.

    All take the first one's type: layers cast x to their own.
    """
    for name, array in zip(names, arrays, strict=True):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name}: gives {_said(array)}, expected an array")
    shapes = [array.shape for array in arrays]
    axis = _axis(where, names, shapes, dim)
    arrays = tuple(np.asarray(array, arrays[0].dtype) for array in arrays)
    if dim is None:
        return _total(arrays), lambda grad_y: [grad_y] * len(shapes)
    ends = np.cumsum([shape[axis] for shape in shapes])[:-1]
    return np.concatenate(arrays, axis), lambda grad_y: np.split(grad_y, ends, axis)


def _axis(where: str, names: Sequence[str], shapes: list[tuple[int, ...]], dim: int | None) -> int:
    """The axis along which arrays are joined; ValueError unless they fit."""
    ndim, axis, but = len(shapes[0]), 0, ""
    if dim is not None:
        if not -ndim <= dim < ndim:
            raise ValueError(f"{where}: dim must be in {-ndim}..{ndim - 1} for outputs {shapes[0]}, got {dim}")
        axis = dim % ndim
        but = f" but for dim {dim}"
    for name, shape in zip(names, shapes, strict=True):
        fits = len(shape) == ndim and all(
            a == b or (but and k == axis) for k, (a, b) in enumerate(zip(shape, shapes[0], strict=True))
        )
        if not fits:
            first = "branch 0 gives" if where == "Parallel" else "the first has"
            verb = "gives" if where == "Parallel" else "has"
            raise ValueError(f"{name}: {verb} {shape}, {first} {shapes[0]}: they must be equal{but}")
    return axis


def _total(arrays: Sequence[Any]) -> Any:
    """Their sum, in order; a single one is handed on as it is. Of tuples and dicts, the sums of their items."""
    total = arrays[0]
    if isinstance(total, tuple):
        return tuple(_total(items) for items in zip(*arrays, strict=True))
    if isinstance(total, dict):
        return {key: _total([item[key] for item in arrays]) for key in total}
    for array in arrays[1:]:
        total = added(total, np.asarray(array, total.dtype))
    return total


def _said(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape}"
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(repr, value))}"
    return f"a tuple of {len(value)}" if isinstance(value, (tuple, list)) else type(value).__name__
