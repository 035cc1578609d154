"""Convolution against the reference, on shapes that reach every path of the plans."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from cases import distance
from numpy.testing import assert_array_equal

from cconv import functional as F
from cconv import reference as R
from cconv._shapes import padding_pairs, pair, window_output
from cconv.functional import _conv_choice as choice
from cconv.functional import _conv_plan as plans
from cconv.functional import _convolve as convolve
from cconv.functional import _depthwise as depthwise
from cconv.functional import _pointwise

pytestmark = pytest.mark.usefixtures("poison")

RESULTS = ("y", "grad_x", "grad_weight", "grad_bias")


def case(x, weight, **options):
    return x, weight, options


# Shapes of x and weight, and options.
CASES = {
    "one number": case((1, 1, 1, 1), (1, 1, 1, 1)),
    "lenet first": case((3, 1, 28, 28), (6, 1, 5, 5), padding=2),
    "lenet second": case((3, 6, 14, 14), (16, 6, 5, 5)),
    "one output position": case((2, 3, 5, 4), (7, 3, 5, 4)),
    "whole image, whole register": case((2, 16, 5, 5), (32, 16, 5, 5)),
    "no images": case((0, 3, 6, 6), (4, 3, 3, 3), padding=1),
    # strides, dilations, paddings
    "stride": case((2, 3, 11, 9), (5, 3, 3, 3), stride=2),
    "stride wider than the kernel": case((2, 5, 13, 14), (9, 5, 2, 1), stride=(4, 3)),
    "stride wider than the image": case((2, 3, 4, 5), (5, 3, 3, 3), stride=(2**31 - 1, 7), padding=1),
    "stride wider than the image, pointwise": case((2, 17, 8, 9), (16, 17, 1, 1), stride=9),
    "stride of rows alone": case((2, 8, 9, 8), (24, 8, 3, 3), stride=(2, 1)),
    "stride of columns alone": case((2, 3, 8, 13), (20, 3, 2, 3), stride=(1, 3), padding=(0, 2)),
    "strided first layer": case((2, 3, 23, 21), (20, 3, 7, 7), stride=2, padding=3),
    "strided pointwise": case((2, 12, 9, 7), (17, 12, 1, 1), stride=2),
    "unequal padding": case((2, 4, 7, 6), (13, 4, 3, 2), padding=((2, 0), (1, 3))),
    "padding wider than the kernel": case((2, 2, 3, 4), (3, 2, 2, 3), padding=((5, 4), (0, 6))),
    "padding alone under the taps": case((1, 2, 1, 1), (3, 2, 1, 1), stride=3, padding=((4, 1), (2, 5))),
    "same, even kernel": case((2, 3, 6, 5), (4, 3, 4, 2), padding="same"),
    "same, dilated": case((2, 3, 9, 8), (15, 3, 3, 3), padding="same", dilation=(2, 3)),
    "valid": case((2, 3, 9, 8), (15, 3, 3, 3), padding="valid"),
    "dilated": case((2, 4, 11, 13), (14, 4, 3, 3), dilation=(2, 3)),
    "dilated rows alone": case((2, 4, 11, 6), (14, 4, 3, 3), dilation=(3, 1), padding=(2, 0)),
    "dilated and strided": case((2, 3, 15, 14), (12, 3, 3, 4), stride=(2, 3), dilation=(3, 2), padding=2),
    "dilation and stride share a factor": case((2, 2, 13, 13), (13, 2, 3, 3), stride=2, dilation=2, padding=1),
    "tall": case((2, 3, 40, 3), (5, 3, 7, 1), padding=(3, 0)),
    "wide": case((2, 3, 2, 70), (5, 3, 1, 6)),
    # groups
    "groups": case((2, 6, 7, 7), (9, 2, 3, 3), groups=3, padding=1),
    "groups of whole registers": case((2, 32, 6, 6), (64, 16, 3, 3), groups=2, padding=1),
    "depthwise": case((2, 17, 8, 9), (17, 1, 3, 3), groups=17, padding=1),
    "depthwise, strided, two filters a channel": case((2, 5, 9, 9), (10, 1, 5, 5), groups=5, stride=2, padding=2),
    "depthwise, strided": case((2, 3, 21, 19), (3, 1, 3, 3), groups=3, stride=2, padding=1),
    "depthwise, strided, unpadded": case((1, 2, 12, 70), (2, 1, 3, 3), groups=2, stride=2),
    "depthwise, strided 5x5": case((2, 3, 11, 36), (3, 1, 5, 5), groups=3, stride=2, padding=2),
    "depthwise, strided 5x5, to the left": case((2, 3, 9, 37), (3, 1, 5, 5), groups=3, stride=2, padding=1),
    "depthwise, strided 7x7": case((1, 3, 13, 41), (3, 1, 7, 7), groups=3, stride=2, padding=3),
    "depthwise, strided 7x7, to the left": case((1, 3, 15, 18), (3, 1, 7, 7), groups=3, stride=2, padding=2),
    "depthwise, strided by 3": case((2, 3, 14, 17), (3, 1, 3, 3), groups=3, stride=3, padding=1),
    "depthwise, strided by 2 and 1": case((2, 3, 14, 17), (3, 1, 3, 4), groups=3, stride=(2, 1), padding=1),
    "depthwise, two columns strided by 2": case((2, 3, 5, 2), (3, 1, 2, 2), groups=3, stride=2, padding=2),
    "depthwise, two columns strided by 3": case((2, 3, 5, 2), (3, 1, 2, 2), groups=3, stride=(1, 3), padding=2),
    "depthwise, even and strided": case((2, 3, 10, 53), (3, 1, 4, 4), groups=3, stride=2, padding=1),
    "depthwise, dilated": case((2, 3, 12, 13), (3, 1, 3, 3), groups=3, dilation=(3, 2), padding=2),
    "depthwise, dilated beyond the image": case((2, 3, 4, 5), (3, 1, 3, 3), groups=3, dilation=6, padding=6),
    "depthwise, dilated and strided": case((2, 3, 12, 13), (3, 1, 3, 3), groups=3, dilation=3, stride=2, padding=2),
    "depthwise, dilated by 2 and strided": case((2, 3, 12, 40), (3, 1, 3, 3), groups=3, dilation=2, stride=2),
    "depthwise, unequal padding": case((2, 3, 6, 5), (3, 1, 3, 3), groups=3, padding=((0, 4), (5, 1))),
    "depthwise, unequal padding, strided": case(
        (2, 3, 7, 5), (3, 1, 3, 3), groups=3, padding=((6, 0), (1, 7)), stride=2
    ),
    "depthwise, one column": case((2, 3, 9, 1), (3, 1, 3, 1), groups=3, padding=(1, 0)),
    "depthwise, one column under a wide filter": case((2, 3, 9, 1), (3, 1, 7, 7), groups=3, padding=3),
    "depthwise, one column strided": case((2, 3, 9, 1), (3, 1, 3, 3), groups=3, padding=1, stride=2),
    "depthwise, 1x1": case((2, 5, 4, 7), (5, 1, 1, 1), groups=5),
    "depthwise, 5x5": case((2, 3, 8, 35), (3, 1, 5, 5), groups=3, padding=2),
    "depthwise, 7x7": case((2, 3, 8, 35), (3, 1, 7, 7), groups=3, padding=3),
    "depthwise, 9x2": case((2, 3, 12, 79), (3, 1, 9, 2), groups=3, padding=(4, 1)),
    "depthwise, no images": case((0, 3, 6, 6), (3, 1, 3, 3), groups=3, padding=1),
    "depthwise, more rows than a band": case((1, 2, 70, 66), (2, 1, 3, 3), groups=2, padding=1),
    "depthwise, more rows than a band, strided": case((1, 2, 90, 66), (2, 1, 3, 3), groups=2, padding=1, stride=2),
    "depthwise, many channels": case((3, 130, 5, 7), (130, 1, 3, 3), groups=130, padding=1),
    "depthwise, many images": case((37, 2, 5, 6), (2, 1, 3, 3), groups=2, padding=1),
    "depthwise, one image of one channel": case((1, 1, 30, 20), (1, 1, 3, 3), padding=1),
    "depthwise, three filters a channel": case((2, 4, 9, 20), (12, 1, 3, 3), groups=4, padding=1),
    "depthwise, three filters a channel, strided": case((2, 4, 9, 20), (12, 1, 3, 3), groups=4, padding=1, stride=2),
    "depthwise, nine filters a channel, strided": case((2, 2, 9, 9), (18, 1, 5, 5), groups=2, padding=1, stride=2),
    "few filters a channel, 2x3": case((2, 4, 9, 9), (8, 1, 2, 3), groups=4),
    "grouped pointwise": case((3, 8, 5, 5), (26, 4, 1, 1), groups=2),
    # sizes
    "pointwise": case((2, 9, 12, 12), (40, 9, 1, 1)),
    "pointwise, to fewer filters": case((2, 70, 7, 11), (14, 70, 1, 1)),
    "pointwise, a large plane": case((2, 18, 23, 31), (40, 18, 1, 1)),
    "pointwise, planes of a page beyond a cache": case((17, 40, 33, 34), (80, 40, 1, 1)),
    "pointwise, many small images": case((40, 17, 3, 3), (20, 17, 1, 1)),
    "pointwise, rows of weight 4 KB apart": case((1, 1024, 6, 6), (15, 1024, 1, 1)),
    "pointwise, many channels": case((2, 64, 5, 5), (32, 64, 1, 1)),
    "pointwise, a prime number of positions": case((1, 512, 1, 193), (512, 512, 1, 1)),
    "columns of taps, rows without a gap": case((2, 64, 7, 5), (32, 64, 3, 1)),
    "more taps than a pass": case((2, 40, 6, 6), (3, 40, 3, 3)),
    "more taps than a pass, many filters": case((2, 40, 7, 6), (33, 40, 3, 3), padding=1),
    "more positions than a pass": case((1, 8, 21, 20), (40, 8, 3, 3), padding=1),
    "rows longer than a pass": case((1, 32, 3, 225), (32, 32, 2, 31)),
    "one row of many channels": case((1, 70, 1, 9), (80, 70, 1, 3), padding=(0, 1)),
    "few filters on a large plane": case((1, 2, 64, 131), (2, 2, 3, 3), padding=1),
    "two filters of one channel on a large plane": case((1, 1, 130, 131), (2, 1, 3, 3), padding=1),
    "many channels on a wide plane": case((1, 65, 24, 66), (64, 65, 3, 3), padding=1),
    "weights beyond a cache": case((13, 576, 3, 3), (20, 576, 3, 3), padding=1),
    "weights beyond a cache, to many filters": case((13, 20, 3, 3), (576, 20, 3, 3), padding=1),
    "more images than chunks": case((37, 2, 5, 5), (3, 2, 3, 3)),
    "more images than chunks, more than fit together": case((70, 64, 3, 3), (128, 64, 3, 3), padding=1),
    "more images than chunks, many filters": case((37, 4, 5, 5), (17, 4, 3, 3)),
}
# Around the widths of registers, for vectors along channels and along positions.
WIDTHS = (1, 3, 7, 8, 12, 15, 16, 17, 31, 33, 40)
CASES |= {
    f"{k} filters of {c}": case((2, c, 6, 5), (k, c, 3, 3), padding=1)
    for k, c in zip(WIDTHS, WIDTHS[::-1], strict=True)
}
CASES |= {f"rows of {w}": case((1, 2, 4, w + 2), (2, 2, 3, 3)) for w in WIDTHS}
CASES |= {f"kernel {r}x{s}": case((1, 3, 9, 9), (13, 3, r, s), padding=(0, 3)) for r in (1, 4, 7) for s in (2, 5, 6)}


def drawn(name: str):
    """Small integers in the shapes of a case: sums are exact, in any order."""
    rng = np.random.default_rng(len(name))
    x_shape, weight_shape, options = CASES[name]
    x, weight, bias = (rng.integers(-4, 5, shape) for shape in (x_shape, weight_shape, weight_shape[0]))
    kernel, size = weight_shape[2:], x_shape[2:]
    stride, dilation = (pair("", "", options.get(o, 1)) for o in ("stride", "dilation"))
    padding = padding_pairs("", options.get("padding", 0), kernel, stride, dilation)
    output = window_output("", size, kernel, stride, padding, dilation)
    return x, weight, bias, rng.integers(-4, 5, (x_shape[0], weight_shape[0], *output)), options


def run(module, x, weight, bias, grad_y, options):
    """The four results of one convolution, by direct sums. The other algorithm is in test_functional_winograd.py."""
    options = {**options, "algorithm": "direct"}
    return module.conv2d(x, weight, bias, **options), *module.conv2d_backward(grad_y, x, weight, **options)


@cache
def exact(name: str):
    """The reference's results, on small integers."""
    *arrays, options = drawn(name)
    return run(R, *(a.astype(np.float64) for a in arrays), options)


