"""Networks ready to train, and a builder for the classic pattern. Each file reads as an example."""

from .builder import cnn
from .lenet import lenet5
from .resnet import resnet18, resnet20

__all__ = ["cnn", "lenet5", "resnet18", "resnet20"]
