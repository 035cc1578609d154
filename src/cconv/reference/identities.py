"""Textbook identities: other ways to the same numbers, each an oracle of its own."""

from __future__ import annotations

import numpy as np

from .. import _arguments
from .._checks import real
from .._shapes import pair, whole
from ._precision import ieee, rounded, wide
from .conv import conv2d


def rotate180(weight):
    """Each plane turned by half a turn: ``out[..., r, s] = weight[..., R - 1 - r, S - 1 - s]``.

    Parameters
    ----------
    weight : array (..., R, S)

    Returns
    -------
    array of the same shape

    Raises
    ------
    TypeError
        If `weight` is not float32 or float64.
    ValueError
        If it has fewer than two dimensions.
    """
    weight = real("rotate180", "weight", weight)
    if weight.ndim < 2:
        raise ValueError(f"rotate180: weight has shape {weight.shape}, expected at least 2 dimensions")
    return np.ascontiguousarray(weight[..., ::-1, ::-1])


@ieee
def convolve2d_true(x, weight, padding=0):
    """The convolution of mathematics, which flips the filter::

        y[n, k, i, j] = sum over c, r, s of weight[k, c, r, s] * xp[n, c, i + R - 1 - r, j + S - 1 - s]

    Identity: ``convolve2d_true(x, weight) == conv2d(x, rotate180(weight))``. What deep learning calls convolution is
    cross-correlation; the two differ by a rotation of the filter, which learning makes immaterial.

    Parameters
    ----------
    x : array (N, C, H, W)
    weight : array (K, C, R, S)
    padding
        As in `conv2d`; (R - 1, S - 1) gives the full convolution.

    Returns
    -------
    array (N, K, P, Q)

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.
    """
    args = _arguments.conv2d("convolve2d_true", x, weight, None, 1, padding, 1, 1, "direct")
    xp, w = np.pad(wide(args.x), ((0, 0), (0, 0), *args.padding)), wide(args.weight)
    filters, _, kernel_h, kernel_w = w.shape
    y = np.empty((len(xp), filters, *args.output_size))
    for i in range(args.output_size[0]):
        for j in range(args.output_size[1]):
            rows = i + kernel_h - 1 - np.arange(kernel_h)
            columns = j + kernel_w - 1 - np.arange(kernel_w)
            y[:, :, i, j] = np.einsum("ncrs,kcrs->nk", xp[:, :, rows[:, None], columns], w)
    return rounded(y, args.x.dtype)


def stride_expand(grad_y, stride):
    """Zeros between the rows and columns: ``out[..., i*sh, j*sw] = grad_y[..., i, j]``, zero elsewhere.

    Identity: a convolution with a stride is one without, of whose outputs all but each stride-th are dropped. Its
    gradients are thus those of the convolution without stride, given zeros for the outputs that were dropped.

    Parameters
    ----------
    grad_y : array (N, K, P, Q)
    stride : int or (height, width)

    Returns
    -------
    array (N, K, (P - 1)*sh + 1, (Q - 1)*sw + 1)

    Raises
    ------
    TypeError, ValueError
        If `grad_y` is not a float array of rank 4, or `stride` not at least 1.
    """
    grad_y = real("stride_expand", "grad_y", grad_y, 4)
    stride_h, stride_w = pair("stride_expand", "stride", stride)
    n, k, p, q = grad_y.shape
    expanded = np.zeros((n, k, max((p - 1) * stride_h + 1, 0), max((q - 1) * stride_w + 1, 0)), grad_y.dtype)
    expanded[:, :, ::stride_h, ::stride_w] = grad_y
    return expanded


@ieee
def conv2d_grad_x_full(grad_y, weight, x_size, stride=1, padding=0, dilation=1, groups=1):
    """A convolution's gradient with respect to its input, as a convolution.

    Identity: grad_x is the full correlation of the stride-expanded `grad_y` with the rotated filters, whose input and
    output channels trade places; rows and columns that the stride left over at the end get zero; then the padding is
    cut off. Equal to ``conv2d_backward(grad_y, x, weight, ...)[0]``.

    Parameters
    ----------
    grad_y : array (N, K, P, Q)
        Gradient with respect to the output.
    weight : array (K, C / groups, R, S)
    x_size : int or (height, width)
        Size of the input. The other shapes do not tell it where the stride leaves a remainder.
    stride, padding, dilation, groups
        As given to `conv2d`.

    Returns
    -------
    array (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `conv2d_backward`.
    """
    where = "conv2d_grad_x_full"
    grad_y, weight = real(where, "grad_y", grad_y, 4), real(where, "weight", weight, 4)
    groups, size = whole(where, "groups", groups, 1), pair(where, "x_size", x_size)
    # The clean arguments of the backward pass do not depend on what x holds.
    x = np.zeros((len(grad_y), weight.shape[1] * groups, *size), grad_y.dtype)
    args = _arguments.conv2d_backward(
        where, grad_y, x, weight, stride, padding, dilation, groups, (True, False, False), "direct"
    )
    expanded = stride_expand(grad_y, args.stride)
    reach = [d * (k - 1) for d, k in zip(args.dilation, weight.shape[2:], strict=True)]
    padded = [n + before + after for n, (before, after) in zip(size, args.padding, strict=True)]
    left_over = [p - (e + r) for p, e, r in zip(padded, expanded.shape[2:], reach, strict=True)]
    grad_xp = conv2d(
        expanded,
        rotate180(_swapped(weight, groups)),
        padding=[(r, r + rest) for r, rest in zip(reach, left_over, strict=True)],
        dilation=args.dilation,
        groups=groups,
    )
    (top, _), (left, _) = args.padding
    return np.ascontiguousarray(grad_xp[:, :, top : top + size[0], left : left + size[1]])


def _swapped(weight: np.ndarray, groups: int) -> np.ndarray:
    """Filters and channels trading places within each group: (K, C / groups, R, S) to (C, K / groups, R, S)."""
    k, c, r, s = weight.shape
    return weight.reshape(groups, k // groups, c, r, s).swapaxes(1, 2).reshape(groups * c, k // groups, r, s)


@ieee
def avg_pool_backward_kron(grad_y, kernel_size):
    """Gradient of average pooling over windows that touch and do not overlap.

    Identity: it is the Kronecker product of `grad_y`, plane by plane, with a window of ones, over the window's area.
    Equal to ``avg_pool2d_backward(grad_y, (N, C, P*kh, Q*kw), (kh, kw))``.

    Parameters
    ----------
    grad_y : array (N, C, P, Q)
        Gradient with respect to the output.
    kernel_size : int or (height, width)

    Returns
    -------
    array (N, C, P*kh, Q*kw)

    Raises
    ------
    TypeError, ValueError
        If `grad_y` is not a float array of rank 4, or `kernel_size` not at least 1.
    """
    grad_y = real("avg_pool_backward_kron", "grad_y", grad_y, 4)
    height, width = pair("avg_pool_backward_kron", "kernel_size", kernel_size)
    return rounded(np.kron(wide(grad_y), np.ones((1, 1, height, width))) / (height * width), grad_y.dtype)
