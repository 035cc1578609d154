"""Training that is stopped at any moment and continued gives the bits of training that was not."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import cconv
from cconv import data, nn, optim
from cconv.train import Checkpoint, Trainer

X = np.random.default_rng(0).standard_normal((50, 1, 8, 8)).astype(np.float32)
Y = np.arange(50) % 4


def shifted(x, rng):
    """An augmentation: each image moved by up to one column."""
    return np.stack([np.roll(image, shift, 2) for image, shift in zip(x, rng.integers(-1, 2, len(x)), strict=True)])


class Worst:
    """A callback with a state."""

    def __init__(self):
        self.loss = -1.0

    def on_batch_end(self, trainer, batch, loss):
        self.loss = max(self.loss, loss)

    def state_dict(self):
        return {"loss": self.loss, "array": np.array([self.loss])}

    def load_state_dict(self, state):
        self.loss = state["loss"]
        assert state["array"][0] == self.loss


def trainer_of(callbacks=(), seed=3, **options):
    """A run with whatever has a state: running statistics, dropout, momentum, schedule, averages, callbacks."""
    cconv.manual_seed(7)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(36, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 4),
    )  # fmt: skip
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    given = {
        "schedule": optim.OneCycleLR(optimizer, max_lr=0.01, total_steps=40),
        "schedule_interval": "step",
        "ema": optim.EMA(model, 0.9),
    }
    return Trainer(
        model, nn.CrossEntropyLoss(), optimizer, callbacks=callbacks, seed=seed, progress=False, **(given | options)
    )


def bits(trainer):
    """Everything that the next batch would depend on, and what there is to show."""
    digest = hashlib.sha256()
    states = [trainer.model.state_dict(), trainer.optimizer.state_dict()]
    states += [part.state_dict() for part in (trainer.ema, trainer.schedule) if part is not None]
    for state in states:
        for name, array in state.items():
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    timings = ("seconds", "images_per_second")
    shown = [{k: v for k, v in record.items() if k not in timings} for record in trainer.history]
    extra = [layer.get_extra_state() for _, layer in trainer.model.named_layers()]
    return digest.hexdigest(), shown, extra, trainer.epoch, trainer.steps


class Stop(Exception):
    pass


class StopAt:
    """Breaks off training after so many batches, as a crash would: without a checkpoint."""

    def __init__(self, steps):
        self.steps = steps

    def on_batch_end(self, trainer, batch, loss):
        if trainer.steps == self.steps:
            raise Stop


def fit(trainer, folder=None, resume=None, **options):
    saver = None if folder is None else Checkpoint(folder, every_batches=1)
    given = {"epochs": 3, "batch_size": 8, "validation": (X[:20], Y[:20]), "augment": shifted} | options
    return trainer.fit((X, Y), checkpoint=saver, resume=resume, **given)


@pytest.fixture(scope="module")
def whole_run():
    trainer = trainer_of([Worst()])
    fit(trainer)
    return bits(trainer), trainer.callbacks[0].loss


# To the same bits


@pytest.mark.parametrize("steps", range(1, 22))
def test_a_run_broken_off_after_any_batch_goes_on_to_the_same_bits(tmp_path, steps, whole_run):
    # One that wrote after each batch: whatever came after the newest checkpoint is lost and done again.
    first = trainer_of([Worst(), StopAt(steps)])
    if steps == 21:
        first.callbacks[1] = lambda trainer, record: None
        fit(first, tmp_path)
    else:
        with pytest.raises(Stop):
            fit(first, tmp_path)
    again = trainer_of([Worst()])
    fit(again, tmp_path, resume=True)
    assert bits(again) == whole_run[0] and again.callbacks[0].loss == whole_run[1]


def test_a_run_goes_on_through_many_stops(tmp_path, whole_run):
    for steps in (2, 3, 7, 8, 9, 14, 15, 20):
        with pytest.raises(Stop):
            fit(trainer_of([Worst(), StopAt(steps)]), tmp_path, resume=True)
    last = trainer_of([Worst()])
    fit(last, tmp_path, resume=True)
    assert bits(last) == whole_run[0]
    assert len(Checkpoint(tmp_path).files()) == 3


def test_resume_starts_where_there_is_no_checkpoint(tmp_path, whole_run):
    trainer = trainer_of([Worst()])
    fit(trainer, tmp_path / "made" / "here", resume=True)
    assert bits(trainer) == whole_run[0]


def test_checkpoints_change_no_bit(tmp_path, whole_run):
    trainer = trainer_of([Worst()])
    fit(trainer, tmp_path)
    assert bits(trainer) == whole_run[0]


def test_a_finished_run_is_not_run_again(tmp_path, whole_run):
    fit(trainer_of([Worst()]), tmp_path)
    again = trainer_of([Worst(), StopAt(22)])
    history = fit(again, tmp_path, resume=True)
    assert len(history) == 3 and bits(again) == whole_run[0]
    assert len(fit(trainer_of([Worst()], schedule=None), None, epochs=1)) == 1


def test_more_epochs_than_before_go_on(tmp_path):
    long = trainer_of([Worst()])
    fit(long, epochs=5)
    fit(trainer_of([Worst()]), tmp_path, epochs=2)
    more = trainer_of([Worst()])
    fit(more, tmp_path, epochs=5, resume=True)
    assert bits(more) == bits(long)


def test_a_script_of_several_fits_goes_on_in_the_right_one(tmp_path):
    def script(trainer, folder=None):
        resume = None if folder is None else True
        fit(trainer, folder, resume, epochs=2)
        trainer.optimizer.weight_decay = trainer.optimizer.param_groups[0]["weight_decay"] = 0.1
        fit(trainer, folder, resume, epochs=2)
        return bits(trainer)

    expected = script(trainer_of([Worst()]))
    for steps in (3, 14, 15, 20, 27):
        with pytest.raises(Stop):
            script(trainer_of([Worst(), StopAt(steps)]), tmp_path)
    assert script(trainer_of([Worst()]), tmp_path) == expected
    assert script(trainer_of([Worst()]), tmp_path) == expected


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_loader_and_an_iterable_go_on(tmp_path, prefetch):
    class Numbered:
        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            return iter(data.batches(X, Y, 8, rng=1, epoch=self.epoch))

    def loader():
        sampler = data.BalancedSampler(Y)
        return data.Loader((X, Y), 8, sampler=sampler, augment=shifted, prefetch=prefetch, seed=5)

    for number, make in enumerate((loader, Numbered)):
        expected = trainer_of()
        expected.fit(make(), epochs=3)
        folder = tmp_path / str(number)
        for steps in (4, 9):
            with pytest.raises(Stop):
                trainer_of([StopAt(steps)]).fit(
                    make(), epochs=3, checkpoint=Checkpoint(folder, every_batches=2), resume=True
                )
        again = trainer_of()
        again.fit(make(), epochs=3, checkpoint=folder, resume=True)
        assert bits(again) == bits(expected)


@pytest.mark.parametrize("steps", [7, 10])
def test_a_loader_without_a_seed_goes_on_with_the_runs(tmp_path, steps):
    def loader():
        return data.Loader((X, Y), 8, augment=shifted)

    expected = trainer_of([StopAt(steps)])
    used = loader()
    with pytest.raises(Stop):
        expected.fit(used, epochs=3, checkpoint=Checkpoint(tmp_path, every_batches=1))
    del expected.callbacks[0]
    expected.fit(used, epochs=3 - expected.epoch)
    again = trainer_of()
    cconv.manual_seed(99)
    other = loader()
    again.fit(other, epochs=3, checkpoint=tmp_path, resume=True)
    assert other.seed == used.seed and bits(again) == bits(expected)


def test_accumulated_gradients_go_on(tmp_path):
    expected = trainer_of(accumulate=3)
    fit(expected)
    for steps in (3, 6, 7, 13):
        with pytest.raises(Stop):
            fit(trainer_of([StopAt(steps)], accumulate=3), tmp_path, resume=True)
    again = trainer_of(accumulate=3)
    fit(again, tmp_path, resume=True)
    assert bits(again) == bits(expected)


def test_plateau_and_epoch_schedules_go_on(tmp_path):
    def options(trainer):
        trainer.schedule_interval = "epoch"
        trainer.schedule = optim.ReduceLROnPlateau(trainer.optimizer, patience=0, threshold=0.5)
        return trainer

    expected = options(trainer_of())
    fit(expected, epochs=4)
    for steps in (5, 8, 15, 22):
        with pytest.raises(Stop):
            fit(options(trainer_of([StopAt(steps)])), tmp_path, epochs=4, resume=True)
    again = options(trainer_of())
    fit(again, tmp_path, epochs=4, resume=True)
    assert bits(again) == bits(expected) and len(set(again.history["lr"])) > 1


def test_the_default_generator_goes_on(tmp_path):
    """A callback that draws from it, as a user's may."""

    class Noise:
        def on_batch_end(self, trainer, batch, loss):
            trainer.model[0].weight.value += cconv._random.generator(None).normal(0, 0.01)

    expected = trainer_of([Noise()])
    fit(expected)
    with pytest.raises(Stop):
        fit(trainer_of([Noise(), StopAt(9)]), tmp_path)
    again = trainer_of([Noise()])
    # Checkpoints are written after the callbacks, so that batch 9's noise is lost with the batch.
    fit(again, tmp_path, resume=True)
    assert bits(again) == bits(expected)


