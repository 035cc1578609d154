"""The reference against hand-worked numbers, central differences, textbook identities and PyTorch."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cconv import reference as R

INF, NAN = math.inf, math.nan


def plane(rows, dtype=np.float64):
    """Rows of numbers as one image with one channel."""
    return np.array(rows, dtype)[None, None]


def integers(rng, *shape, dtype=np.float64):
    return rng.integers(-4, 5, shape).astype(dtype)


def distance(got, expected):
    """Largest difference over largest expected value."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    if expected.size == 0:
        return 0.0
    return np.abs(got - expected).max() / (np.abs(expected).max() or 1)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Hand-worked numbers ------------------------------------------------------------------------------------------------

NINE = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


class TestConv2d:
    def test_one_window_after_another(self):
        y = R.conv2d(plane(NINE), plane([[1, 2], [3, 4]]), np.array([0.5]))
        # 1*1 + 2*2 + 4*3 + 5*4 = 37 and so on, plus the bias.
        assert_array_equal(y, plane([[37.5, 47.5], [67.5, 77.5]]))

    def test_channels_add_up_and_filters_stack(self):
        x = np.array([1.0, 10.0]).reshape(1, 2, 1, 1)
        weight = np.array([[2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]).reshape(3, 2, 1, 1)
        assert_array_equal(R.conv2d(x, weight).ravel(), [32, 54, 76])

    def test_stride_and_unequal_padding(self):
        y = R.conv2d(plane(NINE), plane([[1, 1], [1, 1]]), stride=2, padding=((1, 0), (0, 1)))
        # Padded: rows 0 0 0 0 / 1 2 3 0 / 4 5 6 0 / 7 8 9 0; windows start at rows 0, 2 and columns 0, 2.
        assert_array_equal(y, plane([[3, 3], [24, 15]]))

    def test_same_puts_the_odd_zero_at_the_end(self):
        y = R.conv2d(plane([[1, 2, 3]]), plane([[1, 10]]), padding="same")
        assert_array_equal(y, plane([[21, 32, 3]]))

    def test_valid_is_no_padding(self):
        assert_array_equal(R.conv2d(plane(NINE), plane(NINE), padding="valid"), plane([[285]]))

    def test_padding_wider_than_the_kernel_leaves_the_bias(self):
        y = R.conv2d(plane([[2]]), plane([[3]]), np.array([1.0]), padding=(0, 2))
        assert_array_equal(y, plane([[1, 1, 7, 1, 1]]))

    def test_dilation(self):
        y = R.conv2d(plane([[1, 2, 3, 4, 5]]), plane([[1, 10]]), dilation=(1, 3))
        assert_array_equal(y, plane([[41, 52]]))

    def test_groups_see_their_own_channels(self):
        x = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)
        weight = np.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(2, 2, 1, 1)
        assert_array_equal(R.conv2d(x, weight, groups=2).ravel(), [21, 4300])

    def test_gradients(self):
        grad_x, grad_weight, grad_bias = R.conv2d_backward(np.ones((1, 1, 2, 2)), plane(NINE), plane([[1, 2], [3, 4]]))
        assert_array_equal(grad_x, plane([[1, 3, 2], [4, 10, 6], [3, 7, 4]]))
        assert_array_equal(grad_weight, plane([[12, 16], [24, 28]]))
        assert_array_equal(grad_bias, [4])

    def test_positions_that_the_stride_skips_get_no_gradient(self):
        grad_x, _, _ = R.conv2d_backward(plane([[1, 2]]), plane([[7, 7, 7, 7, 7, 7]]), plane([[1, 10]]), stride=(1, 3))
        assert_array_equal(grad_x, plane([[1, 10, 0, 2, 20, 0]]))

    def test_bias_gradient_sums_over_images_and_positions(self):
        grad_y = np.arange(2 * 3 * 2 * 2, dtype=np.float64).reshape(2, 3, 2, 2)
        _, _, grad_bias = R.conv2d_backward(grad_y, np.zeros((2, 1, 3, 3)), np.zeros((3, 1, 2, 2)))
        assert_array_equal(grad_bias, [0 + 1 + 2 + 3 + 12 + 13 + 14 + 15, 22 + 70, 38 + 86])

    def test_infinite_weights_meet_zero_padding(self):
        y = R.conv2d(plane(NINE), np.full((1, 1, 3, 3), INF), padding=1)
        assert y[0, 0, 1, 1] == INF
        assert np.isnan(y).sum() == 8


@pytest.mark.parametrize("needs", [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)])
def test_only_needed_gradients_come(needs, rng):
    conv = R.conv2d_backward(
        integers(rng, 2, 4, 2, 2), integers(rng, 2, 3, 3, 3), integers(rng, 4, 3, 2, 2), needs=needs
    )
    linear = R.linear_backward(integers(rng, 2, 4), integers(rng, 2, 3), integers(rng, 4, 3), needs=needs)
    assert tuple(g is not None for g in conv) == needs
    assert tuple(g is not None for g in linear) == needs


class TestLinear:
    def test_forward(self):
        y = R.linear(
            np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]), np.array([0.0, 100.0, 0.0])
        )
        assert_array_equal(y, [[11, 117, 23]])

    def test_gradients(self):
        grad_x, grad_weight, grad_bias = R.linear_backward(
            np.array([[1.0, 10.0], [2.0, 0.0]]),
            np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
            np.array([[1.0, 2, 3], [4, 5, 6]]),
        )
        assert_array_equal(grad_x, [[41, 52, 63], [2, 4, 6]])
        assert_array_equal(grad_weight, [[9, 12, 15], [10, 20, 30]])
        assert_array_equal(grad_bias, [3, 10])


