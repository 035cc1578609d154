"""Training loops.

trainer.py     Trainer: fit, evaluate, predict
fit.py         the epochs of one call of fit
step.py        one update of the weights, or none
sources.py     what is trained on, as batches of a numbered epoch
state.py       all that a continued run needs
checkpoint.py  the folder that it is kept in
resume.py      where a call of fit begins
interrupt.py   Ctrl-C
metrics.py     accuracy, and figures of metrics over many batches
history.py     History: what fit returns
progress.py    a bar on a terminal, lines elsewhere
callbacks.py   early stopping, best weights; logs.py: figures written down; figures.py: those that callbacks look at
lr_finder.py   the learning-rate range test
predict.py     prediction in batches, within a bound on memory
"""

from .callbacks import BestWeights, EarlyStopping
from .checkpoint import Checkpoint
from .history import History
from .logs import JsonLines, TensorBoard
from .lr_finder import LRCurve, find_lr
from .predict import predict
from .trainer import Trainer

__all__ = [
    "BestWeights",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "JsonLines",
    "LRCurve",
    "TensorBoard",
    "Trainer",
    "find_lr",
    "predict",
]
