import gzip
import hashlib
import http.server
import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import zipfile

import numpy as np
import pytest

from cconv._checks import FormatError
from cconv.data import Dataset, batches, datasets, digits, fashion_mnist, mnist, optdigits, read_idx, store

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx(array):
    header = bytes([0, 0, CODES[array.dtype.name], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + np.asarray(array, array.dtype.newbyteorder(">")).tobytes()


def header(code, *sizes, rank=None):
    return bytes([0, 0, code, len(sizes) if rank is None else rank]) + struct.pack(f">{len(sizes)}I", *sizes)


# IDX


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3), (2, 0, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("zipped", [False, True])
def test_read_idx_gives_what_was_written(tmp_path, dtype, shape, zipped):
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape) * 3 - 20
    expected = values.astype(np.float64).astype(dtype) if dtype != "uint8" else (values % 256).astype(dtype)
    path = tmp_path / "data"
    path.write_bytes(gzip.compress(idx(expected)) if zipped else idx(expected))
    found = read_idx(path)
    assert found.dtype == np.dtype(dtype) and found.dtype.isnative
    assert found.shape == shape
    assert np.array_equal(found, expected)
    assert found.flags.writeable


def test_read_idx_knows_the_documented_bytes(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes.fromhex("00000b02 00000002 00000001 0102 fffe"))
    assert read_idx(str(path)).tolist() == [[258], [-2]]


GOOD = idx(np.arange(12, dtype=np.int32).reshape(3, 4))
HOSTILE = {
    "empty": (b"", "not an IDX file: it starts with nothing"),
    "three bytes": (b"\0\0\x08", "not an IDX file"),
    "magic": (b"\x89PNG" + bytes(100), "not an IDX file: it starts with 89 50 4e 47"),
    "type": (header(0x0A, 4) + bytes(4), "not an IDX file"),
    "rank": (header(0x08, *[1] * 33) + bytes(1), "rank 33, expected at most 32"),
    "no sizes": (header(0x08, rank=3), "cut short: 3 sizes take 12 bytes, found 0"),
    "half sizes": (header(0x08, 1, rank=3), "cut short: 3 sizes take 12 bytes, found 4"),
    "no data": (GOOD[:12], "cut short.* takes 48 bytes, found 0"),
    "cut": (GOOD[:-1], "cut short.* takes 48 bytes, found 47"),
    "trailing": (GOOD + b"\0", "goes on after the 48 bytes"),
    "promises a gigabyte": (header(0x08, 2**30), "cut short.* takes 1073741824 bytes, found 0"),
    "promises all": (header(0x0E, *[2**32 - 1] * 32), "more than max_bytes"),
    "wraps to zero": (header(0x08, 2**31, 2**31, 4), "more than max_bytes"),
    "empty but huge": (header(0x08, 0, *[2**32 - 1] * 31), "overflows"),
    "cut gzip": (gzip.compress(GOOD)[:-9], "broken gzip data"),
    "gzip header alone": (gzip.compress(GOOD)[:10], "broken gzip data"),
    "gzip with a wrong checksum": (gzip.compress(GOOD)[:-8] + bytes(8), "broken gzip data"),
    "gzip of garbage": (gzip.compress(GOOD)[:10] + b"\xff" * 50, "broken gzip data"),
    "gzip, then garbage": (gzip.compress(GOOD) + b"garbage", "broken gzip data"),
    "gzip of a cut file": (gzip.compress(GOOD[:-1]), "cut short"),
    "gzip bomb": (gzip.compress(GOOD + bytes(10**8)), "goes on after the 48 bytes"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_read_idx_refuses_a_hostile_file_within_bounded_memory(tmp_path, case):
    content, message = HOSTILE[case]
    path = tmp_path / "hostile.idx"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=message) as caught:
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(str(path))
    assert peak < 5_000_000


def test_read_idx_survives_any_single_wrong_byte(tmp_path):
    content = gzip.compress(GOOD, mtime=0)
    expected = read_idx(_written(tmp_path, content))
    for position in range(len(content)):
        spoilt = bytearray(content)
        spoilt[position] ^= 0x55
        try:
            found = read_idx(_written(tmp_path, spoilt))
        except FormatError:
            continue
        # Left are bytes of the gzip header that carry no data, such as its time.
        assert position < 10 and np.array_equal(found, expected)


def test_read_idx_bounds_what_gzip_may_unzip_to(tmp_path):
    path = _written(tmp_path, gzip.compress(idx(np.zeros(10**6, np.uint8))))
    assert os.path.getsize(path) < 2000
    with pytest.raises(FormatError, match=r"declares 1000000 bytes.*max_bytes=999999"):
        read_idx(path, max_bytes=999_999)
    assert read_idx(path, max_bytes=10**6).shape == (10**6,)


def test_read_idx_of_no_file_is_the_usual_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nothing")


def _written(folder, content):
    path = folder / "file"
    path.write_bytes(content)
    return path


# Finding and downloading

CONTENT = idx(np.arange(256, dtype=np.uint8))


def _file(*urls, content=CONTENT, folder="set", name="file-idx1-ubyte"):
    return store.File(folder, name, len(content), hashlib.sha256(content).hexdigest(), urls)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """CCONV_DATA, cache and system folders of this test alone; returned as paths."""
    chosen, cache, system = (tmp_path / name for name in ("chosen", "cache", "system"))
    monkeypatch.setenv("CCONV_DATA", str(chosen))
    monkeypatch.setattr(store, "cache_folder", lambda: cache)
    monkeypatch.setattr(store, "_SYSTEM", (system,))
    return chosen, cache, system


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine; `pages` maps a path to bytes, or to a function of the handler."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    pages, asked = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            page = pages.get(self.path)
            if callable(page):
                page(self)
            elif page is None:
                self.send_error(404)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

        def log_message(self, *_):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    httpd.pages, httpd.asked = pages, asked
    httpd.url = f"http://127.0.0.1:{httpd.server_port}"
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def _place(root, content, name="file-idx1-ubyte"):
    path = root / "set" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("zipped", [False, True])
def test_load_finds_a_file_in_each_place(places, place, zipped):
    if zipped:
        _place(places[place], gzip.compress(CONTENT), "file-idx1-ubyte.gz")
    else:
        _place(places[place], CONTENT)
    assert store.load(_file()) == CONTENT


def test_load_prefers_the_users_folder_then_the_cache(places):
    for depth in (2, 1, 0):
        # Each content has the hash that is asked for; the places later in the order hold others.
        content = CONTENT + bytes([depth])
        _place(places[depth], content)
        assert store.load(_file(content=content)) == content


@pytest.mark.parametrize("spoilt", [CONTENT[:-1], CONTENT + b"\0", CONTENT[:-1] + b"\0", b"", bytes(10**7)])
def test_load_names_a_corrupt_file_with_both_hashes_and_tries_no_other(places, server, spoilt):
    server.pages["/good"] = CONTENT
    path = _place(places[0], spoilt)
    _place(places[1], CONTENT)
    file = _file(server.url + "/good")
    with pytest.raises(FormatError) as caught:
        store.load(file)
    message = str(caught.value)
    assert message.startswith(str(path)) and file.sha256 in message
    if len(spoilt) <= file.size:
        assert hashlib.sha256(spoilt).hexdigest() in message
    assert not server.asked


def test_load_of_a_gzip_bomb_stops_at_the_size_expected(places):
    _place(places[0], gzip.compress(bytes(10**8)), "file-idx1-ubyte.gz")
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=f"expected {len(CONTENT)} bytes .* found over {len(CONTENT)} bytes"):
            store.load(_file())
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["plain", "gz", "zip"])
def test_download_checks_and_keeps_the_file(places, server, kind):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("readme", "other")
        members.writestr("file-idx1-ubyte", CONTENT)
    served = {"plain": CONTENT, "gz": gzip.compress(CONTENT), "zip": archive.getvalue()}[kind]
    server.pages[f"/a.{kind}"] = served
    file = _file(f"{server.url}/a.{kind}")
    assert store.load(file) == CONTENT
    assert [p.name for p in (places[1] / "set").iterdir()] == ["file-idx1-ubyte"]
    assert store.load(file) == CONTENT
    assert server.asked == [f"/a.{kind}"]


