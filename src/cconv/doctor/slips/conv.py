"""A convolution of images or sequences: ways to compute its gradients, right and with slips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from ... import functional as F
from .point import Point
from .variants import Gradient, Variant, spread

_MODES = {"zeros": "constant", "wraps around": "wrap", "mirrors": "reflect", "repeats the border": "edge"}


def images(a: np.ndarray) -> np.ndarray | None:
    """(N, C, H, W) of an image, a sequence or a batch of them."""
    return {4: lambda: a, 3: lambda: a[:, :, None]}.get(a.ndim, lambda: None)()


def _filters(weight: np.ndarray, layout: str) -> np.ndarray:
    """(K, C, R, S)"""
    if layout == "CRS":
        return weight[None]
    if layout == "KCR":
        return weight[:, :, None]
    return weight.transpose(3, 2, 0, 1) if layout == "RSCK" else weight


def _like_filters(gradient: np.ndarray, layout: str) -> np.ndarray:
    if layout == "CRS":
        return gradient[0]
    if layout == "KCR":
        return gradient[:, :, 0]
    return gradient.transpose(2, 3, 1, 0) if layout == "RSCK" else gradient


def options(point: Point, name: str, bias: str | None) -> Iterator[tuple]:
    """What it may be in which `name` is the weight."""
    x, y, weight = images(point.x), point.y, point.arrays[name]
    if x is None or weight.ndim not in (3, 4):
        return
    layouts = {4: ("KCRS", "RSCK"), 3: ("KCR",) if point.x.ndim == 3 else ("CRS",)}[weight.ndim]
    for layout in layouts:
        w = _filters(weight, layout)
        k, channels = w.shape[:2]
        if x.shape[1] % channels or k % (x.shape[1] // channels):
            continue
        if bias is not None and point.arrays[bias].size not in (1, k):
            continue
        groups = x.shape[1] // channels
        if y.size % (x.shape[0] * k):
            continue
        places = y.size // (x.shape[0] * k)
        for stride, dilation in product(range(1, 5), range(1, 4)):
            for pad in range(max(w.shape[2:]) + 1):
                pads = (0 if x.shape[2] == 1 and w.shape[2] == 1 else pad, pad)
                if dilation > 1 and max(w.shape[2:]) == 1:
                    continue
                sizes = [(x.shape[a] + 2 * pads[a - 2] - dilation * (w.shape[a] - 1) - 1) // stride + 1 for a in (2, 3)]
                if min(sizes) < 1 or sizes[0] * sizes[1] != places:
                    continue
                if y.ndim == 4 and tuple(sizes) != y.shape[2:]:
                    continue
                for mode, flipped in product(_MODES if pad else ("zeros",), (False, True)):
                    if mode == "mirrors" and (pads[0] >= x.shape[2] or pads[1] >= x.shape[3]):
                        continue
                    yield name, bias, layout, stride, pads, dilation, groups, mode, flipped


def _framed(x: np.ndarray, pads: tuple[int, int], mode: str) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (pads[0],) * 2, (pads[1],) * 2), mode=_MODES[mode])  # type: ignore[call-overload]


def forward(point: Point, options: tuple) -> np.ndarray:
    """The weighted sums."""
    name, bias, layout, stride, pads, dilation, groups, mode, flipped = options
    x = images(point.x)
    assert x is not None
    w = _filters(point.arrays[name], layout)
    b = None
    if bias is not None:
        b = np.broadcast_to(point.arrays[bias].reshape(-1), len(w))
    return F.conv2d(_framed(x, pads, mode), w[:, :, ::-1, ::-1] if flipped else w, b, stride, 0, dilation, groups)


def variants(point: Point, options: tuple) -> Iterator[Variant]:
    """The gradients of x, weight and bias."""
    name, bias, layout, stride, pads, dilation, groups, mode, flipped = options
    x = images(point.x)
    assert x is not None
    weight = point.arrays[name]
    given = _filters(weight, layout)
    turned = given[:, :, ::-1, ::-1]
    w = turned if flipped else given
    framed = _framed(x, pads, mode)
    shape, (height, width) = framed.shape, x.shape[2:]

    def towards_frame(d: np.ndarray, w: np.ndarray, stride: int = stride, dilation: int = dilation) -> np.ndarray:
        """The gradient of the padded image, for outputs placed as with these options."""
        grown = [(d.shape[a] - 1) * stride + dilation * (w.shape[a] - 1) + 1 for a in (2, 3)]
        size = [max(g, s) for g, s in zip(grown, shape[2:], strict=True)]
        room = np.zeros((d.shape[0], shape[1], *size))
        # Exactly as many outputs as d has: a wider frame would give more.
        grad, _, _ = F.conv2d_backward(d, room[:, :, : grown[0], : grown[1]], w, stride, 0, dilation, groups)
        room[:, :, : grown[0], : grown[1]] = grad
        return room

    def cut(frame: np.ndarray, down: int = 0, right: int = 0) -> np.ndarray:
        """What lies at the image's place, or so far from it."""
        top, left = pads[0] + down, pads[1] + right
        found = np.zeros(x.shape)
        rows, columns = range(max(top, 0), top + height), range(max(left, 0), left + width)
        part = frame[:, :, rows.start : rows.stop, columns.start : columns.stop]
        found[:, :, rows.start - top :, columns.start - left :][:, :, : part.shape[2], : part.shape[3]] = part
        return found

    def right(d: np.ndarray, w: np.ndarray = w) -> np.ndarray:
        frame = towards_frame(d, w)
        return cut(frame) if mode == "zeros" else F.pad_backward(frame, x.shape, *_border(pads, mode))

    def towards_weight(
        d: np.ndarray, framed: np.ndarray = framed, stride: int = stride, dilation: int = dilation
    ) -> np.ndarray:
        grown = [(d.shape[a] - 1) * stride + dilation * (w.shape[a] - 1) + 1 for a in (2, 3)]
        room = np.zeros((*framed.shape[:2], *(max(g, s) for g, s in zip(grown, framed.shape[2:], strict=True))))
        room[:, :, : framed.shape[2], : framed.shape[3]] = framed
        room = room[:, :, : grown[0], : grown[1]]
        _, grad, _ = F.conv2d_backward(d, room, np.ascontiguousarray(w), stride, 0, dilation, groups)
        return _like_filters(grad[:, :, ::-1, ::-1] if flipped else grad, layout)

    def side_by_side(down: int, right: int) -> Gradient:
        return lambda d: cut(towards_frame(d, w, 1, dilation), down, right)

    yield Variant("x", "", "", "", right)
    yield Variant(name, "", "", "", towards_weight)
    if bias is not None:
        size = point.arrays[bias].size
        yield Variant(bias, "", "", "", lambda d: d.sum((0, 2, 3)) if size > 1 else d.sum())
        text, hint = "the mean of the weight's gradients stands in its place", "sum grad_y over examples and positions"

        def from_weight(d: np.ndarray, how: Callable[..., np.ndarray] = np.mean) -> np.ndarray:
            return spread(_filters(towards_weight(d), layout), bias, point, how)

        yield Variant(bias, "bias_from_weight", text, hint, from_weight)
        text = "the sum of the weight's gradients stands in its place"
        yield Variant(bias, "bias_from_weight", text, hint, lambda d: from_weight(d, np.sum))
    if w.shape[2:] != (1, 1):
        text = "the filter is not flipped: it stands turned by 180 degrees against what is due"
        hint = "y[i] sums x[i + r] * weight[r], so grad_x[i + r] += grad_y[i] * weight[r]: i + r, not i - r"
        yield Variant("x", "filter_not_flipped", text, hint, lambda d: right(d, w[:, :, ::-1, ::-1]))
        text, hint = "the filter's gradient is turned by 180 degrees", "index it as the weight is indexed in forward"
        yield Variant(name, "filter_flipped", text, hint, lambda d: _turned(towards_weight(d), layout))
    if groups == 1 and w.shape[0] == w.shape[1]:
        text, hint = "the weight's input and output channels are exchanged", "sum over the output channels"
        across = w.transpose(1, 0, 2, 3)
        yield Variant("x", "transposed_weight", text, hint, lambda d: right(d, across))
        if w.shape[2:] != (1, 1):
            text += ", and the filter stands the wrong way round"
            yield Variant(
                "x", "transposed_weight+filter_not_flipped", text, hint, lambda d: right(d, across[:, :, ::-1, ::-1])
            )
    if min(w.shape[2:]) > 1 or max(w.shape[2:]) > stride:
        text = "where windows overlap only the last one counts"
        hint = "windows overlap: `+=` where `=` stands in the loop over positions"

        def overwritten(d: np.ndarray) -> np.ndarray:
            frame = np.zeros(shape)
            for i, j in np.ndindex(d.shape[2:]):
                rows = slice(i * stride, i * stride + dilation * (w.shape[2] - 1) + 1, dilation)
                columns = slice(j * stride, j * stride + dilation * (w.shape[3] - 1) + 1, dilation)
                at = d[:, :, i : i + 1, j : j + 1]
                frame[:, :, rows, columns] = towards_frame(at, w, 1, 1)[:, :, : w.shape[2], : w.shape[3]]
            return cut(frame)

        yield Variant("x", "overlap_overwritten", text, hint, overwritten)
    if stride > 1:
        text = f"the stride is left out: errors {stride} places apart are put side by side"
        between = "a zero" if stride == 2 else f"{stride - 1} zeros"
        hint = f"place grad_y[i] at i * {stride}, with {between} between (padding first, cut off afterwards)"
        for offset in {(0, 0), (-pads[0], -pads[1])}:
            yield Variant("x", "stride_not_expanded", text, hint, side_by_side(*offset))
        hint = f"grad_weight[r] sums grad_y[i] * x[i * {stride} + r]"
        yield Variant(name, "stride_not_expanded", text, hint, lambda d: towards_weight(d, framed, 1, dilation))
        text, hint = "errors are repeated over the stride", f"put zeros between them, {stride - 1} of each {stride}"

        def repeated(d: np.ndarray) -> np.ndarray:
            return d.repeat(stride, 2).repeat(stride, 3)

        yield Variant("x", "stride_repeated", text, hint, lambda d: cut(towards_frame(repeated(d), w, 1, dilation)))
        yield Variant(name, "stride_repeated", text, hint, lambda d: towards_weight(repeated(d), framed, 1, dilation))
    if dilation > 1:
        text, hint = "the dilation is left out", f"the taps lie {dilation} places apart"
        yield Variant("x", "dilation_left_out", text, hint, lambda d: cut(towards_frame(d, w, stride, 1)))
        yield Variant(name, "dilation_left_out", text, hint, lambda d: towards_weight(d, framed, stride, 1))
    if mode != "zeros":
        text = f"forward {mode} at the border where it pads, backward takes zeros there"
        hint = (
            "read no place outside of the image: an index of -1 is the last in Python"
            if mode.startswith("wraps")
            else ""
        )
        yield Variant("x", "padding_read_out_of_bounds", text, hint, lambda d: cut(towards_frame(d, w)))
        zeros = _framed(x, pads, "zeros")
        yield Variant(name, "padding_read_out_of_bounds", text, hint, lambda d: towards_weight(d, zeros))
    yield from _off_by_some(x, name, pads, cut, towards_frame, towards_weight, framed, w)


