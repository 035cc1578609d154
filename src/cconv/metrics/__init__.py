"""How good predictions are.

scores.py    functions of labels, with scikit-learn's names, arguments and numbers
running.py   the same over many batches: objects with update and compute, which `Trainer` takes as metrics
"""

from .running import F1, ConfusionMatrix, Precision, Recall, RunningMetric, TopKAccuracy
from .scores import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
    top_k_accuracy_score,
)

__all__ = [
    "F1",
    "ConfusionMatrix",
    "Precision",
    "Recall",
    "RunningMetric",
    "TopKAccuracy",
    "accuracy_score",
    "confusion_matrix",
    "f1_score",
    "precision_recall_fscore_support",
    "precision_score",
    "recall_score",
    "top_k_accuracy_score",
]
