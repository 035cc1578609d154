"""Monitor: looks at a sample of training steps, within a bound on time, and says what it finds."""

from __future__ import annotations

import contextlib
import copy
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ...data.rows import leaves, take
from ...nn.layer import Layer
from ...optim import Optimizer
from ..checkup import first_look
from ..experiment import Experiment
from ..findings import Finding, Report
from ..folding import folded
from ..kinds import BY_DEGREE, COURSE
from ..trace import NotFinite
from . import epochs, layers, losses
from .again import examined
from .course import Course
from .look import Look, Watcher
from .unwatched import NOT_NOW

# Of the time that training takes; and what may be spent beforehand, in seconds: training of one second earns it.
SHARE, CREDIT = 0.006, 0.014
_GAPS = 8  # looks at an epoch, at least
_OF_ALL_LABELS = ("target-constant", "class-imbalance")
_COMPARED = 4  # epochs after which validation inputs are compared: at first it may do no worse for it
_FIRST_BYTES = 2**22  # of the first batch that are kept
# Seconds that a search for causes is thought to take, beside some steps: to begin with, for each layer, and for the
# gradients of those of one's own.
_DIAGNOSIS, _EACH_LAYER, _THOROUGH = 1e-3, 4e-4, 0.1
_AGAIN = 0.5  # seconds for going through the first steps again, where nothing is learned
_SMALL = 32  # examples: of smaller batches the targets of each step are taken along
_FIRST = 2  # looks that come before it
_SEARCH = 0.02  # that finding the best constant output of any loss is thought to take
_LAST = 0.005  # that may be spent at the end of all


