"""The kinds of findings: the words for them, which are stable, and which of them may follow from which.

They are listed from causes to effects; a report puts the likeliest root cause first in this order. `docs/doctor.md`
has a section for each.
"""

from __future__ import annotations

from typing import NamedTuple

SEVERITIES = ("error", "warning", "note")


class Kind(NamedTuple):
    """A kind of finding.

    Attributes
    ----------
    order : int
        Its place between causes and effects.
    about : str
        What it is, in a line.
    """

    order: int
    about: str


_LISTED = {
    # The data and the network do not fit.
    "input-dtype": "inputs are of a type that the network does not take",
    "input-layout": "images have their channels last",
    "shape-mismatch": "a layer does not fit the one before it",
    "kernel-too-large": "a kernel is larger than what is left of the image",
    "forward-error": "the network raises an error",
    "input-not-finite": "inputs hold NaN or infinity",
    "weights-not-finite": "weights hold NaN or infinity",
    "input-constant": "all inputs are alike",
    # The targets and the loss do not fit.
    "target-not-finite": "targets hold NaN or infinity",
    "label-dtype": "labels are not integers",
    "label-shape": "labels have a shape that the loss does not take",
    "label-one-hot": "one-hot rows where the loss takes labels",
    "labels-one-based": "labels start at 1",
    "label-range": "labels that the network has no output for",
    "target-shape": "targets are not of the outputs' shape",
    "target-range": "targets that the outputs cannot reach",
    "labels-as-numbers": "labels of classes are fitted as if they were quantities",
    "target-constant": "all targets are alike",
    "contradicting-labels": "equal inputs with different labels",
    # The end of the network and the loss do not fit.
    "single-output": "a softmax over one output",
    "softmax-axis": "a softmax over the examples of a batch",
    "double-softmax": "a softmax before a loss that has its own",
    "missing-softmax": "a loss of log-probabilities gets something else",
    "missing-sigmoid": "a loss of probabilities gets something else",
    "relu-before-loss": "a ReLU takes away half of the outputs' range",
    "squashed-logits": "a bounded activation before cross-entropy",
    "dropout-before-output": "dropout on the outputs themselves",
    "loss-error": "the loss raises an error",
    # The network.
    "no-activation": "a network of linear layers alone",
    "missing-activation": "two linear layers with nothing between them",
    "backward-zero": "a layer hands back a gradient of zeros",
    "no-gradient": "a layer does not add its parameters' gradients",
    "wrong-gradient": "a layer's gradient is not that of its output",
    "layer-unused": "a layer that is never called",
    "examples-mixed": "an example's output depends on those beside it",
    # The weights.
    "zero-weights": "a layer of zeros",
    "identical-filters": "units that start, and stay, alike",
    "positive-weights": "weights of one sign",
    "weight-scale": "weights far too large or too small for what they sum",
    "large-bias": "biases that drown the weighted inputs",
    # The scale of data.
    "input-scale": "inputs far larger or smaller than 1",
    "feature-scales": "features of very different size",
    "target-scale": "targets far larger than 1",
    "fan-from-image": "weights scaled by the size of the image",
    # What is seen where something is wrong.
    "input-ignored": "outputs do not depend on the input",
    "not-finite": "NaN or infinity in the first step",
    "exploding-gradient": "gradients that dwarf the weights",
    "saturated": "activations at the ends of their range",
    "dead-units": "units that never fire",
    "vanishing-signal": "activations that fade on their way to the last layers",
    "constant-output": "the same output for every example",
    "vanishing-gradient": "gradients that fade on their way to the first layers",
    "zero-gradient": "parameters whose gradient is zero",
    "initial-loss": "a loss at the start far above that of a guess",
    "learning-rate": "a first step too large or too small for the weights",
    "cannot-overfit": "a handful of examples cannot be learned",
    # Worth knowing.
    "class-imbalance": "classes of very different size",
    "input-offset": "inputs far from centred",
    "bias-before-norm": "a bias that normalisation takes away again",
    "frozen": "parameters that are not trained",
    "overfit-not-tried": "there was no time to learn a handful of examples",
}

KINDS: dict[str, Kind] = {name: Kind(i, about) for i, (name, about) in enumerate(_LISTED.items())}

