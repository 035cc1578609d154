"""Cures by experiment: the one that heals a fault ranks first, and nothing that was given changes."""

from __future__ import annotations

import json

import doctor_cases as cases
import numpy as np
import pytest

import cconv
from cconv import _random, data, models, nn, optim
from cconv.doctor import Finding, Report
from cconv.doctor.cures import NotTried, Setting
from cconv.doctor.experiment import Experiment, Shuffled


@pytest.fixture(scope="module")
def digits():
    train, _ = data.digits()
    return train.x, train.y


def simple(x, y, seed=0):
    """Learns digits in some tens of steps."""
    cconv.manual_seed(seed)
    model = cases.mlp([64, 32, 10], nn.ReLU, cases.he)
    return cases.Setup(model, x, y, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=1e-2))


def report_of(s, *cures, clip_norm=None, kind="input-scale"):
    experiment = Experiment(s.model, s.loss, s.optimizer, Shuffled(s.x, s.y), clip_norm)
    return Report([Finding(kind, "error", "a cause", cures)], "", experiment)


def dull(s):
    """A sigmoid network that needs inputs of size 1."""
    cconv.manual_seed(0)
    s.model = cases.mlp([64, 32, 10], nn.Sigmoid, cases.xavier)
    s.optimizer = optim.SGD(s.model.parameters(), lr=2.0)
    return s


# Each kind of cure. A fault, what it was made of, and what must come first.
HEALED = {
    "x": (lambda s: cases._x(dull(s), lambda x: 255 * x), "x = x.astype(np.float32) / 255"),
    "x of bytes": (
        lambda s: cases._x(s, lambda x: (255 * x).astype(np.uint8)),
        ("x = x.astype(np.float32) / 255", "x = (x - x.mean()) / x.std()"),
    ),
    "channels last": (
        lambda s: cases._channels_last(cases.setup(cases.TUNED["batch norm"], s.x, s.y)),
        "x = x.transpose(0, 3, 1, 2)",
    ),
    "y": (lambda s: cases._y(s, lambda y: y + 1), "y = y - 1"),
    "y with gaps": (
        lambda s: cases._y(s, lambda y: 3 * y),
        "y = np.unique(y, return_inverse=True)[1].reshape(y.shape)",
    ),
    "y and its width": (
        lambda s: cases._y(s, lambda y: 3 * y + (y == 9) * (np.arange(len(y)) % 2)),
        "model[3] = nn.Linear(32, 29)",
    ),
    "rows": (
        lambda s: cases._x(s, cases._with_nan),
        ("x = np.nan_to_num(x)", "keep = np.isfinite(x).reshape(len(x), -1).all(1); x, y = x[keep], y[keep]"),
    ),
    "end": (lambda s: cases._end(s, nn.Sequential(nn.ReLU(), nn.Softmax())), "model[1][1] = nn.Identity()"),
    "loss": (lambda s: cases._end(s, nn.Identity(), nn.NLLLoss()), "loss = nn.CrossEntropyLoss()"),
    "weights": (
        lambda s: cases._weights(s, lambda p: nn.init.uniform(p, 0, 1, rng=0)),
        "for i in (1, 3): nn.init.he_uniform(model[i].weight)",
    ),
    "learning rate": (lambda s: cases._lr(s, 10.0), "optimizer.lr = 0.002"),
    "another model's": (cases._elsewhere, "optimizer = optim.SGD(model.parameters(), lr=0.1)"),
    "misfit": (cases._misfit, "model[3] = nn.Linear(32, 10)"),
    "bias": (cases._first_dead, "model[1].bias.value[:] = 0"),
}


@pytest.mark.parametrize("fault", HEALED)
def test_what_heals_a_fault_ranks_first(fault, digits):
    make, first = HEALED[fault]
    faulty = make(simple(*digits))
    report = faulty.check(seconds=1)
    given = {cure for finding in report for each in (finding, *finding.consequences) for cure in each.cures}
    trials = report.try_cures(100)
    first = (first,) if isinstance(first, str) else first
    assert set(first) & given, str(report)
    assert trials.best is not None, str(trials)
    assert trials.best.cures[0] in first, str(trials)
    assert trials[0] is trials.best
    assert trials.best.accuracy > 0.4
    assert trials.baseline.cures == ()


