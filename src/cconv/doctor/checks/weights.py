"""Scale, sign and symmetry of the weights, against what they sum."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ...nn import init
from ..findings import Finding
from ..watch import Call
from .case import LINEAR, Case, both, code, listed, own_weight, redraw, rms, weighing

# A weight's spread over the smallest and the largest of the usual initialisers for its shape.
TINY, SMALL, LARGE = 0.05, 0.2, 3.0
_ENOUGH = 20  # weights that do not agree in sign by chance


def weights(case: Case) -> Iterator[Finding]:
    calls = _each_once(case)
    broken = [call for call in calls if not np.isfinite(call.layer.weight.value).all()]
    for call in broken[:1]:
        yield Finding(
            "weights-not-finite",
            "error",
            f"the weight of {listed(broken)} holds NaN or infinity",
            (redraw(case, broken),),
            call.path,
        )
    calls = [call for call in calls if call not in broken]
    zeros = [call for call in calls if not call.layer.weight.value.any()]
    hidden = [call for call in zeros if not _ends(case, call)]
    if hidden:
        call = hidden[0]
        yield Finding(
            "zero-weights",
            "error",
            f"all weights of {listed(hidden)} are 0: its units cannot tell inputs apart",
            (redraw(case, hidden),),
            call.path,
            evidence={"layers": len(hidden)},
        )
    calls = [call for call in calls if call not in zeros]
    yield from _alike(case, calls)
    yield from _signs(case)
    yield from _scales(case, calls)
    yield from _from_image(case, calls)
    yield from _biases(case, calls)


def _each_once(case: Case) -> list[Call]:
    first: dict[int, Call] = {}
    for call in case.linear:
        if own_weight(call.layer) is not None:
            first.setdefault(id(call.layer), call)
    return list(first.values())


def _ends(case: Case, call: Call) -> bool:
    """Whether it gives the outputs, or ends a branch that is added to another: there zeros are a usual start."""
    last = case.linear[-1] if case.linear else None
    return call is last or not case.followers(call)


def _alike(case: Case, calls: list[Call]) -> Iterator[Finding]:
    found = []
    for call in calls:
        weight = own_weight(call.layer)
        assert weight is not None
        if len(weight) > 1 and (weight == weight[:1]).all():
            found.append(call)
    if not found:
        return
    kept = [call for call in found if _same_rows(call)]
    call = (kept or found)[0]
    value = call.layer.weight.value.flat[0]
    start = "all units" if kept else "units"
    yield Finding(
        "identical-filters",
        "error" if kept else "warning",
        f"{start} of {listed(kept or found)} have the same weights (such as {value:.3g})"
        + (", and get the same gradients: they stay one unit" if kept else ""),
        (redraw(case, kept or found),),
        call.path,
        evidence={"layers": len(found), "units": len(call.layer.weight.value)},
    )


def _same_rows(call: Call) -> bool:
    grad = call.layer.weight.grad
    rows = np.moveaxis(grad, 0, 1) if type(call.layer).__name__.startswith("ConvTranspose") else grad
    rows = rows.reshape(len(rows), -1)
    return bool(np.abs(rows - rows[:1]).max() <= 1e-5 * np.abs(rows).max())


def _signs(case: Case) -> Iterator[Finding]:
    """Of layers of one's own, too, if their weights were drawn; what those are for is not known."""
    found: dict[int, tuple[Call, str, np.ndarray]] = {}
    for call in case.watched.leaves:
        for name, parameter in weighing(call) if call.plain else ():
            value = parameter.value
            positive, negative = float((value > 0).mean()), float((value < 0).mean())
            alone = max(positive, negative) > 0.97 and max(positive, negative) > 30 * min(positive, negative)
            drawn = isinstance(call.layer, LINEAR) or (np.ptp(value) > 0 and not _scales_alone(call, value))
            if value.size >= _ENOUGH and alone and drawn and id(parameter) not in found:
                found[id(parameter)] = call, name, value
    if not found:
        return
    layers = list({id(call): call for call, _, _ in found.values()}.values())
    call, name, value = next(iter(found.values()))
    known = [each for each in layers if isinstance(each.layer, LINEAR)]
    taps = {"fan_in": init.fan(value.shape)[0]} if call in known else {}
    mean = float(value.mean(dtype=np.float64))
    own = [f"{code(each.path)}.{name}.value" for each, name, _ in found.values() if each not in known]
    shifted = [f"{weight} -= {weight}.mean()" for weight in own]
    yield Finding(
        "positive-weights",
        "error" if known else "warning",
        f"the weights of {listed(layers)} are all {'positive' if mean > 0 else 'negative'} (mean {mean:.3g}): the "
        + "".join(f"{count} " for count in taps.values())
        + "terms of a sum add up instead of balancing",
        (both(redraw(case, known) if known else "", *shifted),),
        call.path,
        evidence={"mean": mean, "std": value.std(dtype=np.float64), "layers": len(layers), **taps},
    )


def _scales_alone(call: Call, value: np.ndarray) -> bool:
    """Whether it may be a factor for each channel or place, which is positive as a rule."""
    return call.x.shape == call.y.shape and sum(n > 1 for n in value.shape) < 2


