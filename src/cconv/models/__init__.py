"""Networks ready to train, and a builder for the classic pattern. Each file reads as an example."""

from .builder import cnn
from .lenet import lenet5

__all__ = ["cnn", "lenet5"]