def test_first_cures_of_faults_are_code_that_runs(digits):
    """What is printed can be pasted, but for advice on what only an author can mend."""
    advice = {"constant", "one label", "mixing", "spare", "deaf", "no derivative"}
    for fault, (_, make) in cases.FAULTS.items():
        faulty = make(cases.setup(cases.TUNED["lenet5"], *digits))
        if not faulty or fault in advice:
            continue
        trials = faulty.check(seconds=0.1).try_cures(2)
        assert len(trials) > 1, f"{fault}\n{trials}"
        assert not trials[0].error, f"{fault}\n{trials}"
        assert all(
            why in ("advice, no code", "it makes no difference") for cure, why in trials.skipped if "[:2]" not in cure
        )


def test_two_at_once_where_one_is_not_enough(digits):
    s = cases._lr(cases._first_dead(simple(*digits)), 1e-7)
    report = Report(
        [
            Finding("large-bias", "error", "a cause", ("model[1].bias.value[:] = 0", "x = x / 2")),
            Finding("learning-rate", "error", "another", ("optimizer.lr = 0.01",)),
        ],
        "",
        Experiment(s.model, s.loss, s.optimizer, Shuffled(s.x, s.y)),
    )
    trials = report.try_cures()
    assert sorted(trials.best.cures) == ["model[1].bias.value[:] = 0", "optimizer.lr = 0.01"]
    assert trials.best.cure in (" + ".join(trials.best.cures), str(trials).splitlines()[1][2:].partition(": ")[0])
    assert sum(trial.helps for trial in trials) == 1
    assert "together (+)" in str(trials)


def test_misfits_are_mended_one_after_the_other(digits):
    x, y = digits
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(100, 20), nn.ReLU(),
        nn.Linear(30, 10))  # fmt: skip
    trials = cconv.check(model, x, y, nn.CrossEntropyLoss()).try_cures(20)
    assert trials.best.cures == (
        "model[2] = nn.Conv2d(4, 8, kernel_size=(3, 3))",
        "model[5] = nn.Linear(128, 20)",
        "model[7] = nn.Linear(20, 10)",
    )
    assert trials.baseline.error.startswith("Misfit")


def test_clipping_takes_what_a_trainer_has(digits):
    s = simple(*digits)
    s.optimizer = optim.SGD(s.model.parameters(), lr=1e6)
    line = "trainer = cconv.Trainer(model, loss, optimizer, clip_norm=1e-7)"
    trials = report_of(s, line, "trainer.clip_norm = 1e-7").try_cures(30)
    one, other = (next(trial for trial in trials if trial.cure == cure) for cure in (line, "trainer.clip_norm = 1e-7"))
    assert one.losses == other.losses
    assert one.helps
    # A clipped training can lose its clipping, too.
    trials = report_of(s, "trainer.clip_norm = None", clip_norm=1e-7).try_cures(30)
    assert trials.baseline.losses == one.losses
    assert not trials[-1].helps
    assert trials[-1].cures


def test_means_are_of_more_than_a_batch(digits):
    x, y = digits
    setting = Setting(*_parts(simple(x, y)), Shuffled(x, y)(4))
    setting.apply("x = x - x.mean(); y = np.full_like(y, len(y))")
    assert abs(np.concatenate([batch[0] for batch in setting.batches]).mean()) < 1e-4
    assert abs(setting.batches[0][0].mean()) > 1e-4
    assert [len(batch[1]) for batch in setting.batches] == [32] * 4
    assert (setting.batches[0][1] == 128).all()


def test_fewer_examples_come_again_and_weights_must_fit(digits):
    x, y = digits
    setting = Setting(*_parts(simple(x, y)), Shuffled(x, y)(4))
    setting.apply("x, y = x[:40], y[:40]")
    assert [len(batch[1]) for batch in setting.batches] == [32, 8, 32, 8]
    weighted = [(*batch, np.ones(32, np.float32)) for batch in Shuffled(x, y)(4)]
    Setting(*_parts(simple(x, y)), weighted).apply("x = 2 * x")
    with pytest.raises(NotTried, match="weights"):
        Setting(*_parts(simple(x, y)), weighted).apply("x, y = x[:40], y[:40]")


def _parts(s):
    return s.model, s.loss, s.optimizer


