"""Depthwise convolutions: how the two axes of a plane fall into phases, for `_kernels/depthwise.pyx`, and its calls.

`_conv_choice.py` says which convolutions come here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .. import _dispatch
from .._threads import threads_for
from ._calls import Kernel
from ._conv_choice import slides
from ._conv_plan import KEPT_PLANS, Shape, _phase_taps

SPREADING = (3, 4, 5, 7)  # widths of filters whose even and odd columns of the gradient are made together
NEAR = 2048  # numbers of the source that stay in the first-level cache


class Planes(NamedTuple):
    """Fields of the kernel's struct of this name, in its order."""

    planes: int
    fan_in: int
    fan_out: int
    height: int
    width: int
    out_height: int
    out_width: int
    kernel_columns: int
    taps: int
    row_phases: int
    column_phases: int
    band: int
    sliding: int
    spreading: int
    backwards: int
    together: int
    temporary: int


class Axis(NamedTuple):
    """Fields of the kernel's struct of this name, in its order."""

    first: int
    step: int
    outputs: int
    source_step: int
    tap: int
    taps: int
    unit: int


class Depthwise(NamedTuple):
    """Plan of `correlate` and `weight`."""

    sizes: Planes
    fields: np.ndarray  # sizes, as the kernel reads them
    rows: np.ndarray  # intp (phases, 7): fields of Axis
    columns: np.ndarray
    taps: np.ndarray  # intp (n, 2): row or column of the weight, and shift
    temporary: int  # numbers a thread keeps


# A phase before it is numbered: first output, step, outputs, source step, unit, and each tap's index and shift.
_Phase = tuple[int, int, int, int, int, list[tuple[int, int]]]


