"""Data sets, an IDX reader, batches, and augmentation.

loader.py     Loader: the batches of every epoch; sampled, augmented, prepared ahead by a thread (prefetch.py)
samplers.py   BalancedSampler, WeightedSampler: which examples an epoch holds
batches.py    the batches of one epoch in an order that a seed fixes
dataset.py    Dataset: examples and labels, arrays or tuples and dicts of them (rows.py)
datasets.py   the sets: digits, optdigits, mnist, fashion_mnist
idx.py        read_idx: the file format of MNIST
store.py      where files are looked for, and how they are downloaded and checked
streams.py    plain or gzip files, read up to a bound
augment.py    random changes to images; _geometry.py: the operations that they consist of
"""

from .augment import (
    Compose,
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
from .dataset import Dataset
from .datasets import digits, fashion_mnist, mnist, optdigits
from .idx import read_idx
from .loader import Loader
from .samplers import BalancedSampler, WeightedSampler

__all__ = [
    "BalancedSampler",
    "Compose",
    "Cutout",
    "Dataset",
    "ElasticTransform",
    "Loader",
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
    "digits",
    "fashion_mnist",
    "mnist",
    "optdigits",
    "read_idx",
]
