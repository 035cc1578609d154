import copy
import tracemalloc

import numpy as np
import pytest

from cconv import _dispatch, optim
from cconv.nn import Parameter

SHAPES = [(4, 3, 5, 5), (7,), (), (2, 0), (33, 65)]


def _parameters(dtype, seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [Parameter(np.asarray(rng.standard_normal(shape), dtype)) for shape in shapes]


def _gradients(dtype, step, shapes=SHAPES):
    rng = np.random.default_rng(1000 + step)
    # Of very different sizes, so that neither eps nor weight decay drowns.
    return [np.asarray(rng.standard_normal(shape) * 10.0 ** rng.integers(-5, 2), dtype) for shape in shapes]


SGD = [
    {"lr": 0.1},
    {"lr": 0.05, "weight_decay": 0.03},
    {"lr": 0.02, "momentum": 0.9},
    {"lr": 0.02, "momentum": 0.9, "dampening": 0.4},
    {"lr": 0.02, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.1},
    {"lr": 0.02, "momentum": 0.9, "nesterov": True},
    {"lr": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 5e-2},
    {"lr": 0.0, "momentum": 0.9},
]
ADAM = [
    {},
    {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3},
    {"lr": 0.01, "weight_decay": 0.1},
    {"lr": 0.01, "betas": (0.0, 0.0)},
    {"lr": 0.01, "eps": 0.0},
]


AMSGRAD = [{"amsgrad": True}, {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1}]
ADAMW = [{}, {"lr": 0.01, "weight_decay": 0.2}, {"lr": 0.01, "amsgrad": True}, {"weight_decay": 0.0}]
RMSPROP = [
    {},
    {"lr": 0.01, "alpha": 0.9, "eps": 1e-3},
    {"lr": 1e-3, "momentum": 0.9, "weight_decay": 0.1},
    {"lr": 1e-3, "centered": True, "eps": 1e-6},
    {"lr": 1e-3, "centered": True, "momentum": 0.5, "weight_decay": 0.1},
]
ALL = [
    *[("SGD", o) for o in SGD],
    *[("Adam", o) for o in ADAM + AMSGRAD],
    *[("AdamW", o) for o in ADAMW],
    *[("RMSprop", o) for o in RMSPROP],
]


@pytest.mark.torch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "options"), ALL)
def test_a_hundred_steps_equal_pytorch(name, options, dtype):
    torch = pytest.importorskip("torch")
    ours = _parameters(dtype)
    theirs = [torch.tensor(p.value.copy(), requires_grad=True) for p in ours]
    mine, peer = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(100):
        if step == 50:
            # The rate may change between steps.
            mine.lr *= 0.5
            peer.param_groups[0]["lr"] *= 0.5
        for p, t, g in zip(ours, theirs, _gradients(dtype, step), strict=True):
            p.grad[...] = g
            t.grad = torch.tensor(g)
        mine.step()
        peer.step()
    _agree(ours, theirs, dtype)


def _agree(ours, theirs, dtype):
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    for p, t in zip(ours, theirs, strict=True):
        assert p.value.dtype == dtype
        expected = t.detach().numpy()
        assert np.abs(p.value - expected).max(initial=0) <= tolerance * np.abs(expected).max(initial=0)


GROUPS = {
    "SGD": ({"lr": 0.02, "momentum": 0.9}, {"lr": 0.1, "weight_decay": 0.1}, {"momentum": 0.0}),
    "Adam": ({}, {"lr": 0.01, "betas": (0.5, 0.9)}, {"amsgrad": True, "weight_decay": 0.1}),
    "AdamW": ({}, {"lr": 0.01, "weight_decay": 0.0}, {"eps": 1e-3}),
    "RMSprop": ({"lr": 1e-3}, {"momentum": 0.9}, {"centered": True, "weight_decay": 0.1}),
}


