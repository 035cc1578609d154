"""Loss layers."""

import math

import numpy as np
import pytest

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
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", CASES)
def test_gradients(case, reduction):
    kind, logits, target = CASES[case]
    report = gradcheck(kind(reduction), logits, target)
    assert report, str(report)


@pytest.mark.torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_torch(case, reduction):
    torch = pytest.importorskip("torch")
    kind, logits, target = CASES[case]
    loss, backward = kind(reduction).forward(logits, target)
    peer_logits = torch.tensor(logits, requires_grad=True)
    peer_loss = getattr(torch.nn, kind.__name__)(reduction=reduction)(peer_logits, torch.tensor(target))
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
    assert repr(nn.CrossEntropyLoss("sum")) == "CrossEntropyLoss(reduction='sum')"
