"""The README's Python runs, on small data, and its two commands are one line each."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from cconv import data

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_python_blocks_run_one_after_the_other(monkeypatch, tmp_path, capsys):
    rng = np.random.default_rng(0)
    y = np.arange(200) % 10
    x = np.zeros((200, 1, 28, 28), np.float32)
    x[np.arange(200), 0, 4 + 2 * y] = 1  # a bar whose height is the label
    x += 0.1 * rng.random(x.shape, np.float32)
    small = data.Dataset(x[:150], y[:150]), data.Dataset(x[150:], y[150:])
    monkeypatch.setattr(data, "mnist", lambda: small)
    monkeypatch.chdir(tmp_path)
    for i in range(10):
        for name, colour in (("cat", (200, 0, 0)), ("dog", (0, 0, 200))):
            (tmp_path / "pets" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (80, 70), colour).save(tmp_path / "pets" / name / f"{i}.jpg")
    np.save("pictures.npy", small[0].x)
    np.save("labels.npy", small[0].y)
    names = {}
    for block in blocks("python"):
        exec(block, names)
    out = capsys.readouterr().out
    assert "61,706" in out
    assert "ok: largest relative error" in out
    assert len(names["history"]) == 10
    assert names["labels"].shape == (50,)
    assert names["loss"] < names["history"]["loss"][0]
    assert (tmp_path / "lenet5.safetensors").is_file()
    assert out.splitlines()[-1] == "cat"


def test_the_first_two_commands_are_one_line_each():
    example, tests = (block.splitlines() for block in blocks("sh")[:2])
    assert len(example) == len(tests) == 1
    assert example[0].endswith("python examples/lenet5.py")
    assert tests[0].endswith("pytest")
