"""Paddings and output sizes, and the wording of errors about arguments."""

from __future__ import annotations

import math
import re
from functools import partial

import numpy as np
import pytest

from cconv import _arguments, _checks, _shapes
from cconv import reference as R
from cconv._shapes import conv_output_size

LABELS = np.zeros(4, int)


def ones(*shape, dtype=np.float64):
    return np.ones(shape, dtype)


def refused(error, message, function, *args, **options):
    """The call raises exactly this type, with exactly this message."""
    with pytest.raises(error, match=f"^{re.escape(message)}$") as caught:
        function(*args, **options)
    assert caught.type is error


# Paddings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (0, ((0, 0), (0, 0))),
        (3, ((3, 3), (3, 3))),
        (np.int32(3), ((3, 3), (3, 3))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        (((1, 2), (3, 4)), ((1, 2), (3, 4))),
        ([[1, 2], (3, 4)], ((1, 2), (3, 4))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((1, 2), (2, 2))),
    ],
)
def test_forms_of_padding(padding, expected):
    assert _shapes.padding_pairs("f", padding, (4, 3), (1, 1), (1, 2)) == expected


@pytest.mark.parametrize(("kernel", "dilation"), [(k, d) for k in range(1, 6) for d in range(1, 4)])
def test_same_keeps_the_size(kernel, dilation):
    assert conv_output_size((9, 14), kernel, dilation=dilation, padding="same") == (9, 14)


# Sizes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ((28, 5), {}, 24),
        ((28, 5), {"padding": 2}, 28),
        ((28, 2), {"stride": 2}, 14),
        ((5, 3), {"stride": 2, "padding": 1}, 3),
        ((7, 3), {"dilation": 3}, 1),
        ((7, 1), {"padding": 4}, 15),
        (((28, 30), (5, 3)), {"stride": (2, 1), "padding": ((1, 0), (0, 0))}, (13, 28)),
        (([6, 6], 3), {}, (4, 4)),
    ],
)
def test_conv_output_size(arguments, options, expected):
    assert conv_output_size(*arguments, **options) == expected


def starts(n, kernel, stride, pads, dilation):
    """Windows counted one by one: where each begins, in an input padded on both sides."""
    last = n + sum(pads) - (dilation * (kernel - 1) + 1)
    return list(range(0, last + 1, stride))


def test_output_size_counts_windows():
    checked = 0
    for n in range(1, 8):
        for kernel in range(1, 4):
            for stride in range(1, 4):
                for dilation in range(1, 3):
                    for pads in [(0, 0), (1, 1), (0, 2), (3, 1)]:
                        expected = len(starts(n, kernel, stride, pads, dilation))
                        if expected:
                            got = _shapes.window_output(
                                "f", (n, 9), (kernel, 1), (stride, 1), (pads, (0, 0)), (dilation, 1)
                            )
                            assert got == (expected, 9)
                            checked += 1
    assert checked > 300


