"""Learning-rate schedules."""

import numpy as np
import pytest

from cconv import optim
from cconv.nn import Parameter


def _optimizer(kind=optim.SGD, **options):
    parameters = [Parameter(np.ones(3)) for _ in range(3)]
    groups = [{"params": parameters[:2]}, {"params": parameters[2], "lr": 0.02}]
    return kind(groups, **({"lr": 0.3} | options))


CASES = {
    "step": lambda L, o: L.StepLR(o, 7, 0.5),
    "multi-step": lambda L, o: L.MultiStepLR(o, [30, 5, 60, 60], 0.3),
    "exponential": lambda L, o: L.ExponentialLR(o, 0.97),
    "linear": lambda L, o: L.LinearLR(o, 0.1, 0.9, 20),
    "linear by default": lambda L, o: L.LinearLR(o),
    "lambda": lambda L, o: L.LambdaLR(o, lambda t: 1 / (1 + t)),
    "cosine": lambda L, o: L.CosineAnnealingLR(o, 100, 0.001),
    "one cycle": lambda L, o: L.OneCycleLR(o, 0.5, 100),
    "one cycle a group": lambda L, o: L.OneCycleLR(o, [0.5, 0.1], epochs=11, steps_per_epoch=10, pct_start=0.1),
    "one cycle of lines": lambda L, o: L.OneCycleLR(
        o, 0.5, 120, anneal_strategy="linear", base_momentum=0.5, max_momentum=0.9, div_factor=10, final_div_factor=50
    ),
    "one cycle of three phases": lambda L, o: L.OneCycleLR(o, 0.5, 100, three_phase=True),
    "one cycle without momentum": lambda L, o: L.OneCycleLR(o, 0.5, 100, cycle_momentum=False),
    "chained": lambda L, o: L.ChainedScheduler([L.LinearLR(o, 0.1, 1.0, 20), L.ExponentialLR(o, 0.97), L.StepLR(o, 9)]),
    "sequential": lambda L, o: L.SequentialLR(
        o, [L.LinearLR(o, 0.01, 1.0, 10), L.CosineAnnealingLR(o, 60), L.ExponentialLR(o, 0.9)], [10, 70]
    ),
}


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
@pytest.mark.parametrize("case", CASES)
def test_a_hundred_steps_equal_pytorch(case, name):
    torch = pytest.importorskip("torch")
    mine = _optimizer(getattr(optim, name))
    tensors = [torch.ones(3, requires_grad=True) for _ in range(3)]
    peer = getattr(torch.optim, name)([{"params": tensors[:2]}, {"params": tensors[2], "lr": 0.02}], lr=0.3)
    ours, theirs = CASES[case](optim, mine), CASES[case](torch.optim.lr_scheduler, peer)
    for _ in range(100):
        for group, twin in zip(mine.param_groups, peer.param_groups, strict=True):
            assert group["lr"] == pytest.approx(twin["lr"], rel=1e-10, abs=1e-14)
            for option in ("momentum", "betas"):
                if option in group:
                    assert group[option] == pytest.approx(twin[option], rel=1e-12)
        assert ours.get_last_lr() == [group["lr"] for group in mine.param_groups]
        peer.step()
        ours.step()
        theirs.step()


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start_factor", [1 / 3, 0.01])
def test_a_warm_up_before_a_cosine_equals_pytorch(start_factor):
    torch = pytest.importorskip("torch")
    mine, peer = _optimizer(), torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    ours = optim.CosineAnnealingLR(mine, 100, 0.01, warmup=10, start_factor=start_factor)
    L = torch.optim.lr_scheduler
    parts = [L.LinearLR(peer, start_factor, total_iters=10), L.CosineAnnealingLR(peer, 90, 0.01)]
    theirs = L.SequentialLR(peer, parts, [10])
    for _ in range(100):
        assert mine.lr == pytest.approx(peer.param_groups[0]["lr"], rel=1e-10)
        peer.step()
        ours.step()
        theirs.step()
    assert mine.lr == pytest.approx(0.01)


PLATEAU = [
    {},
    {"patience": 2, "factor": 0.5},
    {"mode": "max", "patience": 1, "cooldown": 3, "factor": 0.7},
    {"patience": 3, "threshold": 0.3, "threshold_mode": "abs", "min_lr": [0.01, 0.001]},
    {"mode": "max", "patience": 0, "threshold": 0.1, "threshold_mode": "abs", "factor": 0.9, "min_lr": 0.015},
    {"patience": 0, "factor": 0.3, "eps": 1e-3},
]


