"""The doctor during training.

monitor.py     Monitor: which steps are looked at, within which time, and what is said of them
look.py        a look at one step: numbers of layers, gradients and weights
unwatched.py   in their place, where there is nothing to look at
course.py      the losses so far, and whether anything is learned
again.py       the first steps once more, where nothing is learned and it was not seen why
layers.py      what looks say; losses.py: what the losses say; epochs.py: what epochs and validation say
"""

from .look import Look
from .monitor import Monitor
from .unwatched import Unwatched

__all__ = ["Look", "Monitor", "Unwatched"]