class TestMaxPool2d:
    def test_values_and_indices(self):
        y, indices = R.max_pool2d(plane([[1, 9, 2, 3], [4, 5, 8, 0]]), 2)
        assert_array_equal(y, plane([[9, 8]]))
        assert_array_equal(indices, plane([[1, 6]]))
        assert indices.dtype == np.int64

    def test_first_maximum_wins(self):
        _, indices = R.max_pool2d(plane([[0, 7, 7], [7, 7, 7]]), (2, 3))
        assert_array_equal(indices, plane([[1]]))

    def test_padding_never_wins_and_does_not_shift_indices(self):
        y, indices = R.max_pool2d(-plane(NINE), 2, stride=2, padding=1)
        assert_array_equal(y, plane([[-1, -2], [-4, -5]]))
        assert_array_equal(indices, plane([[0, 1], [3, 4]]))

    def test_unequal_padding(self):
        y, indices = R.max_pool2d(plane([[1, 2, 3]]), (1, 2), stride=(1, 2), padding=((0, 0), (1, 0)))
        assert_array_equal(y, plane([[1, 3]]))
        assert_array_equal(indices, plane([[0, 2]]))

    def test_dilation(self):
        y, indices = R.max_pool2d(plane([[1, 9, 2, 0]]), (1, 2), stride=1, dilation=(1, 2))
        assert_array_equal(y, plane([[2, 9]]))
        assert_array_equal(indices, plane([[2, 1]]))

    @pytest.mark.parametrize(
        ("n", "kernel", "stride", "padding", "floor", "ceil"),
        [
            (5, 2, 2, 0, 2, 3),
            (4, 3, 2, 1, 2, 3),
            (3, 1, 2, 0, 2, 2),
            (4, 2, 3, 1, 2, 2),  # a third window would start in the padding after the input
        ],
    )
    def test_ceil_mode(self, n, kernel, stride, padding, floor, ceil):
        x = np.zeros((1, 1, 1, n))
        options = {"stride": (1, stride), "padding": (0, padding)}
        assert R.max_pool2d(x, (1, kernel), **options)[0].shape[3] == floor
        assert R.max_pool2d(x, (1, kernel), ceil_mode=True, **options)[0].shape[3] == ceil
        assert R.avg_pool2d(x, (1, kernel), ceil_mode=True, **options).shape[3] == ceil

    def test_ceil_mode_takes_a_kernel_that_hangs_over(self):
        y, indices = R.max_pool2d(plane([[1, 2], [4, 3]]), 3, stride=2, ceil_mode=True)
        assert_array_equal(y, plane([[4]]))
        assert_array_equal(indices, plane([[2]]))

    def test_nan_wins_and_the_last_one_is_named(self):
        y, indices = R.max_pool2d(plane([[1, INF, 5, 6], [NAN, NAN, 7, 8]]), 2)
        assert_array_equal(y, plane([[NAN, 8]]))
        assert_array_equal(indices, plane([[5, 7]]))

    def test_minus_infinity_alone_names_the_first_position_inside(self):
        y, indices = R.max_pool2d(np.full((1, 1, 3, 3), -INF), 3, stride=2, padding=1)
        assert_array_equal(y, np.full((1, 1, 2, 2), -INF))
        assert_array_equal(indices, plane([[0, 1], [3, 4]]))

    def test_overlapping_windows_add_their_gradients(self):
        x = plane([[0, 9, 0]])
        _, indices = R.max_pool2d(x, (1, 2), stride=1)
        assert_array_equal(R.max_pool2d_backward(plane([[3, 4]]), indices, x.shape), plane([[0, 7, 0]]))

    def test_each_plane_keeps_its_gradient(self):
        grad_y = np.arange(1.0, 5.0).reshape(2, 2, 1, 1)
        indices = np.array([0, 1, 2, 3]).reshape(2, 2, 1, 1)
        assert_array_equal(
            R.max_pool2d_backward(grad_y, indices, [2, 2, 2, 2]).reshape(4, 4), np.diag([1, 2, 3, 4]).astype(np.float64)
        )


class TestAvgPool2d:
    def test_mean_of_each_window(self):
        assert_array_equal(R.avg_pool2d(plane([[1, 2, 3, 4], [5, 6, 7, 8]]), 2), plane([[3.5, 5.5]]))

    @pytest.mark.parametrize(
        ("count_include_pad", "expected"), [(True, [12 / 3, 36 / 3, 12 / 2]), (False, [6, 12, 12])]
    )
    def test_divisor_counts_padding_but_nothing_beyond(self, count_include_pad, expected):
        # Windows over positions -1..1, 1..3 and 3..5 of 0..3; padding ends at 4, so 5 is never counted.
        y = R.avg_pool2d(plane([[4, 8, 16, 12]]), (1, 3), (1, 2), (0, 1), True, count_include_pad)
        assert_array_equal(y, plane([expected]))

    @pytest.mark.parametrize(("count_include_pad", "expected"), [(True, [9 / 3, 12 / 3]), (False, [9 / 2, 12 / 3])])
    def test_unequal_padding(self, count_include_pad, expected):
        y = R.avg_pool2d(plane([[3, 6, 3]]), (1, 3), 1, ((0, 0), (1, 0)), False, count_include_pad)
        assert_array_equal(y, plane([expected]))

    def test_gradient_is_spread_evenly(self):
        grad_x = R.avg_pool2d_backward(plane([[6, 12]]), (1, 1, 1, 3), (1, 2), stride=1)
        assert_array_equal(grad_x, plane([[3, 9, 6]]))

    def test_gradient_that_falls_into_the_padding_is_lost(self):
        grad_x = R.avg_pool2d_backward(plane([[6, 12]]), (1, 1, 1, 2), (1, 2), padding=(0, 1))
        assert_array_equal(grad_x, plane([[3, 6]]))
        grad_x = R.avg_pool2d_backward(plane([[6, 12]]), (1, 1, 1, 2), (1, 2), padding=(0, 1), count_include_pad=False)
        assert_array_equal(grad_x, plane([[6, 12]]))


