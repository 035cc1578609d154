"""Strides, paddings and output sizes: the one place where shape arithmetic lives."""

from __future__ import annotations

import operator

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]


def whole(where: str, name: str, value, minimum: int = 0) -> int:
    """`value` as an int of at least `minimum`, else TypeError or ValueError."""
    if type(value) is int and minimum <= value < 2**31:
        return value
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{where}: {name} must be an integer, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{where}: {name} must be an integer, got {value!r}")
    if result < minimum:
        raise ValueError(f"{where}: {name} must be at least {minimum}, got {value!r}")
    if result >= 2**31:
        raise ValueError(f"{where}: {name} must be less than 2**31, got {value!r}")
    return result


def pair(where: str, name: str, value, minimum: int = 1) -> Pair:
    """An int, or (height, width), as (height, width)."""
    if type(value) is int and minimum <= value < 2**31:
        return value, value
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{where}: {name} must be an int or (height, width), got {value!r}")
        return whole(where, name, value[0], minimum), whole(where, name, value[1], minimum)
    one = whole(where, name, value, minimum)
    return one, one


def output_pair(where: str, value) -> tuple[int | None, int | None]:
    """The `output_size` of an adaptive pooling as (height, width), each an int or None."""
    if not isinstance(value, (tuple, list)):
        value = value, value
    if len(value) != 2:
        raise ValueError(f"{where}: output_size must be an int, None or (height, width), got {value!r}")
    height, width = (None if size is None else whole(where, "output_size", size, 1) for size in value)
    return height, width


