"""Cures by experiment: which of them would have helped."""

from __future__ import annotations

import contextlib
import copy
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from .._shapes import whole
from ..data.rows import each, joined, loss_options, size_of
from .constant import best_constant
from .cures import NotTried, changes, compiled
from .experiment import Experiment, Run
from .findings import Finding, Report

MOST, TOGETHER = 12, 6  # cures that are tried, and several of them at once
# By how much more of the way a cure must have gone to help; and what is enough for one.
HELPS, ENOUGH = 0.1, 0.5
_SIGMAS = 2.5
_LAST = 10  # steps whose mean is the last loss
_JUDGED = 10  # of the last batches, on which the best answer without a look at the input is found
_LINE, _CURE = 100, 54


@dataclass
class Trial:
    """A training with cures, or as it is.

    Attributes
    ----------
    cures : tuple of str
        Lines of code, run before the first step; () for the training as it is.
    kind : str
        Of the finding that gave the (first) cure; "" where it was not of one.
    losses : list of float
        Of each step's batch.
    first, last : float
        The first loss, and the mean of the last few.
    accuracy : float or None
        Share of right answers in the last few steps, where targets are classes.
    gain : float or None
        How much of the loss of the best output that does not look at the input is gone: ``1 - last / constant``.
    skill : float or None
        The same of accuracy: how far it is from always saying the largest class, to 1.
    chance : float
        How much skill a few examples may show by chance.
    diverged : bool
        Whether a loss was NaN or infinite, which ends the training.
    error : str
        What was raised, if a step did.
    helps : bool
        Whether it went clearly further than the training as it is.
    """

    cures: tuple[str, ...]
    kind: str
    losses: list[float]
    first: float = math.nan
    last: float = math.nan
    accuracy: float | None = None
    gain: float | None = None
    skill: float | None = None
    chance: float = 0.0
    diverged: bool = False
    error: str = ""
    helps: bool = False

    @property
    def cure(self) -> str:
        """The cures in one line."""
        return " + ".join(self.cures)

    @property
    def way(self) -> float:
        """How far it came, from 0, what can be had without a look at the input, to 1."""
        return 0.0 if self.failed else max(0.0, self._proven or 0.0, self.gain or 0.0)

    @property
    def _proven(self) -> float | None:
        return self.skill if self.skill is None or self.skill > self.chance else 0.0

    @property
    def failed(self) -> bool:
        return bool(self.error) or self.diverged

    @property
    def rank(self) -> tuple[bool, bool, float, float, float]:
        """What trials are sorted by."""
        gain = self.gain if self.gain is not None else -math.inf
        proven = self._proven
        skill = gain if proven is None else proven
        return bool(self.error), self.diverged, -skill, -gain, self.last

    def to_dict(self) -> dict[str, Any]:
        """Plain values; a loss that is not finite is written as a string."""
        return {
            "cure": self.cure,
            "cures": list(self.cures),
            "kind": self.kind,
            "first": _finite(self.first),
            "last": _finite(self.last),
            "accuracy": self.accuracy,
            "gain": self.gain,
            "skill": self.skill,
            "diverged": self.diverged,
            "error": self.error,
            "helps": self.helps,
            "losses": [_finite(loss) for loss in self.losses],
        }

    def __str__(self) -> str:
        return f"{self.cure or 'as it is'}: {self._outcome()}"

    def _outcome(self) -> str:
        if self.error:
            return self.error
        right = "" if self.accuracy is None else f", {self.accuracy:4.0%} right"
        ended = f", diverged in step {len(self.losses)}" if self.diverged else right
        return f"loss {_short(self.first)} -> {_short(self.last)}{ended}"