def test_ceil_mode_adds_a_window_that_starts_inside():
    grew = 0
    for n in range(1, 9):
        for kernel in range(1, 5):
            for stride in range(1, 5):
                for pads in [(0, 0), (kernel // 2, kernel // 2), (0, kernel // 2), (kernel // 2, 0)]:
                    arguments = ("f", (n, n), (kernel, kernel), (stride, stride), (pads, pads), (1, 1))
                    # Enough windows to reach the padded end, but none that begins at or after the end of the input.
                    end, count = n + sum(pads), 1
                    if kernel - end >= stride:
                        with pytest.raises(ValueError, match="larger"):
                            _shapes.pool_output(*arguments, True)
                        continue
                    while (count - 1) * stride + kernel < end:
                        count += 1
                    if (count - 1) * stride >= n + pads[0]:
                        count -= 1
                    assert _shapes.pool_output(*arguments, True) == (count, count)
                    grew += count > len(starts(n, kernel, stride, pads, 1))
    assert grew > 50


@pytest.mark.parametrize(
    ("message", "arguments", "options"),
    [
        (
            "conv_output_size: kernel height 7 is larger than the padded input height 6 (4 + padding 1 + 1)",
            (4, 7),
            {"padding": 1},
        ),
        (
            "conv_output_size: kernel width 3 (dilation 3: 7) is larger than the padded input width 6 "
            "(6 + padding 0 + 0)",
            ((7, 6), 3),
            {"dilation": 3},
        ),
        ("conv_output_size: stride must be at least 1, got 0", (5, 3), {"stride": 0}),
        ("conv_output_size: stride must be an int or (height, width), got (1, 2, 3)", (5, 3), {"stride": (1, 2, 3)}),
        ("conv_output_size: dilation must be at least 1, got 0", (5, 3), {"dilation": (1, 0)}),
        ("conv_output_size: kernel_size must be at least 1, got 0", (5, 0), {}),
        ("conv_output_size: padding must be at least 0, got -1", (5, 3), {"padding": -1}),
        ("conv_output_size: padding must be at least 0, got -2", (5, 3), {"padding": ((0, 0), (0, -2))}),
        ("conv_output_size: padding must be 'same', 'valid' or numbers, got 'full'", (5, 3), {"padding": "full"}),
        (
            "conv_output_size: padding must be ((top, bottom), (left, right)), got ((1, 1), 2)",
            (5, 3),
            {"padding": ((1, 1), 2)},
        ),
        (
            "conv_output_size: padding='same' needs stride 1, got stride (2, 2)",
            (5, 3),
            {"padding": "same", "stride": 2},
        ),
        ("conv_output_size: padding must be less than 2**31, got 2147483648", (5, 3), {"padding": 2**31}),
        (
            "conv_output_size: size 5 is one number, but the arguments differ in height and width: "
            "give (height, width)",
            (5, (3, 2)),
            {},
        ),
    ],
)
def test_bad_geometry(message, arguments, options):
    refused(ValueError, message, conv_output_size, *arguments, **options)


@pytest.mark.parametrize("stride", [1.0, "1", None, True, (1, 2.0), np.float64(1)])
def test_a_stride_is_an_integer(stride):
    wrong = stride[1] if isinstance(stride, tuple) else stride
    refused(TypeError, f"conv_output_size: stride must be an integer, got {wrong!r}", conv_output_size, 5, 3, stride)


def test_integers_of_numpy_are_integers():
    assert conv_output_size(np.int64(28), np.uint8(5), stride=np.int16(2)) == 12


# Arrays -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fitting_array_is_not_copied(dtype):
    array = ones(2, 3, dtype=dtype)
    assert _checks.real("f", "x", array) is array
    array.flags.writeable = False
    assert _checks.real("f", "x", array) is array


UNFIT = {
    "every other": lambda a: a[:, ::2],
    "transposed": lambda a: a.T,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": lambda a: np.frombuffer(bytearray(1) + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
}


@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT)
def test_arrays_are_made_fit_for_kernels(unfit):
    """Aligned, C-contiguous, native: whatever came in."""
    floats, labels = unfit(np.arange(12, dtype=np.float32).reshape(3, 4)), unfit(np.arange(12).reshape(3, 4))
    logits = ones(len(labels), 12, labels.shape[1])
    cleaned = (
        _checks.real("f", "x", floats),
        _arguments.cross_entropy("f", logits, labels, None, -100, "mean", 0.0, None).target,
    )
    for array, raw, dtype in zip(cleaned, (floats, labels), (np.float32, np.int64), strict=True):
        np.testing.assert_array_equal(array, raw)
        assert array.dtype == dtype
        assert array.dtype.isnative
        assert array.flags.c_contiguous
        assert array.flags.aligned


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.complex64, bool, object, np.longdouble, "U3"])
def test_other_dtypes_are_refused(dtype):
    array = np.zeros((1, 1, 3, 3), dtype)
    if array.dtype == np.float64:
        pytest.skip("long double is double here")
    refused(TypeError, f"relu: x has dtype {array.dtype}, expected float32 or float64", R.relu, array)