def _turned(gradient: np.ndarray, layout: str) -> np.ndarray:
    return _like_filters(_filters(gradient, layout)[:, :, ::-1, ::-1], layout)


def _border(pads: tuple[int, int], mode: str) -> tuple[tuple[int, int, int, int], str]:
    name = {"wraps around": "circular", "mirrors": "reflect", "repeats the border": "replicate"}[mode]
    return (pads[1], pads[1], pads[0], pads[0]), name


def _off_by_some(
    x: np.ndarray,
    name: str,
    pads: tuple[int, int],
    cut: Callable[..., np.ndarray],
    towards_frame: Callable[..., np.ndarray],
    towards_weight: Callable[..., np.ndarray],
    framed: np.ndarray,
    w: np.ndarray,
) -> Iterator[Variant]:
    """The padding counted wrongly: gradients a place or two off."""

    def elsewhere(down: int, right: int) -> Gradient:
        return lambda d: cut(towards_frame(d, w), down, right)

    def moved(down: int, right: int) -> Gradient:
        room = np.pad(framed, ((0, 0), (0, 0), (abs(down),) * 2, (abs(right),) * 2))
        part = room[:, :, abs(down) + down :, abs(right) + right :][:, :, : framed.shape[2], : framed.shape[3]]
        return lambda d: towards_weight(d, part)

    sideways = range(-1, 2)
    offsets = {*product(sideways if x.shape[2] > 1 else (0,), sideways), (-pads[0], -pads[1]), pads} - {(0, 0)}
    for down, right in sorted(offsets, key=lambda o: (abs(o[0]) + abs(o[1]), o)):
        if (down, right) == (-pads[0], -pads[1]):
            text = "the padding is not cut off: the gradient lies further down and to the right by it"
        else:
            where = f"{down:+d} row, {right:+d} column" if x.shape[2] > 1 else f"{right:+d}"
            text = f"the padding is counted wrongly: the gradient is off by {where}"
        hint = f"with padding {pads[-1]}, x[0] lies at {pads[-1]} of the padded input: cut it out from there"
        yield Variant("x", "padding_off", text, hint, elsewhere(down, right))
        hint = f"backward must pad x as forward does, by {pads[-1]}"
        text = f"the padding is counted wrongly: x is off by {down:+d}, {right:+d} against forward"
        yield Variant(name, "padding_off", text, hint, moved(down, right))
