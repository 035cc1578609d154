"""Calls of every operation of `functional`, of random shapes and values: for tests of what is promised of them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cconv import conv_output_size
from cconv import functional as F


class Call(NamedTuple):
    """One operation with its arguments; `images` names the arrays whose first axis counts images that do not meet."""

    name: str
    arrays: dict[str, np.ndarray]
    options: dict
    images: tuple[str, ...] = ()

    def __call__(self, module=F) -> tuple:
        """The results, always as a tuple."""
        result = getattr(module, self.name)(**self.arrays, **self.options)
        return result if isinstance(result, tuple) else (result,)

    def of_image(self, n: int) -> Call:
        """The same call with image n alone."""
        arrays = {k: a[n : n + 1] if k in self.images else a for k, a in self.arrays.items()}
        return self._replace(arrays=arrays)


class Draw:
    """Random shapes and values."""

    def __init__(self, seed: int, dtype):
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(dtype)

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=shape).astype(self.dtype)

    def of(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def upto(self, n: int) -> int:
        return int(self.rng.integers(1, n + 1))


def _convolution(draw: Draw):
    groups = draw.of(1, 1, 1, 2, 3)
    channels, filters = draw.of(1, 2, 3, 5, 8, 17), draw.of(1, 2, 5, 8, 13, 16, 17, 33)
    kernel = draw.upto(4), draw.upto(4)
    if draw.of(True, False, False):
        channels, filters, kernel = 1, draw.of(1, 1, 2), draw.of((3, 3), (3, 3), (5, 5), (7, 7), kernel)
    options = {
        "stride": (draw.of(1, 1, 2, 3), draw.of(1, 1, 2, 3)),
        "padding": ((draw.of(0, 1, 2), draw.of(0, 1, 4)), (draw.of(0, 1, 3), draw.of(0, 1, 2))),
        "dilation": (draw.of(1, 1, 2), draw.of(1, 1, 2)),
    }
    size = max(7 + draw.upto(10), 2 * kernel[0]), max(7 + draw.upto(12), 2 * kernel[1])
    if draw.of(True, False, False):
        kernel, options = (3, 3), {"padding": options["padding"], "algorithm": "winograd"}
    x = draw.normal(draw.of(2, 3, 7), groups * channels, *size)
    weight = draw.normal(groups * filters, channels, *kernel)
    output = conv_output_size(size, kernel, **{k: v for k, v in options.items() if k != "algorithm"})
    return x, weight, {**options, "groups": groups}, (len(x), len(weight), *output)


def conv2d(draw):
    x, weight, options, _ = _convolution(draw)
    bias = {"bias": draw.normal(len(weight))} if draw.of(True, False) else {}
    return Call("conv2d", {"x": x, "weight": weight, **bias}, options, ("x",))


def conv2d_backward(draw):
    x, weight, options, output = _convolution(draw)
    return Call("conv2d_backward", {"grad_y": draw.normal(*output), "x": x, "weight": weight}, options)


def _transposed(draw: Draw):
    groups = draw.of(1, 1, 1, 2, 3)
    channels, filters = draw.of(1, 2, 5, 8, 17, 33), draw.of(1, 2, 3, 5, 8, 16, 17)
    kernel, stride, dilation = ((draw.upto(n), draw.upto(n)) for n in (4, 3, 2))
    if draw.of(True, False, False):
        channels, filters = 1, draw.of(1, 1, 2)
    options = {
        "stride": stride,
        "padding": ((draw.of(0, 1, 2), draw.of(0, 1, 3)), (draw.of(0, 1, 3), draw.of(0, 1, 2))),
        "output_padding": tuple(draw.upto(max(s, d)) - 1 for s, d in zip(stride, dilation, strict=True)),
        "dilation": dilation,
    }
    if draw.of(True, False, False, False):
        kernel, options = (3, 3), {"padding": options["padding"], "algorithm": "winograd"}
    x = draw.normal(draw.of(2, 3, 7), groups * channels, 5 + draw.upto(6), 5 + draw.upto(9))
    weight = draw.normal(groups * channels, filters, *kernel)
    return x, weight, {**options, "groups": groups}


def conv_transpose2d(draw):
    x, weight, options = _transposed(draw)
    bias = {"bias": draw.normal(weight.shape[1] * options["groups"])} if draw.of(True, False) else {}
    return Call("conv_transpose2d", {"x": x, "weight": weight, **bias}, options, ("x",))


def conv_transpose2d_backward(draw):
    x, weight, options = _transposed(draw)
    (y,) = Call("conv_transpose2d", {"x": x, "weight": weight}, options)()
    return Call("conv_transpose2d_backward", {"grad_y": draw.normal(*y.shape), "x": x, "weight": weight}, options)


def linear(draw):
    features, outputs = draw.of(1, 3, 16, 50, 700), draw.of(1, 10, 24, 37, 120)
    arrays = {
        "x": draw.normal(draw.of(2, 5, 33), features),
        "weight": draw.normal(outputs, features),
        "bias": draw.normal(outputs),
    }
    return Call("linear", arrays, {}, ("x",))


def linear_backward(draw):
    call = linear(draw)
    x, weight = call.arrays["x"], call.arrays["weight"]
    return Call("linear_backward", {"grad_y": draw.normal(len(x), len(weight)), "x": x, "weight": weight}, {})


def _pool(draw: Draw):
    kernel = draw.upto(5), draw.upto(5)
    options = {
        "kernel_size": kernel,
        "stride": draw.of(None, (draw.upto(3), draw.upto(3))),
        "padding": (draw.of(0, kernel[0] // 2), draw.of(0, kernel[1] // 2)),
        "ceil_mode": draw.of(True, False),
    }
    return draw.normal(draw.of(2, 3), draw.of(1, 3, 5), 8 + draw.upto(7), 8 + draw.upto(11)), options


def max_pool2d(draw):
    x, options = _pool(draw)
    return Call("max_pool2d", {"x": x}, {**options, "dilation": draw.of(1, 1, (2, 1), 2)}, ("x",))


def max_pool2d_backward(draw):
    call = max_pool2d(draw)
    y, indices = call()
    return Call(
        "max_pool2d_backward",
        {"grad_y": draw.normal(*y.shape), "indices": indices},
        {"x_shape": call.arrays["x"].shape},
    )


def avg_pool2d(draw):
    x, options = _pool(draw)
    return Call("avg_pool2d", {"x": x}, {**options, "count_include_pad": draw.of(True, False)}, ("x",))


def avg_pool2d_backward(draw):
    call = avg_pool2d(draw)
    (y,) = call()
    return Call(
        "avg_pool2d_backward", {"grad_y": draw.normal(*y.shape)}, {"x_shape": call.arrays["x"].shape, **call.options}
    )


def adaptive_avg_pool2d(draw):
    size = draw.of((1, 1), (7, 7), (8, 6), (13, 35))
    x = draw.normal(draw.of(2, 5), draw.of(1, 3), *size)
    return Call("adaptive_avg_pool2d", {"x": x}, {"output_size": draw.of(1, 2, (3, 4), (None, 1), (9, 2))}, ("x",))


def adaptive_avg_pool2d_backward(draw):
    call = adaptive_avg_pool2d(draw)
    (y,) = call()
    return Call("adaptive_avg_pool2d_backward", {"grad_y": draw.normal(*y.shape)}, {"x_shape": call.arrays["x"].shape})


def adaptive_max_pool2d(draw):
    return adaptive_avg_pool2d(draw)._replace(name="adaptive_max_pool2d")


def adaptive_max_pool2d_backward(draw):
    call = adaptive_max_pool2d(draw)
    y, indices = call()
    arrays = {"grad_y": draw.normal(*y.shape), "indices": indices}
    return Call("adaptive_max_pool2d_backward", arrays, {"x_shape": call.arrays["x"].shape})


def _sequences(draw: Draw):
    groups, channels, filters = draw.of(1, 1, 2, 3), draw.of(1, 2, 5, 17), draw.of(1, 5, 16, 17)
    kernel, dilation, padding = draw.upto(5), draw.of(1, 1, 2), draw.of(0, 2, ((0, 3),), "same", "valid")
    options = {"stride": 1 if padding == "same" else draw.upto(3), "padding": padding, "dilation": dilation}
    x = draw.normal(draw.of(2, 3, 7), groups * channels, 9 + draw.upto(40))
    return x, draw.normal(groups * filters, channels, kernel), {**options, "groups": groups}


def conv1d(draw):
    x, weight, options = _sequences(draw)
    bias = {"bias": draw.normal(len(weight))} if draw.of(True, False) else {}
    return Call("conv1d", {"x": x, "weight": weight, **bias}, options, ("x",))


def conv1d_backward(draw):
    x, weight, options = _sequences(draw)
    (y,) = Call("conv1d", {"x": x, "weight": weight}, options)()
    return Call("conv1d_backward", {"grad_y": draw.normal(*y.shape), "x": x, "weight": weight}, options)


def _pool_of_sequences(draw: Draw):
    kernel = draw.upto(5)
    options = {"kernel_size": kernel, "stride": draw.of(None, draw.upto(3)), "padding": draw.of(0, kernel // 2)}
    return draw.normal(draw.of(2, 3), draw.of(1, 3, 5), 8 + draw.upto(40)), {
        **options,
        "ceil_mode": draw.of(True, False),
    }


def max_pool1d(draw):
    x, options = _pool_of_sequences(draw)
    return Call("max_pool1d", {"x": x}, {**options, "dilation": draw.of(1, 1, 2)}, ("x",))


def max_pool1d_backward(draw):
    call = max_pool1d(draw)
    y, indices = call()
    arrays = {"grad_y": draw.normal(*y.shape), "indices": indices}
    return Call("max_pool1d_backward", arrays, {"x_shape": call.arrays["x"].shape})


def avg_pool1d(draw):
    x, options = _pool_of_sequences(draw)
    return Call("avg_pool1d", {"x": x}, {**options, "count_include_pad": draw.of(True, False)}, ("x",))


def avg_pool1d_backward(draw):
    call = avg_pool1d(draw)
    (y,) = call()
    options = {"x_shape": call.arrays["x"].shape, **call.options}
    return Call("avg_pool1d_backward", {"grad_y": draw.normal(*y.shape)}, options)


def adaptive_avg_pool1d(draw):
    x = draw.normal(draw.of(2, 5), draw.of(1, 3), draw.of(1, 7, 16, 35))
    return Call("adaptive_avg_pool1d", {"x": x}, {"output_size": draw.of(1, 2, 5, 40)}, ("x",))


def adaptive_avg_pool1d_backward(draw):
    call = adaptive_avg_pool1d(draw)
    (y,) = call()
    return Call("adaptive_avg_pool1d_backward", {"grad_y": draw.normal(*y.shape)}, {"x_shape": call.arrays["x"].shape})


def adaptive_max_pool1d(draw):
    return adaptive_avg_pool1d(draw)._replace(name="adaptive_max_pool1d")


def adaptive_max_pool1d_backward(draw):
    call = adaptive_max_pool1d(draw)
    y, indices = call()
    arrays = {"grad_y": draw.normal(*y.shape), "indices": indices}
    return Call("adaptive_max_pool1d_backward", arrays, {"x_shape": call.arrays["x"].shape})


def pad(draw):
    x = draw.normal(*draw.of((2, 3, 5), (3, 2, 5, 6), (2, 1, 4, 9), (5, 4, 4, 4)))
    mode = draw.of("constant", "reflect", "replicate", "circular")
    sizes = tuple(draw.upto(4) - 1 for _ in range(2 * draw.upto(x.ndim - 2)))
    if mode == "constant":
        return Call("pad", {"x": x}, {"pad": tuple(n - 2 for n in sizes), "value": draw.of(0.0, -1.5)}, ("x",))
    return Call("pad", {"x": x}, {"pad": sizes, "mode": mode}, ("x",))


def pad_backward(draw):
    call = pad(draw)
    (y,) = call()
    options = {"x_shape": call.arrays["x"].shape, "pad": call.options["pad"]}
    options["mode"] = call.options.get("mode", "constant")
    return Call("pad_backward", {"grad_y": draw.normal(*y.shape)}, options)


def interpolate(draw):
    mode = draw.of("nearest", "nearest-exact", "linear", "linear")
    shape = draw.of(2, 3), draw.of(1, 3), *(draw.of(1, 2, 5, 16, 19, 37) for _ in range(draw.of(1, 2, 2)))
    axes = len(shape) - 2
    options = {"mode": "bilinear" if mode == "linear" and axes == 2 else mode}
    if mode == "linear":
        options["align_corners"] = draw.of(True, False)
    if draw.of(True, False):
        options["size"] = tuple(draw.of(1, 2, 3, 8, 17, 33, 41) for _ in range(axes))
    else:
        options["scale_factor"] = tuple(draw.of(1, 2, 2, 3, 1.7, 1.3) for _ in range(axes))
        options["recompute_scale_factor"] = draw.of(None, True)
    return Call("interpolate", {"x": draw.normal(*shape)}, options, ("x",))


def interpolate_backward(draw):
    call = interpolate(draw)
    (y,) = call()
    options = {"x_shape": call.arrays["x"].shape, **call.options}
    return Call("interpolate_backward", {"grad_y": draw.normal(*y.shape)}, options)


def batch_norm(draw):
    """Planes narrower than 16 numbers, 16, and wider; statistics given or the batch's."""
    x = draw.normal(draw.of(2, 5, 9), draw.of(1, 3, 40), *draw.of((), (2,), (3, 5), (4, 4), (7, 7), (9, 13)))
    channels = x.shape[1]
    x += 3 * draw.normal(channels, *[1] * (x.ndim - 2))
    arrays = {"x": x, "running_mean": draw.normal(channels), "running_var": np.exp(draw.normal(channels))}
    if draw.of(True, False):
        arrays |= {"weight": draw.normal(channels), "bias": draw.normal(channels)}
    training = draw.of(True, False)
    return Call("batch_norm", arrays, {"training": training, "eps": draw.of(1e-5, 0.1)}, () if training else ("x",))


