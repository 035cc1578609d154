"""Two-dimensional transposed convolution and its gradients."""

from __future__ import annotations

import numpy as np

from .. import _arguments
from ._precision import ieee, rounded, wide
from .conv import _cropped, _groups, _padded, _taps


@ieee
def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, algorithm="auto"
):
    """Spread each number of the input over a window of the output: what `conv2d_backward` does for grad_x.

    With (sh, sw) the stride, (dh, dw) the dilation, yp the output before `padding` is cut off it, and k over the
    filters of channel c's group::

        yp[n, k, i*sh + r*dh, j*sw + s*dw] += weight[c, k, r, s] * x[n, c, i, j]    for all c, r, s, i, j
        y = bias[k] + yp without the padding

    Parameters
    ----------
    x : array (N, C, H, W)
    weight : array (C, K / groups, R, S)
        Channel group g, from g*C/groups on, makes outputs from g*K/groups on.
    bias : array (K,), optional
    stride, dilation : int or (height, width)
    padding : int, (height, width) or ((top, bottom), (left, right))
        Cut off the output.
    output_padding : int or (height, width)
        Rows and columns that yp has more at its end; less than stride or dilation.
    groups : int
    algorithm : {"auto", "direct", "winograd"}
        How the compiled twin computes; here it is checked, and the sum above is taken.

    Returns
    -------
    array (N, K, P, Q)
        P = (H - 1)*sh + dh*(R - 1) + 1 + output_padding - top - bottom, and Q likewise.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, dtypes differ, or a number is not an integer.
    ValueError
        If a rank or shape does not fit, or a number is out of range.
    """
    args = _arguments.conv_transpose2d(
        "conv_transpose2d", x, weight, bias, stride, padding, output_padding, groups, dilation, algorithm
    )
    x, w, size = wide(args.x), wide(args.weight), args.x.shape[2:]
    (top, bottom), (left, right) = args.padding
    n, filters, height, width = args.y_shape
    yp = np.zeros((n, filters, height + top + bottom, width + left + right))
    for r, s, reached in _taps(w.shape[2:], size, args.stride, args.dilation):
        for outputs, channels in _groups(args.groups, filters, len(w)):
            yp[:, outputs][reached] += np.einsum("nchw,ck->nkhw", x[:, channels], w[channels, :, r, s], optimize=True)
    y = _cropped(yp, args.padding)
    if args.bias is not None:
        y = y + wide(args.bias)[:, None, None]
    return rounded(y, args.x.dtype)


@ieee
def conv_transpose2d_backward(
    grad_y, x, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1, needs=(True, True, True),
    algorithm="auto",
):  # fmt: skip
    """Gradients of `conv_transpose2d`: each input gathers what it was spread over, which is `conv2d` of grad_y.

    ::

        grad_x[n, c, i, j]      = sum over k, r, s of weight[c, k, r, s] * grad_yp[n, k, i*sh + r*dh, j*sw + s*dw]
        grad_weight[c, k, r, s] = sum over n, i, j of x[n, c, i, j] * grad_yp[n, k, i*sh + r*dh, j*sw + s*dw]
        grad_bias[k]            = sum over n, i, j of grad_y[n, k, i, j]

    grad_yp is grad_y with the padding around it, of zeros.

    Parameters
    ----------
    grad_y : array (N, K, P, Q)
        Gradient with respect to the output.
    x, weight, stride, padding, output_padding, groups, dilation
        As given to `conv_transpose2d`.
    needs : (bool, bool, bool)
        Which of the three gradients to compute.
    algorithm : {"auto", "direct", "winograd"}
        As for `conv_transpose2d`.

    Returns
    -------
    (grad_x, grad_weight, grad_bias) : arrays (N, C, H, W), (C, K / groups, R, S), (K,)
        None in the place of one that is not needed.

    Raises
    ------
    TypeError, ValueError
        As `conv_transpose2d`; also if `grad_y` has not the output's shape.
    """
    args = _arguments.conv_transpose2d_backward(
        "conv_transpose2d_backward",
        grad_y, x, weight, stride, padding, output_padding, groups, dilation, needs, algorithm,
    )  # fmt: skip
    gy, x, w = wide(args.grad_y), wide(args.x), wide(args.weight)
    grad_yp, grad_x, grad_w = _padded(gy, args.padding), np.zeros_like(x), np.zeros_like(w)
    for r, s, reached in _taps(w.shape[2:], x.shape[2:], args.stride, args.dilation):
        for outputs, channels in _groups(args.groups, gy.shape[1], len(w)):
            g = grad_yp[:, outputs][reached]
            grad_x[:, channels] += np.einsum("nkhw,ck->nchw", g, w[channels, :, r, s], optimize=True)
            grad_w[channels, :, r, s] = np.einsum("nchw,nkhw->ck", x[:, channels], g, optimize=True)
    gradients = grad_x, grad_w, gy.sum(axis=(0, 2, 3))
    return tuple(rounded(g, args.x.dtype) if need else None for g, need in zip(gradients, args.needs, strict=True))