def test_download_goes_on_to_the_next_mirror(places, server):
    server.pages |= {"/wrong": CONTENT[::-1], "/good": CONTENT}
    file = _file(server.url + "/missing", server.url + "/wrong", server.url + "/good")
    assert store.load(file) == CONTENT
    assert server.asked == ["/missing", "/wrong", "/good"]


def _interrupted(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT[:100])


def _endless(handler):
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(1 << 16))
    except OSError:
        pass


FAILURES = {
    "404": (None, "404"),
    "wrong hash": (CONTENT[::-1], "is not file-idx1-ubyte"),
    "interrupted": (_interrupted, "closed after 100 of 264 bytes"),
    "endless": (_endless, "more than the file has"),
    "broken gzip": (gzip.compress(CONTENT)[:-4], "broken gzip data"),
    "no zip": (b"<html>moved</html>", "not a zip file"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failed_download_says_which_file_to_put_where_and_leaves_nothing(places, server, case):
    page, reason = FAILURES[case]
    if page is not None:
        server.pages["/f.zip" if case == "no zip" else "/f"] = page
    file = _file(server.url + ("/f.zip" if case == "no zip" else "/f"))
    with pytest.raises(FileNotFoundError) as caught:
        store.load(file)
    message = str(caught.value)
    assert reason in message
    for part in (file.name, file.name + ".gz", str(places[0] / "set"), "CCONV_DATA", file.sha256, file.urls[0]):
        assert part in message
    assert list((places[1] / "set").iterdir()) == []


def test_offline_says_which_file_to_put_where(places, monkeypatch, server):
    server.shutdown()
    server.server_close()
    monkeypatch.delenv("CCONV_DATA")
    with pytest.raises(FileNotFoundError) as caught:
        store.load(_file(server.url + "/f"))
    assert "refused" in str(caught.value) and str(places[1] / "set") in str(caught.value)


def test_a_silent_server_is_given_up(places, monkeypatch, server):
    monkeypatch.setattr(store, "_TIMEOUT", 0.1)
    released = threading.Event()
    server.pages["/f"] = lambda handler: released.wait(10)
    with pytest.raises(FileNotFoundError, match="timed out"):
        store.load(_file(server.url + "/f"))
    released.set()


def test_a_cache_that_cannot_be_written_is_named(places, server):
    server.pages["/f"] = CONTENT
    places[1].write_text("a file where the folder should be")
    with pytest.raises(FileNotFoundError) as caught:
        store.load(_file(server.url + "/f"))
    assert str(places[1] / "set") in str(caught.value)
    assert not server.asked


def test_a_failed_write_leaves_no_half_file(places, server, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    server.pages["/f"] = CONTENT
    monkeypatch.setattr(store.os, "replace", full)
    with pytest.raises(FileNotFoundError, match="No space left"):
        store.load(_file(server.url + "/f"))
    assert list((places[1] / "set").iterdir()) == []


def test_cache_folder_is_the_platforms(monkeypatch, tmp_path):
    monkeypatch.setattr(store.Path, "home", lambda: tmp_path)
    for platform, expected in (
        ("linux", tmp_path / ".cache" / "cconv"),
        ("darwin", tmp_path / "Library" / "Caches" / "cconv"),
        ("win32", tmp_path / "AppData" / "Local" / "cconv" / "Cache"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.delenv("LOCALAPPDATA", raising=False)
        assert store.cache_folder() == expected
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert store.cache_folder() == tmp_path / "xdg" / "cconv"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert store.cache_folder() == tmp_path / ".cache" / "cconv"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert store.cache_folder() == tmp_path / "local" / "cconv" / "Cache"


# Data sets


def test_dataset_is_indexed_as_arrays_are():
    data = Dataset(np.arange(12.0).reshape(6, 2), [0, 1, 2, 0, 1, 2], "toys", ["a", "b", "c"])
    assert len(data) == 6
    x, y = data[-1]
    assert x.tolist() == [10, 11] and y == 2
    assert len(list(data)) == 6
    some = data[1:3]
    assert isinstance(some, Dataset) and some.y.tolist() == [1, 2] and some.classes == ("a", "b", "c")
    assert np.shares_memory(some.x, data.x)
    assert data[[0, 5]].x.tolist() == [[0, 1], [10, 11]]
    assert data[data.y == 1].y.tolist() == [1, 1]
    assert repr(data) == "Dataset(toys: x (6, 2) float64, y (6,) int64, 3 classes)"
    with pytest.raises(IndexError):
        data[6]
    with pytest.raises(TypeError, match="one index"):
        data[0, 1]


def test_dataset_refuses_unequal_lengths():
    with pytest.raises(ValueError, match=r"x \(3, 1\) and y \(2,\)"):
        Dataset(np.zeros((3, 1)), np.zeros(2))


def test_digits():
    pytest.importorskip("sklearn")
    train, test = digits()
    assert (len(train), len(test)) == (1442, 355)
    for part in (train, test):
        assert part.x.dtype == np.float32 and part.x.shape[1:] == (1, 8, 8)
        assert part.y.dtype == np.int64 and set(part.y) == set(range(10))
        assert part.x.min() == 0 and part.x.max() == 1
    raw, raw_test = digits(scale=False)
    assert raw.x.max() == 16 and np.array_equal(raw.x / 16, train.x)
    # Both parts together are scikit-learn's set.
    from sklearn.datasets import load_digits

    rows = np.concatenate([raw.x, raw_test.x]).reshape(-1, 64)
    assert np.array_equal(np.unique(rows, axis=0), np.unique(load_digits().data, axis=0))
    assert np.bincount(test.y).min() >= 34


def test_digits_without_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "cconv\[examples\]"'):
        digits()


def _or_skip(load):
    """`load()`, or skip where its files are not on this machine; never downloads."""

    def refuse(file):
        pytest.skip(f"{file.name} is not on this machine")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_download", refuse)
        return load()


def test_optdigits():
    train, test = _or_skip(optdigits)
    assert train.x.shape == (3823, 1, 8, 8) and test.x.shape == (1797, 1, 8, 8)
    assert train.x.dtype == np.float32 and train.y.dtype == np.int64
    assert train.x.max() == 1 and optdigits(scale=False)[0].x.max() == 16
    # Figures of the set's own description, optdigits.names.
    assert np.bincount(train.y).tolist() == [376, 389, 380, 389, 387, 376, 377, 387, 380, 382]
    assert np.bincount(test.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    assert np.array_equal(test.x.reshape(-1, 64) * 16, sklearn_datasets.load_digits().data)


@pytest.mark.parametrize("load", [mnist, fashion_mnist])
def test_mnist_and_fashion_mnist(load):
    train, test = _or_skip(load)
    assert train.x.shape == (60000, 1, 28, 28) and test.x.shape == (10000, 1, 28, 28)
    assert train.x.dtype == np.float32 and train.y.dtype == np.int64
    assert test.x.min() == 0 and test.x.max() == 1
    assert np.bincount(test.y).sum() == 10000 and len(train.classes) == 10
    if load is mnist:
        assert train.y[:5].tolist() == [5, 0, 4, 1, 9] and test.y[:5].tolist() == [7, 2, 1, 0, 4]
        # The mean that every MNIST script normalises with.
        assert abs(train.x.mean(dtype=np.float64) - 0.1307) < 5e-5
    else:
        assert train.classes[train.y[0]] == "Ankle boot" and np.all(np.bincount(train.y) == 6000)


def test_four_files_are_read_in_their_roles(places, monkeypatch):
    rng = np.random.default_rng(0)
    hashes = []
    for prefix, n in (("train", 60000), ("t10k", 10000)):
        # Rows of few values keep this quick: what counts is which file ends up where.
        images = np.repeat(rng.integers(0, 256, (n, 28, 1), dtype=np.uint8), 28, axis=2)
        labels = rng.integers(0, 10, n, dtype=np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array)
            hashes.append(hashlib.sha256(content).hexdigest())
            _place(places[0], content, f"{prefix}-{kind}-ubyte")
    train, test = datasets._four_files("set", (), hashes, "abcdefghij", scale=False)
    assert (train.x.shape, test.x.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert np.array_equal(test.x[:, 0], images) and np.array_equal(test.y, labels)
    assert test.name == "set test" and test.classes == tuple("abcdefghij")


# Batches


def test_batches_in_order_are_views():
    x, y = np.arange(14.0).reshape(7, 2), np.arange(7)
    parts = list(batches(x, y, 3, shuffle=False))
    assert [part.tolist() for _, part in parts] == [[0, 1, 2], [3, 4, 5], [6]]
    assert all(np.shares_memory(part, x) for part, _ in parts)
    assert [len(part) for part, _ in batches(x, y, 3, shuffle=False, drop_last=True)] == [3, 3]
    assert list(batches(x[:0], y[:0], 3)) == []


def test_batches_shuffle_each_example_once_and_keep_pairs():
    x, y = np.arange(100.0).reshape(100, 1), np.arange(100)
    parts = list(batches(x, y, 32, rng=0))
    assert [len(part) for _, part in parts] == [32, 32, 32, 4]
    order = np.concatenate([part for _, part in parts])
    assert sorted(order) == list(range(100)) and not np.array_equal(order, y)
    assert np.array_equal(np.concatenate([part for part, _ in parts])[:, 0], order)


def test_batches_order_depends_on_seed_and_epoch_alone():
    x = np.zeros((50, 1))
    y = np.arange(50)

    def order(**options):
        return np.concatenate([part for _, part in batches(x, y, 7, **options)]).tolist()

    first = order(rng=3, epoch=5)
    orders = [first, order(rng=3, epoch=4), order(rng=4, epoch=5), order(rng=3), order()]
    assert len({tuple(one) for one in orders}) == 5
    assert order(rng=3, epoch=5) == first
    assert order(rng=np.random.default_rng(1)) == order(rng=np.random.default_rng(1))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros((3, 1)), np.zeros(2), 1), ValueError, r"x \(3, 1\) and y \(2,\) must have the same length"),
        ((np.zeros(3), np.zeros(3), 0), ValueError, "batch_size must be at least 1, got 0"),
        ((np.zeros(3), np.zeros(3), 1.5), TypeError, "batch_size must be an integer, got 1.5"),
        ((np.float64(3), np.zeros(3), 1), ValueError, "same length"),
    ],
)
def test_batches_refuses_at_once(arguments, error, message):
    with pytest.raises(error, match=message):
        batches(*arguments)


def test_importing_data_loads_no_network_or_gzip_modules():
    code = (
        "import sys, numpy; before = set(sys.modules); import cconv.data; new = set(sys.modules) - before; "
        "print(sorted(new & {'urllib.request', 'http.client', 'tqdm', 'zipfile', 'gzip', 'sklearn'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