class TestActivations:
    def test_relu(self):
        assert_array_equal(R.relu(np.array([-INF, -2.0, 0.0, 3.0, INF, NAN])), [0, 0, 0, 3, INF, NAN])
        assert_array_equal(R.relu_backward(np.array([5.0, 6.0, 7.0]), np.array([0.0, 2.0, INF])), [0, 6, 7])

    def test_leaky_relu_at_zero_is_on_the_negative_side(self):
        x = np.array([-2.0, 0.0, 3.0, INF, -INF, NAN])
        assert_array_equal(R.leaky_relu(x, 0.5), [-1, 0, 3, INF, -INF, NAN])
        assert_array_equal(R.leaky_relu_backward(np.full(6, 4.0), x, 0.5), [2, 2, 4, 4, 2, 2])

    def test_sigmoid_is_exact_far_out(self):
        y = R.sigmoid(np.array([-INF, -1000.0, -40.0, 0.0, math.log(3), 1000.0, INF, NAN]))
        assert_allclose(y, [0, 0, math.exp(-40), 0.5, 0.75, 1, 1, NAN], rtol=1e-15)
        assert_array_equal(R.sigmoid_backward(np.array([8.0]), np.array([0.25])), [1.5])

    def test_tanh(self):
        y = R.tanh(np.array([-INF, 0.0, math.log(3) / 2, 1e-300, 1000.0, NAN]))
        assert_allclose(y, [-1, 0, 0.5, 1e-300, 1, NAN], rtol=1e-15)
        assert_array_equal(R.tanh_backward(np.array([8.0]), np.array([0.5])), [6])

    def test_softplus(self):
        x = np.array([-INF, -1000.0, -40.0, 0.0, 1000.0, INF, NAN])
        assert_allclose(R.softplus(x), [0, 0, math.exp(-40), math.log(2), 1000, INF, NAN], rtol=1e-15)
        assert_allclose(R.softplus(np.array([0.0, 1.0]), beta=2), [math.log(2) / 2, math.log1p(math.exp(2)) / 2])
        assert_allclose(R.softplus_backward(np.full(7, 2.0), x), [0, 0, 2 * math.exp(-40), 1, 2, 2, NAN], rtol=1e-15)

    def test_softplus_is_linear_beyond_its_threshold(self):
        x = np.array([1.0, 1.25])
        assert_allclose(R.softplus(x, beta=2, threshold=2), [math.log1p(math.exp(2)) / 2, 1.25], rtol=1e-15)
        grad_x = R.softplus_backward(np.ones(2), x, beta=2, threshold=2)
        assert_allclose(grad_x, [1 / (1 + math.exp(-2)), 1], rtol=1e-15)

    def test_softplus_does_not_overflow_under_a_large_threshold(self):
        assert_array_equal(R.softplus(np.array([1000.0]), threshold=1e6), [1000])
        assert_array_equal(R.softplus_backward(np.ones(1), np.array([1000.0]), threshold=1e6), [1])

    @pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
    def test_softmax(self, shift):
        x = np.log([[1.0, 2.0, 5.0]]) + shift
        assert_allclose(R.softmax(x), [[1 / 8, 2 / 8, 5 / 8]], rtol=1e-11)
        assert_allclose(R.log_softmax(x), np.log([[1 / 8, 2 / 8, 5 / 8]]), rtol=1e-11)

    def test_softmax_along_each_axis(self, rng):
        x = rng.normal(size=(2, 3, 4))
        for dim in range(-3, 3):
            assert_allclose(R.softmax(x, dim).sum(axis=dim), 1, rtol=1e-15)

    def test_softmax_of_infinities(self):
        assert_array_equal(R.softmax(np.array([[0.0, -INF]])), [[1, 0]])
        assert_array_equal(R.log_softmax(np.array([[0.0, -INF]])), [[0, -INF]])
        assert np.isnan(R.softmax(np.array([[-INF, -INF], [0.0, INF], [0.0, NAN]]))).all()


class TestLosses:
    LOGITS = np.log([[1.0, 2.0, 5.0], [4.0, 3.0, 1.0]])
    LOSSES = (math.log(8 / 5), math.log(2))

    def test_cross_entropy_of_labels(self):
        labels = np.array([2, 0])
        assert_allclose(R.cross_entropy(self.LOGITS, labels, reduction="none"), self.LOSSES)
        assert_allclose(R.cross_entropy(self.LOGITS, labels, reduction="sum"), sum(self.LOSSES))
        assert_allclose(R.cross_entropy(self.LOGITS, labels), sum(self.LOSSES) / 2)
        grad = R.cross_entropy_backward(16.0, self.LOGITS, labels)
        assert_allclose(grad, [[1, 2, -3], [-4, 3, 1]], rtol=1e-14)

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64, ">i4"])
    def test_labels_of_any_integer_type(self, dtype):
        labels = np.array([2, 0], dtype)
        assert_allclose(R.cross_entropy(self.LOGITS, labels, reduction="none"), self.LOSSES)

    @pytest.mark.parametrize("dtype", [np.float64, np.int64, bool])
    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    def test_one_hot_labels_equal_labels(self, dtype, reduction, rng):
        logits, labels = rng.normal(size=(4, 3, 2)), rng.integers(0, 3, (4, 2))
        one_hot = np.moveaxis(np.eye(3, dtype=dtype)[labels], 2, 1)
        assert_allclose(
            R.cross_entropy(logits, one_hot, reduction=reduction),
            R.cross_entropy(logits, labels, reduction=reduction),
            rtol=1e-14,
        )
        grad_loss = rng.normal(size=(4, 2)) if reduction == "none" else 3
        assert_allclose(
            R.cross_entropy_backward(grad_loss, logits, one_hot, reduction=reduction),
            R.cross_entropy_backward(grad_loss, logits, labels, reduction=reduction),
            rtol=1e-14,
        )

    def test_mean_divides_by_positions_for_both_kinds_of_target(self):
        logits = np.zeros((2, 4, 5))
        assert_allclose(R.cross_entropy(logits, np.zeros((2, 5), int)), math.log(4))
        assert_allclose(R.cross_entropy(logits, np.full((2, 4, 5), 0.25)), math.log(4))

    def test_cross_entropy_far_out(self):
        logits = np.array([[1e4, -1e4], [1e4, -1e4], [0.0, -INF]])
        assert_array_equal(R.cross_entropy(logits, np.array([0, 1, 0]), reduction="none"), [0, 2e4, 0])
        assert_array_equal(R.cross_entropy(logits, np.array([0, 1, 1]), reduction="none"), [0, 2e4, INF])

    def test_mse(self):
        x, target = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[0.0, 2.0], [5.0, 2.0]])
        assert R.mse_loss(x, target) == 14 / 4
        assert R.mse_loss(x, target, reduction="sum") == 14
        assert_array_equal(R.mse_loss(x, target, reduction="none"), [[1, 0], [4, 9]])
        assert_array_equal(R.mse_loss_backward(2, x, target), [[1, 0], [-2, 3]])

    def test_binary_cross_entropy(self):
        x, target = np.array([0.0, math.log(3)]), np.array([1.0, 0.0])
        losses = R.binary_cross_entropy_with_logits(x, target, reduction="none")
        assert_allclose(losses, [math.log(2), math.log(4)], rtol=1e-15)
        grad = R.binary_cross_entropy_with_logits_backward(8.0, x, target)
        assert_allclose(grad, [-2, 3], rtol=1e-15)

    def test_binary_cross_entropy_far_out(self):
        x, target = np.array([1000.0, 1000.0, -1000.0, -1000.0, -30.0]), np.array([1.0, 0.0, 1.0, 0.0, 0.0])
        losses = R.binary_cross_entropy_with_logits(x, target, reduction="none")
        assert_allclose(losses, [0, 1000, 1000, 0, math.log1p(math.exp(-30))], rtol=1e-15)

    def test_a_number_stands_for_equal_gradients_of_all_losses(self):
        x, target = np.array([1.0, 5.0]), np.array([0.0, 2.0])
        assert_array_equal(
            R.mse_loss_backward(3, x, target, reduction="none"), R.mse_loss_backward(3, x, target, reduction="sum")
        )

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_a_loss_is_a_scalar_of_the_dtype(self, dtype):
        x = np.ones((2, 3), dtype)
        losses = R.cross_entropy(x, np.array([0, 1])), R.mse_loss(x, x), R.binary_cross_entropy_with_logits(x, x)
        assert [type(loss) for loss in losses] == [dtype] * 3


