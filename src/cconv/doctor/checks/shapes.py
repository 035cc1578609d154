"""Layers and inputs that do not fit. Each is mended in the copy, so that all are named, and the rest looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import nn
from ..._random import generator
from ...nn._errors import Misfit
from ...nn.layer import Layer
from ..findings import Finding
from ..watch import Call, Watched
from .case import code

_ROUNDS = 20


class Mended:
    """What `fit` has changed in the sample; `x` and `model` are then such that the network runs, if `runs`."""

    def __init__(self, model: Layer, x: Any):
        self.model = model
        self.x = x
        self.runs = False
        self.transposed = False
        self.again = False  # whether the model was mended, and is to be run again


def fit(mended: Mended) -> Iterator[Finding]:
    """Run a few examples, mend what raises, and say what it was."""
    for _ in range(_ROUNDS):
        watched = Watched(mended.model)
        try:
            with watched, np.errstate(all="ignore"):
                watched_forward(mended.model, _few(mended.x))
            mended.runs = True
            return
        except Exception as error:
            before, mended.again = mended.x, False
            finding = _mend(error, watched.failed, mended)
            yield finding
            call = watched.failed
            if mended.x is not before or mended.again:
                continue
            if not (isinstance(error, Misfit) and call is not None and _refit(call)):
                return


def watched_forward(model: Layer, x: Any) -> Any:
    """The outputs in training behaviour."""
    return model.forward(x, True)


def _few(x: Any) -> Any:
    from ...data.rows import take

    return take(x, slice(0, 4))


def _mend(error: Exception, call: Call | None, mended: Mended) -> Finding:
    path, name = (call.path, call.name) if call else ("", type(mended.model).__name__)
    x = mended.x
    array = isinstance(x, np.ndarray)
    if isinstance(error, TypeError) and array and x.dtype.kind in "iubf" and "dtype" in str(error):
        top = float(x.max(initial=0)) if x.dtype.kind != "f" else 1.0
        cures: tuple[str, ...] = (f"x = x.astype(np.float32) / {top:g}" if top > 1 else "x = x.astype(np.float32)",)
        if top > 16:
            cures = "x = x.astype(np.float32) / 255", "model = nn.Sequential(nn.Rescale(1 / 255), model)"
        mended.x = x.astype(np.float32)
        told = "" if x.dtype.kind == "f" else f" (up to {top:g})"
        cause = f"x has dtype {x.dtype}{told}, and {name} takes float32 or float64"
        return Finding("input-dtype", "error", cause, cures, path, evidence={"max": top})
    message = str(error)
    given = call is not None and call.source is None  # not what another layer has made
    if given and array and not mended.transposed and x.ndim == 4 and "NHWC" in message:
        mended.x, mended.transposed = np.ascontiguousarray(x.transpose(0, 3, 1, 2)), True
        return Finding(
            "input-layout",
            "error",
            f"x {x.shape} has its channels last (N, H, W, C): {name} takes (N, C, H, W)",
            ("x = x.transpose(0, 3, 1, 2)",),
            path,
            evidence={"channels": x.shape[3]},
        )
    if given and array and not mended.transposed and x.ndim == 3 and "NLC" in message:
        mended.x, mended.transposed = np.ascontiguousarray(x.transpose(0, 2, 1)), True
        return Finding(
            "input-layout",
            "error",
            f"x {x.shape} has its channels last (N, L, C): {name} takes (N, C, L)",
            ("x = x.transpose(0, 2, 1)",),
            path,
            evidence={"channels": x.shape[2]},
        )
    if isinstance(error, Misfit):
        _, rule, size, x_shape, fix = error.args
        constructor = fix.removeprefix("use ")
        made = call is not None and call.source is not None  # by another layer, which turns no axes
        if call is not None and (constructor.endswith(", ...)") or (made and "NHWC" in fix)):
            constructor = re.sub(r"\(\d+", f"({size}", repr(call.layer), count=1)
        cure = f"{code(path)} = nn.{constructor}" if constructor != fix else fix
        return Finding(
            "shape-mismatch",
            "error",
            f"{name} has {rule} and gets {size}, in an input of {(-1, *x_shape[1:])}".replace("(-1", "(N"),
            (cure,),
            path,
            evidence={"gets": size},
        )
    if call is not None and call.source is not None and isinstance(error, ValueError) and "nn.Flatten()" in message:
        return _flattened(call, mended, message)
    if array and not mended.transposed and isinstance(error, ValueError):
        again = _another_rank(x, message)
        if again is not None:
            mended.x, cure = again
            return Finding(
                "shape-mismatch", "error", f"x {x.shape} does not suit {name}: {_tail(message)}", (cure,), path
            )
    if "kernel" in message and call is not None:
        size = tuple(np.shape(call.x)[2:])
        return Finding(
            "kernel-too-large",
            "error",
            f"{name} gets images of {'x'.join(map(str, size))}: {_tail(message)}",
            _larger(call, code(path)),
            path,
            evidence={f"size{i}": n for i, n in enumerate(size)},
        )
    if isinstance(error, ValueError):
        return Finding("shape-mismatch", "error", _tail(message, whole=True), _after_colon(message), path)
    raised = type(error).__name__
    return Finding(
        "forward-error", "error", f"{name} raises {raised}: {_tail(message)}", ("model.forward(x[:2])",), path
    )


def _flattened(call: Call, mended: Mended, message: str) -> Finding:
    """What another layer has made has too many dimensions: the copy flattens it."""
    parent, _, last = call.path.rpartition(".")
    around: Any = dict(mended.model.named_layers()).get(parent, mended.model)
    shape = tuple(np.shape(call.x)[1:])
    given = call.source.name if call.source is not None else "x"
    cause = f"{given} gives {call.name} an image or a sequence {shape}, which takes rows (N, features)"
    if isinstance(around, nn.Sequential) and last.isdigit():
        around.insert(int(last), nn.Flatten())
        mended.again = True
        cure = f"{code(parent)}.insert({last}, nn.Flatten())"
    else:
        cure = f"{code(call.path)} = nn.Sequential(nn.Flatten(), {code(call.path)})"
        if isinstance(around, Layer) and isinstance(vars(around).get(last), Layer):
            setattr(around, last, nn.Sequential(nn.Flatten(), vars(around)[last]))
            mended.again = True
    return Finding("shape-mismatch", "error", cause, (cure,), call.path)


def _refit(call: Call) -> bool:
    """Give the layer the size that its input has."""
    layer: Any = call.layer
    shape = np.shape(call.x)
    rng, size = generator(0), shape[1]
    if isinstance(layer, nn.Linear):
        new: Any = nn.Linear(size, layer.out_features, layer.bias is not None, rng=rng, dtype=layer.weight.value.dtype)
        layer.in_features, layer.weight = size, new.weight
    elif isinstance(layer, (nn.Conv2d, nn.Conv1d)) and layer.groups == 1:
        weight = layer.weight.value
        fresh = np.empty((weight.shape[0], size, *weight.shape[2:]), weight.dtype)
        layer.in_channels, layer.weight = size, nn.Parameter(nn.init.he_uniform(fresh, rng=rng))
    elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        options = {"affine": layer.weight is not None, "track_running_stats": layer.running_mean is not None}
        vars(layer).update(vars(type(layer)(size, layer.eps, layer.momentum, **options)))
    else:
        return False
    return True


def _another_rank(x: np.ndarray, message: str) -> tuple[np.ndarray, str] | None:
    """x with the dimension that the error's hint gives it."""
    if "x[:, None]" in message:
        return x[:, None], "x = x[:, None]"
    if "nn.Flatten()" in message and x.ndim > 2:
        return x.reshape(len(x), -1), "model = nn.Sequential(nn.Flatten(), model)"
    return None


def _larger(call: Call, where: str) -> tuple[str, ...]:
    layer: Any = call.layer
    if isinstance(layer, nn.Conv2d):
        kernel = layer.kernel_size
        shown = kernel[0] if kernel[0] == kernel[1] else kernel
        return (
            f'{where} = nn.Conv2d({layer.in_channels}, {layer.out_channels}, {shown}, padding="same")',
            "take out a pooling before it",
        )
    return ("take out a pooling or a stride before it", f"{where} = nn.Identity()")


def _tail(message: str, whole: bool = False) -> str:
    """The end of an error's message: what was wrong, without where."""
    line = message.splitlines()[0] if message else ""
    return line if whole else line.rpartition("]")[2].partition(": ")[2] or line


def _after_colon(message: str) -> tuple[str, ...]:
    fix = message.rpartition(": ")[2]
    return (fix.removeprefix("use "),) if ": " in message and fix.startswith(("use ", "put ", "give ")) else ()
