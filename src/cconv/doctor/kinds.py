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
    "sorted-batches": "batches that each hold examples of few classes",
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
    "bottleneck": "a layer that lets one number of each example through",
    "dropout-rate": "a dropout that leaves next to nothing",
    "backward-zero": "a layer hands back a gradient of zeros",
    "no-gradient": "a layer does not add its parameters' gradients",
    "wrong-gradient": "a layer's gradient is not that of its output",
    "layer-unused": "a layer that is never called",
    "frozen": "parameters that are not trained",
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
    # The optimiser, as training shows it.
    "weight-decay": "a decay that pulls weights to zero faster than they learn",
    "diverging-weights": "weights that grow without end",
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
    "learning-rate": "steps too large or too small for the weights",
    "cannot-overfit": "a handful of examples cannot be learned",
    "diverging-loss": "a loss that rises far above that of a guess, or back to it",
    "oscillating-loss": "a loss that jumps above that of a guess again and again",
    "stalled-loss": "a loss that stays at that of a guess",
    # What is measured is not what was meant.
    "validation-inputs": "validation data of another scale than training data",
    "validation-targets": "classes occur otherwise in validation data than in training data",
    "validation-leak": "examples that are in both training and validation data",
    "overfitting": "a validation loss that rises while the training loss falls",
    # Worth knowing.
    "class-imbalance": "classes of very different size",
    "input-offset": "inputs far from centred",
    "bias-before-norm": "a bias that normalisation takes away again",
    "overfit-not-tried": "there was no time to learn a handful of examples",
}

KINDS: dict[str, Kind] = {name: Kind(i, about) for i, (name, about) in enumerate(_LISTED.items())}


def order_of(kind: str, step: int) -> float:
    """The place of a finding between causes and effects: steps that are too large follow from others only at first."""
    if kind == "learning-rate" and step:
        return KINDS["weight-decay"].order + 0.5
    return KINDS[kind].order


# What shows in the loss.
COURSE = ("diverging-loss", "oscillating-loss", "stalled-loss", "cannot-overfit")
_NUMERIC = (
    *("exploding-gradient", "not-finite", "saturated", "dead-units", "vanishing-signal", "constant-output"),
    *("vanishing-gradient", "zero-gradient", "initial-loss", "learning-rate", "diverging-weights", *COURSE),
)
_BLOCKED = (
    *("vanishing-signal", "constant-output", "vanishing-gradient", "zero-gradient", "initial-loss"),
    *("input-ignored", *COURSE),
)

# What is a matter of degree: a network that learns all the same shows that it is no error.
BY_DEGREE = {
    *_NUMERIC,
    *_BLOCKED,
    *("zero-weights", "identical-filters", "positive-weights", "weight-scale", "large-bias", "fan-from-image"),
    *("input-scale", "feature-scales", "target-scale", "weight-decay", "sorted-batches"),
}

