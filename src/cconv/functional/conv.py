"""Two-dimensional convolution (cross-correlation, as in every deep-learning library), forward and backward."""

from __future__ import annotations

import numpy as np

from .. import _arguments, _dispatch
from .._kernels.memory import empty
from .._scratch import scratch
from .._threads import threads_for
from . import _conv_plan as plans
from . import _pointwise, _winograd

_machines: dict[tuple[str, np.dtype], plans.Machine] = {}


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, algorithm="auto"):
    """Cross-correlate a batch of images with a bank of filters.

    ``y[n, k, i, j] = bias[k] + sum over c, r, s of weight[k, c, r, s] * x[n, c, i*stride + r*dilation - padding, ...]``
    with zeros outside of x. The order of the sum depends on shapes alone: not on the batch, the threads or the machine.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    weight : array (K, C // groups, R, S)
        Filters, of x's dtype.
    bias : array (K,), optional
    stride, dilation : int or (height, width)
    padding : int, (height, width), ((top, bottom), (left, right)), "same" or "valid"
        Zeros added on each side.
    groups : int
        Channels and filters fall into so many groups, each convolved apart.
    algorithm : {"auto", "direct", "winograd"}
        "direct" sums as written above, in the order of c, r, s; "winograd" (3x3 kernels, stride and dilation 1) saves
        three multiplications in four by minimal filtering F(4x4, 3x3) [1]_, at two to three times the rounding error;
        "auto" takes what is faster for the shape. An image with a result that is not finite is always summed directly.

    Returns
    -------
    array (N, K, H', W')
        With sizes as `conv_output_size` gives them.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not match, the kernel is larger than the padded input, or algorithm="winograd" does not fit.

    References
    ----------
    .. [1] A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", 2015, arXiv 1509.09308.
    """
    a = _arguments.conv2d("conv2d", x, weight, bias, stride, padding, dilation, groups, algorithm)
    shape = _shape(a.x, a.weight, a.stride, a.padding, a.dilation, a.groups, a.output_size)
    y = empty((len(a.x), len(a.weight), *a.output_size), a.x.dtype)
    if plans.by_winograd(algorithm, shape, "forward", len(a.x)):
        for n in _winograd.correlate(shape, False, a.x, a.weight, a.bias, y):
            _forward(shape, a.x[n : n + 1], a.weight, a.bias, y[n : n + 1])
    else:
        _forward(shape, a.x, a.weight, a.bias, y)
    return y


def conv2d_backward(
    grad_y, x, weight, stride=1, padding=0, dilation=1, groups=1, needs=(True, True, True), algorithm="auto"
):
    """Gradients of `conv2d` to its input, weight and bias.

    Parameters
    ----------
    grad_y : array (N, K, H', W')
        Gradient of the loss to the output.
    x, weight, stride, padding, dilation, groups
        As they were given to `conv2d`.
    needs : (bool, bool, bool)
        Which of the three gradients to compute.
    algorithm : {"auto", "direct", "winograd"}
        As for `conv2d`, for the gradients to input and weight.

    Returns
    -------
    grad_x : array (N, C, H, W) or None
    grad_weight : array (K, C // groups, R, S) or None
    grad_bias : array (K,) or None

    Raises
    ------
    TypeError, ValueError
        As `conv2d`, and if grad_y has not the shape of the output.
    """
    a = _arguments.conv2d_backward(
        "conv2d_backward", grad_y, x, weight, stride, padding, dilation, groups, needs, algorithm
    )
    shape = _shape(a.x, a.weight, a.stride, a.padding, a.dilation, a.groups, a.grad_y.shape[2:])
    grad_x = grad_weight = grad_bias = None
    if a.needs[0]:
        grad_x = empty(a.x.shape, a.x.dtype)
        if plans.by_winograd(algorithm, shape, "input", len(a.x)):
            for n in _winograd.correlate(shape, True, a.grad_y, a.weight, None, grad_x):
                _input_gradient(shape, a.grad_y[n : n + 1], a.weight, grad_x[n : n + 1])
        else:
            _input_gradient(shape, a.grad_y, a.weight, grad_x)
    if a.needs[1]:
        grad_weight = empty(a.weight.shape, a.x.dtype)
        winograd = plans.by_winograd(algorithm, shape, "weight", len(a.x))
        if not (winograd and _winograd.write_weight_gradient(shape, a.grad_y, a.x, grad_weight)):
            _weight_gradient(shape, a.grad_y, a.x, grad_weight)
    if a.needs[2]:
        grad_bias = empty(len(a.weight), a.x.dtype)
        _dispatch.conv2d.sum_planes(grad_bias, a.grad_y, threads_for(a.grad_y.size))
    return grad_x, grad_weight, grad_bias


