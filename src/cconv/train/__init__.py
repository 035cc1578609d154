"""Training loops.

trainer.py    Trainer: epochs, validation, callbacks
metrics.py    accuracy, and running means of metrics
history.py    History: what fit returns
progress.py   a bar on a terminal, lines elsewhere
"""

from .history import History
from .trainer import Trainer

__all__ = ["History", "Trainer"]
