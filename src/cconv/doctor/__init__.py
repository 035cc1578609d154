"""The doctor: checks that say whether a network computes what its author thinks."""

from .gradcheck import GradcheckReport, gradcheck
from .slips import Diagnosis

__all__ = ["Diagnosis", "GradcheckReport", "gradcheck"]
