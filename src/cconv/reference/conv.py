"""Two-dimensional convolution (cross-correlation, as in every deep learning library) and its gradients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import _arguments
from .._shapes import Padding, Pair
from ._precision import ieee, rounded, wide


@ieee
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, algorithm="auto"):
    """Slide each filter over the zero-padded input, without flipping it.

    With (sh, sw) the stride, (dh, dw) the dilation, xp the padded input, and c over the channels of filter k's group::

        y[n, k, i, j] = bias[k] + sum over c, r, s of weight[k, c, r, s] * xp[n, c, i*sh + r*dh, j*sw + s*dw]

    Parameters
    ----------
    x : array (N, C, H, W)
    weight : array (K, C / groups, R, S)
        Group g holds filters g*K/groups onwards and sees channels g*C/groups onwards.
    bias : array (K,), optional
    stride, dilation : int or (height, width)
    padding : int, (height, width), ((top, bottom), (left, right)), "same" or "valid"
    groups : int
    algorithm : {"auto", "direct", "winograd"}
        How the compiled twin computes; here it is checked, and the sum above is taken.

    Returns
    -------
    array (N, K, P, Q)
        P = (H + top + bottom - dh*(R - 1) - 1) // sh + 1, and Q likewise.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, dtypes differ, or a number is not an integer.
    ValueError
        If a rank or shape does not fit, or a number is out of range.
    """
    args = _arguments.conv2d("conv2d", x, weight, bias, stride, padding, dilation, groups, algorithm)
    xp, w = _padded(wide(args.x), args.padding), wide(args.weight)
    y = np.zeros((len(xp), len(w), *args.output_size))
    for r, s, seen in _taps(w.shape[2:], args.output_size, args.stride, args.dilation):
        for channels, filters in _groups(args.groups, xp.shape[1], len(w)):
            y[:, filters] += np.einsum("nchw,kc->nkhw", xp[:, channels][seen], w[filters, :, r, s], optimize=True)
    if args.bias is not None:
        y += wide(args.bias)[:, None, None]
    return rounded(y, args.x.dtype)


@ieee
def conv2d_backward(
    grad_y, x, weight, stride=1, padding=0, dilation=1, groups=1, needs=(True, True, True), algorithm="auto"
):
    """Gradients of `conv2d`: each output hands its gradient back to whatever entered its sum.

    ::

        grad_xp[n, c, i*sh + r*dh, j*sw + s*dw] += weight[k, c, r, s] * grad_y[n, k, i, j]   for all k, r, s, i, j
        grad_weight[k, c, r, s] = sum over n, i, j of grad_y[n, k, i, j] * xp[n, c, i*sh + r*dh, j*sw + s*dw]
        grad_bias[k]            = sum over n, i, j of grad_y[n, k, i, j]

    grad_x is grad_xp without the padding.

    Parameters
    ----------
    grad_y : array (N, K, P, Q)
        Gradient with respect to the output.
    x, weight, stride, padding, dilation, groups
        As given to `conv2d`.
    needs : (bool, bool, bool)
        Which of the three gradients to compute.
    algorithm : {"auto", "direct", "winograd"}
        As for `conv2d`.

    Returns
    -------
    (grad_x, grad_weight, grad_bias) : arrays (N, C, H, W), (K, C / groups, R, S), (K,)
        None in the place of one that is not needed.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`; also if `grad_y` has not the output's shape.
    """
    args = _arguments.conv2d_backward(
        "conv2d_backward", grad_y, x, weight, stride, padding, dilation, groups, needs, algorithm
    )
    need_x, need_weight, need_bias = args.needs
    gy, w, xp = wide(args.grad_y), wide(args.weight), _padded(wide(args.x), args.padding)
    grad_xp, grad_w = np.zeros_like(xp), np.zeros_like(w)
    for r, s, seen in _taps(w.shape[2:], gy.shape[2:], args.stride, args.dilation):
        for channels, filters in _groups(args.groups, xp.shape[1], len(w)):
            g = gy[:, filters]
            if need_x:
                grad_xp[:, channels][seen] += np.einsum("nkhw,kc->nchw", g, w[filters, :, r, s], optimize=True)
            if need_weight:
                grad_w[filters, :, r, s] = np.einsum("nkhw,nchw->kc", g, xp[:, channels][seen], optimize=True)
    dtype = args.x.dtype
    return (
        rounded(_cropped(grad_xp, args.padding), dtype) if need_x else None,
        rounded(grad_w, dtype) if need_weight else None,
        rounded(gy.sum(axis=(0, 2, 3)), dtype) if need_bias else None,
    )


def _padded(x: np.ndarray, padding: Padding) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), *padding))


def _cropped(xp: np.ndarray, padding: Padding) -> np.ndarray:
    (top, bottom), (left, right) = padding
    return xp[:, :, top : xp.shape[2] - bottom, left : xp.shape[3] - right]


def _taps(kernel: Pair, output: Pair, stride: Pair, dilation: Pair) -> Iterator[tuple[int, int, tuple]]:
    """Each filter tap (r, s), and the slice of padded positions that it meets over all outputs."""
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            top, left = r * dilation[0], s * dilation[1]
            rows = slice(top, top + (output[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(left, left + (output[1] - 1) * stride[1] + 1, stride[1])
            yield r, s, (..., rows, columns)


def _groups(groups: int, channels: int, filters: int) -> Iterator[tuple[slice, slice]]:
    """Each group's channels and filters."""
    c, k = channels // groups, filters // groups
    for g in range(groups):
        yield slice(g * c, (g + 1) * c), slice(g * k, (g + 1) * k)