def test_save_and_load_by_hand(tmp_path, whole_run):
    class Saved(Worst):
        def on_epoch_end(self, trainer, record):
            trainer.save_checkpoint(tmp_path / f"{record['epoch']}.safetensors")

    class Saving(Saved):
        pass

    first = trainer_of([Worst(), Saving()])
    fit(first, epochs=2)
    again = trainer_of([Worst()])
    again.load_checkpoint(tmp_path / "1.safetensors")
    assert again.epoch == 1 and again.steps == 7
    fit(again, epochs=2)
    assert bits(again) == whole_run[0]
    for resume in (tmp_path / "1.safetensors", str(tmp_path / "1.safetensors")):
        again = trainer_of([Worst()])
        fit(again, resume=resume)
        assert bits(again) == whole_run[0]


# Interrupts


class Interrupt:
    """Ctrl-C from another thread, while a batch is in work."""

    def __init__(self, steps):
        self.steps = steps

    def on_batch_end(self, trainer, batch, loss):
        if trainer.steps == self.steps:
            threading.Timer(0.001 * (self.steps % 5), os.kill, (os.getpid(), signal.SIGINT)).start()


@pytest.mark.parametrize("steps", [1, 6, 7, 12])
def test_an_interrupt_leaves_a_checkpoint_and_a_whole_model(tmp_path, steps, whole_run):
    for number in range(3):
        folder = tmp_path / str(number)
        trainer = trainer_of([Worst(), Interrupt(steps)])
        try:
            fit(trainer, folder)
            time.sleep(0.05)  # it came after the end
            continue
        except KeyboardInterrupt:
            pass
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        # In the same process, and from the file.
        trainer.callbacks.pop()
        again = trainer_of([Worst()])
        fit(again, folder, resume=True)
        assert bits(again) == whole_run[0]
        done = trainer.epoch
        fit(trainer, epochs=3 - done)
        assert bits(trainer) == whole_run[0]