@cache
def normal(name: str, dtype):
    """Normal numbers in the shapes of a case, and the reference's results."""
    rng = np.random.default_rng(0)
    *arrays, options = drawn(name)
    arrays = [rng.normal(size=a.shape).astype(dtype) for a in arrays]
    return arrays, options, run(R, *arrays, options)


@pytest.mark.parametrize("name", CASES)
def test_integers_are_exact(name, isa, dtype, n_threads):
    *arrays, options = drawn(name)
    for result, got, want in zip(
        RESULTS, run(F, *(a.astype(dtype) for a in arrays), options), exact(name), strict=True
    ):
        assert got.dtype == dtype and got.flags.c_contiguous
        assert_array_equal(got, want, err_msg=result)


@pytest.mark.parametrize("name", CASES)
def test_normal_numbers_are_close(name, isa, dtype, threads):
    threads(2)
    arrays, options, expected = normal(name, dtype)
    for result, got, want in zip(RESULTS, run(F, *arrays, options), expected, strict=True):
        assert distance(got, want) < (3e-6 if dtype == np.float32 else 5e-15), result


@pytest.mark.parametrize(
    "needs", [(True, False, False), (False, True, False), (False, False, True), (False, False, False)]
)
def test_only_needed_gradients_come(needs, isa, dtype):
    x, weight, _, grad_y, options = drawn("unequal padding")
    got = F.conv2d_backward(grad_y.astype(dtype), x.astype(dtype), weight.astype(dtype), **options, needs=needs)
    for need, result, want in zip(needs, got, exact("unequal padding")[1:], strict=True):
        if need:
            assert_array_equal(result, want)
        else:
            assert result is None


