"""Loss layers."""

import math

import numpy as np
import pytest

from cconv import functional as F
from cconv import gradcheck, nn

LOGITS = np.random.default_rng(0).normal(size=(5, 4))
LABELS = np.array([0, 3, 1, 1, 2])
ONE_HOT = np.eye(4)[LABELS]
SOFT = np.random.default_rng(1).dirichlet(np.ones(4), 5)

CASES = {
    "labels": (nn.CrossEntropyLoss, LOGITS, LABELS),
    "one_hot": (nn.CrossEntropyLoss, LOGITS, ONE_HOT),
    "soft": (nn.CrossEntropyLoss, LOGITS, SOFT),
    "labels_of_pixels": (
        nn.CrossEntropyLoss,
        np.random.default_rng(2).normal(size=(2, 3, 4, 5)),
        np.random.default_rng(3).integers(0, 3, (2, 4, 5)),
    ),
    "mse": (nn.MSELoss, LOGITS, SOFT),
    "bce": (nn.BCEWithLogitsLoss, LOGITS, SOFT),
    "l1": (nn.L1Loss, LOGITS, SOFT),
    "huber": (nn.HuberLoss, LOGITS, SOFT),
    "smooth_l1": (nn.SmoothL1Loss, LOGITS, SOFT),
    "nll": (nn.NLLLoss, F.log_softmax(LOGITS), LABELS),
    "probabilities": (nn.BCELoss, F.sigmoid(LOGITS), SOFT),
}
WEIGHT = np.array([0.5, 2.0, 1.0, 0.25])
OPTIONS = {
    "labels": [
        {"weight": WEIGHT},
        {"ignore_index": 1},
        {"label_smoothing": 0.2},
        {"weight": WEIGHT, "ignore_index": 3, "label_smoothing": 0.1},
    ],
    "soft": [{"weight": WEIGHT}, {"label_smoothing": 0.2}, {"weight": WEIGHT, "label_smoothing": 1.0}],
    "nll": [{"weight": WEIGHT}, {"ignore_index": 1}, {"weight": WEIGHT, "ignore_index": 3}],
    "huber": [{"delta": 0.4}],
    "smooth_l1": [{"beta": 0.4}, {"beta": 0.0}],
    "probabilities": [{"weight": WEIGHT}],
    "bce": [{"weight": WEIGHT}, {"pos_weight": WEIGHT}, {"weight": WEIGHT[:1], "pos_weight": np.full((5, 1), 3.0)}],
}
WITH_OPTIONS = [(case, options) for case, several in OPTIONS.items() for options in several]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", CASES)
def test_gradients(case, reduction):
    kind, logits, target = CASES[case]
    report = gradcheck(kind(reduction=reduction), logits, target)
    assert report, str(report)


@pytest.mark.parametrize(("case", "options"), WITH_OPTIONS)
def test_gradients_with_options(case, options):
    kind, logits, target = CASES[case]
    report = gradcheck(kind(**options), logits, target)
    assert report, str(report)


@pytest.mark.torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("case", "options"), [(case, {}) for case in CASES] + WITH_OPTIONS)
def test_agrees_with_torch(case, options, reduction):
    torch = pytest.importorskip("torch")
    kind, logits, target = CASES[case]
    loss, backward = kind(**options, reduction=reduction).forward(logits, target)
    peer_logits = torch.tensor(logits, requires_grad=True)
    options = {name: torch.tensor(o) if isinstance(o, np.ndarray) else o for name, o in options.items()}
    peer_loss = getattr(torch.nn, kind.__name__)(**options, reduction=reduction)(peer_logits, torch.tensor(target))
    peer_loss.sum().backward()
    np.testing.assert_allclose(loss, peer_loss.detach().numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(backward(), peer_logits.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("case", CASES)
def test_a_call_is_the_loss_of_forward_in_the_logits_type(case):
    kind, logits, target = CASES[case]
    logits = logits.astype(np.float32)
    loss, backward = kind().forward(logits, target)
    assert np.ndim(loss) == 0 and loss.dtype == np.float32
    assert kind()(logits, target) == loss
    grad = backward()
    assert grad.shape == logits.shape and grad.dtype == np.float32


@pytest.mark.parametrize("case", CASES)
def test_a_closure_runs_once_and_scales(case):
    kind, logits, target = CASES[case]
    _, backward = kind().forward(logits, target)
    grad = backward()
    with pytest.raises(RuntimeError, match="call forward again"):
        backward()
    for scale in (2, 2.0, np.float32(2), np.array(2.0, np.float32)):
        _, backward = kind().forward(logits, target)
        np.testing.assert_allclose(backward(scale), 2 * grad, rtol=1e-15)


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.NLLLoss])
def test_sample_weights_count_an_example_so_often(kind):
    """A whole weight is that many copies of the example, in the mean as in the sum."""
    logits, counts = F.log_softmax(LOGITS), np.array([2, 0, 1, 3, 1])
    again = np.repeat(np.arange(5), counts)
    for options in ({}, {"weight": WEIGHT}, {"ignore_index": 1}, {"reduction": "sum"}):
        criterion = kind(**options)
        loss, backward = criterion.forward(logits, LABELS, sample_weight=counts)
        expected, expected_backward = criterion.forward(logits[again], LABELS[again])
        assert loss == pytest.approx(expected, rel=1e-14)
        grad = np.zeros_like(logits)
        np.add.at(grad, again, expected_backward())
        np.testing.assert_allclose(backward(), grad, rtol=1e-13, atol=1e-16)
        assert criterion(logits, LABELS, sample_weight=counts) == loss
    loss = nn.CrossEntropyLoss()(LOGITS, SOFT, sample_weight=counts)
    assert loss == pytest.approx(nn.CrossEntropyLoss()(LOGITS[again], SOFT[again]), rel=1e-14)