@pytest.mark.torch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", GROUPS)
def test_groups_equal_pytorch(name, dtype):
    torch = pytest.importorskip("torch")
    ours = _parameters(dtype)
    theirs = [torch.tensor(p.value.copy(), requires_grad=True) for p in ours]
    common, first, second = GROUPS[name]
    mine, peer = (
        getattr(kind, name)([{"params": ps[:2], **first}, {"params": ps[2]}], **common)
        for kind, ps in ((optim, ours), (torch.optim, theirs))
    )
    for optimizer, ps in ((mine, ours), (peer, theirs)):
        optimizer.add_param_group({"params": ps[3:], **second})
    for step in range(100):
        if step == 50:
            for groups in (mine.param_groups, peer.param_groups):
                groups[2]["lr"] *= 0.5
                groups[0]["weight_decay"] = 0.05
        for p, t, g in zip(ours, theirs, _gradients(dtype, step), strict=True):
            p.grad[...] = g
            t.grad = torch.tensor(g)
        mine.step()
        peer.step()
    _agree(ours, theirs, dtype)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_threads_and_instruction_sets_change_no_bit(name, options, threads, keep_isa):
    results = set()
    shapes = [(300, 200), (1000,), (3, 5, 7), (17,), ()]
    for isa in [isa for isa in _dispatch.usable() if isa != "baseline"]:
        for n in (1, 2, 3):
            _dispatch.select(isa)
            threads(n)
            parameters = _parameters(np.float32, shapes=shapes) + _parameters(np.float64, shapes=shapes)
            optimizer = getattr(optim, name)(parameters, **({"lr": 0.1} | options))
            for step in range(3):
                gradients = _gradients(np.float32, step, shapes) + _gradients(np.float64, step, shapes)
                for p, g in zip(parameters, gradients, strict=True):
                    p.grad[...] = g
                optimizer.step()
            results.add(b"".join(p.value.tobytes() for p in parameters))
    assert len(results) <= 1


def test_options_that_change_between_steps_find_their_state():
    """Momentum, centring or AMSGrad turned on later starts from nothing, and off leaves it be."""
    for optimizer_of, option, value in (
        (lambda p: optim.SGD(p, lr=0.1), "momentum", 0.9),
        (lambda p: optim.RMSprop(p, lr=0.1), "momentum", 0.9),
        (lambda p: optim.RMSprop(p, lr=0.1), "centered", True),
        (lambda p: optim.Adam(p, lr=0.1), "amsgrad", True),
    ):
        parameters = _parameters(np.float32)
        optimizer = optimizer_of(parameters)
        before = optimizer.param_groups[0][option]
        for on in (before, value, before, value):
            optimizer.param_groups[0][option] = on
            _run(optimizer, parameters, range(2))
        assert all(np.isfinite(p.value).all() for p in parameters)
        optimizer_of(parameters).load_state_dict(optimizer.state_dict())


def test_the_first_rate_stands_for_all_that_have_no_own():
    a, b = _parameters(np.float32, shapes=[(3,), (4,)])
    sgd = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1, momentum=0.9)
    assert [group["lr"] for group in sgd.param_groups] == [0.1, 0.5] and sgd.parameters == [a, b]
    sgd.lr = 0.2
    assert sgd.lr == 0.2 and [group["lr"] for group in sgd.param_groups] == [0.2, 0.5]
    assert sgd.param_groups[1]["momentum"] == 0.9 and sgd.param_groups[1]["params"] == [b]


def test_a_copied_optimizer_keeps_its_state():
    parameters = _parameters(np.float32)
    adam = optim.Adam(parameters)
    _run(adam, parameters, range(2))
    other = copy.deepcopy(adam)
    _run(adam, parameters, range(2, 4))
    _run(other, other.parameters, range(2, 4))
    for p, q in zip(parameters, other.parameters, strict=True):
        assert p is not q and np.array_equal(p.value, q.value)


def test_sgd_by_hand():
    p = Parameter(np.array([1.0, -2.0]))
    sgd = optim.SGD([p], lr=0.5, momentum=0.5, weight_decay=1.0)
    p.grad[...] = [1.0, 0.0]
    sgd.step()  # buffer = grad + value = (2, -2); value -= 0.5 * buffer
    assert p.value.tolist() == [0.0, -1.0]
    sgd.step()  # buffer = 0.5 * (2, -2) + (1, 0) + (0, -1) = (2, -2)
    assert p.value.tolist() == [-1.0, 0.0]
    assert p.grad.tolist() == [1.0, 0.0]


