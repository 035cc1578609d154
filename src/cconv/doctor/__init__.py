"""The doctor: checks that say whether a network computes what its author thinks, and what keeps it from learning.

checkup.py     check: data, network, loss and start, before training (checks/ has a subject a file)
findings.py    Finding, Report; kinds.py has the words for kinds, folding.py what follows from what
gradients.py   gradcheck: a layer's gradients against numerical ones (report.py: its report; slips/: how they
              are wrong)
experiment.py  Experiment: a training again from its start (descent.py: its loop)
cures.py       lines of code, run before it; trials.py ranks what they did
monitor/       the doctor during training
series.py      activations and gradients over steps; figure.py draws them
watch.py       the calls of a step, forward and backward; trace.py: where NaN or infinity begins
"""

import importlib
from typing import TYPE_CHECKING, Any

from .findings import Finding, Report
from .kinds import KINDS

if TYPE_CHECKING:
    from .checkup import check
    from .gradients import GradcheckReport, gradcheck
    from .slips import Diagnosis
    from .trials import Trial, Trials

__all__ = ["KINDS", "Diagnosis", "Finding", "GradcheckReport", "Report", "Trial", "Trials", "check", "gradcheck"]

# A training that goes well does not pay for the import of these; no file has the name of what is in it.
_LATER = {
    "check": "checkup",
    "gradcheck": "gradients",
    "GradcheckReport": "gradients",
    "Diagnosis": "slips",
    "Trial": "trials",
    "Trials": "trials",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