class Trials(Sequence):
    """Trainings with one cure each, and one as it is, from the same start on the same batches: the best first.

    Attributes
    ----------
    baseline : Trial
        As it is.
    best : Trial or None
        The first, if it helps.
    skipped : list of (str, str)
        Cures that could not be tried, and why.
    steps : int
    """

    def __init__(self, trials: Iterable[Trial], skipped: Iterable[tuple[str, str]], steps: int, title: str = ""):
        self._trials = sorted(trials, key=lambda trial: trial.rank)
        self.baseline = next(trial for trial in self._trials if not trial.cures)
        self.skipped = list(skipped)
        self.steps = steps
        self.title = title
        above = self._trials[: self._trials.index(self.baseline)]
        floor = max(self.baseline.way, self.baseline.skill or 0.0)
        for trial in above:
            trial.helps = not trial.failed and (bool(self.baseline.error) or trial.way >= floor + HELPS)

    @property
    def best(self) -> Trial | None:
        return next((trial for trial in self if trial.helps), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "steps": self.steps,
            "trials": [trial.to_dict() for trial in self],
            "skipped": [{"cure": cure, "why": why} for cure, why in self.skipped],
        }

    def to_json(self, indent: int | None = 2) -> str:
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def __len__(self) -> int:
        return len(self._trials)

    @overload
    def __getitem__(self, index: int) -> Trial: ...
    @overload
    def __getitem__(self, index: slice) -> list[Trial]: ...
    def __getitem__(self, index: int | slice) -> Trial | list[Trial]:
        return self._trials[index]

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials)

    def __str__(self) -> str:
        lines = [self.title] if self.title else []
        names = [_line(trial.cures) if trial.cures else "as it is" for trial in self]
        width = max(map(len, names))
        for name, trial in zip(names, self, strict=True):
            mark = "*" if not trial.cures else "+" if trial.helps else " "
            lines.append(_cut(f"{mark} {name + ':':{width + 1}} {trial._outcome()}", _LINE).rstrip())
        lines.append(self._verdict())
        if self.best is not None and _line(self.best.cures) != self.best.cure:
            lines[-1] += "; the best:"
            lines += [f"    {cure}" for cure in self.best.cures]
        lines += [_cut(f"not tried: {_line((cure,))} ({why})", _LINE) for cure, why in self.skipped]
        return "\n".join(lines)

    __repr__ = __str__

    def _verdict(self) -> str:
        alone = [trial.helps for trial in self if len(trial.cures) == 1]
        count = len(alone)
        if not count:
            return "there are no cures to try"
        if self.best is not None:
            if not any(alone):
                return "no cure helps by itself, and some do together (+)"
            return f"{sum(alone)} of {count} cures {'helps' if sum(alone) == 1 else 'help'} (+)"
        learns = "it learns as it is: " if self.baseline.way > ENOUGH else ""
        which = "the cure does not help" if count == 1 else f"none of the {count} cures helps"
        return f"{learns}{which} within {self.steps} step{'s' if self.steps > 1 else ''}"


def try_cures(report: Report, experiment: Experiment, steps: int, cures: Iterable[str] | None) -> Trials:
    """What `Report.try_cures` does."""
    steps = whole("Report.try_cures", "steps", steps, 1)
    if isinstance(cures, str):
        raise TypeError(
            f"Report.try_cures: cures must be a sequence of lines of code, got {cures!r}: put it into a list"
        )
    bench = _Bench(experiment, steps)
    baseline = bench.trial((), "")
    skipped: list[tuple[str, str]] = []
    tried: list[tuple[Trial, Any]] = []  # with what it was found for
    for cure, finding in _candidates(report, cures):
        if len(tried) >= MOST:
            break
        try:
            trial = bench.trial((cure,), finding.kind if finding else "")
        except NotTried as reason:
            skipped.append((cure, str(reason)))
            continue
        if not changes(cure) and trial.losses == baseline.losses and trial.error == baseline.error:
            skipped.append((cure, "it makes no difference"))
            continue
        tried.append((trial, finding if finding is not None else cure))
    trials = [baseline, *(trial for trial, _ in tried)]
    trials += bench.in_turn(tried) if all(trial.error for trial in trials) else bench.together(baseline, tried)
    title = f"{steps} step{'s' if steps > 1 else ''} from the same start, as it is (*) and with each cure"
    return Trials(trials, skipped, steps, f"{title}; {experiment.method}")


def _candidates(report: Report, cures: Iterable[str] | None) -> Iterator[tuple[str, Finding | None]]:
    """(cure, finding), each cure once: of causes before those of consequences. What only looks is left out."""
    if cures is None:
        below = (consequence for finding in report for consequence in finding.consequences)
        given: list[tuple[str, Finding | None]] = [(c, finding) for finding in (*report, *below) for c in finding.cures]
    else:
        given = [(cure, None) for cure in cures]
    seen = set()
    for cure, finding in given:
        if cure not in seen:
            seen.add(cure)
            try:
                compiled(cure)
            except NotTried as reason:
                if str(reason) == "it only looks":
                    continue
            yield cure, finding