def test_a_result_too_large_is_a_memory_error():
    one = np.ones((1, 1, 1, 1), np.float32)
    with pytest.raises(MemoryError):
        F.conv2d(one, one, padding=2**24)


# NaN and infinity ----------------------------------------------------------------------------------------------------

SPECIAL = (
    *("lenet second", "strided first layer", "unequal padding", "dilated and strided", "groups", "depthwise", "wide"),
    *("depthwise, strided", "depthwise, strided by 3", "depthwise, dilated", "depthwise, unequal padding"),
    *("depthwise, 5x5", "depthwise, strided 7x7", "depthwise, 9x2", "depthwise, three filters a channel"),
    *("pointwise", "pointwise, many channels", "columns of taps, rows without a gap", "more taps than a pass"),
)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("argument", ["x", "weight", "bias", "grad_y"])
@pytest.mark.parametrize("name", SPECIAL)
def test_nan_and_infinity_spread_as_in_the_reference(name, argument, value, isa, dtype, rng):
    *arrays, options = drawn(name)
    arrays = [a.astype(dtype) for a in arrays]
    special = arrays[("x", "weight", "bias", "grad_y").index(argument)]
    special.flat[rng.integers(special.size, size=2)] = value
    got, want = run(F, *arrays, options), run(R, *arrays, options)
    assert not all(np.isfinite(b).all() for b in want)
    for result, a, b in zip(RESULTS, got, want, strict=True):
        assert_array_equal(a, b, err_msg=result)


