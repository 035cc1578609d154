"""CIFAR-10 and CIFAR-100 from files that the test makes, and from hostile ones."""

import gzip
import hashlib
import io
import tarfile
import tracemalloc

import numpy as np
import pytest

from cconv import data
from cconv._checks import FormatError
from cconv.data import cifar, store


def records(n, classes, seed):
    """(bytes of a file, images, labels): random records."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (n, len(classes)), dtype=np.uint8)
    images = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
    return np.hstack([labels, images.reshape(n, -1)]).tobytes(), images, labels


def tar(members, zipped=True):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, value in members:
            member = tarfile.TarInfo(name)
            if isinstance(value, tarfile.TarInfo):
                member = value
                archive.addfile(member)
            else:
                member.size = len(value)
                archive.addfile(member, io.BytesIO(value))
    return gzip.compress(content.getvalue(), 1) if zipped else content.getvalue()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Small sets in the layout of the true ones: {set: ({file name: bytes}, images, labels)}, and CCONV_DATA."""
    monkeypatch.setenv("CCONV_DATA", str(tmp_path / "chosen"))
    monkeypatch.setattr(store, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(store, "_SYSTEM", ())
    sets = {}
    for name in ("CIFAR10", "CIFAR100"):
        layout = getattr(cifar, name)
        parts = [records(3 + i, layout.labels, i) for i in range(len(layout.files))]
        files = tuple(
            (file, 3 + i, hashlib.sha256(part[0]).hexdigest())
            for i, ((file, _, _), part) in enumerate(zip(layout.files, parts, strict=True))
        )
        contents = {file: part[0] for (file, _, _), part in zip(files, parts, strict=True)}
        sets[name] = contents, *(np.concatenate([part[k] for part in parts]) for k in (1, 2))
        monkeypatch.setattr(cifar, name, layout._replace(files=files, archive=layout.archive._replace(urls=())))
    return sets, tmp_path / "chosen"


def place_archive(monkeypatch, root, name, content, folder=None):
    """Put an archive where it is looked for, with the hash that is expected of it."""
    layout = getattr(cifar, name)
    archive = layout.archive._replace(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(cifar, name, layout._replace(archive=archive))
    path = root / (archive.folder if folder is None else folder) / archive.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def place_files(root, contents, zipped=False):
    root.mkdir(parents=True)
    for name, content in contents.items():
        if zipped:
            (root / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (root / name).write_bytes(content)


def check(name, sets, **options):
    _, images, labels = sets[name]
    load = getattr(data, name.lower())
    (train, test), n_test = load(**options), 8 if name == "CIFAR10" else 4
    found = np.concatenate([train.x, test.x]), np.concatenate([train.y, test.y])
    assert len(test) == n_test and found[0].dtype == np.float32 and found[1].dtype == np.int64
    assert np.array_equal(found[0], images.astype(np.float32) / np.float32(255))
    column = 1 if name == "CIFAR100" and not options.get("coarse") else 0
    assert np.array_equal(found[1], labels[:, column])
    return train, test


@pytest.mark.parametrize("folder", ["cifar-10", "cifar-10-batches-bin", "cifar-10/cifar-10-batches-bin"])
@pytest.mark.parametrize("zipped", [False, True])
def test_cifar10_from_files(small, folder, zipped):
    sets, root = small
    place_files(root / folder, sets["CIFAR10"][0], zipped)
    train, test = check("CIFAR10", sets)
    assert train.classes[3] == "cat" and len(train.classes) == 10 and test.name == "cifar-10 test"
    assert data.cifar10(scale=False)[0].x.max() == 255


def test_cifar100_from_files(small):
    sets, root = small
    place_files(root / "cifar-100-binary", sets["CIFAR100"][0])
    train, _ = check("CIFAR100", sets)
    assert len(train.classes) == 100 and list(train.classes) == sorted(train.classes)
    coarse, _ = check("CIFAR100", sets, coarse=True)
    assert len(coarse.classes) == 20


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_from_the_archive_in_any_order(small, monkeypatch, name):
    sets, root = small
    inside = getattr(cifar, name).inside
    members = [(f"{inside}/{file}", content) for file, content in reversed(sets[name][0].items())]
    place_archive(monkeypatch, root, name, tar([("readme.html", b"text"), *members]))
    check(name, sets)
    # Nothing was unpacked.
    assert [path.name for path in root.rglob("*") if path.is_file()] == [getattr(cifar, name).archive.name]


@pytest.mark.parametrize("folder", ["", "cifar-10-batches-bin"])
def test_the_archive_may_lie_elsewhere(small, monkeypatch, folder):
    sets, root = small
    members = [(f"cifar-10-batches-bin/{file}", content) for file, content in sets["CIFAR10"][0].items()]
    place_archive(monkeypatch, root, "CIFAR10", tar(members), folder)
    check("CIFAR10", sets)


def test_an_incomplete_folder_is_completed_from_the_archive(small, monkeypatch):
    sets, root = small
    contents = sets["CIFAR10"][0]
    place_archive(monkeypatch, root, "CIFAR10", tar([(f"cifar-10-batches-bin/{n}", c) for n, c in contents.items()]))
    (root / "cifar-10" / "test_batch.bin").write_bytes(contents["test_batch.bin"])
    check("CIFAR10", sets)


def test_a_spoilt_file_is_named_with_its_hashes(small):
    sets, root = small
    place_files(root / "cifar-10", sets["CIFAR10"][0])
    path = root / "cifar-10" / "data_batch_3.bin"
    for spoilt in (path.read_bytes()[:-1], b"", path.read_bytes()[::-1], bytes(10**7)):
        path.write_bytes(spoilt)
        with pytest.raises(FormatError, match=r"data_batch_3.bin: is not .* unzipped, expected 15365 bytes"):
            data.cifar10()


def test_an_archive_of_another_content_is_refused_unopened(small):
    _, root = small
    path = root / "cifar-10" / "cifar-10-binary.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(bytes(10**8)))
    tracemalloc.start()
    try:
        with pytest.raises(
            FormatError, match=r"cifar-10-binary.tar.gz: is not .*: expected 170052171 bytes of SHA-256 c4a38c50"
        ):
            data.cifar10()
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_what_to_put_where_is_said(small):
    _, root = small
    with pytest.raises(FileNotFoundError) as caught:
        data.cifar10()
    message = str(caught.value)
    for part in ("Put cifar-10-binary.tar.gz in", str(root / "cifar-10"), "CCONV_DATA", cifar.CIFAR10.archive.sha256):
        assert part in message


def link(name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def cut(content, n):
    return gzip.compress(gzip.decompress(content)[:n])


FIRST = "cifar-10-batches-bin/data_batch_1.bin"
HOSTILE = {
    # Archives that would have passed for the true one: what is read from them is checked all the same.
    "no tar": (lambda files: gzip.compress(b"x" * 5000), "broken tar data"),
    "cut gzip": (lambda files: tar(files)[:-20], "broken gzip data"),
    "cut tar": (lambda files: cut(tar(files), 4000), "broken tar data|bytes, expected 3 records"),
    "empty": (lambda files: b"", "broken tar data"),
    "only some": (lambda files: tar(files[:2]), "holds no .*data_batch_3.bin, .*test_batch.bin"),
    "wrong size": (lambda files: tar([(FIRST, b"\0" * 3073), *files[1:]]), "expected a file of 9219 bytes, found 3073"),
    "label": (
        lambda files: tar([(FIRST, b"\x0a" + files[0][1][1:]), *files[1:]]),
        "record 0 has the label 10, expected",
    ),
    "paths outside": (
        lambda files: tar([("../" + n, c) for n, c in files] + [("/tmp/cconv-hostile", b"x")]),
        "holds no cifar-10-batches-bin/data_batch_1.bin",
    ),
    "links": (lambda files: tar([(FIRST, link(FIRST, "/etc/passwd")), *files[1:]]), "expected a file of 9219 bytes"),
    "bomb": (lambda files: tar([("zeros", bytes(10**7)), *files]), "unzips to more than"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_and_write_nothing(small, monkeypatch, case):
    sets, root = small
    make, message = HOSTILE[case]
    content = make([(f"cifar-10-batches-bin/{n}", c) for n, c in sets["CIFAR10"][0].items()])
    place_archive(monkeypatch, root, "CIFAR10", content)
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(FormatError, match=message) as caught:
        data.cifar10()
    assert "cifar-10-binary.tar.gz" in str(caught.value)
    assert sorted(root.parent.rglob("*")) == before


def test_a_record_is_label_red_green_blue():
    content = bytes([7]) + bytes([1] * 1024 + [2] * 1024 + [3] * 1023 + [4])
    images, labels = cifar.parse_cifar(content, "file", 1, (10,))
    assert labels.tolist() == [[7]] and images.shape == (1, 3, 32, 32)
    assert images[0, :, 0, 0].tolist() == [1, 2, 3] and images[0, 2, 31, 31] == 4
    for wrong in (content[:-1], content + b"\0", b"", content * 2):
        with pytest.raises(FormatError, match=f"file: {len(wrong)} bytes, expected 1 records of 3073"):
            cifar.parse_cifar(wrong, "file", 1, (10,))
    with pytest.raises(FormatError, match="record 1 has the label 100, expected at most 99"):
        cifar.parse_cifar(bytes(3074) + bytes([19, 100]) + bytes(3072), "file", 2, (20, 100))


def test_the_names_are_as_many_as_the_labels():
    assert [len(set(names.split())) for names in (cifar._FINE, cifar._COARSE, cifar._OBJECTS)] == [100, 20, 10]
    assert sum(n for _, n, _ in cifar.CIFAR10.files) == sum(n for _, n, _ in cifar.CIFAR100.files) == 60000
