"""Kinds of layers that are recognised by what they compute, and the gradients that known slips would give there.

A kind is found by trying: which options of a linear layer, a convolution, a pooling or a perceptron, and which
activation, turn x and the parameters into y? Then each slip's gradient is computed exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from .. import functional as F
from .slips_activations import IDENTITY, KNOWN, SIGMOID, TANH, Activation, fitting, same
from .slips_guesses import Guess, at_output, formula_at_input, missing, twice
from .slips_point import Point

# Delta is the gradient to the weighted input z.
Gradient = Callable[[np.ndarray], np.ndarray]


class Variant(NamedTuple):
    """One way to compute an array's gradient from delta; the right one has no slip."""

    array: str
    slip: str
    text: str
    hint: str
    gradient: Gradient


class Affine(NamedTuple):
    """``y = act(z)``, z a linear layer or a convolution of x; `options` hold the arrays' names and the geometry."""

    kind: str
    options: tuple
    act: Activation

    def describe(self) -> str:
        return self.kind + (f" and {self.act.name}" if self.act.name else "")


def recognised(point: Point) -> Iterator[Affine]:
    """The affine kinds that give y."""
    for name, value in point.arrays.items():
        if name == "x" or value.ndim < 2:
            continue
        for bias in _biases(point):
            for options in (*_linear_options(point, name, bias), *_conv_options(point, name, bias)):
                z = _weighted(point, options)
                if z.size != point.y.size:
                    continue
                for act in fitting(z, point.y.reshape(z.shape)):
                    yield Affine("a linear layer" if options[0] == "linear" else "a convolution", options, act)
                    return


def affine_guesses(kind: Affine, point: Point, name: str) -> Iterator[Guess]:
    """Guesses about one array of a layer of the kind."""
    z = _weighted(point, kind.options)
    y = point.y.reshape(z.shape)
    for (slip, text, hint), factor in delta_factors(kind.act, z, y):
        for variant in (_linear if kind.options[0] == "linear" else _conv)(point, kind.options):
            if variant.array != name or not (slip or variant.slip):
                continue
            names = [s for s in (variant.slip, slip) if s]
            texts = [s for s in (variant.text, text) if s]
            hints = [s for s in (variant.hint, hint) if s]

            def values(
                j: int, indices: np.ndarray, factor: np.ndarray = factor, gradient: Gradient = variant.gradient
            ) -> np.ndarray:
                return gradient(point.gs[j].reshape(z.shape) * factor).reshape(-1)[indices]

            yield Guess("+".join(names), ", and ".join(texts), "; ".join(hints), values)


def delta_factors(act: Activation, z: np.ndarray, y: np.ndarray) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
    """Ways to take an activation's derivative: the right one, and slips. The factor multiplies grad_y."""
    slope = act.slope(z)
    yield ("", "", ""), slope
    if act is IDENTITY:
        return
    yield missing(act), np.ones_like(slope)
    if not same(act.slope(y), slope):
        yield at_output(act), act.slope(y)
    if act in (SIGMOID, TANH) and act.of_output is not None:
        yield formula_at_input(act), act.of_output(z)
    if not same(slope * slope, slope):
        yield twice(act), slope * slope


def _biases(point: Point) -> list[str | None]:
    return [*(name for name, a in point.arrays.items() if name != "x" and a.size in (max(a.shape, default=1), 1)), None]


# --- linear -------------------------------------------------------------------------------------------------


def _linear_options(point: Point, name: str, bias: str | None) -> Iterator[tuple]:
    weight, n = point.arrays[name], point.batch
    if weight.ndim != 2 or not point.x.size:
        return
    inputs, outputs = point.x.size // n, point.y.size // n
    for turned in (False, True):
        shape = weight.shape[::-1] if turned else weight.shape
        if shape == (outputs, inputs) and (bias is None or point.arrays[bias].size in (1, outputs)):
            yield "linear", name, bias, turned


def _weighted(point: Point, options: tuple) -> np.ndarray:
    if options[0] == "conv":
        return _conv_forward(point, options)
    _, name, bias, turned = options
    weight = point.arrays[name]
    z = point.x.reshape(point.batch, -1) @ (weight if turned else weight.T)
    return z if bias is None else z + point.arrays[bias].reshape(1, -1)