# What the cases above are for ----------------------------------------------------------------------------------------


def paths(name: str, images: int, n_threads: int):
    """What the plans choose for a case, as a set of words."""
    _, weight_shape, options = CASES[name]
    x, weight, _, grad_y, _ = drawn(name)
    stride, dilation = (pair("", "", options.get(o, 1)) for o in ("stride", "dilation"))
    padding = padding_pairs("", options.get("padding", 0), weight_shape[2:], stride, dilation)
    groups = options.get("groups", 1)
    shape = convolve.shape_of(x.shape, weight.shape, stride, padding, dilation, groups, grad_y.shape[2:])
    machine, by_depth = convolve.machine_of(np.dtype(np.float32)), choice.by_depth(shape)
    for direction, plan in (("forward", plans.forward), ("input", plans.input_gradient)):
        if getattr(by_depth, direction):
            yield from depthwise_paths(direction, shape, max(images, 1), n_threads)
            continue
        p = plan(shape, machine)
        g, along = p.geometry, "along channels" if p.along_channels else "along positions"
        yield f"{direction} {along}"
        yield f"{direction} {'copied' if g.copied else 'direct'}"
        yield f"{direction} {'several phases' if g.panels > 1 else 'one phase'}"
        if g.phases > g.panels:
            yield f"{direction} rows apart, {along}"
        phases = [plans.Phase(*phase) for phase in p.phases]
        rows, columns = max(f.end - f.begin for f in phases), max(f.columns for f in phases)
        if not g.copied and g.row_step == columns:
            yield f"{direction} rows without a gap"
        if max(f.terms for f in phases) > 128:
            yield f"{direction} several passes of taps, {along}"
        if min(f.terms for f in phases) == 0:
            yield f"{direction} a phase without taps"
        if (rows * columns > machine.positions) if p.along_channels else (rows > p.pass_rows):
            yield f"{direction} several passes of positions, {along}"
        if p.along_channels and columns > machine.positions:
            yield f"{direction} several passes a row"
        cut = plans.tasks(p, max(images, 1), n_threads, 4)
        yield from (f"{direction} {field} above 1" for field, value in cut._asdict().items() if value > 1)
    for direction in ("forward", "input"):
        if choice.by_product(shape, machine, direction):
            cut = _pointwise.correlation(shape, machine, direction == "input", images, n_threads)
            yield from (
                f"{direction} by products, {f}" for f in ("blocks", "gathered", "splits") if getattr(cut, f) > 1
            )
    if by_depth.weight:
        p = depthwise.forward(shape).sizes
        yield f"weight by depth, {'sliding' if p.sliding == 3 else 'any'}, {shape.stride[1]} columns on"
        if depthwise.parts(shape, max(images, 1)) > 1:
            yield "weight by depth, several parts"
    elif choice.by_product(shape, machine, "weight"):
        cut = _pointwise.weight_gradient(shape, machine, images, n_threads)
        g = _pointwise.WeightGeometry(*cut.fields)
        yield f"weight by products, {'filters' if g.filters_turned else 'channels'} turned"
        yield from (f"weight by products, {f}" for f in ("chunks", "splits", "halves") if getattr(cut, f) > 1)
        if g.together > 1:
            yield "weight by products, images together"
        if g.stretch < g.plane:
            yield "weight by products, several stretches"
    elif choice.by_outer(shape):
        p = plans.outer_gradient(shape, machine)
        yield "weight by outer products" + (", dilated" if dilation[1] > 1 else "")
        if shape.output[0] > plans.WeightGeometry(*p.fields).pass_rows:
            yield "weight by outer products, several passes of rows"
        if p.blocks > 1:
            yield "weight by outer products, several blocks"
        if plans.WeightGeometry(*p.fields).together > 1 and images > plans.chunks(shape, images):
            yield "weight by outer products, several images together"
    else:
        p = plans.dot_gradient(shape)
        yield f"weight by dot products, {'copied' if p.fields[10] else 'direct'}"
        if plans.Phase(*p.phases[0]).end > p.pass_rows:
            yield "weight by dot products, several passes of rows"
    if not by_depth.weight and 1 < plans.chunks(shape, images) < images:
        yield "weight, several images a chunk"


