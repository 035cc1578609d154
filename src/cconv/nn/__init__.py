"""Layers, containers, losses and initialisers, with PyTorch's names."""

from . import init
from .activation import Identity, LeakyReLU, ReLU, Sigmoid, Softplus, Tanh
from .containers import Residual, Sequential
from .conv import Conv2d
from .layer import Backward, Buffer, Layer, Parameter
from .linear import Flatten, Linear
from .loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from .norm import BatchNorm1d, BatchNorm2d
from .pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from .preprocess import Normalize, Rescale

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Backward",
    "BatchNorm1d",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "CrossEntropyLoss",
    "Flatten",
    "HuberLoss",
    "Identity",
    "L1Loss",
    "Layer",
    "LeakyReLU",
    "Linear",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "NLLLoss",
    "Normalize",
    "Parameter",
    "ReLU",
    "Rescale",
    "Residual",
    "Sequential",
    "Sigmoid",
    "SmoothL1Loss",
    "Softplus",
    "Tanh",
    "init",
]
