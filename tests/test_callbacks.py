"""Early stopping, best weights, logs: alone, driven by hand, and under Trainer."""

import json
import math
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import cconv
from cconv import nn
from cconv.train import BestWeights, EarlyStopping, JsonLines, TensorBoard


class Script:
    """What Trainer does around callbacks, with figures given: epochs of two batches."""

    def __init__(self, *callbacks):
        self.callbacks = callbacks
        self.model = nn.Linear(2, 1)
        self.model.weight.value = np.zeros((1, 2))  # and from then on the number of epochs
        self.optimizer = SimpleNamespace(lr=0.5)
        self.epoch, self.stop = 0, False

    def call(self, hook, *arguments):
        for callback in self.callbacks:
            getattr(callback, hook, lambda *_: None)(self, *arguments)

    def batch(self, number, loss=1.0):
        self.call("on_batch_end", number, loss)

    def epoch_of(self, **figures):
        self.model.weight.value = self.model.weight.value + 1
        self.batch(1)
        self.batch(2)
        self.epoch += 1
        self.call("on_epoch_end", {"epoch": self.epoch, **figures, "lr": 0.5})

    def fit(self, name, values):
        self.stop = False
        self.call("on_fit_begin")
        for value in values:
            if self.stop:
                break
            self.epoch_of(**{name: value})
        self.call("on_fit_end")
        return self.epoch


# Early stopping


@pytest.mark.parametrize(
    ("options", "values", "stopped", "best_epoch"),
    [
        ({"patience": 2}, [3, 2, 2, 2, 1], 4, 2),
        ({"patience": 2}, [3, 2, 2.5, 1, 1, 1, 0], 6, 4),
        ({"patience": 0}, [3, 2, 2], 3, 2),
        ({"patience": 1}, [3, 2, 2], 3, 2),
        ({"patience": 3}, [3, 2, 1], None, 3),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.3, 2.2], 5, 3),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.5, 2.5], 3, 1),
        ({"patience": 2}, [math.nan, math.nan, 1], 2, 0),
        ({"patience": 2}, [math.nan, 5, math.nan, 4, 4.5, 4.5], 6, 4),
        ({"patience": 2}, [math.inf, math.inf, math.inf], 3, 1),
        ({"patience": 2, "mode": "max"}, [1, 2, 2, 2], 4, 2),
        ({"patience": 1, "monitor": "val_accuracy"}, [0.1, 0.2, 0.15], 3, 2),
        ({"patience": 1, "monitor": "val_f1"}, [0.1, 0.2, 0.15], 3, 2),
        ({"patience": 1, "monitor": "loss"}, [2, 1, 1.5], 3, 2),
    ],
)
def test_early_stopping(options, values, stopped, best_epoch):
    stopping = EarlyStopping(**options)
    script = Script(stopping)
    assert script.fit(stopping.monitor, values) == (stopped or len(values))
    assert script.stop == (stopped is not None)
    assert (stopping.stopped_epoch, stopping.best_epoch) == (stopped or 0, best_epoch)


def test_a_further_fit_has_its_patience():
    stopping = EarlyStopping(patience=2)
    script = Script(stopping)
    assert script.fit("val_loss", [1, 2, 2, 2]) == 3
    assert script.fit("val_loss", [2, 2, 2]) == 5
    assert script.fit("val_loss", [0.5, 2]) == 7 and stopping.best == 0.5


@pytest.mark.parametrize("kind", [BestWeights, EarlyStopping])
def test_the_best_weights_come_back(kind):
    options = {} if kind is BestWeights else {"restore_best": True, "patience": 2}
    keeper, script = kind("val_loss", **options), None
    script = Script(keeper)
    script.fit("val_loss", [3, 1])
    best = script.model.state_dict()
    script.fit("val_loss", [2, 2])
    assert all(np.array_equal(value, best[path]) for path, value in script.model.state_dict().items())
    assert (keeper.best, keeper.best_epoch) == (1, 2)


def test_weights_stay_if_asked():
    for keeper in (BestWeights(restore=False), EarlyStopping(patience=9)):
        script = Script(keeper)
        script.fit("val_loss", [3, 1, 2])
        np.testing.assert_array_equal(script.model.weight.value, [[3, 3]])
    keeper = BestWeights(restore=False)
    script = Script(keeper)
    script.fit("val_loss", [3, 1, 2])
    other = nn.Linear(2, 1)
    keeper.restore_to(other)
    np.testing.assert_array_equal(other.weight.value, [[2, 2]])
    with pytest.raises(ValueError, match="BestWeights: no epoch has had a best val_loss yet"):
        BestWeights().restore_to(other)


def through_a_file(state):
    """Arrays as they are, all else as JSON has it."""
    return {k: v.copy() if isinstance(v, np.ndarray) else json.loads(json.dumps(v)) for k, v in state.items()}