def depthwise_paths(direction: str, shape, images: int, n_threads: int):
    """What the depthwise plans choose, as a set of words."""
    p = getattr(depthwise, {"input": "input_gradient"}.get(direction, direction))(shape)
    rows, columns = ([depthwise.Axis(*axis) for axis in axes] for axes in (p.rows, p.columns))
    blocks, tasks = depthwise.cut(images * p.sizes.planes, p.sizes.out_height, n_threads)
    if p.sizes.sliding:
        yield f"{direction} by depth, sliding {p.sizes.sliding}, {shape.stride[1]} columns on"
        if len(rows) > 1:
            yield f"{direction} by depth, rows apart"
        if max(axis.outputs for axis in rows) > p.sizes.band:
            yield f"{direction} by depth, several bands"
        if 1 < p.sizes.together < images * p.sizes.planes // tasks:
            yield f"{direction} by depth, several planes together"
    elif p.sizes.spreading:
        yield f"{direction} by depth, spreading {columns[0].taps} and {columns[1].taps}"
    else:
        yield f"{direction} by depth, strips of {len(columns)} phases, {columns[0].source_step} columns on"
    if p.sizes.fan_in > 1 or p.sizes.fan_out > 1:
        yield f"{direction} by depth, several filters a channel"
    if blocks > 1:
        yield f"{direction} by depth, blocks of rows"


