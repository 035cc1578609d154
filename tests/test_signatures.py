"""`functional` and `reference`: one face, and the same refusals in the same words."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from cases import ACTIVATIONS, DRAWS, draw_call

from cconv import functional as F
from cconv import reference as R

IDENTITIES = {"avg_pool_backward_kron", "conv2d_grad_x_full", "convolve2d_true", "rotate180", "stride_expand"}


def test_names_are_the_same():
    assert set(F.__all__) == set(R.__all__) - IDENTITIES == set(DRAWS)


@pytest.mark.parametrize("name", F.__all__)
def test_signatures_are_the_same(name):
    assert inspect.signature(getattr(F, name)) == inspect.signature(getattr(R, name))


@pytest.mark.parametrize("name", F.__all__)
def test_every_operation_has_a_docstring(name):
    assert getattr(F, name).__doc__ and getattr(R, name).__doc__


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", F.__all__)
def test_good_calls_agree(name, seed, dtype):
    call = draw_call(name, seed, dtype)
    for got, want in zip(call(F), call(R), strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        tolerance = 1e-4 if dtype == np.float32 else 1e-11
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * (np.abs(want).max(initial=0) or 1))


def f32(*shape):
    return np.ones(shape, np.float32)


def f64(*shape):
    return np.ones(shape, np.float64)


def i64(*shape):
    return np.zeros(shape, np.int64)


X, W = f32(4, 3, 8, 9), f32(16, 3, 5, 5)
TW = f32(3, 8, 5, 5)
LOGITS, LABELS = f32(64, 10), i64(64)
LABELS_BEYOND = np.where(np.arange(64) == 63, 10, 0)
INDICES_BEYOND = np.full((1, 1, 2, 2), 16)

# Error, what the message must hold, call.
BAD = [
    # channels, in the words of the design
    (
        ValueError,
        "conv2d: x has 3 channels, weight (16, 4, 5, 5) with groups=1 expects 4",
        lambda M: M.conv2d(X, f32(16, 4, 5, 5)),
    ),
    (
        ValueError,
        "conv2d: x has 3 channels, weight (16, 3, 5, 5) with groups=2 expects 6",
        lambda M: M.conv2d(X, W, groups=2),
    ),
    (ValueError, "x looks like (N, H, W, C), use x.transpose(0, 3, 1, 2)", lambda M: M.conv2d(f32(4, 28, 28, 3), W)),
    (ValueError, "groups=3 does not divide the 16 filters", lambda M: M.conv2d(f32(4, 9, 8, 9), W, groups=3)),
    (
        ValueError,
        "conv2d_backward: x has 3 channels",
        lambda M: M.conv2d_backward(f32(4, 16, 4, 5), X, f32(16, 4, 5, 5)),
    ),
    # ranks
    (ValueError, "x has 3 dimensions (3, 8, 9), expected 4 (N, C, H, W)", lambda M: M.conv2d(f32(3, 8, 9), W)),
    (ValueError, "weight has 2 dimensions", lambda M: M.conv2d(X, f32(16, 75))),
    (ValueError, "x has 4 dimensions", lambda M: M.linear(X, f32(5, 9))),
    (ValueError, "weight has 1 dimensions", lambda M: M.linear(f32(4, 5), f32(5))),
    (ValueError, "x has 2 dimensions", lambda M: M.max_pool2d(f32(8, 9), 2)),
    (ValueError, "x has 0 dimensions", lambda M: M.avg_pool2d(np.float32(1), 2)),
    (ValueError, "grad_y has 2 dimensions", lambda M: M.conv2d_backward(f32(4, 16), X, W)),
    (ValueError, "logits have shape (10,)", lambda M: M.cross_entropy(f32(10), i64(1))),
    # dtypes
    (
        TypeError,
        "x has dtype uint8, expected float32 or float64: use x.astype(np.float32) / 255",
        lambda M: M.conv2d(X.astype(np.uint8), W),
    ),
    (TypeError, "x has dtype int64", lambda M: M.relu(i64(3))),
    (TypeError, "x has dtype float16", lambda M: M.max_pool2d(X.astype(np.float16), 2)),
    (TypeError, "weight has dtype complex64", lambda M: M.linear(f32(4, 5), f32(3, 5).astype(np.complex64))),
    (TypeError, "x has dtype object", lambda M: M.sigmoid(np.array([None]))),
    (TypeError, "arrays must share one dtype, got x float32, weight float64", lambda M: M.conv2d(X, W.astype(float))),
    (TypeError, "weight float32, bias float64", lambda M: M.conv2d(X, W, f64(16))),
    (TypeError, "arrays must share one dtype", lambda M: M.linear(f32(4, 5), f64(3, 5))),
    (TypeError, "grad_y float64", lambda M: M.conv2d_backward(f64(4, 16, 4, 5), X, W)),
    (TypeError, "grad_y float64", lambda M: M.linear_backward(f64(4, 3), f32(4, 5), f32(3, 5))),
    (TypeError, "arrays must share one dtype", lambda M: M.relu_backward(f64(3), f32(3))),
    (TypeError, "arrays must share one dtype", lambda M: M.mse_loss(f64(3), f32(3))),
    (TypeError, "logits float32, target float64", lambda M: M.cross_entropy(LOGITS, f64(64, 10))),
    (
        TypeError,
        "indices have dtype int32, expected int64",
        lambda M: M.max_pool2d_backward(f32(1, 1, 2, 2), i64(1, 1, 2, 2).astype(np.int32), (1, 1, 4, 4)),
    ),
    # strides, paddings, dilations, kernels
    (ValueError, "stride must be at least 1, got 0", lambda M: M.conv2d(X, W, stride=0)),
    (ValueError, "stride must be at least 1, got -1", lambda M: M.conv2d(X, W, stride=(1, -1))),
    (ValueError, "stride must be an int or (height, width)", lambda M: M.conv2d(X, W, stride=(1, 1, 1))),
    (TypeError, "stride must be an integer, got 1.5", lambda M: M.conv2d(X, W, stride=1.5)),
    (TypeError, "stride must be an integer, got True", lambda M: M.conv2d(X, W, stride=True)),
    (TypeError, "stride must be an integer, got None", lambda M: M.conv2d(X, W, stride=None)),
    (ValueError, "padding must be at least 0, got -1", lambda M: M.conv2d(X, W, padding=-1)),
    (ValueError, "padding must be at least 0, got -2", lambda M: M.conv2d(X, W, padding=((0, 0), (0, -2)))),
    (ValueError, "padding must be ((top, bottom), (left, right))", lambda M: M.conv2d(X, W, padding=(1, (0, 2)))),
    (ValueError, "padding must be 'same', 'valid' or numbers, got 'full'", lambda M: M.conv2d(X, W, padding="full")),
    (ValueError, "padding='same' needs stride 1", lambda M: M.conv2d(X, W, padding="same", stride=2)),
    (ValueError, "dilation must be at least 1, got 0", lambda M: M.conv2d(X, W, dilation=0)),
    (ValueError, "groups must be at least 1, got 0", lambda M: M.conv2d(X, W, groups=0)),
    (TypeError, "groups must be an integer", lambda M: M.conv2d(X, W, groups="depthwise")),
    (ValueError, "must be less than 2**31", lambda M: M.conv2d(X, W, padding=2**31)),
    (
        ValueError,
        "kernel height 5 is larger than the padded input height 4 (4 + padding 0 + 0)",
        lambda M: M.conv2d(f32(1, 3, 4, 9), W),
    ),
    (
        ValueError,
        "kernel width 5 (dilation 3: 13) is larger than the padded input width 11",
        lambda M: M.conv2d(X, W, padding=1, dilation=(1, 3)),
    ),
    (ValueError, "larger than the padded input", lambda M: M.conv2d_backward(f32(1, 16, 1, 5), f32(1, 3, 4, 9), W)),
    (ValueError, "weight (16, 3, 0, 5) is empty", lambda M: M.conv2d(X, f32(16, 3, 0, 5))),
    (ValueError, "no rows or no columns", lambda M: M.conv2d(f32(4, 3, 0, 9), W, padding=5)),
    # transposed convolution
    (
        ValueError,
        "conv_transpose2d: x has 3 channels, weight (4, 16, 5, 5) expects 4",
        lambda M: M.conv_transpose2d(X, f32(4, 16, 5, 5)),
    ),
    (
        ValueError,
        "x looks like (N, H, W, C), use x.transpose(0, 3, 1, 2)",
        lambda M: M.conv_transpose2d(f32(4, 28, 28, 3), TW),
    ),
    (ValueError, "groups=2 does not divide the 3 channels of x", lambda M: M.conv_transpose2d(X, TW, groups=2)),
    (
        ValueError,
        "weight has 2 dimensions (3, 5), expected 4 (in_channels, out_channels / groups, height, width)",
        lambda M: M.conv_transpose2d(X, f32(3, 5)),
    ),
    (ValueError, "weight (3, 0, 5, 5) is empty", lambda M: M.conv_transpose2d(X, f32(3, 0, 5, 5))),
    (ValueError, "no rows or no columns", lambda M: M.conv_transpose2d(f32(4, 3, 0, 9), TW)),
    (ValueError, "x has 3 dimensions", lambda M: M.conv_transpose2d(f32(3, 8, 9), TW)),
    (
        ValueError,
        "bias has shape (3,), weight (3, 8, 5, 5) with groups=3 expects (24,)",
        lambda M: M.conv_transpose2d(X, TW, f32(3), groups=3),
    ),
    (TypeError, "weight float32, bias float64", lambda M: M.conv_transpose2d(X, TW, f64(8))),
    (TypeError, "got x float32, weight float64", lambda M: M.conv_transpose2d(X, f64(3, 8, 5, 5))),
    (
        ValueError,
        "output_padding height 1 must be less than stride 1 or dilation 1 of the height",
        lambda M: M.conv_transpose2d(X, TW, output_padding=1),
    ),
    (
        ValueError,
        "output_padding width 3 must be less than stride 2 or dilation 3 of the width",
        lambda M: M.conv_transpose2d(X, TW, stride=2, dilation=3, output_padding=(2, 3)),
    ),
    (ValueError, "output_padding must be at least 0", lambda M: M.conv_transpose2d(X, TW, output_padding=-1)),
    (TypeError, "output_padding must be an integer", lambda M: M.conv_transpose2d(X, TW, output_padding=0.5)),
    (ValueError, "padding must be numbers, got 'same'", lambda M: M.conv_transpose2d(X, TW, padding="same")),
    (
        ValueError,
        "padding 6 + 6 leaves nothing of the output height 12 that an input height of 8 gives",
        lambda M: M.conv_transpose2d(X, TW, padding=6),
    ),
    (
        ValueError,
        "output height must be less than 2**31",
        lambda M: M.conv_transpose2d(X, TW, stride=2**31 - 1),
    ),
    (
        ValueError,
        "grad_y has shape (4, 8, 12, 12), the output has (4, 8, 12, 13)",
        lambda M: M.conv_transpose2d_backward(f32(4, 8, 12, 12), X, TW),
    ),
    (
        TypeError,
        "got grad_y float64, x float32, weight float32",
        lambda M: M.conv_transpose2d_backward(f64(4, 8, 12, 13), X, TW),
    ),
    (
        TypeError,
        "needs must be three booleans",
        lambda M: M.conv_transpose2d_backward(f32(4, 8, 12, 13), X, TW, needs=True),
    ),
    (ValueError, "takes a 3x3 kernel", lambda M: M.conv_transpose2d(X, TW, algorithm="winograd")),
    # pooling
    (ValueError, "kernel_size must be at least 1, got 0", lambda M: M.max_pool2d(X, 0)),
    (TypeError, "kernel_size must be an integer", lambda M: M.avg_pool2d(X, None)),
    (ValueError, "stride must be at least 1", lambda M: M.avg_pool2d(X, 2, stride=0)),
    (
        ValueError,
        "padding height 2 is over half the kernel height 3: at most 1",
        lambda M: M.max_pool2d(X, 3, padding=2),
    ),
    (
        ValueError,
        "padding width 2 is over half the kernel width 2: at most 1",
        lambda M: M.avg_pool2d(X, (5, 2), padding=2),
    ),
    (ValueError, "kernel height 9 is larger than the padded input height 8", lambda M: M.max_pool2d(X, 9)),
    (ValueError, "the input has width 0", lambda M: M.max_pool2d(f32(1, 1, 4, 0), 2)),
    (
        ValueError,
        "nothing but padding",
        lambda M: M.max_pool2d(f32(1, 1, 1, 9), (2, 1), padding=(1, 0), dilation=(2, 1)),
    ),
    # shapes that must match
    (ValueError, "bias has shape (3,), weight (16, 3, 5, 5) expects (16,)", lambda M: M.conv2d(X, W, f32(3))),
    (
        ValueError,
        "bias has shape (1, 3), weight (3, 5) expects (3,)",
        lambda M: M.linear(f32(4, 5), f32(3, 5), f32(1, 3)),
    ),
    (ValueError, "x (4, 5) has 5 features, weight (3, 6) expects 6", lambda M: M.linear(f32(4, 5), f32(3, 6))),
    (ValueError, "weight (3, 0) is empty", lambda M: M.linear(f32(4, 0), f32(3, 0))),
    (
        ValueError,
        "grad_y has shape (4, 16, 5, 4), the output has (4, 16, 4, 5)",
        lambda M: M.conv2d_backward(f32(4, 16, 5, 4), X, W),
    ),
    (
        ValueError,
        "grad_y has shape (4, 2), the output has (4, 3)",
        lambda M: M.linear_backward(f32(4, 2), f32(4, 5), f32(3, 5)),
    ),
    (
        ValueError,
        "grad_y has shape (1, 1, 3, 3), the output has (1, 1, 2, 2)",
        lambda M: M.avg_pool2d_backward(f32(1, 1, 3, 3), (1, 1, 4, 4), 2),
    ),
    (
        ValueError,
        "indices have shape (1, 1, 1, 2)",
        lambda M: M.max_pool2d_backward(f32(1, 1, 2, 2), i64(1, 1, 1, 2), (1, 1, 4, 4)),
    ),
    (
        ValueError,
        "must agree in N and C",
        lambda M: M.max_pool2d_backward(f32(1, 1, 2, 2), i64(1, 1, 2, 2), (1, 2, 4, 4)),
    ),
    (
        ValueError,
        "indices hold 16, expected 0..15",
        lambda M: M.max_pool2d_backward(f32(1, 1, 2, 2), INDICES_BEYOND, (1, 1, 4, 4)),
    ),
    (
        ValueError,
        "indices hold -1",
        lambda M: M.max_pool2d_backward(f32(1, 1, 2, 2), i64(1, 1, 2, 2) - 1, (1, 1, 4, 4)),
    ),
    (
        ValueError,
        "x_shape must be (N, C, H, W)",
        lambda M: M.max_pool2d_backward(f32(1, 1, 2, 2), i64(1, 1, 2, 2), (4, 4)),
    ),
    (ValueError, "x_shape must be at least 0", lambda M: M.avg_pool2d_backward(f32(1, 1, 2, 2), (1, 1, -4, 4), 2)),
    *(
        (
            ValueError,
            "grad_y has shape (3, 1)",
            lambda M, name=name: getattr(M, f"{name}_backward")(f32(3, 1), f32(1, 3)),
        )
        for name in ACTIVATIONS
    ),
    # adaptive pooling
    (ValueError, "output_size must be at least 1, got 0", lambda M: M.adaptive_avg_pool2d(X, 0)),
    (TypeError, "output_size must be an integer, got 1.5", lambda M: M.adaptive_avg_pool2d(X, (1.5, None))),
    (ValueError, "output_size must be an int, None or (height, width)", lambda M: M.adaptive_avg_pool2d(X, (1, 2, 3))),
    (ValueError, "x (4, 3, 0, 9) has no rows or no columns", lambda M: M.adaptive_avg_pool2d(f32(4, 3, 0, 9), 1)),
    (ValueError, "x has 3 dimensions", lambda M: M.adaptive_avg_pool2d(f32(3, 8, 9), 1)),
    (
        ValueError,
        "must agree in N and C",
        lambda M: M.adaptive_avg_pool2d_backward(f32(4, 2, 1, 1), (4, 3, 8, 9)),
    ),
    (
        ValueError,
        "x_shape (4, 3, 8, 0) has no rows or no columns",
        lambda M: M.adaptive_avg_pool2d_backward(f32(4, 3, 1, 1), (4, 3, 8, 0)),
    ),
    (
        ValueError,
        "grad_y (4, 3, 0, 1) has no rows or no columns",
        lambda M: M.adaptive_avg_pool2d_backward(f32(4, 3, 0, 1), (4, 3, 8, 9)),
    ),
    # sequences
    (
        ValueError,
        "conv1d: x has 3 channels, weight (16, 4, 5) with groups=1 expects 4",
        lambda M: M.conv1d(f32(4, 3, 9), f32(16, 4, 5)),
    ),
    (
        ValueError,
        "x looks like (N, L, C), use x.transpose(0, 2, 1)",
        lambda M: M.conv1d(f32(4, 9, 3), W[:, :, 0]),
    ),
    (ValueError, "x has 4 dimensions (4, 3, 8, 9), expected 3 (N, C, L)", lambda M: M.conv1d(X, W[:, :, 0])),
    (
        ValueError,
        "expected 3 (out_channels, in_channels / groups, length)",
        lambda M: M.conv1d(f32(4, 3, 9), W),
    ),
    (ValueError, "x (4, 3, 0) has length 0", lambda M: M.conv1d(f32(4, 3, 0), W[:, :, 0])),
    (ValueError, "weight (16, 3, 0) is empty", lambda M: M.conv1d(f32(4, 3, 9), f32(16, 3, 0))),
    (
        ValueError,
        "kernel length 5 (dilation 3: 13) is larger than the padded input length 11 (9 + padding 1 + 1)",
        lambda M: M.conv1d(f32(4, 3, 9), W[:, :, 0], padding=1, dilation=3),
    ),
    (ValueError, "stride must be an int, got (1, 2)", lambda M: M.conv1d(f32(4, 3, 9), W[:, :, 0], stride=(1, 2))),
    (
        ValueError,
        "padding must be an int or ((left, right),), got (1, 2)",
        lambda M: M.conv1d(f32(4, 3, 9), W[:, :, 0], padding=(1, 2)),
    ),
    (
        ValueError,
        "padding='same' needs stride 1, got stride 2",
        lambda M: M.conv1d(f32(4, 3, 9), W[:, :, 0], 2, stride=2, padding="same"),
    ),
    (ValueError, "bias has shape (3,)", lambda M: M.conv1d(f32(4, 3, 9), W[:, :, 0], f32(3))),
    (
        ValueError,
        "grad_y has shape (4, 16, 4), the output has (4, 16, 5)",
        lambda M: M.conv1d_backward(f32(4, 16, 4), f32(4, 3, 9), W[:, :, 0]),
    ),
    (
        ValueError,
        "padding length 2 is over half the kernel length 3: at most 1",
        lambda M: M.max_pool1d(f32(4, 3, 9), 3, padding=2),
    ),
    (ValueError, "the input has length 0", lambda M: M.avg_pool1d(f32(4, 3, 0), 3)),
    (ValueError, "a window of 2 spans over 2**24", lambda M: M.max_pool1d(f32(1, 1, 2**24 + 1), 2, dilation=2**24)),
    (ValueError, "x_shape must be (N, C, L)", lambda M: M.max_pool1d_backward(f32(1, 1, 2), i64(1, 1, 2), (1, 4))),
    (
        ValueError,
        "indices hold 9, expected 0..3 for x_shape (1, 1, 4)",
        lambda M: M.max_pool1d_backward(f32(1, 1, 2), i64(1, 1, 2) + 9, (1, 1, 4)),
    ),
    (
        ValueError,
        "grad_y has shape (1, 1, 3), the output has (1, 1, 2)",
        lambda M: M.avg_pool1d_backward(f32(1, 1, 3), (1, 1, 4), 2),
    ),
    (ValueError, "output_size must be at least 1, got 0", lambda M: M.adaptive_avg_pool1d(f32(1, 1, 3), 0)),
    (ValueError, "output_size must be an int, got (1, 2)", lambda M: M.adaptive_avg_pool1d(f32(1, 1, 3), (1, 2))),
    (ValueError, "x (1, 1, 0) has length 0", lambda M: M.adaptive_avg_pool1d(f32(1, 1, 0), 1)),
    (
        ValueError,
        "must agree in N and C",
        lambda M: M.adaptive_avg_pool1d_backward(f32(4, 2, 1), (4, 3, 8)),
    ),
    (
        ValueError,
        "grad_y (4, 3, 0) has length 0",
        lambda M: M.adaptive_avg_pool1d_backward(f32(4, 3, 0), (4, 3, 8)),
    ),
    # padding
    (ValueError, "mode='reflect' of 9 numbers pads at most 8, got (0, 9)", lambda M: M.pad(X, (0, 9), "reflect")),
    (ValueError, "mode='circular' of 8 numbers pads at most 8", lambda M: M.pad(X, (0, 0, 9, 0), "circular")),
    (ValueError, "mode='replicate' of 0 numbers pads at most 0", lambda M: M.pad(f32(3, 0), (1, 0), "replicate")),
    (ValueError, "pad must be at least 0, got -1", lambda M: M.pad(X, (0, -1), "reflect")),
    (ValueError, "pad (-5, -5) cuts more than the 9 numbers of axis 3 of x", lambda M: M.pad(X, (-5, -5))),
    (ValueError, "pad (-10, 20) cuts more than the 9 numbers of axis 3", lambda M: M.pad(X, (-10, 20))),
    (ValueError, "pad must be (left, right) or (left, right, top, bottom), got 1", lambda M: M.pad(X, 1)),
    (ValueError, "pad must be (left, right) or", lambda M: M.pad(X, (1, 2, 3))),
    (ValueError, "pad has 4 sizes, x (3,) has 1 axes", lambda M: M.pad(f32(3), (1, 2, 3, 4))),
    (TypeError, "pad must be an integer, got 0.5", lambda M: M.pad(X, (0.5, 0))),
    (ValueError, "mode must be one of 'constant', 'reflect'", lambda M: M.pad(X, (1, 1), "zeros")),
    (ValueError, "value is for mode='constant', got value=1.0", lambda M: M.pad(X, (1, 1), "circular", 1.0)),
    (TypeError, "value must be a number, got None", lambda M: M.pad(X, (1, 1), value=None)),
    (TypeError, "x has dtype int64", lambda M: M.pad(i64(3), (1, 1))),
    (
        ValueError,
        "grad_y has shape (4, 3, 8, 9), the output has (4, 3, 8, 11)",
        lambda M: M.pad_backward(X, (4, 3, 8, 9), (1, 1)),
    ),
    (ValueError, "x_shape must be a tuple of sizes, got 3", lambda M: M.pad_backward(X, 3, (1, 1))),
    (ValueError, "adaptive_max_pool2d: output_size must be at least 1", lambda M: M.adaptive_max_pool2d(X, (0, 1))),
    (ValueError, "x (4, 3, 0, 9) has no rows or no columns", lambda M: M.adaptive_max_pool2d(f32(4, 3, 0, 9), 1)),
    (
        ValueError,
        "indices hold 16",
        lambda M: M.adaptive_max_pool2d_backward(f32(1, 1, 2, 2), INDICES_BEYOND, (1, 1, 4, 4)),
    ),
    # batch normalisation
    (
        ValueError,
        "batch_norm: x (1, 3, 1, 1) has one value a channel, which has no variance: training needs more images",
        lambda M: M.batch_norm(f32(1, 3, 1, 1), training=True),
    ),
    (
        ValueError,
        "x (1, 3) has one value a channel",
        lambda M: M.batch_norm_backward(f32(1, 3), f32(1, 3), f32(3), f32(3), training=True),
    ),
    (ValueError, "running_mean and running_var must be given, or training=True", lambda M: M.batch_norm(X)),
    (ValueError, "running_mean and running_var must be given", lambda M: M.batch_norm(X, f32(3))),
    (TypeError, "mean and var must be given", lambda M: M.batch_norm_backward(X, X, f32(3), None)),
    (ValueError, "x has 1 dimensions (3,), expected (N, C) or (N, C, ...)", lambda M: M.batch_norm(f32(3))),
    (
        ValueError,
        "running_mean has shape (4,), x (4, 3, 8, 9) expects (3,)",
        lambda M: M.batch_norm(X, f32(4), f32(3)),
    ),
    (ValueError, "running_var has shape (4,)", lambda M: M.batch_norm(X, f32(3), f32(4))),
    (
        ValueError,
        "weight has shape (1, 3), x (4, 3, 8, 9) expects (3,)",
        lambda M: M.batch_norm(X, weight=f32(1, 3), training=True),
    ),
    (
        ValueError,
        "bias has shape (), x (4, 3, 8, 9) expects (3,)",
        lambda M: M.batch_norm(X, bias=f32(), training=True),
    ),
    (
        TypeError,
        "arrays must share one dtype, got x float32, weight float64",
        lambda M: M.batch_norm(X, weight=f64(3), training=True),
    ),
    (TypeError, "got grad_y float64, x float32", lambda M: M.batch_norm_backward(f64(4, 3, 8, 9), X, f32(3), f32(3))),
    (TypeError, "x has dtype int64", lambda M: M.batch_norm(i64(4, 3), training=True)),
    (ValueError, "eps must be at least 0, got -1", lambda M: M.batch_norm(X, f32(3), f32(3), eps=-1)),
    (
        ValueError,
        "grad_y has shape (4, 3), the output has (4, 3, 8, 9)",
        lambda M: M.batch_norm_backward(f32(4, 3), X, f32(3), f32(3)),
    ),
    (
        TypeError,
        "needs must be three booleans",
        lambda M: M.batch_norm_backward(X, X, f32(3), f32(3), needs=False),
    ),
    # dropout
    (ValueError, "dropout: p must be at most 1, got 1.5", lambda M: M.dropout(X, 1.5)),
    (ValueError, "p must be at least 0, got -0.1", lambda M: M.dropout_backward(X, -0.1)),
    (TypeError, "seed must be an integer, got 0.5", lambda M: M.dropout2d(X, seed=0.5)),
    (ValueError, "seed must be in 0..2**64 - 1, got -1", lambda M: M.dropout(X, seed=-1)),
    (ValueError, "step must be at least 0, got -1", lambda M: M.dropout(X, step=-1)),
    (ValueError, "x has 2 dimensions (4, 3), expected 4", lambda M: M.dropout2d(f32(4, 3))),
    (TypeError, "grad_y has dtype int64", lambda M: M.dropout2d_backward(i64(4, 3, 2, 2))),
    # group and layer normalisation
    (ValueError, "num_groups=2 does not divide the 3 channels of x (4, 3, 8, 9)", lambda M: M.group_norm(X, 2)),
    (ValueError, "num_groups must be at least 1, got 0", lambda M: M.group_norm_backward(X, X, 0)),
    (ValueError, "weight has shape (4,), x (4, 3, 8, 9) expects (3,)", lambda M: M.group_norm(X, 3, f32(4))),
    (TypeError, "got x float32, bias float64", lambda M: M.group_norm(X, 3, None, f64(3))),
    (
        ValueError,
        "grad_y has shape (4, 3), the output has (4, 3, 8, 9)",
        lambda M: M.group_norm_backward(f32(4, 3), X, 3),
    ),
    (ValueError, "eps must be at least 0, got -1", lambda M: M.group_norm(X, 3, eps=-1)),
    (ValueError, "x has 1 dimensions (3,), expected (N, C) or (N, C, ...)", lambda M: M.group_norm(f32(3), 1)),
    (
        ValueError,
        "x has shape (4, 3, 8, 9), which does not end with normalized_shape=(8, 8)",
        lambda M: M.layer_norm(X, (8, 8)),
    ),
    (ValueError, "x has shape (4,), which does not end with", lambda M: M.layer_norm_backward(f32(4), f32(4), (3, 4))),
    (ValueError, "normalized_shape must have at least one dimension", lambda M: M.layer_norm(X, ())),
    (ValueError, "normalized_shape must be at least 1, got 0", lambda M: M.layer_norm(f32(4, 0), 0)),
    (TypeError, "normalized_shape must be an integer, got 'last'", lambda M: M.layer_norm(X, "last")),
    (ValueError, "weight has shape (8,), expected normalized_shape=(9,)", lambda M: M.layer_norm(X, 9, f32(8))),
    (TypeError, "arrays must share one dtype", lambda M: M.layer_norm(X, 9, f64(9))),
    (TypeError, "got grad_y float64, x float32", lambda M: M.layer_norm_backward(f64(4, 9), f32(4, 9), 9)),
    (TypeError, "needs must be three booleans", lambda M: M.layer_norm_backward(X, X, 9, needs=(1, 2))),
    # options
    (TypeError, "needs must be three booleans", lambda M: M.conv2d_backward(f32(4, 16, 4, 5), X, W, needs=True)),
    (TypeError, "needs must be three booleans", lambda M: M.conv2d_backward(f32(4, 16, 4, 5), X, W, needs="abc")),
    (TypeError, "got (1, True, True)", lambda M: M.conv2d_backward(f32(4, 16, 4, 5), X, W, needs=(1, True, True))),
    (
        TypeError,
        "needs must be three booleans",
        lambda M: M.linear_backward(f32(4, 3), f32(4, 5), f32(3, 5), needs=(True, False)),
    ),
    (TypeError, "negative_slope must be a number", lambda M: M.leaky_relu(f32(3), negative_slope="steep")),
    (
        ValueError,
        "negative_slope must be finite",
        lambda M: M.leaky_relu_backward(f32(3), f32(3), negative_slope=np.nan),
    ),
    (ValueError, "beta must be more than 0, got 0", lambda M: M.softplus(f32(3), beta=0)),
    (ValueError, "threshold must be finite", lambda M: M.softplus_backward(f32(3), f32(3), threshold=np.inf)),
    (TypeError, "alpha must be a number", lambda M: M.elu(f32(3), alpha=None)),
    (ValueError, "alpha must be finite", lambda M: M.elu_backward(f32(3), f32(3), alpha=np.inf)),
    (
        ValueError,
        "approximate must be one of 'none', 'tanh', got 'erf'",
        lambda M: M.gelu(f32(3), approximate="erf"),
    ),
    (ValueError, "approximate must be one of", lambda M: M.gelu_backward(f32(3), f32(3), approximate=True)),
    (ValueError, "pool_size=2 does not divide the 3 channels of x (4, 3, 8, 9)", lambda M: M.maxout(X, 2)),
    (ValueError, "pool_size must be at least 1, got 0", lambda M: M.maxout(X, 0)),
    (ValueError, "x has 1 dimensions (3,), expected (N, C) or (N, C, ...)", lambda M: M.maxout(f32(3), 3)),
    (
        ValueError,
        "grad_y has shape (4, 3, 8, 9), the output has (4, 1, 8, 9)",
        lambda M: M.maxout_backward(X, X, 3),
    ),
    (TypeError, "got grad_y float64, x float32", lambda M: M.maxout_backward(f64(4, 1, 8, 9), X, 3)),
    (ValueError, "dim must be in -2..1 for x (3, 4), got 2", lambda M: M.softmax(f32(3, 4), dim=2)),
    (TypeError, "dim must be an integer", lambda M: M.log_softmax(f32(3, 4), dim=None)),
    (ValueError, "dim must be in -1..0", lambda M: M.softmax_backward(f32(3), f32(3))),
    # losses
    (
        ValueError,
        "cross_entropy: target has label 10 at index 63, expected 0..9 for logits (64, 10)",
        lambda M: M.cross_entropy(LOGITS, LABELS_BEYOND),
    ),
    (ValueError, "target has label -1 at index 0", lambda M: M.cross_entropy_backward(1.0, LOGITS, LABELS - 1)),
    (
        ValueError,
        f"target has label {2**64 - 1}",
        lambda M: M.cross_entropy(LOGITS, LABELS.astype(np.uint64) - np.uint64(1)),
    ),
    (TypeError, "labels must be integers: use target.astype(np.int64)", lambda M: M.cross_entropy(LOGITS, f32(64))),
    (TypeError, "labels must be integers", lambda M: M.cross_entropy(LOGITS, LABELS.astype(bool))),
    (
        ValueError,
        "target has shape (63,), expected labels (64,) or a distribution (64, 10)",
        lambda M: M.cross_entropy(LOGITS, i64(63)),
    ),
    (ValueError, "target has shape (64, 1)", lambda M: M.cross_entropy(LOGITS, i64(64, 1))),
    (ValueError, "logits have shape (64, 0)", lambda M: M.cross_entropy(f32(64, 0), LABELS)),
    (
        ValueError,
        "weight has shape (9,), logits (64, 10) expect (10,)",
        lambda M: M.cross_entropy(LOGITS, LABELS, f32(9)),
    ),
    (TypeError, "logits float32, weight float64", lambda M: M.cross_entropy(LOGITS, LABELS, f64(10))),
    (
        ValueError,
        "sample_weight has shape (10,), logits (64, 10) expect (64,)",
        lambda M: M.cross_entropy_backward(1.0, LOGITS, LABELS, sample_weight=f32(10)),
    ),
    (
        ValueError,
        "target has label 10 at index 63",
        lambda M: M.cross_entropy(LOGITS, LABELS_BEYOND, ignore_index=0),
    ),
    (ValueError, "label_smoothing must be at most 1", lambda M: M.cross_entropy(LOGITS, LABELS, label_smoothing=2)),
    (ValueError, "label_smoothing must be at least 0", lambda M: M.cross_entropy(LOGITS, LABELS, label_smoothing=-1)),
    (TypeError, "ignore_index must be an integer", lambda M: M.cross_entropy(LOGITS, LABELS, ignore_index=None)),
    (
        ValueError,
        "ignore_index=3 needs labels, got a distribution (64, 10)",
        lambda M: M.cross_entropy(LOGITS, LOGITS, ignore_index=3),
    ),
    (
        ValueError,
        "target has shape (64, 10), expected labels (64,) for x (64, 10)",
        lambda M: M.nll_loss(LOGITS, LOGITS),
    ),
    (TypeError, "labels must be integers", lambda M: M.nll_loss_backward(1.0, LOGITS, f32(64))),
    (ValueError, "target has label 10 at index 63", lambda M: M.nll_loss(LOGITS, LABELS_BEYOND)),
    (ValueError, "x must lie in 0..1, got 2.0", lambda M: M.binary_cross_entropy(2 * f32(3), f32(3))),
    (ValueError, "target must lie in 0..1", lambda M: M.binary_cross_entropy_backward(1.0, f32(3), -f32(3))),
    (
        ValueError,
        "weight has shape (2,), which does not broadcast to x's (3,)",
        lambda M: M.binary_cross_entropy(f32(3), f32(3), f32(2)),
    ),
    (
        ValueError,
        "pos_weight has shape (3, 3), which does not broadcast",
        lambda M: M.binary_cross_entropy_with_logits(f32(3), f32(3), pos_weight=f32(3, 3)),
    ),
    (
        TypeError,
        "x float32, pos_weight float64",
        lambda M: M.binary_cross_entropy_with_logits_backward(1.0, f32(3), f32(3), pos_weight=f64(3)),
    ),
    (ValueError, "delta must be more than 0, got 0", lambda M: M.huber_loss(f32(3), f32(3), delta=0)),
    (ValueError, "beta must be at least 0, got -1", lambda M: M.smooth_l1_loss(f32(3), f32(3), beta=-1)),
    (ValueError, "they must be equal", lambda M: M.l1_loss_backward(1.0, f32(3), f32(1))),
    (ValueError, "target has shape (3, 1), x (3,): they must be equal", lambda M: M.mse_loss(f32(3), f32(3, 1))),
    (ValueError, "they must be equal", lambda M: M.binary_cross_entropy_with_logits_backward(1.0, f32(3), f32(1))),
    (
        ValueError,
        "reduction must be one of 'mean', 'sum', 'none', got 'average'",
        lambda M: M.cross_entropy(LOGITS, LABELS, reduction="average"),
    ),
    (ValueError, "reduction must be one of", lambda M: M.mse_loss(f32(3), f32(3), reduction=None)),
    (
        ValueError,
        "grad_loss has shape (2,), expected (3,)",
        lambda M: M.mse_loss_backward(f32(2), f32(3), f32(3), reduction="none"),
    ),
    (
        TypeError,
        "grad_loss has dtype float64, expected float32",
        lambda M: M.mse_loss_backward(f64(3), f32(3), f32(3), reduction="none"),
    ),
    (
        TypeError,
        "grad_loss must be a number for reduction='mean'",
        lambda M: M.cross_entropy_backward(f32(64), LOGITS, LABELS),
    ),
    (TypeError, "grad_loss must be a number", lambda M: M.mse_loss_backward("1", f32(3), f32(3), reduction="sum")),
]


@pytest.mark.parametrize(("error", "words", "call"), BAD, ids=[words for _, words, _ in BAD])
def test_bad_calls_are_refused_in_the_same_words(error, words, call):
    messages = []
    for module in (F, R):
        with pytest.raises(error) as caught:
            call(module)
        assert type(caught.value) is error
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    operation, _, _ = messages[0].partition(": ")
    assert operation in call.__code__.co_names or operation.removesuffix("_backward") in ACTIVATIONS
    assert words in messages[0]
