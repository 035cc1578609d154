"""The ONNX backend node tests, as far as the operations here go: two-dimensional."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest

from cconv import functional as F

onnx = pytest.importorskip("onnx")

MODULES = ("averagepool", "conv", "leakyrelu", "logsoftmax", "maxpool", "relu", "resize", "sigmoid", "softmax",
           "softmax_cross_entropy_loss", "softplus", "tanh")  # fmt: skip


def pads(options, x, kernel):
    """((top, bottom), (left, right)), from pads or auto_pad."""
    auto = options.get("auto_pad", b"NOTSET").decode()
    if not auto.startswith("SAME"):
        top, left, bottom, right = options.get("pads", (0, 0, 0, 0))
        return (top, bottom), (left, right)
    strides = options.get("strides", (1, 1))
    totals = [max(0, (-(-n // s) - 1) * s + k - n) for n, k, s in zip(x.shape[2:], kernel, strides, strict=True)]
    return tuple((t // 2, t - t // 2) if auto == "SAME_UPPER" else (t - t // 2, t // 2) for t in totals)


def conv(options, x, weight, bias=None):
    padding = pads(options, x, weight.shape[2:])
    return (
        F.conv2d(
            x, weight, bias, options.get("strides", 1), padding, options.get("dilations", 1), options.get("group", 1)
        ),
    )


def window(options, x):
    kernel = options["kernel_shape"]
    return {
        "kernel_size": kernel,
        "stride": options.get("strides", 1),
        "padding": pads(options, x, kernel),
        "ceil_mode": bool(options.get("ceil_mode", 0)),
    }


def max_pool(options, x):
    y, indices = F.max_pool2d(x, **window(options, x), dilation=options.get("dilations", 1))
    # ONNX counts on through channels and images, and by columns where storage_order is 1.
    height, width = x.shape[2:]
    if options.get("storage_order", 0):
        indices = indices % width * height + indices // width
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], 1, 1)
    return y, indices + planes * height * width


def average_pool(options, x):
    return (F.avg_pool2d(x, **window(options, x), count_include_pad=bool(options.get("count_include_pad", 0))),)


def cross_entropy(options, x, target, weight=None):
    reduction = options.get("reduction", b"mean").decode()
    losses = F.cross_entropy(x, target, weight, options.get("ignore_index", -100), reduction=reduction)
    return losses, F.log_softmax(x)


def interpolation(options):
    """Mode and corners of a resizing, if they are to be had here."""
    mode, places = options.get("mode", b"nearest"), options.get("coordinate_transformation_mode", b"half_pixel")
    if {"axes", "antialias", "nearest_mode"} & set(options) or mode == b"cubic":
        return None
    kinds = {b"half_pixel": {}, b"align_corners": {"align_corners": True}}
    return kinds[places] | {"mode": "bilinear" if mode == b"linear" else "nearest-exact"} if places in kinds else None


def resize(options, x, scales):
    return (F.interpolate(x, scale_factor=tuple(scales[2:].tolist()), **interpolation(options)),)


OPERATIONS = {
    "AveragePool": average_pool,
    "Conv": conv,
    "LeakyRelu": lambda o, x: (F.leaky_relu(x, o.get("alpha", 0.01)),),
    "LogSoftmax": lambda o, x: (F.log_softmax(x, o.get("axis", -1)),),
    "MaxPool": max_pool,
    "Resize": resize,
    "Relu": lambda o, x: (F.relu(x),),
    "Sigmoid": lambda o, x: (F.sigmoid(x),),
    "Softmax": lambda o, x: (F.softmax(x, o.get("axis", -1)),),
    "SoftmaxCrossEntropyLoss": cross_entropy,
    "Softplus": lambda o, x: (F.softplus(x),),
    "Tanh": lambda o, x: (F.tanh(x),),
}


def supported(node, options, inputs) -> bool:
    if node.op_type not in OPERATIONS or any(a.dtype not in (np.float32, np.float64) for a in inputs[:1]):
        return False
    if "kernel_shape" in options and len(options["kernel_shape"]) != 2:
        return False
    if node.op_type == "AveragePool" and "dilations" in options:
        return False
    if node.op_type == "Resize":
        # By scales: ONNX rounds ties of sizes down. It has corners meet before the output's size is rounded.
        found, scales = interpolation(options), inputs[1]
        return found is not None and scales.dtype.kind == "f" and ("align_corners" not in found or min(scales) >= 1)
    # Padding beyond half the kernel is refused, as in PyTorch.
    return "Pool" not in node.op_type or all(
        2 * p <= options["kernel_shape"][i % 2] for i, p in enumerate(options.get("pads", ()))
    )


def node_tests():
    """Cases that ONNX makes when the modules of its operators are imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = importlib.import_module("onnx.backend.test.case.node")
        for module in MODULES:
            importlib.import_module(f"onnx.backend.test.case.node.{module}")
    for case in cases._NodeTestCases:
        (node, *more) = case.model.graph.node
        options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs, outputs = case.data_sets[0]
        if not more and supported(node, options, inputs):
            yield pytest.param(node.op_type, options, inputs, outputs, case.rtol, id=case.name)


TESTS = list(node_tests())


@pytest.mark.parametrize(("operation", "options", "inputs", "outputs", "rtol"), TESTS)
def test_node(operation, options, inputs, outputs, rtol, isa):
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    got = OPERATIONS[operation](options, *inputs)
    for a, b in zip(got, outputs, strict=False):  # some outputs are optional
        assert np.shape(a) == np.shape(b) and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)


def test_every_operation_is_among_them():
    assert {test.values[0] for test in TESTS} == set(OPERATIONS)