def test_raw_images_get_a_hint():
    message = "conv2d: x has dtype uint8, expected float32 or float64: use x.astype(np.float32) / 255 for images"
    refused(TypeError, message, R.conv2d, np.zeros((1, 3, 8, 8), np.uint8), ones(2, 3, 3, 3))


def test_lists_of_floats_are_arrays():
    assert R.relu([[-1.0, 2.0]]).tolist() == [[0, 2]]


def test_finite_numbers():
    assert _checks.number("f", "lr", np.float32(0.5), 0) == 0.5
    assert _checks.number("f", "lr", 0, 0) == 0
    refused(ValueError, "f: lr must be more than 0, got 0", _checks.number, "f", "lr", 0, 0, above=True)
    refused(ValueError, "f: lr must be at least 0, got -1", _checks.number, "f", "lr", -1, 0)
    refused(ValueError, "f: lr must be finite, got inf", _checks.number, "f", "lr", math.inf)
    refused(TypeError, "f: lr must be a number, got None", _checks.number, "f", "lr", None)


# Operations ---------------------------------------------------------------------------------------------------------

X, WEIGHT = ones(1, 3, 8, 8), ones(16, 3, 5, 5)


@pytest.mark.parametrize(
    ("message", "args", "options"),
    [
        ("x has 3 dimensions (3, 8, 8), expected 4 (N, C, H, W)", (X[0], WEIGHT), {}),
        (
            "weight has 2 dimensions (5, 5), expected 4 (out_channels, in_channels / groups, height, width)",
            (X, ones(5, 5)),
            {},
        ),
        ("x has 3 channels, weight (16, 4, 5, 5) with groups=1 expects 4", (X, ones(16, 4, 5, 5)), {}),
        ("x has 3 channels, weight (16, 3, 5, 5) with groups=2 expects 6", (X, WEIGHT), {"groups": 2}),
        (
            "x has 28 channels, weight (16, 3, 5, 5) with groups=1 expects 3: x looks like (N, H, W, C), "
            "use x.transpose(0, 3, 1, 2) for (N, C, H, W) (2, 3, 28, 30)",
            (ones(2, 28, 30, 3), WEIGHT),
            {},
        ),
        ("groups=3 does not divide the 16 filters of weight (16, 1, 5, 5)", (X, ones(16, 1, 5, 5)), {"groups": 3}),
        ("groups must be at least 1, got 0", (X, WEIGHT), {"groups": 0}),
        ("weight (16, 3, 0, 5) is empty", (X, ones(16, 3, 0, 5)), {}),
        ("x (1, 3, 0, 8) has no rows or no columns", (ones(1, 3, 0, 8), WEIGHT), {"padding": 9}),
        ("bias has shape (3,), weight (16, 3, 5, 5) expects (16,)", (X, WEIGHT, ones(3)), {}),
        ("bias has shape (16, 1), weight (16, 3, 5, 5) expects (16,)", (X, WEIGHT, ones(16, 1)), {}),
        ("stride must be at least 1, got 0", (X, WEIGHT), {"stride": 0}),
        ("dilation must be at least 1, got -1", (X, WEIGHT), {"dilation": -1}),
        ("padding must be at least 0, got -1", (X, WEIGHT), {"padding": -1}),
        (
            "kernel height 5 (dilation 2: 9) is larger than the padded input height 8 (8 + padding 0 + 0)",
            (X, WEIGHT),
            {"dilation": 2},
        ),
    ],
)
def test_bad_convolutions(message, args, options):
    refused(ValueError, f"conv2d: {message}", R.conv2d, *args, **options)


