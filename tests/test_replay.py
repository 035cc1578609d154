"""A training gone through again."""

import contextlib

import numpy as np
import pytest
from test_monitor import TEST, X, Y, network, trainer_of

import cconv
from cconv import nn, optim


def losses_of(trainer, *arguments, **options):
    """What `fit` gave for each step."""
    losses = []
    trainer.callbacks.append(type("Kept", (), {"on_batch_end": lambda self, t, batch, loss: losses.append(loss)})())
    with contextlib.suppress(FloatingPointError):
        trainer.fit(*arguments, **options)
    return losses


def dropping():
    return nn.Sequential(
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4)
    )


@pytest.mark.parametrize("options", [{}, {"accumulate": 3}, {"clip_norm": 0.5}, {"schedule": "StepLR"}, {"ema": True}])
def test_it_has_the_same_bits(options):
    cconv.manual_seed(3)
    model = dropping()
    made = {}
    if "ema" in options:
        options = options | {"ema": optim.EMA(model, 0.9)}

    def optimizer(p):
        made["optimizer"] = optim.Adam(p, lr=1e-2)
        if "schedule" in options:
            made["schedule"] = optim.StepLR(made["optimizer"], 7)
        return made["optimizer"]

    built = optimizer(model.parameters())
    more = options | ({"schedule": made["schedule"], "schedule_interval": "step"} if "schedule" in options else {})
    trainer = trainer_of(model, lambda p: built, **more)
    losses = losses_of(trainer, (X, Y), 2)
    before = cconv._random.default_state(), model.state_dict(), built.lr
    again = trainer.replay(until=30)
    assert again.error == ""
    if trainer.accumulate == 1:
        assert again.losses == losses[:30] and [look.step for look in again.looks] == list(range(1, 31))
    else:
        # Two epochs of twenty batches, three at a time.
        assert [look.step for look in again.looks] == [3, 6, 9, 12, 15, 18, 20, 23, 26, 29, 32]
    assert cconv._random.default_state() == before[0] and built.lr == before[2]
    assert all(np.array_equal(value, before[1][name]) for name, value in model.state_dict().items())


def test_from_the_last_checkpoint_before(tmp_path):
    trainer = trainer_of(dropping())
    losses = losses_of(trainer, (X, Y), 3, validation=TEST, checkpoint=tmp_path)
    again = trainer.replay(until=55)
    assert again.start == "checkpoint-000000040.safetensors"
    assert again.losses == losses[40:55] and again.looks[0].step == 41
    named = trainer.replay(until=55, checkpoint=tmp_path / "checkpoint-000000020.safetensors")
    assert named.losses == losses[20:55]
    with pytest.raises(ValueError, match="is of 60 batches, at or after step 55"):
        trainer.replay(until=55, checkpoint=tmp_path / "checkpoint-000000060.safetensors")
    with pytest.raises(FileNotFoundError, match="no checkpoint before batch 5"):
        trainer.replay(until=5, checkpoint=tmp_path)


def test_up_to_the_step_that_failed():
    cconv.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 1))
    trainer = trainer_of(model, lambda p: optim.SGD(p, lr=3.0), nn.MSELoss())
    losses = losses_of(trainer, (X, Y[:, None].astype(np.float32)), 3)
    again = trainer.replay()
    assert again.losses == losses and again.error.startswith("FloatingPointError: Trainer.fit: ")
    assert again.report[0].kind == "learning-rate"
    text = str(again)
    assert f"{len(losses)} steps again from the start" in text and "largest step / weight" in text


def test_the_step_at_which_a_layer_died():
    cconv.manual_seed(0)
    trainer = trainer_of(network(), lambda p: optim.SGD(p, lr=20.0))
    trainer.fit((X, Y), 2)
    again = trainer.replay()
    assert len(again.looks) <= 40 and again.report[0].kind == "learning-rate"
    assert again.report[0].step <= trainer.report[0].step
    assert any(look.spread < 1e-4 for look in again.looks)


def test_where_there_is_nothing_to_repeat():
    trainer = trainer_of(network())
    with pytest.raises(ValueError, match="there is no training to go through again"):
        trainer.replay()
    trainer = trainer_of(network(), doctor=False)
    trainer.fit((X, Y))
    with pytest.raises(ValueError, match="with doctor=True"):
        trainer.replay()
    trainer = trainer_of(network())
    trainer.fit((X, Y))
    trainer.fit((X[:100], Y[:100]))
    with pytest.raises(ValueError, match="calls of fit had different data"):
        trainer.replay()
    with pytest.raises(ValueError, match="until"):
        trainer.replay(0)


def test_what_was_changed_meanwhile_is_told():
    trainer = trainer_of(network())
    trainer.fit((X, Y))
    trainer.optimizer.lr = 0.2
    trainer.fit((X, Y))
    assert trainer.replay(until=20).error == ""
    assert trainer.replay(until=30).error.startswith("from step 22 on this is not the same training")


def test_from_the_middle_of_an_epoch(tmp_path):
    cconv.manual_seed(0)
    first = trainer_of(dropping())
    path = tmp_path / "middle.safetensors"

    def keep(trainer, batch, loss):
        if batch == 7 and not trainer.epoch:
            trainer.save_checkpoint(path)

    first.callbacks.append(type("Keep", (), {"on_batch_end": staticmethod(keep)})())
    whole = losses_of(first, (X, Y), 2)
    other = trainer_of(dropping())
    other.load_checkpoint(path)
    assert losses_of(other, (X, Y), 2) == whole[7:]
    again = other.replay(until=30)
    assert again.error == "" and again.losses == whole[7:30] and again.looks[0].step == 8
