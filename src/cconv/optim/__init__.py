"""Optimisers, learning-rate schedules, clipping of gradients, averaging of weights. Their numbers are PyTorch's."""

from .adam import Adam, AdamW
from .clipping import clip_grad_norm
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .schedule import CosineAnnealingLR
from .sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm",
]
