"""The data sets, each as (train, test)."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from .dataset import Dataset
from .idx import parse_idx
from .store import File, load

_MNIST = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
_FASHION = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
_UCI = "https://archive.ics.uci.edu/"
_UCI_ZIP = _UCI + "static/public/80/optical+recognition+of+handwritten+digits.zip"

_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def digits(*, scale: bool = True) -> tuple[Dataset, Dataset]:
    """The 1,797 handwritten digits that scikit-learn carries: 8x8, nothing to download.

    These are the test rows of `optdigits`. Here every fifth image of each class is for testing (355), the others
    for training (1,442); the same 13 writers wrote both parts, so accuracy is higher than on `optdigits`' own split.

    Parameters
    ----------
    scale : bool
        Divide the values, 0 to 16, by 16.

    Returns
    -------
    train, test : Dataset
        ``.x`` (N, 1, 8, 8) float32, ``.y`` (N,) int64.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError('data.digits needs scikit-learn: pip install "cconv[examples]"') from error
    bunch = load_digits()
    x, y = _images(bunch.images, 16 if scale else 1), bunch.target.astype(np.int64)
    test = np.zeros(len(y), bool)
    for label in range(10):
        test[np.flatnonzero(y == label)[4::5]] = True
    return Dataset(x[~test], y[~test], "digits train", _DIGITS), Dataset(x[test], y[test], "digits test", _DIGITS)


def optdigits(*, scale: bool = True) -> tuple[Dataset, Dataset]:
    """UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998, CC BY 4.0), 8x8, in its official split.

    3,823 images by 30 writers for training, 1,797 by 13 others for testing.

    Parameters
    ----------
    scale : bool
        Divide the values, 0 to 16, by 16.

    Returns
    -------
    train, test : Dataset
        ``.x`` (N, 1, 8, 8) float32, ``.y`` (N,) int64.

    Raises
    ------
    FormatError
        If a file on this machine is not the one expected.
    FileNotFoundError
        If a file is neither on this machine nor to be downloaded; the message says where to put it.
    """
    sets = []
    for part, name, size, sha256 in (
        ("train", "optdigits.tra", 563639, "e1b683cc211604fe8fd8c4417e6a69f31380e0c61d4af22e93cc21e9257ffedd"),
        ("test", "optdigits.tes", 264712, "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"),
    ):
        urls = (f"{_UCI}ml/machine-learning-databases/optdigits/{name}", _UCI_ZIP)
        text = load(File("optdigits", name, size, sha256, urls))
        rows = np.loadtxt(io.BytesIO(text), np.int64, delimiter=",")
        x = _images(rows[:, :64].reshape(-1, 8, 8), 16 if scale else 1)
        sets.append(Dataset(x, rows[:, 64].copy(), f"optdigits {part}", _DIGITS))
    return sets[0], sets[1]


def mnist(*, scale: bool = True) -> tuple[Dataset, Dataset]:
    """MNIST (LeCun, Cortes and Burges, CC BY-SA 3.0): 60,000 and 10,000 handwritten digits, 28x28.

    Parameters
    ----------
    scale : bool
        Divide the values, 0 to 255, by 255.

    Returns
    -------
    train, test : Dataset
        ``.x`` (N, 1, 28, 28) float32, ``.y`` (N,) int64.

    Raises
    ------
    FormatError
        If a file on this machine is not the one expected.
    FileNotFoundError
        If a file is neither on this machine nor to be downloaded; the message says where to put it.
    """
    hashes = (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    )
    return _four_files("mnist", _MNIST, hashes, _DIGITS, scale)


def fashion_mnist(*, scale: bool = True) -> tuple[Dataset, Dataset]:
    """Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747, MIT): as `mnist`, of ten kinds of clothes.

    The Debian package ``dataset-fashion-mnist`` is found where it is installed.

    Parameters
    ----------
    scale : bool
        Divide the values, 0 to 255, by 255.

    Returns
    -------
    train, test : Dataset
        ``.x`` (N, 1, 28, 28) float32, ``.y`` (N,) int64; ``.classes`` names the labels.

    Raises
    ------
    FormatError
        If a file on this machine is not the one expected.
    FileNotFoundError
        If a file is neither on this machine nor to be downloaded; the message says where to put it.
    """
    hashes = (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    )
    return _four_files("fashion-mnist", _FASHION, hashes, _CLOTHES, scale)


def _four_files(
    folder: str, mirrors: Sequence[str], hashes: Sequence[str], classes: Sequence[str], scale: bool
) -> tuple[Dataset, Dataset]:
    def read(name: str, size: int, sha256: str) -> np.ndarray:
        file = File(folder, name, size, sha256, tuple(f"{mirror}{name}.gz" for mirror in mirrors))
        return parse_idx(io.BytesIO(load(file)), name, size)

    def part(prefix: str, kind: str, n: int, image_hash: str, label_hash: str) -> Dataset:
        images = read(f"{prefix}-images-idx3-ubyte", 16 + n * 28 * 28, image_hash)
        labels = read(f"{prefix}-labels-idx1-ubyte", 8 + n, label_hash)
        return Dataset(_images(images, 255 if scale else 1), labels.astype(np.int64), f"{folder} {kind}", classes)

    return part("train", "train", 60000, *hashes[:2]), part("t10k", "test", 10000, *hashes[2:])


def _images(values: np.ndarray, largest: int) -> np.ndarray:
    """Grey images (N, H, W) as (N, 1, H, W) float32, divided by `largest`."""
    x = values[:, np.newaxis].astype(np.float32)
    x /= np.float32(largest)
    return x