def test_bad_convolution_gradients():
    message = "conv2d_backward: grad_y has shape (1, 16, 3, 4), the output has (1, 16, 4, 4): they must be equal"
    refused(ValueError, message, R.conv2d_backward, ones(1, 16, 3, 4), X, WEIGHT)
    message = "conv2d_backward: needs must be three booleans (x, weight, bias), got (True, False)"
    refused(TypeError, message, R.conv2d_backward, ones(1, 16, 4, 4), X, WEIGHT, needs=(True, False))
    message = "conv2d_backward: x has 3 channels, weight (16, 4, 5, 5) with groups=1 expects 4"
    refused(ValueError, message, R.conv2d_backward, ones(1, 16, 4, 4), X, ones(16, 4, 5, 5))


@pytest.mark.parametrize(
    ("message", "function", "args"),
    [
        ("linear: x has 4 dimensions (1, 3, 8, 8), expected 2 (N, features)", R.linear, (X, ones(2, 3))),
        ("linear: x (4, 5) has 5 features, weight (2, 3) expects 3", R.linear, (ones(4, 5), ones(2, 3))),
        (
            "linear: weight has 1 dimensions (3,), expected 2 (out_features, in_features)",
            R.linear,
            (ones(4, 3), ones(3)),
        ),
        ("linear: weight (0, 3) is empty", R.linear, (ones(4, 3), ones(0, 3))),
        ("linear: bias has shape (3,), weight (2, 3) expects (2,)", R.linear, (ones(4, 3), ones(2, 3), ones(3))),
        (
            "linear_backward: grad_y has shape (4, 3), the output has (4, 2): they must be equal",
            R.linear_backward,
            (ones(4, 3), ones(4, 3), ones(2, 3)),
        ),
    ],
)
def test_bad_linear_maps(message, function, args):
    refused(ValueError, message, function, *args)


@pytest.mark.parametrize("pool", [R.max_pool2d, R.avg_pool2d])
@pytest.mark.parametrize(
    ("message", "x", "args", "options"),
    [
        ("x has 2 dimensions (4, 4), expected 4 (N, C, H, W)", ones(4, 4), (2,), {}),
        ("kernel_size must be at least 1, got 0", X, (0,), {}),
        ("stride must be at least 1, got 0", X, (2, 0), {}),
        ("padding height 2 is over half the kernel height 3: at most 1", X, (3,), {"padding": 2}),
        ("padding width 2 is over half the kernel width 2: at most 1", X, (2,), {"padding": ((0, 0), (0, 2))}),
        ("padding must be at least 0, got -1", X, (2,), {"padding": -1}),
        ("kernel height 9 is larger than the padded input height 8 (8 + padding 0 + 0)", X, (9,), {}),
        (
            "kernel height 9 is larger than the padded input height 8 (8 + padding 0 + 0)",
            X,
            (9, 1),
            {"ceil_mode": True},
        ),
        ("the input has width 0, expected at least 1", ones(1, 3, 8, 0), (2,), {"padding": 1}),
    ],
)
def test_bad_pools(pool, message, x, args, options):
    refused(ValueError, f"{pool.__name__}: {message}", pool, x, *args, **options)


