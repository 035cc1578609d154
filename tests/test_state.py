"""State dicts and safetensors files."""

import errno
import json
import os
import stat
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy

from cconv import FormatError, _state, nn


def model(seed=0, dtype=np.float32):
    return nn.Sequential(
        nn.Rescale(0.5),
        nn.Conv2d(1, 2, 3, rng=seed, dtype=dtype),
        nn.Flatten(),
        nn.Sequential(nn.Linear(8, 3, rng=seed, dtype=dtype)),
    )


def assert_same(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


NAMES = ["0.scale", "0.offset", "1.weight", "1.bias", "3.0.weight", "3.0.bias"]


class TestStateDict:
    def test_names_are_paths(self):
        state = model().state_dict()
        assert list(state) == NAMES
        assert state["1.weight"].shape == (2, 1, 3, 3) and state["3.0.weight"].shape == (3, 8)

    def test_holds_copies(self):
        net = model()
        state = net.state_dict()
        for array in state.values():
            array[...] = 9
        assert not any((p.value == 9).any() for p in net.parameters())

    def test_loads_in_place_and_casts(self):
        net, wide = model(0), model(1, np.float64)
        arrays = [p.value for p in net.parameters()]
        net.load_state_dict(wide.state_dict())
        assert all(p.value is array for p, array in zip(net.parameters(), arrays, strict=True))
        for p, q in zip(net.parameters(), wide.parameters(), strict=True):
            assert p.value.dtype == np.float32
            np.testing.assert_array_equal(p.value, q.value.astype(np.float32))

    def test_a_shared_layer_stands_under_each_path(self):
        layer = nn.Linear(3, 3)
        net = nn.Sequential(layer, nn.ReLU(), layer)
        assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        assert [path for path, _ in net.named_parameters()] == ["0.weight", "0.bias"]

    def test_every_misfit_is_listed_and_nothing_changes(self):
        net, before = model(), model()
        state = model(1).state_dict()
        del state["1.bias"], state["0.scale"]
        state["3.0.weight"] = state["3.0.weight"].T
        state["4.weight"] = np.zeros(2)
        state["0.offset"] = np.array(1j)
        with pytest.raises(ValueError) as caught:
            net.load_state_dict(state)
        assert str(caught.value) == (
            "load_state_dict: the state does not fit the model: missing: 0.scale, 1.bias; unexpected: 4.weight; "
            "wrong shape: 3.0.weight has shape (8, 3), expected (3, 8); "
            "wrong dtype: 0.offset has dtype complex128, expected float32"
        )
        assert_same(net, before)

    def test_long_lists_are_cut(self):
        with pytest.raises(ValueError, match=r"unexpected: 0, 1, .*, 19 and 5 more$"):
            nn.Sequential().load_state_dict({str(i): 0.0 for i in range(25)})

    def test_own_buffers_of_any_type(self):
        class Counting(nn.Layer):
            def __init__(self):
                self.count = nn.Buffer(np.array(3))

        layer = Counting()
        layer.load_state_dict({"count": np.array(5)})
        assert layer.count.value == 5 and layer.count.value.dtype == np.int64
        with pytest.raises(ValueError, match="count has dtype float64, expected int64"):
            layer.load_state_dict({"count": np.array(5.5)})
        layer.count.value = 7
        assert layer.state_dict()["count"] == 7
        with pytest.raises(ValueError, match=r"Buffer: value has shape \(\), cannot assign \(2,\)"):
            layer.count.value = [1, 2]


class TestFiles:
    def test_round_trip(self, tmp_path):
        path = tmp_path / "net.safetensors"
        model(1).save(path)
        net = model(0)
        assert net.load(path) is net
        assert_same(net, model(1))
        assert os.listdir(tmp_path) == ["net.safetensors"]

    def test_others_read_it(self, tmp_path):
        path = tmp_path / "net.safetensors"
        model().save(path, metadata={"epoch": "3"})
        arrays = safetensors.numpy.load_file(path)
        assert sorted(arrays) == sorted(NAMES)
        np.testing.assert_array_equal(arrays["1.weight"], model()[1].weight.value)
        assert _state.load(path)[1] == {"epoch": "3"}

    @pytest.mark.torch
    def test_a_file_of_pytorchs_loads_unchanged(self, tmp_path):
        torch = pytest.importorskip("torch")
        from safetensors.torch import load_file, save_file

        peer = torch.nn.Sequential(
            torch.nn.Conv2d(2, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 5)
        )
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))
        save_file(peer.state_dict(), tmp_path / "peer.safetensors")
        net.load(tmp_path / "peer.safetensors")
        x = np.random.default_rng(0).normal(size=(4, 2, 6, 6)).astype(np.float32)
        expected = peer(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(net(x), expected, rtol=1e-5, atol=1e-6)
        # And back.
        net.save(tmp_path / "net.safetensors")
        peer.load_state_dict(load_file(tmp_path / "net.safetensors"))
        np.testing.assert_array_equal(peer(torch.tensor(x)).detach().numpy(), expected)

    def test_half_precision_loads(self, tmp_path):
        path = tmp_path / "half.safetensors"
        _state.save(path, {name: a.astype(np.float16) for name, a in model(1).state_dict().items()})
        net = model().load(path)
        np.testing.assert_array_equal(
            net[1].weight.value, model(1)[1].weight.value.astype(np.float16).astype(np.float32)
        )

    def test_arrays_of_any_layout(self, tmp_path):
        path = tmp_path / "a.safetensors"
        array = np.arange(12.0).reshape(3, 4)
        given = {"t": array.T, "s": array[::2, 1:3], "b": array.astype(">f8"), "e": array[:0], "0": np.float32(2)}
        _state.save(path, given)
        arrays, metadata = _state.load(path)
        assert metadata == {} and set(arrays) == set(given)
        for name, expected in given.items():
            assert arrays[name].shape == np.shape(expected)
            np.testing.assert_array_equal(arrays[name], expected)

    def damaged(self, path, header=None, body=b""):
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + body)

    @pytest.mark.parametrize("cut", [0, 4, 8, 40, -1])
    def test_a_file_cut_short(self, tmp_path, cut):
        path = tmp_path / "net.safetensors"
        model(1).save(path)
        path.write_bytes(path.read_bytes()[:cut])
        net = model()
        with pytest.raises(FormatError, match=r"net.safetensors: not a safetensors file, or damaged"):
            net.load(path)
        assert_same(net, model())

    @pytest.mark.parametrize("content", [b"\xff" * 100, b"\x80\x04\x95 a pickle", b"\x02" + b"\0" * 7 + b"[]"])
    def test_a_file_of_something_else(self, tmp_path, content):
        path = tmp_path / "net.safetensors"
        path.write_bytes(content)
        with pytest.raises(FormatError, match="not a safetensors file"):
            model().load(path)

    @pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "X"])
    def test_dtypes_that_numpy_lacks(self, tmp_path, dtype):
        path = tmp_path / "net.safetensors"
        size = 1 if dtype.startswith("F8") else 2
        self.damaged(path, {"a": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}, b"\0" * size)
        with pytest.raises(FormatError, match=r"net\.safetensors"):
            model().load(path)

    def test_a_file_for_another_model(self, tmp_path):
        path = tmp_path / "net.safetensors"
        nn.Sequential(nn.Linear(3, 2)).save(path)
        net = model()
        with pytest.raises(FormatError, match=r"net.safetensors: the state does not fit the model: missing: 0.scale"):
            net.load(path)
        assert_same(net, model())

    def test_missing_files_and_folders(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            model().load(tmp_path / "none.safetensors")
        with pytest.raises(OSError):
            model().load(tmp_path)
        with pytest.raises(OSError):
            model().save(tmp_path / "none" / "net.safetensors")

    def test_metadata_is_text(self, tmp_path):
        with pytest.raises(TypeError, match="metadata must map str to str"):
            model().save(tmp_path / "net.safetensors", metadata={"epoch": 3})
        assert os.listdir(tmp_path) == []


class TestReplacing:
    def test_an_error_leaves_the_old_file_and_no_other(self, tmp_path, monkeypatch):
        path = tmp_path / "net.safetensors"
        model(1).save(path)
        before = path.read_bytes()

        def full(*args):
            raise OSError(28, "No space left on device")

        for broken in ("replace", "fsync"):
            with monkeypatch.context() as patch:
                patch.setattr(os, broken, full)
                with pytest.raises(OSError, match="No space left"):
                    model(2).save(path)
            assert path.read_bytes() == before
            assert os.listdir(tmp_path) == ["net.safetensors"]

    def test_the_file_takes_its_name_once_it_is_whole_and_on_the_disk(self, tmp_path, monkeypatch):
        path = tmp_path / "net.safetensors"
        events = []
        fsync, replace = os.fsync, os.replace

        def noting_fsync(handle):
            events.append("fsync")
            fsync(handle)

        def noting_replace(source, target):
            assert os.path.dirname(source) == os.path.dirname(target)
            assert model().load(source)
            events.append("replace")
            replace(source, target)

        monkeypatch.setattr(os, "fsync", noting_fsync)
        monkeypatch.setattr(os, "replace", noting_replace)
        model(1).save(path)
        assert events[:2] == ["fsync", "replace"]

    @pytest.mark.skipif(os.name != "posix", reason="links and modes")
    def test_links_and_modes_stay(self, tmp_path):
        target, link = tmp_path / "target", tmp_path / "link"
        target.write_bytes(b"old")
        link.symlink_to(target)
        model(1).save(link)
        assert link.is_symlink()
        assert_same(model().load(target), model(1))
        (tmp_path / "plain").write_bytes(b"")
        assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_saving_into_no_folder_names_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder to save in"):
        nn.Linear(2, 1).save(tmp_path / "missing" / "a.safetensors")
    with pytest.raises(IsADirectoryError, match="a folder, not a file"):
        nn.Linear(2, 1).save(tmp_path)


class TestStrays:
    """What a kill while saving leaves."""

    def stray(self, folder, name="net.safetensors", age=1000.0):
        path = folder / f".{name}.0123abcd.tmp"
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
        return path

    def test_the_next_save_sweeps_them(self, tmp_path):
        old = self.stray(tmp_path)
        others = [self.stray(tmp_path, age=5.0, name="net.safetensors.x"), self.stray(tmp_path, "other.safetensors")]
        alike = tmp_path / "net.safetensors.0123abcd.tmp"
        alike.write_bytes(b"a user's")
        os.utime(alike, (0, 0))
        model().save(tmp_path / "net.safetensors")
        assert not old.exists() and alike.exists() and all(other.exists() for other in others)
        _state.sweep(tmp_path, lambda name: name == "other.safetensors")
        assert not others[1].exists() and others[0].exists()

    def test_a_young_one_stays(self, tmp_path):
        young = self.stray(tmp_path, age=5.0)
        model().save(tmp_path / "net.safetensors")
        assert young.exists()

    @pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
    def test_one_that_is_being_written_stays(self, tmp_path):
        code = (
            "import os, sys, time\nfrom cconv import _state\n"
            f"with _state.replacing({str(tmp_path / 'net.safetensors')!r}) as file:\n"
            "    file.write(b'x' * 100_000)\n    print('writing', flush=True)\n    sys.stdin.read()\n"
        )
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"writing\n"
        (live,) = tmp_path.glob(".net*.tmp")
        os.utime(live, (0, 0))
        model(1).save(tmp_path / "net.safetensors")
        assert live.exists()
        process.kill()
        process.communicate()
        os.utime(live, (0, 0))
        assert_same(model().load(tmp_path / "net.safetensors"), model(1))
        model(2).save(tmp_path / "net.safetensors")
        assert os.listdir(tmp_path) == ["net.safetensors"]

    def test_a_stray_that_cannot_be_looked_at_is_no_error(self, tmp_path):
        (tmp_path / ".net.safetensors.0123abcd.tmp").mkdir()
        os.utime(tmp_path / ".net.safetensors.0123abcd.tmp", (0, 0))
        model().save(tmp_path / "net.safetensors")
        _state.sweep(tmp_path / "none", lambda name: True)


@pytest.mark.skipif(os.name != "posix", reason="POSIX file systems")
class TestUnusualFiles:
    def test_names_that_are_no_utf8(self, tmp_path):
        path = os.fsencode(tmp_path) + b"/n\xe9t.safetensors"
        try:
            open(path, "wb").close()
        except OSError:
            pytest.skip("the file system takes UTF-8 alone")
        for given in (path, os.fsdecode(path)):
            model(1).save(given)
            assert_same(model().load(given), model(1))
        with open(path, "r+b") as file:
            file.truncate(30)
        with pytest.raises(FormatError, match="not a safetensors file, or damaged"):
            model().load(path)

    def test_the_longest_names(self, tmp_path):
        path = tmp_path / ("n" * 255)
        model(1).save(path)
        assert_same(model().load(path), model(1))
        assert os.listdir(tmp_path) == ["n" * 255]

    def test_a_full_disk(self, tmp_path):
        path = tmp_path / "net.safetensors"
        model(1).save(path)
        code = (
            "import resource, sys\nimport numpy as np\nfrom cconv import _state\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
            f"try:\n    _state.save({str(path)!r}, {{'a': np.zeros(9999)}})\n"
            "except OSError as error:\n    print(type(error).__name__, error.errno)"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert found == f"OSError {errno.EFBIG}\n"
        assert os.listdir(tmp_path) == ["net.safetensors"]
        assert_same(model().load(path), model(1))

    def test_devices_and_pipes_stay_what_they_are(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in ("/dev/null", tmp_path / "pipe"):
            before = os.stat(path).st_mode
            with pytest.raises(OSError, match="a device or pipe, not a file to save to"):
                model().save(path)
            assert os.stat(path).st_mode == before

    def test_permissions_stay(self, tmp_path):
        path = tmp_path / "net.safetensors"
        for mode in (0o600, 0o640):
            path.touch()
            path.chmod(mode)
            model().save(path)
            assert path.stat().st_mode & 0o777 == mode

    def test_links(self, tmp_path):
        (tmp_path / "sub").mkdir()
        dangling, loop = tmp_path / "dangling", tmp_path / "loop"
        dangling.symlink_to("sub/new")
        loop.symlink_to(loop)
        model(1).save(dangling)
        assert dangling.is_symlink() and os.listdir(tmp_path / "sub") == ["new"]
        with pytest.raises(OSError):
            model().load(loop)

    def test_a_folder_that_cannot_be_synced_does_not_matter(self, tmp_path, monkeypatch):
        fsync = os.fsync

        def refusing(handle):
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "Invalid argument")
            fsync(handle)

        monkeypatch.setattr(os, "fsync", refusing)
        model(1).save(tmp_path / "net.safetensors")
        assert_same(model().load(tmp_path / "net.safetensors"), model(1))

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    def test_a_read_only_folder(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError, match=r"net\.safetensors'$"):
            model().save(tmp_path / "net.safetensors")


HOSTILE = {
    "length of 2**64 - 1": (b"\xff" * 8 + b"{}", None),
    "length past the end": (struct.pack("<Q", 1000) + b"{}", None),
    "header of 200 MB": (struct.pack("<Q", 200 << 20) + b"{}", None),
    "deep nesting": (None, b"[" * 100_000),
    "no UTF-8": (None, b'{"\xff\xfe": 1}'),
    "overlap": (None, {n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in "ab"}),
    "backwards": (None, {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}),
    "beyond": (None, {"a": {"dtype": "F32", "shape": [2**20], "data_offsets": [0, 2**22]}}),
    "a gap": (None, {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}),
    "overflow": (None, {"a": {"dtype": "F32", "shape": [2**33, 2**33], "data_offsets": [0, 8]}}),
    "huge and empty": (None, {"a": {"dtype": "F32", "shape": [2**62, 0], "data_offsets": [0, 0]}}),
    "many axes": (None, {"a": {"dtype": "F32", "shape": [1] * 100 + [2], "data_offsets": [0, 8]}}),
    "negative": (None, {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}),
    "other size": (None, {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}),
    "trailing bytes": (None, {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
    "metadata of numbers": (None, {"__metadata__": {"a": 1}}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path, name):
    content, header = HOSTILE[name]
    if content is None:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        content = struct.pack("<Q", len(text)) + text + bytes(8)
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    net = model()
    with pytest.raises(FormatError, match=r"net\.safetensors"):
        net.load(path)
    assert_same(net, model())


@pytest.mark.parametrize("seed", range(8))
def test_files_with_bytes_changed(tmp_path, seed):
    """Whatever a file holds: it loads, or is refused with the one error, and then nothing has changed."""
    rng = np.random.default_rng(seed)
    path = tmp_path / "net.safetensors"
    model(1).save(path)
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            content[int(rng.integers(0, header))] = int(rng.choice([*b'0123456789[]{}",:\\', 0, 255]))
        path.write_bytes(content)
        net = model()
        try:
            net.load(path)
        except FormatError:
            assert_same(net, model())
