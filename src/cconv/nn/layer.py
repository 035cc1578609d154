"""Layer and Parameter: what every layer of a network is made of.

The call decides the mode. ``y = layer(x)`` predicts and keeps nothing; ``y, backward = layer.forward(x)`` trains, and
what the gradient needs lives in the closure `backward`, not on the layer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .. import _state
from .._checks import real
from ._several import cast_like, kinds

if TYPE_CHECKING:
    from .summary import Summary


class Parameter:
    """An array that training changes, and its gradient.

    Parameters
    ----------
    value : array_like
        float32 or float64; copied.
    trainable : bool
        Whether backward passes add to `grad` and optimisers change `value`. Can be set at any time.

    Attributes
    ----------
    value, grad : ndarray
        Of one shape and dtype; `grad` is zero at first. Assigning to either copies into it. `value` is the same array
        for good; after `zero_grad` the next gradient may come in another array, as in PyTorch.
    """

    __slots__ = ("_grad", "_value", "trainable")

    def __init__(self, value: Any, trainable: bool = True):
        self._value = np.array(real("Parameter", "value", value))
        self._grad: np.ndarray | None = None  # stands for zeros
        self.trainable = trainable

    @property
    def value(self) -> np.ndarray:
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        _copy_into(self._value, self, "value", value)

    @property
    def grad(self) -> np.ndarray:
        if self._grad is None:
            self._grad = np.zeros_like(self._value)
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        _copy_into(self.grad, self, "grad", value)

    def add_grad(self, grad: np.ndarray | None, fresh: bool = False) -> None:
        """Add to `grad`; None adds nothing, and nothing is added to a parameter that is not trainable.

        `fresh` says that nobody else holds the array, and that it has the shape and dtype of `value`: where there is no
        gradient yet it becomes the gradient, with no pass over memory.
        """
        if grad is None or not self.trainable:
            return
        if fresh and self._grad is None:
            self._grad = grad
        else:
            self.grad += grad

    def zero_grad(self) -> None:
        """Set `grad` to zero."""
        self._grad = None

    def __repr__(self) -> str:
        frozen = "" if self.trainable else ", trainable=False"
        return f"Parameter(shape={self._value.shape}, dtype={self._value.dtype}{frozen})"


def wanted(need_x: bool, weight: Parameter | None, bias: Parameter | None) -> tuple[bool, bool, bool]:
    """Which gradients a layer asks of `functional`."""
    return bool(need_x), weight is not None and bool(weight.trainable), bias is not None and bool(bias.trainable)


def hand_over(weight: Parameter | None, grad_weight: Any, bias: Parameter | None, grad_bias: Any) -> None:
    """Add new gradients that nobody else holds, of those parameters that there are."""
    if weight is not None:
        weight.add_grad(grad_weight, fresh=True)
    if bias is not None:
        bias.add_grad(grad_bias, fresh=True)


class Buffer:
    """An array that is saved with a model and not trained, such as the mean that inputs are normalised with.

    Parameters
    ----------
    value : array_like
        Of any real dtype; copied.

    Attributes
    ----------
    value : ndarray
        Assigning copies into it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any):
        self._value = np.array(value, order="C")

    @property
    def value(self) -> np.ndarray:
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        _copy_into(self._value, self, "value", value)

    def __repr__(self) -> str:
        return f"Buffer(shape={self._value.shape}, dtype={self._value.dtype})"


def _copy_into(array: np.ndarray, owner: object, name: str, value: Any) -> None:
    # `parameter.grad += g` assigns the array to itself.
    if value is not array:
        given = np.asarray(value)
        if given.shape != array.shape:
            raise ValueError(f"{type(owner).__name__}: {name} has shape {array.shape}, cannot assign {given.shape}")
        np.copyto(array, given, casting="same_kind")