def test_new_parameters_get_an_optimizer_with_the_same_options(digits):
    s = simple(*digits)
    body, head = s.model[1].parameters(), s.model[3].parameters()
    s.optimizer = optim.AdamW([{"params": body, "lr": 1e-4}, {"params": head}], lr=0.5, weight_decay=0.25)
    setting = Setting(*_parts(s), Shuffled(s.x, s.y)(2))
    setting.apply("model[3] = nn.Sequential(nn.BatchNorm1d(32), nn.Linear(32, 10, bias=False))")
    made = setting.optimizer
    assert type(made) is optim.AdamW
    assert {id(p) for p in made.parameters} == {id(p) for p in s.model.parameters()}
    assert [group["lr"] for group in made.param_groups] == [1e-4]
    assert [group["weight_decay"] for group in made.param_groups] == [0.25]
    assert len(s.optimizer.param_groups) == 2
    # What it did not hold on purpose stays out.
    s = simple(*digits)
    s.optimizer = optim.SGD(s.model[3].parameters(), lr=0.1)
    setting = Setting(*_parts(s), Shuffled(s.x, s.y)(2))
    setting.apply("model[3] = nn.Linear(32, 10)")
    assert {id(p) for p in setting.optimizer.parameters} == {id(p) for p in s.model[3].parameters()}
    # A frozen layer that is let go is trained from then on.
    s = simple(*digits)
    s.model[1].freeze()
    s.optimizer = optim.SGD(s.model[3].parameters(), lr=0.1)
    setting = Setting(*_parts(s), Shuffled(s.x, s.y)(2))
    setting.apply("for p in model.parameters(): p.trainable = True")
    assert len(setting.optimizer.parameters) == 4


HOSTILE = (
    "x[:] = 0; y[:] = 0", "x = None", "del x", "del model", "model = 5", "loss = None", "optimizer = None", "exit()",
    "raise KeyError('no')", "x = x[:0]", "x = x[:5]", "y = 3", "np.seterr(all='raise')", "cconv.manual_seed(3)",
    "for p in model.parameters(): p.value[:] = np.nan", "model.forward = None", "import nothing_of_this_name",
    "model[1] = nn.Identity(); model[3] = nn.Identity()", "batches.clear()", "x ==", "x = ...", "", "# nothing",
    "\0", "trainer = None", "del trainer", "np.random.seed(1)",
)  # fmt: skip


def test_hostile_cures_harm_nothing(digits):
    s = simple(*digits)
    before = {name: value.copy() for name, value in s.model.state_dict().items()}
    x, y = s.x.copy(), s.y.copy()
    errors, state = np.geterr(), _random.default_state()
    legacy = np.random.get_state()  # noqa: NPY002
    trials = report_of(s).try_cures(3, HOSTILE)
    assert trials.baseline.error == ""
    assert not np.isnan(trials.baseline.losses).any()
    for name, value in s.model.state_dict().items():
        assert np.array_equal(value, before[name])
    assert np.array_equal(s.x, x)
    assert np.array_equal(s.y, y)
    assert np.geterr() == errors
    assert _random.default_state() == state
    for one, other in zip(np.random.get_state(), legacy, strict=True):  # noqa: NPY002
        assert np.array_equal(one, other)
    assert {why for cure, why in trials.skipped if cure == "x ="} <= {"advice, no code"}
    assert "forward" not in vars(s.model)
    str(trials)
    json.loads(trials.to_json())


