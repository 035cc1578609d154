"""How the layers stand to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ... import nn
from ...data.rows import take
from ...nn.layer import Parameter, pair_of
from ..findings import Finding
from ..watch import Call
from .case import LINEAR, NORMS, PASSING, Case, code, every, is_own, listed

# A relative error of a gradient in float64 (CS231n).
WRONG = 1e-4
# The cosine between a gradient and the right one, below which steps go nowhere.
ASTRAY = 0.1
# The share that a dropout takes away, beyond what anyone uses.
DROPPED = 0.85
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool2d)


def activations(case: Case) -> Iterator[Finding]:
    """Linear layers with nothing between them are one linear layer."""
    pairs = []
    for call in case.linear:
        before, pooled = call.source, False
        while before is not None and isinstance(before.layer, (*PASSING, *_POOLS)):
            pooled |= isinstance(before.layer, _POOLS)
            before = before.source
        if before is not None and isinstance(before.layer, LINEAR) and not _on_purpose(before, call):
            pairs.append((before, call, pooled))
    if not pairs:
        return
    bent = any(
        not isinstance(call.layer, (*LINEAR, *PASSING)) and not _at_end(case, call) for call in case.watched.leaves
    )
    bent |= any(not call.leaf and not isinstance(call.layer, nn.Sequential) for call in case.watched.calls)
    first, second, pooled = pairs[0]
    between = " but a pooling" if pooled else ""
    several = f", and so on: {len(pairs)} such pairs" if len(pairs) > 1 else ""
    cure = every([call.path for _, call, _ in pairs], "{0} = nn.Sequential(nn.ReLU(), {0})")
    evidence = {"pairs": len(pairs)}
    if bent:
        yield Finding(
            "missing-activation",
            "warning",
            f"there is nothing{between} between {first.name} and {second.name}{several}: no activation bends the "
            "signal",
            (cure,),
            second.path,
            evidence=evidence,
        )
    else:
        yield Finding(
            "no-activation",
            "warning",
            f"no layer of the network bends the signal: {first.name} to {pairs[-1][1].name} amount to one linear layer",
            (cure,),
            second.path,
            evidence=evidence,
        )


def _on_purpose(first: Call, second: Call) -> bool:
    """A convolution in two parts, depthwise and pointwise, or by way of fewer channels than on either side."""
    one, two = (_sizes(call.layer) for call in (first, second))
    depthwise = any(getattr(call.layer, "groups", 1) > 1 for call in (first, second))
    return depthwise or (one[1] < one[0] and two[0] < two[1])


def _sizes(layer: Any) -> tuple[int, int]:
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    area = int(np.prod(layer.kernel_size))
    return layer.in_channels * area, layer.out_channels


def _at_end(case: Case, call: Call) -> bool:
    """Whether it is a softmax or sigmoid of the outputs."""
    return call is case.last and isinstance(call.layer, (nn.Softmax, nn.LogSoftmax, nn.Sigmoid))


def habits(case: Case) -> Iterator[Finding]:
    """What does no harm, and is worth knowing."""
    for call in case.linear:
        layer: Any = call.layer
        if layer.bias is not None and any(isinstance(other.layer, NORMS[:2]) for other in case.followers(call)):
            yield Finding(
                "bias-before-norm",
                "note",
                f"the bias of {call.name} does nothing, as the batch normalisation after it takes means away",
                (f"{code(call.path)}.bias = None   # or bias=False",),
                call.path,
            )
            break
    named = case.model.named_parameters()
    frozen = [path for path, parameter in named if not parameter.trainable]
    if frozen:
        weights = [parameter.trainable for _, parameter in named if parameter.value.ndim > 1]
        none, few = len(frozen) == len(named), bool(weights) and not any(weights)
        told = "no parameter is trained" if none else f"{len(frozen)} of {len(named)} parameters are not trained"
        yield Finding(
            "frozen",
            "error" if none else "warning" if few else "note",
            f"{told}, {frozen[0]} the first of them" + (": biases alone cannot learn much" if few and not none else ""),
            ("for p in model.parameters(): p.trainable = True",),
            evidence={"frozen": len(frozen), "parameters": len(named)},
        )


def passages(case: Case) -> Iterator[Finding]:
    """What lets too little through for the outputs that follow from it."""
    outputs = case.logits[0].size if isinstance(case.logits, np.ndarray) and len(case.logits) else 0
    for call in case.linear:
        if outputs > 2 and call.y.ndim > 1 and call.y[0].size == 1 and case.followers(call):
            yield Finding(
                "bottleneck",
                "warning",
                f"{call.name} gives one number for an example, from which the layers after it are to tell {outputs} "
                "outputs",
                (f"# more units for {code(call.path)}, and for the layer after it",),
                call.path,
                evidence={"outputs": outputs},
            )
            break
    for call in case.watched.leaves:
        if isinstance(call.layer, nn.Dropout) and call.layer.p > DROPPED:
            yield Finding(
                "dropout-rate",
                "warning",
                f"{call.name} keeps {1 - call.layer.p:.2g} of its inputs: 0.5 to 0.9 is usual (p is what it drops)",
                (f"{code(call.path)}.p = 0.5",),
                call.path,
                evidence={"p": call.layer.p},
            )
            break


def unused(case: Case) -> Iterator[Finding]:
    """Layers with parameters that forward never calls."""
    called = {id(call.layer) for call in case.watched.calls}
    idle = []
    for path, layer in case.model.named_layers():
        own = [v for v in vars(layer).values() if isinstance(v, Parameter) and v.trainable]
        # A layer whose parameters are used without calling it has gradients.
        if own and id(layer) not in called and not any(v._grad is not None and v._grad.any() for v in own):
            idle.append((path, layer))
    if idle:
        path, layer = idle[0]
        more = f" and {len(idle) - 1} more" if len(idle) > 1 else ""
        yield Finding(
            "layer-unused",
            "warning",
            f"forward never calls {type(layer).__name__} {path!r}{more}: nothing trains it",
            (f"call self.{path} in forward, or take it out",),
            path,
            evidence={"layers": len(idle)},
        )


def mixing(case: Case) -> Iterator[Finding]:
    """An example's prediction must not depend on its neighbours', nor on chance.

    Some normalise over the examples on purpose: it is an error where trial steps do not learn.
    """
    x = case.x
    if not isinstance(x, np.ndarray) or len(x) < 4:
        return
    model = case.model
    statistics = any(isinstance(layer, NORMS[:2]) and layer.running_mean is None for _, layer in model.named_layers())
    if statistics or any(isinstance(layer, nn.Softmax) and layer.dim == 0 for _, layer in model.named_layers()):
        return
    try:
        many, alone, again = (pair_of(model, model.forward(take(x, slice(0, n)), False))[0] for n in (4, 1, 1))
    except Exception:
        return
    if not all(isinstance(y, np.ndarray) for y in (many, alone, again)) or many.shape[1:] != alone.shape[1:]:
        return
    size = float(np.abs(alone).max(initial=0))
    gap, chance = (float(np.abs(y[:1] - alone).max(initial=0)) for y in (many, again))
    if not np.isfinite([gap, chance, size]).all():
        return
    if chance > 1e-3 * max(size, 1e-30):
        yield Finding(
            "examples-mixed",
            "warning",
            f"the same example gets another output each time, by {chance:.2g}: forward draws random numbers, or makes "
            "layers anew, also when train is False",
            ("in forward, draw random numbers only if train, and make layers in __init__",),
            evidence={"change": chance, "size": size},
        )
    elif gap > 1e-3 * max(size, 1e-30):
        yield Finding(
            "examples-mixed",
            "warning",
            f"the output for an example changes by {gap:.2g} with the examples beside it: a reshape that mixes them, "
            "or a mean over them?",
            ("reshape with x.reshape(len(x), -1), and normalise over axes 1 and up",),
            evidence={"change": gap, "size": size},
        )


def of_ones_own(case: Case, left: Callable[[], float]) -> Iterator[Finding]:
    """Layers that are not cconv's: do they hand back gradients, and the right ones?

    `left` gives the seconds that are left.
    """
    seen: set[int] = set()
    wrong: dict[tuple[type, str, str, str], list[Call]] = {}
    for call in case.watched.calls:
        layer = call.layer
        if id(layer) in seen or not is_own(layer):
            continue
        seen.add(id(layer))
        for name, value in vars(layer).items():
            if isinstance(value, Parameter) and value.trainable and value._grad is None and call.grad_y is not None:
                yield Finding(
                    "no-gradient",
                    "error",
                    f"backward of {call.name} adds no gradient to its {name}: it stays as it is",
                    (f"self.{name}.add_grad(...)   # in backward",),
                    call.path,
                )
        if call.leaf and call.plain and left() > 0:
            wrong.setdefault((type(layer), *_checked(call.layer, call.x[:2])), []).append(call)
    loss = case.loss
    if is_own(loss) and isinstance(case.logits, np.ndarray) and left() > 0:
        few = slice(0, 4)
        severity, told, slip = _checked(_AsLoss(loss), case.logits[few], take(case.y, few))
        if told:
            yield Finding(
                "wrong-gradient",
                severity,
                f"{type(loss).__name__} gives {told}",
                ("print(cconv.gradcheck(loss, model(x[:4]), y[:4]))",),
                evidence={"slip": slip},
            )
    # A wrong gradient spoils those of the layers before: the last layer's first.
    for (_, severity, told, slip), calls in reversed(wrong.items()):
        if told:
            yield Finding(
                "wrong-gradient",
                severity,
                f"backward of {listed(calls)} gives {told}",
                (f"print(cconv.gradcheck({code(calls[0].path)}, x))",),
                calls[0].path,
                evidence={"slip": slip, "layers": len(calls)},
            )


class _AsLoss(nn.Loss):
    """What has a loss's forward, and need not be one."""

    def __init__(self, loss: Any):
        super().__init__()
        self._loss = loss

    def forward(self, logits: Any, target: Any) -> Any:
        return self._loss.forward(logits, target)