@pytest.mark.torch
@pytest.mark.parametrize("options", PLATEAU, ids=str)
def test_plateaus_equal_pytorch(options):
    torch = pytest.importorskip("torch")
    tensors = [torch.ones(3, requires_grad=True) for _ in range(2)]
    mine = _optimizer()
    peer = torch.optim.SGD([{"params": tensors[0]}, {"params": tensors[1], "lr": 0.02}], lr=0.3)
    ours, theirs = optim.ReduceLROnPlateau(mine, **options), torch.optim.lr_scheduler.ReduceLROnPlateau(peer, **options)
    figures = np.random.default_rng(0).normal(size=100) + 3 * np.exp(-np.arange(100) / 10)
    figures[40] = np.nan
    for i, figure in enumerate(figures):
        if i == 50:
            state, ours = ours.state_dict(), optim.ReduceLROnPlateau(mine, **options)
            ours.load_state_dict(state)
        ours.step(figure)
        theirs.step(figure)
        assert ours.get_last_lr() == pytest.approx([group["lr"] for group in peer.param_groups], rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_schedule_goes_on(case):
    straight = _optimizer(optim.Adam)
    schedule = CASES[case](optim, straight)
    for _ in range(30):
        schedule.step()
    resumed = _optimizer(optim.Adam, lr=0.7)
    other = CASES[case](optim, resumed)
    resumed.load_state_dict(straight.state_dict())
    other.load_state_dict(schedule.state_dict())
    for _ in range(30):
        assert straight.state_dict().keys() == resumed.state_dict().keys()
        for name, value in straight.state_dict().items():
            assert np.array_equal(value, resumed.state_dict()[name])
        schedule.step()
        other.step()


def test_a_rate_that_is_set_starts_later_schedules():
    sgd = _optimizer()
    optim.LinearLR(sgd, 0.5)
    sgd.lr = 0.2
    assert optim.StepLR(sgd, 3).base_lrs == [0.2, 0.02]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: optim.StepLR(o, 0), ValueError, "StepLR: step_size must be at least 1, got 0"),
        (lambda o: optim.StepLR(o.param_groups, 1), TypeError, "StepLR: optimizer must be an Optimizer, got list"),
        (lambda o: optim.MultiStepLR(o, [-1]), ValueError, "MultiStepLR: milestones must be at least 0, got -1"),
        (lambda o: optim.ExponentialLR(o, -1), ValueError, "ExponentialLR: gamma must be at least 0, got -1"),
        (lambda o: optim.LinearLR(o, 0), ValueError, "LinearLR: start_factor must be more than 0, got 0"),
        (lambda o: optim.LinearLR(o, 2), ValueError, "LinearLR: start_factor must be at most 1, got 2"),
        (lambda o: optim.LambdaLR(o, 0.5), TypeError, "LambdaLR: lr_lambda must be a function, got 0.5"),
        (lambda o: optim.CosineAnnealingLR(o, 5, warmup=5), ValueError, "warmup must be less than T_max=5, got 5"),
        (lambda o: optim.OneCycleLR(o, 1), ValueError, "total_steps, or epochs and steps_per_epoch, must be given"),
        (lambda o: optim.OneCycleLR(o, [1, 2, 3], 9), ValueError, "max_lr must be a number or 2, one for each group"),
        (lambda o: optim.OneCycleLR(o, 1, 9, pct_start=2), ValueError, "pct_start must be at most 1, got 2"),
        (lambda o: optim.ReduceLROnPlateau(o, factor=1), ValueError, "factor must be less than 1, got 1"),
        (lambda o: optim.ReduceLROnPlateau(o, "low"), ValueError, "mode must be one of 'min', 'max', got 'low'"),
        (lambda o: optim.ChainedScheduler([]), ValueError, "ChainedScheduler: schedulers is empty"),
        (
            lambda o: optim.ChainedScheduler([optim.ReduceLROnPlateau(o)]),
            TypeError,
            "schedulers must be formulas of the step, got ReduceLROnPlateau",
        ),
        (
            lambda o: optim.ChainedScheduler([optim.StepLR(o, 1), optim.StepLR(_optimizer(), 1)]),
            ValueError,
            "schedulers must be of one optimizer",
        ),
        (
            lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1), optim.StepLR(o, 2)], [3, 4]),
            ValueError,
            "milestones must be 1 rising numbers for 2 schedulers",
        ),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make(_optimizer())


def test_a_cycle_ends():
    cycle = optim.OneCycleLR(_optimizer(), 1, 3)
    for _ in range(3):
        cycle.step()
    with pytest.raises(ValueError, match="step 4 of a cycle of 3 steps"):
        cycle.step()
    assert cycle.last_epoch == 3