def test_a_mean_over_nothing_is_nan_and_goes_back():
    for options in ({}, {"weight": WEIGHT}, {"label_smoothing": 0.1}):
        loss, backward = nn.CrossEntropyLoss(**options).forward(LOGITS, np.full(5, -100))
        assert np.isnan(loss) and not backward().any()
    loss, backward = nn.NLLLoss().forward(LOGITS, np.full(5, -100))
    assert np.isnan(loss) and not backward().any()


def test_a_weight_is_a_copy_in_the_logits_type():
    weight = [1, 2, 3, 4]
    criterion = nn.CrossEntropyLoss(weight)
    assert criterion(LOGITS.astype(np.float32), LABELS).dtype == np.float32
    array = WEIGHT.copy()
    criterion = nn.BCEWithLogitsLoss(pos_weight=array)
    expected = criterion(LOGITS, SOFT)
    array[:] = 0
    assert criterion(LOGITS, SOFT) == expected


def test_uniform_logits_cost_the_logarithm_of_the_classes():
    assert nn.CrossEntropyLoss()(np.zeros((3, 10)), [1, 2, 3]) == pytest.approx(math.log(10), rel=1e-15)
    assert nn.BCEWithLogitsLoss()(np.zeros((3, 1)), np.ones((3, 1))) == pytest.approx(math.log(2), rel=1e-15)
    assert nn.MSELoss()(np.full((3, 2), 3.0), np.ones((3, 2))) == 4


def test_one_hot_labels_of_any_type_mean_the_labels():
    expected = nn.CrossEntropyLoss()(LOGITS, LABELS)
    for dtype in (bool, np.uint8, np.int64, np.float32, np.float64):
        assert nn.CrossEntropyLoss()(LOGITS, ONE_HOT.astype(dtype)) == pytest.approx(expected, rel=1e-15)


def test_integer_targets_of_elementwise_losses_are_numbers():
    target = np.array([[0, 1], [1, 1]])
    logits = np.array([[0.5, -1.0], [2.0, 0.0]], np.float32)
    for kind in (nn.MSELoss, nn.BCEWithLogitsLoss):
        assert kind()(logits, target) == kind()(logits, target.astype(np.float32))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: nn.HuberLoss(delta=0), ValueError, "HuberLoss: delta must be more than 0, got 0"),
        (lambda: nn.SmoothL1Loss(beta=-1), ValueError, "SmoothL1Loss: beta must be at least 0, got -1"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=1.5), ValueError, "label_smoothing must be at most 1, got 1.5"),
        (lambda: nn.CrossEntropyLoss("sum"), TypeError, "CrossEntropyLoss: weight has dtype <U3"),
        (lambda: nn.NLLLoss(ignore_index=1.5), TypeError, "NLLLoss: ignore_index must be an integer, got 1.5"),
        (lambda: nn.NLLLoss()(LOGITS, ONE_HOT), ValueError, r"target has shape \(5, 4\), expected labels \(5,\) for x"),
        (
            lambda: nn.BCELoss()(LOGITS, SOFT),
            ValueError,
            "x must lie in 0..1, got .*: binary_cross_entropy_with_logits",
        ),
        (lambda: nn.MSELoss("average"), ValueError, "MSELoss: reduction must be one of 'mean', 'sum', 'none'"),
        (lambda: nn.CrossEntropyLoss()(LOGITS, [0, 4, 1, 1, 2]), ValueError, "label 4 at index 1, expected 0..3"),
        (lambda: nn.CrossEntropyLoss()(LOGITS, [0, -1, 1, 1, 2]), ValueError, "label -1 at index 1, expected 0..3"),
        (lambda: nn.CrossEntropyLoss()(LOGITS, LABELS[:4]), ValueError, r"target has shape \(4,\)"),
        (lambda: nn.CrossEntropyLoss()(LOGITS, LABELS * 1.0), TypeError, "labels must be integers"),
        (lambda: nn.CrossEntropyLoss()(LABELS, LABELS), TypeError, "CrossEntropyLoss: logits has dtype int64"),
        (lambda: nn.MSELoss()(LOGITS, SOFT[:4]), ValueError, r"target has shape \(4, 4\), x \(5, 4\)"),
        (lambda: nn.MSELoss()(LOGITS, SOFT * 1j), TypeError, "MSELoss: target has dtype complex128"),
        (lambda: nn.BCEWithLogitsLoss()(LOGITS, SOFT[0]), ValueError, r"target has shape \(4,\), x \(5, 4\)"),
        (lambda: nn.Loss()(LOGITS, SOFT), NotImplementedError, r"Loss has no forward\(self, logits, target\)"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_repr():
    assert repr(nn.MSELoss()) == "MSELoss()"
    assert repr(nn.CrossEntropyLoss(reduction="sum")) == "CrossEntropyLoss(reduction='sum')"
    assert repr(nn.CrossEntropyLoss(WEIGHT, 0, label_smoothing=0.1)) == (
        "CrossEntropyLoss(weight=<4 classes>, ignore_index=0, label_smoothing=0.1)"
    )
    assert repr(nn.HuberLoss(delta=2)) == "HuberLoss(delta=2.0)"
    assert repr(nn.SmoothL1Loss("sum", 0.5)) == "SmoothL1Loss(beta=0.5, reduction='sum')"
    assert repr(nn.BCEWithLogitsLoss(pos_weight=WEIGHT)) == "BCEWithLogitsLoss(pos_weight=<(4,)>)"