def test_an_interrupt_ends_training_within_a_second(tmp_path):
    class Slow(nn.Layer):
        """A batch of many layers takes seconds."""

        def forward(self, x, train=True):
            time.sleep(0.02)
            return x, lambda grad_y, need_x=True: grad_y

    trainer = trainer_of()
    trainer.model = nn.Sequential(*trainer.model, *[Slow() for _ in range(200)])
    before = bits(trainer)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, tmp_path)
    assert time.perf_counter() - started < 1.5
    assert bits(trainer) == before
    assert len(Checkpoint(tmp_path).files()) == 1


def test_an_interrupted_callback_does_not_hide_the_epoch_from_others(tmp_path):
    """What checkpoints keep sees each batch and epoch, whatever is interrupted before it."""

    class Interrupts:
        def on_epoch_end(self, trainer, record):
            os.kill(os.getpid(), signal.SIGINT)

    class Seen:
        epochs = 0

        def on_epoch_end(self, trainer, record):
            self.epochs += 1

        def state_dict(self):
            return {"epochs": self.epochs}

        def load_state_dict(self, state):
            self.epochs = state["epochs"]

    seen = Seen()
    with pytest.raises(KeyboardInterrupt):
        fit(trainer_of([Interrupts(), seen]), tmp_path)
    assert seen.epochs == 1
    again = trainer_of([Seen()])
    fit(again, tmp_path, resume=True)
    assert again.callbacks[0].epochs == 3


