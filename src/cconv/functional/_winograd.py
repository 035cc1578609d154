"""3x3 convolutions by minimal filtering: sizes of blocks for the kernels of _kernels/winograd.pyx, and their calls.

_conv_choice.py decides when this is used. No size here changes a bit of a result: blocks, slabs and tasks only cut
the work to the caches and the threads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .. import _dispatch
from .._scratch import scratch
from .._threads import threads_for
from ._conv_plan import KEPT_PLANS, TAIL, Machine, Shape

POINTS = 36
SIDE = 4  # outputs of a tile, in each direction

STRIP = 14  # most tiles of a strip: a register of channels of it stays in the first-level cache
BLOCK_BYTES = 3 << 18  # of V, of a block of tiles; but ...
FEWEST, MOST = 56, 112  # ... no fewer and no more tiles
TILE_ROWS = 14  # fewer tiles than this leave a register tile part empty
SLAB = 64  # channels whose filters are transformed together for a block: in the second-level cache
PACKED_BYTES = 40 << 20  # filters are transformed once for all blocks if they take no more

GRADIENT_BYTES = 4 << 20  # of transformed tiles, of x and of grad_y, that threads work on together
CHUNKS, CHUNK_SUMS = 16, 1 << 20  # most chunks, most numbers of their sums together
CHUNK_TILES, CHUNK_BLOCK = 56, 112  # fewest tiles of a chunk, most of a block of one


class Geometry(NamedTuple):
    """Fields of the kernel's struct of this name, in its order."""

    groups: int
    channels: int
    outputs: int
    height: int
    width: int
    top: int
    left: int
    out_rows: int
    out_columns: int
    tiles_h: int
    tiles_w: int
    pieces: int
    blocks: int
    room: int
    widest: int
    slab: int
    weight_output: int
    weight_term: int
    turned: int


class Correlation(NamedTuple):
    """Plan of the kernel's `correlate`."""

    fields: np.ndarray
    pack_first: bool
    packed: int  # numbers of transformed filters
    per_thread: int
    splits: int  # of the outputs, where there are fewer blocks than threads


class WeightGradient(NamedTuple):
    """Plan of the kernel's `weight`."""

    fields: np.ndarray
    chunks: int  # of blocks whose sums are kept apart, then added in order; 0: threads share all
    shared: int  # numbers of sums and, where they are shared, of transformed tiles
    per_thread: int