def test_adam_moves_by_the_learning_rate_at_first():
    # The first step is lr * g / (|g| + eps), whatever the size of the gradient.
    p = Parameter(np.zeros(3))
    p.grad[...] = [1e-3, -50.0, 0.0]
    optim.Adam([p], lr=0.25, eps=1e-12).step()
    assert np.allclose(p.value, [-0.25, 0.25, 0.0], rtol=1e-8)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_steps_work_in_place_and_allocate_nothing(name, options):
    shapes = [(300, 200), (500,), (20, 30, 5, 5)]
    parameters = _parameters(np.float32, shapes=shapes)
    arrays = [(p.value, p.grad) for p in parameters]
    optimizer = getattr(optim, name)(parameters, **({"lr": 0.1} | options))
    for p, g in zip(parameters, _gradients(np.float32, 0, shapes), strict=True):
        p.grad[...] = g
    gradients = [p.grad.copy() for p in parameters]
    optimizer.step()
    tracemalloc.start()
    for _ in range(3):
        optimizer.step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Far below the 1,200 bytes of the smallest parameter but for views and numbers.
    assert peak < 4000
    for p, (value, grad), g in zip(parameters, arrays, gradients, strict=True):
        assert p.value is value and p.grad is grad and np.array_equal(grad, g)


def test_frozen_parameters_keep_their_bits():
    frozen, free = _parameters(np.float32, shapes=[(5,), (5,)])
    frozen.trainable = False
    before = frozen.value.copy()
    adam = optim.Adam([frozen, free], lr=0.1, weight_decay=0.1)
    frozen.grad[...] = free.grad[...] = 1
    adam.step()
    assert np.array_equal(frozen.value, before) and not np.array_equal(free.value, before)
    assert not any(key.startswith("0.") for key in adam.state_dict())
    frozen.trainable = True
    adam.step()
    # Its own first step: the size of the learning rate.
    assert np.allclose(np.abs(frozen.value - before), 0.1, rtol=1e-5)


def test_mixed_dtypes_and_generators_of_parameters():
    parameters = _parameters(np.float32, shapes=[(3,)]) + _parameters(np.float64, shapes=[(9,)])
    sgd = optim.SGD((p for p in parameters), lr=1, weight_decay=1)
    expected = [np.zeros(3), np.zeros(9)]
    sgd.step()
    assert [p.value.tolist() for p in parameters] == [e.tolist() for e in expected]
    assert [p.value.dtype for p in parameters] == [np.float32, np.float64]


def test_zero_grad():
    parameters = _parameters(np.float64)
    for p in parameters:
        p.grad.fill(np.nan)
    optim.SGD(parameters, lr=1).zero_grad()
    assert all(not p.grad.any() for p in parameters)