def _linear(point: Point, options: tuple) -> Iterator[Variant]:
    _, name, bias, turned = options
    x, weight = point.x.reshape(point.batch, -1), point.arrays[name]
    matrix = weight.T if turned else weight

    def like_weight(gradient: np.ndarray) -> np.ndarray:
        return gradient.T if turned else gradient

    yield Variant("x", "", "", "", lambda d: d @ matrix)
    if matrix.shape[0] == matrix.shape[1]:
        text, hint = "the weight stands transposed", f"grad_x = grad_y @ weight{'.T' if turned else ''}"
        yield Variant("x", "transposed_weight", text, hint, lambda d: d @ matrix.T)
    text = "the gradient of the weight is returned: error times input, where error times weight is due"
    hint = f"grad_x = grad_y @ weight{'.T' if turned else ''}"
    yield Variant("x", "swapped", text, hint, lambda d: d.sum(1, keepdims=True) * x)
    yield Variant("x", "swapped", text, hint, lambda d: np.broadcast_to((d[:, :1].T @ x), x.shape))
    yield Variant(name, "", "", "", lambda d: like_weight(d.T @ x))
    text, hint = "error times weight stands where error times input is due", "grad_weight = grad_y.T @ x"
    yield Variant(name, "swapped", text, hint, lambda d: like_weight(d.sum(0)[:, None] * matrix))
    if bias is not None:
        yield Variant(bias, "", "", "", lambda d: d.sum(0) if point.arrays[bias].size > 1 else d.sum())
        text, hint = "the gradient of the weight stands in the bias's place", "the sum of grad_y over the examples"
        yield Variant(bias, "bias_from_weight", text, hint, lambda d: _spread(d.T @ x, bias, point, np.sum))
        text = "it is updated with the mean of the weight's gradients"
        yield Variant(bias, "bias_from_weight", text, hint, lambda d: _spread(d.T @ x, bias, point, np.mean))


def _spread(gradient: np.ndarray, bias: str, point: Point, how: Callable[..., np.ndarray]) -> np.ndarray:
    axes = tuple(range(1, gradient.ndim)) if point.arrays[bias].size > 1 else None
    return np.asarray(how(gradient, axis=axes))


# --- convolution --------------------------------------------------------------------------------------------

_MODES = {"zeros": "constant", "wraps around": "wrap", "mirrors": "reflect", "repeats the border": "edge"}


def _images(a: np.ndarray) -> np.ndarray | None:
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


def _conv_options(point: Point, name: str, bias: str | None) -> Iterator[tuple]:
    x, y, weight = _images(point.x), point.y, point.arrays[name]
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
                    yield "conv", name, bias, layout, stride, pads, dilation, groups, mode, flipped


def _framed(x: np.ndarray, pads: tuple[int, int], mode: str) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (pads[0],) * 2, (pads[1],) * 2), mode=_MODES[mode])  # type: ignore[call-overload]


def _conv_forward(point: Point, options: tuple) -> np.ndarray:
    _, name, bias, layout, stride, pads, dilation, groups, mode, flipped = options
    x = _images(point.x)
    assert x is not None
    w = _filters(point.arrays[name], layout)
    b = None
    if bias is not None:
        b = np.broadcast_to(point.arrays[bias].reshape(-1), len(w))
    return F.conv2d(_framed(x, pads, mode), w[:, :, ::-1, ::-1] if flipped else w, b, stride, 0, dilation, groups)


def _conv(point: Point, options: tuple) -> Iterator[Variant]:
    _, name, bias, layout, stride, pads, dilation, groups, mode, flipped = options
    x = _images(point.x)
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
            return _spread(_filters(towards_weight(d), layout), bias, point, how)

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
        hint = f"place grad_y[i] at i * {stride}, with {stride - 1} zeros between (padding first, cut off afterwards)"
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


# --- pooling and softmax ------------------------------------------------------------------------------------


def window_guesses(point: Point, name: str) -> Iterator[Guess]:
    """Slips of max and average pooling: windows are found by trying."""
    x, y = _images(point.x), _images(point.y)
    if name != "x" or len(point.arrays) > 1 or x is None or y is None or x.shape[:2] != y.shape[:2]:
        return
    for k, stride, pad in product(range(1, 7), range(1, 7), range(4)):
        flat = x.shape[2] == 1
        kernel, strides, pads = ((1, k), (1, stride), (0, pad)) if flat else ((k, k), (stride, stride), (pad, pad))
        fits = all(
            size + 2 * p >= size_k and (size + 2 * p - size_k) // s + 1 == out
            for size, size_k, s, p, out in zip(x.shape[2:], kernel, strides, pads, y.shape[2:], strict=True)
        )
        if k == 1 or pad > k // 2 or not fits:
            continue
        if same(F.max_pool2d(x, kernel, strides, pads)[0], y):
            kind = "max"
        elif same(F.avg_pool2d(x, kernel, strides, pads), y):
            kind = "average"
        else:
            continue
        yield from _windows(point, kind, x.shape, y.shape, (kernel, strides, pads))
        return


