import io
import math
import subprocess
import sys

import numpy as np
import pytest

import cconv
from cconv import nn, optim
from cconv.data import Dataset, Loader, batches
from cconv.train import History, Trainer
from cconv.train.metrics import accuracy


def _blobs(n=60, seed=0):
    """Three groups of points in four dimensions, well apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return (np.eye(3, 4)[y] * 4 + rng.standard_normal((n, 4))).astype(np.float32), y


def _trainer(lr=0.1, momentum=0.9, **options):
    model = nn.Sequential(nn.Linear(4, 8, rng=1), nn.ReLU(), nn.Linear(8, 3, rng=2))
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    return Trainer(model, nn.CrossEntropyLoss(), optimizer, **({"seed": 0, "progress": False} | options))


def _bits(trainer):
    return [p.value.tobytes() for p in trainer.model.parameters()]


# What training does


def test_fit_equals_the_loop_by_hand():
    x, y = _blobs()
    trainer = _trainer(clip_norm=0.5)
    history = trainer.fit((x, y), epochs=3, batch_size=16)

    by_hand = _trainer()
    model, criterion, optimizer = by_hand.model, by_hand.loss, by_hand.optimizer
    for epoch in range(3):
        total = right = 0
        for batch_x, batch_y in batches(x, y, 16, rng=0, epoch=epoch):
            logits, backward = model.forward(batch_x)
            loss, loss_backward = criterion.forward(logits, batch_y)
            optimizer.zero_grad()
            backward(loss_backward(), need_x=False)
            optim.clip_grad_norm(model.parameters(), 0.5)
            optimizer.step()
            total += float(loss) * len(batch_y)
            right += int((logits.argmax(1) == batch_y).sum())
        assert history[epoch]["loss"] == pytest.approx(total / 60, rel=1e-12)
        assert history[epoch]["accuracy"] == pytest.approx(right / 60, rel=1e-12)
    assert _bits(trainer) == _bits(by_hand)


def test_fit_learns_and_records():
    train, test = Dataset(*_blobs()), Dataset(*_blobs(30, seed=1))
    trainer = _trainer()
    history = trainer.fit(train, epochs=8, batch_size=20, validation=test)
    assert isinstance(history, History) and history is trainer.history and len(history) == 8
    assert history["epoch"] == list(range(1, 9)) and trainer.epoch == 8
    assert list(history[0]) == [
        *("epoch", "loss", "accuracy", "images_per_second", "val_loss", "val_accuracy", "seconds", "lr")
    ]
    assert history["loss"][-1] < 0.5 * history["loss"][0] and history["val_accuracy"][-1] > 0.9
    assert all(v > 0 for name in ("images_per_second", "seconds", "lr") for v in history[name])
    assert trainer.evaluate(test) == {"loss": history["val_loss"][-1], "accuracy": history["val_accuracy"][-1]}
    labels = trainer.predict(test.x).argmax(1)
    assert np.mean(labels == test.y) == history["val_accuracy"][-1]


def test_the_seed_fixes_every_bit():
    x, y = _blobs()
    runs = [_trainer(seed=seed) for seed in (5, 5, 6)]
    for trainer in runs:
        trainer.fit((x, y), epochs=2, batch_size=7)
    assert _bits(runs[0]) == _bits(runs[1]) != _bits(runs[2])
    assert runs[0].history["loss"] == runs[1].history["loss"] != runs[2].history["loss"]


def test_without_a_seed_the_default_generator_decides():
    x, y = _blobs()
    runs = []
    for seed in (1, 1, 2):
        cconv.manual_seed(seed)
        trainer = _trainer(seed=None)
        trainer.fit((x, y), batch_size=7)
        runs.append(_bits(trainer))
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("seed", [0, None])
def test_fitting_again_continues(seed):
    x, y = _blobs()
    once, twice = _trainer(seed=seed), _trainer(seed=seed)
    twice.seed = once.seed
    for trainer in (once, twice):
        trainer.schedule = optim.CosineAnnealingLR(trainer.optimizer, 6)
    once.fit((x, y), epochs=5, batch_size=9)
    twice.fit((x, y), epochs=2, batch_size=9)
    history = twice.fit((x, y), epochs=3, batch_size=9)
    assert _bits(once) == _bits(twice)
    assert history["epoch"] == [1, 2, 3, 4, 5] and history["loss"] == once.history["loss"]
    assert history["lr"] == once.history["lr"]


def test_a_plateau_is_told_the_figure_it_monitors():
    given = []

    class Noted(optim.ReduceLROnPlateau):
        def step(self, metrics):
            given.append(metrics)
            super().step(metrics)

    x, y = _blobs(12)
    for monitor, validation, name in ((None, None, "loss"), (None, (x, y), "val_loss"), ("accuracy", None, "accuracy")):
        trainer = _trainer()
        trainer.schedule = Noted(trainer.optimizer, patience=0, threshold=1e9, threshold_mode="abs", monitor=monitor)
        given.clear()
        history = trainer.fit((x, y), epochs=3, validation=validation)
        assert given == [record[name] for record in history]
        assert trainer.optimizer.lr == pytest.approx(0.1 * 0.1**2)
    trainer.schedule = optim.ReduceLROnPlateau(trainer.optimizer, monitor="val_f1")
    with pytest.raises(ValueError, match=r"the schedule's monitor must be of epoch, loss, .*, got 'val_f1'"):
        trainer.fit((x, y))
    assert trainer.epoch == 3 and trainer.steps == 3


def test_the_schedule_steps_after_each_epoch():
    trainer = _trainer(lr=1e-3)
    trainer.schedule = optim.CosineAnnealingLR(trainer.optimizer, 2)
    history = trainer.fit(_blobs(), epochs=2)
    assert history["lr"] == pytest.approx([1e-3, 5e-4]) and trainer.optimizer.lr == pytest.approx(0, abs=1e-18)


def test_frozen_parameters_stay():
    trainer = _trainer()
    for parameter in trainer.model.parameters()[:2]:
        parameter.trainable = False
    before = _bits(trainer)
    trainer.fit(_blobs())
    after = _bits(trainer)
    assert after[:2] == before[:2] and after[2] != before[2] and after[3] != before[3]


def test_zero_epochs_change_nothing():
    trainer = _trainer()
    before = _bits(trainer)
    assert trainer.fit(_blobs(), epochs=0) == [] and _bits(trainer) == before


def test_labels_are_handed_on_as_they_are():
    seen = []

    class Spy(nn.CrossEntropyLoss):
        def forward(self, logits, target):
            seen.append(target.dtype)
            return super().forward(logits, target)

    x, y = _blobs()
    trainer = _trainer(doctor=False)
    trainer.loss = Spy()
    trainer.fit((x, y.astype(np.int16)))
    trainer.fit((x, np.eye(3, dtype=np.float32)[y]))
    assert set(seen[:2]) == {np.dtype(np.int16)} and set(seen[2:]) == {np.dtype(np.float32)}


def test_predictions_do_not_depend_on_the_batch_size():
    x, _ = _blobs(50)
    trainer = _trainer()
    expected = trainer.model(x)
    for size in (1, 7, 50, 100):
        assert np.array_equal(trainer.predict(x, batch_size=size), expected)
    assert np.array_equal(trainer.predict(Dataset(x, x)), expected)
    assert trainer.predict(x[:0]).shape == (0, 3)


def test_the_range_test_leaves_no_trace():
    trainer = _trainer()
    x, y = _blobs()
    trainer.fit((x, y))
    before, state = _bits(trainer), trainer.optimizer.state_dict()
    curve = trainer.find_lr((x, y), 16, steps=30, start=1e-4)
    assert 1e-4 < curve.suggestion < 10
    assert _bits(trainer) == before
    assert all(np.array_equal(state[name], value) for name, value in trainer.optimizer.state_dict().items())
    with pytest.raises(ValueError, match="batches is empty"):
        trainer.find_lr(iter([]))


# Several batches a step, by the step, with averages and weights


def test_accumulated_batches_are_one_larger_batch():
    x, y = _blobs(50)
    together, apart = _trainer(), _trainer(accumulate=3)
    together.fit((x, y), epochs=3, batch_size=24)
    apart.fit((x, y), epochs=3, batch_size=8)
    for a, b in zip(together.model.parameters(), apart.model.parameters(), strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=1e-5, atol=1e-6)
    assert together.history[-1]["loss"] == pytest.approx(apart.history[-1]["loss"], rel=1e-5)
    assert apart.steps == 21


def test_accumulated_batches_of_weighted_samples_are_one_larger_batch():
    x, y = _blobs(48)
    weight = np.arange(48, dtype=np.float32) ** 2
    together, apart = _trainer(momentum=0), _trainer(momentum=0, accumulate=3)
    together.fit((x, y, weight), batch_size=48)
    apart.fit((x, y, weight), batch_size=16)
    for a, b in zip(together.model.parameters(), apart.model.parameters(), strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=1e-5, atol=1e-6)


def test_accumulated_sums_are_sums():
    x, y = _blobs(24)
    together, apart = _trainer(lr=1e-3), _trainer(lr=1e-3, accumulate=3)
    for trainer, size in ((together, 24), (apart, 8)):
        trainer.loss = nn.CrossEntropyLoss(reduction="sum")
        trainer.fit((x, y), batch_size=size)
    for a, b in zip(together.model.parameters(), apart.model.parameters(), strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=1e-5, atol=1e-6)


def test_a_schedule_by_the_step():
    trainer = _trainer()
    trainer.schedule = optim.OneCycleLR(trainer.optimizer, 0.5, total_steps=8)
    trainer.schedule_interval = "step"
    seen = []
    trainer.callbacks.append(type("Seen", (), {"on_batch_end": lambda self, t, b, loss: seen.append(t.optimizer.lr)})())
    trainer.fit(_blobs(), epochs=2, batch_size=15)
    by_hand = _trainer()
    schedule = optim.OneCycleLR(by_hand.optimizer, 0.5, total_steps=8)
    expected = []
    for _ in range(8):
        schedule.step()
        expected.append(by_hand.optimizer.lr)
    assert seen == expected


def test_validation_sees_the_averages():
    x, y = _blobs()
    trainer = _trainer()
    trainer.ema = optim.EMA(trainer.model, 0.9)
    history = trainer.fit((x, y), epochs=2, batch_size=20, validation=(x, y))
    own = [p.value.copy() for p in trainer.model.parameters()]
    with trainer.ema.averaged():
        logits = trainer.model(x)
    loss = float(trainer.loss(logits, y))
    assert trainer.ema.updates == 6 and history[-1]["val_loss"] == pytest.approx(loss, rel=1e-6)
    assert all(np.array_equal(a, p.value) for a, p in zip(own, trainer.model.parameters(), strict=True))


def test_sample_weights_reach_the_loss():
    x, y = _blobs(48)
    weight = np.random.default_rng(1).random(48).astype(np.float32)
    trainer, by_hand = _trainer(), _trainer()
    trainer.fit((x, y, weight), batch_size=16)
    for bx, by, bw in Loader((x, y, weight), 16, seed=0):
        logits, backward = by_hand.model.forward(bx)
        _, loss_backward = by_hand.loss.forward(logits, by, sample_weight=bw)
        by_hand.optimizer.zero_grad()
        backward(loss_backward(), need_x=False)
        by_hand.optimizer.step()
    assert _bits(trainer) == _bits(by_hand)


def test_predict_and_evaluate_see_the_same_weights():
    x, y = _blobs()
    trainer = _trainer()
    trainer.ema = optim.EMA(trainer.model, 0.9)
    trainer.fit((x, y), epochs=2, batch_size=20)
    accuracy = np.mean(trainer.predict(x).argmax(1) == y)
    assert trainer.evaluate((x, y))["accuracy"] == pytest.approx(accuracy)
    with trainer.averaged():
        assert np.array_equal(trainer.model(x), trainer.predict(x))


def test_a_loader_has_its_own_batches_and_augmentation():
    loader = Loader(_blobs(), 10)
    for options in ({"batch_size": 7}, {"augment": lambda x, rng: x}):
        with pytest.raises(TypeError, match=f"a Loader has its own {next(iter(options))}"):
            _trainer().fit(loader, **options)


def test_what_is_trained_must_be_the_models():
    trainer = _trainer()
    trainer.model[2] = nn.Linear(8, 3)
    with pytest.raises(ValueError, match=r"lacks 2\.weight, 2\.bias: make it after changing the model"):
        trainer.fit(_blobs())
    trainer = _trainer()
    trainer.model.freeze()
    with pytest.raises(ValueError, match="no parameter of the optimizer's is trainable"):
        trainer.fit(_blobs())
    other = _trainer()
    with pytest.raises(ValueError, match="schedule is one of another optimizer"):
        _trainer(schedule=optim.StepLR(other.optimizer, 1))
    with pytest.raises(ValueError, match="ema averages none of the model's parameters"):
        _trainer(ema=optim.EMA(other.model))


def test_defaults_follow_loss_and_schedule():
    x, _ = _blobs()
    model = nn.Sequential(nn.Linear(4, 4, rng=0))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    trainer = Trainer(
        model, nn.MSELoss(), optimizer, schedule=optim.OneCycleLR(optimizer, 0.1, total_steps=4), progress=False
    )
    history = trainer.fit((x, x, np.ones(60)), batch_size=15)
    assert "accuracy" not in history[0] and trainer.schedule.last_epoch == 4
    by_number = Trainer(model, nn.MSELoss(), optimizer, progress=False).evaluate((x, x))
    assert trainer.evaluate((x, x, np.full(60, 3.0)))["loss"] == pytest.approx(by_number["loss"], rel=1e-5)


def test_a_loss_of_ones_own_needs_forward_alone():
    class Own:
        def forward(self, logits, target):
            return nn.CrossEntropyLoss().forward(logits, target)

    trainer = _trainer()
    trainer.loss = Own()
    assert "val_loss" in trainer.fit(_blobs(), validation=_blobs())[0]


def test_iterables_of_batches():
    x, y = _blobs()

    class Stream:
        def __iter__(self):
            return ([x[i : i + 10], y[i : i + 10]] for i in range(0, 60, 10))

    trainer, by_arrays = _trainer(), _trainer()
    history = trainer.fit(Stream(), epochs=2, validation=Stream())
    by_arrays.fit(Loader((x, y), 10, shuffle=False), epochs=2)
    assert _bits(trainer) == _bits(by_arrays) and history[-1]["val_accuracy"] > 0
    with pytest.raises(ValueError, match="train is an iterator, used up after one epoch"):
        _trainer().fit(iter(Stream()), epochs=2)
    listed = _trainer()
    listed.fit(list(Stream()), epochs=2)
    assert _bits(listed) == _bits(trainer)
    with pytest.raises(TypeError, match="must give batches"):
        _trainer().fit(batch for batch in (x, y))
    with pytest.raises(TypeError, match=r"train: data must be a Dataset, .*, got a list of 4"):
        _trainer().fit([x, y, x, y])
    with pytest.raises(ValueError, match="gave no batch"):
        _trainer().fit([])
    with pytest.raises(TypeError, match="augment goes with arrays"):
        _trainer().fit(Stream(), augment=lambda x, rng: x)


# Metrics


@pytest.mark.parametrize(
    ("logits", "y", "expected"),
    [
        ([[1, 2, 3], [3, 2, 1], [0, 1, 0]], [2, 0, 0], 2 / 3),
        ([[1, 2, 3], [3, 2, 1]], [[0, 0, 1], [0, 1, 0]], 1 / 2),
        ([[1, 2, 3], [3, 2, 1]], [[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]], 1.0),
        ([[[1, 0], [0, 1]]], [[0, 0]], 1 / 2),  # (N, C, L) and (N, L): a label for each position
        ([[0.1], [-0.1], [5.0], [-5.0]], [[1], [0], [0], [0]], 3 / 4),
        ([[0.1], [-0.1], [5.0], [-5.0]], [1, 1, 1, 0], 3 / 4),
        ([0.1, -0.1], [True, True], 1 / 2),
    ],
)
def test_accuracy(logits, y, expected):
    assert accuracy(np.array(logits, np.float32), np.array(y)) == pytest.approx(expected)


@pytest.mark.parametrize(("logits", "y"), [((4, 3), (4, 2)), ((4, 3), (3,)), ((4, 1), (4, 2)), ((4, 3), (4, 3, 1))])
def test_accuracy_refuses_labels_that_do_not_fit(logits, y):
    with pytest.raises(ValueError, match=r"accuracy: outputs .* do not go with labels .* metrics=\(\)"):
        accuracy(np.zeros(logits, np.float32), np.zeros(y))


def test_metrics_of_ones_own_are_means_over_examples():
    x, y = _blobs(50)

    def margin(logits, labels):
        return logits.max() - logits.min()

    trainer = _trainer(metrics=("accuracy", margin, ("first", lambda logits, labels: labels[0])))
    figures = trainer.evaluate((x, y), batch_size=32)
    logits = trainer.predict(x)
    expected = (np.ptp(logits[:32]) * 32 + np.ptp(logits[32:]) * 18) / 50
    assert figures["margin"] == pytest.approx(expected) and figures["first"] == pytest.approx(
        (y[0] * 32 + y[32] * 18) / 50
    )
    history = trainer.fit((x, y), validation=(x, y))
    assert {"margin", "val_margin", "val_first"} <= set(history[0])
    assert set(_trainer(metrics=()).evaluate((x, y))) == {"loss"}


def test_a_single_logit_trains_with_bce():
    x, y = _blobs()
    y = (y == 0).astype(np.float32)[:, None]
    model = nn.Sequential(nn.Linear(4, 1, rng=1))
    trainer = Trainer(model, nn.BCEWithLogitsLoss(), optim.SGD(model.parameters(), lr=0.5), seed=0, progress=False)
    assert trainer.fit((x, y), epochs=10)["accuracy"][-1] > 0.95


# Callbacks


def test_callbacks_are_called_in_their_places():
    calls = []

    class Full:
        def on_epoch_begin(self, trainer, epoch):
            calls.append(("begin", epoch, trainer.epoch))

        def on_batch_end(self, trainer, batch, loss):
            assert isinstance(loss, float)
            calls.append(("batch", batch))

        def on_epoch_end(self, trainer, record):
            assert record is trainer.history[-1]
            calls.append(("end", record["epoch"], trainer.epoch))

    class Half:
        def on_batch_end(self, trainer, batch, loss):
            calls.append("half")

    trainer = _trainer(callbacks=[Full(), Half(), lambda trainer, record: calls.append(record["epoch"])])
    trainer.fit(_blobs(), epochs=2, batch_size=30)
    epoch = [("batch", 1), "half", ("batch", 2), "half"]
    assert calls == [("begin", 1, 0), *epoch, ("end", 1, 1), 1, ("begin", 2, 1), *epoch, ("end", 2, 2), 2]


def test_a_callback_stops_training_and_fit_goes_on_later():
    class Stop:
        def on_batch_end(self, trainer, batch, loss):
            trainer.stop = trainer.epoch == 1 and batch == 2

    trainer = _trainer(callbacks=[Stop()])
    history = trainer.fit(_blobs(), epochs=5, batch_size=10, validation=_blobs())
    assert len(history) == 2 and "val_loss" in history[-1]
    trainer.callbacks.clear()
    assert len(trainer.fit(_blobs(), epochs=2)) == 4


def test_an_epoch_end_stops_training():
    def stop(trainer, record):
        trainer.stop = record["loss"] < 1e9

    assert len(_trainer(callbacks=[stop]).fit(_blobs(), epochs=5)) == 1


# Errors


class _Broken(nn.Layer):
    def forward(self, x, train=True):
        raise RuntimeError("the model's own words")


def test_a_models_error_passes_unchanged():
    trainer = _trainer()
    trainer.model = _Broken()
    with pytest.raises(RuntimeError, match=r"^the model's own words$"):
        trainer.fit(_blobs())
    assert trainer.epoch == 0 and trainer.history == []


def test_a_nan_loss_stops_before_its_step():
    x, y = _blobs()
    x[:] = np.inf * np.sign(x)
    trainer = _trainer()
    before = _bits(trainer)
    with np.errstate(invalid="ignore"), pytest.raises(FloatingPointError) as caught:
        trainer.fit((x, y), batch_size=16)
    assert (
        "Trainer.fit: the loss is nan in epoch 1, batch 1 of 4: the input of Sequential holds infinity, from example 0"
        in str(caught.value)
    )
    assert _bits(trainer) == before


def test_a_diverging_loss_names_the_learning_rate():
    trainer = _trainer(lr=1e30, momentum=0)
    message = r"in epoch \d, batch \d+ of 4: the output of .* holds .*: lower the learning rate \(1e\+30\)"
    with pytest.raises(FloatingPointError, match=message):
        trainer.fit(_blobs(), epochs=9, batch_size=16)


def test_a_nan_loss_goes_on_if_asked():
    trainer = _trainer(lr=1e30, momentum=0, stop_on_nan=False)
    history = trainer.fit(_blobs(), epochs=3)
    assert len(history) == 3 and math.isnan(history["loss"][-1])


X, Y = _blobs(6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: t.fit((X[:0], Y[:0])), ValueError, r"Trainer\.fit: train is empty"),
        (
            lambda t: t.fit((X, Y[:5])),
            ValueError,
            r"Trainer\.fit: train: x \(6, 4\) and y \(5,\) must have the same length",
        ),
        (lambda t: t.fit((X, Y), validation=(X, Y[:5])), ValueError, r"Trainer\.fit: validation: x \(6, 4\)"),
        (lambda t: t.fit((X, Y), validation=(X[:0], Y[:0])), ValueError, "validation is empty"),
        (lambda t: t.fit((X, Y), batch_size=0), ValueError, r"Trainer\.fit: batch_size must be at least 1, got 0"),
        (lambda t: t.fit((X, Y), batch_size=2.0), TypeError, r"Trainer\.fit: batch_size must be an integer, got 2\.0"),
        (lambda t: t.fit((X, Y), epochs=-1), ValueError, r"Trainer\.fit: epochs must be at least 0, got -1"),
        (lambda t: t.fit(X), TypeError, r"Trainer\.fit: train must be a Dataset, \(x, y\), .*, got ndarray"),
        (lambda t: t.evaluate((X[:0], Y[:0])), ValueError, r"Trainer\.evaluate: data is empty"),
        (lambda t: t.predict(X, batch_size=0), ValueError, r"Trainer\.predict: batch_size must be at least 1, got 0"),
        (lambda t: t.callbacks.append(3) or t.fit((X, Y)), TypeError, "callbacks holds 3, expected a function or"),
        (lambda t: t.callbacks.append(History) or t.fit((X, Y)), TypeError, "callbacks holds the class History"),
    ],
)
def test_bad_calls(call, error, message):
    trainer = _trainer()
    before = _bits(trainer)
    with pytest.raises(error, match=message):
        call(trainer)
    assert _bits(trainer) == before and trainer.epoch == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": nn.CrossEntropyLoss}, TypeError, "loss is the class CrossEntropyLoss, expected an instance"),
        ({"loss": lambda a, b: 0}, TypeError, "loss must have a method forward, got function"),
        ({"model": np.zeros(3)}, TypeError, "model must have a method forward, got ndarray"),
        ({"optimizer": optim.SGD}, TypeError, "optimizer is the class SGD"),
        ({"schedule": 0.1}, TypeError, "schedule must have a method step, got float"),
        ({"clip_norm": 0}, ValueError, "clip_norm must be more than 0, got 0"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": 1.5}, TypeError, "seed must be an integer"),
        ({"metrics": "accuracy"}, TypeError, r"metrics must be a sequence, such as \('accuracy',\), got 'accuracy'"),
        (
            {"metrics": ["f2"]},
            TypeError,
            r"metrics holds 'f2', expected 'accuracy', 'top5' or the like, .*, a function",
        ),
        ({"metrics": ["accuracy", "accuracy"]}, ValueError, "metrics has the name 'accuracy', which is taken"),
        ({"metrics": [("lr", len)]}, ValueError, "metrics has the name 'lr', which is taken"),
    ],
)
def test_bad_arguments(options, error, message):
    good = _trainer()
    arguments = {"model": good.model, "loss": good.loss, "optimizer": good.optimizer} | options
    with pytest.raises(error, match=message):
        Trainer(**arguments)


def test_an_unreduced_loss_is_refused():
    trainer = _trainer()
    trainer.loss = nn.CrossEntropyLoss(reduction="none")
    with pytest.raises(
        ValueError, match=r"the loss is an array of shape \(32,\), expected a number: use reduction='mean'"
    ):
        trainer.fit(_blobs())


def test_history_by_name():
    history = History([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "val_loss": 3.0}])
    assert history["loss"] == [2.0, 1.0] and history[-1]["loss"] == 1.0 and len(history[:1]) == 1
    assert math.isnan(history["val_loss"][0]) and history["val_loss"][1] == 3.0
    with pytest.raises(KeyError, match="'acc' is not in the history, which has epoch, loss, val_loss"):
        history["acc"]


# Progress


def test_lines_where_there_is_no_terminal(capsys):
    trainer = _trainer(progress=True)
    trainer.fit(_blobs(), epochs=2, validation=_blobs(seed=1))
    out, err = capsys.readouterr()
    lines = out.splitlines()
    record = trainer.history[1]
    assert len(lines) == 2 and err == ""
    assert lines[1].startswith(
        f"epoch 2/2  loss {record['loss']:.4f}  accuracy {record['accuracy']:.4f}  val_loss {record['val_loss']:.4f}"
    )
    assert "images/s" in lines[1] and out.isascii()
    trainer.fit(_blobs())
    assert capsys.readouterr().out.startswith("epoch 3/3  ")


def test_each_line_is_written_out_at_once(monkeypatch):
    class Pipe(io.StringIO):
        seen = ""

        def flush(self):
            self.seen = self.getvalue()

    pipe = Pipe()
    monkeypatch.setattr(sys, "stdout", pipe)
    flushed = []
    _trainer(progress=True, callbacks=[lambda trainer, record: flushed.append(pipe.seen.count("\n"))]).fit(
        _blobs(), epochs=3
    )
    assert flushed == [1, 2, 3]


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr("cconv.train.progress._REFRESH", 0)
    _trainer(progress=True).fit(_blobs(), epochs=2, batch_size=5)
    shown = terminal.getvalue()
    assert "\r" in shown and "epoch 1/2 " in shown and "images/s" in shown and " left, loss " in shown
    assert shown.count("epoch 1/2  loss") == shown.count("epoch 2/2  loss") == 1


def test_an_interrupted_bar_is_closed(monkeypatch):
    from cconv.train import progress

    closed = []

    class Watched(progress.Silent):
        def close(self):
            closed.append(True)

    def interrupt(trainer, record):
        raise KeyboardInterrupt

    monkeypatch.setattr("cconv.train.trainer.progress", lambda *_: Watched())
    trainer = _trainer(callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(_blobs(), epochs=3)
    assert closed and len(trainer.history) == 1


def test_progress_false_and_no_standard_output_are_silent(capsys, monkeypatch):
    _trainer(progress=False).fit(_blobs())
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys, "stdout", None)
    assert len(_trainer(progress=True).fit(_blobs())) == 1


def test_tqdm_is_imported_for_a_bar_only():
    code = (
        "import sys, numpy as np, cconv\n"
        "from cconv import nn, optim\n"
        "model = nn.Sequential(nn.Linear(2, 2))\n"
        "trainer = cconv.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))\n"
        "trainer.fit((np.arange(8, dtype=np.float32).reshape(4, 2) / 8, np.arange(4) % 2))\n"
        "print('tqdm' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.splitlines()[-1] == "False" and len(found.splitlines()) == 2


def test_an_optimizer_of_another_model_is_refused():
    mine, other = nn.Linear(3, 2), nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"none of the optimizer's parameters is the model's"):
        cconv.Trainer(mine, nn.CrossEntropyLoss(), optim.SGD(other.parameters(), lr=0.1))