def batch_norm_backward(draw):
    call = batch_norm(draw)
    _, mean, var = call()
    arrays = {"grad_y": draw.normal(*call.arrays["x"].shape), "x": call.arrays["x"], "mean": mean, "var": var}
    if "weight" in call.arrays:
        arrays["weight"] = call.arrays["weight"]
    return Call("batch_norm_backward", arrays, call.options)


def group_norm(draw):
    """Planes narrower than 16 numbers, 16, and wider; at least 5 numbers a group, as two normalise to -1 and 1."""
    groups, plane = draw.of(1, 2, 5), draw.of((), (2,), (3, 5), (4, 4), (7, 7), (9, 13))
    channels = groups * draw.of(1 if len(plane) > 1 else 5, 3 if plane else 6, 8)
    x = draw.normal(draw.of(2, 5, 9), channels, *plane)
    x += 3 * draw.normal(channels, *[1] * (x.ndim - 2))
    weights = {"weight": draw.normal(channels), "bias": draw.normal(channels)} if draw.of(True, True, False) else {}
    return Call("group_norm", {"x": x, **weights}, {"num_groups": groups, "eps": draw.of(1e-5, 0.1)}, ("x",))


def layer_norm(draw):
    shape = draw.of((5,), (7,), (16,), (33,), (70,), (3, 5), (200,), (4, 6, 6))
    x = draw.normal(draw.of(2, 5, 9), *draw.of((), (3,)), *shape) + draw.of(0, 3)
    weights = {"weight": draw.normal(*shape), "bias": draw.normal(*shape)} if draw.of(True, True, False) else {}
    options = {"normalized_shape": shape if len(shape) > 1 else draw.of(shape, shape[0]), "eps": draw.of(1e-5, 0.1)}
    return Call("layer_norm", {"x": x.astype(draw.dtype), **weights}, options, ("x",))