def _forward_phases(size: int, stride: int, before: int, dilation: int, taps: int, apart: bool) -> list[_Phase]:
    """One phase; a dilated axis that slides is taken `apart`, so that a phase's taps are neighbours."""
    if not apart:
        return [(0, 1, size, stride, dilation, [(r, r * dilation - before) for r in range(taps)])]
    return [
        (a, dilation, -(-(size - a) // dilation), dilation, dilation,
         [(r, a + r * dilation - before) for r in range(taps)])
        for a in range(min(dilation, size))
    ]  # fmt: skip


def _gradient_phases(size: int, stride: int, before: int, dilation: int, taps: int, apart: bool) -> list[_Phase]:
    """As forward where nothing is strided, the taps from the last to the first; else one phase a remainder."""
    if stride == 1:
        phases = _forward_phases(size, 1, (taps - 1) * dilation - before, dilation, taps, apart)
        return [(*phase[:-1], [(taps - 1 - r, shift) for r, shift in phase[-1]]) for phase in phases]
    return [
        (a, stride, count, 1, 1, [(int(r), int(q)) for r, q in zip(tap[::-1], shift[::-1], strict=True)])
        for a, (count, tap, shift) in enumerate(_phase_taps(size, stride, before, dilation, taps))
    ]


def _plan(rows: list[_Phase], columns: list[_Phase], **sizes: int) -> Depthwise:
    taps = [tap for phase in (*rows, *columns) for tap in phase[-1]]
    axes, tap = [], 0
    for first, step, outputs, source_step, unit, own in (*rows, *columns):
        axes.append(Axis(first, step, outputs, source_step, tap, len(own), unit))
        tap += len(own)
    temporary = -(-max(axis.outputs for axis in axes[len(rows) :]) // 16) * 16 if len(columns) > 1 else 0
    band = max(4, NEAR // sizes["width"])
    one_band = sizes["out_height"] <= band and len(rows) == 1
    planes = Planes(
        row_phases=len(rows), column_phases=len(columns), band=band,
        together=max(1, NEAR // (sizes["height"] * sizes["width"])) if one_band else 1, temporary=temporary, **sizes,
    )  # fmt: skip
    return Depthwise(
        planes, np.array(planes, np.intp), np.array(axes[: len(rows)], np.intp), np.array(axes[len(rows) :], np.intp),
        np.array(taps, np.intp).reshape(-1, 2), temporary * len(columns),
    )  # fmt: skip


@lru_cache(KEPT_PLANS)
def forward(shape: Shape) -> Depthwise:
    """Plan of y = conv2d(x, weight), and of the gradient to the weight."""
    sliding = shape.kernel[0] if slides(shape) else 0
    (sh, sw), (dh, dw), (kh, kw) = shape.stride, shape.dilation, shape.kernel
    return _plan(
        _forward_phases(shape.output[0], sh, shape.padding[0][0], dh, kh, sliding > 0 and dh > 1),
        _forward_phases(shape.output[1], sw, shape.padding[1][0], dw, kw, False),
        planes=shape.filters, fan_in=1, fan_out=shape.group_filters, height=shape.height, width=shape.width,
        out_height=shape.output[0], out_width=shape.output[1], kernel_columns=kw, taps=kh * kw,
        sliding=sliding, spreading=0, backwards=0,
    )  # fmt: skip


@lru_cache(KEPT_PLANS)
def input_gradient(shape: Shape) -> Depthwise:
    """Plan of grad_x."""
    (sh, sw), (dh, dw), (kh, kw) = shape.stride, shape.dilation, shape.kernel
    sliding = kh if slides(shape) and sh == 1 else 0
    # An odd dilation leaves each phase every second tap; with an even one, one phase has them all.
    spreads = sw == 2 and shape.width > 1 and kw in SPREADING and dw % 2 == 1
    return _plan(
        _gradient_phases(shape.height, sh, shape.padding[0][0], dh, kh, sliding > 0 and dh > 1),
        _gradient_phases(shape.width, sw, shape.padding[1][0], dw, kw, False),
        planes=shape.channels, fan_in=shape.group_filters, fan_out=1, height=shape.output[0], width=shape.output[1],
        out_height=shape.height, out_width=shape.width, kernel_columns=kw, taps=kh * kw,
        sliding=sliding, spreading=int(spreads), backwards=1,
    )  # fmt: skip


PARTS = 64  # filters times parts of the images that are wanted, for threads to share


def parts(shape: Shape, images: int) -> int:
    """Parts of the images whose weight gradients are summed apart, then added in order: a power of two."""
    most = max(1, min(images, PARTS // shape.filters))
    return 1 << most.bit_length() - 1


def cut(planes: int, rows: int, threads: int) -> tuple[int, int]:
    """Blocks of rows a plane, and tasks, for so many threads."""
    if threads == 1:
        return 1, 1
    wanted = 4 * threads
    blocks = max(1, min(rows // 4, -(-wanted // planes)))
    return blocks, min(planes * blocks, wanted)


def correlate(plan: Depthwise, multiply_adds: int, images: int, top: float = 0.0) -> Kernel:
    """To run on (y, x, weight, bias), by the plan of the forward pass or of the gradient to the input."""
    threads = threads_for(images * multiply_adds)
    blocks, tasks = cut(images * plan.sizes.planes, plan.sizes.out_height, threads)
    tables = plan.fields, plan.rows, plan.columns, plan.taps
    room = -(-plan.sizes.width // 16) * 16 + threads * plan.temporary
    return Kernel(_dispatch.depthwise.correlate, tables, room, (blocks, tasks, top, threads))


def weight_gradient(shape: Shape, images: int, itemsize: int) -> Kernel:
    """To run on (grad_weight, grad_y, x)."""
    plan, pieces, threads = forward(shape), parts(shape, images), threads_for(images * shape.multiply_adds)
    tables = plan.fields, plan.rows, plan.columns, plan.taps
    lanes = threads * plan.sizes.taps * (64 // itemsize)
    sums = shape.filters * plan.sizes.taps * pieces if pieces > 1 else 0
    room = -(-plan.sizes.width // 16) * 16 + lanes + sums
    options = pieces, min(shape.filters * pieces, 4 * threads), threads
    return Kernel(_dispatch.depthwise.weight, tables, room, options)
