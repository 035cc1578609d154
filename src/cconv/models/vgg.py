"""VGG (Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition", arXiv
1409.1556), with batch normalisation and a small head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import nn
from .._random import generator
from .._shapes import whole


def vgg(
    num_classes: int = 10,
    in_channels: int = 3,
    blocks: Sequence[Sequence[int]] = ((32, 32), (64, 64), (128, 128)),
    *,
    dropout: float = 0.0,
    rng: np.random.Generator | int | None = None,
    dtype: Any = np.float32,
) -> nn.Sequential:
    """Blocks of 3x3 convolutions, each block at half the resolution of the one before: 288,746 parameters by default.

    ``((64,), (128,), (256, 256), (512, 512), (512, 512))`` is the paper's network A (VGG-11) less its three fully
    connected layers: 9.7 million parameters for 1000 classes.

    Parameters
    ----------
    num_classes, in_channels : int
    blocks : sequence of sequences of int
        The filters of the convolutions of each block. A 2x2 max pooling ends each.
    dropout : float
        Before the last layer.
    rng : Generator or int, optional
        Draws the weights: He et al. 2015 by fan-out for convolutions; the default generator if None.
    dtype : float32 or float64

    Returns
    -------
    Sequential
        It takes images of any size from 2**len(blocks) on, (N, in_channels, H, W), and gives logits, (N, num_classes).
    """
    before = whole("vgg", "in_channels", in_channels, 1)
    options: dict[str, Any] = {"rng": generator(rng), "dtype": dtype}
    model = nn.Sequential()
    for block in blocks:
        for filters in block:
            conv = nn.Conv2d(before, filters, 3, padding=1, bias=False, **options)
            nn.init.he_normal(conv.weight, mode="fan_out", rng=options["rng"])
            model.append(conv).append(nn.BatchNorm2d(filters, dtype=dtype)).append(nn.ReLU())
            before = filters
        model.append(nn.MaxPool2d(2))
    model.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten())
    if dropout:
        model.append(nn.Dropout(dropout, rng=options["rng"]))
    return model.append(nn.Linear(before, num_classes, **options))
