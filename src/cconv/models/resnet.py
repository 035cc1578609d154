"""Residual networks (He et al. 2016, "Deep residual learning for image recognition", arXiv 1512.03385).

Parameters and buffers have torchvision's names: a state dict of its ``resnet18`` loads as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from .._random import generator
from .._shapes import whole


class BasicBlock(nn.Layer):
    """Two 3x3 convolutions, and the input added before the last ReLU.

    Parameters
    ----------
    in_channels, channels : int
    stride : int
        Of the first convolution. Where it or a change of channels alters the shape, a 1x1 convolution brings the input
        to it: `downsample`.
    rng : Generator or int, optional
    dtype : float32 or float64
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, *, rng: Any = None, dtype: Any = np.float32):
        options: dict[str, Any] = {"rng": generator(rng), "dtype": dtype}
        self.conv1 = _conv(in_channels, channels, 3, stride, **options)
        self.bn1 = nn.BatchNorm2d(channels, dtype=dtype)
        self.relu = nn.ReLU()
        self.conv2 = _conv(channels, channels, 3, 1, **options)
        self.bn2 = nn.BatchNorm2d(channels, dtype=dtype)
        self.downsample: nn.Layer | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                _conv(in_channels, channels, 1, stride, **options), nn.BatchNorm2d(channels, dtype=dtype)
            )

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        return self._network().forward(x, train)

    def fused(self, fuse: Callable[[nn.Layer], nn.Layer]) -> nn.Layer:
        return fuse(self._network())

    def _network(self) -> nn.Layer:
        body = nn.Sequential(self.conv1, self.bn1, self.relu, self.conv2, self.bn2)
        return nn.Residual(body, self.downsample, relu=True)


class ResNet(nn.Layer):
    """Stages of basic blocks, each but the first at half the resolution, between a stem and a linear map.

    Parameters
    ----------
    blocks, channels : sequence of int
        Of each stage.
    num_classes, in_channels : int
    small : bool
        A stem for images of 32x32, which keeps their size; else that for photographs, which keeps a quarter.
    rng : Generator or int, optional
    dtype : float32 or float64
    """

    def __init__(
        self,
        blocks: tuple[int, ...],
        channels: tuple[int, ...],
        num_classes: int,
        in_channels: int,
        small: bool,
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ):
        options: dict[str, Any] = {"rng": generator(rng), "dtype": dtype}
        self._stages = [f"layer{i + 1}" for i in range(len(blocks))]
        self.conv1 = _conv(in_channels, channels[0], 3 if small else 7, 1 if small else 2, **options)
        self.bn1 = nn.BatchNorm2d(channels[0], dtype=dtype)
        self.relu = nn.ReLU()
        self.maxpool: nn.Layer = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        before = channels[0]
        for i, (name, count, width) in enumerate(zip(self._stages, blocks, channels, strict=True)):
            stage = nn.Sequential()
            for j in range(count):
                stage.append(BasicBlock(before, width, 2 if i > 0 and j == 0 else 1, **options))
                before = width
            setattr(self, name, stage)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, num_classes, **options)

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        return self._network().forward(x, train)

    def fused(self, fuse: Callable[[nn.Layer], nn.Layer]) -> nn.Layer:
        return fuse(self._network())

    def _network(self) -> nn.Layer:
        stages = [getattr(self, name) for name in self._stages]
        stem = self.conv1, self.bn1, self.relu, self.maxpool
        return nn.Sequential(*stem, *stages, self.avgpool, nn.Flatten(), self.fc)


def resnet18(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    rng: np.random.Generator | int | None = None,
    dtype: Any = np.float32,
) -> ResNet:
    """The 18-layer network for photographs, 11.7 million parameters for 1000 classes; torchvision's ``resnet18``.

    Parameters
    ----------
    num_classes : int
    in_channels : int
    rng : Generator or int, optional
        Draws the weights: He et al. 2015 by fan-out for convolutions; the default generator if None.
    dtype : float32 or float64

    Returns
    -------
    ResNet
        It takes images of any size from about 32x32 on, (N, in_channels, H, W), and gives logits, (N, num_classes).
    """
    classes, channels = _counts("resnet18", num_classes, in_channels)
    return ResNet((2, 2, 2, 2), (64, 128, 256, 512), classes, channels, False, rng=rng, dtype=dtype)


def resnet20(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    rng: np.random.Generator | int | None = None,
    dtype: Any = np.float32,
) -> ResNet:
    """The 20-layer network for images of about 32x32 such as CIFAR-10's (the paper's section 4.2): 272,474 parameters.

    Where a stage begins, a 1x1 convolution takes the place of the paper's padding with zeros (its option B).

    Parameters
    ----------
    num_classes : int
    in_channels : int
    rng : Generator or int, optional
        Draws the weights, as in `resnet18`.
    dtype : float32 or float64

    Returns
    -------
    ResNet
        It takes images (N, in_channels, H, W) and gives logits, (N, num_classes).
    """
    classes, channels = _counts("resnet20", num_classes, in_channels)
    return ResNet((3, 3, 3), (16, 32, 64), classes, channels, True, rng=rng, dtype=dtype)


def _counts(where: str, num_classes: int, in_channels: int) -> tuple[int, int]:
    return whole(where, "num_classes", num_classes, 1), whole(where, "in_channels", in_channels, 1)


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int, **options: Any) -> nn.Conv2d:
    """A convolution without bias that keeps the size but for its stride: what a batch normalisation follows."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False, **options)
    nn.init.he_normal(conv.weight, mode="fan_out", rng=options["rng"])
    return conv
