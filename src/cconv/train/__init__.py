"""Training loops.

trainer.py     Trainer: fit, evaluate, predict
fit.py         the epochs of one call of fit
step.py        one update of the weights, or none
sources.py     what is trained on, as batches of a numbered epoch
state.py       all that a continued run needs
checkpoint.py  the folder that it is kept in
resume.py      where a call of fit begins
interrupt.py   Ctrl-C
metrics.py     accuracy, and running means of metrics
history.py     History: what fit returns
progress.py    a bar on a terminal, lines elsewhere
"""

from .checkpoint import Checkpoint
from .history import History
from .trainer import Trainer

__all__ = ["Checkpoint", "History", "Trainer"]
