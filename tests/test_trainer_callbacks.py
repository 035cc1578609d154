"""Metrics, callbacks and logs under Trainer, stopped and resumed."""

import json

import numpy as np
import pytest

import cconv
from cconv import nn, optim
from cconv.train import BestWeights, Checkpoint, EarlyStopping, JsonLines, predict

METRICS = ("accuracy", "top2", "f1", "confusion_matrix", ("recalls", cconv.metrics.Recall(None)))


def blobs(n=60, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return (np.eye(3, 4)[y] + rng.standard_normal((n, 4))).astype(np.float32), y


def made(callbacks=(), lr=0.5, **options):
    model = nn.Sequential(
        nn.Linear(4, 8, rng=1), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2, rng=3), nn.Linear(8, 3, rng=2)
    )
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    options = {"metrics": METRICS, "seed": 0, "progress": False} | options
    return cconv.Trainer(model, nn.CrossEntropyLoss(), optimizer, callbacks=callbacks, **options)


def test_metrics_are_those_of_all_predictions():
    trainer, held_out = made(), blobs(45, seed=1)
    record = trainer.fit(blobs(), epochs=2, batch_size=16, validation=held_out)[-1]
    labels = predict(trainer.model, held_out[0]).argmax(1)
    assert record["val_f1"] == cconv.metrics.f1_score(held_out[1], labels, average="macro")
    assert record["val_confusion_matrix"] == cconv.metrics.confusion_matrix(held_out[1], labels).tolist()
    assert np.sum(record["confusion_matrix"]) == 60 and len(record["recalls"]) == 3
    assert trainer.evaluate(held_out)["f1"] == record["val_f1"]
    json.dumps(trainer.history)


def callbacks(folder):
    return [
        EarlyStopping("val_loss", patience=3, restore_best=True),
        BestWeights("val_accuracy", restore=False),
        JsonLines(folder / "log.jsonl", every=1),
    ]


def test_a_figure_that_no_epoch_has_is_refused_before_training(tmp_path):
    for keeper, validation, told in (
        (EarlyStopping("val_loss"), None, "EarlyStopping: monitor must be one of loss, .*: give fit validation data$"),
        (BestWeights("val_acuracy"), blobs(9), "BestWeights: monitor must be one of .*val_accuracy.*'val_acuracy'$"),
    ):
        trainer = made([JsonLines(tmp_path / "log.jsonl"), keeper])
        with pytest.raises(ValueError, match=told):
            trainer.fit(blobs(), validation=validation)
        assert trainer.steps == 0


def test_a_callback_may_put_a_figure_into_the_record():
    trainer = made([lambda trainer, record: record.update(mine=-trainer.epoch), EarlyStopping("mine", patience=9)])
    trainer.fit(blobs(), epochs=3)
    assert trainer.callbacks[1].best == -3


def test_early_stopping_says_that_it_stopped(capsys):
    trainer = made([EarlyStopping("loss", patience=2, min_delta=1e9, restore_best=True)])
    trainer.fit(blobs(), epochs=9)
    assert capsys.readouterr().out == ""
    trainer.progress = True
    trainer.fit(blobs(), epochs=9)
    best = trainer.callbacks[0].best
    told = f"stopped after epoch 5: no better loss than {best:.4f} of epoch 1, whose weights are back"
    assert trainer.epoch == 5 and capsys.readouterr().out.splitlines()[-1] == told
    trainer.fit(blobs(), epochs=1)
    assert "stopped" not in capsys.readouterr().out
    trainer = made([EarlyStopping("loss", patience=2)], progress=True, stop_on_nan=False)
    trainer.model[0].weight.value[...] = np.nan
    trainer.fit(blobs(), epochs=9)
    assert capsys.readouterr().out.splitlines()[-1].endswith(": loss is NaN")


class Killed(BaseException):
    """As SIGKILL: nothing is written on the way out."""


def fit(folder, given=(), **options):
    trainer = made([*callbacks(folder), *given], lr=0.9)
    saver = Checkpoint(folder / "kept", every_batches=2, every_seconds=None)
    trainer.fit(blobs(), epochs=30, batch_size=16, validation=blobs(45, seed=1), checkpoint=saver, resume=True)
    return trainer


def told(folder):
    """The log, less what the clock says."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in lines]


@pytest.mark.parametrize("stops", [(1,), (3, 4), (6, 1, 9), (13,), (2, 2, 2, 2)])
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path, stops):
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = fit(whole)
    assert expected.callbacks[0].stopped_epoch == expected.epoch < 30
    broken = tmp_path / "broken"
    broken.mkdir()
    for stop in stops:
        count = 0

        class Stop:
            def on_batch_end(self, trainer, batch, loss, stop=stop):
                nonlocal count
                count += 1
                if count > stop:
                    raise Killed

        with pytest.raises(Killed):
            fit(broken, [Stop()])
    found = fit(broken)
    assert found.epoch == expected.epoch
    for path, value in expected.model.state_dict().items():
        np.testing.assert_array_equal(found.model.state_dict()[path], value)
    assert told(broken) == told(whole)
    assert [c.best_epoch for c in found.callbacks[:2]] == [c.best_epoch for c in expected.callbacks[:2]]
    # And once more, when all is done.
    again = fit(broken)
    assert told(broken) == told(whole)
    np.testing.assert_array_equal(again.model[0].weight.value, expected.model[0].weight.value)


@pytest.mark.parametrize("averaged", [False, True])
def test_the_best_epoch_is_what_is_left(averaged):
    keeper = BestWeights("val_loss")
    trainer, held_out = made([keeper], lr=2.0), blobs(45, seed=1)
    if averaged:
        trainer.ema = optim.EMA(trainer.model, 0.5)
    history = trainer.fit(blobs(), epochs=8, batch_size=16, validation=held_out)
    assert keeper.best == min(history["val_loss"]) == trainer.evaluate(held_out)["loss"]