@pytest.mark.parametrize("cut", range(7))
def test_a_resumed_run_stops_and_restores_alike(cut):
    values = [5, 3, 4, 2, 2.5, 2.2, 9, 9]
    make = lambda: EarlyStopping(patience=3, restore_best=True)  # noqa: E731
    whole = Script(make())
    whole.fit("val_loss", values)
    first = Script(make())
    for value in values[:cut]:
        first.epoch_of(val_loss=value)
    second = Script(make())
    second.epoch, second.model = first.epoch, first.model
    second.callbacks[0].load_state_dict(through_a_file(first.callbacks[0].state_dict()))
    second.fit("val_loss", values[cut:])
    assert second.epoch == whole.epoch == 7
    np.testing.assert_array_equal(second.model.weight.value, whole.model.weight.value)
    assert second.callbacks[0].best_epoch == whole.callbacks[0].best_epoch == 4


def test_a_state_of_another_figure_is_refused():
    with pytest.raises(ValueError, match="the state is of monitor 'loss', expected 'val_loss'"):
        EarlyStopping().load_state_dict(EarlyStopping("loss").state_dict())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: EarlyStopping(3), TypeError, "EarlyStopping: monitor must be a name such as 'val_loss', got 3"),
        (lambda: EarlyStopping(mode="best"), ValueError, "mode must be one of 'auto', 'min', 'max', got 'best'"),
        (lambda: EarlyStopping(patience=-1), ValueError, "EarlyStopping: patience must be at least 0, got -1"),
        (lambda: EarlyStopping(patience=1.5), TypeError, "patience must be an integer"),
        (lambda: EarlyStopping(min_delta=-1), ValueError, "min_delta must be at least 0"),
        (lambda: BestWeights(min_delta="x"), TypeError, "BestWeights: min_delta must be a number"),
        (lambda: JsonLines("no/such/folder/log"), FileNotFoundError, "JsonLines: no such folder to write to: .*folder"),
        (lambda: JsonLines("log", every=0), ValueError, "JsonLines: every must be at least 1, got 0"),
        (
            lambda: Script(EarlyStopping("val_acc")).epoch_of(loss=1.0, accuracy=0.5),
            ValueError,
            "monitor must be one of loss, accuracy, lr, got 'val_acc': give fit validation data",
        ),
        (
            lambda: Script(BestWeights("acc")).epoch_of(loss=1.0, val_loss=0.5, matrix=[[1]]),
            ValueError,
            "BestWeights: monitor must be one of loss, val_loss, lr, got 'acc'$",
        ),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


# JSON lines


def lines(path):
    def refuse(constant):
        raise AssertionError(f"not JSON: {constant}")

    text = Path(path).read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_a_line_an_epoch(tmp_path):
    script = Script(JsonLines(tmp_path / "log.jsonl"))
    script.epoch_of(loss=1.5, spread=math.inf, f1=math.nan, matrix=[[1, 2], [3, math.nan]], top=np.float32(0.5))
    expected = {
        "epoch": 1,
        "loss": 1.5,
        "spread": None,
        "f1": None,
        "matrix": [[1, 2], [3, None]],
        "top": 0.5,
        "lr": 0.5,
    }
    assert lines(tmp_path / "log.jsonl") == [expected]
    script.epoch_of(loss=1.0)
    script.call("on_fit_end")
    script.epoch_of(loss=0.5)
    assert [line["loss"] for line in lines(tmp_path / "log.jsonl")] == [1.5, 1.0, 0.5]


def test_lines_of_batches(tmp_path):
    script = Script(JsonLines(tmp_path / "log", every=2))
    for number in range(1, 6):
        script.batch(number, math.nan if number == 4 else number / 2)
    assert lines(tmp_path / "log") == [
        {"epoch": 1, "batch": 2, "loss": 1.0, "lr": 0.5},
        {"epoch": 1, "batch": 4, "loss": None, "lr": 0.5},
    ]


def test_lines_where_a_step_takes_several_batches(tmp_path):
    script = Script(JsonLines(tmp_path / "log", every=4))
    for number in (3, 6, 9, 10):
        script.batch(number)
    script.epoch += 1
    script.call("on_epoch_end", {"epoch": 1, "loss": 1.0})
    for number in (3, 6):
        script.batch(number)
    assert [(line["epoch"], line.get("batch")) for line in lines(tmp_path / "log")] == [
        (1, 6),
        (1, 9),
        (1, None),
        (2, 6),
    ]


def test_a_new_run_replaces_a_log_or_appends(tmp_path):
    path = tmp_path / "log"
    for epochs in (2, 1):
        log = JsonLines(path)
        assert path.exists() == (epochs == 1)  # nothing is lost before there is something new
        Script(log).fit("loss", [1.0] * epochs)
    assert len(lines(path)) == 1
    Script(JsonLines(path, append=True)).fit("loss", [2.0])
    assert [line["loss"] for line in lines(path)] == [1.0, 2.0]


