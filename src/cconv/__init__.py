"""Train convolutional networks on CPUs.

::

    functional    operations on arrays: conv2d, max_pool2d, relu, ... and their gradients
    nn            layers, losses, initialisers
    optim         optimisers, schedules, clipping, averages of weights
    data          digits, MNIST, Fashion-MNIST, CIFAR, folders of pictures; loaders, samplers, augmentation
    models        LeNet-5, VGG, ResNets, MobileNets, U-Net, and networks of the pattern
                  [[conv] * n -> pool] * m -> [linear] * k
    Trainer       the training loop: history, metrics, progress, callbacks, checkpoints to go on from
    train         what goes with it: early stopping, best weights, logs, a learning-rate range test, batched prediction
    metrics       precision, recall, F1, confusion matrix and their kin, of labels and over batches
    check         what keeps a network from learning, said before training
    gradcheck     a layer's gradients against numerical ones
    reference     every operation of `functional` in pure Python, to read and to test against
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import data, functional, metrics, models, nn, optim, train
from ._checks import FormatError
from ._random import manual_seed
from ._shapes import conv_output_size
from ._threads import get_num_threads, set_num_threads
from ._version import __version__
from .train import Checkpoint, Trainer

if TYPE_CHECKING:
    from .doctor import check, gradcheck

__all__ = [
    "Checkpoint",
    "FormatError",
    "Trainer",
    "__version__",
    "check",
    "conv_output_size",
    "data",
    "functional",
    "get_num_threads",
    "gradcheck",
    "manual_seed",
    "metrics",
    "models",
    "nn",
    "optim",
    "reference",
    "set_num_threads",
    "train",
]


def __getattr__(name: str) -> Any:
    # Training scripts do not pay for the import of what is for reading, for tests, and for trouble.
    if name == "reference":
        return importlib.import_module(".reference", __name__)
    if name in ("check", "gradcheck"):
        return getattr(importlib.import_module(".doctor", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
