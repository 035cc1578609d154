"""Optimisers, learning-rate schedules, clipping of gradients, averaging of weights. Their numbers are PyTorch's."""

from .adam import Adam, AdamW
from .averaging import EMA
from .clipping import clip_grad_norm, clip_grad_value
from .combined import ChainedScheduler, SequentialLR
from .optimizer import Optimizer
from .plateau import ReduceLROnPlateau
from .rmsprop import RMSprop
from .schedule import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    Schedule,
    StepLR,
)
from .sgd import SGD

__all__ = [
    "EMA",
    "SGD",
    "Adam",
    "AdamW",
    "ChainedScheduler",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm",
    "clip_grad_value",
]
