"""Which algorithm takes a convolution, in each direction; the measurements are in _kernels/README.md.

This is the one place where an algorithm is chosen. Choices that change the order of a sum look at shapes alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from ._conv_plan import KEPT_PLANS, WASTED_ROWS, Machine, Shape

Direction = Literal["forward", "input", "weight"]


def by_winograd(algorithm: str, shape: Shape, direction: Direction, images: int) -> bool:
    """Whether to use minimal filtering F(4x4, 3x3), _winograd.py, rather than direct sums.

    The two round differently: so the choice looks at the shape alone, and at the batch only for the gradient to the
    weight, which sums over it.
    """
    if algorithm != "auto":
        return algorithm == "winograd" and images > 0
    fits = shape.kernel == (3, 3) and shape.stride == shape.dilation == (1, 1)
    return fits and images > 0 and _winograd_pays(shape, direction, images)


def by_product(shape: Shape, machine: Machine, direction: Direction) -> bool:
    """Whether a pointwise layer is one of matrices as they lie, _pointwise.py. The same bits either way."""
    if shape.kernel != (1, 1) or shape.stride != (1, 1) or any(map(any, shape.padding)):
        return False
    if shape.output != (shape.height, shape.width):  # one output of a stride wider than the image
        return False
    if direction == "weight":
        return by_outer(shape)
    plane, lanes, terms, outputs = shape.height * shape.width, machine.lanes, shape.group_channels, shape.group_filters
    if direction == "input":
        terms, outputs = outputs, terms
    elif terms % 1024 == 0:  # rows of weight 4 KB apart share one set of the first-level cache
        return False
    # The general kernel turns its sums, and its dead lanes are channels past the last; here they are positions.
    dead_positions, dead_outputs = -plane % lanes / plane, -outputs % lanes / outputs
    return plane >= 2 * lanes and terms / (2 * lanes) * (dead_positions - dead_outputs) <= 0.6


@lru_cache(KEPT_PLANS)
def _winograd_pays(shape: Shape, direction: Direction, images: int) -> bool:
    """Compares clock cycles of a core with two FMA units of 16 lanes, an image; measured, see _kernels/README.md."""
    channels, outputs, size = shape.group_channels, shape.group_filters, shape.output
    if direction == "input":
        channels, outputs, size = outputs, channels, (shape.height, shape.width)
    tiles = -(-size[0] // 4) * -(-size[1] // 4)
    wide, deep = -(-outputs // 16) * 16, -(-channels // 16) * 16
    products = channels * wide / 32
    direct = 1.15 * 9 * size[0] * size[1] * products * (outputs / wide if outputs < 12 else 1)
    if direction == "weight":
        minimal = tiles * (1.25 * 36 * products + 28 * deep + 24 * wide) + 20 * channels * wide / images
    else:  # filters are packed or transformed once a batch: of four images, say
        direct += 5 * channels * wide / 4
        minimal = tiles * (1.1 * 36 * products + 28 * deep + 20 * wide) + 7 * channels * wide / 4
    return direct > 1.1 * minimal


class ByDepth(NamedTuple):
    """Which directions the depthwise kernels take."""

    forward: bool
    input: bool
    weight: bool


SLIDING = (3, 5, 7)  # sides of the filters for which the depthwise kernels keep sums in registers from row to row
REREAD = 1 << 14  # numbers of a plane that stays in the second-level cache while filter after filter reads it


def slides(shape: Shape) -> bool:
    """Whether a loaded row may serve all outputs that it reaches: a square filter of a known side, one stride."""
    (sh, sw), dilation, (kh, kw) = shape.stride, shape.dilation[0], shape.kernel
    return kh == kw and kh in SLIDING and sh == sw <= 2 and (sh == 1 or dilation == 1)


def by_depth(shape: Shape) -> ByDepth:
    """One channel a group, and either one filter or a kind of them that the depthwise kernels are fast at."""
    if shape.group_channels > 1:
        return ByDepth(False, False, False)
    one, known, dense = shape.group_filters == 1, slides(shape), shape.stride[0] == 1
    return ByDepth(
        forward=one or (known and (dense or shape.kernel[0] == 3)),
        input=one or (known and (dense or shape.group_filters <= 8)),
        weight=one or (known and dense and shape.kernel[0] == 3 and shape.height * shape.width <= REREAD),
    )


TAPS_PRODUCTS = 1 << 15  # products of one channel: they stay in the second-level cache


@lru_cache(KEPT_PLANS)
def by_taps(shape: Shape) -> bool:
    """Whether the gradient to the input is worked out tap by tap, with no zero around grad_y multiplied.

    Counts steps a channel on registers of 16, whatever the machine's: the order of the sums hangs on it.
    """
    (kh, kw), (oh, ow), filters, channels = shape.kernel, shape.output, shape.group_filters, shape.group_channels
    taps = kh * kw
    if shape.stride != (1, 1) or taps == 1 or taps * oh * ow > TAPS_PRODUCTS:
        return False
    # Sums come and go once for all filters; a row of products is loaded askew and added in about 4 steps.
    by_taps = taps * (-(-oh * ow // 16) * (filters + 8) + 4 * oh * -(-shape.width // 16))
    top = shape.padding[0][0]
    reached = sum(
        max(0, min(oh, shape.height + top - r * shape.dilation[0]) - max(0, top - r * shape.dilation[0]))
        for r in range(kh)
    )
    rows = reached / kh if reached < (1 - WASTED_ROWS) * kh * shape.height else shape.height
    across = max(8 / (3 * channels), 1.0) * (shape.width + (kw - 1) * shape.dilation[1]) / shape.width
    along = -(-channels // 16) * 16 / channels
    return by_taps <= 1.25 * filters * taps * rows * shape.width / 16 * min(along, across)


def by_outer(shape: Shape) -> bool:
    """Whether the gradient to the weight is a sum of outer products (many filters) rather than dot products."""
    run = shape.group_channels * (shape.kernel[1] if shape.dilation[1] == 1 else 1)
    return shape.group_filters >= 12 and run >= 4
