"""`functional` and `reference`: one face, and the same refusals in the same words."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from cases import DRAWS, draw_call

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


X, W, B = f32(4, 3, 8, 9), f32(16, 3, 5, 5), f32(16)
LOGITS, LABELS = f32(64, 10), i64(64)
LABELS_BEYOND = np.where(np.arange(64) == 63, 10, 0)
INDICES_BEYOND = np.full((1, 1, 2, 2), 16)

# Error, what the message must hold, operation, arguments, options.
BAD = [
    # channels, in the words of the design
    (ValueError, "conv2d: x has 3 channels, weight (16, 4, 5, 5) with groups=1 expects 4",
     "conv2d", (X, f32(16, 4, 5, 5)), {}),
    (ValueError, "conv2d: x has 3 channels, weight (16, 3, 5, 5) with groups=2 expects 6", "conv2d", (X, W), {"groups": 2}),
    (ValueError, "x looks like (N, H, W, C), use x.transpose(0, 3, 1, 2)", "conv2d", (f32(4, 28, 28, 3), W), {}),
    (ValueError, "groups=3 does not divide the 16 filters", "conv2d", (f32(4, 9, 8, 9), W), {"groups": 3}),
    (ValueError, "conv2d_backward: x has 3 channels", "conv2d_backward", (f32(4, 16, 4, 5), X, f32(16, 4, 5, 5)), {}),
    # ranks
    (ValueError, "x has 3 dimensions (3, 8, 9), expected 4 (N, C, H, W)", "conv2d", (f32(3, 8, 9), W), {}),
    (ValueError, "weight has 2 dimensions", "conv2d", (X, f32(16, 75)), {}),
    (ValueError, "x has 4 dimensions", "linear", (X, f32(5, 9)), {}),
    (ValueError, "weight has 1 dimensions", "linear", (f32(4, 5), f32(5)), {}),
    (ValueError, "x has 2 dimensions", "max_pool2d", (f32(8, 9), 2), {}),
    (ValueError, "x has 0 dimensions", "avg_pool2d", (np.float32(1), 2), {}),
    (ValueError, "grad_y has 2 dimensions", "conv2d_backward", (f32(4, 16), X, W), {}),
    (ValueError, "logits have shape (10,)", "cross_entropy", (f32(10), i64(1)), {}),
    # dtypes
    (TypeError, "x has dtype uint8, expected float32 or float64: use x.astype(np.float32) / 255", "conv2d", (X.astype(np.uint8), W), {}),
    (TypeError, "x has dtype int64", "relu", (i64(3),), {}),
    (TypeError, "x has dtype float16", "max_pool2d", (X.astype(np.float16), 2), {}),
    (TypeError, "weight has dtype complex64", "linear", (f32(4, 5), f32(3, 5).astype(np.complex64)), {}),
    (TypeError, "x has dtype object", "sigmoid", (np.array([None]),), {}),
    (TypeError, "arrays must share one dtype, got x float32, weight float64", "conv2d", (X, W.astype(float)), {}),
    (TypeError, "weight float32, bias float64", "conv2d", (X, W, f64(16)), {}),
    (TypeError, "arrays must share one dtype", "linear", (f32(4, 5), f64(3, 5)), {}),
    (TypeError, "grad_y float64", "conv2d_backward", (f64(4, 16, 4, 5), X, W), {}),
    (TypeError, "grad_y float64", "linear_backward", (f64(4, 3), f32(4, 5), f32(3, 5)), {}),
    (TypeError, "arrays must share one dtype", "relu_backward", (f64(3), f32(3)), {}),
    (TypeError, "arrays must share one dtype", "mse_loss", (f64(3), f32(3)), {}),
    (TypeError, "logits float32, target float64", "cross_entropy", (LOGITS, f64(64, 10)), {}),
    (TypeError, "indices have dtype int32, expected int64", "max_pool2d_backward", (f32(1, 1, 2, 2), i64(1, 1, 2, 2).astype(np.int32), (1, 1, 4, 4)), {}),
    # strides, paddings, dilations, kernels
    (ValueError, "stride must be at least 1, got 0", "conv2d", (X, W), {"stride": 0}),
    (ValueError, "stride must be at least 1, got -1", "conv2d", (X, W), {"stride": (1, -1)}),
    (ValueError, "stride must be an int or (height, width)", "conv2d", (X, W), {"stride": (1, 1, 1)}),
    (TypeError, "stride must be an integer, got 1.5", "conv2d", (X, W), {"stride": 1.5}),
    (TypeError, "stride must be an integer, got True", "conv2d", (X, W), {"stride": True}),
    (TypeError, "stride must be an integer, got None", "conv2d", (X, W), {"stride": None}),
    (ValueError, "padding must be at least 0, got -1", "conv2d", (X, W), {"padding": -1}),
    (ValueError, "padding must be at least 0, got -2", "conv2d", (X, W), {"padding": ((0, 0), (0, -2))}),
    (ValueError, "padding must be ((top, bottom), (left, right))", "conv2d", (X, W), {"padding": (1, (0, 2))}),
    (ValueError, "padding must be 'same', 'valid' or numbers, got 'full'", "conv2d", (X, W), {"padding": "full"}),
    (ValueError, "padding='same' needs stride 1", "conv2d", (X, W), {"padding": "same", "stride": 2}),
    (ValueError, "dilation must be at least 1, got 0", "conv2d", (X, W), {"dilation": 0}),
    (ValueError, "groups must be at least 1, got 0", "conv2d", (X, W), {"groups": 0}),
    (TypeError, "groups must be an integer", "conv2d", (X, W), {"groups": "depthwise"}),
    (ValueError, "must be less than 2**31", "conv2d", (X, W), {"padding": 2**31}),
    (ValueError, "kernel height 5 is larger than the padded input height 4 (4 + padding 0 + 0)", "conv2d", (f32(1, 3, 4, 9), W), {}),
    (ValueError, "kernel width 5 (dilation 3: 13) is larger than the padded input width 11", "conv2d", (X, W), {"padding": 1, "dilation": (1, 3)}),
    (ValueError, "larger than the padded input", "conv2d_backward", (f32(1, 16, 1, 5), f32(1, 3, 4, 9), W), {}),
    (ValueError, "weight (16, 3, 0, 5) is empty", "conv2d", (X, f32(16, 3, 0, 5)), {}),
    (ValueError, "no rows or no columns", "conv2d", (f32(4, 3, 0, 9), W), {"padding": 5}),
    (ValueError, "kernel_size must be at least 1, got 0", "max_pool2d", (X, 0), {}),
    (TypeError, "kernel_size must be an integer", "avg_pool2d", (X, None), {}),
    (ValueError, "stride must be at least 1", "avg_pool2d", (X, 2), {"stride": 0}),
    (ValueError, "padding height 2 is over half the kernel height 3: at most 1", "max_pool2d", (X, 3), {"padding": 2}),
    (ValueError, "padding width 2 is over half the kernel width 2: at most 1", "avg_pool2d", (X, (5, 2)), {"padding": 2}),
    (ValueError, "kernel height 9 is larger than the padded input height 8", "max_pool2d", (X, 9), {}),
    (ValueError, "the input has width 0", "max_pool2d", (f32(1, 1, 4, 0), 2), {}),
    (ValueError, "nothing but padding", "max_pool2d", (f32(1, 1, 1, 9), (2, 1)), {"padding": (1, 0), "dilation": (2, 1)}),
    # shapes that must match
    (ValueError, "bias has shape (3,), weight (16, 3, 5, 5) expects (16,)", "conv2d", (X, W, f32(3)), {}),
    (ValueError, "bias has shape (1, 3), weight (3, 5) expects (3,)", "linear", (f32(4, 5), f32(3, 5), f32(1, 3)), {}),
    (ValueError, "x (4, 5) has 5 features, weight (3, 6) expects 6", "linear", (f32(4, 5), f32(3, 6)), {}),
    (ValueError, "weight (3, 0) is empty", "linear", (f32(4, 0), f32(3, 0)), {}),
    (ValueError, "grad_y has shape (4, 16, 5, 4), the output has (4, 16, 4, 5)", "conv2d_backward", (f32(4, 16, 5, 4), X, W), {}),
    (ValueError, "grad_y has shape (4, 2), the output has (4, 3)", "linear_backward", (f32(4, 2), f32(4, 5), f32(3, 5)), {}),
    (ValueError, "grad_y has shape (1, 1, 3, 3), the output has (1, 1, 2, 2)", "avg_pool2d_backward", (f32(1, 1, 3, 3), (1, 1, 4, 4), 2), {}),
    (ValueError, "indices have shape (1, 1, 1, 2)", "max_pool2d_backward", (f32(1, 1, 2, 2), i64(1, 1, 1, 2), (1, 1, 4, 4)), {}),
    (ValueError, "must agree in N and C", "max_pool2d_backward", (f32(1, 1, 2, 2), i64(1, 1, 2, 2), (1, 2, 4, 4)), {}),
    (ValueError, "indices hold 16, expected 0..15", "max_pool2d_backward", (f32(1, 1, 2, 2), INDICES_BEYOND, (1, 1, 4, 4)), {}),
    (ValueError, "indices hold -1", "max_pool2d_backward", (f32(1, 1, 2, 2), i64(1, 1, 2, 2) - 1, (1, 1, 4, 4)), {}),
    (ValueError, "x_shape must be (N, C, H, W)", "max_pool2d_backward", (f32(1, 1, 2, 2), i64(1, 1, 2, 2), (4, 4)), {}),
    (ValueError, "x_shape must be at least 0", "avg_pool2d_backward", (f32(1, 1, 2, 2), (1, 1, -4, 4), 2), {}),
    *((ValueError, "grad_y has shape (3, 1)", f"{name}_backward", (f32(3, 1), f32(1, 3)), {})
      for name in ("relu", "leaky_relu", "sigmoid", "tanh", "softplus", "softmax", "log_softmax")),
    # options
    (ValueError, "needs must be three booleans", "conv2d_backward", (f32(4, 16, 4, 5), X, W), {"needs": True}),
    (ValueError, "needs must be three booleans", "linear_backward", (f32(4, 3), f32(4, 5), f32(3, 5)), {"needs": (True, False)}),
    (TypeError, "negative_slope must be a number", "leaky_relu", (f32(3),), {"negative_slope": "steep"}),
    (ValueError, "negative_slope must be finite", "leaky_relu_backward", (f32(3), f32(3)), {"negative_slope": np.nan}),
    (ValueError, "beta must be more than 0, got 0", "softplus", (f32(3),), {"beta": 0}),
    (ValueError, "threshold must be finite", "softplus_backward", (f32(3), f32(3)), {"threshold": np.inf}),
    (ValueError, "dim must be in -2..1 for x (3, 4), got 2", "softmax", (f32(3, 4),), {"dim": 2}),
    (TypeError, "dim must be an integer", "log_softmax", (f32(3, 4),), {"dim": None}),
    (ValueError, "dim must be in -1..0", "softmax_backward", (f32(3), f32(3)), {}),
    # losses
    (ValueError, "cross_entropy: target has label 10 at index 63, expected 0..9 for logits (64, 10)", "cross_entropy", (LOGITS, LABELS_BEYOND), {}),
    (ValueError, "target has label -1 at index 0", "cross_entropy_backward", (1.0, LOGITS, LABELS - 1), {}),
    (ValueError, f"target has label {2**64 - 1}", "cross_entropy", (LOGITS, LABELS.astype(np.uint64) - np.uint64(1)), {}),
    (TypeError, "labels must be integers: use target.astype(np.int64)", "cross_entropy", (LOGITS, f32(64)), {}),
    (TypeError, "labels must be integers", "cross_entropy", (LOGITS, LABELS.astype(bool)), {}),
    (ValueError, "target has shape (63,), expected labels (64,) or a distribution (64, 10)", "cross_entropy", (LOGITS, i64(63)), {}),
    (ValueError, "target has shape (64, 1)", "cross_entropy", (LOGITS, i64(64, 1)), {}),
    (ValueError, "logits have shape (64, 0)", "cross_entropy", (f32(64, 0), LABELS), {}),
    (ValueError, "target has shape (3, 1), x (3,): they must be equal", "mse_loss", (f32(3), f32(3, 1)), {}),
    (ValueError, "they must be equal", "binary_cross_entropy_with_logits_backward", (1.0, f32(3), f32(1)), {}),
    (ValueError, "reduction must be one of 'mean', 'sum', 'none', got 'average'", "cross_entropy", (LOGITS, LABELS), {"reduction": "average"}),
    (ValueError, "reduction must be one of", "mse_loss", (f32(3), f32(3)), {"reduction": None}),
    (ValueError, "grad_loss has shape (2,), expected (3,)", "mse_loss_backward", (f32(2), f32(3), f32(3)), {"reduction": "none"}),
    (TypeError, "grad_loss has dtype float64, expected float32", "mse_loss_backward", (f64(3), f32(3), f32(3)), {"reduction": "none"}),
    (TypeError, "grad_loss must be a number for reduction='mean'", "cross_entropy_backward", (f32(64), LOGITS, LABELS), {}),
    (TypeError, "grad_loss must be a number", "mse_loss_backward", ("1", f32(3), f32(3)), {"reduction": "sum"}),
]  # fmt: skip


@pytest.mark.parametrize(("error", "words", "name", "args", "options"), BAD, ids=[f"{b[2]}: {b[1]}" for b in BAD])
def test_bad_calls_are_refused_in_the_same_words(error, words, name, args, options):
    messages = []
    for module in (F, R):
        with pytest.raises(error) as caught:
            getattr(module, name)(*args, **options)
        assert type(caught.value) is error
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith(f"{name}: ") and words in messages[0]
