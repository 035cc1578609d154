"""The doctor: checks that say whether a network computes what its author thinks, and what keeps it from learning.

check.py       check: data, network, loss and start, before training (checks/ has a subject a file)
findings.py    Finding, Report; kinds.py has the words for kinds, folding.py what follows from what
gradcheck.py   gradcheck: a layer's gradients against numerical ones (report.py: its report; slips/: how they
              are wrong)
experiment.py  Experiment: a training again from its start (descent.py: its loop)
cures.py       lines of code, run before it; trials.py ranks what they did
series.py      activations and gradients over steps; figure.py draws them
watch.py       the calls of a step, forward and backward; trace.py: where NaN or infinity begins
"""

from .check import check
from .findings import Finding, Report
from .gradcheck import GradcheckReport, gradcheck
from .kinds import KINDS
from .slips import Diagnosis
from .trials import Trial, Trials

__all__ = ["KINDS", "Diagnosis", "Finding", "GradcheckReport", "Report", "Trial", "Trials", "check", "gradcheck"]
