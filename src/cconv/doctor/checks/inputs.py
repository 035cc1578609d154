"""Range, type and layout of the inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...data.rows import leaves
from ..findings import Finding
from .case import NORMS, Case, assigned, input_of, rms

_CHECKED_WHOLE = 2**29  # bytes

LARGE, SMALL = 5.0, 0.05
_IMAGES = (1, 3, 4)
_STANDARD = "({0} - {0}.mean()) / {0}.std()"
_FINITE = ("keep = np.isfinite(x).reshape(len(x), -1).all(1); x, y = x[keep], y[keep]",)


def raw(x: Any, sample: Any) -> Iterator[Finding]:
    """What can be said before the network sees them. `x` is all, `sample` some of it."""
    for (name, array), (_, part) in zip(leaves(x, "x"), leaves(sample, "x"), strict=True):
        if part.dtype.kind not in "buif":
            yield Finding(
                "input-dtype",
                "error",
                f"{name} has dtype {part.dtype}, which is no number",
                (assigned(name, "{}.astype(np.float32)"),),
            )
            continue
        scanned = array if array.nbytes <= _CHECKED_WHOLE and not isinstance(array, np.memmap) else part
        if part.dtype.kind == "f" and not np.isfinite(scanned).all():
            bad = ~np.isfinite(scanned.reshape(len(scanned), -1)).all(1)
            first = int(np.argmax(bad))
            where = f"the first is number {first}" if scanned is array else "in a sample"
            yield Finding(
                "input-not-finite",
                "error",
                f"{name} holds NaN or infinity in {int(bad.sum())} of {len(scanned)} examples ({where})",
                (*(_FINITE if name == "x" else ()), assigned(name, "np.nan_to_num({})")),
                evidence={"examples": bad.sum(), "first": first},
            )
        elif len(part) > 1 and (part == part[:1]).all():
            yield Finding(
                "input-constant",
                "error" if name == "x" else "warning",
                f"all {len(part)} inputs looked at are alike ({name} is {float(part.min()):.3g} to "
                f"{float(part.max()):.3g} in each): "
                "see how they were loaded",
                ("print(x.min(), x.max(), x.std(0).max())",),
                evidence={"min": part.min(), "max": part.max()},
            )
        elif part.ndim == 4 and _channels_last(part.shape):
            yield Finding(
                "input-layout",
                "warning",
                f"{name} {part.shape} looks like images with their channels last (N, H, W, C); layers take (N, C, "
                "H, W)",
                (assigned(name, "{}.transpose(0, 3, 1, 2)"),),
                evidence={"channels": part.shape[3]},
            )


def _channels_last(shape: tuple[int, ...]) -> bool:
    return shape[3] in _IMAGES and shape[1] not in _IMAGES and shape[1] > 4 and shape[2] > 4


def scaled(case: Case) -> Iterator[Finding]:
    """How large they are where the first layer with weights takes them."""
    first = next((call for call in case.watched.leaves if call.plain and call.layer.parameters()), None)
    if first is None or first.x.dtype.kind != "f" or not np.isfinite(first.x).all() or isinstance(first.layer, NORMS):
        return
    x = first.x
    size, low, high = rms(x), float(x.min()), float(x.max())
    evidence = {"min": low, "max": high, "mean": x.mean(dtype=np.float64), "std": x.std(dtype=np.float64), "rms": size}
    # A normalisation after the first layer undoes a factor.
    severity = "note" if case.normalised(first) else "warning"
    path, name = first.path, input_of(case, first)
    if size > LARGE:
        yield Finding(
            "input-scale",
            severity,
            f"inputs run from {low:.4g} to {high:.4g} (rms {size:.3g}) where {first.name} expects about 1",
            _smaller(name, low, high),
            path,
            evidence=evidence,
        )
    elif 0 < _but_zeros(x) < SMALL:
        divided = low >= 0 and 0 < high < 2 / 255
        cause = ": they were divided by 255 twice?" if divided else ""
        cure = assigned(name, "{} * 255" if divided else f"{{}} / {_digits(size)}")
        yield Finding(
            "input-scale",
            severity,
            f"inputs run from {low:.3g} to {high:.3g} (rms {size:.2g}) where {first.name} expects about 1{cause}",
            (cure, assigned(name, _STANDARD)),
            path,
            evidence=evidence,
        )
    elif x.std() and abs(evidence["mean"]) > 4 * evidence["std"]:
        yield Finding(
            "input-offset",
            "note",
            f"inputs lie around {evidence['mean']:.3g} with a spread of only {evidence['std']:.2g}",
            (assigned(name, _STANDARD),),
            path,
            evidence=evidence,
        )
    if x.ndim == 2 and x.shape[1] > 1 and len(x) > 8:
        spread = x.std(0, dtype=np.float64)
        spread = spread[spread > 0]
        if spread.size > 1 and spread.max() > 30 * np.median(spread) and spread.max() > LARGE:
            yield Finding(
                "feature-scales",
                severity,
                f"features differ in size: their spreads run from {spread.min():.2g} to {spread.max():.2g} "
                f"(median {np.median(spread):.2g})",
                (assigned(name, "({0} - {0}.mean(0)) / ({0}.std(0) + 1e-8)"),),
                path,
                evidence={"smallest": spread.min(), "median": np.median(spread), "largest": spread.max()},
            )


def _but_zeros(x: np.ndarray) -> float:
    """The size of what is not zero: that of a few ones among many zeros is 1."""
    some = np.count_nonzero(x)
    return rms(x) * float(np.sqrt(x.size / some)) if some else 0.0


def _smaller(name: str, low: float, high: float) -> tuple[str, ...]:
    standard = assigned(name, _STANDARD)
    if low >= 0 and 100 < high <= 255:
        rescaled = ("model = nn.Sequential(nn.Rescale(1 / 255), model)",) if name == "x" else ()
        return assigned(name, "{}.astype(np.float32) / 255"), *rescaled
    if low >= 0:
        return assigned(name, f"{{}}.astype(np.float32) / {_digits(high)}"), standard
    return (standard,)


def _digits(value: float) -> str:
    return f"{value:.3g}"