def test_divergence_is_silent_and_not_hidden():
    p = Parameter(np.array([3e38, 1.0], np.float32))
    p.grad[...] = [-3e38, 1.0]
    optim.SGD([p], lr=1).step()
    assert p.value.tolist() == [np.inf, 0.0]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: optim.SGD([], lr=0.1), ValueError, "SGD: parameters is empty"),
        (lambda p: optim.Adam(iter([])), ValueError, "Adam: parameters is empty"),
        (lambda p: optim.SGD([p, p], lr=0.1), ValueError, "SGD: parameters lists a parameter twice"),
        (lambda p: optim.SGD([p.value], lr=0.1), TypeError, "SGD: parameters must be Parameters, got a ndarray"),
        (lambda p: optim.SGD(p, lr=0.1), TypeError, "SGD: parameters must be Parameters, got Parameter"),
        (lambda p: optim.SGD([p], lr=-0.1), ValueError, "SGD: lr must be at least 0, got -0.1"),
        (lambda p: optim.SGD([p], lr=np.nan), ValueError, "SGD: lr must be finite, got nan"),
        (lambda p: optim.SGD([p], lr="fast"), TypeError, "SGD: lr must be a number, got 'fast'"),
        (lambda p: optim.SGD([p], lr=1, momentum=-1), ValueError, "SGD: momentum must be at least 0, got -1"),
        (lambda p: optim.SGD([p], lr=1, weight_decay=-1), ValueError, "SGD: weight_decay must be at least 0, got -1"),
        (lambda p: optim.SGD([p], lr=1, nesterov=True), ValueError, "SGD: nesterov needs momentum and no dampening"),
        (
            lambda p: optim.SGD([p], lr=1, momentum=0.9, dampening=0.1, nesterov=True),
            ValueError,
            r"SGD: nesterov needs momentum and no dampening, got momentum=0\.9, dampening=0\.1",
        ),
        (lambda p: optim.Adam([p], betas=(0.9, 1.0)), ValueError, r"Adam: betas\[1\] must be less than 1, got 1\.0"),
        (lambda p: optim.Adam([p], betas=(-0.1, 0.9)), ValueError, r"Adam: betas\[0\] must be at least 0, got -0\.1"),
        (lambda p: optim.Adam([p], betas=0.9), ValueError, r"Adam: betas must be two numbers, got 0\.9"),
        (lambda p: optim.Adam([p], eps=-1), ValueError, "Adam: eps must be at least 0, got -1"),
        (lambda p: optim.AdamW([p], lr=-1), ValueError, "AdamW: lr must be at least 0, got -1"),
        (lambda p: optim.AdamW([p], betas=(0.9, 2)), ValueError, r"AdamW: betas\[1\] must be less than 1, got 2"),
        (lambda p: optim.RMSprop([p], alpha=1), ValueError, "RMSprop: alpha must be less than 1, got 1"),
        (lambda p: optim.RMSprop([p], momentum=-1), ValueError, "RMSprop: momentum must be at least 0, got -1"),
        (lambda p: optim.SGD([{"params": p}, {"params": [p]}], 1), ValueError, "SGD: a parameter is in two groups"),
        (lambda p: optim.SGD([{"params": [p, p]}], 1), ValueError, "SGD: parameters lists a parameter twice"),
        (lambda p: optim.SGD([{"params": []}], 1), ValueError, "SGD: a group of parameters is empty"),
        (lambda p: optim.SGD([{"lr": 1}], 1), TypeError, "SGD: a group of parameters must be a dict with 'params'"),
        (lambda p: optim.SGD([{"params": p, "lr": -1}], 1), ValueError, "SGD: lr must be at least 0, got -1"),
        (
            lambda p: optim.SGD([{"params": p, "decay": 1}], 1),
            ValueError,
            "SGD: a group has the option 'decay', known are lr, momentum",
        ),
        (lambda p: optim.SGD({p}, 1), TypeError, "SGD: parameters is a set, which has no order"),
        (
            lambda p: optim.clip_grad_value([p], -1),
            ValueError,
            "clip_grad_value: clip_value must be at least 0, got -1",
        ),
        (lambda p: optim.clip_grad_norm([p], 1, 0), ValueError, "clip_grad_norm: norm_type must be more than 0, got 0"),
        (lambda p: optim.clip_grad_norm([p], 0), ValueError, "clip_grad_norm: max_norm must be more than 0, got 0"),
        (lambda p: optim.CosineAnnealingLR(optim.SGD([p], 1), 0), ValueError, "T_max must be at least 1, got 0"),
        (lambda p: optim.CosineAnnealingLR(p, 10), TypeError, "CosineAnnealingLR: optimizer must be an Optimizer"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make(Parameter(np.ones(3)))


def test_a_model_in_place_of_its_parameters_is_recognised():
    class Model:
        def parameters(self):
            return []

    with pytest.raises(TypeError, match=r"Adam: parameters is a Model: give its \.parameters\(\)"):
        optim.Adam(Model())


def test_the_learning_rate_is_checked_when_set():
    sgd = optim.SGD(_parameters(np.float32), lr=0.1)
    with pytest.raises(ValueError, match="SGD: lr must be at least 0, got -1"):
        sgd.lr = -1
    assert sgd.lr == 0.1


# State


def _run(optimizer, parameters, steps):
    for step in steps:
        for p, g in zip(parameters, _gradients(np.float32, step), strict=True):
            p.grad[...] = g
        optimizer.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1),
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
        lambda p: optim.Adam(p, lr=0.1),
        lambda p: optim.AdamW(p, lr=0.1, amsgrad=True),
        lambda p: optim.RMSprop(p, lr=0.1, momentum=0.9, centered=True),
        lambda p: optim.SGD([{"params": p[:2], "weight_decay": 0.1}, {"params": p[2:], "momentum": 0.9}], lr=0.1),
    ],
)
def test_loading_a_state_continues_to_the_same_bits(make):
    straight = _parameters(np.float32)
    straight[1].trainable = False
    optimizer = make(straight)
    _run(optimizer, straight, range(5))
    optimizer.lr = 0.07
    state = optimizer.state_dict()
    assert all(isinstance(array, np.ndarray) for array in state.values())
    resumed = [Parameter(p.value.copy()) for p in straight]
    resumed[1].trainable = False
    other = make(resumed)
    for group in other.param_groups:
        group["weight_decay"] = 0.7
    other.load_state_dict(state)
    for group, loaded in zip(optimizer.param_groups, other.param_groups, strict=True):
        assert group | {"params": None} == loaded | {"params": None}
    assert other.lr == 0.07
    _run(optimizer, straight, range(5, 9))
    _run(other, resumed, range(5, 9))
    for p, q in zip(straight, resumed, strict=True):
        assert np.array_equal(p.value, q.value)


