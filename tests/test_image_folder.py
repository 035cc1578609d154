"""image_folder, Preprocessing and split: pictures of every kind, broken and hostile ones, sets on the disk."""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib

import numpy as np
import pytest

import cconv
from cconv import data, nn
from cconv._checks import FormatError
from cconv.data import Dataset, Loader, Preprocessing, image_folder, mean_std, split
from cconv.data.rows import Rows

Image = pytest.importorskip("PIL.Image")

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


def gradient(height, width):
    """A picture whose red rises to the right, whose green falls downwards, and whose blue is 30."""
    picture = np.full((height, width, 3), 30, np.uint8)
    picture[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
    picture[..., 1] = np.linspace(255, 0, height).astype(np.uint8)[:, None]
    return picture


def save(path, pixels, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.fixture
def pets(tmp_path):
    """pets/cat: three pictures, one deeper; pets/dog: two; and much that is to be passed over."""
    root = tmp_path / "pets"
    for i in range(2):
        save(root / "cat" / f"{i}.png", np.full((10, 12, 3), 10 * i, np.uint8))
    save(root / "cat" / "old" / "2.JPG", np.full((10, 12, 3), 20, np.uint8))
    for i in range(2):
        save(root / "dog" / f"{i}.bmp", np.full((12, 10), 100 + 10 * i, np.uint8))
    for name in ("readme.txt", "dog/notes.txt", ".hidden/1.png", "cat/._1.png", "cat/.thumbs/1.png", "dog/Thumbs.db"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("no picture")
    return root


# The folder


def test_a_folder_for_each_class(pets):
    found = image_folder(pets, 8)
    assert isinstance(found, Dataset) and found.classes == ("cat", "dog") and found.name == "pets"
    assert found.x.shape == (5, 3, 8, 8) and found.x.dtype == np.float32 and found.y.dtype == np.int64
    assert found.y.tolist() == [0, 0, 0, 1, 1]
    assert np.allclose(found.x[:, 0, 0, 0] * 255, [0, 10, 20, 100, 110])
    names = [os.path.relpath(path, pets) for path in found.paths]
    assert names == [
        os.path.join(*name.split("/")) for name in ("cat/0.png", "cat/1.png", "cat/old/2.JPG", "dog/0.bmp", "dog/1.bmp")
    ]
    some = found[found.y == 1]
    assert some.paths.tolist() == found.paths[3:].tolist() and some.preprocessing is found.preprocessing
    assert image_folder(str(pets), (4, 6), channels=1, dtype="uint8").x[:, 0, 3, 5].tolist() == [0, 10, 20, 100, 110]


def test_like_prepares_another_folder_with_the_same_labels(pets, tmp_path):
    train = image_folder(pets, 8, channels=1, dtype=np.uint8)
    save(tmp_path / "test" / "dog" / "a.png", np.full((9, 9), 7, np.uint8))
    test = image_folder(tmp_path / "test", like=train.preprocessing)
    assert test.y.tolist() == [1] and test.classes == train.classes and test.x.dtype == np.uint8
    with pytest.raises(TypeError, match="like= has size, channels, resize and dtype of its own"):
        image_folder(tmp_path / "test", 8, like=train.preprocessing)
    save(tmp_path / "test" / "eel" / "a.png", np.full((9, 9), 7, np.uint8))
    with pytest.raises(ValueError, match="has classes that like has not: eel"):
        image_folder(tmp_path / "test", like=train.preprocessing)
    with pytest.raises(TypeError, match="like must be the Preprocessing of a set"):
        image_folder(tmp_path / "test", like=Preprocessing(8))


def test_what_is_missing_is_said(pets, tmp_path):
    with pytest.raises(FileNotFoundError):
        image_folder(tmp_path / "none", 8)
    (pets / "eel").mkdir()
    (pets / "fox").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no pictures \(\.bmp, .*\) in .*pets of: eel, fox"):
        image_folder(pets, 8)
    with pytest.raises(FileNotFoundError, match=r"has no folders, one a class is expected$"):
        image_folder(pets / "eel", 8)
    with pytest.raises(FileNotFoundError, match="its pictures should lie in a folder for each class"):
        image_folder(pets / "dog", 8)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, TypeError, "size must be given, an int or .* or like=, got neither"),
        ({"size": 0}, ValueError, "size must be at least 1, got 0"),
        ({"size": (8, 8, 3)}, ValueError, r"size must be an int or \(height, width\)"),
        ({"size": 8, "channels": 4}, ValueError, r"channels must be 1 \(grey\) or 3 \(RGB\), got 4"),
        ({"size": 8, "resize": "pad"}, ValueError, "resize must be one of 'crop', 'stretch', got 'pad'"),
        ({"size": 8, "dtype": "int64"}, ValueError, r"dtype must be float32 \(0..1\) or uint8 \(0..255\), got int64"),
        ({"size": 8, "broken": "ignore"}, ValueError, "broken must be one of 'raise', 'skip', got 'ignore'"),
    ],
)
def test_wrong_arguments(pets, options, error, message):
    with pytest.raises(error, match=message):
        image_folder(pets, **options)


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_links_are_followed_but_not_in_circles(pets, tmp_path):
    save(tmp_path / "elsewhere" / "9.png", np.full((9, 9), 90, np.uint8))
    (pets / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (pets / "cat" / "round").symlink_to(pets / "cat")
    assert np.bincount(image_folder(pets, 8).y).tolist() == [4, 2]


def test_without_pillow_the_extra_is_named(pets):
    code = f"import sys; sys.modules['PIL'] = None; from cconv import data; data.image_folder({str(pets)!r}, 8)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'ImportError: data.image_folder needs Pillow: pip install "cconv[images]"' in done.stderr


def test_importing_cconv_does_not_import_pillow():
    code = "import sys, cconv; print('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


# Kinds of pictures


def pixels(tmp_path, picture, suffix="png", channels=3, size=None, **options):
    """What becomes of a picture that is saved to a file and prepared at its own size, as (H, W, C) bytes."""
    path = save(tmp_path / f"picture.{suffix}", picture, **options)
    with Image.open(path) as image:
        size = size or (image.height, image.width)
    x = Preprocessing(size, channels, dtype=np.uint8)(path)
    floats = Preprocessing(size, channels)(path)
    assert x.shape == (1, channels, *size) and np.abs(floats * 255 - x).max() <= 0.5 + 1e-4
    return x[0].transpose(1, 2, 0)


COLOURS = gradient(6, 9)


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tif", "webp"])
def test_colours(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    assert np.array_equal(pixels(tmp_path, COLOURS, suffix, **options), COLOURS)


def test_jpeg(tmp_path):
    assert np.abs(pixels(tmp_path, COLOURS, "jpg", quality=100, subsampling=0).astype(int) - COLOURS).max() < 4


def test_grey(tmp_path):
    grey = np.arange(54, dtype=np.uint8).reshape(6, 9)
    assert np.array_equal(pixels(tmp_path, grey), np.repeat(grey[..., None], 3, 2))
    assert np.array_equal(pixels(tmp_path, grey, channels=1)[..., 0], grey)
    luma = COLOURS @ np.array([0.299, 0.587, 0.114])
    assert np.abs(pixels(tmp_path, COLOURS, channels=1)[..., 0] - luma).max() <= 0.51


def test_one_bit(tmp_path):
    found = pixels(tmp_path, Image.fromarray(np.eye(5, dtype=bool)), channels=1)
    assert np.array_equal(found[..., 0], 255 * np.eye(5))


def test_16_bits_keep_their_scale(tmp_path):
    deep = np.array([[0, 257, 128 * 257], [65535, 400, 1000]], np.uint16)
    expected = np.rint(deep / 257)
    for suffix in ("png", "tif"):
        for channels in (1, 3):
            found = pixels(tmp_path, deep, suffix, channels)
            assert np.array_equal(found, np.repeat(expected[..., None], channels, 2)), suffix
    (tmp_path / "p.pgm").write_bytes(b"P5 3 2 65535\n" + deep.astype(">u2").tobytes())
    assert np.array_equal(Preprocessing((2, 3), 1, dtype=np.uint8)(tmp_path / "p.pgm")[0, 0], expected)
    # Of 16 bits of colour Pillow reads the upper 8.
    colours = np.stack([deep, deep // 2, 65535 - deep], 2)
    rows = b"".join(b"\0" + row.tobytes() for row in colours.astype(">u2"))
    (tmp_path / "c.png").write_bytes(png(3, 2, zlib.compress(rows), depth=16, kind=2))
    found = Preprocessing((2, 3), dtype=np.uint8)(tmp_path / "c.png")[0].transpose(1, 2, 0)
    assert np.array_equal(found, colours >> 8)
    # Floats keep what bytes cannot.
    x = Preprocessing((2, 3), 1)(tmp_path / "picture.png")
    assert np.allclose(x[0, 0], deep / 65535, atol=1e-7)


def test_palettes(tmp_path):
    palette = Image.fromarray(COLOURS).quantize(16)
    assert np.array_equal(pixels(tmp_path, palette), np.asarray(palette.convert("RGB")))
    assert np.array_equal(pixels(tmp_path, palette, "gif"), np.asarray(palette.convert("RGB")))
    palette.info["transparency"] = 0
    found = pixels(tmp_path, palette, transparency=0)
    hidden = np.asarray(palette) == 0
    assert hidden.any() and (found[hidden] == 255).all()
    assert np.array_equal(found[~hidden], np.asarray(palette.convert("RGB"))[~hidden])


def test_transparency_turns_white(tmp_path):
    alpha = np.zeros((6, 9), np.uint8)
    alpha[:, 3:6], alpha[:, 6:] = 128, 255
    found = pixels(tmp_path, np.dstack([COLOURS, alpha])).astype(int)
    assert (found[:, :3] == 255).all() and np.array_equal(found[:, 6:], COLOURS[:, 6:])
    assert np.abs(found[:, 3:6] - (COLOURS[:, 3:6] * 128.0 + 255 * 127) / 255).max() <= 1
    grey = Image.merge("LA", [Image.fromarray(np.full((6, 9), 7, np.uint8)), Image.fromarray(alpha)])
    found = pixels(tmp_path, grey, channels=1)
    assert (found[:, :3] == 255).all() and (found[:, 6:] == 7).all()
    one = Image.fromarray(np.arange(54, dtype=np.uint8).reshape(6, 9))
    found = pixels(tmp_path, one, channels=1, transparency=5)[..., 0]
    assert found[0, 5] == 255 and found[0, 6] == 6


def test_cmyk(tmp_path):
    expected = np.asarray(Image.fromarray(COLOURS).convert("CMYK").convert("RGB"))
    assert np.array_equal(pixels(tmp_path, Image.fromarray(COLOURS).convert("CMYK"), "tif"), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_exif_orientation(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    # What the camera stores is the scene turned; the inverses of the turns that PIL.ImageOps documents.
    stored = {
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.transpose(1, 0, 2),
        6: np.rot90(COLOURS, 1),
        7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOURS, -1),
    }[orientation]
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    found = pixels(tmp_path, np.ascontiguousarray(stored), suffix, size=(6, 9), exif=exif, **options)
    assert np.abs(found.astype(int) - COLOURS).max() < 4


def test_of_a_moving_picture_the_first(tmp_path):
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 200)]
    assert (pixels(tmp_path, frames[0], "gif", save_all=True, append_images=frames[1:]) == 10).all()


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (5, 200), (3, 3)])
def test_crop_takes_the_middle_and_stretch_all(height, width):
    picture = gradient(height, width)
    x = Preprocessing((20, 20), dtype=np.uint8)(picture)[0].astype(int)
    whole = Preprocessing((20, 20), resize="stretch", dtype=np.uint8)(picture)[0].astype(int)
    assert whole[0, 0, -1] - whole[0, 0, 0] > 160 and whole[1, 0, 0] - whole[1, -1, 0] > 160
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = Preprocessing((20, 20), dtype=np.uint8)(picture[top : top + side, left : left + side])[0]
    assert np.abs(x - middle).max() <= (30 if (height - side) % 2 or (width - side) % 2 else 1)
    assert np.all(x[2] == 30) and np.all(whole[2] == 30)


def test_a_target_that_is_not_square():
    picture = gradient(30, 90)
    x = Preprocessing((10, 20), dtype=np.uint8)(picture)[0]
    expected = np.asarray(Image.fromarray(picture[:, 15:75]).resize((20, 10), Image.Resampling.BILINEAR))
    # At the cut a pixel may see what was cut off.
    assert np.array_equal(x.transpose(1, 2, 0)[:, 1:-1], expected[:, 1:-1])


def test_crop_agrees_with_torchvisions_recipe_where_sizes_divide():
    # Short side to 20, then the middle 20 columns of 30.
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    small = np.asarray(Image.fromarray(picture).resize((30, 20), Image.Resampling.BILINEAR))[:, 5:25]
    assert (
        np.abs(Preprocessing(20, dtype=np.uint8)(picture)[0].transpose(1, 2, 0).astype(int) - small)[:, 1:-1].max() <= 1
    )


# Broken and hostile pictures


def png(width, height, body=b"", depth=8, kind=0):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def float_tiff(path):
    Image.fromarray(np.zeros((3, 3), np.float32)).save(path, format="TIFF")
    return path.read_bytes()


def deep_tiff(path):
    Image.fromarray(np.full((3, 3), 70000, np.int32)).save(path, format="TIFF")
    return path.read_bytes()


def good_png(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8)).save(path, format="PNG")
    return path.read_bytes()