def _shape(x, weight, stride, padding, dilation, groups, output) -> plans.Shape:
    _, channels, height, width = x.shape
    # A single output has no neighbour to stride to: a stride wider than the image would only make phases without use.
    stride = stride[0] if output[0] > 1 else 1, stride[1] if output[1] > 1 else 1
    return plans.Shape(
        channels, height, width, weight.shape[0], weight.shape[2:], stride, padding, dilation, groups, output
    )  # fmt: skip


def _machine(dtype: np.dtype) -> plans.Machine:
    key = _dispatch.isa, dtype
    if key not in _machines:
        single, double, positions, tile = _dispatch.conv2d.constants()
        _machines[key] = plans.Machine(single if dtype == np.float32 else double, positions, tile)
    return _machines[key]


def _forward(shape: plans.Shape, x, weight, bias, y) -> None:
    machine = _machine(x.dtype)
    if plans.by_product(shape, machine, "forward"):
        _pointwise.correlate(shape, machine, False, x, weight, bias, y)
    else:
        _correlate(plans.forward(shape, machine), shape.multiply_adds, x, weight, bias, y)


def _input_gradient(shape: plans.Shape, grad_y, weight, grad_x) -> None:
    machine = _machine(grad_y.dtype)
    if plans.by_product(shape, machine, "input"):
        _pointwise.correlate(shape, machine, True, grad_y, weight, None, grad_x)
        return
    plan = plans.input_gradient(shape, machine)
    if plan.geometry.copied and not _finite(weight):
        plan = plans.input_gradient(shape, machine, exact=True)
    _correlate(plan, shape.multiply_adds, grad_y, weight, None, grad_x)


@np.errstate(all="ignore")
def _finite(weight: np.ndarray) -> bool:
    """Whether no number is infinite or NaN; False, too, where their sum overflows."""
    return bool(np.isfinite(np.add.reduce(weight, axis=None)))


def _correlate(plan: plans.Correlation, multiply_adds: int, x, weight, bias, y) -> None:
    if not y.size:
        return
    threads = threads_for(len(x) * multiply_adds)
    chunk, row_blocks, splits = plans.tasks(plan, len(x), threads, x.itemsize)
    per_thread = -(-(chunk * plan.geometry.buffer + plan.sums) // 16) * 16
    work = scratch(plan.packed + threads * per_thread, x.dtype)
    _dispatch.conv2d.correlate(
        y, x, weight, bias, plan.offsets, plan.places, plan.sources, plan.fields, plan.panels, plan.phases,
        work, per_thread, plan.along_channels, chunk, row_blocks, splits, plan.pass_rows, threads,
    )  # fmt: skip


def _weight_gradient(shape: plans.Shape, grad_y, x, grad_weight) -> None:
    images = len(x)
    if not images:
        grad_weight.fill(0)
        return
    machine = _machine(x.dtype)
    if plans.by_product(shape, machine, "weight"):
        _pointwise.write_weight_gradient(shape, machine, grad_y, x, grad_weight)
        return
    chunks = plans.chunks(shape, images)
    threads = threads_for(images * shape.multiply_adds)
    if plans.by_outer(shape):
        plan = plans.outer_gradient(shape, machine)
        splits = max(1, min(plan.blocks, -(-2 * threads // (chunks * shape.groups)))) if threads > 1 else 1
        work = scratch(chunks * plan.sums + threads * plan.per_thread, x.dtype)
        _dispatch.conv2d.weight_by_outer(
            grad_weight, grad_y, x, plan.run_offsets, plan.positions, plan.fields,
            work, plan.per_thread, chunks, splits, threads,
        )  # fmt: skip
    else:
        dots = plans.dot_gradient(shape)
        work = scratch(-(-chunks * grad_weight.size // 16) * 16 + threads * dots.per_thread, x.dtype)
        _dispatch.conv2d.weight_by_dot(
            grad_weight, grad_y, x, dots.offsets, dots.fields, dots.phases, dots.pass_rows,
            work, dots.per_thread, chunks, threads,
        )  # fmt: skip
