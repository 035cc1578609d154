"""Tuples and dicts of outputs, and gradients like them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tree import each


def shape_of(value: Any) -> Any:
    """The shape of an array; of a tuple or dict of them a tuple or dict of shapes."""
    return each(np.shape, value)


def kinds(value: Any) -> Any:
    """(dtype, shape) of each array of a tuple or dict; of what is no array its dtype."""
    if isinstance(value, (dict, tuple)):
        return each(lambda array: (np.asarray(array).dtype, np.shape(array)), value)
    return np.asarray(value).dtype


def cast_like(grad: Any, kind: Any) -> Any:
    """A gradient in its output's dtype; of several outputs, as many, None being zeros."""
    if isinstance(kind, np.dtype):
        if isinstance(grad, (tuple, dict)):
            raise TypeError(f"backward: the output is one array, grad_y a {type(grad).__name__} of {len(grad)}")
        return np.asarray(grad, kind)
    if isinstance(kind, dict):
        if not isinstance(grad, dict) or set(grad) != set(kind):
            raise TypeError(f"backward: grad_y must be a dict of {', '.join(map(repr, kind))}, got {_said(grad)}")
        return {key: _one(grad[key], item) for key, item in kind.items()}
    if not isinstance(grad, (tuple, list)) or len(grad) != len(kind):
        raise TypeError(f"backward: grad_y must be a tuple of {len(kind)}, as the output is, got {_said(grad)}")
    return tuple(_one(item, like) for item, like in zip(grad, kind, strict=True))


def _one(grad: Any, kind: Any) -> Any:
    if isinstance(kind, tuple) and len(kind) == 2 and isinstance(kind[0], np.dtype):
        dtype, shape = kind
        return np.zeros(shape, dtype) if grad is None else np.asarray(grad, dtype)
    if grad is None:
        grad = dict.fromkeys(kind) if isinstance(kind, dict) else (None,) * len(kind)
    return cast_like(grad, kind)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(repr, value))}"
    return f"a tuple of {len(value)}" if isinstance(value, (tuple, list)) else type(value).__name__
