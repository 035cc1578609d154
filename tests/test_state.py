"""State dicts and safetensors files."""

import json
import os
import struct

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