SPREADING = ((1, 2), (2, 1), (2, 2), (2, 3), (3, 2), (3, 4), (4, 3))
PATHS = {
    *(f"{d} by depth, sliding {k}, 1 columns on" for d in ("forward", "input") for k in choice.SLIDING),
    *(f"forward by depth, sliding {k}, 2 columns on" for k in choice.SLIDING),
    *(f"{d} by depth, {w}" for d in ("forward", "input") for w in ("rows apart", "several bands", "blocks of rows")),
    *(f"{d} by depth, several {w}" for d in ("forward", "input") for w in ("planes together", "filters a channel")),
    *(f"input by depth, spreading {even} and {odd}" for even, odd in SPREADING),
    *(f"forward by depth, strips of 1 phases, {n} columns on" for n in (1, 2, 3)),
    *(f"input by depth, strips of {n} phases, 1 columns on" for n in (1, 2, 3)),
    *(f"weight by depth, any, {n} columns on" for n in (1, 2, 3)),
    *(f"weight by depth, sliding, {n} columns on" for n in (1, 2)),
    "weight by depth, several parts",
    *(f"{d} along {a}" for d in ("forward", "input") for a in ("channels", "positions")),
    *(f"{d} {c}" for d in ("forward", "input") for c in ("copied", "direct", "one phase", "rows without a gap")),
    *("input several phases", "input a phase without taps"),
    *(f"input rows apart, along {a}" for a in ("channels", "positions")),
    *(f"{d} several passes of taps, along {a}" for d in ("forward", "input") for a in ("channels", "positions")),
    *(f"{d} several passes of positions, along {a}" for d in ("forward", "input") for a in ("channels", "positions")),
    *("forward several passes a row", "input several passes a row"),
    *(f"{d} {field} above 1" for d in ("forward", "input") for field in plans.Tasks._fields),
    *(f"weight by outer products{w}" for w in ("", ", dilated", ", several passes of rows", ", several blocks")),
    "weight by outer products, several images together",
    *(f"weight by dot products, {w}" for w in ("copied", "direct", "several passes of rows")),
    "weight, several images a chunk",
    *(f"{d} by products, {field}" for d in ("forward", "input") for field in ("blocks", "gathered", "splits")),
    *(f"weight by products, {w} turned" for w in ("filters", "channels")),
    *(f"weight by products, {w}" for w in ("chunks", "splits", "halves", "images together", "several stretches")),
}


def test_the_cases_reach_every_path(isa):
    reached = {path for name, (x, *_) in CASES.items() for n in (1, 2, 3) for path in paths(name, x[0], n)}
    assert sorted(PATHS - reached) == []
