"""The classic pattern: INPUT -> [[CONV]*N -> POOL?]*M -> [FC]*K -> classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import nn
from .._random import generator
from .._shapes import conv_output_size, whole


def cnn(
    input_shape: tuple[int, int, int],
    conv: Sequence[Sequence[int]] = ((32, 32), (64, 64)),
    pool: bool | Sequence[bool] = True,
    fc: Sequence[int] = (128,),
    num_classes: int = 10,
    *,
    kernel_size: Any = 3,
    padding: Any = "same",
    activation: type[nn.Layer] = nn.ReLU,
    pooling: type[nn.MaxPool2d] | type[nn.AvgPool2d] = nn.MaxPool2d,
    rng: np.random.Generator | int | None = None,
    dtype: Any = np.float32,
) -> nn.Sequential:
    """A convolutional network in one line.

    Parameters
    ----------
    input_shape : (C, H, W)
    conv : sequence of sequences of int
        Blocks, and in each the filters of its convolutions: ``[[32, 32], [64, 64]]``. Each convolution is followed by
        the activation.
    pool : bool, or sequence of bool
        Whether a 2x2 pooling ends each block, or which blocks.
    fc : sequence of int
        Sizes of the fully connected layers before the last, each followed by the activation.
    num_classes : int
        Outputs of the last layer, which has no activation: it gives logits.
    kernel_size, padding
        Of every convolution, as `nn.Conv2d` has them.
    activation : class of layer
        Called without arguments.
    pooling : class of layer
        Called with 2.
    rng : Generator or int, optional
        Draws the weights; the default generator if None.
    dtype : float32 or float64

    Returns
    -------
    Sequential

    Raises
    ------
    ValueError
        If an argument is out of its range, or poolings and convolutions leave nothing of the image.

    Examples
    --------
    >>> cnn((1, 28, 28), conv=[[32, 32], [64, 64]], pool=True, fc=[128], num_classes=10)
    """
    channels, *size = (whole("cnn", "input_shape", n, 1) for n in input_shape)
    if len(size) != 2:
        raise ValueError(f"cnn: input_shape must be (C, H, W), got {input_shape!r}")
    pools = [pool] * len(conv) if isinstance(pool, bool) else list(pool)
    if len(pools) != len(conv):
        raise ValueError(f"cnn: pool has {len(pools)} entries, conv {len(conv)} blocks")
    options: dict[str, Any] = {"rng": generator(rng), "dtype": dtype}
    model = nn.Sequential()
    for block, (filters, pooled) in enumerate(zip(conv, pools, strict=True)):
        for out_channels in filters:
            model.append(nn.Conv2d(channels, out_channels, kernel_size, padding=padding, **options))
            model.append(activation())
            size = list(conv_output_size(tuple(size), kernel_size, padding=padding))
            channels = out_channels
        if pooled:
            if min(size) < 2:
                raise ValueError(f"cnn: block {block} has {size[0]}x{size[1]} left, too little to pool: use pool=False")
            model.append(pooling(2))
            size = [n // 2 for n in size]
    model.append(nn.Flatten())
    features = channels * math.prod(size)
    for out_features in fc:
        model.append(nn.Linear(features, out_features, **options))
        model.append(activation())
        features = out_features
    return model.append(nn.Linear(features, num_classes, **options))