def test_every_window_holds_a_position():
    message = "max_pool2d: with dilation 2 and padding 1, a window over an input width of 1 holds nothing but padding"
    refused(ValueError, message, R.max_pool2d, ones(1, 1, 4, 1), (1, 2), 1, (0, 1), (1, 2))
    # With three taps the middle one meets the input.
    assert R.max_pool2d(ones(1, 1, 1, 1), (1, 3), 1, ((0, 0), (1, 1)), (1, 1))[0].shape == (1, 1, 1, 1)
    for n in range(1, 5):
        for kernel in range(1, 6):
            for dilation in range(1, 5):
                for stride in range(1, 4):
                    for pads in [(0, 0), (kernel // 2, kernel // 2), (kernel // 2, 0), (0, kernel // 2)]:
                        arguments = (n, kernel, stride, pads, dilation)
                        empty = [
                            start
                            for start in starts(*arguments)
                            if not any(0 <= start - pads[0] + k * dilation < n for k in range(kernel))
                        ]
                        if starts(*arguments) and not empty:
                            R.max_pool2d(ones(1, 1, n, 1), (kernel, 1), (stride, 1), (pads, (0, 0)), (dilation, 1))
                        else:
                            with pytest.raises(ValueError, match="nothing but padding" if empty else "larger"):
                                R.max_pool2d(ones(1, 1, n, 1), (kernel, 1), (stride, 1), (pads, (0, 0)), (dilation, 1))


GRAD_Y, INDICES = ones(1, 1, 2, 2), np.array([[[[0, 3], [12, 15]]]])


@pytest.mark.parametrize(
    ("error", "message", "args"),
    [
        (TypeError, "indices have dtype int32, expected int64", (GRAD_Y, INDICES.astype(np.int32), (1, 1, 4, 4))),
        (
            ValueError,
            "indices have shape (1, 1, 1, 2), grad_y (1, 1, 2, 2): they must be equal",
            (GRAD_Y, INDICES[:, :, :1], (1, 1, 4, 4)),
        ),
        (
            ValueError,
            "grad_y (1, 1, 2, 2) and x_shape (1, 2, 4, 4) must agree in N and C",
            (GRAD_Y, INDICES, (1, 2, 4, 4)),
        ),
        (ValueError, "indices hold 15, expected 0..14 for x_shape (1, 1, 3, 5)", (GRAD_Y, INDICES, (1, 1, 3, 5))),
        (ValueError, "indices hold -1, expected 0..15 for x_shape (1, 1, 4, 4)", (GRAD_Y, INDICES - 1, (1, 1, 4, 4))),
        (ValueError, "x_shape must be (N, C, H, W), got (4, 4)", (GRAD_Y, INDICES, (4, 4))),
        (ValueError, "x_shape must be at least 0, got -1", (GRAD_Y, INDICES, (-1, 1, 4, 4))),
        (TypeError, "x_shape must be an integer, got 4.0", (GRAD_Y, INDICES, (1, 1, 4.0, 4))),
    ],
)
def test_bad_max_pool_gradients(error, message, args):
    refused(error, f"max_pool2d_backward: {message}", R.max_pool2d_backward, *args)


def test_bad_avg_pool_gradients():
    message = "avg_pool2d_backward: grad_y has shape (1, 1, 2, 2), the output has (1, 1, 2, 3): they must be equal"
    refused(ValueError, message, R.avg_pool2d_backward, GRAD_Y, (1, 1, 4, 6), 2)
    message = "avg_pool2d_backward: padding height 2 is over half the kernel height 2: at most 1"
    refused(ValueError, message, R.avg_pool2d_backward, GRAD_Y, (1, 1, 4, 4), 2, padding=2)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "tanh", "softplus", "softmax", "log_softmax"])
def test_bad_activation_gradients(name):
    kept = "y" if name in ("relu", "sigmoid", "tanh") else "x"
    backward = getattr(R, f"{name}_backward")
    message = f"{name}_backward: grad_y has shape (2, 2), {kept} (2, 3): they must be equal"
    refused(ValueError, message, backward, ones(2, 2), ones(2, 3))
    message = f"{name}_backward: arrays must share one dtype, got grad_y float32, {kept} float64"
    refused(TypeError, message, backward, ones(2, 3, dtype=np.float32), ones(2, 3))
    refused(
        TypeError,
        f"{name}: x has dtype int64, expected float32 or float64",
        getattr(R, name),
        np.ones((2, 3), np.int64),
    )


