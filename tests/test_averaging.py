"""Averages of weights."""

import numpy as np
import pytest

from cconv import nn, optim


def _model():
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))


def _walk(model, seed):
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.value = rng.normal(size=parameter.value.shape).astype(parameter.value.dtype)
    model.forward(rng.normal(size=(4, 2, 5, 5)).astype(np.float32))


def _state(model):
    return {name: array.copy() for name, array in model.state_dict().items()}


@pytest.mark.torch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decay", [0.9, 0.999])
def test_a_hundred_updates_equal_pytorch(decay, dtype):
    torch = pytest.importorskip("torch")
    swa = torch.optim.swa_utils
    parameter, twin = nn.Parameter(np.zeros((5, 3), dtype)), torch.nn.Linear(3, 5, bias=False)
    twin = twin.to(torch.from_numpy(parameter.value).dtype)
    ours, theirs = optim.EMA([parameter], decay), swa.AveragedModel(twin, multi_avg_fn=swa.get_ema_multi_avg_fn(decay))
    rng = np.random.default_rng(0)
    for _ in range(100):
        value = rng.normal(size=(5, 3)).astype(dtype)
        parameter.value = value
        with torch.no_grad():
            twin.weight.copy_(torch.from_numpy(value))
        ours.update()
        theirs.update_parameters(twin)
    expected = theirs.module.weight.detach().numpy()
    assert np.abs(ours.state_dict()["0"] - expected).max() <= (1e-6 if dtype == np.float32 else 1e-13)


def test_the_model_holds_the_averages_in_the_context_alone():
    model = _model()
    ema = optim.EMA(model, 0.5)
    states = []
    for seed in range(2):
        _walk(model, seed)
        ema.update()
        states.append(_state(model))
    with ema.averaged():
        for name, value in model.state_dict().items():
            first, last = states[0][name], states[1][name]
            expected = (first + last) / 2 if value.dtype.kind == "f" else last
            np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)
        with pytest.raises(RuntimeError, match=r"call restore\(\) before update\(\)"):
            ema.update()
        with pytest.raises(RuntimeError, match=r"call restore\(\) first"):
            ema.copy_to()
    assert all(np.array_equal(value, states[1][name]) for name, value in model.state_dict().items())
    with pytest.raises(RuntimeError, match="nothing to restore"):
        ema.restore()
    with pytest.raises(ZeroDivisionError), ema.averaged():
        raise ZeroDivisionError
    assert all(np.array_equal(value, states[1][name]) for name, value in model.state_dict().items())


def test_a_warm_up_forgets_the_first_weights():
    parameter = nn.Parameter(np.zeros(()))
    ema = optim.EMA([parameter], 0.5, warmup=True)
    expected = 0.0
    for n in range(20):
        parameter.value = float(n)
        ema.update()
        expected += (1 - min(0.5, (1 + n) / (10 + n))) * (n - expected)
    assert ema.state_dict()["0"] == pytest.approx(expected, rel=1e-12)


def test_a_resumed_average_goes_on_to_the_same_bits():
    model = _model()
    ema = optim.EMA(model, 0.9, warmup=True)
    for seed in range(3):
        _walk(model, seed)
        ema.update()
    other = optim.EMA(model, 0.9, warmup=True)
    state = ema.state_dict()
    other.load_state_dict(state)
    _walk(model, 3)
    ema.update()
    other.update()
    for name, value in ema.state_dict().items():
        assert np.array_equal(value, other.state_dict()[name])
    for spoil, message in (
        (lambda s: s.pop("updates"), "'updates' is missing"),
        (lambda s: s.pop("0.weight"), r"'0\.weight' is missing"),
        (lambda s: s.update(more=1), "'more' is not an entry"),
        (lambda s: s.update({"0.bias": np.zeros(3)}), r"'0\.bias' is float64 \(3,\), expected float32 \(3,\)"),
    ):
        spoiled = dict(state)
        spoil(spoiled)
        with pytest.raises(ValueError, match=message):
            other.load_state_dict(spoiled)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: optim.EMA([p], 1), ValueError, "EMA: decay must be less than 1, got 1"),
        (lambda p: optim.EMA([p], -0.1), ValueError, "EMA: decay must be at least 0, got -0.1"),
        (lambda p: optim.EMA([]), ValueError, "EMA: there are no parameters"),
        (lambda p: optim.EMA([p, p]), ValueError, "EMA: parameters lists a parameter twice"),
        (lambda p: optim.EMA(p), TypeError, "EMA: parameters must be Parameters, got Parameter"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make(nn.Parameter(np.zeros(2)))
