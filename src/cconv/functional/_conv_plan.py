"""Plans of convolutions: tables and sizes that depend on shapes alone, made once a shape and kept.

_conv_choice.py says which algorithm takes a convolution. The measurements behind sizes are in _kernels/README.md.
Whatever changes the order of a sum (which weight-gradient form, how many chunks) looks at shapes only, never at the
instruction set or the threads; what does not (which side of a product is the vector, blocks, tasks) may look at all.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .._shapes import Padding, Pair

TAIL = 64  # numbers past the end of a buffer that a register may reach
KEPT_PLANS = 1024


class Shape(NamedTuple):
    """What a convolution's plans depend on, beside the kernels' constants."""

    channels: int  # of all groups
    height: int
    width: int
    filters: int  # of all groups
    kernel: Pair
    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int
    output: Pair

    @property
    def group_channels(self) -> int:
        return self.channels // self.groups

    @property
    def group_filters(self) -> int:
        return self.filters // self.groups

    @property
    def multiply_adds(self) -> int:
        """Of one image, in any of the three directions."""
        return self.filters * self.group_channels * self.kernel[0] * self.kernel[1] * self.output[0] * self.output[1]


class Machine(NamedTuple):
    """Constants of the kernels in use for one dtype."""

    lanes: int  # numbers in a register
    tile: int  # rows of a register tile
    positions: int  # positions a pass along channels
    gathered: int  # positions a pass of outer products


class Geometry(NamedTuple):
    """Fields of the kernel's struct of this name, in its order."""

    groups: int
    channels: int
    height: int
    width: int
    top: int
    left: int
    stride_h: int
    stride_w: int
    rows: int
    columns: int
    copied: int
    buffer: int
    row_step: int
    reach: int
    outputs: int
    output_step: int
    group_weights: int
    terms: int
    run: int
    panels: int
    phases: int
    out_rows: int
    out_plane: int


class Phase(NamedTuple):
    """Fields of the kernel's struct of this name, in its order."""

    first: int
    terms: int
    panel: int
    begin: int
    end: int
    columns: int
    start: int
    row: int
    column: int


class WeightGeometry(NamedTuple):
    """Fields of the kernel's struct of this name, in its order."""

    groups: int
    channels: int
    filters: int
    height: int
    width: int
    top: int
    left: int
    padded_width: int
    stride_h: int
    kernel_rows: int
    kernel_columns: int
    reach: int
    out_rows: int
    out_columns: int
    pass_rows: int
    together: int
    runs: int
    run: int


class Correlation(NamedTuple):
    """Plan of `correlate`: the forward pass, or the gradient to the input."""

    geometry: Geometry
    fields: np.ndarray  # geometry, as the kernel reads it
    offsets: np.ndarray  # int32: of a phase's tap into the buffer
    places: np.ndarray  # int32: of a phase's tap in its panel of packed weights
    sources: np.ndarray  # int32 (terms,): of a panel's tap into the weight
    panels: np.ndarray  # intp (panels, 2): first source, terms
    phases: np.ndarray  # intp (phases, 9): fields of Phase
    along_channels: bool
    blocks: int  # of outputs, in a group
    pass_rows: int
    packed: int  # numbers of packed weights
    sums: int  # numbers of sums a thread keeps


class TapsGeometry(NamedTuple):
    """Fields of the kernel's struct of this name, in its order."""

    groups: int
    channels: int
    filters: int
    height: int
    width: int
    top: int
    left: int
    out_rows: int
    out_columns: int
    kernel_h: int
    kernel_w: int
    dilation_h: int
    dilation_w: int


class TapsGradient(NamedTuple):
    """Plan of `input_by_taps`."""

    fields: np.ndarray  # geometry, as the kernel reads it
    channels: int  # of one group: what tasks may share
    per_thread: int  # numbers of scratch


class OuterGradient(NamedTuple):
    """Plan of `weight_by_outer`."""

    fields: np.ndarray
    run_offsets: np.ndarray
    positions: np.ndarray
    blocks: int
    sums: int  # numbers a chunk of images
    per_thread: int


class DotGradient(NamedTuple):
    """Plan of `weight_by_dot`."""

    fields: np.ndarray
    offsets: np.ndarray
    phases: np.ndarray
    pass_rows: int
    per_thread: int