def test_a_state_is_a_copy():
    parameters = _parameters(np.float32)
    adam = optim.Adam(parameters)
    _run(adam, parameters, range(2))
    state = adam.state_dict()
    kept = {name: array.copy() for name, array in state.items()}
    adam.load_state_dict(state)
    _run(adam, parameters, range(2, 4))
    assert all(np.array_equal(state[name], array) for name, array in kept.items())


def _drop(key):
    return lambda state: state.pop(key)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_drop("param_groups.0.lr"), r"'param_groups\.0\.lr' is missing"),
        (lambda s: s.update({"param_groups.0.params": np.arange(4)}), "must list the group's 5 parameters"),
        (_drop("1.exp_avg_sq"), r"'1\.exp_avg_sq' is missing"),
        (lambda s: s.update({"param_groups.0.lr": np.array(-1.0)}), "lr must be at least 0"),
        (lambda s: s.update({"0.exp_avg": s["1.exp_avg"]}), r"'0\.exp_avg' is float32 \(7,\), expected float32 \(4, 3"),
        (lambda s: s.update({"1.exp_avg": np.zeros(7)}), r"'1\.exp_avg' is float64 \(7,\), expected float32 \(7,\)"),
        (lambda s: s.update({"9.exp_avg": np.zeros(7)}), r"'9\.exp_avg' is not an entry of 5 parameters"),
        (lambda s: s.update({"1.momentum_buffer": np.zeros(7)}), r"'1\.momentum_buffer' is not an entry"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(spoil, message):
    parameters = _parameters(np.float32)
    adam = optim.Adam(parameters)
    _run(adam, parameters, range(2))
    before, state = adam.state_dict(), adam.state_dict()
    spoil(state)
    with pytest.raises(ValueError, match=message):
        adam.load_state_dict(state)
    after = adam.state_dict()
    assert before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)


# Schedule and clipping


@pytest.mark.torch
@pytest.mark.parametrize("eta_min", [0.0, 0.02])
def test_cosine_equals_pytorch(eta_min):
    torch = pytest.importorskip("torch")
    mine = optim.SGD(_parameters(np.float64), lr=0.3)
    peer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    ours = optim.CosineAnnealingLR(mine, 10, eta_min)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(peer, 10, eta_min)
    for _ in range(10):
        assert abs(mine.lr - peer.param_groups[0]["lr"]) < 1e-12
        peer.step()
        ours.step()
        theirs.step()
    assert abs(mine.lr - eta_min) < 1e-12


def test_cosine_by_hand_and_resumed():
    sgd = optim.SGD(_parameters(np.float64), lr=1.0)
    cosine = optim.CosineAnnealingLR(sgd, 4)
    rates = []
    for _ in range(4):
        cosine.step()
        rates.append(sgd.lr)
    assert np.allclose(rates, [0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0.0], atol=1e-12)
    other = optim.CosineAnnealingLR(optim.SGD(_parameters(np.float64), lr=0.1), 4)
    cosine = optim.CosineAnnealingLR(sgd := optim.SGD(_parameters(np.float64), lr=1.0), 4)
    cosine.step()
    other.load_state_dict(cosine.state_dict())
    cosine.step()
    other.step()
    assert other.optimizer.lr == sgd.lr
    with pytest.raises(ValueError, match="'base_lrs' is missing"):
        other.load_state_dict({"last_epoch": 3})


def test_clipping_by_hand():
    a, b = Parameter(np.zeros(1)), Parameter(np.zeros((1, 2)))
    a.grad[...], b.grad[...] = 3.0, [[0.0, 4.0]]
    assert optim.clip_grad_norm([a, b], 10) == 5.0
    assert a.grad.tolist() == [3.0] and b.grad.tolist() == [[0.0, 4.0]]
    assert optim.clip_grad_norm(iter([a, b]), 1) == 5.0
    assert np.allclose(a.grad, 0.6, rtol=1e-6) and np.allclose(b.grad, [[0.0, 0.8]], rtol=1e-6)
    assert optim.clip_grad_norm([], 1) == 0.0