@pytest.mark.parametrize("moment", range(1, 12, 2))
def test_an_interrupt_while_averages_are_in_the_model(moment, whole_run):
    trainer = trainer_of([Worst()])
    calls, put = [0], optim.EMA._put

    class Interrupted(optim.EMA):
        def _put(self, arrays):
            for name, entry in self._entries.items():
                calls[0] += 1
                if calls[0] == moment * 2:
                    raise KeyboardInterrupt
                entry.value[...] = arrays[name]

    trainer.ema = Interrupted(trainer.model, 0.9)
    with pytest.raises(KeyboardInterrupt):
        fit(trainer)
    trainer.ema.__class__ = optim.EMA
    assert optim.EMA._put is put
    fit(trainer, epochs=3 - trainer.epoch)
    assert bits(trainer)[0] == whole_run[0][0]


def test_going_back_to_an_older_checkpoint_goes_on_from_there(tmp_path):
    saver = Checkpoint(tmp_path, every_batches=1, keep=50)
    trainer_of(schedule=None).fit((X, Y), epochs=3, batch_size=8, checkpoint=saver)
    older = next(path for path in saver.files() if path.stem.endswith("09"))
    again = trainer_of([StopAt(12)], schedule=None)
    with pytest.raises(Stop):
        again.fit((X, Y), epochs=3, batch_size=8, checkpoint=saver, resume=older)
    steps = [int(path.stem.split("-")[1]) for path in saver.files()]
    assert steps[0] == 11 and 9 in steps


def test_an_error_in_a_batch_takes_the_batch_back(whole_run):
    class Failing(nn.Layer):
        left = 9

        def forward(self, x, train=True):
            Failing.left -= 1
            if not Failing.left:
                raise MemoryError("none left")
            return x, lambda grad_y, need_x=True: grad_y

    trainer = trainer_of([Worst()])
    trainer.model.append(Failing())
    trainer.ema = optim.EMA(trainer.model, 0.9)
    with pytest.raises(MemoryError):
        fit(trainer, validation=None)
    assert trainer.epoch == 1 and trainer.steps == 8
    fit(trainer, epochs=2)
    digest, *_ = bits(trainer)
    assert digest == whole_run[0][0]


def test_in_a_thread_there_is_no_signal_to_take(whole_run):
    trainer = trainer_of([Worst()])
    thread = threading.Thread(target=fit, args=(trainer,))
    thread.start()
    thread.join()
    assert bits(trainer) == whole_run[0]


# Kills


_SCRIPT = """
import os, signal, sys, threading
sys.path.insert(0, {tests!r})
import numpy as np, cconv
from test_checkpoint import *
threads, folder, kill, moment = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
cconv.set_num_threads(threads)

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Kill:
    def on_batch_end(self, trainer, batch, loss):
        if kill == "batch" and trainer.steps == moment:
            die()
        if kill == "soon" and trainer.steps == moment:
            threading.Timer(0.002, die).start()

if kill in ("replace", "fsync", "unlink"):
    # Within the writing of a checkpoint: before it has its name, or with an older one half dropped.
    true, calls = getattr(os, kill), [0]
    def deadly(*arguments, **options):
        calls[0] += 1
        if calls[0] == moment:
            die()
        return true(*arguments, **options)
    setattr(os, kill, deadly)
trainer = trainer_of([Worst(), Kill()])
if folder == "-":
    fit(trainer)
else:
    fit(trainer, folder, resume=True)
print(bits(trainer)[0])
"""


def run(threads, folder, kill="no", moment=0):
    script = _SCRIPT.format(tests=os.path.dirname(__file__))
    return subprocess.run(
        [sys.executable, "-c", script, str(threads), str(folder), kill, str(moment)], capture_output=True, text=True
    )


def killed_runs(folder, threads, kills):
    for kill, moment in kills:
        newest = Checkpoint(folder).files()[:2]
        done = run(threads, folder, kill, moment)
        assert done.returncode == -signal.SIGKILL or (done.returncode == 0 and kill != "batch"), done.stderr
        left = Checkpoint(folder).files()
        # At most the newest is lost.
        assert not newest or left[0] >= newest[0]
    last = run(threads, folder)
    assert last.returncode == 0, last.stderr
    assert not [name for name in os.listdir(folder) if name.startswith(".")]
    return last.stdout


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, threads):
    expected = run(threads, "-").stdout
    kills = [("batch", 3), ("fsync", 3), ("replace", 2), ("soon", 12), ("batch", 16)]
    assert killed_runs(tmp_path, threads, kills) == expected != ""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("threads", [1, 2])