# Central differences ------------------------------------------------------------------------------------------------


def numerical(function, x, step=1e-5):
    """Gradient of a scalar function of one array by central differences."""
    grad = np.empty_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        grad[i] = (function(up) - function(down)) / (up[i] - down[i])
    return grad


def away_from_ties(rng, *shape):
    """Values at least 0.05 apart, none within 0.02 of zero, in random order."""
    size = math.prod(shape)
    return ((rng.permutation(size) - size // 2) * 0.05 + 0.025).reshape(shape)


CONVOLUTIONS = {
    "plain": ((2, 2, 5, 4), (3, 2, 3, 2), {}),
    "stride leaves a remainder": ((1, 2, 6, 7), (2, 2, 3, 2), {"stride": (2, 3)}),
    "unequal padding": ((1, 1, 4, 3), (2, 1, 2, 3), {"padding": ((2, 0), (1, 3)), "stride": 2}),
    "padding wider than the kernel": ((1, 1, 2, 3), (1, 1, 1, 2), {"padding": 3}),
    "same": ((1, 2, 4, 5), (2, 2, 4, 3), {"padding": "same"}),
    "dilation": ((1, 2, 7, 6), (2, 2, 3, 2), {"dilation": (2, 3), "padding": 1}),
    "groups": ((2, 4, 4, 4), (6, 2, 3, 3), {"groups": 2, "stride": 2, "padding": 1}),
    "depthwise": ((1, 3, 5, 5), (6, 1, 3, 3), {"groups": 3, "dilation": 2, "padding": (1, 2)}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_conv2d_gradients_are_slopes(case, rng):
    x_shape, weight_shape, options = case
    x, weight, bias = rng.normal(size=x_shape), rng.normal(size=weight_shape), rng.normal(size=weight_shape[0])
    grad_y = rng.normal(size=R.conv2d(x, weight, bias, **options).shape)
    grad_x, grad_weight, grad_bias = R.conv2d_backward(grad_y, x, weight, **options)
    assert distance(grad_x, numerical(lambda v: np.sum(grad_y * R.conv2d(v, weight, bias, **options)), x)) < 1e-8
    assert distance(grad_weight, numerical(lambda v: np.sum(grad_y * R.conv2d(x, v, bias, **options)), weight)) < 1e-8
    assert distance(grad_bias, numerical(lambda v: np.sum(grad_y * R.conv2d(x, weight, v, **options)), bias)) < 1e-8


def test_linear_gradients_are_slopes(rng):
    x, weight, bias = rng.normal(size=(3, 4)), rng.normal(size=(2, 4)), rng.normal(size=2)
    grad_y = rng.normal(size=(3, 2))
    grad_x, grad_weight, grad_bias = R.linear_backward(grad_y, x, weight)
    assert distance(grad_x, numerical(lambda v: np.sum(grad_y * R.linear(v, weight, bias)), x)) < 1e-8
    assert distance(grad_weight, numerical(lambda v: np.sum(grad_y * R.linear(x, v, bias)), weight)) < 1e-8
    assert distance(grad_bias, numerical(lambda v: np.sum(grad_y * R.linear(x, weight, v)), bias)) < 1e-8


POOLS = {
    "touching": ((2, 2, 4, 6), (2, 3), {}),
    "overlapping": ((1, 2, 5, 6), 3, {"stride": (1, 2)}),
    "gaps": ((1, 1, 6, 7), 2, {"stride": 3}),
    "padding": ((1, 2, 5, 4), 3, {"stride": 2, "padding": 1}),
    "unequal padding": ((1, 1, 4, 5), (2, 4), {"stride": 2, "padding": ((0, 1), (2, 1))}),
    "ceil_mode": ((1, 2, 6, 5), 3, {"stride": 2, "padding": 1, "ceil_mode": True}),
}


@pytest.mark.parametrize("dilation", [1, (2, 1)])
@pytest.mark.parametrize("case", POOLS.values(), ids=POOLS)
def test_max_pool2d_gradient_is_a_slope(case, dilation, rng):
    x_shape, kernel_size, options = case
    x = away_from_ties(rng, *x_shape)
    y, indices = R.max_pool2d(x, kernel_size, dilation=dilation, **options)
    grad_y = rng.normal(size=y.shape)

    def total(v):
        return np.sum(grad_y * R.max_pool2d(v, kernel_size, dilation=dilation, **options)[0])

    assert distance(R.max_pool2d_backward(grad_y, indices, x.shape), numerical(total, x)) < 1e-8


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("case", POOLS.values(), ids=POOLS)
def test_avg_pool2d_gradient_is_a_slope(case, count_include_pad, rng):
    x_shape, kernel_size, options = case
    options = {**options, "count_include_pad": count_include_pad}
    x = rng.normal(size=x_shape)
    grad_y = rng.normal(size=R.avg_pool2d(x, kernel_size, **options).shape)
    expected = numerical(lambda v: np.sum(grad_y * R.avg_pool2d(v, kernel_size, **options)), x)
    assert distance(R.avg_pool2d_backward(grad_y, x.shape, kernel_size, **options), expected) < 1e-8


OF_OUTPUT = {
    "relu": (R.relu, R.relu_backward),
    "sigmoid": (R.sigmoid, R.sigmoid_backward),
    "tanh": (R.tanh, R.tanh_backward),
}
OF_INPUT = {
    "leaky_relu": (R.leaky_relu, R.leaky_relu_backward, {"negative_slope": 0.2}),
    "softplus": (R.softplus, R.softplus_backward, {"beta": 1.5, "threshold": 20}),
    "softmax": (R.softmax, R.softmax_backward, {}),
    "softmax over the last axis": (R.softmax, R.softmax_backward, {"dim": -1}),
    "log_softmax": (R.log_softmax, R.log_softmax_backward, {}),
    "log_softmax over the first axis": (R.log_softmax, R.log_softmax_backward, {"dim": 0}),
}


@pytest.mark.parametrize(("forward", "backward"), OF_OUTPUT.values(), ids=OF_OUTPUT)
def test_gradients_from_outputs_are_slopes(forward, backward, rng):
    x, grad_y = away_from_ties(rng, 2, 3, 4), rng.normal(size=(2, 3, 4))
    expected = numerical(lambda v: np.sum(grad_y * forward(v)), x)
    assert distance(backward(grad_y, forward(x)), expected) < 1e-8


@pytest.mark.parametrize(("forward", "backward", "options"), OF_INPUT.values(), ids=OF_INPUT)
def test_gradients_from_inputs_are_slopes(forward, backward, options, rng):
    x, grad_y = away_from_ties(rng, 2, 3, 4), rng.normal(size=(2, 3, 4))
    expected = numerical(lambda v: np.sum(grad_y * forward(v, **options)), x)
    assert distance(backward(grad_y, x, **options), expected) < 1e-8


def losses(rng, shape=(3, 4, 2)):
    soft = rng.uniform(size=shape)  # does not sum to 1
    return {
        "labels": (R.cross_entropy, R.cross_entropy_backward, rng.integers(0, shape[1], (shape[0], *shape[2:]))),
        "soft labels": (R.cross_entropy, R.cross_entropy_backward, soft),
        "mse": (R.mse_loss, R.mse_loss_backward, rng.normal(size=shape)),
        "bce": (R.binary_cross_entropy_with_logits, R.binary_cross_entropy_with_logits_backward, soft),
    }


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["labels", "soft labels", "mse", "bce"])
def test_loss_gradients_are_slopes(name, reduction, rng):
    forward, backward, target = losses(rng)[name]
    x = rng.normal(size=(3, 4, 2))
    grad_loss = np.float64(1.5)
    if reduction == "none":
        grad_loss = rng.normal(size=forward(x, target, reduction=reduction).shape)
    expected = numerical(lambda v: np.sum(grad_loss * forward(v, target, reduction=reduction)), x)
    assert distance(backward(grad_loss, x, target, reduction=reduction), expected) < 1e-8


# Textbook identities ------------------------------------------------------------------------------------------------


def test_rotate180():
    assert_array_equal(R.rotate180(np.array([[1.0, 2, 3], [4, 5, 6]])), [[6, 5, 4], [3, 2, 1]])


@pytest.mark.parametrize("padding", [0, (2, 1), ((0, 3), (2, 0)), "same"])
def test_true_convolution_is_correlation_with_the_rotated_filter(padding, rng):
    x, weight = integers(rng, 2, 3, 6, 5), integers(rng, 4, 3, 3, 2)
    y = R.convolve2d_true(x, weight, padding)
    assert_array_equal(y, R.conv2d(x, R.rotate180(weight), padding=padding))
    assert not np.array_equal(y, R.conv2d(x, weight, padding=padding))


def test_true_convolution_multiplies_polynomials(rng):
    a, b = integers(rng, 7), integers(rng, 4)
    assert_array_equal(R.convolve2d_true(plane([a]), plane([b]), (0, 3))[0, 0, 0], np.convolve(a, b))


def test_true_convolution_commutes_and_correlation_does_not(rng):
    a, b = integers(rng, 1, 1, 4, 5), integers(rng, 1, 1, 3, 2)
    assert_array_equal(R.convolve2d_true(a, b, (2, 1)), R.convolve2d_true(b, a, (3, 4)))
    assert not np.array_equal(R.conv2d(a, b, padding=(2, 1)), R.conv2d(b, a, padding=(3, 4)))


def test_stride_expand():
    expanded = R.stride_expand(plane([[1, 2], [3, 4]]), (3, 2))
    assert_array_equal(expanded, plane([[1, 0, 2], [0, 0, 0], [0, 0, 0], [3, 0, 4]]))


def test_a_stride_drops_outputs_and_expansion_puts_zeros_there(rng):
    x, weight = integers(rng, 2, 3, 7, 8), integers(rng, 4, 3, 2, 3)
    grad_y = integers(rng, 2, 4, 3, 2)
    assert_array_equal(R.conv2d(x, weight, stride=(2, 3)), R.conv2d(x, weight)[:, :, ::2, ::3])
    dense = np.zeros((2, 4, 6, 6))
    dense[:, :, :5, :4] = R.stride_expand(grad_y, (2, 3))
    for got, expected in zip(
        R.conv2d_backward(grad_y, x, weight, stride=(2, 3)), R.conv2d_backward(dense, x, weight), strict=True
    ):
        assert_array_equal(got, expected)


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_grad_x_is_a_full_correlation(case, rng):
    x_shape, weight_shape, options = case
    x, weight = integers(rng, *x_shape), integers(rng, *weight_shape)
    grad_y = integers(rng, *R.conv2d(x, weight, **options).shape)
    expected, _, _ = R.conv2d_backward(grad_y, x, weight, **options)
    assert_array_equal(R.conv2d_grad_x_full(grad_y, weight, x_shape[2:], **options), expected)


@pytest.mark.parametrize("kernel_size", [1, 2, (3, 2)])
def test_mean_pool_error_is_a_kronecker_product(kernel_size, rng):
    height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    grad_y = integers(rng, 2, 3, 4, 5)
    expected = R.avg_pool2d_backward(grad_y, (2, 3, 4 * height, 5 * width), kernel_size)
    assert_array_equal(R.avg_pool_backward_kron(grad_y, kernel_size), expected)


# Precision, layouts, emptiness --------------------------------------------------------------------------------------


def test_float32_is_summed_in_float64():
    """1e8 + 1 - 1e8 is 0 in float32, in whatever order but one."""
    terms = np.array([1e8, 1, 1, 1, -1e8], np.float32)
    ones = np.ones_like(terms)
    row = terms[None, None, None]
    assert R.linear(terms[None], ones[None])[0, 0] == 3
    assert R.conv2d(row, ones[None, None, None])[0, 0, 0, 0] == 3
    assert R.conv2d_backward(row, row, ones[:1, None, None, None])[2] == 3
    assert R.avg_pool2d(row, (1, 5))[0, 0, 0, 0] == np.float32(0.6)
    assert R.max_pool2d_backward(row, np.zeros(row.shape, int), (1, 1, 1, 1))[0, 0, 0, 0] == 3
    assert R.mse_loss(np.array([1e4, 1, 1], np.float32), np.zeros(3, np.float32), reduction="sum") == np.float32(
        100000002
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_integer_values_give_exact_results(dtype, rng):
    x, weight, bias = integers(rng, 4, 6, 9, 9), integers(rng, 4, 3, 3, 3), integers(rng, 4)
    options = {"groups": 2, "padding": 1, "stride": 2}
    y = R.conv2d(x.astype(dtype), weight.astype(dtype), bias.astype(dtype), **options)
    # The same sum over Python's integers.
    image, filters = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))).astype(int), weight.astype(int)
    for n, k, i, j in [(0, 0, 0, 0), (3, 1, 4, 2), (1, 2, 2, 4), (2, 3, 3, 3)]:
        first = 3 * (k // 2)
        window = image[n, first : first + 3, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        assert y[n, k, i, j] == (window * filters[k]).sum() + int(bias[k])
    assert y.dtype == dtype


def off_by_one_byte(array):
    """A copy whose data begin at an odd address."""
    raw = bytearray(1) + array.tobytes()
    return np.frombuffer(raw, array.dtype, offset=1).reshape(array.shape)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
    "every other": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "read-only": read_only,
    "unaligned": off_by_one_byte,
}


def calls(x, weight, bias, grad_y):
    """Results of one call of each operation on arrays (2, 3, 4, 4), (2, 3, 2, 2), (2,) and (2, 2, 3, 3)."""
    target, labels = abs(x), np.zeros((len(x), 4, 4), int)
    y, indices = R.max_pool2d(x, 2)
    return [
        R.conv2d(x, weight, bias),
        *R.conv2d_backward(grad_y, x, weight),
        R.linear(x[:, :, 0, 0], weight[:, :, 0, 0], bias),
        *R.linear_backward(grad_y[:, :, 0, 0], x[:, :, 0, 0], weight[:, :, 0, 0]),
        y,
        R.max_pool2d_backward(x[:, :, :2, :2], indices, x.shape),
        R.avg_pool2d(x, 2),
        R.avg_pool2d_backward(x[:, :, :2, :2], x.shape, 2),
        *(function(x) for function in (R.relu, R.leaky_relu, R.sigmoid, R.tanh, R.softplus, R.softmax, R.log_softmax)),
        *(function(x, x) for function in (R.relu_backward, R.leaky_relu_backward, R.sigmoid_backward)),
        *(function(x, x) for function in (R.tanh_backward, R.softplus_backward)),
        *(function(x, x) for function in (R.softmax_backward, R.log_softmax_backward)),
        R.cross_entropy(x, labels, reduction="none"),
        R.cross_entropy(x, target, reduction="none"),
        R.cross_entropy_backward(1, x, labels),
        R.cross_entropy_backward(1, x, target),
        R.mse_loss(x, target, reduction="none"),
        R.mse_loss_backward(1, x, target),
        R.binary_cross_entropy_with_logits(x, target, reduction="none"),
        R.binary_cross_entropy_with_logits_backward(1, x, target),
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_layout_in_contiguous_out(layout, dtype, rng):
    arrays = [integers(rng, *shape, dtype=dtype) for shape in [(2, 3, 4, 4), (2, 3, 2, 2), (2,), (2, 2, 3, 3)]]
    for got, expected in zip(calls(*map(layout, arrays)), calls(*arrays), strict=True):
        assert_array_equal(got, expected)
        assert got.dtype == dtype
        assert got.dtype.isnative
        assert got.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arguments_are_left_alone(dtype, rng):
    arrays = [integers(rng, *shape, dtype=dtype) for shape in [(2, 3, 4, 4), (2, 3, 2, 2), (2,), (2, 2, 3, 3)]]
    before = [array.copy() for array in arrays]
    for result in calls(*arrays):
        assert not any(np.shares_memory(result, array) for array in arrays)
    for array, copy in zip(arrays, before, strict=True):
        assert_array_equal(array, copy)


def test_no_images():
    x, weight, grad_y = np.zeros((0, 3, 4, 4)), np.ones((2, 3, 2, 2)), np.zeros((0, 2, 3, 3))
    assert R.conv2d(x, weight).shape == (0, 2, 3, 3)
    grad_x, grad_weight, grad_bias = R.conv2d_backward(grad_y, x, weight)
    assert grad_x.shape == x.shape
    assert_array_equal(grad_weight, np.zeros_like(weight))
    assert_array_equal(grad_bias, [0, 0])
    y, indices = R.max_pool2d(x, 2)
    assert y.shape == indices.shape == R.avg_pool2d(x, 2).shape == (0, 3, 2, 2)
    assert R.max_pool2d_backward(y, indices, x.shape).shape == R.avg_pool2d_backward(y, x.shape, 2).shape == x.shape
    assert R.linear(np.zeros((0, 3)), np.ones((2, 3)), np.ones(2)).shape == (0, 2)
    assert_array_equal(R.linear_backward(np.zeros((0, 2)), np.zeros((0, 3)), np.ones((2, 3)))[1], np.zeros((2, 3)))
    assert R.softmax(x).shape == R.log_softmax_backward(x, x).shape == x.shape


def test_a_mean_over_nothing_is_nan():
    x, labels = np.zeros((0, 3)), np.zeros(0, int)
    assert math.isnan(R.cross_entropy(x, labels))
    assert math.isnan(R.cross_entropy(x, x))
    assert math.isnan(R.mse_loss(x, x))
    assert math.isnan(R.binary_cross_entropy_with_logits(x, x))
    assert R.cross_entropy(x, labels, reduction="sum") == R.mse_loss(x, x, reduction="sum") == 0
    assert R.cross_entropy_backward(1, x, labels).shape == R.mse_loss_backward(1, x, x).shape == (0, 3)


def test_zero_dimensional_arrays():
    x = np.array(2.0)
    for result in (R.relu(x), R.relu_backward(x, x), R.sigmoid(x), R.softplus_backward(x, x)):
        assert isinstance(result, np.ndarray)
        assert result.shape == ()


def test_the_reference_is_independent():
    """It imports the shared checks, and neither kernels nor the operations that it is to judge."""
    allowed = {"_arguments", "_checks", "_shapes"}
    for file in Path(R.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("cconv") for alias in node.names), file.name
            elif isinstance(node, ast.ImportFrom) and node.level == 2:
                names = {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
                assert names <= allowed, file.name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert not node.module.startswith("cconv"), file.name


# PyTorch ------------------------------------------------------------------------------------------------------------


@pytest.mark.torch
class TestPyTorch:
    """Random configurations, float64 within 1e-12 and float32 within 2e-5 of PyTorch."""

    WITHIN = {"float64": 1e-12, "float32": 2e-5}  # noqa: RUF012

    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    def compare(self, torch, ours, theirs, arrays, dtype):
        """ours(*arrays, grad_y) -> (y, gradients); theirs(*tensors) -> y, differentiated by PyTorch."""
        arrays = [array.astype(dtype) for array in arrays]
        tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
        expected = theirs(*tensors)
        grad_y = np.random.default_rng(1).normal(size=tuple(expected.shape)).astype(dtype)
        expected.backward(torch.tensor(grad_y))
        y, grads = ours(*arrays, grad_y)
        assert distance(y, expected.detach().numpy()) < self.WITHIN[dtype]
        for got, tensor in zip(grads, tensors, strict=True):
            assert distance(got, tensor.grad.numpy()) < self.WITHIN[dtype]

    @pytest.mark.parametrize("dtype", WITHIN)
    @pytest.mark.parametrize("seed", range(60))
    def test_conv2d(self, torch, seed, dtype):
        rng = np.random.default_rng(seed)
        groups = int(rng.choice([1, 1, 2, 3]))
        channels, filters = groups * rng.integers(1, 4), groups * rng.integers(1, 4)
        kernel, dilation, stride = (tuple(rng.integers(1, high, 2).tolist()) for high in (5, 4, 4))
        pads = rng.integers(0, 4, 4).tolist()
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        size = [max(r - a - b, 1) + rng.integers(0, 6) for r, a, b in zip(reach, pads[::2], pads[1::2], strict=True)]
        x = rng.normal(size=(rng.integers(1, 4), channels, *size))
        weight, bias = rng.normal(size=(filters, channels // groups, *kernel)), rng.normal(size=filters)
        options = {"stride": stride, "dilation": dilation, "groups": groups}
        padding = ((pads[0], pads[1]), (pads[2], pads[3]))

        def ours(x, weight, bias, grad_y):
            y = R.conv2d(x, weight, bias, padding=padding, **options)
            return y, R.conv2d_backward(grad_y, x, weight, padding=padding, **options)

        def theirs(x, weight, bias):
            padded = torch.nn.functional.pad(x, (pads[2], pads[3], pads[0], pads[1]))
            return torch.nn.functional.conv2d(padded, weight, bias, **options)

        self.compare(torch, ours, theirs, [x, weight, bias], dtype)

    @pytest.mark.parametrize("padding", ["same", "valid", 2, (1, 3)])
    @pytest.mark.parametrize("kernel", [(2, 4), (3, 2), (1, 5)])
    def test_forms_of_padding(self, torch, padding, kernel):
        rng = np.random.default_rng(0)
        x, weight = rng.normal(size=(2, 2, 9, 10)), rng.normal(size=(3, 2, *kernel))
        y = R.conv2d(x, weight, padding=padding, dilation=2)
        expected = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(weight), padding=padding, dilation=2)
        assert distance(y, expected.numpy()) < 1e-12

    def pool_arguments(self, seed, dilated):
        rng = np.random.default_rng(seed)
        kernel = rng.integers(1, 5, 2)
        dilation = rng.integers(1, 4, 2) if dilated else np.ones(2, int)
        reach = dilation * (kernel - 1) + 1
        padding = rng.integers(0, kernel // 2 + 1)
        stride = rng.integers(1, 5, 2)
        size = np.maximum(np.maximum(reach - 2 * padding, dilation), 1) + rng.integers(0, 7, 2)
        x = rng.integers(-9, 10, (*rng.integers(1, 4, 2), *size)).astype(np.float64)  # with many ties
        kernel, stride, padding, dilation = (tuple(v.tolist()) for v in (kernel, stride, padding, dilation))
        options = {
            "stride": stride if rng.integers(4) else None,
            "padding": padding,
            "ceil_mode": bool(rng.integers(2)),
        }
        return x, kernel, options, dilation

    @pytest.mark.parametrize("seed", range(80))
    def test_max_pool2d(self, torch, seed):
        x, kernel, options, dilation = self.pool_arguments(seed, dilated=True)
        tensor = torch.tensor(x, requires_grad=True)
        expected, where = torch.nn.functional.max_pool2d(
            tensor, kernel, dilation=dilation, return_indices=True, **options
        )
        y, indices = R.max_pool2d(x, kernel, dilation=dilation, **options)
        assert_array_equal(y, expected.detach().numpy())
        assert_array_equal(indices, where.numpy())
        grad_y = np.random.default_rng(1).normal(size=y.shape)
        expected.backward(torch.tensor(grad_y))
        assert distance(R.max_pool2d_backward(grad_y, indices, x.shape), tensor.grad.numpy()) < 1e-12

    @pytest.mark.parametrize("count_include_pad", [True, False])
    @pytest.mark.parametrize("seed", range(60))
    def test_avg_pool2d(self, torch, seed, count_include_pad):
        x, kernel, options, _ = self.pool_arguments(seed, dilated=False)
        options["count_include_pad"] = count_include_pad

        def ours(x, grad_y):
            return R.avg_pool2d(x, kernel, **options), [R.avg_pool2d_backward(grad_y, x.shape, kernel, **options)]

        self.compare(torch, ours, lambda x: torch.nn.functional.avg_pool2d(x, kernel, **options), [x], "float64")

    @pytest.mark.parametrize("dtype", WITHIN)
    def test_linear(self, torch, dtype):
        rng = np.random.default_rng(0)
        arrays = [rng.normal(size=shape) for shape in [(5, 7), (3, 7), (3,)]]
        self.compare(
            torch,
            lambda x, weight, bias, grad_y: (R.linear(x, weight, bias), R.linear_backward(grad_y, x, weight)),
            torch.nn.functional.linear,
            arrays,
            dtype,
        )

    @pytest.mark.parametrize("dtype", WITHIN)
    @pytest.mark.parametrize("name", [*OF_OUTPUT, *OF_INPUT])
    def test_activations(self, torch, name, dtype):
        forward, backward, options = (*OF_OUTPUT[name], {}) if name in OF_OUTPUT else OF_INPUT[name]
        if "softmax" in name:
            options = {"dim": 1, **options}

        def ours(x, grad_y):
            y = forward(x, **options)
            return y, [backward(grad_y, y if name in OF_OUTPUT else x, **options)]

        theirs = getattr(torch.nn.functional, forward.__name__)
        x = np.random.default_rng(0).normal(size=(3, 5, 4)) * 20
        self.compare(torch, ours, lambda x: theirs(x, **options), [x], dtype)

    @pytest.mark.parametrize("dtype", WITHIN)
    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    @pytest.mark.parametrize("name", ["labels", "soft labels", "mse", "bce"])
    def test_losses(self, torch, name, reduction, dtype):
        rng = np.random.default_rng(0)
        forward, backward, target = losses(rng)[name]
        target = target.astype(np.int64 if name == "labels" else dtype)
        theirs = getattr(torch.nn.functional, forward.__name__)
        self.compare(
            torch,
            lambda x, grad: (forward(x, target, reduction=reduction), [backward(grad, x, target, reduction=reduction)]),
            lambda x: theirs(x, torch.tensor(target), reduction=reduction),
            [rng.normal(size=(3, 4, 2)) * 20],
            dtype,
        )

    @pytest.mark.parametrize("name", [*OF_OUTPUT, *OF_INPUT])
    def test_activations_of_infinity_and_nan(self, torch, name):
        forward, _, options = (*OF_OUTPUT[name], {}) if name in OF_OUTPUT else OF_INPUT[name]
        if "softmax" in name:
            options = {"dim": 1, **options}
        x = np.array([[INF, 1.0, -1.0], [-INF, 0.0, 2.0], [-INF, -INF, -INF], [NAN, 1.0, 0.0], [800.0, -800.0, 0.0]])
        expected = getattr(torch.nn.functional, forward.__name__)(torch.tensor(x), **options)
        assert_allclose(forward(x, **options), expected.numpy(), rtol=1e-14)

    def test_losses_of_infinity_and_nan(self, torch):
        x, target = (grid.ravel() for grid in np.meshgrid([INF, -INF, NAN, 800.0, -800.0, 0.0], [0.0, 1.0, 0.25]))
        functional = torch.nn.functional
        for name in ("binary_cross_entropy_with_logits", "mse_loss"):
            expected = getattr(functional, name)(torch.tensor(x), torch.tensor(target), reduction="none")
            assert_allclose(getattr(R, name)(x, target, reduction="none"), expected.numpy(), rtol=1e-14, err_msg=name)
        logits = np.array([[1.0, -INF, 2.0], [-INF, 1.0, 2.0], [INF, 1.0, 2.0], [NAN, 1.0, 2.0]])
        for target in (np.array([0, 0, 0, 1]), np.eye(3)[[0, 0, 0, 1]]):
            tensor = torch.tensor(logits, requires_grad=True)
            expected = functional.cross_entropy(tensor, torch.tensor(target), reduction="none")
            assert_allclose(R.cross_entropy(logits, target, reduction="none"), expected.detach().numpy(), rtol=1e-14)
            expected.sum().backward()
            assert_allclose(
                R.cross_entropy_backward(1, logits, target, reduction="sum"), tensor.grad.numpy(), rtol=1e-14
            )
