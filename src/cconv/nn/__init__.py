"""Layers, containers, losses and initialisers, with PyTorch's names."""

from . import init
from .activation import Identity, LeakyReLU, ReLU, Sigmoid, Softplus, Tanh
from .containers import Residual, Sequential
from .conv import Conv1d, Conv2d, ConvTranspose2d
from .layer import Backward, Buffer, Layer, Parameter
from .linear import Flatten, Linear
from .loss import BCEWithLogitsLoss, CrossEntropyLoss, Loss, MSELoss
from .norm import BatchNorm1d, BatchNorm2d
from .pool import AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d
from .preprocess import Normalize, Rescale

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "Backward",
    "BatchNorm1d",
    "BatchNorm2d",
    "Buffer",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Flatten",
    "Identity",
    "Layer",
    "LeakyReLU",
    "Linear",
    "Loss",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "Normalize",
    "Parameter",
    "ReLU",
    "Rescale",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "init",
]