def padding_pairs(where: str, value, kernel: Pair, stride: Pair, dilation: Pair) -> Padding:
    """Any accepted form of padding as ((top, bottom), (left, right)).

    An int, (height, width), ((top, bottom), (left, right)), "valid", or "same" (stride 1 only; where the total is
    odd the extra row or column goes to the bottom or right, as in PyTorch).
    """
    if type(value) is int:
        both = pair(where, "padding", value, 0)
        return both, both
    if isinstance(value, str):
        if value == "valid":
            return (0, 0), (0, 0)
        if value != "same":
            raise ValueError(f"{where}: padding must be 'same', 'valid' or numbers, got {value!r}")
        if stride != (1, 1):
            raise ValueError(f"{where}: padding='same' needs stride 1, got stride {stride}")
        total_h, total_w = (d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
        return (total_h // 2, total_h - total_h // 2), (total_w // 2, total_w - total_w // 2)
    if isinstance(value, (tuple, list)) and len(value) == 2 and any(isinstance(v, (tuple, list)) for v in value):
        if not all(isinstance(v, (tuple, list)) for v in value):
            raise ValueError(f"{where}: padding must be ((top, bottom), (left, right)), got {value!r}")
        return pair(where, "padding", value[0], 0), pair(where, "padding", value[1], 0)
    height, width = pair(where, "padding", value, 0)
    return (height, height), (width, width)


def transposed_padding(where: str, value) -> Padding:
    """As `padding_pairs`, for a transposed convolution: numbers alone, for it has no "same"."""
    if isinstance(value, str):
        raise ValueError(f"{where}: padding must be numbers, got {value!r}")
    return padding_pairs(where, value, (1, 1), (1, 1), (1, 1))


def single(where: str, name: str, value, minimum: int = 1) -> int:
    """An int, or (int,), as an int."""
    if isinstance(value, (tuple, list)):
        if len(value) != 1:
            raise ValueError(f"{where}: {name} must be an int, got {value!r}")
        value = value[0]
    return whole(where, name, value, minimum)


def padding_pair(where: str, value, kernel: int, stride: int, dilation: int) -> Pair:
    """As `padding_pairs`, for sequences: an int, (int,), ((left, right),), "same" or "valid" as (left, right)."""
    if isinstance(value, str):
        if value == "same" and stride != 1:
            raise ValueError(f"{where}: padding='same' needs stride 1, got stride {stride}")
        return padding_pairs(where, value, (1, kernel), (1, 1), (1, dilation))[1]
    if isinstance(value, (tuple, list)):
        if len(value) != 1:
            raise ValueError(f"{where}: padding must be an int or ((left, right),), got {value!r}")
        return pair(where, "padding", value[0], 0)
    return pair(where, "padding", value, 0)


def window_output(where: str, size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Pair:
    """Output (height, width) of a window slid over an input of `size`; ValueError where it does not fit."""
    return (
        _window_axis(where, "height", size[0], kernel[0], stride[0], padding[0], dilation[0]),
        _window_axis(where, "width", size[1], kernel[1], stride[1], padding[1], dilation[1]),
    )


def window_length(where: str, n: int, kernel: int, stride: int, pads: Pair, dilation: int) -> int:
    """As `window_output`, for a sequence of n."""
    return _window_axis(where, "length", n, kernel, stride, pads, dilation)


def _window_axis(where: str, axis: str, n: int, kernel: int, stride: int, pads: Pair, dilation: int) -> int:
    free = n + pads[0] + pads[1] - dilation * (kernel - 1) - 1
    if free < 0:
        raise _does_not_fit(where, axis, n, kernel, pads, dilation)
    return free // stride + 1


def _does_not_fit(where: str, axis: str, n: int, kernel: int, pads: Pair, dilation: int) -> ValueError:
    dilated = f" (dilation {dilation}: {dilation * (kernel - 1) + 1})" if dilation > 1 else ""
    return ValueError(
        f"{where}: kernel {axis} {kernel}{dilated} is larger than the padded input {axis} {n + pads[0] + pads[1]} "
        f"({n} + padding {pads[0]} + {pads[1]})"
    )


def transposed_output(
    where: str, size: Pair, kernel: Pair, stride: Pair, padding: Padding, output_padding: Pair, dilation: Pair
) -> Pair:
    """Output (height, width) of a transposed convolution; ValueError where there is none."""
    check_output_padding(where, output_padding, stride, dilation)
    return (
        _transposed_axis(where, "height", size[0], kernel[0], stride[0], padding[0], output_padding[0], dilation[0]),
        _transposed_axis(where, "width", size[1], kernel[1], stride[1], padding[1], output_padding[1], dilation[1]),
    )


def check_output_padding(where: str, output_padding: Pair, stride: Pair, dilation: Pair) -> None:
    """Raise ValueError for more rows or columns than PyTorch adds to a transposed convolution."""
    for axis, more, s, d in zip(("height", "width"), output_padding, stride, dilation, strict=True):
        if more >= max(s, d):
            raise ValueError(
                f"{where}: output_padding {axis} {more} must be less than stride {s} or dilation {d} of the {axis}"
            )


def _transposed_axis(
    where: str, axis: str, n: int, kernel: int, stride: int, pads: Pair, output_padding: int, dilation: int
) -> int:
    out = (n - 1) * stride + dilation * (kernel - 1) + 1 + output_padding - pads[0] - pads[1]
    if out < 1:
        raise ValueError(
            f"{where}: padding {pads[0]} + {pads[1]} leaves nothing of the output {axis} {out + pads[0] + pads[1]} "
            f"that an input {axis} of {n} gives"
        )
    return whole(where, f"output {axis}", out)


def pool_output(
    where: str, size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, ceil_mode: bool
) -> Pair:
    """As `window_output`, for pooling: padding at most half the kernel, at least one input position in each window,
    and `ceil_mode` as PyTorch has it (a last window may hang over the end, but must start inside the input or its
    leading padding)."""
    return (
        _pool_axis(where, "height", size[0], kernel[0], stride[0], padding[0], dilation[0], ceil_mode),
        _pool_axis(where, "width", size[1], kernel[1], stride[1], padding[1], dilation[1], ceil_mode),
    )


def pool_length(where: str, n: int, kernel: int, stride: int, pads: Pair, dilation: int, ceil_mode: bool) -> int:
    """As `pool_output`, for a sequence of n."""
    return _pool_axis(where, "length", n, kernel, stride, pads, dilation, ceil_mode)


def _pool_axis(
    where: str, axis: str, n: int, kernel: int, stride: int, pads: Pair, dilation: int, ceil_mode: bool
) -> int:
    before, after = pads
    if before > kernel // 2 or after > kernel // 2:
        raise ValueError(
            f"{where}: padding {axis} {max(pads)} is over half the kernel {axis} {kernel}: at most {kernel // 2}"
        )
    if n < 1:
        raise ValueError(f"{where}: the input has {axis} {n}, expected at least 1")
    free = n + before + after - dilation * (kernel - 1) - 1
    out = free // stride + 1
    if ceil_mode:
        out = -(-free // stride) + 1
        if (out - 1) * stride >= n + before:
            out -= 1
    if out < 1:
        raise _does_not_fit(where, axis, n, kernel, pads, dilation)
    # Taps farther apart than the input is long can all fall into the padding: such a window has no maximum.
    if n < dilation:
        leading = range(-before, min(0, (out - 1) * stride - before + 1), stride)
        if any(start % dilation >= n for start in leading):
            raise ValueError(
                f"{where}: with dilation {dilation} and padding {before}, a window over an input {axis} of {n} "
                f"holds nothing but padding"
            )
    return out


def conv_output_size(size, kernel_size, stride=1, padding=0, dilation=1):
    """Output size of a convolution: ``floor((size + padding - dilation*(kernel_size - 1) - 1) / stride) + 1``.

    Parameters
    ----------
    size : int or (height, width)
        Input size.
    kernel_size, stride, dilation : int or (height, width)
    padding : int, (height, width), ((top, bottom), (left, right)), "same" or "valid"
        Zeros added on each side.

    Returns
    -------
    int or (height, width)
        An int if `size` is one.

    Raises
    ------
    ValueError
        If the kernel is larger than the padded input.

    Examples
    --------
    >>> conv_output_size(28, 5)
    24
    >>> conv_output_size((5, 5), 3, stride=2, padding=1)
    (3, 3)
    """
    where = "conv_output_size"
    kernel, strides = pair(where, "kernel_size", kernel_size), pair(where, "stride", stride)
    dilations = pair(where, "dilation", dilation)
    pads = padding_pairs(where, padding, kernel, strides, dilations)
    height, width = window_output(where, pair(where, "size", size, 0), kernel, strides, pads, dilations)
    if isinstance(size, (tuple, list)):
        return height, width
    if height != width:
        raise ValueError(
            f"{where}: size {size} is one number, but the arguments differ in height and width: give (height, width)"
        )
    return height