def _checked(layer: Any, x: Any, y: Any = None) -> tuple[str, str, str]:
    """A few numerical gradients: severity, what is wrong, and the slip; "" where all is well.

    What cannot be checked so, as it is random or of float32 alone, is left.
    """
    try:
        # Most networks have no such layer, and need no search for slips.
        from ..gradients import gradcheck

        report = gradcheck(layer, x, y, samples=12)
    except Exception:
        return "", "", ""
    wrong = {name: error for name, error in report.errors.items() if error > WRONG}
    if not wrong:
        return "", "", ""
    severity = "error" if _astray(report, wrong) else "warning"
    known = next((d for d in report.diagnosis if d.slip != "unknown" and d.array in wrong), None)
    if known is not None:
        return severity, f"a wrong gradient of {known.array}: {known.text}", known.slip
    sizes = ", ".join(f"{name} by {error:.2g} of its size" for name, error in wrong.items())
    return severity, f"wrong gradients, off in {sizes}", "unknown"


def _astray(report: Any, wrong: Iterable[str]) -> bool:
    """Whether one points elsewhere: a factor or a term left out makes learning worse, a wrong direction ends it."""
    for array in report.arrays:
        if array.name in wrong and array.entries:
            given, right = np.array([(e.analytic, e.numeric) for e in array.entries]).T
            size = float(np.linalg.norm(given) * np.linalg.norm(right))
            # Where there is no slope at all, the gradient is made up on purpose (a straight-through estimator).
            if np.linalg.norm(right) and float(given @ right) < ASTRAY * size:
                return True
    return False