class Backward:
    """The closure that a layer's `forward` returns: callable once, as it then frees what it kept.

    Parameters
    ----------
    run : callable
        ``run(grad_y, need_x=True)`` adds to each parameter's gradient and returns grad_x.
    y : ndarray, or tuple or dict of them
        The layer's output; a gradient of another dtype is cast to its dtype. Of several outputs the gradient is a tuple
        or dict likewise, where None stands for zeros.
    fresh : bool
        Whether grad_x is always a new array that nobody else holds.
    overwrites : bool
        Whether `run` takes ``over=True``: grad_y is nobody else's, and grad_x may take its memory.
    """

    __slots__ = ("_dtype", "_run", "fresh", "overwrites")

    def __init__(self, run: Callable[..., Any], y: Any, fresh: bool = False, overwrites: bool = False):
        self._run: Callable[..., Any] | None = run
        self._dtype = y.dtype if isinstance(y, np.ndarray) else kinds(y)
        self.fresh = fresh
        self.overwrites = overwrites

    def __call__(self, grad_y: Any, need_x: bool = True, over: bool = False) -> Any:
        run = self._run
        if run is None:
            raise RuntimeError("backward was called before: it runs once, call forward again for another")
        if type(grad_y) is not np.ndarray or grad_y.dtype is not self._dtype:
            grad_y = cast_like(grad_y, self._dtype)
        self._run = None
        return run(grad_y, need_x, True) if over and self.overwrites else run(grad_y, need_x)


_Self = TypeVar("_Self", bound="Layer")
_Function = TypeVar("_Function", bound=Callable[..., Any])


def fresh(forward: _Function) -> _Function:
    """Mark a `forward` whose y is always a new array that its closure does not keep: the next layer may write over it.

    The mark is the function's and not the class's: a `forward` that overrides it, or wraps it, has none.
    """
    forward.fresh = forward  # type: ignore[attr-defined]
    return forward


def overwrites(forward: _Function) -> _Function:
    """Mark a `forward` that takes ``over=True``: x is nobody else's, and y may take its memory."""
    forward.overwrites = forward  # type: ignore[attr-defined]
    return forward


def marked(forward: Any, mark: str) -> bool:
    """Whether a layer's `forward` is the very function that `fresh` or `overwrites` marked.

    `functools.wraps` hands a function's attributes on to its wrapper, and a mock has any attribute.
    """
    function = getattr(forward, mark, None)
    return function is not None and function is getattr(forward, "__func__", None)


def pair_of(layer: Any, result: Any) -> tuple[Any, Callable[..., Any]]:
    """What `forward` of a layer returned, if it is (y, backward): a layer of one's own may forget the second."""
    if type(result) is tuple and len(result) == 2:
        return result
    got = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
    raise TypeError(f"{type(layer).__name__}: forward must return (y, backward), got {got}")


def is_wrapper(forward: Any) -> bool:
    """Whether someone watches a layer through this `forward` of it: see `_wrap.py`."""
    return getattr(forward, "wraps_for_a_while", False) is True


