"""U-Net (Ronneberger, Fischer and Brox 2015, "U-Net: convolutional networks for biomedical image segmentation", arXiv
1505.04597), with padded convolutions, so that its output is of the image's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nn
from .._random import generator
from .._shapes import whole


class Level(nn.Layer):
    """One resolution: two convolutions, all lower resolutions beside what goes straight across, two convolutions.

    Parameters
    ----------
    in_channels : int
    channels : sequence of int
        Of this level and those below it.
    rng : Generator or int, optional
    dtype : float32 or float64
    """

    def __init__(self, in_channels: int, channels: Sequence[int], *, rng: Any = None, dtype: Any = np.float32):
        options: dict[str, Any] = {"rng": generator(rng), "dtype": dtype}
        width, *lower = channels
        self.encoder = _convolutions(in_channels, width, width, **options)
        self.below: Level | None = None
        if lower:
            self.below = Level(width, lower, **options)
            self.up = _convolutions(lower[0], width, **options)
            self.decoder = _convolutions(2 * width, width, width, **options)

    def forward(self, x: np.ndarray, train: bool = True) -> tuple[np.ndarray, Callable[..., np.ndarray | None]]:
        if self.below is None:
            return self.encoder.forward(x, train)
        # Up to the size that x has, which need not be even.
        up = nn.Upsample(np.shape(x)[2:], mode="bilinear"), self.up
        around = nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), self.below, *up)
        return nn.Sequential(self.encoder, nn.Parallel(nn.Identity(), around), self.decoder).forward(x, train)


def unet(
    num_classes: int = 2,
    in_channels: int = 1,
    channels: Sequence[int] = (16, 32, 64, 128),
    *,
    rng: np.random.Generator | int | None = None,
    dtype: Any = np.float32,
) -> nn.Sequential:
    """A network that gives each pixel a class: 536,338 parameters by default.

    Parameters
    ----------
    num_classes, in_channels : int
    channels : sequence of int
        Of each resolution, which halves from one to the next; the paper's are (64, 128, 256, 512, 1024).
    rng : Generator or int, optional
        Draws the weights: He et al. 2015 by fan-out; the default generator if None.
    dtype : float32 or float64

    Returns
    -------
    Sequential
        It takes images of any size, (N, in_channels, H, W), and gives logits, (N, num_classes, H, W), for
        `nn.CrossEntropyLoss` and labels (N, H, W).
    """
    classes, before = whole("unet", "num_classes", num_classes, 1), whole("unet", "in_channels", in_channels, 1)
    if not channels:
        raise ValueError("unet: channels must name at least one resolution")
    options: dict[str, Any] = {"rng": generator(rng), "dtype": dtype}
    return nn.Sequential(Level(before, channels, **options), nn.Conv2d(channels[0], classes, 1, **options))


def _convolutions(before: int, *channels: int, **options: Any) -> nn.Sequential:
    """3x3 convolutions, each with batch normalisation and ReLU."""
    layers = nn.Sequential()
    for width in channels:
        conv = nn.Conv2d(before, width, 3, padding=1, bias=False, **options)
        nn.init.he_normal(conv.weight, mode="fan_out", rng=options["rng"])
        layers.append(conv).append(nn.BatchNorm2d(width, dtype=options["dtype"])).append(nn.ReLU())
        before = width
    return layers
