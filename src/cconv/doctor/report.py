"""What `gradcheck` found, and its table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from textwrap import wrap

from .slips import Diagnosis

# Parameters up to this size are shown value by value, of other arrays the worst few.
_SHOWN_WHOLE = 64
_WORST = 3
_WIDTH = 118


@dataclass(frozen=True)
class Entry:
    """One value's gradient, by the layer and by differences."""

    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float


@dataclass(frozen=True)
class ArrayCheck:
    """The entries checked of one array, "x" or a parameter's path; `kinks` more were left out."""

    name: str
    shape: tuple[int, ...]
    entries: list[Entry]
    kinks: int

    @property
    def max_error(self) -> float:
        return max((entry.error for entry in self.entries), default=0.0)

    @property
    def unseen(self) -> bool:
        """Whether kinks left nothing to check."""
        return self.kinks > 0 and not self.entries


class GradcheckReport:
    """The result of `gradcheck`: true in a condition if every gradient is right.

    Attributes
    ----------
    ok : bool
    max_error : float
        The largest relative error of all.
    errors : dict of str to float
        The largest relative error of the input ("x") and of each parameter, by path.
    arrays : list of ArrayCheck
        With each entry's analytic and numerical gradient.
    kinks : int
        Entries left out because the function has no derivative there.
    problems : list of str
        Other breaches of what `Layer.forward` promises.
    tolerance : float
    diagnosis : list of Diagnosis
        How the gradients are wrong: layer, array, slip, words, hint, and how well the slip explains the values; the
        likeliest first, several for one array where more than one slip explains it. Empty for a right layer.
    remarks : list of str
        What is no error, and may become one: a layer that keeps on itself what its backward needs.
    """

    def __init__(self, layer: str, arrays: list[ArrayCheck], problems: list[str], tolerance: float):
        self.arrays = arrays
        self.tolerance = tolerance
        self.problems = problems + [
            f"{a.name}: all {a.kinks} entries lie on kinks: give another x, without zeros and ties"
            for a in arrays
            if a.unseen
        ]
        self.errors = {a.name: a.max_error for a in arrays}
        self.max_error = max(self.errors.values(), default=0.0)
        self.kinks = sum(a.kinks for a in arrays)
        self.ok = not self.problems and self.max_error <= tolerance
        self.diagnosis: list[Diagnosis] = []
        self.remarks: list[str] = []
        self._layer = layer

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "not ok"
        width = max([len("array"), *(len(a.name) for a in self.arrays)])
        shapes = max([len("shape"), *(len(str(a.shape)) for a in self.arrays)])
        lines = [
            f"gradcheck of {self._layer}",
            f"{verdict}: largest relative error {self.max_error:.1e}, tolerance {self.tolerance:.0e}",
            *self.problems,
            *self._findings(),
            *(
                line
                for remark in self.remarks
                for line in ("", *wrap(f"remark: {remark}", _WIDTH, subsequent_indent="  "))
            ),
            "",
            f"{'array':<{width}}  {'shape':<{shapes}}  checked  on kinks  largest error",
        ]
        for a in self.arrays:
            mark = "" if a.max_error <= self.tolerance else "  WRONG"
            counts = f"{len(a.entries):>7}  {a.kinks:>8}"
            lines.append(f"{a.name:<{width}}  {a.shape!s:<{shapes}}  {counts}  {a.max_error:>13.1e}{mark}")
        for a in self.arrays:
            lines += self._entries(a)
        return "\n".join(lines)

    __repr__ = __str__

    def _findings(self) -> list[str]:
        """At most three lines for each slip: where and what, and what to write instead."""
        grouped: dict[tuple[str, ...], list[Diagnosis]] = {}
        for d in self.diagnosis:
            grouped.setdefault((d.layer, d.kind, d.slip, d.text, d.hint), []).append(d)
        lines: list[str] = []
        named: set[tuple[str, str]] = set()
        for (layer, kind, _, text, hint), same in grouped.items():
            arrays = ", ".join(d.array for d in same if d.array)
            where = f"{layer} ({kind})" if layer else kind
            # A second name for what has one already is an alternative.
            again = all((layer, d.array) in named and d.array for d in same)
            named |= {(layer, d.array) for d in same}
            start = (
                f"{'or ' if again else ''}{where}{': ' + arrays if arrays and not text.startswith(arrays) else ''}: "
            )
            told = wrap(start + text, _WIDTH, subsequent_indent="  ")
            fix = wrap(f"-> {hint}", _WIDTH, initial_indent="  ", subsequent_indent="     ") if hint else []
            lines += (told + fix)[:3] if len(told) < 3 else [*told[:2], *fix[:1]]
        return ["", *lines] if lines else []

    def _entries(self, array: ArrayCheck) -> list[str]:
        entries, title = array.entries, array.name
        whole = array.name != "x" and math.prod(array.shape) == len(entries) + array.kinks <= _SHOWN_WHOLE
        if not whole and len(entries) > _WORST:
            entries = sorted(entries, key=lambda entry: -entry.error)[:_WORST]
            title = f"{array.name}, the {_WORST} worst"
        if not entries:
            return []
        width = max(len("index"), *(len(str(entry.index)) for entry in entries))
        lines = ["", title, f"  {'index':<{width}}  {'analytic':>14}  {'numeric':>14}  relative error"]
        for e in entries:
            mark = "" if e.error <= self.tolerance else "  WRONG"
            lines.append(f"  {e.index!s:<{width}}  {e.analytic:>14.7g}  {e.numeric:>14.7g}  {e.error:>14.1e}{mark}")
        return lines
