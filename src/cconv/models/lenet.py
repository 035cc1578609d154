"""LeNet-5."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import nn
from .._random import generator
from .._shapes import whole


def lenet5(
    num_classes: int = 10,
    input_shape: tuple[int, int, int] = (1, 28, 28),
    *,
    activation: type[nn.Layer] = nn.ReLU,
    rng: np.random.Generator | int | None = None,
    dtype: Any = np.float32,
) -> nn.Sequential:
    """LeNet-5 (LeCun et al. 1998, "Gradient-based learning applied to document recognition"), as it is written today:
    ReLU, max pooling, and all of its 16 filters connected to all of the first 6. 61,706 parameters for 28x28 digits.

    Parameters
    ----------
    num_classes : int
    input_shape : (C, H, W)
        H and W at least 4. Where little is left after the first pooling (less than 6x6, so of images smaller than
        12x12) the second convolution is padded, too: 8x8 digits end as 16 maps of 2x2.
    activation : class of layer
        Called without arguments.
    rng : Generator or int, optional
        Draws the weights; the default generator if None.
    dtype : float32 or float64

    Returns
    -------
    Sequential
        It gives logits, (N, num_classes).
    """
    if len(input_shape) != 3:
        raise ValueError(f"lenet5: input_shape must be (C, H, W), got {input_shape!r}")
    channels, height, width = (whole("lenet5", "input_shape", size, 1) for size in input_shape)
    if min(height, width) < 4:
        raise ValueError(f"lenet5: input_shape {tuple(input_shape)} must have at least 4 rows and 4 columns")
    pooled = height // 2, width // 2
    padding = 2 if min(pooled) < 6 else 0
    features = 16 * ((pooled[0] + 2 * padding - 4) // 2) * ((pooled[1] + 2 * padding - 4) // 2)
    options: dict[str, Any] = {"rng": generator(rng), "dtype": dtype}
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2, **options),
        activation(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, padding=padding, **options),
        activation(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(features, 120, **options),
        activation(),
        nn.Linear(120, 84, **options),
        activation(),
        nn.Linear(84, num_classes, **options),
    )