BROKEN = {
    "empty": (lambda path: b"", "no picture that Pillow reads"),
    "text": (lambda path: b"hello", "no picture that Pillow reads"),
    "cut": (lambda path: good_png(path)[:500], "truncated"),
    "header alone": (lambda path: good_png(path)[:33], "."),
    "no pixels": (lambda path: png(50, 50, zlib.compress(b"\0")), "."),
    "bomb": (lambda path: png(60000, 60000, zlib.compress(bytes(1000))), "60000x60000|3600000000 pixels"),
    "larger than the limit": (
        lambda path: png(10000, 10000, zlib.compress(bytes(1000))),
        "10000x10000|100000000 pixels",
    ),
    "postscript": (lambda path: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n", "no picture that Pillow reads"),
    "floats": (float_tiff, "floating-point pixels"),
    "32 bits": (deep_tiff, "grey values from 70000 to 70000, expected 8 or 16 bits"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_pictures_are_named_or_left_out(pets, case):
    make, message = BROKEN[case]
    path = pets / "dog" / "5.png"
    path.write_bytes(make(path))
    with pytest.raises(FormatError, match=message) as caught:
        image_folder(pets, 8)
    assert str(caught.value).startswith(str(path))
    with pytest.raises(FormatError, match=message):
        Preprocessing(8)(path)
    with pytest.warns(UserWarning, match="left out 1 broken pictures:\n  .*5.png: ") as warned:
        found = image_folder(pets, 8, broken="skip")
    assert found.y.tolist() == [0, 0, 0, 1, 1] and str(path) not in found.paths
    assert any(entry.filename == __file__ for entry in warned)


def test_a_picture_survives_any_wrong_byte(tmp_path):
    content = good_png(tmp_path / "good.png")
    path = tmp_path / "spoilt.png"
    for position in range(0, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        try:
            assert Preprocessing(8)(path).shape == (1, 3, 8, 8)
        except FormatError as error:
            assert str(error).startswith(str(path))


def test_a_class_of_broken_pictures_alone_is_named(pets):
    for path in (pets / "dog").glob("*.bmp"):
        path.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"no pictures .* of: dog"):
        image_folder(pets, 8, broken="skip")


def test_many_broken_pictures_are_one_warning(pets):
    for i in range(30):
        (pets / "dog" / f"bad{i:02}.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"(?s)left out 30 broken .*\n  and 20 more$") as warned:
        image_folder(pets, 8, broken="skip")
    assert len(warned) == 1


# The cache


def test_a_cache_is_written_once_and_read_as_a_memmap(pets, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    expected = image_folder(pets, 8)
    first = image_folder(pets, 8, cache=cache)
    assert type(first.x) is np.memmap and np.array_equal(first.x, expected.x) and np.array_equal(first.y, expected.y)
    assert not first.x.flags.writeable
    files = sorted(path.name for path in cache.iterdir())
    assert len(files) == 2 and files[1].startswith("pets-") and files[1].endswith(".npy")
    assert np.array_equal(np.load(cache / files[1]), expected.x)
    monkeypatch.setattr(Preprocessing, "rows", None)
    again = image_folder(pets, 8, cache=cache)
    assert np.array_equal(again.x, expected.x) and again.paths.tolist() == expected.paths.tolist()
    monkeypatch.undo()
    # Another option, and a picture that has changed, are other files.
    assert image_folder(pets, 8, cache=cache, channels=1).x.shape == (5, 1, 8, 8)
    save(pets / "cat" / "0.png", np.full((10, 12, 3), 99, np.uint8))
    assert np.allclose(image_folder(pets, 8, cache=cache).x[0] * 255, 99)
    assert len(list(cache.iterdir())) == 6
    for batch, _ in Loader(first, 2, seed=0):
        assert type(batch) is np.ndarray


def test_a_cache_knows_what_was_left_out(pets, tmp_path):
    (pets / "cat" / "1.png").write_bytes(b"")
    for _ in range(2):
        with pytest.warns(UserWarning, match="left out 1 broken"):
            found = image_folder(pets, 8, cache=tmp_path / "cache", broken="skip")
        assert found.y.tolist() == [0, 0, 1, 1] and np.allclose(found.x[:, 0, 0, 0] * 255, [0, 20, 100, 110])
    with pytest.raises(FormatError, match=r"1\.png"):
        image_folder(pets, 8, cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix == ".tmp"]


@pytest.mark.parametrize("spoil", ["cut the array", "empty the array", "cut the notes", "no notes"])
def test_a_damaged_cache_is_written_again(pets, tmp_path, spoil):
    cache = tmp_path / "cache"
    expected = image_folder(pets, 8, cache=cache).x.copy()
    notes, array = sorted(cache.iterdir())
    if spoil == "no notes":
        notes.unlink()
    else:
        path = array if "array" in spoil else notes
        path.write_bytes(path.read_bytes()[: 0 if "empty" in spoil else 50])
    assert np.array_equal(image_folder(pets, 8, cache=cache).x, expected)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills")
def test_a_kill_while_the_cache_is_written_leaves_no_half_of_it(tmp_path):
    root, cache = tmp_path / "pictures", tmp_path / "cache"
    for i in range(60):
        save(root / "a" / f"{i:02}.png", np.full((300, 300, 3), i, np.uint8))
    code = f"""
from cconv import data
print("begun", flush=True)
x = data.image_folder({str(root)!r}, 400, cache={str(cache)!r}).x
print(abs(x[:, 0, 0, 0] * 255 - range(60)).max() < 1e-3)
"""
    cache.mkdir()
    for delay in (0.02, 0.05, 0.1, 0.15, 0.2):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout.readline() == "begun\n"
            time.sleep(delay)
            child.kill()
            child.wait()
        arrays = list(cache.glob("*.npy"))
        assert all(np.load(path).shape == (60, 3, 400, 400) for path in arrays)
    strays = [path for path in cache.iterdir() if path.suffix == ".tmp"]
    for path in cache.iterdir():
        if path.suffix != ".tmp":
            path.unlink()
    for path in strays[1:]:
        os.utime(path, (0, 0))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("begun\nTrue\n", "")
    assert [path for path in cache.iterdir() if path.suffix == ".tmp"] == strays[:1]


def test_a_set_of_pictures_need_not_fit_into_memory(tmp_path):
    # 300 pictures of 3 MB each as floats, with room for 400 MB of data beside the interpreter.
    pytest.importorskip("resource")
    root = tmp_path / "many"
    for i in range(10):
        save(root / str(i % 2) / f"{i}.png", np.full((8, 8, 3), i, np.uint8))
    for i in range(10, 300):
        os.link(root / str(i % 2) / f"{i % 10}.png", root / str(i % 2) / f"{i}.png")
    code = f"""
import resource
import numpy as np
from cconv import data
np.zeros(2).sum()
resource.setrlimit(resource.RLIMIT_DATA, (500 << 20, 500 << 20))
try:
    np.zeros(600 << 20, np.uint8)
    print("no limit here")
except MemoryError:
    pass
found = data.image_folder({str(root)!r}, 512, cache={str(tmp_path / "cache")!r})
train, test = data.split(found, 0.8, stratified=True, rng=0)
seen = 0
for x, y in data.Loader(train, 16, seed=0, prefetch=2):
    assert np.array_equal(np.rint(x[:, 0, 0, 0] * 255).astype(int) % 2, y)
    seen += len(y)
print(found.x.nbytes >> 20, seen)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if "no limit here" in done.stdout:
        pytest.skip("this system has no limit on a process's data")
    assert (done.stdout, done.stderr) == ("900 240\n", "")


# Preprocessing


def test_a_picture_is_prepared_as_in_the_set(pets):
    for options in ({}, {"channels": 1, "dtype": np.uint8}, {"resize": "stretch", "dtype": np.float32}):
        found = image_folder(pets, (7, 9), **options)
        prepare = found.preprocessing
        assert np.array_equal(prepare(found.paths), found.x)
        one = prepare(found.paths[0])
        assert one.shape == (1, *prepare.shape) and one.dtype == found.x.dtype and np.array_equal(one[0], found.x[0])
        with Image.open(found.paths[0]) as image:
            assert np.array_equal(prepare(image), one)
            assert np.array_equal(prepare(np.asarray(image)), one)
            assert np.array_equal(prepare([image, pets / "cat" / "1.png"]), found.x[:2])
            assert np.array_equal(prepare(np.stack([np.asarray(image)] * 2)), np.concatenate([one, one]))


def test_threads_do_not_change_the_order(tmp_path, monkeypatch):
    paths = [save(tmp_path / f"{i}.png", np.full((9, 9), i, np.uint8)) for i in range(150)]
    before = threading.enumerate()
    for n in (1, 2, 5):
        monkeypatch.setattr(cconv._threads, "_threads", n)
        assert Preprocessing(4, 1, dtype=np.uint8)(paths)[:, 0, 0, 0].tolist() == list(range(150))
    assert threading.enumerate() == before


def test_what_is_no_picture():
    prepare = Preprocessing(8)
    with pytest.raises(TypeError, match="picture 1 must be a path, a PIL image or an array, got int"):
        prepare([np.zeros((3, 3), np.uint8), 5])
    for wrong in (np.zeros((3, 3)), np.zeros((3, 8, 8), np.uint8), np.zeros((0, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"picture 0 must be a uint8 array \(H, W\), \(H, W, 3\) or \(H, W, 4\)"):
            prepare(wrong)
    with pytest.raises(FileNotFoundError):
        prepare("no such file.png")
    assert prepare([]).shape == (0, 3, 8, 8)


def test_preprocessing_is_kept_with_the_model(pets, tmp_path):
    found = image_folder(pets, (8, 12), channels=1, resize="stretch", dtype=np.uint8)
    model = nn.Sequential(nn.Rescale(1 / 255), nn.Normalize(*mean_std(found.x / 255)), nn.Flatten(), nn.Linear(96, 2))
    path = tmp_path / "pets.safetensors"
    model.save(path, metadata=found.preprocessing.to_metadata())
    again = Preprocessing.load(path)
    assert again == found.preprocessing and hash(again) == hash(found.preprocessing) and again.classes == ("cat", "dog")
    assert again != Preprocessing((8, 12), 1, resize="stretch", dtype=np.uint8)
    other = nn.Sequential(nn.Rescale(1), nn.Normalize(0, 1), nn.Flatten(), nn.Linear(96, 2))
    with pytest.raises(FormatError):
        other.load(path)  # a mean of no channels has another shape
    other = nn.Sequential(nn.Rescale(1), nn.Normalize([0], [1]), nn.Flatten(), nn.Linear(96, 2)).load(path)
    assert np.array_equal(other(again(found.paths)), model(found.x))
    assert repr(again) == "Preprocessing((8, 12), 1, resize='stretch', dtype='uint8', classes=('cat', 'dog'))"


def test_metadata_that_is_missing_or_broken(tmp_path):
    model = nn.Linear(2, 2)
    model.save(tmp_path / "plain.safetensors")
    with pytest.raises(
        FormatError, match=r"plain.safetensors: no cconv.preprocessing in the metadata \(which is empty\)"
    ):
        Preprocessing.load(tmp_path / "plain.safetensors")
    good = json.loads(Preprocessing(8, classes=["a"]).to_metadata()["cconv.preprocessing"])
    wrong = [
        "",
        "[]",
        "{}",
        "nonsense",
        "[" * 100_000,
        json.dumps(good | {"version": 2}),
        json.dumps(good | {"size": [0, 8]}),
        json.dumps(good | {"size": 8}),
        json.dumps(good | {"channels": "3"}),
        json.dumps(good | {"dtype": "object"}),
        json.dumps(good | {"dtype": 5}),
        json.dumps(good | {"classes": "ab"}),
        json.dumps(good | {"classes": [1]}),
        json.dumps(good | {"more": 1}),
    ]
    for text in wrong:
        with pytest.raises(FormatError, match=r"cconv.preprocessing in the metadata is broken: "):
            Preprocessing.from_metadata({"cconv.preprocessing": text})


# Splitting, statistics


def test_split_divides_each_class_alike():
    y = np.repeat([0, 1, 2], [50, 20, 7])
    whole = Dataset(np.arange(77.0)[:, None], y, "toys", ["a", "b", "c"], sample_weight=y + 1)
    first, second = split(whole, 0.8, stratified=True, rng=0)
    assert len(first) == 62 and np.bincount(first.y).tolist() in ([40, 16, 6], [40, 17, 5])
    both = np.concatenate([first.x, second.x])[:, 0]
    assert sorted(both) == list(range(77)) and (np.diff(first.x[:, 0]) > 0).all()
    assert first.classes == ("a", "b", "c") and np.array_equal(second.sample_weight, second.y + 1)
    same, _ = split(whole, 0.8, stratified=True, rng=0)
    other, _ = split(whole, 0.8, stratified=True, rng=1)
    assert np.array_equal(same.x, first.x) and not np.array_equal(other.x, first.x)
    assert len(split(whole, 0.5, rng=0)[0]) == 38
    strings = Dataset(np.zeros((4, 1)), ["u", "v", "u", "v"])
    assert sorted(split(strings, 0.5, stratified=True)[0].y) == ["u", "v"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda d: split((d.x, d.y), 0.5),
            TypeError,
            r"dataset must be a Dataset, got tuple: use data.Dataset\(x, y\)",
        ),
        (lambda d: split(d, 1), ValueError, "fraction must be less than 1, got 1"),
        (lambda d: split(d, 0), ValueError, "fraction must be more than 0, got 0"),
        (lambda d: split(d, "half"), TypeError, "fraction must be a number, got 'half'"),
        (lambda d: split(d, 0.01), ValueError, "fraction=0.01 of 4 examples leaves one part empty"),
        (lambda d: split(Dataset(d.x, d.x), 0.5, stratified=True), ValueError, r"labels \(N,\), got shape \(4, 1\)"),
        (lambda d: split(Dataset(d.x, (d.y, d.y)), 0.5, stratified=True), ValueError, "got tuple"),
    ],
)
def test_split_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make(Dataset(np.zeros((4, 1)), np.arange(4)))


def test_the_parts_of_a_memmap_are_read_when_asked_for(tmp_path):
    x = np.arange(200.0).reshape(50, 4)
    np.save(tmp_path / "x.npy", x)
    whole = Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(50))
    first, second = split(whole, 0.6, rng=0)
    assert type(first.x) is Rows and first.x.shape == (30, 4) and first.x.dtype == np.float64 and len(first.x) == 30
    assert np.array_equal(first.x, x[first.y]) and np.array_equal(second.x[3:5], x[second.y[3:5]])
    assert "reads them all" in repr(first.x)
    third, _ = split(first, 0.5, rng=1)
    assert type(third.x) is Rows and np.array_equal(third.x, x[third.y])
    assert np.array_equal(first[[1, 2]].x, x[first.y[[1, 2]]]) and np.array_equal(first[4][0], x[first.y[4]])
    in_memory = Dataset(np.asarray(first.x), first.y)
    for shuffle in (False, True):
        for a, b in zip(
            Loader(first, 7, shuffle=shuffle, seed=0), Loader(in_memory, 7, shuffle=shuffle, seed=0), strict=True
        ):
            assert type(a[0]) is np.ndarray and np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])
    assert np.array_equal(mean_std(first.x)[0], mean_std(in_memory.x)[0])
    with pytest.raises(ValueError, match="copy=False"):
        np.array(first.x, copy=False)


def test_mean_and_standard_deviation_of_channels(rng):
    x = (1000 + rng.standard_normal((300, 3, 40, 50)) * [[[1]], [[2]], [[5]]]).astype(np.float32)
    mean, std = mean_std(x)
    exact = x.astype(np.float64)
    assert np.allclose(mean, exact.mean((0, 2, 3)), rtol=1e-12) and np.allclose(std, exact.std((0, 2, 3)), rtol=1e-9)
    with pytest.raises(ValueError, match=r"x must be an array \(N, C, ...\) of one value or more, got shape \(0, 3\)"):
        mean_std(np.zeros((0, 3)))


def test_training_from_pictures_to_a_name(tmp_path):
    # As in the README: learn two kinds of pictures, save, load elsewhere, name one.
    rng = np.random.default_rng(0)
    for i in range(20):
        for name, channel in (("red", 0), ("blue", 2)):
            picture = rng.integers(0, 100, (30, 40, 3), dtype=np.uint8)
            picture[..., channel] += 120
            save(tmp_path / "pictures" / name / f"{i}.png", picture)
    pictures = image_folder(tmp_path / "pictures", 16, cache=tmp_path / "cache")
    train, test = split(pictures, 0.75, stratified=True, rng=0)

    def network():
        return nn.Sequential(
            nn.Normalize([0] * 3, [1] * 3),
            *(nn.Conv2d(3, 4, 3, rng=0), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(784, 2, rng=1)),
        )

    model = network()
    model[0] = nn.Normalize(*mean_std(train.x))
    optimizer, loss = cconv.optim.Adam(model.parameters(), lr=1e-2), nn.CrossEntropyLoss()
    for epoch in range(3):
        for x, y in Loader(train, 10, seed=0, prefetch=1).batches(epoch):
            logits, backward = model.forward(x)
            _, loss_backward = loss.forward(logits, y)
            optimizer.zero_grad()
            backward(loss_backward(), need_x=False)
            optimizer.step()
    assert (model(np.asarray(test.x)).argmax(1) == test.y).all()
    model.save(tmp_path / "model.safetensors", metadata=pictures.preprocessing.to_metadata())
    prepare = data.Preprocessing.load(tmp_path / "model.safetensors")
    again = network().load(tmp_path / "model.safetensors")
    assert prepare.classes[again(prepare(tmp_path / "pictures" / "red" / "3.png")).argmax()] == "red"


def test_nothing_warns(pets):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image_folder(pets, 8)