def test_equal_runs_are_equal_and_nothing_changes(digits):
    x, y = digits
    cconv.manual_seed(5)
    model = nn.Sequential(models.lenet5(10, (1, 8, 8)), nn.Dropout(0.3), nn.Softmax())
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    model.forward(x[:4])  # a dropout has counted its steps
    before = {name: value.tobytes() for name, value in model.state_dict().items()}
    counted, given = model[1].get_extra_state(), (x.tobytes(), y.tobytes())
    report = cconv.check(model, x, y, nn.CrossEntropyLoss(), optimizer=optimizer, seconds=0)
    random, legacy = _random.default_state(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    one = report.try_cures(20)
    assert _random.default_state() == random
    assert np.random.get_state()[1].tobytes() == legacy  # noqa: NPY002
    assert {name: value.tobytes() for name, value in model.state_dict().items()} == before
    assert not any(parameter.grad.any() for parameter in model.parameters())
    assert model[1].get_extra_state() == counted
    assert not any("exp_avg" in name for name in optimizer.state_dict())
    assert (x.tobytes(), y.tobytes()) == given
    # Later draws and steps do not matter: the report has copies of how it was.
    nn.init.he_uniform(np.empty((3, 3), np.float32))
    for parameter in model.parameters():
        parameter.value[:] = 0
    with np.errstate(all="raise"):
        other = report.try_cures(20)
    assert one.to_dict() == other.to_dict()
    assert str(one) == str(other)
    assert len(one) > 1


def test_several_inputs(digits):
    class Two(nn.Layer):
        def __init__(self):
            self.one, self.two = nn.Linear(64, 10, rng=0), nn.Linear(64, 10, rng=1)

        def forward(self, x, train=True):
            (a, back_a), (b, back_b) = self.one.forward(x[0], train), self.two.forward(x[1], train)
            return a + b, lambda grad, need_x=True: (back_a(grad), back_b(grad))

    x, y = digits
    flat = x.reshape(len(x), -1)
    bytes_ = (255 * flat).astype(np.float32)
    report = cconv.check(Two(), (bytes_, flat), y, nn.CrossEntropyLoss(), optimizer=None, seconds=0)
    assert report[0].cures[0] == "x = (x[0].astype(np.float32) / 255, *x[1:])"
    trials = report.try_cures(20)
    assert len(trials) > 1
    assert not any(trial.error for trial in trials), str(trials)
    # By name, and with weights of the examples.
    model = Two()
    batches = [((a, b), t, np.ones(len(t), np.float32)) for (a, b), t in Shuffled((bytes_, flat), y)(6)]
    experiment = Experiment(model, nn.CrossEntropyLoss(), None, lambda n: batches[:n])
    trials = Report((), "", experiment).try_cures(6, ["x = (x[0] / 255, x[1])", "x[0][:] = 0"])
    assert len({trial.losses[0] for trial in trials if len(trial.cures) < 2}) == 3


def test_several_outputs_are_compared_by_their_best_constants():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6)).astype(np.float32)
    y = (x[:, :1].copy(), 100 * x[:, 1:3])

    class Both(nn.Layer):
        def __init__(self):
            self.one, self.two = nn.Linear(6, 1, rng=0), nn.Linear(6, 2, rng=1)

        def forward(self, x, train=True):
            (a, back_a), (b, back_b) = self.one.forward(x, train), self.two.forward(x, train)
            return (a, b), lambda grad, need_x=True: back_a(grad[0]) + back_b(grad[1])

    loss = nn.MultiLoss([nn.MSELoss(), nn.MSELoss()])
    report = Report((), "", Experiment(Both(), loss, None, Shuffled(x, y)))
    trials = report.try_cures(40, ["optimizer.lr = 0.1", "y = (y[0], y[1] / 100); optimizer.lr = 0.1"])
    assert trials.best.cures[0].startswith("y = ")
    assert trials.best.gain > 0.8
    assert trials.baseline.gain < 0.2
    assert trials.best.accuracy is None


def test_yes_and_no():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5)).astype(np.float32)
    y = (x[:, :1] > 0.3).astype(np.float32)
    for loss, end in ((nn.BCEWithLogitsLoss(), nn.Identity()), (nn.BCELoss(), nn.Sigmoid())):
        model = nn.Sequential(nn.Linear(5, 1, rng=0), end)
        trials = Report((), "", Experiment(model, loss, None, Shuffled(x, y))).try_cures(50, ["optimizer.lr = 0.1"])
        assert trials.best.accuracy > 0.9
        assert "% right" in str(trials)


def test_a_training_that_diverges_ends_and_is_no_help(digits):
    s = simple(*digits)
    trials = report_of(s, "optimizer = optim.SGD(model.parameters(), lr=1e30)").try_cures(20)
    last = trials[-1]
    assert last.cures
    assert last.diverged
    assert len(last.losses) < 20
    assert "diverged in step" in str(trials)
    assert json.loads(trials.to_json())["trials"][-1]["last"] in ("nan", "inf")
    assert "it learns as it is: the cure does not help within 20 steps" in str(trials)


def test_what_does_not_help_is_said(digits):
    s = simple(*digits)
    s.y = np.random.default_rng(0).permutation(s.y)
    trials = report_of(s, "optimizer.lr = 0.001", "optimizer.lr = 0.002", "x = 2 * x").try_cures(10)
    assert trials.best is None
    assert str(trials).splitlines()[-1] == "none of the 3 cures helps within 10 steps"


def test_no_cures(digits):
    s = simple(*digits)
    trials = s.check().try_cures(5)
    assert len(trials) == 1
    assert trials.best is None
    assert "there are no cures to try" in str(trials)
    assert "Adam(lr=0.01)" in str(trials)
    s.optimizer = None
    assert "Adam(lr=0.001), as no optimizer was given" in str(s.check().try_cures(1))