def _windows(point: Point, kind: str, shape: tuple, y_shape: tuple, options: tuple) -> Iterator[Guess]:
    area = options[0][0] * options[0][1]
    _, strides, pads = options

    def guess(slip: str, text: str, hint: str, gradient: Gradient) -> Guess:
        return Guess(slip, text, hint, lambda j, i: gradient(point.gs[j].reshape(y_shape)).reshape(-1)[i])

    def average(g: np.ndarray) -> np.ndarray:
        return F.avg_pool2d_backward(g, shape, *options)

    def first(g: np.ndarray) -> np.ndarray:
        found = np.zeros((*shape[:2], shape[2] + 2 * pads[0] + 8, shape[3] + 2 * pads[1] + 8))
        found[:, :, : g.shape[2] * strides[0] : strides[0], : g.shape[3] * strides[1] : strides[1]] = g
        return found[:, :, pads[0] : pads[0] + shape[2], pads[1] : pads[1] + shape[3]]

    if kind == "max":
        hint = "all of grad_y goes to the place of the maximum, nothing to the others"
        text = "each cell of a window gets the error, not the maximum alone"
        yield guess("whole_window", text, hint, lambda g: average(g) * area)
        text = "the error is shared by all cells of a window, as in average pooling"
        yield guess("window_averaged", text, hint, average)
    else:
        hint = f"each cell gets grad_y / {area}"
        _, indices = F.max_pool2d(point.x.reshape(shape), *options)
        yield guess(
            "to_the_maximum",
            "the error goes to the largest number, as in max pooling",
            hint,
            lambda g: F.max_pool2d_backward(g, indices, shape),
        )
    yield guess("first_of_window", "the error goes to the first cell of each window", hint, first)


def softmax_guesses(point: Point, name: str) -> Iterator[Guess]:
    """A softmax over the last axis or axis 1."""
    x, y = point.x, point.y
    if name != "x" or x.shape != y.shape or x.ndim < 2:
        return
    flat = y.reshape(-1)
    for log, axis in product((False, True), {1, x.ndim - 1}):
        if same((F.log_softmax if log else F.softmax)(x, axis), y):
            hint = "grad_x = " + (
                "grad_y - exp(y) * grad_y.sum(axis)" if log else "y * (grad_y - (grad_y * y).sum(axis))"
            )
            what = "log-softmax" if log else "softmax"
            yield Guess(
                "derivative_missing",
                f"the derivative of the {what} is missing: grad_y is passed on as it is",
                f"{hint}, unless the loss has it in: then let the loss take logits, and drop this layer",
                lambda j, i: point.gs[j].reshape(-1)[i],
            )
            if not log:
                yield Guess(
                    "softmax_diagonal",
                    "only each output's own input is seen, y * (1 - y): a softmax's outputs depend on all inputs",
                    hint,
                    lambda j, i: (point.gs[j].reshape(-1) * flat * (1 - flat))[i],
                )
            return


def normalised_guesses(point: Point, name: str) -> Iterator[Guess]:
    """Normalisation over some axes, mean and variance taken for constants."""
    x, y = point.x, point.y
    if name != "x" or x.shape != y.shape or x.ndim < 2 or point.y.size < 4:
        return
    channels = tuple(a for a in range(x.ndim) if a != 1)
    for axes, epsilon in product((channels, tuple(range(1, x.ndim))), (1e-5, 0, 1e-3, 1e-6, 1e-8, 1e-12)):
        centred = x - x.mean(axes, keepdims=True)
        spread = np.sqrt(x.var(axes, keepdims=True) + epsilon)
        # y is an affine function of the normalised input, with a slope and an offset for each of the channels.
        scale = (y * centred).mean(channels, keepdims=True) / (centred * centred / spread).mean(channels, keepdims=True)
        rest = y - scale * centred / spread
        if np.abs(rest - rest.mean(channels, keepdims=True)).max() > 1e-7 * np.abs(y).max() or (scale == 0).any():
            continue
        weight = [a for n, a in point.arrays.items() if n != "x" and a.size == x.shape[1]]
        for w in [*weight, np.ones(x.shape[1])]:
            by = w.reshape(-1, *[1] * (x.ndim - 2)) / spread

            def values(j: int, i: np.ndarray, by: np.ndarray = by) -> np.ndarray:
                return np.broadcast_to(point.gs[j] * by, x.shape).reshape(-1)[i]

            yield Guess(
                "statistics_constant",
                "mean and variance are taken for constants: they depend on x",
                "grad_x = weight / std * (g - mean(g) - x_hat * mean(g * x_hat))",
                values,
            )
        return


