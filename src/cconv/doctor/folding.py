"""Consequences folded under their cause: inputs too large, hence saturation, hence no gradients is one finding."""

from __future__ import annotations

from collections.abc import Iterable

from .findings import Finding
from .kinds import EFFECTS, SEVERITIES


def folded(findings: Iterable[Finding]) -> list[Finding]:
    """The root causes, each with what may follow from it; a cause is as severe as the worst that it explains.

    Parameters
    ----------
    findings : iterable of Finding
        In any order, each without consequences.
    """
    # A cause that was itself explained hands all on to its own cause: one level is what a reader wants.
    roots: list[Finding] = []
    for finding in sorted(findings, key=_nearness):
        cause = next((root for root in roots if _explains(root, finding)), None)
        if cause is None:
            roots.append(finding)
            continue
        cause.consequences.append(finding)
        if finding.severity != "note" and SEVERITIES.index(finding.severity) < SEVERITIES.index(cause.severity):
            cause.severity = finding.severity
    return roots


def _explains(root: Finding, finding: Finding) -> bool:
    """A note explains nothing that is worse, and what came with training nothing that was there before."""
    before = bool(root.step) and not finding.step
    return finding.kind in EFFECTS.get(root.kind, ()) and root.severity != "note" and not before


def _nearness(finding: Finding) -> tuple[bool, bool, float]:
    return finding.severity == "note", bool(finding.step), finding.rank[1]