def _geometry(shape: Shape, input_gradient: bool) -> Geometry:
    """All but the sizes of blocks."""
    (top, _), (left, _) = shape.padding
    channels, outputs, size, out = shape.group_channels, shape.group_filters, (shape.height, shape.width), shape.output
    weight_output, weight_term = 9 * channels, 9
    if input_gradient:
        channels, outputs, size, out, top, left = outputs, channels, out, size, 2 - top, 2 - left
        weight_output, weight_term = weight_term, weight_output
    tiles_h, tiles_w = -(-out[0] // SIDE), -(-out[1] // SIDE)
    pieces = -(-tiles_w // STRIP)
    return Geometry(
        groups=shape.groups, channels=channels, outputs=outputs, height=size[0], width=size[1], top=top, left=left,
        out_rows=out[0], out_columns=out[1], tiles_h=tiles_h, tiles_w=tiles_w, pieces=pieces, blocks=1, room=1,
        widest=-(-tiles_w // pieces), slab=0, weight_output=weight_output, weight_term=weight_term,
        turned=int(input_gradient),
    )  # fmt: skip


def _padded(count: int, lanes: int) -> int:
    return -(-count // lanes) * lanes


@lru_cache(KEPT_PLANS)
def correlation(
    shape: Shape, machine: Machine, input_gradient: bool, itemsize: int, images: int, threads: int
) -> Correlation:
    """Plan of y = conv2d(x, weight), or of its gradient to the input, for so many images."""
    g, lanes = _geometry(shape, input_gradient), machine.lanes
    channels, outputs = _padded(g.channels, lanes), _padded(g.outputs, lanes)
    strips, panels = images * g.tiles_h * g.pieces, -(-outputs // (2 * lanes))
    room = max(FEWEST, min(MOST, BLOCK_BYTES // (POINTS * channels * itemsize)))
    blocks = -(-strips // max(1, room // g.widest))
    if threads > 1 and blocks * g.groups < 4 * threads:  # equal shares
        blocks = max(blocks, min(strips, _padded(blocks, threads), strips * g.widest // TILE_ROWS))
    splits = min(panels, -(-2 * threads // (blocks * g.groups))) if threads > 1 and blocks * g.groups < threads else 1
    packed = g.groups * POINTS * g.channels * outputs
    pack_first = blocks > 1 and packed * itemsize <= PACKED_BYTES
    slab = _dispatch.winograd.constants()[0] if pack_first else SLAB
    g = g._replace(blocks=blocks, room=-(-strips // blocks) * g.widest, slab=slab)
    per_thread = POINTS * g.room * (channels + 2 * lanes) + 6 * (4 * g.widest + 2) * lanes
    if not pack_first:
        packed, per_thread = 0, per_thread + POINTS * min(slab, g.channels) * 2 * lanes
    return Correlation(np.array(g, np.intp), pack_first, packed, _padded(per_thread + TAIL, 16), splits)


@lru_cache(KEPT_PLANS)
def weight_gradient(shape: Shape, machine: Machine, itemsize: int, images: int) -> WeightGradient:
    """Plan of grad_weight, for so many images."""
    g, lanes = _geometry(shape, False), machine.lanes
    channels, outputs = _padded(g.channels, lanes), _padded(g.outputs, lanes)
    strips = images * g.tiles_h * g.pieces
    lines = 6 * (4 * g.widest + 2) * lanes
    # The sum's order: by the shape and the batch alone, so not by padded sizes.
    chunks = min(CHUNKS, CHUNK_SUMS // (POINTS * g.channels * g.outputs), strips * g.tiles_w // g.pieces // CHUNK_TILES)
    if chunks >= 4:
        chunks = 1 << chunks.bit_length() - 1  # a power of two: threads then get equal shares
        blocks = -(-strips // max(1, CHUNK_BLOCK // g.widest))
        blocks = chunks * -(-blocks // chunks)
        g = g._replace(blocks=blocks, room=-(-strips // blocks) * g.widest, slab=lanes)
        per_thread = POINTS * g.room * (channels + outputs) + lines
        sums = chunks * POINTS * g.channels * outputs
        return WeightGradient(np.array(g, np.intp), chunks, sums, _padded(per_thread + TAIL, 16))
    most = _dispatch.winograd.constants()[1]
    room = max(128, min(most, GRADIENT_BYTES // (POINTS * (channels + outputs) * itemsize)))
    blocks = -(-strips // max(1, room // g.widest))
    g = g._replace(blocks=blocks, room=-(-strips // blocks) * g.widest, slab=lanes)
    shared = POINTS * (g.channels * outputs + g.room * (channels + outputs))
    return WeightGradient(np.array(g, np.intp), 0, shared, _padded(lines + TAIL, 16))


def correlate(shape: Shape, machine: Machine, input_gradient: bool, x, weight, bias, y, top: float = 0.0) -> np.ndarray:
    """Write y; returns which images have a result that is not finite: to be computed by the direct kernels."""
    threads = threads_for(len(x) * shape.multiply_adds // 2)
    plan = correlation(shape, machine, input_gradient, x.itemsize, len(x), threads)
    bad = np.zeros(len(x), np.uint8)
    work = scratch(plan.packed + threads * plan.per_thread, x.dtype)
    _dispatch.winograd.correlate(
        y, x, weight, bias, plan.fields, bad, work, plan.per_thread, plan.pack_first, plan.splits, top, threads
    )
    return np.flatnonzero(bad)


def write_weight_gradient(shape: Shape, machine: Machine, grad_y, x, grad_weight) -> bool:
    """Write grad_weight; whether all of it is finite."""
    threads = threads_for(len(x) * shape.multiply_adds // 2)
    plan = weight_gradient(shape, machine, x.itemsize, len(x))
    bad = np.zeros(1, np.uint8)
    work = scratch(plan.shared + threads * plan.per_thread, x.dtype)
    _dispatch.winograd.weight(grad_weight, grad_y, x, plan.fields, bad, work, plan.per_thread, plan.chunks, threads)
    return not bad[0]
