"""Findings of the doctor, as data: what was seen, why, what to do about it; and the report that holds them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from .._shapes import whole
from .activity import Activity, table
from .kinds import KINDS, SEVERITIES, order_of

if TYPE_CHECKING:
    from .experiment import Experiment
    from .trials import Trials

_PAGE = "docs/doctor.md"
_SHOWN = 3  # consequences that a printed finding lists
_CURES = 2


@dataclass
class Finding:
    """One thing that keeps a network from learning, with all that follows from it.

    Attributes
    ----------
    kind : str
        What it is, in one of the words of `cconv.doctor.KINDS`; it does not change between versions.
    severity : {"error", "warning", "note"}
        An error keeps the network from learning, or makes it learn something else than was meant; a warning makes it
        learn worse; a note is worth knowing.
    cause : str
        A sentence: what is wrong, where, and the numbers that show it.
    cures : tuple of str
        Lines of code to paste, the best first.
    layer : str
        The path of the layer, as in ``model.named_layers()``; "" for data, loss, or the model as a whole.
    step : int
        The step of training at which it was seen; 0 before training.
    evidence : dict of str to number
    consequences : list of Finding
        What was seen besides, and goes away with the cause.
    """

    kind: str
    severity: str
    cause: str
    cures: tuple[str, ...] = ()
    layer: str = ""
    step: int = 0
    evidence: dict[str, Any] = field(default_factory=dict)
    consequences: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Finding: kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.severity not in SEVERITIES:
            raise ValueError(f"Finding: severity must be one of {', '.join(SEVERITIES)}, got {self.severity!r}")
        self.cures = tuple(self.cures)
        self.evidence = {name: _plain(value) for name, value in self.evidence.items()}

    @property
    def link(self) -> str:
        """Where the docs explain it."""
        return f"{_PAGE}#{self.kind}"

    @property
    def rank(self) -> tuple[int, float]:
        """What findings are sorted by: severity, then nearness to the root of causes."""
        return SEVERITIES.index(self.severity), order_of(self.kind, self.step)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; a number that is not finite is written as a string."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "layer": self.layer,
            "step": self.step,
            "cause": self.cause,
            "cures": list(self.cures),
            "evidence": {name: _writable(value) for name, value in self.evidence.items()},
            "link": self.link,
            "consequences": [finding.to_dict() for finding in self.consequences],
        }

    def __str__(self) -> str:
        lines = [f"{self.severity}: {self.cause}"]
        if self.consequences:
            more = len(self.consequences) - _SHOWN
            told = "; ".join(finding.cause for finding in self.consequences[:_SHOWN])
            lines.append(f"  so: {told}{f'; and {more} more' if more > 0 else ''}")
        cures = "   or   ".join(self.cures[:_CURES])
        lines.append(f"  try: {cures}   ({self.link})" if cures else f"  see {self.link}")
        return "\n".join(lines)


class Report(Sequence):
    """What the doctor found: a sequence of findings, the likeliest root cause first.

    It is true in a condition if there is no error among them. Print it to read it.

    Parameters
    ----------
    findings : iterable of Finding
    subject : str
        What was looked at, for the first line.
    experiment : Experiment, optional
        The training that it is about, for `try_cures` and `plot`.
    layers : sequence of Activity
        What each layer did when it was looked at last.

    Attributes
    ----------
    ok : bool
        Whether no finding is an error.
    errors, warnings, notes : list of Finding
    """

    def __init__(
        self,
        findings: Iterable[Finding] = (),
        subject: str = "",
        experiment: Experiment | None = None,
        layers: Sequence[Activity] = (),
    ):
        self.layers = list(layers)
        self._findings = sorted(findings, key=lambda finding: finding.rank)
        self.subject = subject
        self.experiment = experiment

    @property
    def ok(self) -> bool:
        return not self.errors

    @property
    def errors(self) -> list[Finding]:
        return self._of("error")

    @property
    def warnings(self) -> list[Finding]:
        return self._of("warning")

    @property
    def notes(self) -> list[Finding]:
        return self._of("note")

    def kinds(self) -> list[str]:
        """The kind of each finding, in order, each followed by those of its consequences."""
        return [kind for finding in self for kind in (finding.kind, *(below.kind for below in finding.consequences))]

    def to_json(self, indent: int | None = 2) -> str:
        """All of it as JSON: ``{"ok": ..., "subject": ..., "findings": [...], "layers": [...]}``."""
        import json

        told = {"ok": self.ok, "subject": self.subject, "findings": [finding.to_dict() for finding in self]}
        told["layers"] = [each.to_dict() for each in self.layers]
        return json.dumps(told, indent=indent, allow_nan=False)

    def table(self) -> str:
        """A line for each layer with weights and each activation: the numbers of `layers`, of a Trainer's report."""
        return table(self.layers)

    def try_cures(self, steps: int = 50, cures: Iterable[str] | None = None) -> Trials:
        """Train for some steps from the start, as it is and with each cure, and see which of them help.

        All runs begin alike and see the same batches; model, data and random generators stay as they are. Where no
        cure is enough by itself, some are tried together.

        Parameters
        ----------
        steps : int
        cures : iterable of str, optional
            Lines of code over ``model``, ``x``, ``y``, ``loss``, ``optimizer``, ``trainer``, ``nn``, ``optim``, ``np``
            and ``cconv``; by default those of the findings and of their consequences, at most 12.

        Returns
        -------
        Trials
            The best first. Print it.

        Raises
        ------
        ValueError
            If the report is of no training.
        """
        from .trials import try_cures

        return try_cures(self, self._training("try_cures"), steps, cures)

    def plot(self, steps: int = 50) -> Any:
        """Draw the loss and, layer by layer, histograms of activations and gradients over some steps of the training.

        Layers with parameters and activations are drawn, at most 12 chosen evenly; those that findings name are among
        them, in red. Model, data and random generators stay as they are.

        Parameters
        ----------
        steps : int

        Returns
        -------
        matplotlib.figure.Figure
            ``report.plot().savefig("doctor.png")`` saves it.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the report is of no training, or a step of it raises.
        """
        from .figure import figure
        from .series import series

        experiment = self._training("plot")
        below = (consequence for finding in self for consequence in finding.consequences)
        named: dict[str, list[str]] = {}
        for finding in (*self, *below):
            if finding.layer and finding.severity != "note":
                named.setdefault(finding.layer, []).append(finding.kind)
        told = {path: ", ".join(dict.fromkeys(kinds)) for path, kinds in named.items()}
        steps = whole("Report.plot", "steps", steps, 1)
        return figure(series(experiment, steps, told), f"{steps} steps of {experiment.method}", told)

    def _training(self, where: str) -> Experiment:
        if self.experiment is None:
            raise ValueError(
                f"Report.{where}: the report has no experiment: that of cconv.check has one, and that of a Trainer "
                "which made the first step"
            )
        return self.experiment

    def _of(self, severity: str) -> list[Finding]:
        return [finding for finding in self._findings if finding.severity == severity]

    def __bool__(self) -> bool:
        return self.ok

    def __len__(self) -> int:
        return len(self._findings)

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> list[Finding]: ...
    def __getitem__(self, index: int | slice) -> Finding | list[Finding]:
        return self._findings[index]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    def __str__(self) -> str:
        counts = [
            f"{len(found)} {name if len(found) == 1 else f'{name}s'}"
            for name, found in (("error", self.errors), ("warning", self.warnings), ("note", self.notes))
            if found
        ]
        title = f"{self.subject}: " if self.subject else ""
        return "\n".join([f"{title}{', '.join(counts) or 'nothing wrong found'}", *map(str, self)])

    __repr__ = __str__


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value


def _writable(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_writable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)
