"""Several arrays where one may stand: tuples and dicts of inputs, outputs and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np


def shape_of(value: Any) -> Any:
    """The shape of an array; of a tuple or dict of them a tuple or dict of shapes."""
    if isinstance(value, dict):
        return {key: shape_of(item) for key, item in value.items()}
    return tuple(map(shape_of, value)) if isinstance(value, tuple) else np.shape(value)


def kinds(value: Any) -> Any:
    """(dtype, shape) of each array of a tuple or dict; of what is no array its dtype."""
    if isinstance(value, dict):
        return {key: _kind(item) for key, item in value.items()}
    return tuple(map(_kind, value)) if isinstance(value, tuple) else np.asarray(value).dtype


def _kind(value: Any) -> Any:
    return kinds(value) if isinstance(value, (dict, tuple)) else (np.asarray(value).dtype, np.shape(value))


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
