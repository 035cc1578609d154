"""Train convolutional networks on CPUs.

::

    functional    operations on arrays: conv2d, max_pool2d, relu, ... and their gradients
    nn            layers, losses, initialisers
    optim         optimisers, schedules, clipping, averages of weights
    data          digits, optdigits, MNIST, Fashion-MNIST; IDX files; batches
    models        LeNet-5, ResNet-18 and ResNet-20, and networks of the pattern [[conv] * n -> pool] * m -> [linear] * k
    Trainer       the training loop: history, metrics, progress, callbacks, checkpoints to go on from
    check         what keeps a network from learning, said before training
    gradcheck     a layer's gradients against numerical ones
    reference     every operation of `functional` in pure Python, to read and to test against
"""

import importlib

from . import data, functional, models, nn, optim
from ._checks import FormatError
from ._random import manual_seed
from ._shapes import conv_output_size
from ._threads import get_num_threads, set_num_threads
from ._version import __version__
from .doctor import check, gradcheck
from .train import Checkpoint, Trainer

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
    "models",
    "nn",
    "optim",
    "reference",
    "set_num_threads",
]


def __getattr__(name: str):
    # The reference is for reading and tests: training scripts do not pay for its import.
    if name == "reference":
        return importlib.import_module(".reference", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
