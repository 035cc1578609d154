"""Data sets, an IDX reader, batches, and augmentation.

idx.py        read_idx: the file format of MNIST
streams.py    plain or gzip files, read up to a bound
store.py      where files are looked for, and how they are downloaded and checked
datasets.py   Dataset, and the sets: digits, optdigits, mnist, fashion_mnist
batches.py    batches in an order that a seed fixes
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
from .datasets import Dataset, digits, fashion_mnist, mnist, optdigits
from .idx import read_idx

__all__ = [
    "Compose",
    "Cutout",
    "Dataset",
    "ElasticTransform",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShift",
    "RandomVerticalFlip",
    "batches",
    "digits",
    "fashion_mnist",
    "mnist",
    "optdigits",
    "read_idx",
]