def test_twenty_runs_killed_at_random(tmp_path, threads):
    rng = random.Random(threads)
    expected = run(1, "-").stdout
    for number in range(20):
        kills = [(rng.choice(("batch", "soon")), moment) for moment in sorted(rng.sample(range(1, 21), 2))]
        kills.insert(rng.randrange(3), (rng.choice(("fsync", "replace", "unlink")), rng.randrange(1, 6)))
        folder = tmp_path / str(number)
        folder.mkdir()
        done = [run(threads, folder, *kill) for kill in kills]
        assert all(each.returncode in (0, -signal.SIGKILL) for each in done), [each.stderr for each in done]
        assert run(threads, folder).stdout == expected != ""


# Files


def test_a_checkpoint_holds_weights_under_their_names(tmp_path):
    from safetensors.numpy import load_file

    trainer = trainer_of()
    fit(trainer, tmp_path, epochs=1)
    newest = Checkpoint(tmp_path).files()[0]
    assert newest.name == "checkpoint-000000007.safetensors"
    arrays = load_file(newest)
    assert arrays["model/0.weight"].tobytes() == trainer.model[0].weight.value.tobytes()
    assert "optimizer/0.exp_avg" in arrays and "ema/updates" in arrays


def test_the_newest_is_kept_and_as_many_as_told(tmp_path):
    trainer = trainer_of()
    trainer.fit((X, Y), epochs=2, batch_size=8, checkpoint=Checkpoint(tmp_path, every_batches=2, keep=2))
    assert [int(path.stem.split("-")[1]) for path in Checkpoint(tmp_path).files()] == [14, 13]
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-000000013.safetensors", "checkpoint-000000014.safetensors"]