def test_clipping_passes_over_frozen_parameters():
    a, b = Parameter(np.zeros(1)), Parameter(np.zeros(1))
    a.grad[...] = b.grad[...] = 4.0
    b.trainable = False
    assert optim.clip_grad_norm([a, b], 1) == 4.0
    assert b.grad.tolist() == [4.0]


@pytest.mark.torch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("max_norm", [0.1, 5.0, 1e4])
@pytest.mark.parametrize("norm_type", [2.0, 1, 3.5, np.inf, "inf"])
def test_clipping_equals_pytorch(dtype, max_norm, norm_type):
    torch = pytest.importorskip("torch")
    ours = _parameters(dtype)
    theirs = [torch.zeros(p.value.shape, dtype=torch.from_numpy(p.value).dtype) for p in ours]
    for p, t, g in zip(ours, theirs, _gradients(dtype, 0), strict=True):
        p.grad[...] = g
        t.grad = torch.tensor(g)
    if norm_type in (np.inf, "inf"):
        theirs = [t for t in theirs if t.numel()]  # of which PyTorch takes no maximum
    norm = optim.clip_grad_norm(ours, max_norm, norm_type)
    expected = float(torch.nn.utils.clip_grad_norm_(theirs, max_norm, float(norm_type)))
    assert abs(norm - expected) <= 1e-6 * expected
    for p, t in zip([p for p in ours if p.grad.size], [t for t in theirs if t.numel()], strict=True):
        assert p.grad.dtype == dtype
        assert np.allclose(p.grad, t.grad.numpy(), rtol=1e-6, atol=0)


def test_clipping_by_value():
    a, b = Parameter(np.zeros((2, 2))), Parameter(np.zeros(2))
    a.grad[...], b.grad[...] = [[3.0, -4.0], [np.inf, np.nan]], 9.0
    b.trainable = False
    optim.clip_grad_value([a, b], 3.5)
    assert np.array_equal(a.grad, [[3.0, -3.5], [3.5, np.nan]], equal_nan=True) and b.grad.tolist() == [9.0, 9.0]


def test_a_norm_that_is_not_finite_may_be_an_error():
    p = Parameter(np.zeros(2))
    p.grad[...] = [np.inf, 1]
    with pytest.raises(RuntimeError, match="clip_grad_norm: the norm of the gradients is inf"):
        optim.clip_grad_norm([p], 1, error_if_nonfinite=True)
    assert p.grad.tolist() == [np.inf, 1]


def test_clipping_large_and_non_finite_gradients():
    p = Parameter(np.zeros(2, np.float32))
    # The square of 1e30 is beyond float32.
    p.grad[...] = [3e30, 4e30]
    assert abs(optim.clip_grad_norm([p], 1) / 5e30 - 1) < 1e-6
    assert np.allclose(p.grad, [0.6, 0.8], rtol=1e-5)
    p.grad[...] = [np.inf, 1]
    assert optim.clip_grad_norm([p], 1) == np.inf
    assert np.isnan(p.grad[0]) and p.grad[1] == 0
    p.grad[...] = [np.nan, 1]
    assert np.isnan(optim.clip_grad_norm([p], 1)) and np.isnan(p.grad).all()


@pytest.mark.parametrize("lr", ["0.1", True, None])
def test_a_rate_that_is_no_number_is_refused(lr):
    with pytest.raises(TypeError, match="SGD: lr must be a number, got"):
        optim.SGD([Parameter(np.zeros(2))], lr=lr)


def test_an_infinite_rate_must_be_finite():
    with pytest.raises(ValueError, match="SGD: lr must be finite, got inf"):
        optim.SGD([Parameter(np.zeros(2))], lr=float("inf"))


class Own:
    def __init__(self, value, grad):
        self.value, self.grad = value, grad


@pytest.mark.parametrize(
    ("value", "grad", "error", "message"),
    [
        (np.zeros((4, 4))[:, :2], np.zeros((4, 2)), TypeError, "value must be a C-contiguous"),
        (np.zeros(3), np.zeros(3, np.float32), ValueError, r"grad is float32 \(3,\), its value float64 \(3,\)"),
        (np.broadcast_to(np.zeros(()), (1,)), np.zeros(1), ValueError, "value is read-only"),
    ],
)
def test_a_parameter_that_kernels_cannot_update_is_refused(value, grad, error, message):
    with pytest.raises(error, match=message):
        optim.SGD([Own(value, grad)], lr=0.1)
