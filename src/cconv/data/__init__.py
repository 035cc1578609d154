"""Data sets, files of pictures, batches, and augmentation.

loader.py         Loader: the batches of every epoch; sampled, augmented, prepared ahead by a thread
prefetch.py       Prefetch: batches of any iterable, prepared ahead by a thread
samplers.py       BalancedSampler, WeightedSampler: which examples an epoch holds
augment.py        random changes to images; transform.py: how they are made, several in one; _geometry.py: what they
                  consist of
batches.py        the batches of one epoch in an order that a seed fixes
dataset.py        Dataset: examples and labels, arrays or tuples and dicts of them (rows.py)
split.py          split a set in two; mean and standard deviation of channels
image_folder.py   a user's own pictures, a folder for each class
pictures.py       Preprocessing: from pictures to arrays, kept in the model's file
datasets.py       the sets: digits, optdigits, mnist, fashion_mnist
cifar.py          cifar10, cifar100
idx.py            read_idx: the file format of MNIST
store.py          where files are looked for, and how they are downloaded and checked
streams.py        plain or gzip files, read up to a bound
"""

from .augment import (
    Cutout,
    ElasticTransform,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomShift,
    RandomVerticalFlip,
)
from .batches import batches
from .cifar import cifar10, cifar100
from .dataset import Dataset
from .datasets import digits, fashion_mnist, mnist, optdigits
from .idx import read_idx
from .image_folder import ImageFolder, image_folder
from .loader import Loader
from .pictures import Preprocessing
from .prefetch import Prefetch
from .samplers import BalancedSampler, WeightedSampler
from .split import mean_std, split
from .transform import Compose

__all__ = [
    "BalancedSampler",
    "Compose",
    "Cutout",
    "Dataset",
    "ElasticTransform",
    "ImageFolder",
    "Loader",
    "Prefetch",
    "Preprocessing",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShift",
    "RandomVerticalFlip",
    "WeightedSampler",
    "batches",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "image_folder",
    "mean_std",
    "mnist",
    "optdigits",
    "read_idx",
    "split",
]
