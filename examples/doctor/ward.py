"""What several patients' pages need: short words for what gradcheck found, and images."""

import numpy as np


def tell(report):
    """The findings of a gradcheck, without the table of numbers that `print(report)` adds."""
    arrays = {}
    for found in report.diagnosis:
        arrays.setdefault((found.layer, found.kind, found.text, found.hint), []).append(found.array)
    for (layer, kind, text, hint), names in arrays.items():
        place = f"layer {layer} ({kind})" if layer else kind
        print(f"{place}, gradient of {', '.join(names)}: {text.removeprefix('x: ')}\n  -> {hint}")


def circles_and_crosses(count, seed, size=16):
    """Colour images (count, 3, size, size) of 0 to 255 and labels: circles are 0, crosses 1.

    Place, size and the two colours are drawn for each image.
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    row, column = np.mgrid[:size, :size]
    x = np.empty((count, 3, size, size), np.float32)
    for image, label in zip(x, y, strict=True):
        radius = rng.uniform(3.5, 5.5)
        up, across = row - rng.uniform(6.5, 8.5), column - rng.uniform(6.5, 8.5)
        if label:
            drawn = (np.minimum(abs(up - across), abs(up + across)) < 1.0) & (np.maximum(abs(up), abs(across)) < radius)
        else:
            drawn = abs(np.hypot(up, across) - radius) < 0.8
        dark, bright = rng.uniform(0, 80, (3, 1)), rng.uniform(150, 255, (3, 1))
        image.reshape(3, -1)[:] = np.where(drawn.ravel(), bright, dark) + rng.normal(0, 8, (3, size * size))
    return x.clip(0, 255).round(), y