_NUMERIC = (
    *("exploding-gradient", "not-finite", "saturated", "dead-units", "vanishing-signal", "constant-output"),
    *("vanishing-gradient", "zero-gradient", "initial-loss", "cannot-overfit", "learning-rate"),
)
_BLOCKED = (
    *("vanishing-signal", "constant-output", "vanishing-gradient", "zero-gradient", "initial-loss", "cannot-overfit"),
    "input-ignored",
)

# What each kind may bring about.
EFFECTS: dict[str, tuple[str, ...]] = {
    "input-dtype": ("input-scale", "input-offset", *_NUMERIC),
    "input-layout": _BLOCKED,
    "input-not-finite": (*_NUMERIC, "input-ignored"),
    "weights-not-finite": (*_NUMERIC, "input-ignored", "positive-weights", "weight-scale", "large-bias"),
    "input-constant": (*_BLOCKED, "dead-units", "contradicting-labels", "input-offset", "input-scale"),
    "target-not-finite": _NUMERIC,
    "label-one-hot": ("cannot-overfit",),
    "labels-one-based": ("cannot-overfit", "class-imbalance"),
    "label-range": ("cannot-overfit", "class-imbalance"),
    "target-range": (
        *("labels-as-numbers", "target-scale", "cannot-overfit", "initial-loss", "exploding-gradient"),
        *("missing-sigmoid", "learning-rate"),
    ),
    "labels-as-numbers": ("target-scale", "cannot-overfit", "initial-loss", "exploding-gradient", "learning-rate"),
    "target-constant": ("cannot-overfit", "class-imbalance"),
    "single-output": ("loss-error", *_BLOCKED),
    "softmax-axis": ("missing-softmax", "examples-mixed", "loss-error", *_BLOCKED),
    "double-softmax": ("cannot-overfit", "vanishing-gradient", "squashed-logits", "initial-loss"),
    "missing-softmax": ("cannot-overfit", "initial-loss", "loss-error"),
    "missing-sigmoid": ("cannot-overfit", "initial-loss", "loss-error"),
    "relu-before-loss": ("cannot-overfit", "dead-units", "zero-gradient", "initial-loss", "constant-output"),
    "squashed-logits": ("cannot-overfit", "saturated"),
    "dropout-before-output": ("cannot-overfit", "initial-loss"),
    "no-activation": ("missing-activation", "cannot-overfit"),
    "backward-zero": ("zero-gradient", "vanishing-gradient", "cannot-overfit", "wrong-gradient"),
    "wrong-gradient": ("cannot-overfit", "zero-gradient", "vanishing-gradient", "exploding-gradient"),
    "no-gradient": ("zero-gradient", "cannot-overfit", "wrong-gradient"),
    "examples-mixed": ("cannot-overfit",),
    "zero-weights": ("identical-filters", "dead-units", "large-bias", *_BLOCKED),
    "identical-filters": ("positive-weights", "weight-scale", "dead-units", *_NUMERIC),
    "positive-weights": ("weight-scale", "fan-from-image", "input-ignored", *_NUMERIC),
    "weight-scale": ("fan-from-image", "large-bias", "input-ignored", *_NUMERIC),
    "large-bias": ("input-ignored", *_NUMERIC),
    "input-scale": ("feature-scales", "input-offset", *_NUMERIC),
    "feature-scales": _NUMERIC,
    "target-scale": ("initial-loss", "exploding-gradient", "cannot-overfit", "learning-rate"),
    "fan-from-image": ("vanishing-signal", "vanishing-gradient", "cannot-overfit", "constant-output"),
    "learning-rate": (),
    "input-ignored": (
        "constant-output",
        "dead-units",
        "saturated",
        "zero-gradient",
        "vanishing-gradient",
        "cannot-overfit",
    ),
    "exploding-gradient": ("initial-loss", "learning-rate", "cannot-overfit"),
    "not-finite": (*(kind for kind in _NUMERIC if kind != "not-finite"),),
    "saturated": ("constant-output", "vanishing-gradient", "zero-gradient", "initial-loss", "cannot-overfit"),
    "dead-units": ("constant-output", "vanishing-gradient", "zero-gradient", "cannot-overfit", "initial-loss"),
    "vanishing-signal": ("constant-output", "vanishing-gradient", "zero-gradient", "cannot-overfit"),
    "constant-output": ("vanishing-gradient", "cannot-overfit"),
    "vanishing-gradient": ("zero-gradient", "cannot-overfit"),
    "zero-gradient": ("cannot-overfit",),
    "initial-loss": ("cannot-overfit",),
    "contradicting-labels": ("cannot-overfit",),
}