def test_what_is_not_tried(digits):
    s = simple(*digits)
    given = ("print(x)", "print(cconv.gradcheck(model[0], x))", "cconv.check(model, x, y, loss)", "take it out",
             "self.w.add_grad(...)", "y = nowhere[y]", "loss(model(x[:2]), y[:2])", "nn.init.zeros(np.ones(3))",
             "x = x / 2")  # fmt: skip
    trials = report_of(s, *given).try_cures(4)
    assert [trial.cure for trial in trials if trial.cures] == ["x = x / 2"]
    assert trials.skipped == [
        ("take it out", "advice, no code"),
        ("self.w.add_grad(...)", "there is a gap to fill in"),
        ("y = nowhere[y]", "NameError: name 'nowhere' is not defined"),
        ("nn.init.zeros(np.ones(3))", "it makes no difference"),
    ]


def test_at_most_twelve_and_lines_of_a_hundred(digits):
    s = simple(*digits)
    cures = [
        f"optimizer.lr = {i} / 1000; x = x / {i}; y = y + {i} - {i}   # {'a long line ' * 9}" for i in range(1, 20)
    ]
    trials = report_of(s, *cures).try_cures(3)
    assert len({cure for trial in trials for cure in trial.cures}) == 12
    assert max(map(len, str(trials).splitlines())) <= 100


def test_quantities_scaled_are_compared_by_what_is_gone():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 4)).astype(np.float32)
    y = 1000 * x[:, :1] + 5000
    model = nn.Sequential(nn.Linear(4, 16, rng=0), nn.ReLU(), nn.Linear(16, 1, rng=1))
    report = cconv.check(model, x, y, nn.MSELoss(), optimizer=optim.Adam(model.parameters(), lr=3e-2), seconds=0)
    trials = report.try_cures()
    assert trials.best.cure.startswith("mean, std = ")
    assert trials.best.gain > 0.5


def test_arguments(digits):
    with pytest.raises(ValueError, match=r"Report\.try_cures: the report has no experiment"):
        Report().try_cures()
    s = simple(*digits)
    report = report_of(s, "x = x / 2")
    for steps in (0, -1, 2.5, "3", True):
        with pytest.raises((ValueError, TypeError), match="try_cures: steps"):
            report.try_cures(steps)
    with pytest.raises(TypeError, match="sequence of lines"):
        report.try_cures(3, "x = x / 2")
    with pytest.raises(ValueError, match="no batches"):
        Report((), "", Experiment(s.model, s.loss, None, lambda n: [])).try_cures()


def test_a_user_s_own_optimizer(digits):
    class Descent:
        def __init__(self, parameters, lr):
            self.parameters, self.lr = list(parameters), lr

        def step(self):
            for p in self.parameters:
                p.value = p.value - self.lr * p.grad

        def zero_grad(self):
            for p in self.parameters:
                p.zero_grad()

    s = simple(*digits)
    s.optimizer = Descent(s.model.parameters(), 0.1)
    trials = report_of(s, "model[3] = nn.Linear(32, 10)", "optimizer.lr = 0.3").try_cures(20)
    assert len(trials) == 3
    assert not any(trial.failed for trial in trials)


# What cures are made of


def test_sequential_has_a_list_s_methods():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    assert model.insert(1, nn.ReLU()) is model
    assert model.extend([nn.Softmax(), nn.Flatten()]) is model
    assert [type(layer).__name__ for layer in model] == ["Linear", "ReLU", "Linear", "Softmax", "Flatten"]
    assert type(model.pop()) is nn.Flatten
    del model[-1]
    assert isinstance(model.pop(1), nn.ReLU)
    assert len(model) == 2
    del model[:1]
    assert len(model) == 1
    with pytest.raises(TypeError, match=r"Sequential\[0\]: expected a layer, got the class ReLU"):
        model.insert(0, nn.ReLU)
    with pytest.raises(IndexError):
        model.pop(7)


