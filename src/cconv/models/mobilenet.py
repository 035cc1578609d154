"""MobileNetV2 (Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks", arXiv 1801.04381), small.

Parameters and buffers are named as torchvision names those of its ``mobilenet_v2``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nn
from .._random import generator
from .._shapes import whole


class InvertedResidual(nn.Layer):
    """A 1x1 convolution to more channels, a depthwise 3x3, a 1x1 back to few; and x added where shapes allow.

    Parameters
    ----------
    in_channels, channels : int
    stride : int
        Of the depthwise convolution.
    expansion : int
        Times as many channels in between; 1 leaves the first convolution out.
    rng : Generator or int, optional
    dtype : float32 or float64
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        expansion: int = 6,
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ):
        options: dict[str, Any] = {"rng": generator(rng), "dtype": dtype}
        hidden = in_channels * expansion
        expand = [_convolution(in_channels, hidden, 1, **options)] if expansion != 1 else []
        depthwise = _convolution(hidden, hidden, 3, stride, groups=hidden, **options)
        project = _conv(hidden, channels, 1, **options), nn.BatchNorm2d(channels, dtype=dtype)
        self.conv = nn.Sequential(*expand, depthwise, *project)
        self.adds = stride == 1 and in_channels == channels

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        return self._network().forward(x, train)

    def fused(self, fuse: Callable[[nn.Layer], nn.Layer]) -> nn.Layer:
        return fuse(self._network())

    def _network(self) -> nn.Layer:
        return nn.Residual(self.conv) if self.adds else self.conv


class MobileNet(nn.Layer):
    """Stages of inverted residuals between a first convolution and a last, wide one; then their mean, and a linear map.

    Parameters
    ----------
    stages : sequence of (expansion, channels, blocks, stride)
        The stride is that of a stage's first block.
    first, last : int
        Channels of the first and of the last convolution.
    stride : int
        Of the first convolution.
    num_classes, in_channels : int
    rng : Generator or int, optional
    dtype : float32 or float64
    """

    def __init__(
        self,
        stages: Sequence[tuple[int, int, int, int]],
        first: int,
        last: int,
        stride: int,
        num_classes: int,
        in_channels: int,
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ):
        options: dict[str, Any] = {"rng": generator(rng), "dtype": dtype}
        self.features = nn.Sequential(_convolution(in_channels, first, 3, stride, **options))
        before = first
        for expansion, channels, blocks, stage_stride in stages:
            for i in range(blocks):
                step = stage_stride if i == 0 else 1
                self.features.append(InvertedResidual(before, channels, step, expansion, **options))
                before = channels
        self.features.append(_convolution(before, last, 1, **options))
        self.classifier = nn.Sequential(nn.Dropout(0.2, rng=options["rng"]), nn.Linear(last, num_classes, **options))

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        return self._network().forward(x, train)

    def fused(self, fuse: Callable[[nn.Layer], nn.Layer]) -> nn.Layer:
        return fuse(self._network())

    def _network(self) -> nn.Layer:
        return nn.Sequential(self.features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.classifier)


def mobilenet(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    rng: np.random.Generator | int | None = None,
    dtype: Any = np.float32,
) -> MobileNet:
    """A network of this kind for images of about 32x32: 134,538 parameters.

    Parameters
    ----------
    num_classes, in_channels : int
    rng : Generator or int, optional
        Draws the weights: He et al. 2015 by fan-out for convolutions; the default generator if None.
    dtype : float32 or float64

    Returns
    -------
    MobileNet
        It takes images of any size, (N, in_channels, H, W), and gives logits, (N, num_classes).
    """
    stages = (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 2, 2), (6, 64, 2, 2)
    return _network("mobilenet", stages, 16, 256, 1, num_classes, in_channels, rng=rng, dtype=dtype)


def mobilenet_v2(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    rng: np.random.Generator | int | None = None,
    dtype: Any = np.float32,
) -> MobileNet:
    """The paper's network for photographs, 3.5 million parameters for 1000 classes; torchvision's ``mobilenet_v2``.

    Parameters and result are those of `mobilenet`; images are from about 32x32 on.
    """
    stages = (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )
    return _network("mobilenet_v2", stages, 32, 1280, 2, num_classes, in_channels, rng=rng, dtype=dtype)


def _network(where: str, stages: Any, first: int, last: int, stride: int, classes: int, channels: int, **options: Any):
    classes, channels = whole(where, "num_classes", classes, 1), whole(where, "in_channels", channels, 1)
    return MobileNet(stages, first, last, stride, classes, channels, **options)


def _convolution(in_channels: int, channels: int, kernel: int, stride: int = 1, **options: Any) -> nn.Sequential:
    conv = _conv(in_channels, channels, kernel, stride, **options)
    return nn.Sequential(conv, nn.BatchNorm2d(channels, dtype=options["dtype"]), nn.ReLU6())


def _conv(in_channels: int, channels: int, kernel: int, stride: int = 1, **options: Any) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, bias=False, **options)
    nn.init.he_normal(conv.weight, mode="fan_out", rng=options["rng"])
    return conv