# What each kind may bring about.
EFFECTS: dict[str, tuple[str, ...]] = {
    "input-dtype": ("input-scale", "input-offset", *_NUMERIC),
    "input-layout": _BLOCKED,
    "input-not-finite": (*_NUMERIC, "input-ignored"),
    "weights-not-finite": (*_NUMERIC, "input-ignored", "positive-weights", "weight-scale", "large-bias"),
    "input-constant": (*_BLOCKED, "dead-units", "contradicting-labels", "input-offset", "input-scale"),
    "target-not-finite": _NUMERIC,
    "label-one-hot": (*COURSE,),
    "labels-one-based": (*COURSE, "class-imbalance"),
    "label-range": (*COURSE, "class-imbalance"),
    "target-range": (
        *("labels-as-numbers", "target-scale", *COURSE, "initial-loss", "exploding-gradient"),
        *("missing-sigmoid", "learning-rate", "saturated", "constant-output", "zero-gradient", "vanishing-gradient"),
    ),
    "labels-as-numbers": ("target-scale", *COURSE, "initial-loss", "exploding-gradient", "learning-rate"),
    "target-constant": (*COURSE, "class-imbalance"),
    "single-output": ("loss-error", *_BLOCKED),
    "softmax-axis": ("missing-softmax", "examples-mixed", "loss-error", *_BLOCKED),
    "double-softmax": (*COURSE, "vanishing-gradient", "squashed-logits", "initial-loss"),
    "missing-softmax": (*COURSE, "initial-loss", "loss-error"),
    "missing-sigmoid": (*COURSE, "initial-loss", "loss-error"),
    "relu-before-loss": (*COURSE, "dead-units", "zero-gradient", "initial-loss", "constant-output"),
    "squashed-logits": (*COURSE, "saturated"),
    "dropout-before-output": (*COURSE, "initial-loss"),
    "no-activation": ("missing-activation", *COURSE),
    "bottleneck": (*_BLOCKED, "dead-units", "saturated", "learning-rate"),
    "dropout-rate": (*_BLOCKED, "dead-units", "learning-rate"),
    "backward-zero": ("zero-gradient", "vanishing-gradient", *COURSE, "wrong-gradient"),
    "wrong-gradient": (
        *(*COURSE, "zero-gradient", "vanishing-gradient", "exploding-gradient", "learning-rate", "not-finite"),
        "diverging-weights",
    ),
    "no-gradient": ("zero-gradient", *COURSE, "wrong-gradient"),
    "frozen": ("zero-gradient", *COURSE),
    "examples-mixed": (*COURSE,),
    "zero-weights": ("identical-filters", "dead-units", "large-bias", *_BLOCKED),
    "identical-filters": ("positive-weights", "weight-scale", "dead-units", *_NUMERIC),
    "positive-weights": ("weight-scale", "fan-from-image", "input-ignored", *_NUMERIC),
    "weight-scale": ("fan-from-image", "large-bias", "input-ignored", *_NUMERIC),
    "large-bias": ("input-ignored", *_NUMERIC),
    "input-scale": ("feature-scales", "input-offset", *_NUMERIC),
    "feature-scales": _NUMERIC,
    "target-scale": ("not-finite", "initial-loss", "exploding-gradient", *COURSE, "learning-rate"),
    "fan-from-image": ("vanishing-signal", "vanishing-gradient", *COURSE, "constant-output"),
    "sorted-batches": (
        *COURSE,
        "validation-targets",
        "constant-output",
        "learning-rate",
        "dead-units",
        "validation-leak",
        "overfitting",
    ),
    "weight-decay": (*_BLOCKED, "dead-units", "learning-rate"),
    # In training; before it, a first step that is too large follows from others.
    "learning-rate": (*(kind for kind in _NUMERIC if kind != "learning-rate"), "input-ignored"),
    "diverging-weights": (*COURSE, "constant-output", "dead-units", "saturated", "exploding-gradient"),
    "diverging-loss": ("oscillating-loss", "stalled-loss"),
    "oscillating-loss": ("stalled-loss",),
    "validation-inputs": (
        "validation-targets",
        "overfitting",
    ),
    "input-ignored": (
        "constant-output",
        "dead-units",
        "saturated",
        "zero-gradient",
        "vanishing-gradient",
        *COURSE,
    ),
    "exploding-gradient": ("initial-loss", "learning-rate", *COURSE),
    "not-finite": (*(kind for kind in _NUMERIC if kind not in ("not-finite", "diverging-weights")),),
    "saturated": ("constant-output", "vanishing-gradient", "zero-gradient", "initial-loss", *COURSE),
    "dead-units": ("constant-output", "vanishing-gradient", "zero-gradient", *COURSE, "initial-loss"),
    "vanishing-signal": ("constant-output", "vanishing-gradient", "zero-gradient", *COURSE),
    "constant-output": ("vanishing-gradient", "zero-gradient", *COURSE),
    "vanishing-gradient": ("zero-gradient", "constant-output", *COURSE),
    "zero-gradient": (*COURSE,),
    "initial-loss": (*COURSE,),
    "contradicting-labels": (*COURSE,),
}