def _again(cures: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether both set the optimiser, the second over the first."""
    return all("optimizer" in {name for cure in given for name in compiled(cure)[0]} for given in (cures, others))


class _Bench:
    """Runs, and what they came to."""

    def __init__(self, experiment: Experiment, steps: int):
        self._experiment = experiment
        self._steps = steps
        self._constants: dict[Any, float | None] = {}

    def trial(self, cures: tuple[str, ...], kind: str) -> Trial:
        """Train with cures; raises NotTried."""
        run = self._experiment.run(self._steps, cures)
        trial = Trial(cures, kind, run.losses, error=run.error)
        if not run.losses:
            return trial
        trial.diverged = run.diverged
        last = max(1, min(_LAST, self._steps // 5))
        trial.first, trial.last = run.losses[0], float(np.mean(run.losses[-last:]))
        if trial.failed:
            return trial
        if len(run.right) == len(run.losses):
            trial.accuracy = float(np.mean(run.right[-last:]))
            counts = np.unique(np.concatenate(run.labels[-_JUDGED:]), return_counts=True)[1]
            most = float(counts.max() / counts.sum())
            if most == 1:
                return trial  # sorted batches: to say this class alone is no skill
            trial.skill = (trial.accuracy - most) / (1 - most)
            size = sum(labels.size for labels in run.labels[-last:])
            trial.chance = max(HELPS, _SIGMAS * math.sqrt(most / (1 - most) / size))
        constant = self._constant(run, cures)
        if constant is not None and constant > 1e-12:
            trial.gain = 1 - trial.last / constant
        return trial

    def _constant(self, run: Run, cures: tuple[str, ...]) -> float | None:
        """The loss of the best constant output; the same where neither loss nor targets are touched."""
        touched = tuple(cure for cure in cures if {"loss", "y"} & compiled(cure)[0])
        outputs = run.outputs
        key = touched, getattr(outputs, "shape", None)
        if key not in self._constants or not isinstance(outputs, np.ndarray):
            self._constants[key] = _constant(run.setting.loss, outputs, run.setting.batches[-_JUDGED:])
        return self._constants[key]

    def together(self, baseline: Trial, tried: list[tuple[Trial, Any]]) -> list[Trial]:
        """Cures of different findings at once, where none is enough: the best, with each of those after it.

        Where none helps, each may need the other, and the likeliest root cause comes first.
        """
        runs = [pair for pair in tried if not pair[0].error]
        found: list[Trial] = []
        if not runs:
            return found
        ranked = sorted(runs, key=lambda pair: pair[0].rank)
        best = ranked[0][0]
        helps = best.way >= baseline.way + HELPS
        order = ranked if helps else runs
        first, finding = order[0]
        cures, used = first.cures, [finding]
        while best.way < ENOUGH and len(found) < TOGETHER:
            round_: list[tuple[Trial, Any]] = []
            for other, finding in order:
                if any(finding is each for each in used) or _again(other.cures, cures):
                    continue
                if len(round_) < TOGETHER // 2:
                    with contextlib.suppress(NotTried):
                        round_.append((self.trial((*cures, *other.cures), first.kind), finding))
            if not round_:
                break
            found += [trial for trial, _ in round_]
            trial, finding = min(round_, key=lambda pair: pair[0].rank)
            if trial.way < best.way + HELPS:
                break
            best, cures, used = trial, trial.cures, [*used, finding]
        return found

    def in_turn(self, tried: list[tuple[Trial, Any]]) -> list[Trial]:
        """Where nothing runs, the first cure of each finding, more and more of them, until it runs."""
        cures: tuple[str, ...] = ()
        seen: list[Any] = []
        for trial, finding in tried:
            if any(finding is each for each in seen):
                continue
            seen.append(finding)
            try:
                both = self.trial((*cures, *trial.cures), tried[0][0].kind)
            except NotTried:
                continue
            cures = both.cures
            if not both.error:
                return [both]
        return []


def _constant(loss: Any, outputs: Any, batches: list[tuple]) -> float | None:
    """The loss of the best constant output, for batches together, as that of one of them."""
    together = tuple(joined(parts) for parts in zip(*batches, strict=True))
    found = best_constant(loss, _repeated(outputs, together), together[1], **loss_options(list(together[2:])))
    if found is None:
        return None
    # A sum grows with its batch; a mean does not.
    try:
        whole, *parts = (_value(loss, outputs, batch) for batch in (together, *batches))
    except Exception:
        return None
    return found * float(np.mean(parts)) / whole if whole else found


def _value(loss: Any, outputs: Any, batch: tuple) -> float:
    _, y, *weight = batch
    with np.errstate(all="ignore"):
        return float(np.mean(copy.deepcopy(loss).forward(_repeated(outputs, batch), y, **loss_options(weight))[0]))


def _repeated(outputs: Any, batch: tuple) -> Any:
    """The first output, for each example."""
    return each(lambda array: np.repeat(array[:1], size_of(batch[1]), 0), outputs)


def _short(value: float) -> str:
    return f"{value:6.3g}".rstrip() if abs(value) < 1e4 else f"{value:6.1e}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _line(cures: tuple[str, ...]) -> str:
    """Cures in a line: of one that is too long, the beginning and the end."""
    room = (_CURE - 3 * (len(cures) - 1)) // len(cures)
    head = (room - 3) // 2
    parts = [c if len(c) <= room else f"{c[:head]}...{c[head + 3 - room :]}" for c in cures]
    return " + ".join(parts if len(" + ".join(cures)) > _CURE else cures)


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