def test_time_tells_when_one_is_due(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    saver = Checkpoint(tmp_path, every_seconds=10)
    saver.prepare()
    assert not saver.due(1)
    now[0] = 10.5
    assert saver.due(1)
    never = Checkpoint(tmp_path, every_seconds=None)
    now[0] = 1e9
    assert not never.due(1)


def test_strays_are_swept_and_other_files_stay(tmp_path):
    stray = tmp_path / ".checkpoint-000000007.safetensors.0a1b2c3d.tmp"
    other = tmp_path / "notes.txt"
    for path in (stray, other):
        path.write_text("x")
    fit(trainer_of(), tmp_path, epochs=1)
    assert other.exists() and not stray.exists()


def damaged(path, content):
    path.write_bytes(content)
    return path


def test_a_damaged_newest_gives_way_to_an_older(tmp_path, whole_run):
    with pytest.raises(Stop):
        fit(trainer_of([Worst(), StopAt(9)]), tmp_path)
    newest = Checkpoint(tmp_path).files()[0]
    damaged(newest, newest.read_bytes()[:1000])
    again = trainer_of([Worst()])
    with pytest.warns(UserWarning, match=r"checkpoint-000000008.*: not a safetensors file.*: going on from .*07"):
        fit(again, tmp_path, resume=True)
    assert bits(again) == whole_run[0]


def test_damaged_checkpoints_change_nothing(tmp_path):
    trainer = trainer_of()
    fit(trainer, tmp_path, epochs=1)
    newest = Checkpoint(tmp_path).files()[0]
    content = newest.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    plain = json.loads(header["__metadata__"]["cconv.training"])
    changes = [
        {"epoch": -1}, {"epoch": 5}, {"history": 3}, {"history": [1]}, {"parts": []}, {"parts": {}}, {"kinds": None},
        {"format": 2}, {"batch": "1"}, {"default_generator": {"state": 3}}, {"call_epoch": 10**9}, {"data": 5},
        {"default_generator": plain["default_generator"] | {"buffer_pos": -2000000000}},
        {"seed": None}, {"steps": 1e300},
        {"parts": plain["parts"] | {"layer.3": {"seed": "x", "step": 0}}}, {"kinds": plain["kinds"] | {"ema": "SWA"}},
    ]  # fmt: skip
    other = trainer_of()
    before = bits(other)
    texts = [json.dumps(plain | change) for change in changes] + ["[]", "{}", "nonsense", "[" * 100000]
    for text in texts:
        changed = json.dumps(header | {"__metadata__": {"cconv.training": text}}).encode()
        path = damaged(
            tmp_path / "changed.safetensors", len(changed).to_bytes(8, "little") + changed + content[8 + length :]
        )
        with pytest.raises(cconv.FormatError, match=r"changed\.safetensors"):
            other.load_checkpoint(path)
        assert bits(other) == before, text[:80]
    for cut in (0, 5, 100, len(content) - 1):
        with pytest.raises(cconv.FormatError):
            other.load_checkpoint(damaged(tmp_path / "cut.safetensors", content[:cut]))
        assert bits(other) == before


def test_weights_alone_are_no_checkpoint(tmp_path):
    trainer = trainer_of()
    trainer.model.save(tmp_path / "weights.safetensors")
    with pytest.raises(cconv.FormatError, match="holds weights but no training to go on with"):
        trainer.load_checkpoint(tmp_path / "weights.safetensors")


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    fit(trainer_of(), tmp_path, epochs=1)
    path = Checkpoint(tmp_path).files()[0]
    others = {
        "optimizer was AdamW, is SGD": lambda t: setattr(
            t, "optimizer", optim.SGD(t.model.parameters(), lr=0.1, momentum=0.9)
        ),
        "schedule was OneCycleLR, is None": lambda t: setattr(t, "schedule", None),
        "ema was EMA, is None": lambda t: setattr(t, "ema", None),
        "wrong shape: 9.weight": lambda t: t.model.__setitem__(9, nn.Linear(16, 5)),
    }
    for message, change in others.items():
        trainer = trainer_of()
        change(trainer)
        before = trainer.model.state_dict()
        with pytest.raises(cconv.FormatError, match=f"not a checkpoint of this training: .*{message}"):
            trainer.load_checkpoint(path)
        assert all(np.array_equal(before[k], v) for k, v in trainer.model.state_dict().items())


def test_bad_arguments(tmp_path):
    fit(trainer_of(), tmp_path / "used", epochs=1)
    for call, error, message in (
        (lambda t: fit(t, tmp_path / "used"), ValueError, "holds checkpoints of an earlier run: give resume=True"),
        (lambda t: t.fit((X, Y), resume=True), ValueError, "resume=True needs checkpoint, the folder"),
        (lambda t: t.fit((X, Y), resume=tmp_path / "none"), FileNotFoundError, "none"),
        (lambda t: t.fit((X, Y), checkpoint=3), TypeError, "Checkpoint: folder must be a path, got 3"),
        (lambda t: Checkpoint(tmp_path, keep=0), ValueError, "Checkpoint: keep must be at least 1, got 0"),
        (lambda t: Checkpoint(tmp_path, every_batches=0), ValueError, "every_batches must be at least 1"),
        (lambda t: Checkpoint(tmp_path, every_seconds=-1), ValueError, "every_seconds must be at least 0"),
        (lambda t: fit(trainer_of(seed=4), tmp_path / "used", resume=True), ValueError, "seed was 3 in .*, is 4"),
    ):
        with pytest.raises(error, match=message):
            call(trainer_of())
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="there is no checkpoint in"):
        trainer_of().fit((X, Y), resume=tmp_path / "empty")


def test_other_data_in_the_middle_of_an_epoch(tmp_path):
    with pytest.raises(Stop):
        fit(trainer_of([StopAt(5)]), tmp_path)
    with pytest.raises(ValueError, match=r"in progress cannot go on with other data: .*batch_size was 8, is 4"):
        fit(trainer_of(), tmp_path, resume=True, batch_size=4)
    trainer = trainer_of([StopAt(5)])
    with pytest.raises(Stop):
        fit(trainer)
    trainer.callbacks.clear()
    with pytest.warns(UserWarning, match="the epoch in progress begins anew: .*examples was 50, is 20"):
        trainer.fit((X[:20], Y[:20]), batch_size=8)
    assert trainer.epoch == 1


def test_a_second_fit_writes_into_the_same_folder(tmp_path):
    trainer = trainer_of(schedule=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(trainer, tmp_path, epochs=1)
        fit(trainer, tmp_path, epochs=1)
    assert trainer.epoch == 2