def usual(shape: tuple[int, ...]) -> tuple[float, float]:
    """The smallest and largest standard deviation that common initialisers give a weight of this shape."""
    fan_in, fan_out = init.fan(shape)
    stds = 1 / math.sqrt(3 * fan_in), math.sqrt(2 / fan_in), math.sqrt(2 / fan_out), math.sqrt(2 / (fan_in + fan_out))
    return min(stds), max(stds)


def _scales(case: Case, calls: list[Call]) -> Iterator[Finding]:
    small, large = [], []
    for call in calls:
        value = call.layer.weight.value
        if value.size < 8 or not call.layer.weight.trainable:
            continue
        low, high = usual(value.shape)
        size = rms(value)
        # A normalisation undoes any factor, as long as its eps is small beside the variance.
        if case.normalised(call) and 1e-4 < float(call.y.std()) < 1e4:
            continue
        if size < SMALL * low and not (_ends(case, call) and size >= TINY * low):
            small.append((size / low, call, low))
        elif size > LARGE * high:
            large.append((size / high, call, high))
    for found, word, worst in ((small, "small", min), (large, "large", max)):
        if not found:
            continue
        ratio, call, wanted = worst(found, key=lambda item: item[0])
        first = found[0][1]
        fan = init.fan(call.layer.weight.value.shape)[0]
        spread = rms(call.layer.weight.value)
        # Some learn all the same: what follows from it decides how bad it is.
        yield Finding(
            "weight-scale",
            "warning",
            f"weights of {listed([each for _, each, _ in found])} are too {word}: those of {call.name} have size "
            f"{spread:.2g}, "
            f"and with {fan} terms to a sum {wanted:.2g} is usual",
            (redraw(case, [each for _, each, _ in found]),),
            first.path,
            evidence={"size": spread, "usual": wanted, "ratio": ratio, "fan_in": fan, "layers": len(found)},
        )


def _from_image(case: Case, calls: list[Call]) -> Iterator[Finding]:
    """Bounds such as sqrt(6 / (28 * 28 + 24 * 24)): the fan counted from the sizes of images."""
    for call in calls:
        value = call.layer.weight.value
        if call.x.ndim != 4 or call.y.ndim != 4 or value.size < 25:
            continue
        bound, spread = float(np.abs(value).max()), float(value.std())
        if not 0.85 < math.sqrt(3) * spread / max(bound, 1e-30) < 1.15:
            continue
        before, after = (math.prod(shape[2:]) for shape in (call.x.shape, call.y.shape))
        fan_in, fan_out = init.fan(value.shape)
        room = 1.5 / value.size + 0.002
        for text, fan in (
            (f"6 / ({_by(call.x)} + {_by(call.y)})", 6 / (before + after)),
            (f"6 / ({_by(call.x)})", 6 / before),
            (f"1 / ({_by(call.x)})", 1 / before),
        ):
            rules = [6 / (fan_in + fan_out), 6 / fan_in, 3 / fan_in, 1 / fan_in]
            usual_rule = any(abs(math.sqrt(rule) - bound) <= 2 * room * bound for rule in rules)
            if -0.002 * bound <= math.sqrt(fan) - bound <= max(4 * room, 0.004) * bound and not usual_rule:
                right = math.sqrt(6 / (fan_in + fan_out))
                # Of the layers drawn alike, the largest sum behind the first layer: what they can give at all.
                alike = [
                    each for each in calls if abs(float(np.abs(each.layer.weight.value).max()) - bound) < 0.03 * bound
                ]
                largest, widest = max(
                    ((float(np.abs(each.y).max()), each) for each in alike[1:] or alike), key=lambda pair: pair[0]
                )
                yield Finding(
                    "fan-from-image",
                    "warning",
                    f"weights of {call.name} lie within {bound:.3g}, which is sqrt({text}): the fan is counted in "
                    f"filter taps, {fan_in} in and {fan_out} out, which gives {right:.3g}. With these weights sums in "
                    f"{widest.name} stay within {largest:.2g}: if you saw far larger ones, then with other weights",
                    (redraw(case, alike),),
                    call.path,
                    evidence={
                        "bound": bound,
                        "right": right,
                        "fan_in": fan_in,
                        "fan_out": fan_out,
                        "largest_sum": largest,
                    },
                )
                return


def _by(array: np.ndarray) -> str:
    return " * ".join(str(n) for n in array.shape[2:])


def _biases(case: Case, calls: list[Call]) -> Iterator[Finding]:
    """A bias much larger than the weighted inputs that it is added to makes a unit ignore them."""
    for call in calls:
        bias = call.layer.bias
        if bias is None or not bias.trainable or case.normalised(call):
            continue
        size = float(np.median(np.abs(bias.value)))
        if size < 3:
            continue
        varying = float(call.y.std(0).mean())
        if size > 10 * varying:
            yield Finding(
                "large-bias",
                "warning",
                f"biases of {call.name} are of size {size:.3g}, the weighted inputs vary by {varying:.2g}",
                (f"{code(call.path)}.bias.value[:] = 0",),
                call.path,
                evidence={"bias": size, "varying": varying},
            )
            return