def test_bad_activation_options():
    refused(ValueError, "softplus: beta must be more than 0, got 0", R.softplus, ones(2), beta=0)
    refused(ValueError, "softplus: threshold must be finite, got nan", R.softplus, ones(2), threshold=math.nan)
    refused(ValueError, "leaky_relu: negative_slope must be finite, got inf", R.leaky_relu, ones(2), math.inf)
    refused(TypeError, "leaky_relu: negative_slope must be a number, got None", R.leaky_relu, ones(2), None)
    refused(ValueError, "softmax: dim must be in -1..0 for x (2,), got 1", R.softmax, ones(2))
    refused(ValueError, "log_softmax: dim must be in -2..1 for x (2, 3), got -3", R.log_softmax, ones(2, 3), -3)
    refused(TypeError, "softmax: dim must be an integer, got 1.0", R.softmax, ones(2, 3), 1.0)


SINGLE = np.float32


@pytest.mark.parametrize(
    ("message", "function", "args"),
    [
        ("conv2d: arrays must share one dtype, got x float64, weight float32", R.conv2d, (X, WEIGHT.astype(SINGLE))),
        (
            "conv2d: arrays must share one dtype, got weight float64, bias float32",
            R.conv2d,
            (X, WEIGHT, ones(16, dtype=SINGLE)),
        ),
        (
            "conv2d_backward: arrays must share one dtype, got grad_y float32, x float64, weight float64",
            R.conv2d_backward,
            (ones(1, 16, 4, 4, dtype=SINGLE), X, WEIGHT),
        ),
        (
            "linear: arrays must share one dtype, got x float32, weight float64",
            R.linear,
            (ones(2, 3, dtype=SINGLE), ones(2, 3)),
        ),
        (
            "linear_backward: arrays must share one dtype, got grad_y float32, x float64, weight float64",
            R.linear_backward,
            (ones(2, 2, dtype=SINGLE), ones(2, 3), ones(2, 3)),
        ),
        (
            "cross_entropy: arrays must share one dtype, got logits float64, target float32",
            R.cross_entropy,
            (ones(4, 3), ones(4, 3, dtype=SINGLE)),
        ),
        (
            "mse_loss: arrays must share one dtype, got x float64, target float32",
            R.mse_loss,
            (ones(4, 3), ones(4, 3, dtype=SINGLE)),
        ),
    ],
)
def test_mixed_dtypes_are_refused(message, function, args):
    refused(TypeError, message, function, *args)


def labels_with(value, *index, shape=(64,), dtype=np.int64):
    labels = np.zeros(shape, dtype)
    labels[index] = value
    return labels


