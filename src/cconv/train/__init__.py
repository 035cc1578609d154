"""Training loops.

trainer.py     Trainer: epochs, validation, callbacks
step.py        one update of the weights, or none
sources.py     what is trained on, as batches of a numbered epoch
state.py       all that a continued run needs
checkpoint.py  the folder that it is kept in
interrupt.py   Ctrl-C
metrics.py     accuracy, and running means of metrics
history.py     History: what fit returns
progress.py    a bar on a terminal, lines elsewhere
"""

from .checkpoint import Checkpoint
from .history import History
from .trainer import Trainer

__all__ = ["Checkpoint", "History", "Trainer"]
