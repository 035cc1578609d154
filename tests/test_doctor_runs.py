"""A sample of the suite of benchmarks/doctor.py: the trainer names the fault, and healthy runs have no error."""

from __future__ import annotations

import doctor_runs as runs
import numpy as np
import pytest

import cconv
from cconv import data, models, nn, optim
from cconv.doctor import KINDS

RECIPE = runs.Recipe("mlp", "digits", "cross-entropy", "Adam", 3e-3)
# Those that do no harm to it, or that are for `check` to see: gradients of one's own are not tried unasked.
UNSEEN = (
    *("half of validation trained on", "validation of training examples", "labels permuted", "noise for images"),
    *("150 examples", "clipped to 1e-7", "sum with the rate of a mean", "half of the classes weigh nothing"),
    *("quantities permuted", "softmax between", "logits x 200", "smoothing of 1"),
    *(name for name, fault in runs.FAULTS.items() if fault.kinds[0] == "wrong-gradient"),
)


@pytest.fixture(autouse=True)
def time_enough(monkeypatch):
    """A machine under load must not hide a fault."""
    monkeypatch.setattr("cconv.doctor.monitor.monitor.CREDIT", 60.0)


def trained(run, epochs):
    trainer = cconv.Trainer(run.model, run.loss, run.optimizer, seed=0, progress=False, **run.trainer)
    train = {"train": (run.x, run.y), "batch_size": run.batch_size} if run.fed is None else {"train": run.fed}
    try:
        with np.errstate(all="ignore"):
            trainer.fit(**train, epochs=epochs, validation=run.validation, **run.fit)
    except FloatingPointError:
        pass
    return trainer


def test_recipes_are_the_same_every_time_and_of_both_halves():
    made = runs.recipes(60)
    assert made == runs.recipes(60) == runs.recipes(80)[:60]
    assert {recipe.half for recipe in made} == {"tuned", "held"}
    assert len({recipe.network for recipe in made}) > 20
    assert not set(runs.HALVES["tuned"]) & set(runs.HALVES["held"])
    assert sorted(name for half in runs.FAULT_HALVES.values() for name in half) == sorted(runs.FAULTS)


def test_what_faults_may_be_called_are_kinds():
    assert {kind for fault in runs.FAULTS.values() for kind in fault.kinds} <= set(KINDS)


@pytest.mark.parametrize(
    "recipe", [r for r in runs.recipes(24) if r.data == "digits" or r.data in ("colours", "waves")]
)
def test_healthy_runs_have_no_error(recipe):
    run = runs.run(recipe)
    report = trained(run, 4).report
    assert report.ok, str(report)


@pytest.mark.parametrize("name", [name for name in {**runs.TRAINING, **runs.NEW} if name not in UNSEEN])
def test_the_trainer_names_the_fault(name):
    fault = runs.FAULTS[name]
    recipe = RECIPE if fault.on == "labels" else runs.Recipe("mlp", "waves", "mse", "Adam", 3e-3)
    run = runs.faulty(recipe, fault)
    if run is None:
        pytest.skip("does not apply")
    report = trained(run, max(run.epochs if fault.late else 0, 5)).report
    assert len(report) and report[0].kind in fault.kinds, str(report)


def test_units_that_are_dead_in_a_network_that_learns_are_a_warning():
    """Zeros alone are no sign: 0.5 to 0.75 of a healthy layer; three quarters of one's filters dead are one."""
    train, _ = data.digits(scale=False)
    model = models.cnn((1, 8, 8), [[16], [32]], fc=[64], rng=0)
    model[3].bias.value[:25] = -1000
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    before = cconv.check(model, train.x, train.y, nn.CrossEntropyLoss(), optimizer=optimizer)
    trainer = cconv.Trainer(model, nn.CrossEntropyLoss(), optimizer, seed=0, progress=False)
    history = trainer.fit(train, 12)
    assert history[-1]["accuracy"] > 0.9
    for report in (before, trainer.report):
        assert report.ok and {"dead-units", "large-bias"} & set(report.kinds()), str(report)
