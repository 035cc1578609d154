"""The doctor: checks that say whether a network computes what its author thinks."""

from .gradcheck import GradcheckReport, gradcheck

__all__ = ["GradcheckReport", "gradcheck"]