@pytest.mark.parametrize(
    ("error", "message", "logits", "target"),
    [
        (
            ValueError,
            "target has label 10 at index 3, expected 0..9 for logits (64, 10)",
            ones(64, 10),
            labels_with(10, 3),
        ),
        (
            ValueError,
            "target has label -1 at index 63, expected 0..9 for logits (64, 10)",
            ones(64, 10),
            labels_with(-1, 63),
        ),
        (
            ValueError,
            "target has label 18446744073709551615 at index 0, expected 0..9 for logits (64, 10)",
            ones(64, 10),
            labels_with(2**64 - 1, 0, dtype=np.uint64),
        ),
        (
            ValueError,
            "target has label 3 at index (1, 4), expected 0..2 for logits (2, 3, 5)",
            ones(2, 3, 5),
            labels_with(3, 1, 4, shape=(2, 5)),
        ),
        (
            TypeError,
            "target (4,) has dtype float64, labels must be integers: use target.astype(np.int64), "
            "or give one-hot or soft labels of the logits' shape (4, 3)",
            ones(4, 3),
            ones(4),
        ),
        (
            TypeError,
            "target (4,) has dtype bool, labels must be integers: use target.astype(np.int64), "
            "or give one-hot or soft labels of the logits' shape (4, 3)",
            ones(4, 3),
            ones(4, dtype=bool),
        ),
        (
            ValueError,
            "target has shape (4, 1), expected labels (4,) or a distribution (4, 3) for logits (4, 3)",
            ones(4, 3),
            LABELS[:, None],
        ),
        (
            ValueError,
            "target has shape (4, 2), expected labels (4,) or a distribution (4, 3) for logits (4, 3)",
            ones(4, 3),
            ones(4, 2),
        ),
        (
            ValueError,
            "logits have shape (3,), expected (N, C) or (N, C, d1, ...) with C at least 1",
            ones(3),
            LABELS[:3],
        ),
        (
            ValueError,
            "logits have shape (4, 0), expected (N, C) or (N, C, d1, ...) with C at least 1",
            ones(4, 0),
            LABELS,
        ),
        (TypeError, "logits has dtype int64, expected float32 or float64", np.ones((4, 3), np.int64), LABELS),
    ],
)
@pytest.mark.parametrize("backward", [False, True])
def test_bad_targets(error, message, logits, target, backward):
    if backward:
        refused(error, f"cross_entropy_backward: {message}", R.cross_entropy_backward, 1, logits, target)
    else:
        refused(error, f"cross_entropy: {message}", R.cross_entropy, logits, target)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("cross_entropy", LABELS),
        ("mse_loss", ones(4, 3)),
        ("binary_cross_entropy_with_logits", ones(4, 3)),
    ],
)
def test_bad_reductions_and_loss_gradients(name, target):
    forward, backward = getattr(R, name), getattr(R, f"{name}_backward")
    x = ones(4, 3)
    shape = forward(x, target, reduction="none").shape
    message = f"{name}: reduction must be one of 'mean', 'sum', 'none', got 'average'"
    refused(ValueError, message, partial(forward, reduction="average"), x, target)
    message = f"{name}_backward: grad_loss must be a number for reduction='mean', got array([1., 1.])"
    refused(TypeError, message, backward, ones(2), x, target)
    message = f"{name}_backward: grad_loss must be a number for reduction='sum', got None"
    refused(TypeError, message, partial(backward, reduction="sum"), None, x, target)
    message = f"{name}_backward: grad_loss has shape (2,), expected {shape} as the losses"
    refused(ValueError, message, partial(backward, reduction="none"), ones(2), x, target)
    message = f"{name}_backward: grad_loss has dtype float32, expected float64 as the losses"
    refused(TypeError, message, partial(backward, reduction="none"), ones(*shape, dtype=SINGLE), x, target)
    for number in (2, 2.0, np.float32(2), np.array(2.0), np.array(2)):
        np.testing.assert_array_equal(backward(number, x, target), 2 * backward(1, x, target))


@pytest.mark.parametrize("name", ["mse_loss", "binary_cross_entropy_with_logits"])
def test_targets_do_not_broadcast(name):
    message = f"{name}: target has shape (4, 1), x (4, 3): they must be equal"
    refused(ValueError, message, getattr(R, name), ones(4, 3), ones(4, 1))


@pytest.mark.parametrize(
    ("message", "function", "args"),
    [
        ("rotate180: weight has shape (3,), expected at least 2 dimensions", R.rotate180, (ones(3),)),
        ("stride_expand: stride must be at least 1, got 0", R.stride_expand, (GRAD_Y, 0)),
        ("avg_pool_backward_kron: kernel_size must be at least 1, got 0", R.avg_pool_backward_kron, (GRAD_Y, 0)),
        (
            "convolve2d_true: x has 3 channels, weight (1, 2, 2, 2) with groups=1 expects 2",
            R.convolve2d_true,
            (X, ones(1, 2, 2, 2)),
        ),
        (
            "conv2d_grad_x_full: grad_y has shape (1, 1, 2, 2), the output has (1, 1, 4, 4): they must be equal",
            R.conv2d_grad_x_full,
            (GRAD_Y, ones(1, 1, 2, 2), 5),
        ),
    ],
)
def test_bad_arguments_of_identities(message, function, args):
    refused(ValueError, message, function, *args)


def test_stride_of_a_pool_is_its_kernel():
    args = _arguments.max_pool2d("f", X, (2, 4), None, 0, 1, False)
    assert args.stride == (2, 4)
    assert args.output_size == (4, 2)