def _norm_backward(name):
    def draw_call(draw):
        call = (group_norm if name == "group_norm" else layer_norm)(draw)
        arrays = {k: a for k, a in call.arrays.items() if k != "bias"}
        return Call(f"{name}_backward", {"grad_y": draw.normal(*arrays["x"].shape), **arrays}, call.options)

    return draw_call


ACTIVATIONS = {
    "relu": ("y", {}),
    "leaky_relu": ("x", {"negative_slope": 0.2}),
    "sigmoid": ("y", {}),
    "tanh": ("y", {}),
    "softplus": ("x", {"beta": 0.75, "threshold": 1.5}),
    "elu": ("x", {"alpha": 0.7}),
    "gelu": ("x", {}),
    "silu": ("x", {}),
    "hardswish": ("x", {}),
    "hardtanh": ("x", {"min_val": -0.7, "max_val": 0.4}),
    "hardsigmoid": ("x", {}),
    "softmax": ("x", {"dim": 1}),
    "log_softmax": ("x", {"dim": 1}),
}


def _activation(name):
    def draw_call(draw):
        x = draw.normal(draw.of(2, 5), draw.of(1, 7, 40), *draw.of((), (3,), (6, 9), (31, 31)))
        options = {"approximate": draw.of("none", "tanh")} if name == "gelu" else ACTIVATIONS[name][1]
        return Call(name, {"x": x}, options, ("x",))

    return draw_call


