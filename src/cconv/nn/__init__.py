"""Layers, containers, losses and initialisers, with PyTorch's names."""

from . import init
from .activation import Identity, LeakyReLU, ReLU, Sigmoid, Softplus, Tanh
from .containers import Sequential
from .conv import Conv2d
from .layer import Backward, Buffer, Layer, Parameter
from .linear import Flatten, Linear
from .loss import BCEWithLogitsLoss, CrossEntropyLoss, Loss, MSELoss
from .pool import AvgPool2d, MaxPool2d
from .preprocess import Normalize, Rescale

__all__ = [
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "Backward",
    "Buffer",
    "Conv2d",
    "CrossEntropyLoss",
    "Flatten",
    "Identity",
    "Layer",
    "LeakyReLU",
    "Linear",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "Normalize",
    "Parameter",
    "ReLU",
    "Rescale",
    "Sequential",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "init",
]
