"""What progress writes, where, and how it takes what goes wrong with its output."""

import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from cconv.train import progress
from cconv.train.metrics import Means
from cconv.train.progress import Bar, Lines, Silent, clock, short


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


class Clock:
    """Seconds that go by when told to."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "perf_counter", lambda: self.now)


def means(loss=0.5):
    found = Means({"accuracy": lambda outputs, y: 0.75})
    found.add(loss, np.zeros((2, 3)), np.zeros(2, int))
    return found


def record(epoch, **more):
    return {"epoch": epoch, "loss": 0.5, "images_per_second": 1234.5, "seconds": 61.25, "lr": 0.1, **more}


def test_lines(monkeypatch, capsys):
    shown = progress.progress(True, 0, 10, 100)
    assert isinstance(shown, Lines)
    shown.start_epoch(1)
    shown.batch(50, means())
    shown.end_epoch(record(1, f1=1e-6, huge=123456789.0, matrix=[[1, 2]], val_loss=float("nan")))
    shown.close()
    assert capsys.readouterr().out == (
        "epoch  1/10  loss 0.5000  f1 1e-06  huge 1.23e+08  val_loss nan  1,234 images/s  61.2 s\n"
    )


def test_long_epochs_show_life(monkeypatch, capsys):
    """A minute without a line is the most."""
    clock_ = Clock(monkeypatch)
    shown = Lines(0, 10, 60_000, 0)
    shown.start_epoch(1)
    for _ in range(130):
        clock_.now += 1
        shown.batch(100, means())
    shown.end_epoch(record(1))
    clock_.now += 59
    shown.start_epoch(2)
    shown.batch(100, means())
    clock_.now += 2
    shown.batch(100, means())
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "epoch  1/10  6,000/60,000 images  loss 0.5000  accuracy 0.7500  100 images/s  1:39:00 left",
        "epoch  1/10  12,000/60,000 images  loss 0.5000  accuracy 0.7500  100 images/s  1:38:00 left",
    ]
    assert lines[2].startswith("epoch  1/10  loss") and len(lines) == 4
    assert lines[3].startswith("epoch  2/10  200/60,000 images")


def test_lines_of_a_resumed_epoch_and_of_unknown_length(monkeypatch, capsys):
    clock_ = Clock(monkeypatch)
    shown = Lines(3, 5, 1000, 400)
    shown.start_epoch(4)
    clock_.now += 60
    shown.batch(300, means())
    assert "epoch 4/5  700/1,000 images" in capsys.readouterr().out
    shown = Lines(0, 3, 0, 0)
    shown.start_epoch(1)
    clock_.now += 60
    shown.batch(300, means())
    found = capsys.readouterr().out
    assert "epoch 1/3  300 images" in found and "left" not in found
    shown.end_epoch(record(1))
    shown.start_epoch(2)
    clock_.now += 60
    shown.batch(100, means())
    assert "epoch 2/3  100/300 images" in capsys.readouterr().out


def looks(terminal):
    return [look.strip() for look in re.split(r"[\r\n]", terminal.getvalue()) if look.strip()]


def on_terminal(monkeypatch):
    """A terminal in the place of standard output, whose bar looks anew at each batch."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(progress, "_REFRESH", 0)
    return stream


def test_a_bar(monkeypatch):
    terminal = on_terminal(monkeypatch)
    shown = progress.progress(True, 0, 2, 100)
    assert isinstance(shown, Bar)
    for epoch in (1, 2):
        shown.start_epoch(epoch)
        for _ in range(2):
            shown.batch(50, means())
            shown._bar.refresh()
        shown.end_epoch(record(epoch))
    shown.close()
    found = looks(terminal)
    assert any(
        re.fullmatch(r"epoch 1/2  25%\|.*\| .* left, loss 0\.5000, accuracy 0\.7500, .* images/s", x) for x in found
    )
    assert any(x.startswith("epoch 2/2 100%") for x in found)
    assert found.count("epoch 1/2  loss 0.5000  1,234 images/s  61.2 s") == 1