# Of a Trainer


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_trainer_s_report_repeats_its_steps(digits, accumulate):
    x, y = digits
    losses = []

    class Losses:
        def on_batch_end(self, trainer, batch, loss):
            losses.append(loss)

    cconv.manual_seed(3)
    # Masks are drawn batch by batch.
    model = nn.Sequential(models.lenet5(10, (1, 8, 8)), nn.Dropout(0.2 if accumulate == 1 else 0.0))
    trainer = cconv.Trainer(
        model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.5, momentum=0.9), seed=4, clip_norm=2.0,
        progress=False, callbacks=[Losses()], accumulate=accumulate,
    )  # fmt: skip
    trainer.fit((x[:300], y[:300]), epochs=2, batch_size=32)
    after = {name: value.tobytes() for name, value in model.state_dict().items()}
    trials = trainer.report.try_cures(len(losses), ["trainer.clip_norm = 0.1"])
    np.testing.assert_allclose(trials.baseline.losses, losses, rtol=1e-5 if accumulate > 1 else 0)
    assert {name: value.tobytes() for name, value in model.state_dict().items()} == after
    assert next(trial for trial in trials if trial.cures).losses[1] != trials.baseline.losses[1]
    assert trainer.report.try_cures(3).baseline.losses == trials.baseline.losses[:3]


def test_a_trainer_that_never_learned_is_told_what_helps(digits):
    s = cases._x(dull(simple(*digits)), lambda x: 255 * x)
    trainer = cconv.Trainer(s.model, s.loss, s.optimizer, seed=0, progress=False)
    trainer.fit((s.x, s.y), epochs=2)
    trials = trainer.report.try_cures(100)
    assert "input-scale" in trainer.report.kinds()
    assert trials.best.accuracy > 0.4, str(trials)


def test_batches_of_one_s_own(digits):
    x, y = digits
    s = simple(x, y)
    batches = [(x[i : i + 50], y[i : i + 50], np.ones(50, np.float32)) for i in range(0, 300, 50)]
    trainer = cconv.Trainer(s.model, s.loss, s.optimizer, progress=False)
    trainer.fit(batches, epochs=1)
    assert len(trainer.report.try_cures(8, ["x = x / 2"])[0].losses) == 8  # on to a second epoch
    trainer = cconv.Trainer(s.model, s.loss, s.optimizer, progress=False)
    trainer.fit(iter(batches), epochs=1)
    with pytest.raises(ValueError, match="used up after one epoch"):
        trainer.report.try_cures(2)
    with pytest.raises(ValueError, match="has no experiment"):
        cconv.Trainer(s.model, s.loss, s.optimizer).report.try_cures()


def test_sorted_batches_are_not_learned_by_saying_their_class(digits):
    x, y = digits
    order = np.argsort(y, kind="stable")
    s = simple(x[order], y[order])
    cure = "order = np.random.default_rng(0).permutation(len(y)); x, y = x[order], y[order]"
    trainer = cconv.Trainer(s.model, s.loss, s.optimizer, progress=False)
    trainer.fit(data.Loader((s.x, s.y), shuffle=False, batch_size=8), epochs=1)
    trials = trainer.report.try_cures(100, [cure, "optimizer.lr = 0.1"])
    assert trials[0].cures == (cure,), str(trials)
    assert not any(trial.helps for trial in trials[1:])


def test_a_sum_is_compared_with_the_constant_of_a_batch(digits):
    class Sum(nn.Loss):
        """Of one's own, which says nowhere that it is one."""

        def forward(self, logits, target):
            gap = logits - np.eye(10, dtype=np.float32)[target]
            return (gap * gap).sum(), lambda grad_loss=1.0: 2 * grad_loss * gap

    gains = []
    for loss in (Sum(), nn.MSELoss(reduction="sum")):
        s = cases.setup(cases.TUNED["linear"], *digits)
        y = s.y if isinstance(loss, Sum) else cases.one_hot(s.y)
        report = Report((), "", Experiment(s.model, loss, optim.SGD(s.model.parameters(), lr=1e-3), Shuffled(s.x, y)))
        gains.append(report.try_cures(60).baseline.gain)
    assert 0.1 < gains[0] < 0.8
    assert gains[0] == pytest.approx(gains[1], rel=0.02)


def test_luck_with_a_few_examples_is_no_help():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)).astype(np.float32), rng.integers(0, 3, 50)
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.ReLU(), nn.Linear(8, 3, rng=1))
    report = Report((), "", Experiment(model, nn.CrossEntropyLoss(), None, Shuffled(x, y)))
    trials = report.try_cures(4, [f"nn.init.he_uniform(model[{i}].weight, rng={j})" for i in (0, 2) for j in range(6)])
    assert trials.best is None, str(trials)