def _activation_backward(name):
    def draw_call(draw):
        call = _activation(name)(draw)
        kept, _ = ACTIVATIONS[name]
        value = call.arrays["x"] if kept == "x" else call()[0]
        return Call(f"{name}_backward", {"grad_y": draw.normal(*value.shape), kept: value}, call.options)

    return draw_call


def dropout(draw):
    x = draw.normal(draw.of(2, 5), *draw.of((), (3,), (64,), (7, 9, 5), (8, 31, 33)))
    return Call("dropout", {"x": x}, {"p": draw.of(0.1, 0.5, 0.9), "seed": draw.upto(2**40), "step": draw.upto(9)})


def dropout2d(draw):
    x = draw.normal(draw.of(2, 5), draw.of(1, 40), 3, 5)
    return Call("dropout2d", {"x": x}, {"p": draw.of(0.1, 0.5), "seed": draw.upto(2**40), "step": draw.upto(9)})


def dropout_backward(draw):
    call = dropout(draw)
    return Call("dropout_backward", {"grad_y": call.arrays["x"]}, call.options)


def dropout2d_backward(draw):
    call = dropout2d(draw)
    return Call("dropout2d_backward", {"grad_y": call.arrays["x"]}, call.options)


def maxout(draw):
    size = draw.upto(4)
    x = draw.normal(draw.of(2, 5), size * draw.of(1, 3, 8), *draw.of((), (3,), (4, 4), (6, 9), (17, 31)))
    return Call("maxout", {"x": x}, {"pool_size": size}, ("x",))


