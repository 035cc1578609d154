"""The patients of examples/doctor: what the doctor says of each, and, as slow tests, the figures after the cure."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_systems import load

import cconv
from cconv import data, nn, optim

PAGES = Path(__file__).parents[1] / "examples" / "doctor"


@pytest.fixture
def page(monkeypatch):
    """The module of a page, by the start of its name."""
    monkeypatch.syspath_prepend(str(PAGES))

    def find(start):
        (path,) = PAGES.glob(f"{start}*.py")
        return __import__(path.stem)

    return find


def some_digits():
    train, _ = load("mnist")
    return data.Dataset(train.x[:2000], train.y[:2000])


def below(finding):
    return [each.kind for each in finding.consequences]


def named(report):
    return {(d.layer, d.array): d.slip for d in report.diagnosis}


def test_1a_input_scale_and_fan_are_named(page):
    patient, train = page("patient_1a"), some_digits()
    model = patient.as_its_author_had_it()
    sums = model[:4](patient.pixels(train)[:1000])
    assert abs(sums.mean()) < 0.2
    assert 0.4 < sums.std() < 0.7
    report = cconv.check(model, patient.pixels(train), patient.one_hot(train.y), nn.MSELoss())
    assert report.kinds() == ["input-scale", "fan-from-image"]
    assert report[1].evidence["largest_sum"] < 5
    assert "sqrt(6 / (28 * 28 + 24 * 24))" in report[1].cause
    assert "if you saw far larger ones, then with other weights" in report[1].cause


def test_1b_weights_of_one_sign_are_the_root(page):
    patient, train = page("patient_1a"), some_digits()
    model = patient.as_its_author_had_it(0, patient.BOUND)
    assert 13 < model[:4](patient.pixels(train)[:1000]).mean() < 17
    report = cconv.check(model, patient.pixels(train), patient.one_hot(train.y), nn.MSELoss())
    assert (report[0].kind, report[0].severity) == ("positive-weights", "error")
    saturated = next(finding for finding in report[0].consequences if finding.kind == "saturated")
    assert saturated.evidence["saturated"] > 0.99
    assert 13 < saturated.evidence["mean_input"] < 17


def test_2_targets_out_of_reach_and_the_derivative(page):
    load("optdigits")
    patient = page("patient_2")
    model, train, test, loss = patient.as_its_author_had_it()
    report = cconv.check(model, train.x, train.y, loss)
    assert (report[0].kind, report[0].severity) == ("target-range", "error")
    assert report[0].cures[0] == "y = np.eye(10, dtype=np.float32)[y]; loss = nn.MSELoss()"
    assert "2" in {finding.layer for finding in report if finding.kind == "wrong-gradient"}
    assert named(cconv.gradcheck(model[2], np.linspace(-3, 3, 8)[None])) == {("", "x"): "derivative_at_output"}
    patient.trained(model, train.x, train.y, loss, lr=0.1, epochs=3)
    assert (model(test.x) > 0.99).all()
    stuck = cconv.check(model, train.x, train.y, loss)
    assert stuck[0].kind == "target-range"
    assert {"saturated", "constant-output"} <= set(below(stuck[0]))


def test_3_the_weight_gradient_is_returned(page):
    patient = page("patient_3")
    x, y = page("ward").circles_and_crosses(400, seed=0)
    model = patient.as_its_author_had_it()
    optimizer = optim.SGD(model.parameters(), lr=0.002)
    loss = nn.BCEWithLogitsLoss()
    report = cconv.check(model, x, patient.column(y), loss, optimizer=optimizer)
    assert (report[0].kind, report[0].severity, report[0].layer) == ("wrong-gradient", "error", "3")
    assert "grad_weight is returned as grad_x" in report[0].cause
    assert "exploding-gradient" in below(report[0])
    assert {"positive-weights", "input-scale"} <= {finding.kind for finding in report}
    assert named(cconv.gradcheck(model[0], x[:2] / 255, samples=30)) == {("", "weight"): "padding_read_out_of_bounds"}
    features = model[:3](x[:2]) / 255
    assert named(cconv.gradcheck(model[3], features)) == {("", "x"): "swapped", ("", "bias"): "bias_from_weight"}
    circles = np.argsort(y, kind="stable")
    patient.first_step(model, x[circles], y[circles], lr=0.002)
    assert model[0].weight.value.min() < -50_000
    assert not model[:2](x).any()
    assert "dead-units" in cconv.check(model, x, patient.column(y), loss).kinds()


def test_4_the_layers_without_the_derivative(page):
    load("optdigits")
    patient = page("patient_4")
    x = np.random.default_rng(0).random((4, 64))
    slips = named(cconv.gradcheck(patient.network(patient.Hidden), x))
    assert slips == {(layer, a): "derivative_missing" for layer in "12" for a in ("x", "weight", "bias")}
    assert cconv.gradcheck(patient.network(patient.HiddenCured), x)


SLIPS = {
    "FilterNotFlipped": ("x", "filter_not_flipped"),
    "StrideNotExpanded": ("x", "stride_not_expanded"),
    "BiasNotSummed": ("bias", "one_term"),
    "AveragedTwice": ("weight", "averaged"),
    "PaddingOffByOne": ("x", "padding_off"),
    "EveryTiedCell": ("x", "ties"),
}


def test_5_each_slip_is_named(page):
    patient = page("patient_5")
    found = {type(layer).__name__: named(cconv.gradcheck(layer, x)) for layer, x in patient.slips()}
    assert found == {kind: {("", array): slip} for kind, (array, slip) in SLIPS.items()}
    x = np.random.default_rng(0).normal(size=(3, 2, 6, 6))
    for layer in (patient.Convolution(2, 4), patient.Convolution(2, 4, stride=2), patient.MaxPooling()):
        assert cconv.gradcheck(layer, x)


def test_6_tiny_weights_and_the_printed_derivative(page):
    patient, train = page("patient_6"), some_digits()
    report = cconv.check(patient.as_the_article_has_it(), train.x, train.y, nn.CrossEntropyLoss())
    assert (report[0].kind, report[0].severity) == ("weight-scale", "error")
    assert len(report) == 1
    fading = report[0].consequences[0]
    assert (fading.kind, fading.layer) == ("vanishing-signal", "0")
    relu = np.random.default_rng(0).normal(size=(4, 8))
    assert named(cconv.gradcheck(patient.PrintedReLU(), relu)) == {("", "x"): "zero"}
    model = cconv.models.lenet5(activation=patient.PrintedReLU, rng=0)
    assert cconv.check(model, train.x[:100], train.y[:100], nn.CrossEntropyLoss())[0].kind == "backward-zero"


def test_a_verdict_is_about_what_was_there_before(page):
    verdict = page("advice").verdict
    assert verdict("2", 0.1, 0.1, 0.95) == "does nothing"
    assert verdict("2", 0.1, 0.5, 0.95) == "helps"
    assert verdict("2", 0.1, 0.94, 0.95) == "cures"
    assert verdict("2", 0.5, 0.1, 0.95) == "harms"
    assert verdict("3", 0.5, np.nan, 1.0) == "harms"


# What a page prints last is its figure after the cure, in per cent.
FIGURES = {"1a": 98.5, "1b": 98.5, "2": 95.5, "3": 100, "4": 95.5, "5": 97.5, "6": 97.5}


@functools.cache
def printed(script):
    for name in ("mnist", "optdigits", "digits"):
        load(name)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=1200)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", FIGURES)
def test_figures_after_the_cure(number):
    (script,) = PAGES.glob(f"patient_{number}_*.py")
    told = printed(script)
    assert float(re.findall(r"([\d.]+)%", told)[-1]) >= FIGURES[number]
    if number == "6":
        assert told.count("11.35%, 11.35%") == 2


@pytest.mark.slow
def test_the_docs_have_what_the_pages_print():
    told = "".join(printed(script) for script in PAGES.glob("patient_*.py"))
    quoted = "".join((PAGES.parents[1] / "docs" / "patients.md").read_text().split("```text\n")[1:])
    lines = [line for line in quoted.splitlines() if re.match("error:|warning:|.*gradient of .*:|  ->", line)]
    assert len(lines) > 20
    assert [line for line in lines if line not in told] == []


@pytest.mark.slow
def test_the_table_of_advice():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed(PAGES / "advice.py").splitlines()[2:]]
    verdicts = {(name, patient): said for name, patient, _, _, said, _ in rows}
    assert len(verdicts) == len(rows) > 20
    assert [patient for (name, patient), said in verdicts.items() if name == "the cure" and said == "cures"] == [
        *("1b", "2", "3", "6")
    ]
    assert verdicts["initialise in 0..1", "1a"] == "harms"
    assert verdicts["divide by 255", "1b"] == "does nothing"
    assert verdicts["connectivity 0.1", "2"] == "does nothing"
    assert verdicts["tanh for ReLU", "3"] == "does nothing"