def _index32(where: str, array: np.ndarray) -> np.ndarray:
    if array.size and int(array.max()) >= 2**31:
        raise ValueError(f"{where}: one padded image has over 2**31 numbers: cut it into tiles")
    return np.ascontiguousarray(array, np.int32)


def _pseudo_rows(positions: int, limit: int) -> Pair:
    """Rows and columns of a plane whose rows follow each other without a gap: any split does, one that fills passes."""
    best = max(d for d in range(1, min(positions, limit) + 1) if positions % d == 0)
    return (positions // best, best) if 2 * best >= limit or best == positions else (1, positions)


# --- forward ------------------------------------------------------------------------------------------------


def _forward_tables(shape: Shape, copied: bool, limit: int) -> tuple[Geometry, np.ndarray, list[Phase]]:
    """Geometry, offsets and phases of the forward sum; `copied` puts a padded copy before the taps."""
    (sh, sw), (dh, dw), (kh, kw) = shape.stride, shape.dilation, shape.kernel
    (top, _), (left, _) = shape.padding
    oh, ow = shape.output
    c, r, s = np.ogrid[: shape.group_channels, :kh, :kw]
    r, s = r * dh, s * dw
    if copied:
        reach, side = (kh - 1) * dh // sh, (kw - 1) * dw // sw
        rows, columns = oh + reach, ow + side
        offsets = ((c * sh + r % sh) * sw + s % sw) * rows * columns + r // sh * columns + s // sw
        buffer = shape.group_channels * sh * sw * rows * columns + TAIL
        out_rows, out_columns, row_step = oh, ow, columns
    else:
        reach, rows, columns, buffer = 0, shape.height, shape.width, 0
        offsets = (c * shape.height + r) * shape.width + s
        out_rows, out_columns, row_step = oh, ow, sh * shape.width
        if row_step == ow:
            out_rows, out_columns = _pseudo_rows(oh * ow, limit)
            row_step = out_columns
    terms = offsets.size
    geometry = Geometry(
        groups=shape.groups, channels=shape.group_channels, height=shape.height, width=shape.width, top=top, left=left,
        stride_h=sh, stride_w=sw, rows=rows, columns=columns, copied=int(copied), buffer=buffer, row_step=row_step,
        reach=reach, outputs=shape.group_filters, output_step=terms, group_weights=shape.group_filters * terms,
        terms=terms, run=terms, panels=1, phases=1, out_rows=out_rows, out_plane=oh * ow,
    )  # fmt: skip
    phases = [Phase(0, terms, 0, 0, out_rows, out_columns, 0, out_columns, 1)]
    return geometry, _index32("conv2d", offsets.ravel()), phases


def _needs_copy(shape: Shape) -> bool:
    return any(map(any, shape.padding)) or shape.stride[1] > 1


@lru_cache(KEPT_PLANS)
def forward(shape: Shape, machine: Machine) -> Correlation:
    """Plan of y = conv2d(x, weight)."""
    geometry, offsets, phases = _forward_tables(shape, True, machine.positions)
    along_channels = _along_channels(geometry, phases, machine)
    if along_channels and not _needs_copy(shape):
        geometry, offsets, phases = _forward_tables(shape, False, machine.positions)
    taps = np.arange(geometry.terms)
    return _correlation(geometry, offsets, taps, taps, [(0, geometry.terms)], phases, along_channels, machine)


# --- gradient to the input ----------------------------------------------------------------------------------


@lru_cache(KEPT_PLANS)
def input_gradient(shape: Shape, machine: Machine, exact: bool = False) -> Correlation:
    """Plan of grad_x: outputs (h, w) with one remainder modulo the stride form a phase, fed by the taps that reach it.

    With h + top = r*dilation + oh*stride, the taps r of remainder a are those where a + top - r*dilation is a multiple
    of the stride; the quotient is the shift of oh. No zero of a stride-expanded grad_y is ever multiplied, and where
    the rows around grad_y would take much of the work, outputs leave out the taps that read nothing else.

    `exact` leaves out all taps that read only around grad_y, by rows and by columns: an infinite weight times such a
    zero would be NaN. For finite weights it makes no difference but in speed.
    """
    (sh, sw), (dh, dw), (kh, kw) = shape.stride, shape.dilation, shape.kernel
    (top, _), (left, _) = shape.padding
    oh, ow = shape.output
    phase_rows = _phase_taps(shape.height, sh, top, dh, kh)
    phase_columns = _phase_taps(shape.width, sw, left, dw, kw)
    before_h, rows = _span(phase_rows, oh)
    before_w, columns = _span(phase_columns, ow)
    copied = (before_h, before_w, rows, columns) != (0, 0, oh, ow)
    filters, channels = shape.group_filters, shape.group_channels
    offsets, places, sources = [], [], []
    panels: list[Pair] = []
    phases: list[Phase] = []
    first = packed = 0
    k = np.arange(filters)[:, None, None]
    for a, (count_h, taps_h, shift_h) in enumerate(phase_rows):
        for b, (count_w, taps_w, shift_w) in enumerate(phase_columns):
            place = np.arange(filters * taps_h.size * taps_w.size).reshape(filters, taps_h.size, taps_w.size)
            row_classes = _classes(count_h, shift_h, oh, 0.0 if exact else WASTED_ROWS)
            column_classes = _classes(count_w, shift_w, ow, 0.0 if exact else 1.0)
            for (begin, end, used_h), (left_most, stop, used_w) in itertools.product(row_classes, column_classes):
                offset = (k * rows + (shift_h[used_h] + before_h)[:, None]) * columns + shift_w[used_w] + before_w
                start = a * shape.width + b + left_most * sw
                wide = stop - left_most
                phases.append(Phase(first, offset.size, len(panels), begin, end, wide, start, sh * shape.width, sw))
                offsets.append(offset.ravel() + left_most)
                places.append(place[:, used_h][:, :, used_w].ravel())
                first += offset.size
            sources.append(((k * channels * kh + taps_h[:, None]) * kw + taps_w).ravel())
            panels.append((packed, place.size))
            packed += place.size
    out_rows = max(phase.end for phase in phases)
    geometry = Geometry(
        groups=shape.groups, channels=filters, height=oh, width=ow, top=before_h, left=before_w, stride_h=1, stride_w=1,
        rows=rows, columns=columns, copied=int(copied), buffer=filters * rows * columns + TAIL, row_step=columns,
        reach=max(int((shift + before_h).max(initial=0)) for _, _, shift in phase_rows), outputs=channels,
        output_step=kh * kw, group_weights=filters * channels * kh * kw, terms=packed,
        run=kh * kw if (sh, sw) == (1, 1) else 1, panels=len(panels), phases=len(phases), out_rows=out_rows,
        out_plane=shape.height * shape.width,
    )  # fmt: skip
    offset_table = _index32("conv2d_backward", np.concatenate(offsets))
    along_channels = _along_channels(geometry, phases, machine)
    if not along_channels:
        geometry = geometry._replace(copied=1)  # registers reach past the end of a plane
    elif not copied and len(phases) == 1 and columns == shape.width:
        out_rows, out_columns = _pseudo_rows(geometry.out_plane, machine.positions)
        geometry = geometry._replace(out_rows=out_rows, row_step=out_columns)
        phases = [Phase(0, first, 0, 0, out_rows, out_columns, 0, out_columns, 1)]
    place_table, source_table = np.concatenate(places), np.concatenate(sources)
    return _correlation(
        geometry, offset_table, place_table, source_table, panels, phases, along_channels, machine
    )  # fmt: skip


@lru_cache(KEPT_PLANS)
def taps_gradient(shape: Shape) -> TapsGradient:
    """Plan of grad_x tap by tap."""
    (kh, kw), (oh, ow) = shape.kernel, shape.output
    geometry = TapsGeometry(
        groups=shape.groups, channels=shape.group_channels, filters=shape.group_filters, height=shape.height,
        width=shape.width, top=shape.padding[0][0], left=shape.padding[1][0], out_rows=oh, out_columns=ow,
        kernel_h=kh, kernel_w=kw, dilation_h=shape.dilation[0], dilation_w=shape.dilation[1],
    )  # fmt: skip
    wide = -(-oh * ow // 16) * 16
    per_thread = (kh * kw + shape.group_filters) * wide + shape.height * 16
    return TapsGradient(np.array(geometry, np.intp), shape.group_channels, per_thread)


WASTED_ROWS = 0.12  # share of taps in the rows around grad_y from which on they are left out


def _classes(count: int, shifts: np.ndarray, size: int, wasted: float) -> list[tuple[int, int, np.ndarray]]:
    """Stretches (begin, end) of outputs that share the taps (mask) which reach grad_y; all taps if few do not."""
    row = np.arange(count)[:, None] + shifts
    used = (row >= 0) & (row < size)
    if used.size == 0 or used.mean() >= 1 - wasted:
        return [(0, count, np.ones(shifts.size, bool))]
    changes = [0, *(np.flatnonzero((used[1:] != used[:-1]).any(1)) + 1).tolist(), count]
    return [(begin, end, used[begin]) for begin, end in itertools.pairwise(changes)]


def _phase_taps(
    size: int, stride: int, before: int, dilation: int, taps: int
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """For each remainder modulo the stride: outputs in it, its taps, and their shifts."""
    tap = np.arange(taps)
    result = []
    for a in range(min(stride, size)):
        shift = a + before - tap * dilation
        fits = shift % stride == 0
        result.append((-(-(size - a) // stride), tap[fits], shift[fits] // stride))
    return result


def _span(phases: list[tuple[int, np.ndarray, np.ndarray]], size: int) -> Pair:
    """Zeros before, and the padded size, so that every shifted read falls inside."""
    before = max(0, *(-int(shift.min(initial=0)) for _, _, shift in phases), 0)
    end = max(size, *(count + int(shift.max(initial=0)) for count, _, shift in phases))
    return before, before + end


# --- both ---------------------------------------------------------------------------------------------------


def _along_channels(geometry: Geometry, phases: list[Phase], machine: Machine) -> bool:
    """Whether registers hold output channels rather than positions: what takes fewer FMA slots, dead lanes included.

    Both give the same bits.
    """
    lanes, outputs = machine.lanes, geometry.outputs
    channels_cost = positions_cost = 0.0
    for phase in phases:
        rows, columns, terms = phase.end - phase.begin, phase.columns, phase.terms
        if not rows * columns:
            continue
        registers = -(-outputs // lanes)
        tile = min(registers, 2) * min(columns, 14)
        # 8 sums hide the latency of an FMA; one register a row loads about as often as it multiplies.
        waste = max(8 / tile, 1.0) * (1.15 if registers == 1 else 1.0)
        channels_cost += registers * rows * columns * terms * waste + 0.6 * outputs * rows * columns
        registers = -(-((rows - 1) * geometry.row_step + columns) // lanes)
        high, wide = min(outputs, 8), min(registers, 3)
        # A register of the image is read across two lines of cache.
        waste = max(1.0, 8 / (wide * high), (2 * wide + high) / (wide * high)) * 1.1
        positions_cost += outputs * registers * (terms * waste + 2)
    return channels_cost <= positions_cost


def _correlation(
    geometry: Geometry,
    offsets: np.ndarray,
    places: np.ndarray,
    sources: np.ndarray,
    panels: list[Pair],
    phases: list[Phase],
    along_channels: bool,
    machine: Machine,
) -> Correlation:
    lanes, outputs = machine.lanes, geometry.outputs
    pass_rows = 1
    if along_channels:
        padded = -(-outputs // lanes) * lanes
        blocks = -(-outputs // (2 * lanes))
        sums = machine.positions * 2 * lanes
    else:
        padded, blocks = outputs, 1
        widest = max(phase.columns for phase in phases)
        # Sums of a pass stay in the first-level cache: 4096 numbers of them, or one row.
        pass_rows = max(1, (4096 // outputs - widest) // geometry.row_step + 1)
        sums = outputs * (-(-((pass_rows - 1) * geometry.row_step + widest) // lanes) * lanes)
    packed = -(-geometry.groups * geometry.terms * padded // 16) * 16
    return Correlation(
        geometry, np.array(geometry, np.intp), offsets, _index32("conv2d", places), _index32("conv2d", sources),
        np.array(panels, np.intp), np.array(phases, np.intp), along_channels, blocks, pass_rows, packed, sums,
    )  # fmt: skip


class Tasks(NamedTuple):
    """How a call is cut: images a chunk, blocks of rows, ranges of outputs."""

    chunk: int
    row_blocks: int
    splits: int


CHUNK_BYTES = 1 << 19  # padded images that a chunk keeps in the second-level cache
PANEL_BYTES = 1 << 17  # packed weights of one block that are worth meeting several images at a time


def tasks(plan: Correlation, images: int, threads: int, itemsize: int) -> Tasks:
    """Enough tasks to keep the threads busy, images first, then rows, then outputs."""
    geometry = plan.geometry
    wanted = 1 if threads == 1 else 3 * threads
    chunk = 1
    if plan.packed // plan.blocks // geometry.groups * itemsize > PANEL_BYTES:
        kept = CHUNK_BYTES // (max(geometry.buffer, geometry.channels * geometry.height * geometry.width) * itemsize)
        chunk = max(1, min(kept, images * geometry.groups // wanted))
    count = -(-images // chunk) * geometry.groups
    row_blocks = max(1, min(geometry.out_rows, -(-wanted // max(count, 1)))) if count < wanted else 1
    count *= row_blocks
    splits = min(plan.blocks, -(-wanted // max(count, 1))) if count < wanted else 1
    return Tasks(chunk, row_blocks, splits)


# --- gradient to the weight ---------------------------------------------------------------------------------

CHUNKS = 32  # images are summed in at most so many chunks ...
CHUNK_GROUPS = 64  # ... less where groups give threads enough to share: a chunk adds up its lanes at its end ...
CHUNK_SUMS = 1 << 19  # ... whose sums are at most so many numbers together


def chunks(shape: Shape, images: int) -> int:
    """Chunks of images whose weight gradients are summed apart, then added in order."""
    size = shape.filters * shape.group_channels * shape.kernel[0] * shape.kernel[1]
    most = max(1, min(images, CHUNKS, CHUNK_GROUPS // shape.groups, CHUNK_SUMS // size))
    return 1 << most.bit_length() - 1  # a power of two: threads then get equal shares


TURNED = 1 << 17  # numbers of x and grad_y of a pass, turned: about half of a second-level cache
TOGETHER = 1 << 18  # the same of several images


@lru_cache(KEPT_PLANS)
def outer_gradient(shape: Shape, machine: Machine) -> OuterGradient:
    """Plan of grad_weight as a sum of outer products."""
    (sh, sw), (dh, dw), (kh, kw) = shape.stride, shape.dilation, shape.kernel
    (top, _), (left, _) = shape.padding
    oh, ow = shape.output
    channels, lanes = shape.group_channels, machine.lanes
    padded_width = (ow - 1) * sw + (kw - 1) * dw + 1
    reach = (kh - 1) * dh + 1
    padded = -(-shape.group_filters // lanes) * lanes
    pass_rows = max(1, min(oh, TURNED // (sh * padded_width * channels + ow * padded)))
    if dw == 1:
        run_offsets, run = np.arange(kh) * dh * padded_width * channels, kw * channels
    else:
        r, s = np.ogrid[:kh, :kw]
        run_offsets, run = ((r * dh * padded_width + s * dw) * channels).ravel(), channels
    turned = ((pass_rows - 1) * sh + reach) * padded_width * channels
    fitting = min(machine.gathered // (oh * ow), TOGETHER // (turned + oh * ow * padded))
    together = max(1, fitting) if pass_rows == oh else 1
    image, i, j = np.ogrid[:together, :pass_rows, :ow]
    positions = (image * turned + (i * sh * padded_width + j * sw) * channels).ravel()
    geometry = WeightGeometry(
        groups=shape.groups, channels=channels, filters=shape.group_filters, height=shape.height, width=shape.width,
        top=top, left=left, padded_width=padded_width, stride_h=sh, kernel_rows=kh, kernel_columns=kw, reach=reach,
        out_rows=oh, out_columns=ow, pass_rows=pass_rows, together=together, runs=len(run_offsets), run=run,
    )  # fmt: skip
    return OuterGradient(
        fields=np.array(geometry, np.intp),
        run_offsets=_index32("conv2d_backward", run_offsets),
        positions=_index32("conv2d_backward", positions),
        blocks=-(-padded // (2 * lanes)),
        sums=shape.groups * kh * kw * channels * padded,
        per_thread=-(-together * turned // 16) * 16 + -(-together * pass_rows * ow * padded // 16) * 16 + TAIL,
    )


@lru_cache(KEPT_PLANS)
def dot_gradient(shape: Shape) -> DotGradient:
    """Plan of grad_weight as dot products along rows. Its tables, unlike the forward plan's, ignore the lanes."""
    geometry, offsets, phases = _forward_tables(shape, _needs_copy(shape), 1024)
    columns = phases[0].columns
    # grad_y of a pass stays in the first-level cache.
    pass_rows = max(1, 6144 // (shape.group_filters * columns))
    sums = geometry.terms * geometry.outputs * 16
    per_thread = -(-(geometry.buffer + sums) // 16) * 16
    return DotGradient(np.array(geometry, np.intp), offsets, np.array(phases, np.intp), pass_rows, per_thread)