class Monitor:
    """Watches a model while it is trained.

    Its looks change no bit of what is trained. They come at the first steps, then more and more seldom, and never so
    often that they cost more than `SHARE` of the time.

    Parameters
    ----------
    every_step : bool
        Look at every step, however long that takes, and keep all looks.

    Attributes
    ----------
    kept : list of Look
        All of them, where every step is looked at.
    seconds : float
        Spent in looks and their judgement.
    total : float
        Seconds of training, these included.
    looks : int
    course : Course
    """

    def __init__(self, every_step: bool = False) -> None:
        self._every_step = every_step
        self.kept: list[Look] = []
        self._clip_norm: float | None = None
        self._began = self._at = 0  # batches that were done at first, and are by now
        self._task: list[int] = []  # what model, loss, optimizer and data are, to tell others from them
        self._given: tuple[Any, Any, Any] = (None, None, None)  # model, loss, optimizer
        self.course = Course()
        self.seconds = self.total = 0.0
        self.looks = 0
        self._looking = 0.0  # seconds of the looks alone
        self._begun = math.nan  # the call of fit in progress
        self._next = 1
        self._gap = 1
        self._watcher: Watcher | None = None
        self._start: Experiment | None = None  # copies, as they were before training
        self._batch: tuple[Any, ...] = ()  # of the first step, some examples
        self._diagnosed: list[Finding] | None = None
        self._thorough = False  # whether layers of one's own were checked, too
        self._seen: dict[str, Finding] = {}
        self._kinds: dict[str, set[str]] = {}  # that each judgement gave
        self._said: set[str] = set()
        self._say: Callable[[str], None] | None = None
        self._epochs = 0
        self._epoch: tuple[Sequence[dict[str, Any]], Any, Any] = ((), None, None)  # the last one: history and data
        self._collects = True  # targets
        self._weighed = False  # the best constant output of a loss that is not known
        self._compared = 0  # how often validation inputs were, with those of training
        self._examined = False  # the first steps, once more
        self._searched = False  # for validation examples among the training examples
        self._broken = False

    @property
    def report(self) -> Report:
        """What was found so far."""
        # The first batch knows little of how often a label occurs.
        counted = {"value", "most"} if self.course.apart else set()
        before = [
            self._settled(f)
            for f in self._diagnosed or ()
            if not (f.kind in _OF_ALL_LABELS and counted & set(f.evidence))
        ]
        during = {kind: self._settled(finding) for kind, finding in self._seen.items()}
        # What was wrong before the first step is not named twice; but step sizes are seen better in training.
        worst = {kind: min((f.rank for f in before if f.kind == kind), default=None) for kind in during}
        told = [f for f in during.values() if (w := worst[f.kind]) is None or f.rank < w or f.kind == "learning-rate"]
        named = {finding.kind for finding in told}
        settled = [*told, *(finding for finding in before if finding.kind not in named)]
        subject = f"{type(self._given[0]).__name__} after {self.course.steps} steps ({self.looks} looked at)"
        return Report(folded(settled), subject, self._start, layers.activities(self.course))

    def begin(
        self,
        model: Any,
        loss: Any,
        optimizer: Any,
        epoch_steps: int,
        say: Callable[[str], None] | None,
        batches: Callable[[int], list[tuple]],
        clip_norm: float | None,
        done: int = 0,
    ) -> None:
        """Training begins, or goes on after `done` batches; `say` prints a finding, `batches` gives the first n."""
        self._begun = time.perf_counter()
        task = [id(part) for part in (model, loss, optimizer, *getattr(batches, "data", ()))]
        if self._task and task != self._task:
            # What was seen of another network, loss or data says nothing of this.
            self.__dict__ |= vars(Monitor(self._every_step)) | {"seconds": self.seconds, "total": self.total}
            self._begun = time.perf_counter()
        self._task = task
        self.course.epoch_steps = epoch_steps
        self._say = say
        self._gap = 1
        self._next = self.course.steps + 1
        self._at = done
        with self._timed():
            self._given = model, loss, optimizer
            self._clip_norm = clip_norm
            if isinstance(model, Layer) and self._start is None and not self.course.steps:
                self._began = done
                # What can't be copied can be looked at all the same.
                with contextlib.suppress(Exception):
                    self._start = Experiment(model, loss, optimizer, batches, clip_norm)
            self._watcher = Watcher(model, optimizer) if isinstance(model, Layer) else None

    def watching(self) -> contextlib.AbstractContextManager[Look | None]:
        """The context of a step's forward and backward; it gives a Look for the steps that are looked at."""
        step = self.course.steps + 1
        if step < self._next or self._watcher is None:
            return NOT_NOW
        return self._watcher.watching(step) if self._affordable(step) else NOT_NOW

    def gradients(self, look: Look | None) -> None:
        """Gradients are there, and not used yet."""
        if look is not None and self._watcher is not None:
            with self._timed():
                self._watcher.gradients()

    def done(self, look: Look | None, count: int, loss: float, outputs: Any, batch: tuple[Any, ...]) -> None:
        """The weights have moved, after `count` batches, of which this is the first."""
        self._at += count
        try:
            self.course.step(loss)
            self.course.ends(batch[1])
            collects = self._collects and (look is not None or len(batch[1]) < _SMALL)
        except Exception as error:
            self._give_up(error)
            return
        if collects:
            with self._timed():
                self._collects = self.course.collect(outputs, batch[1])
        if look is None or self._watcher is None:
            return
        before = self.seconds
        spent, self._watcher.seconds = self._watcher.seconds, 0.0
        self.seconds += spent
        with self._timed():
            self._watcher.updated(outputs, batch[1])
            self.looks += 1
            if not self._batch:
                each = sum(array[:1].nbytes for _, array in leaves(batch[0]))
                few = slice(0, max(8, min(64, _FIRST_BYTES // max(each, 1))))
                self._batch = tuple(copy.deepcopy(take(part, few)) for part in batch)
            self.course.lr = float(getattr(self._given[2], "lr", 0.0))
            self.course.first_lr = self.course.first_lr or self.course.lr
            self.course.clip_norm = self._clip_norm
            self.course.decay = _decay(self._given[2])
            look.step = self._at
            self.course.add(look)
            if self._every_step:
                self.kept.append(look)
            self.course.weigh(self._given[1])
            if self.course.constant is None and self._room() > _SEARCH and not self._weighed:
                self._weighed = True
                self.course.weigh(self._given[1], search=True)
            if self.looks <= 2 * _FIRST or self.looks % 2 == 0:
                self._judge("looks", layers.findings(self.course, self._given[0]))
            longest = max(1, (self.course.epoch_steps or 8 * 64) // _GAPS)
            self._gap = min(2 * self._gap, longest) if self.looks > 2 else 1
        self._looking += self.seconds - before
        if self.looks >= _FIRST:
            with self._timed():
                self._diagnose_cheaply()
        self._next = self.course.steps + (1 if self._every_step else self._gap)

    def end_epoch(self, history: Sequence[dict[str, Any]], train: Any, held_out: Any) -> None:
        """An epoch is over, and in the history."""
        self._epochs += 1
        # An iterable tells its length by ending.
        self.course.epoch_steps = self.course.epoch_steps or self.course.steps
        self._epoch = history, train, held_out
        with self._timed():
            self._diagnose_cheaply()
            # Epochs of a step or two would be judged more than trained.
            if self._spare() > 0:
                self._judge_epoch(self._spare())

    def _judge_epoch(self, room: float) -> None:
        """What can be said at the end of an epoch, in so many seconds."""
        history, train, held_out = self._epoch
        self.course.weigh(self._given[1])
        self._judge("looks", layers.findings(self.course, self._given[0]))
        self._judge("losses", losses.findings(self.course, self._epochs))
        self._judge("epochs", epochs.overfitting(history, self.course))
        if held_out is not None and self._batch:
            if self._compared < _COMPARED:
                self._compared += 1
                self._judge("inputs", epochs.prepared(self._batch[0], train, held_out, history[-1], self.course))
            self._judge("numbered", epochs.numbered(history[-1], held_out, self.course))
            if not self._searched and room > epochs.price(train, held_out):
                self._searched = True
                self._judge("leak", epochs.leaked(train, held_out))

    def failed(self, found: NotFinite | None, loss: float) -> None:
        """A step met NaN or infinity, and was taken back."""
        with self._timed():
            lr = float(getattr(self._given[2], "lr", 0.0))
            self._judge("failed", [losses.broken(found, loss, self._at + 1, lr, first=not self.course.steps)])

    def end(self, whole: bool = True) -> None:
        """Training is over, or was broken off."""
        with self._timed():
            if self.course.steps and whole:
                if self.course.constant is None and not self._weighed:
                    self._weighed = True
                    self.course.weigh(self._given[1], search=True)
                if self._epoch[0]:
                    self._judge_epoch(max(_LAST, self._room()))
                self._examine()
                if self._seen or self.course.fails or self._room() > self._price():
                    self._diagnose(thorough=self.course.fails)
            elif self._seen:
                self._diagnose()
            self._tell(("error", "warning"))
        # What is written to is not kept, nor is the data.
        self._epoch, self._say = ((), None, None), None
        self.total += self._elapsed()
        self._begun = math.nan

    def _judge(self, of: str, findings: Iterable[Finding]) -> None:
        """Keep what is new, or worse than it was, and say what keeps the network from learning."""
        found = list(findings)
        if self.course.learns or of == "losses":
            # What is over, and did no lasting harm.
            for kind in self._kinds.get(of, set()) - {finding.kind for finding in found}:
                self._seen.pop(kind, None)
        for finding in found:
            self._kinds.setdefault(of, set()).add(finding.kind)
            finding.step = self._at + (of == "failed")
            before = self._seen.get(finding.kind)
            if before is None or finding.rank <= before.rank:
                if before is not None:
                    finding.step = before.step
                self._seen[finding.kind] = finding
        self._alarm()

    def _alarm(self) -> None:
        if any(finding.severity == "error" for finding in self._seen.values()) and not self._said:
            # Layers of one's own might be disturbed: they are looked at when training is over.
            if self._watcher is None or not self._watcher.own:
                self._diagnose()
            self._tell(("error",))

    def _diagnose(self, thorough: bool = False) -> None:
        """Look for causes in the first batch and in the network as it began: once, and thoroughly on an alarm."""
        alarm = any(finding.severity == "error" for finding in self._seen.values())
        thorough = thorough or alarm
        if self._start is None or not self._batch or (self._diagnosed is not None and self._thorough >= thorough):
            return
        x, y, *_ = self._batch
        self._diagnosed, self._thorough = self._diagnosed or [], thorough
        with contextlib.suppress(Exception):
            given = self._start.model, self._start.loss, self._start.optimizer
            self._diagnosed = first_look(*given, x, y, seconds=1.0 if alarm else _THOROUGH * thorough)

    def _examine(self) -> None:
        """Where nothing is learned and it was not seen why: go through the first steps again, once."""
        if self._examined or self._start is None or not self.course.fails or set(self._seen) - {*COURSE}:
            return
        self._examined = True
        if getattr(self._start.batches, "repeatable", False):
            with contextlib.suppress(Exception):
                seconds = max(_AGAIN, SHARE * self._elapsed())
                found = examined(self._start, seconds)
                for finding in found:
                    finding.step += self._began
                    self._seen.setdefault(finding.kind, finding)
                self._alarm()

    def _diagnose_cheaply(self) -> None:
        """The same without an alarm, where there is time for it, and no layer of one's own that it might disturb."""
        if self._watcher is None or self._watcher.own:
            return
        if self._diagnosed is None and self._room() > self._price():
            self._diagnose()
        elif not self._thorough and self._room() > 2 * self._price() + _THOROUGH:
            self._diagnose(thorough=True)

    def _price(self) -> float:
        """Seconds that a search for causes is thought to take."""
        layers = self._watcher.size if self._watcher is not None else 0
        return _DIAGNOSIS + _EACH_LAYER * layers + 2 * self._step_time()

    def _settled(self, finding: Finding) -> Finding:
        """What should keep a network from learning, and does not, is no error."""
        finding = copy.copy(finding)
        finding.consequences = []
        learned = self.course.learns and finding.kind != "not-finite"  # which ends a training
        if finding.severity == "error" and finding.kind in BY_DEGREE and learned:
            finding.severity = "warning"
        return finding

    def _tell(self, severities: tuple[str, ...]) -> None:
        for finding in self.report:
            if finding.severity in severities and finding.kind not in self._said:
                self._said.add(finding.kind)
                if self._say is not None:
                    self._say(str(finding))

    def _give_up(self, error: Exception) -> None:
        """Look no more; a warning that is an error must not end a training either."""
        self._watcher, self._next, self._collects = None, 2**62, False
        if not self._broken:
            self._broken = True
            with contextlib.suppress(Warning):
                warnings.warn(f"Trainer: the doctor gave up: {type(error).__name__}: {error}", stacklevel=3)

    def __getstate__(self) -> dict[str, Any]:
        # A copy begins its watch anew.
        return vars(self) | {"_say": None, "_watcher": None, "_epoch": ((), None, None)}

    def _elapsed(self) -> float:
        return time.perf_counter() - self._begun if self._begun == self._begun else 0.0

    def _room(self) -> float:
        """Seconds that may be spent now."""
        return CREDIT + SHARE * (self.total + self._elapsed()) - self.seconds

    def _spare(self) -> float:
        """The same, less what the search for causes will take, unless that is dear."""
        price = self._price() if self._diagnosed is None and self.looks >= _FIRST else 0.0
        return self._room() - (price if price < CREDIT else 0.0)

    def _affordable(self, step: int) -> bool:
        """Whether there is time for a look; if not, when there may be."""
        each = self._looking / max(self.looks, 1)
        room = self._spare()
        if room >= each or self._every_step or not self.looks:
            return True
        self._next = step + max(1, int((each - room) / (SHARE * max(self._step_time(), 1e-6))))
        return False

    def _step_time(self) -> float:
        return (self.total + self._elapsed()) / max(self.course.steps, 1)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        """Count the time, that of other processes apart; an error in here must not end a training."""
        begun = time.thread_time()
        try:
            with np.errstate(all="ignore"):
                yield
        except Exception as error:
            self._give_up(error)
        finally:
            self.seconds += time.thread_time() - begun


def _decay(optimizer: Any) -> float:
    groups = optimizer.param_groups if isinstance(optimizer, Optimizer) else ()
    return max((float(group.get("weight_decay", 0.0)) for group in groups), default=0.0)