class Layer:
    """Base of all layers.

    A layer of one's own implements one method, `forward`. Parameters, buffers and child layers are found in its
    attributes, also within lists, tuples and dicts, in the order in which they were set.

    Examples
    --------
    >>> class Scale(Layer):
    ...     def __init__(self, channels):
    ...         self.weight = Parameter(np.ones((channels, 1, 1), np.float32))
    ...
    ...     def forward(self, x, train=True):
    ...         def backward(grad_y, need_x=True):
    ...             self.weight.add_grad((grad_y * x).sum((0, 2, 3)).reshape(-1, 1, 1))
    ...             return grad_y * self.weight.value if need_x else None
    ...
    ...         return x * self.weight.value, backward
    """

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        """The output, and the closure of its gradient.

        Parameters
        ----------
        x : ndarray
            Or a tuple or dict of several inputs; then grad_x is one, too. So may y and grad_y be.
        train : bool
            False for inference behaviour, also of the gradient. Handed on to child layers.

        Returns
        -------
        y : ndarray
        backward : callable
            ``backward(grad_y, need_x=True)`` adds to the gradient of each trainable parameter and returns grad_x, or
            None without `need_x`. It is called once.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward(self, x, train=True)")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Predict: the output in inference behaviour, keeping nothing."""
        return pair_of(self, self.forward(x, train=False))[0]

    def __getstate__(self) -> dict[str, Any]:
        # A copy is not watched.
        state = vars(self).copy()
        if is_wrapper(state.get("forward")):
            del state["forward"]
        return state

    def __setattr__(self, name: str, value: Any) -> None:
        present = self.__dict__.get(name)
        if isinstance(present, (Parameter, Buffer)) and isinstance(value, np.ndarray):
            kind, held = type(self).__name__, type(present).__name__
            raise TypeError(f"{kind}: {name} is a {held}, which an array cannot replace: use {name}.value = ...")
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        hint = ""
        if name in ("train", "eval"):
            hint = ": the call decides the mode, model(x) predicts and model.forward(x) trains"
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    def named_layers(self) -> list[tuple[str, Layer]]:
        """(path, layer) of this layer (path "") and of all within, each once, parents first."""
        return _unique(item for item in _walk(self) if isinstance(item[1], Layer))

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """(path, parameter) such as ``("0.weight", ...)``, a shared one once."""
        return _unique(item for item in _walk(self) if isinstance(item[1], Parameter))

    def named_buffers(self) -> list[tuple[str, Buffer]]:
        """(path, buffer), a shared one once."""
        return _unique(item for item in _walk(self) if isinstance(item[1], Buffer))

    def parameters(self) -> list[Parameter]:
        """All parameters, a shared one once: what an optimiser is given."""
        return [parameter for _, parameter in self.named_parameters()]

    def _trains(self) -> bool:
        """Whether any parameter is trainable."""
        # Asked in each step: most often an attribute of the layer itself has the answer.
        if any(isinstance(value, Parameter) and value.trainable for value in vars(self).values()):
            return True
        return any(isinstance(item, Parameter) and item.trainable for _, item in _walk(self))

    def zero_grad(self) -> None:
        """Set the gradient of each parameter to zero."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def freeze(self: _Self) -> _Self:
        """Have training leave all parameters within as they are, and return the layer.

        ``backward(grad_y, need_x=False)`` then computes no gradient below the first layer that trains. A batch
        normalisation whose weight and bias are both frozen predicts in training, too, and keeps its statistics.

        Examples
        --------
        >>> model.freeze()                              # a backbone that was trained before
        >>> model.fc = nn.Linear(512, 5)                # a new head, for five classes
        >>> trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
        """
        for parameter in self.parameters():
            parameter.trainable = False
        return self

    def unfreeze(self: _Self) -> _Self:
        """Have training change all parameters within again, and return the layer."""
        for parameter in self.parameters():
            parameter.trainable = True
        return self

    def activations(self, x: Any, *names: str) -> Any:
        """The outputs of layers within, in prediction; what comes after the last of them is not computed.

        Parameters
        ----------
        x : ndarray
            As the model takes it.
        *names : str
            Paths of layers as `named_layers` and the parameters' names have them: ``"layer3"``, ``"layer4.1.conv2"``.

        Returns
        -------
        ndarray, or tuple of them for several names
            Of a layer that is called several times, its first output.

        Raises
        ------
        ValueError
            If there is no layer of that name, or a prediction does not call it.

        Examples
        --------
        >>> model.activations(x, "layer3").mean((2, 3))
        """
        from .listen import outputs_of

        return outputs_of(self, x, names)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by path, as PyTorch names them."""
        return {path: holder.value.copy() for path, holder in self._state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over values by path; each is cast to the dtype that it has here.

        Parameters
        ----------
        state : mapping of str to array_like
            What `state_dict` of an equal model gave, or PyTorch's.

        Raises
        ------
        ValueError
            Naming every key that is missing, unexpected, or of another shape or kind. Then nothing has changed.
        """
        _state.assign(self._state(), state, "load_state_dict")

    def get_extra_state(self) -> dict[str, Any]:
        """What a training checkpoint keeps of this layer beside parameters and buffers: arrays and plain values.

        For a layer that draws random numbers: its seed and counter. Weight files do not hold it.
        """
        return {}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_extra_state` gave."""
        if state:
            raise ValueError(f"{type(self).__name__}: has no extra state, got {', '.join(map(str, state))}")

    def save(self, path: str | os.PathLike, metadata: Mapping[str, str] | None = None) -> None:
        """Write all parameters and buffers to a safetensors file, with PyTorch's names and layouts.

        The file is written whole or not at all: an earlier one of the name stays until the new one is on the disk.

        Parameters
        ----------
        path : path-like
        metadata : mapping of str to str, optional
            Text kept in the file's header.
        """
        _state.save(path, {name: holder.value for name, holder in self._state()}, metadata)

    def load(self, path: str | os.PathLike) -> Layer:
        """Read what `save` or PyTorch wrote into this model, and return the model.

        Raises
        ------
        cconv.FormatError
            If the file is damaged, or does not fit the model. Then nothing has changed.
        """
        arrays, _ = _state.load(path)
        _state.assign(self._state(), arrays, os.fspath(path), _state.FormatError)
        return self

    def summary(self, input_shape: Any, batched: bool | None = None) -> Summary:
        """Output shape, parameters and multiply-adds of each layer; print it.

        Parameters
        ----------
        input_shape : tuple of int
            Of one example, (C, H, W) or (features,), or of a batch, (N, C, H, W) or (N, features). Of several inputs a
            tuple or dict of shapes.
        batched : bool, optional
            Whether it is a batch's: to be said for sequences, (C, L) or (N, C, L), which look like the others.

        Returns
        -------
        Summary
        """
        from .summary import summarise

        return summarise(self, input_shape, batched)

    def fuse(self) -> Layer:
        """A new model that predicts the same, faster.

        Batch normalisation is folded into the convolution or linear map beside it, with arithmetic in float64; a ReLU
        is taken where its layer stores its sums; Dropout and Identity vanish. Results equal this model's but for
        rounding, about 1e-6 of the largest. This model stays as it is, and shares no array with the new one.

        Returns
        -------
        Layer
            For prediction alone: its `forward` raises RuntimeError unless ``train=False``, and its parameters and
            buffers have names of their own. `save` and `load` are between fused models.

        Examples
        --------
        >>> fast = model.fuse()
        >>> labels = fast(x).argmax(1)
        """
        from .fuse import fuse

        return fuse(self)

    def fused(self, fuse: Callable[[Layer], Layer]) -> Layer:
        """What takes this layer's place in a fused model. `fuse` calls it, on a copy of the layer that may be changed.

        As it stands, each child layer in the attributes is replaced by ``fuse(child)``, and the layer itself stays:
        right for any `forward` that calls its children. Where `forward` calls them one after another, saying so lets
        more be fused. Where it takes a child Sequential apart, by number or in a loop, it must be said, as a fused
        Sequential can only be called.

        Parameters
        ----------
        fuse : callable
            ``fuse(layer)`` is what takes the place of another layer.

        Returns
        -------
        Layer
            Of the same outputs in prediction. A class that overrides the `forward` of its base is not asked by the
            base's `fused`, which says nothing of the new `forward`: the children alone are fused.

        Examples
        --------
        >>> class Block(Layer):
        ...     def __init__(self, channels):
        ...         self.conv = Conv2d(channels, channels, 3, padding=1, bias=False)
        ...         self.bn = BatchNorm2d(channels)
        ...
        ...     def forward(self, x, train=True):
        ...         return Sequential(self.conv, self.bn, ReLU()).forward(x, train)
        ...
        ...     def fused(self, fuse):
        ...         return fuse(Sequential(self.conv, self.bn, ReLU()))
        """
        for name, value in vars(self).items():
            vars(self)[name] = _replaced(value, fuse)
        return self

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """Multiplications with a parameter (each with its addition) in a forward pass, child layers' not counted."""
        return 0

    def extra_repr(self) -> str:
        """The arguments, as `repr` shows them."""
        return ""

    def _attributes(self) -> Iterable[tuple[str, Any]]:
        """(name, value) pairs in which parameters, buffers and child layers are looked for."""
        return vars(self).items()

    def _state(self) -> list[tuple[str, Parameter | Buffer]]:
        return [(path, item) for path, item in _walk(self) if not isinstance(item, Layer)]

    def __repr__(self) -> str:
        kind = type(self).__name__
        children = [(name, item) for name, item in _members(self) if isinstance(item, Layer)]
        if not children:
            return f"{kind}({self.extra_repr()})"
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in children]
        return "\n  ".join([f"{kind}({self.extra_repr()}", *lines]) + "\n)"


def _members(layer: Layer) -> Iterator[tuple[str, Any]]:
    for name, value in layer._attributes():
        yield from _found(name, value)


def _found(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (Parameter, Buffer, Layer)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _found(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _found(f"{name}.{key}", item)


def _replaced(value: Any, fuse: Callable[[Layer], Layer]) -> Any:
    if isinstance(value, Layer):
        return fuse(value)
    if type(value) in (list, tuple):
        return type(value)(_replaced(item, fuse) for item in value)
    if type(value) is dict:
        return {key: _replaced(item, fuse) for key, item in value.items()}
    return value


def _walk(layer: Layer, path: str = "", parents: tuple[Layer, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(path, item) of all layers, parameters and buffers, a shared one under each of its paths."""
    yield path, layer
    parents = (*parents, layer)
    for name, item in _members(layer):
        below = f"{path}.{name}" if path else name
        if not isinstance(item, Layer):
            yield below, item
        elif not any(item is parent for parent in parents):
            yield from _walk(item, below, parents)


def _unique(items: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    first: dict[int, tuple[str, Any]] = {}
    for path, item in items:
        first.setdefault(id(item), (path, item))
    return list(first.values())