def maxout_backward(draw):
    call = maxout(draw)
    (y,) = call()
    return Call("maxout_backward", {"grad_y": draw.normal(*y.shape), **call.arrays}, call.options)


def _loss(name):
    def draw_call(draw):
        x = draw.normal(draw.of(2, 5), draw.of(2, 10, 35), *draw.of((), (3,), (4, 5)))
        of_labels = name in ("cross_entropy", "nll_loss")
        arrays, options = {}, {"reduction": "none"}
        if of_labels:
            first, classes, positions = "logits", x.shape[1], (len(x), *x.shape[2:])
            target = draw.rng.integers(classes, size=positions)
            kind = draw.of("plain", "plain", "ignored", "smoothed", "soft")
            if name == "nll_loss":
                first, x = "x", F.log_softmax(x)
            elif kind == "soft":
                target = F.softmax(draw.normal(*x.shape))
            if name == "cross_entropy" and kind in ("smoothed", "soft"):
                options["label_smoothing"] = draw.of(0.0, 0.1)
            if kind == "ignored":
                options["ignore_index"] = draw.of(0, -100)
                target = np.where(draw.rng.random(positions) < 0.4, options["ignore_index"], target)
            if kind != "plain" and draw.of(True, False):
                arrays["weight"] = np.exp(draw.normal(classes))
            if draw.of(True, False, False):
                arrays["sample_weight"] = draw.rng.random(positions).astype(draw.dtype)
        else:
            first, target = "x", draw.rng.random(x.shape).astype(draw.dtype)
            if name.startswith("binary"):
                if draw.of(True, False):
                    arrays["weight"] = np.exp(draw.normal(*x.shape[1:]))
                if name == "binary_cross_entropy":
                    x = F.sigmoid(x)
                elif draw.of(True, False):
                    arrays["pos_weight"] = np.exp(draw.normal(x.shape[1], *[1] * (x.ndim - 2)))
            if name == "huber_loss":
                options["delta"] = draw.of(1.0, 0.3)
            if name == "smooth_l1_loss":
                options["beta"] = draw.of(1.0, 0.3, 0.0)
        images = (first, "target", "sample_weight") if "sample_weight" in arrays else (first, "target")
        return Call(name, {first: x, "target": target, **arrays}, options, images)

    return draw_call


