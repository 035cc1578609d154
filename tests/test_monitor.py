"""The doctor during training: what it names, and that it changes nothing."""

import copy
import json
import pickle
import threading
import warnings

import numpy as np
import pytest

import cconv
from cconv import Trainer, data, nn, optim
from cconv.doctor import Report


def images(n=640, seed=0):
    """Four classes: which quarter of an image is bright."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n)
    x = rng.random((n, 1, 8, 8), np.float32) * 0.5
    for i, label in enumerate(y):
        row, column = divmod(label, 2)
        x[i, 0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 0.5
    return x, y


@pytest.fixture(autouse=True)
def time_enough(monkeypatch):
    """Which steps are looked at is a matter of time, and on a busy machine of luck."""
    monkeypatch.setattr("cconv.doctor.monitor.monitor.CREDIT", 100.0)


X, Y = images()
TEST = images(400, 1)


def network(activation=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), activation(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), activation(),
        nn.Flatten(), nn.Linear(128, 16), activation(), nn.Linear(16, 4))  # fmt: skip


def trainer_of(model, optimizer=None, loss=None, **options):
    optimizer = optimizer or (lambda p: optim.SGD(p, lr=0.05, momentum=0.9))
    options = {"seed": 0, "progress": False} | options
    return Trainer(model, loss or nn.CrossEntropyLoss(), optimizer(model.parameters()), **options)


def fitted(train=(X, Y), epochs=3, model=None, validation=TEST, **options):
    cconv.manual_seed(0)
    trainer = trainer_of(network() if model is None else model, **options)
    trainer.fit(train, epochs, validation=validation)
    return trainer


def drawn(model, how):
    for _, layer in model.named_layers():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            how(layer.weight)
    return model


@pytest.mark.parametrize("options", [{}, {"accumulate": 3}, {"clip_norm": 0.5}, {"ema": True}])
def test_it_changes_no_bit(options):
    def run(doctor):
        cconv.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.MaxPool2d(2),
            nn.Residual(nn.Conv2d(8, 8, 3, padding=1)), nn.Flatten(), nn.Linear(72, 4))  # fmt: skip
        more = options | ({"ema": optim.EMA(model, 0.9)} if "ema" in options else {})
        trainer = trainer_of(model, lambda p: optim.Adam(p, lr=1e-2), doctor=doctor, **more)
        trainer.fit((X, Y), 2, validation=TEST)
        assert not doctor or trainer.monitor.looks > 2
        drop = ("seconds", "images_per_second")
        return model.state_dict(), [{k: v for k, v in record.items() if k not in drop} for record in trainer.history]

    (state, history), (other, records) = run(False), run(True)
    assert history == records
    assert all(np.array_equal(state[name], other[name]) for name in state)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU, nn.LeakyReLU])
def test_networks_that_learn_are_left_alone(activation):
    trainer = fitted(model=network(activation))
    assert trainer.history[-1]["accuracy"] > 0.95
    assert list(trainer.report) == [], trainer.report


def _decay(p):
    return optim.SGD(p, lr=0.1, weight_decay=2.0)


ORDER = np.argsort(Y, kind="stable")
FAULTS = {
    "fast": ({"optimizer": lambda p: optim.SGD(p, lr=20.0)}, {"learning-rate"}),
    "fast Adam": ({"optimizer": lambda p: optim.Adam(p, lr=2.0)}, {"learning-rate"}),
    "slow": ({"optimizer": lambda p: optim.SGD(p, lr=1e-7)}, {"learning-rate"}),
    "decay": ({"optimizer": _decay}, {"weight-decay"}),
    "positive": (
        {"model": lambda: drawn(network(nn.Sigmoid), lambda p: nn.init.uniform(p, 0, 1))},
        {"positive-weights"},
    ),
    "tiny": ({"model": lambda: drawn(network(), lambda p: nn.init.uniform(p, -1e-4, 1e-4))}, {"weight-scale"}),
    "255": ({"train": (X * 255, Y), "validation": (TEST[0] * 255, TEST[1])}, {"input-scale"}),
    "sorted": ({"train": data.Loader((X[ORDER], Y[ORDER]), 32, shuffle=False)}, {"sorted-batches"}),
    "softmax": (
        {"model": lambda: nn.Sequential(*network(), nn.Softmax()), "optimizer": lambda p: optim.SGD(p, lr=1e-3)},
        {"double-softmax"},
    ),
    "otherwise": ({"validation": (TEST[0] * 255, TEST[1])}, {"validation-inputs"}),
    "leak": ({"validation": (X[:100], Y[:100])}, {"validation-leak"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named_root_cause_first(name):
    options, kinds = FAULTS[name]
    options = {key: value() if key == "model" else value for key, value in options.items()}
    trainer = fitted(**options)
    assert trainer.report[0].kind in kinds, trainer.report
    # Within the first epoch, of 20 steps.
    assert trainer.report[0].step <= 20
    assert "docs/doctor.md#" in str(trainer.report)


def test_what_is_learned_in_spite_of_it_is_a_warning():
    model = network()
    # Six of eight filters never fire.
    nn.init.constant(model[3].bias, -1)
    model[3].bias.value[:2] = 0
    model[3].weight.value[2:] *= 0.01
    trainer = fitted(model=model, epochs=8)
    assert trainer.history[-1]["accuracy"] > 0.95 and trainer.report.ok
    finding = next(finding for finding in trainer.report if finding.kind == "dead-units")
    assert finding.layer == "4" and finding.evidence["dead"] == 0.75


def test_a_layer_that_is_mostly_zero_is_not_dead():
    class Sparse(nn.Layer):
        """Each unit fires for one example in twenty."""

        def forward(self, x, train=True):
            on = x > np.quantile(x, 0.95, axis=0, keepdims=True)
            return x * on, lambda grad_y, need_x=True: grad_y * on

    trainer = fitted(model=nn.Sequential(nn.Flatten(), nn.Linear(64, 40), Sparse(), nn.Linear(40, 4)))
    assert "dead-units" not in trainer.report.kinds()


def test_a_look_calls_no_layer_itself(monkeypatch):
    monkeypatch.setattr("cconv.doctor.monitor.monitor._DIAGNOSIS", 1e9)

    class Counting(nn.Layer):
        calls = 0

        def forward(self, x, train=True):
            Counting.calls += 1
            return np.maximum(x, 0), lambda grad_y, need_x=True: grad_y * (x > 0)

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 40), Counting(), nn.Linear(40, 4))
    trainer = fitted(model=model, validation=None, optimizer=lambda p: optim.Adam(p, lr=3e-3))
    assert trainer.report.ok and Counting.calls == 60
    assert trainer.monitor.course.looks[-1].layers["2"].bounds == (0, np.inf)


def test_layers_are_as_they_were_after_an_error():
    class Failing(nn.Layer):
        def forward(self, x, train=True):
            raise KeyboardInterrupt

    model = network()
    model.append(Failing())
    with pytest.raises(KeyboardInterrupt):
        fitted(model=model)
    assert not any("forward" in vars(layer) for _, layer in model.named_layers())


def test_an_error_of_its_own_does_not_end_training(monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("of mine")

    monkeypatch.setattr("cconv.doctor.monitor.layers.findings", broken)
    with pytest.warns(UserWarning, match="the doctor gave up: ZeroDivisionError: of mine"):
        trainer = fitted(epochs=2)
    assert trainer.epoch == 2 and trainer.report.ok


def test_nan_is_named_with_its_place():
    x = X.copy()
    x[100, 0, 3, 3] = np.nan
    cconv.manual_seed(0)
    trainer = trainer_of(network())
    with pytest.raises(FloatingPointError):
        trainer.fit((x, Y))
    assert trainer.report[0].kind == "input-not-finite" and trainer.report[0].severity == "error"


def test_a_loss_that_overflows_is_the_learning_rate():
    cconv.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 1))
    trainer = trainer_of(model, lambda p: optim.SGD(p, lr=10.0), nn.MSELoss())
    with pytest.raises(FloatingPointError):
        trainer.fit((X, Y[:, None].astype(np.float32)), 3)
    assert "learning-rate" in trainer.report.kinds() and "not-finite" in trainer.report.kinds()
    assert next(f for f in trainer.report if "not-finite" in (f.kind, *(b.kind for b in f.consequences))).step > 0


def test_overfitting_is_named_after_some_epochs():
    rng = np.random.default_rng(0)
    y = np.where(rng.random(60) < 0.5, rng.integers(0, 4, 60), Y[:60])
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 200), nn.ReLU(), nn.Linear(200, 4))
    trainer = fitted((X[:60], y), 150, model, optimizer=lambda p: optim.Adam(p, lr=3e-3))
    assert trainer.report.kinds() == ["overfitting"] and trainer.report.ok


def test_without_a_doctor_there_is_no_report():
    trainer = fitted(doctor=False, optimizer=lambda p: optim.SGD(p, lr=20.0))
    assert isinstance(trainer.report, Report) and not list(trainer.report)


def test_several_inputs_and_outputs():
    model = nn.Sequential(nn.Each(nn.Flatten(), nn.Flatten()), nn.Concat(), nn.Linear(128, 4))
    trainer = fitted(((X, X), Y), model=model, validation=None)
    assert trainer.report.ok and trainer.monitor.looks > 2
    both = nn.Sequential(nn.Flatten(), nn.Parallel(nn.Linear(64, 4), nn.Linear(64, 4), merge=None))
    loss = nn.MultiLoss([nn.CrossEntropyLoss(), nn.CrossEntropyLoss()])
    trainer = fitted((X, (Y, Y)), model=both, validation=None, loss=loss, metrics=())
    assert trainer.report.ok and trainer.monitor.looks > 2


def test_findings_are_printed_where_progress_is(capsys):
    fitted(progress=True, optimizer=lambda p: optim.SGD(p, lr=20.0))
    out = capsys.readouterr().out
    assert out.count("error") == 1 and "#learning-rate)" in out
    fitted(optimizer=lambda p: optim.SGD(p, lr=20.0))
    assert capsys.readouterr().out == ""


def test_no_warning_of_numpy_gets_out():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(optimizer=lambda p: optim.SGD(p, lr=1e4), stop_on_nan=False, validation=None)


def test_validation_of_one_class_is_named():
    trainer = fitted(validation=(TEST[0][TEST[1] == 0], TEST[1][TEST[1] == 0]))
    assert trainer.report.kinds() == ["validation-targets"]


def test_training_that_goes_on_with_nan_is_named():
    trainer = fitted(optimizer=lambda p: optim.SGD(p, lr=1e30), stop_on_nan=False, validation=None)
    report = trainer.report
    assert "not-finite" in report.kinds() and not report.ok and report[0].kind == "learning-rate"


def test_the_table_of_layers():
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 40), nn.Sigmoid(), nn.Linear(40, 30), nn.ReLU(), nn.Softplus(), nn.Linear(30, 4)
    )
    report = fitted(model=model, validation=None).report
    linear, sigmoid, _, relu, softplus, _ = report.layers
    assert (sigmoid.layer, sigmoid.kind) == ("2", "Sigmoid") and 0.3 < sigmoid.active < 0.7
    assert np.isnan(sigmoid.silent) and np.isnan(softplus.silent) and 0 <= relu.silent < 1
    assert np.isnan(relu.saturated) and 0 <= sigmoid.saturated < 0.2
    assert 1e-5 < linear.step_to_weight < 0.1 and linear.gradient > 0 and np.isnan(relu.gradient)
    lines = report.table().splitlines()
    assert len(lines) == 7 and lines[0].split()[:3] == ["layer", "size", "active"] and lines[2].startswith("2 Sigmoid")
    told = json.loads(report.to_json())
    assert told["layers"][1]["silent"] is None and told["layers"][1]["active"] == sigmoid.active


@pytest.mark.parametrize("train", [(X, Y), data.Loader((X, Y), 32, seed=0)])
def test_what_there_was_no_time_to_see_is_gone_through_again(monkeypatch, train):
    monkeypatch.setattr("cconv.doctor.monitor.monitor.CREDIT", 1e-9)
    monkeypatch.setattr("cconv.doctor.monitor.monitor.SHARE", 1e-9)
    trainer = fitted(train, optimizer=lambda p: optim.SGD(p, lr=1.0, momentum=0.9))
    assert trainer.monitor.looks == 1
    assert trainer.report[0].kind == "learning-rate" and not trainer.report.ok
    assert trainer.report[0].step <= 20 and "constant-output" in trainer.report.kinds()


def test_an_iterable_of_ones_own_is_not_gone_through_again(monkeypatch):
    class Batches:
        passes = 0

        def __iter__(self):
            self.passes += 1
            return iter([(X[i : i + 32], Y[i : i + 32]) for i in range(0, 640, 32)])

    monkeypatch.setattr("cconv.doctor.monitor.monitor.CREDIT", 1e-9)
    monkeypatch.setattr("cconv.doctor.monitor.monitor.SHARE", 1e-9)
    batches = Batches()
    trainer = fitted(batches, optimizer=lambda p: optim.SGD(p, lr=4.0, momentum=0.9), validation=None)
    assert batches.passes == 3 and "stalled-loss" in trainer.report.kinds()


def test_others_may_use_the_model_meanwhile():
    model, failures, over = network(), [], threading.Event()

    def use():
        while not over.is_set():
            try:
                model(X[:8])
                copied = copy.deepcopy(model)
                assert not any("forward" in vars(layer) for _, layer in copied.named_layers())
                pickle.loads(pickle.dumps(model))
            except Exception as error:
                failures.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    try:
        fitted(model=model, validation=None)
    finally:
        over.set()
        thread.join()
    assert not failures


def test_what_an_interrupt_left_on_a_layer_is_taken_off():
    model = network()
    model[0].forward = lambda *arguments: None
    model[0].forward.wraps_for_a_while = True
    trainer = fitted(model=model, validation=None)
    assert trainer.history[-1]["accuracy"] > 0.9 and "forward" not in vars(model[0])


def test_a_trainer_can_be_copied_and_pickled(capsys):
    trainer = fitted(progress=True)
    for other in (copy.deepcopy(trainer), pickle.loads(pickle.dumps(trainer))):
        assert other.epoch == 3 and list(other.report) == list(trainer.report)
        other.fit((X, Y))


def test_layers_that_take_less_than_ours():
    class NoNeed(nn.Linear):
        def forward(self, x, train=True):
            y, backward = super().forward(x, train)
            return y, lambda grad_y: backward(grad_y)

    class NoTrain(nn.Layer):
        def forward(self, x):
            with np.errstate(all="ignore"):
                return np.log(x), lambda grad_y: grad_y / x

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), NoNeed(8, 4))
    assert fitted(model=model, validation=None).monitor.looks > 2

    class Own(nn.Layer):
        def __init__(self):
            self.body, self.log = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), NoTrain()

        def forward(self, x, train=True):
            y, backward = self.body.forward(x, train)
            z, backward_log = self.log.forward(y)
            return z, lambda grad_z, need_x=True: backward(backward_log(grad_z))

    with pytest.raises(FloatingPointError, match="the output of NoTrain 'log' holds NaN"):
        fitted(model=Own(), validation=None)


def test_another_task_is_another_course():
    cconv.manual_seed(0)
    trainer = trainer_of(network(), loss=nn.MSELoss(), metrics=())
    wanted = np.eye(4, dtype=np.float32)[Y]
    trainer.fit((X, wanted), 2)
    first = trainer.monitor.course.constant
    trainer.fit((X, 30 * wanted), 2)
    assert trainer.monitor.course.constant > 500 * first and "diverging-loss" not in trainer.report.kinds()
    assert trainer.monitor.course.steps == 40


def test_a_schedule_that_ends_too_early_is_named():
    cconv.manual_seed(0)
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    schedule = optim.StepLR(optimizer, 2)
    trainer = trainer_of(model, lambda p: optimizer, schedule=schedule, schedule_interval="step")
    trainer.fit((X, Y), 3)
    assert trainer.report[0].kind == "learning-rate" and "a schedule that is stepped too often" in str(trainer.report)


def test_what_a_guess_costs_is_known_of_all_small_batches(monkeypatch):
    monkeypatch.setattr("cconv.doctor.monitor.monitor.CREDIT", 1e-9)
    monkeypatch.setattr("cconv.doctor.monitor.monitor.SHARE", 1e-9)
    cconv.manual_seed(0)
    trainer = trainer_of(network())
    trainer.fit((X[ORDER], Y[ORDER]), 1, 4)
    assert trainer.monitor.looks == 1
    assert trainer.monitor.course.constant == pytest.approx(np.log(4), rel=0.02)
