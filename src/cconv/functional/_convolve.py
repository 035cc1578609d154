"""A convolution's three directions: how each is computed, chosen once a signature, and written.

`conv.py` and `conv_transpose.py` are made of these: the output of one is the gradient to the input of the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import _dispatch
from .._kernels.arrays import all_finite
from .._threads import threads_for
from . import _conv_choice as choice
from . import _conv_plan as plans
from . import _depthwise, _pointwise, _winograd
from ._calls import Kernel

_Run = Any  # a Kernel or a function: to mypy a named tuple is none, whatever its __call__


class TowardsOutput(NamedTuple):
    """How y is written: a call of `conv2d`."""

    shape: plans.Shape
    y_shape: tuple[int, ...]
    winograd: bool
    top: float  # y is the part of the sums in 0..top; 0: all of them
    direct: _Run


class TowardsInput(NamedTuple):
    """How grad_x is written."""

    shape: plans.Shape
    winograd: bool
    direct: _Run
    finite_only: bool  # whether `direct` multiplies zeros around grad_y


class TowardsWeight(NamedTuple):
    """How grad_weight is written."""

    shape: plans.Shape
    winograd: bool
    direct: _Run


def towards_output(algorithm, shape: plans.Shape, x, top: float = 0.0) -> TowardsOutput:
    winograd = choice.by_winograd(algorithm, shape, "forward", len(x))
    y_shape = len(x), shape.filters, *shape.output
    return TowardsOutput(shape, y_shape, winograd, top, _forward(shape, x, top))


def towards_input(algorithm, shape: plans.Shape, x) -> TowardsInput:
    return TowardsInput(shape, choice.by_winograd(algorithm, shape, "input", len(x)), *_input_gradient(shape, x))


def towards_weight(algorithm, shape: plans.Shape, x) -> TowardsWeight:
    return TowardsWeight(shape, choice.by_winograd(algorithm, shape, "weight", len(x)), _weight_gradient(shape, x))


def write_y(call: TowardsOutput, y, x, weight, bias) -> None:
    if call.winograd:
        for n in _winograd.correlate(call.shape, machine_of(x.dtype), False, x, weight, bias, y, call.top):
            _forward(call.shape, x[n : n + 1], call.top)(y[n : n + 1], x[n : n + 1], weight, bias)
    elif y.size:
        call.direct(y, x, weight, bias)


def write_grad_x(call: TowardsInput, grad_x, grad_y, weight, bias) -> None:
    """The gradient to the input; plus `bias`, where it is the output of a transposed convolution."""
    if call.winograd:
        for n in _winograd.correlate(call.shape, machine_of(grad_y.dtype), True, grad_y, weight, bias, grad_x):
            run, _ = _input_gradient(call.shape, grad_x[n : n + 1], exact=True)
            run(grad_x[n : n + 1], grad_y[n : n + 1], weight, bias)
    elif grad_x.size:
        run = call.direct
        if call.finite_only and not all_finite(weight):
            run, _ = _input_gradient(call.shape, grad_x, exact=True)
        run(grad_x, grad_y, weight, bias)


def write_grad_weight(call: TowardsWeight, grad_weight, grad_y, x) -> None:
    if not len(x):
        grad_weight.fill(0)
    elif not call.winograd or not _winograd.write_weight_gradient(
        call.shape, machine_of(x.dtype), grad_y, x, grad_weight
    ):
        call.direct(grad_weight, grad_y, x)


def shape_of(x_shape, weight_shape, stride, padding, dilation, groups, output) -> plans.Shape:
    _, channels, height, width = x_shape
    # A single output has no neighbour to stride to: a stride wider than the image would only make phases without use.
    stride = stride[0] if output[0] > 1 else 1, stride[1] if output[1] > 1 else 1
    return plans.Shape(
        channels, height, width, weight_shape[0], weight_shape[2:], stride, padding, dilation, groups, output
    )  # fmt: skip


_machines: dict[tuple[str, np.dtype], plans.Machine] = {}


def machine_of(dtype: np.dtype) -> plans.Machine:
    key = _dispatch.isa, dtype
    if key not in _machines:
        single, double, *sizes = _dispatch.conv2d.constants()
        _machines[key] = plans.Machine(single if dtype == np.float32 else double, *sizes)
    return _machines[key]


def _forward(shape: plans.Shape, x, top: float) -> _Run:
    """To run on (y, x, weight, bias)."""
    machine = machine_of(x.dtype)
    if choice.by_depth(shape).forward:
        return _depthwise.correlate(_depthwise.forward(shape), shape.multiply_adds, len(x), top)
    if choice.by_product(shape, machine, "forward"):
        return _pointwise.correlate(shape, machine, False, len(x), top)
    return _correlate(plans.forward(shape, machine), shape, x, top)


def _input_gradient(shape: plans.Shape, x, exact: bool = False) -> tuple[_Run, bool]:
    """To run on (grad_x, grad_y, weight, bias), and whether it is for finite weights alone."""
    machine = machine_of(x.dtype)
    if choice.by_depth(shape).input and not exact:
        depth = _depthwise.input_gradient(shape)
        run = _depthwise.correlate(depth, shape.multiply_adds, len(x))
        if depth.sizes.spreading:
            run = _then_bias(run._replace(tables=(None, *run.tables)))
        return run, True
    if choice.by_product(shape, machine, "input"):
        return _pointwise.correlate(shape, machine, True, len(x)), False
    if choice.by_taps(shape):
        return _then_bias(_by_taps(shape, x)), False
    plan = plans.input_gradient(shape, machine, exact)
    return _correlate(plan, shape, x), bool(plan.geometry.copied) and not exact


def _by_taps(shape: plans.Shape, x) -> _Run:
    threads = threads_for(len(x) * shape.multiply_adds)
    taps = plans.taps_gradient(shape)
    splits = min(taps.channels, -(-3 * threads // max(1, len(x) * shape.groups))) if threads > 1 else 1
    options = taps.per_thread, splits, threads
    return Kernel(_dispatch.conv2d.input_by_taps, (taps.fields,), threads * taps.per_thread, options)


def _then_bias(run: _Run) -> _Run:
    """For a kernel that takes no bias, to which only a transposed convolution has one."""

    def run_and_add(grad_x, grad_y, weight, bias) -> None:
        run(grad_x, grad_y, weight)
        if bias is not None:
            with np.errstate(all="ignore"):
                np.add(grad_x, bias[:, None, None], out=grad_x)

    return run_and_add


def _correlate(plan: plans.Correlation, shape: plans.Shape, x, top: float = 0.0) -> Kernel:
    threads = threads_for(len(x) * shape.multiply_adds)
    chunk, row_blocks, splits = plans.tasks(plan, len(x), threads, x.itemsize)
    per_thread = -(-(chunk * plan.geometry.buffer + plan.sums) // 16) * 16
    tables = plan.offsets, plan.places, plan.sources, plan.fields, plan.panels, plan.phases
    options = per_thread, plan.along_channels, chunk, row_blocks, splits, plan.pass_rows, top, threads
    return Kernel(_dispatch.conv2d.correlate, tables, plan.packed + threads * per_thread, options)


def _weight_gradient(shape: plans.Shape, x) -> _Run:
    """To run on (grad_weight, grad_y, x)."""
    machine = machine_of(x.dtype)
    if choice.by_depth(shape).weight:
        return _depthwise.weight_gradient(shape, len(x), x.itemsize)
    if choice.by_product(shape, machine, "weight"):
        return _pointwise.weight(shape, machine, len(x))
    chunks = plans.chunks(shape, len(x))
    threads = threads_for(len(x) * shape.multiply_adds)
    if choice.by_outer(shape):
        plan = plans.outer_gradient(shape, machine)
        splits = max(1, min(plan.blocks, -(-2 * threads // (chunks * shape.groups)))) if threads > 1 else 1
        tables: tuple = plan.run_offsets, plan.positions, plan.fields
        room = chunks * plan.sums + threads * plan.per_thread
        return Kernel(_dispatch.conv2d.weight_by_outer, tables, room, (plan.per_thread, chunks, splits, threads))
    dots = plans.dot_gradient(shape)
    sums = chunks * shape.filters * shape.group_channels * shape.kernel[0] * shape.kernel[1]
    tables = dots.offsets, dots.fields, dots.phases, dots.pass_rows
    room = -(-sums // 16) * 16 + threads * dots.per_thread
    return Kernel(_dispatch.conv2d.weight_by_dot, tables, room, (dots.per_thread, chunks, threads))