def _loss_backward(name):
    def draw_call(draw):
        call = _loss(name)(draw)
        reduction = draw.of("mean", "sum", "none")
        if reduction == "none":
            return Call(f"{name}_backward", {"grad_loss": draw.normal(*call()[0].shape), **call.arrays}, call.options)
        return Call(f"{name}_backward", call.arrays, {**call.options, "grad_loss": 1.5, "reduction": reduction})

    return draw_call


DRAWS: dict[str, Callable[[Draw], Call]] = {
    draw_call.__name__: draw_call
    for draw_call in (
        *(conv2d, conv2d_backward, conv_transpose2d, conv_transpose2d_backward, linear, linear_backward),
        *(conv1d, conv1d_backward, max_pool1d, max_pool1d_backward, avg_pool1d, avg_pool1d_backward),
        *(adaptive_avg_pool1d, adaptive_avg_pool1d_backward, adaptive_max_pool2d, adaptive_max_pool2d_backward),
        *(max_pool2d, max_pool2d_backward, avg_pool2d, avg_pool2d_backward),
        *(adaptive_avg_pool2d, adaptive_avg_pool2d_backward, pad, pad_backward, batch_norm, batch_norm_backward),
        *(interpolate, interpolate_backward, adaptive_max_pool1d, adaptive_max_pool1d_backward),
        *(dropout, dropout_backward, dropout2d, dropout2d_backward),
        *(maxout, maxout_backward, group_norm, layer_norm),
    )
}
for activation in ACTIVATIONS:
    DRAWS[activation] = _activation(activation)
    DRAWS[f"{activation}_backward"] = _activation_backward(activation)
for norm in ("group_norm", "layer_norm"):
    DRAWS[f"{norm}_backward"] = _norm_backward(norm)
LOSSES = {
    "cross_entropy": "logits",
    "nll_loss": "x",
    "mse_loss": "x",
    "l1_loss": "x",
    "huber_loss": "x",
    "smooth_l1_loss": "x",
    "binary_cross_entropy": "x",
    "binary_cross_entropy_with_logits": "x",
}
for loss in LOSSES:
    DRAWS[loss] = _loss(loss)
    DRAWS[f"{loss}_backward"] = _loss_backward(loss)

FORWARD = [name for name in DRAWS if not name.endswith("_backward")]


def draw_call(name: str, seed: int, dtype) -> Call:
    """A call of operation `name`, the same one for the same seed."""
    return DRAWS[name](Draw(seed, dtype))


def distance(got, expected) -> float:
    """Largest difference over largest expected value."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    if not expected.size:
        return 0.0
    return float(np.abs(got - expected).max() / (np.abs(expected).max() or 1))


def same_bits(first, second) -> bool:
    """Whether two tuples of results agree in shape, dtype and every bit."""
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(first, second, strict=True)
    )
