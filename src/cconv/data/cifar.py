"""CIFAR-10 and CIFAR-100, from their binary version: the Python version is a pickle, which could run any code.

A file is a row of records: the label (of CIFAR-100 two, coarse and fine), then 3,072 bytes, the red, green and
blue planes of 32x32. The archive is read in memory: nothing is unpacked into files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from .._checks import FormatError
from .dataset import Dataset
from .store import File, load, path_of
from .streams import read_up_to, unzipped

_SHAPE = 3, 32, 32
_PIXELS = 3 * 32 * 32
_TORONTO = "https://www.cs.toronto.edu/~kriz/"

_OBJECTS = "airplane automobile bird cat deer dog frog horse ship truck"
_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
_COARSE = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture
insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
"""


class Layout(NamedTuple):
    """The files of a set: (name, records, SHA-256), the last one for testing; how many classes each label has."""

    folder: str
    inside: str
    archive: File
    files: tuple[tuple[str, int, str], ...]
    labels: tuple[int, ...]


# The archives' hashes are those of TensorFlow Datasets and others, the files' those of torchvision for Ruby.
CIFAR10 = Layout(
    "cifar-10",
    "cifar-10-batches-bin",
    File(
        "cifar-10",
        "cifar-10-binary.tar.gz",
        170052171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        (
            _TORONTO + "cifar-10-binary.tar.gz",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
        ),
        packed=True,
    ),
    (
        ("data_batch_1.bin", 10000, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
        ("data_batch_2.bin", 10000, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
        ("data_batch_3.bin", 10000, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
        ("data_batch_4.bin", 10000, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
        ("data_batch_5.bin", 10000, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
        ("test_batch.bin", 10000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
    ),
    (10,),
)
CIFAR100 = Layout(
    "cifar-100",
    "cifar-100-binary",
    File(
        "cifar-100",
        "cifar-100-binary.tar.gz",
        168513733,
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        (_TORONTO + "cifar-100-binary.tar.gz",),
        packed=True,
    ),
    (
        ("train.bin", 50000, "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"),
        ("test.bin", 10000, "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"),
    ),
    (20, 100),
)


def cifar10(*, scale: bool = True) -> tuple[Dataset, Dataset]:
    """CIFAR-10 (Krizhevsky 2009, "Learning multiple layers of features from tiny images"): 50,000 and 10,000 colour
    images of ten kinds of things, 32x32. Its authors name no licence.

    The files of the binary version, in a folder ``cifar-10`` or ``cifar-10-batches-bin`` of where data sets are looked
    for, or ``cifar-10-binary.tar.gz`` in or beside one of them, else downloaded (170 MB). Both sets take 740 MB.

    Parameters
    ----------
    scale : bool
        Divide the values, 0 to 255, by 255.

    Returns
    -------
    train, test : Dataset
        ``.x`` (N, 3, 32, 32) float32, planes red, green, blue; ``.y`` (N,) int64; ``.classes`` names the labels.

    Raises
    ------
    FormatError
        If a file on this machine is not the one expected.
    FileNotFoundError
        If the files are neither on this machine nor to be downloaded; the message says where to put them.

    Notes
    -----
    Contents are checked against hashes that other projects publish: no copy was at hand when this was written.
    """
    return _both(CIFAR10, _OBJECTS, 0, scale)


def cifar100(*, coarse: bool = False, scale: bool = True) -> tuple[Dataset, Dataset]:
    """CIFAR-100 (Krizhevsky 2009): as `cifar10`, of 100 kinds of things in 20 groups.

    Parameters
    ----------
    coarse : bool
        Label the 20 groups in the place of the 100 kinds.
    scale : bool
        Divide the values, 0 to 255, by 255.

    Returns
    -------
    train, test : Dataset
        As `cifar10`'s. The folders are ``cifar-100`` and ``cifar-100-binary``, the archive ``cifar-100-binary.tar.gz``.

    Raises
    ------
    FormatError, FileNotFoundError
        As in `cifar10`.
    """
    return _both(CIFAR100, _COARSE if coarse else _FINE, 0 if coarse else 1, scale)


def _both(layout: Layout, names: str, label: int, scale: bool) -> tuple[Dataset, Dataset]:
    classes = names.split()
    total = sum(records for _, records, _ in layout.files)
    x, y = np.empty((total, *_SHAPE), np.float32), np.empty(total, np.int64)
    places, start = {}, 0
    for name, records, _ in layout.files:
        places[name] = slice(start, start := start + records)
    for name, source, content in _contents(layout):
        rows = places[name]
        images, labels = parse_cifar(content, source, rows.stop - rows.start, layout.labels)
        np.divide(images, np.float32(255 if scale else 1), out=x[rows], dtype=np.float32)
        y[rows] = labels[:, label]
    split = places[layout.files[-1][0]].start
    return (
        Dataset(x[:split], y[:split], f"{layout.folder} train", classes),
        Dataset(x[split:], y[split:], f"{layout.folder} test", classes),
    )


def parse_cifar(
    content: bytes | bytearray, name: str, records: int, classes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The images (N, 3, 32, 32) and labels (N, len(classes)), uint8, of a file whose labels have so many classes."""
    record = len(classes) + _PIXELS
    if len(content) != records * record:
        raise FormatError(f"{name}: {len(content)} bytes, expected {records} records of {record}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels, images = rows[:, : len(classes)], rows[:, len(classes) :]
    wrong = np.argwhere(labels >= classes)
    if len(wrong):
        row, column = wrong[0]
        raise FormatError(
            f"{name}: record {row} has the label {labels[row, column]}, expected at most {classes[column] - 1}"
        )
    return images.reshape(-1, *_SHAPE), labels


def _contents(layout: Layout) -> Iterator[tuple[str, str, bytearray]]:
    """(name, where it is from, content) of each file, in any order."""
    files = [
        File(folder, name, records * (len(layout.labels) + _PIXELS), sha256, ())
        for name, records, sha256 in layout.files
        for folder in (layout.folder, layout.inside, f"{layout.folder}/{layout.inside}")
    ]
    found = {file.name: file for file in reversed(files) if path_of(file) is not None}
    if len(found) == len(layout.files):
        for file in found.values():
            yield file.name, str(path_of(file)), load(file)
    else:
        archives = [layout.archive._replace(folder=folder) for folder in (layout.folder, layout.inside, "")]
        yield from _members(layout, load(next(filter(path_of, archives), layout.archive)))


def _members(layout: Layout, archive: bytearray) -> Iterator[tuple[str, str, bytearray]]:
    import tarfile

    sizes = {name: records * (len(layout.labels) + _PIXELS) for name, records, _ in layout.files}
    wanted = {f"{layout.inside}/{name}": name for name in sizes}
    where = layout.archive.name
    with unzipped(io.BytesIO(archive), where) as stream:
        # A few other files, headers and padding besides.
        bounded = _Bounded(stream, where, sum(sizes.values()) + (1 << 22))
        try:
            with tarfile.open(fileobj=bounded, mode="r|") as members:  # type: ignore[call-overload]
                for member in members:
                    name = wanted.pop(member.name, None)
                    if name is None:
                        continue
                    source = f"{where}: {member.name}"
                    if not member.isreg() or member.size != sizes[name]:
                        raise FormatError(f"{source}: expected a file of {sizes[name]} bytes, found {member.size}")
                    yield name, source, read_up_to(members.extractfile(member), sizes[name])
        except tarfile.TarError as error:
            raise FormatError(f"{where}: broken tar data: {error}") from error
    if wanted:
        raise FormatError(f"{where}: holds no {', '.join(wanted)}")


class _Bounded:
    """A stream that may give so many bytes: what a small archive unzips to has no bound of its own."""

    def __init__(self, stream: IO[bytes], name: str, limit: int):
        self._stream = stream
        self._name = name
        self._limit = limit
        self._left = limit

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise FormatError(f"{self._name}: unzips to more than {self._limit} bytes")
        return data