def test_a_bar_of_a_resumed_epoch(monkeypatch):
    terminal = on_terminal(monkeypatch)
    shown = Bar(3, 5, 100, 50)
    shown.start_epoch(4)
    shown.batch(50, means())
    shown._bar.refresh()
    shown.close()
    assert any(x.startswith("epoch 4/5  50%") for x in looks(terminal))


def test_a_bar_of_unknown_length(monkeypatch):
    terminal = on_terminal(monkeypatch)
    shown = Bar(0, 4, 0, 0)
    shown.start_epoch(1)
    shown.batch(50, means())
    shown._bar.refresh()
    shown.end_epoch(record(1))
    shown.start_epoch(2)
    shown._bar.refresh()
    shown.close()
    found = looks(terminal)
    assert any(re.match(r"epoch 1/4 50 images in 00:0\d, loss 0\.5000, accuracy 0\.7500", x) for x in found)
    assert any(re.match(r"epoch 2/4  25%\|", x) for x in found)


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_a_look_fits_the_terminal(monkeypatch, columns):
    terminal = on_terminal(monkeypatch)
    shown = Bar(0, 10, 60_000, 0)
    shown._bar.ncols, shown._bar.dynamic_ncols = columns, None
    shown.start_epoch(1)
    shown.batch(5000, means())
    shown._bar.refresh()
    shown.close()
    found = [x for x in looks(terminal) if x.startswith("epoch 1/10")]
    assert len(found[-1]) <= columns
    if columns >= 80:
        assert "loss 0.5000, accuracy 0.7500" in found[-1]


class Closed(io.StringIO):
    """Output that fails from some write on, as a terminal that is gone."""

    error: Exception = OSError(5, "Input/output error")

    def __init__(self, terminal):
        super().__init__()
        self.terminal, self.works = terminal, True

    def isatty(self):
        return self.terminal

    def write(self, text):
        if not self.works:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("error", [OSError(5, "gone"), BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_output_that_is_gone_does_not_stop_training(monkeypatch, terminal, error):
    stream = Closed(terminal)
    stream.error = error
    monkeypatch.setattr(sys, "stdout", stream)
    shown = progress.progress(True, 0, 3, 100)
    shown.start_epoch(1)
    shown.batch(50, means())
    stream.works = False
    shown.batch(50, means())
    shown.end_epoch(record(1))
    shown.start_epoch(2)
    shown.batch(50, means())
    shown.close()


def test_no_output(monkeypatch):
    closed = io.StringIO()
    closed.close()
    for stdout in (None, closed):
        monkeypatch.setattr(sys, "stdout", stdout)
        assert type(progress.progress(True, 0, 1, 10)) is Silent
    assert type(progress.progress(False, 0, 1, 10)) is Silent


def test_figures():
    assert [short(value) for value in (0, 0.12345, 1e-3, 9e-4, 99999, 1e5, -0.5, float("nan"))] == [
        *("0.0000", "0.1235", "0.0010", "0.0009", "99999.0000", "1e+05", "-0.5000", "nan")
    ]
    assert [clock(seconds) for seconds in (0.2, 59.6, 3599.6, 90061)] == ["00:00", "01:00", "1:00:00", "25:01:01"]


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [0, 30, 100])  # 0 is what a terminal says that does not know
def test_on_a_real_terminal(columns):
    import fcntl
    import pty
    import struct
    import termios

    code = (
        "import numpy as np, cconv\nfrom cconv import nn, optim\n"
        "model = nn.Sequential(nn.Linear(4, 3))\n"
        "trainer = cconv.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), seed=0)\n"
        "trainer.fit((np.zeros((400, 4), np.float32), np.zeros(400, int)), epochs=3, batch_size=4)\n"
    )
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=slave, stderr=subprocess.PIPE)
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and not errors
    text = shown.decode()
    assert "%|" in text and all(text.count(f"epoch {epoch}/3  loss") == 1 for epoch in (1, 2, 3))
