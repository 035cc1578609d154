"""1x1 convolutions as matrix products: how the kernels of _kernels/pointwise.pyx cut the work, and their calls.

When these are used is decided in _conv_choice.py. They add in the order of the general kernels: no choice here
changes a bit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .. import _dispatch
from .._threads import threads_for
from ._calls import Kernel
from ._conv_plan import KEPT_PLANS, TAIL, Machine, Shape, chunks

PAGE = 1024  # positions of a plane from which on its rows are pages apart
FAR = 1 << 21  # numbers of x and y together that do not stay in a cache
GATHERED = 1 << 16  # numbers that are copied side by side: within the second-level cache
STRETCH = 512  # positions that are turned at a time: a panel of them stays in the second-level cache


class Geometry(NamedTuple):
    """Fields of the kernel's struct of this name, in its order."""

    groups: int
    terms: int
    outputs: int
    plane: int
    a_row: int
    a_step: int


class WeightGeometry(NamedTuple):
    """Fields of the kernel's struct of this name, in its order."""

    groups: int
    rows: int
    columns: int
    plane: int
    filters_turned: int
    together: int
    stretch: int


class Correlation(NamedTuple):
    """Plan of the kernel's `correlate`."""

    fields: np.ndarray
    blocks: int  # of positions
    gathered: int  # panels of positions that are copied side by side first; 0: none
    splits: int  # of outputs


class WeightGradient(NamedTuple):
    """Plan of the kernel's `weight`."""

    fields: np.ndarray
    sums: int
    per_thread: int
    chunks: int
    splits: int  # of columns
    halves: int  # of rows


@lru_cache(KEPT_PLANS)
def correlation(shape: Shape, machine: Machine, input_gradient: bool, images: int, threads: int) -> Correlation:
    """Plan of y = conv2d(x, weight), or of its gradient to the input."""
    channels, filters, plane = shape.group_channels, shape.group_filters, shape.height * shape.width
    g = Geometry(shape.groups, channels, filters, plane, channels, 1)
    if input_gradient:
        g = Geometry(shape.groups, filters, channels, plane, 1, channels)
    tasks, wanted = max(1, images * shape.groups), 4 * threads if threads > 1 else 1
    panels, tiles = -(-plane // (2 * machine.lanes)), -(-g.outputs // machine.tile)
    # The last panel of a plane may overlap the one before: both in one block.
    blocks = max(1, min(panels // 2, -(-wanted // tasks)))
    splits = min(tiles, -(-wanted // (tasks * blocks)))
    gathered = 0
    if plane >= PAGE and images * shape.groups * plane * (g.terms + g.outputs) > FAR:
        gathered = min(max(1, GATHERED // (g.terms * 2 * machine.lanes)), -(-panels // blocks))
    return Correlation(np.array(g, np.intp), blocks, gathered, splits)


@lru_cache(KEPT_PLANS)
def weight_gradient(shape: Shape, machine: Machine, images: int, threads: int) -> WeightGradient:
    """Plan of grad_weight."""
    channels, filters, plane, lanes = (
        shape.group_channels,
        shape.group_filters,
        shape.height * shape.width,
        machine.lanes,
    )

    def cost(rows: int, columns: int) -> float:
        return rows * -(-columns // lanes) / 2 + 0.7 * columns

    filters_turned = cost(channels, filters) <= cost(filters, channels)
    rows, columns = (channels, filters) if filters_turned else (filters, channels)
    panels, tiles = -(-columns // (2 * lanes)), -(-rows // machine.tile)
    parts = chunks(shape, images)
    wanted = 2 * threads if threads > 1 else 1
    splits = min(panels, -(-wanted // (parts * shape.groups)))
    halves = min(tiles, -(-wanted // (parts * shape.groups * splits)))
    together = max(1, min(-(-images // parts), STRETCH // plane))
    stretch = plane if together > 1 or plane <= STRETCH else -(-plane // -(-plane // STRETCH))
    g = WeightGeometry(shape.groups, rows, columns, plane, int(filters_turned), together, stretch)
    per_thread = -(-panels // splits) * 2 * lanes * together * stretch + TAIL
    sums = -(-parts * shape.groups * rows * (-(-columns // lanes) * lanes) // 16) * 16
    return WeightGradient(np.array(g, np.intp), sums, -(-per_thread // 16) * 16, parts, splits, halves)


def correlate(shape: Shape, machine: Machine, input_gradient: bool, images: int, top: float = 0.0) -> Kernel:
    """To run on (y, x, weight, bias); for the gradient to the input on (grad_x, grad_y, weight, bias)."""
    threads = threads_for(images * shape.multiply_adds)
    plan = correlation(shape, machine, input_gradient, images, threads)
    room = threads * int(plan.fields[1]) * plan.gathered * 2 * machine.lanes
    options = plan.blocks, plan.splits, plan.gathered, top, threads
    return Kernel(_dispatch.pointwise.correlate, (plan.fields,), room, options)


def weight(shape: Shape, machine: Machine, images: int) -> Kernel:
    """To run on (grad_weight, grad_y, x)."""
    threads = threads_for(images * shape.multiply_adds)
    plan = weight_gradient(shape, machine, images, threads)
    options = plan.per_thread, plan.chunks, plan.splits, plan.halves, threads
    return Kernel(_dispatch.pointwise.weight, (plan.fields,), plan.sums + threads * plan.per_thread, options)