@pytest.mark.parametrize("cut", range(9))
@pytest.mark.parametrize("damage", ["", "partly written", "shorter", "gone"])
def test_a_resumed_log_neither_doubles_nor_loses_lines(tmp_path, cut, damage):
    """The checkpoint is taken after `cut` batches; the killed run went on for some."""
    path = tmp_path / "log"

    def run(log, done, end):
        script = Script(log)
        script.epoch = done // 3
        for number in range(done, end):
            script.batch(number % 3 + 1, float(number))
            if number % 3 == 2:
                script.epoch += 1
                script.call("on_epoch_end", {"epoch": script.epoch, "loss": float(number)})
        return script

    run(JsonLines(path, every=1), 0, 9)
    expected = lines(path)
    path.unlink()
    killed = JsonLines(path, every=1)
    run(killed, 0, cut)
    state = through_a_file(killed.state_dict())
    run(killed, cut, min(cut + 2, 9))
    if damage == "partly written":
        path.touch()
        with open(path, "ab") as file:
            file.write(b'{"epoch": 1, "ba')
    elif damage == "shorter" and path.exists():
        path.write_bytes(path.read_bytes()[:50])
    elif damage == "gone":
        path.unlink(missing_ok=True)
    log = JsonLines(path, every=1)
    log.load_state_dict(state)
    run(log, cut, 9)
    found = lines(path)
    if damage in ("", "partly written"):
        assert found == expected
    elif cut < 9:
        assert found[-1] == expected[-1] and len(found) <= len(expected)


def test_a_log_of_another_run_goes_with_its_first_checkpoint(tmp_path):
    """A run killed before its first line, resumed beside an older log."""
    path = tmp_path / "log"
    state = JsonLines(path).state_dict()
    path.write_text('{"old": 1}\n')
    log = JsonLines(path)
    log.load_state_dict(through_a_file(state))
    Script(log).fit("loss", [1.0])
    assert [line.get("loss") for line in lines(path)] == [1.0]


# TensorBoard


def events(folder):
    """(tag, step, value) of all events that TensorBoard would show."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    shown = []
    for file in sorted(Path(folder).glob("events*"), key=lambda file: (file.stat().st_mtime_ns, file.name)):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (size,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + size])
            at += 16 + size
            if event.session_log.status == SessionLog.START:
                shown = [point for point in shown if point[1] < event.step]
            shown += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return shown


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    board = TensorBoard(tmp_path / "board", every=2)
    script = Script(board)
    script.epoch_of(loss=2.0, matrix=[[1]])
    state = through_a_file(board.state_dict())
    script.epoch_of(loss=1.5)
    script.batch(1)
    script.batch(2)
    script.call("on_fit_end")
    assert events(tmp_path / "board") == [("loss", 1, 2.0), ("lr", 1, 0.5), ("loss", 2, 1.5), ("lr", 2, 0.5)]
    assert [point[:2] for point in events(tmp_path / "board" / "batches")] == [
        (tag, step) for step in (2, 4, 6) for tag in ("loss", "lr")
    ]
    resumed = TensorBoard(tmp_path / "board", every=2)
    resumed.load_state_dict(state)
    script = Script(resumed)
    script.epoch = 1
    script.epoch_of(loss=1.25)
    script.call("on_fit_end")
    assert events(tmp_path / "board") == [("loss", 1, 2.0), ("lr", 1, 0.5), ("loss", 2, 1.25), ("lr", 2, 0.5)]
    assert [point[1] for point in events(tmp_path / "board" / "batches")] == [2, 2, 4, 4]


def test_tensorboard_is_an_extra(tmp_path):
    code = (
        "import sys\nsys.modules['tensorboardX'] = None\nfrom cconv.train import TensorBoard\n"
        f"try:\n    TensorBoard({str(tmp_path)!r})\nexcept ImportError as error:\n    print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found == 'TensorBoard: tensorboardX is not installed: pip install "cconv[tensorboard]"\n'


def test_the_best_weights_are_those_that_validation_saw():
    """With averages of weights validation sees the averages."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 4)).astype(np.float32), np.arange(40) % 3
    model = nn.Sequential(nn.Linear(4, 3, rng=0))
    best = BestWeights()
    trainer = cconv.Trainer(
        model,
        nn.CrossEntropyLoss(),
        cconv.optim.SGD(model.parameters(), lr=0.5),
        callbacks=[best],
        ema=cconv.optim.EMA(model, 0.9),
        seed=0,
        progress=False,
    )
    history = trainer.fit((x, y), epochs=4, batch_size=8, validation=(x, y))
    assert trainer.evaluate((x, y))["loss"] == min(history["val_loss"])