# --- a perceptron in one layer ------------------------------------------------------------------------------


class Chain(NamedTuple):
    """``a = f(a @ W.T + b)`` several times; `weights` and `biases` by name, `turned` where W stands transposed."""

    weights: tuple[str, ...]
    biases: tuple[str | None, ...]
    turned: tuple[bool, ...]
    hidden: Activation
    last: Activation


def chains(point: Point) -> Iterator[Chain]:
    """The perceptron that takes x to y with the parameters in their order, if it is one."""
    weights = [n for n, a in point.arrays.items() if n != "x" and a.ndim == 2 and 1 not in a.shape[:1]]
    flat = [n for n, a in point.arrays.items() if n != "x" and n not in weights]
    biases = flat if len(flat) == len(weights) else [None] * len(weights)
    if len(weights) < 2 or (flat and biases[0] is None) or point.x.ndim != 2 or point.y.ndim != 2:
        return
    turned, size = [], point.x.shape[1]
    for name in weights:
        shape = point.arrays[name].shape
        if size not in shape:
            return
        turned.append(shape[1] != size)
        size = shape[0] if shape[1] == size else shape[1]
    if size != point.y.shape[1]:
        return
    for turns in {tuple(turned), (True,) * len(weights)}:
        for hidden in KNOWN[:7]:
            chain = Chain(tuple(weights), tuple(biases), turns, hidden, IDENTITY)
            try:
                zs = _forward(chain, point)[1]
            except ValueError:
                break
            for last in fitting(zs[-1], point.y):
                yield chain._replace(last=last)
                return


def _forward(chain: Chain, point: Point) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and weighted sums, layer by layer."""
    inputs, sums = [point.x], []
    with np.errstate(all="ignore"):
        for w, b, turned in zip(chain.weights, chain.biases, chain.turned, strict=True):
            weight = point.arrays[w]
            z = inputs[-1] @ (weight if turned else weight.T)
            sums.append(z if b is None else z + point.arrays[b].reshape(1, -1))
            inputs.append(chain.hidden.value(sums[-1]))
    return inputs, sums


_RIGHT = ("", "", "")
_PASSED = (
    "derivative_missing",
    "the activation's derivative is missing from the error that is passed back",
    "pass back (grad_y * f'(z)) @ weight, the same product that the weight's gradient is made of",
)


def chain_guesses(chain: Chain, point: Point, name: str) -> Iterator[Guess]:
    """Slips in the derivatives of hidden and last layers."""
    inputs, sums = _forward(chain, point)
    count = len(sums)
    hidden = [list(delta_factors(chain.hidden, z, a)) for z, a in zip(sums[:-1], inputs[1:-1], strict=True)]
    slips = [[s for s, _ in h] for h in hidden]
    kinds = [s for s in slips[0] if all(s in other for other in slips)]
    for (end, end_factor), kind in product(delta_factors(chain.last, sums[-1], point.y), [*kinds, _PASSED]):
        if not end[0] and not kind[0]:
            continue
        said = [s for s in (_of("hidden layers", kind), _of("last layer", end)) if s[0]]
        if len(said) == 2 and kind[0] == end[0] and chain.hidden is chain.last:
            said = [_of("every layer", kind)]
        factors = [*(dict(h)[_RIGHT if kind is _PASSED else kind] for h in hidden), end_factor]

        def values(
            j: int, i: np.ndarray, factors: list[np.ndarray] = factors, bare: bool = kind is _PASSED
        ) -> np.ndarray:
            d = point.gs[j]
            for layer in range(count - 1, -1, -1):
                error, d = d, d * factors[layer]
                w, b = chain.weights[layer], chain.biases[layer]
                if name == w:
                    gradient = d.T @ inputs[layer]
                    return (gradient.T if chain.turned[layer] else gradient).reshape(-1)[i]
                if name == b:
                    return d.sum(0)[i]
                weight = point.arrays[w]
                d = (error if bare and layer < count - 1 else d) @ (weight.T if chain.turned[layer] else weight)
            return d.reshape(-1)[i]

        yield Guess("+".join(dict.fromkeys(s[0] for s in said)), ", and ".join(s[1] for s in said), said[0][2], values)


def _of(where: str, slip: tuple[str, str, str]) -> tuple[str, str, str]:
    return (slip[0], f"{slip[1]} ({where})", slip[2]) if slip[0] else slip
