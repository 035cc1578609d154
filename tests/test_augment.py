"""Augmentation: against the reference, PyTorch's grid_sample and SciPy; exact where pixels only move; the same bits
whatever threads, instruction set and batch."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from conftest import poisoned_empty

from cconv import _dispatch, _random
from cconv.data import (
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
    _geometry,
    augment,
    transform,
)
from cconv.reference import augment as reference

BORDERS, MODES = _geometry.BORDERS, _geometry.INTERPOLATIONS
DTYPES = [np.uint8, np.float32, np.float64]
SHAPES = [((2, 1, 1, 1), (1, 1)), ((3, 2, 1, 7), (4, 5)), ((2, 3, 6, 5), (6, 5)), ((1, 1, 4, 9), (3, 70))]

ALL = {
    "flip": RandomHorizontalFlip(),
    "vertical": RandomVerticalFlip(),
    "shift": RandomShift((2, 3)),
    "crop": RandomCrop(7, padding=2, padding_mode="reflect"),
    "resized": RandomResizedCrop((6, 9)),
    "affine": RandomAffine(20, (0.1, 0.2), (0.8, 1.2), 10),
    "rotation": RandomRotation((10, 90), padding_mode="symmetric"),
    "elastic": ElasticTransform(20, 2),
    "erasing": RandomErasing(0.8, value=0.5),
    "cutout": Cutout(3, value=[0.5, 1, 2]),
    "composed": Compose(
        [RandomCrop(8, 1), RandomHorizontalFlip(), RandomAffine(15), ElasticTransform(9, 1), Cutout(2)]
    ),
}


@pytest.fixture(autouse=True)
def poison(monkeypatch):
    def poisoned(shape, dtype):
        return np.full(shape, 77, dtype) if dtype == np.uint8 else poisoned_empty(shape, dtype)

    monkeypatch.setattr(_geometry, "empty", poisoned)
    monkeypatch.setattr(_geometry, "scratch", poisoned)


@pytest.fixture(params=DTYPES, ids=lambda t: t.__name__)
def dtype(request):
    return np.dtype(request.param)


def pictures(rng, shape, dtype):
    return rng.integers(0, 256, shape).astype(dtype) if dtype == np.uint8 else rng.normal(size=shape).astype(dtype)


def numbers(dtype, shape=(4, 3, 8, 9)):
    """The same pictures whatever the type; exact in each of them."""
    return np.random.default_rng(5).integers(0, 256, shape).astype(dtype)


def same(got, want, dtype):
    """uint8 may be rounded the other way where it is as far."""
    assert (got.dtype, got.shape) == (dtype, want.shape)
    within = {"uint8": 1, "float32": 2e-5, "float64": 1e-12}[dtype.name]
    largest = 1 if dtype == np.uint8 else np.abs(want).max(initial=1)
    assert np.abs(np.float64(got) - np.float64(want)).max(initial=0) <= within * largest


# Kernels against the reference --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["move", "erase", "resample"])
def test_signatures_are_the_references(name):
    assert inspect.signature(getattr(_geometry, name)) == inspect.signature(getattr(reference, name))


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_move_copies_pixels(shape, size, dtype, isa, n_threads, rng):
    x = pictures(rng, shape, dtype)
    if dtype != np.uint8:
        x.flat[0] = np.nan
    rows, columns = (rng.integers(-1, shape[a], (shape[0], size[a - 2])) for a in (2, 3))
    assert np.array_equal(
        _geometry.move(x, rows, columns, 9), reference.move(x, rows, columns, 9), equal_nan=dtype != np.uint8
    )


def test_erase_fills_boxes(dtype, isa, n_threads, rng):
    x = pictures(rng, (4, 2, 5, 6), dtype)
    boxes = [(0, 0, 5, 6), (0, 0, 0, 0), (1, 2, 3, 6), (4, 5, 5, 6)]
    y = x.copy()
    assert _geometry.erase(y, boxes, [3, 4]) is y
    assert np.array_equal(y, reference.erase(x.copy(), boxes, [3, 4]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_resample_reads_between_pixels(shape, size, border, mode, dtype, isa, rng):
    x = pictures(rng, shape, dtype)
    matrix = rng.normal(size=(shape[0], 6)) * [1, 1, 5, 1, 1, 5]
    args = (matrix, size, None, 0, 0, border, 7, mode)
    same(_geometry.resample(x, *args), reference.resample(x, *args), dtype)


@pytest.mark.parametrize(("sigma", "alpha"), [(0, 3), (0.7, 5), (1.5, 20), (4, 50)])
@pytest.mark.parametrize("border", BORDERS)
def test_resample_with_noise(border, sigma, alpha, dtype, isa, n_threads, rng):
    x = pictures(rng, (3, 2, 6, 7), dtype)
    matrix = np.tile([1, 0.1, -1, 0.2, 1, 0.5], (3, 1))
    noise = rng.uniform(-1, 1, (3, 2, 5, 8)).astype(np.float32)
    args = (matrix, (5, 8), noise, sigma, alpha, border, 3, "bilinear")
    same(_geometry.resample(x, *args), reference.resample(x, *args), dtype)


@pytest.mark.parametrize("border", BORDERS)
def test_whole_shifts_are_exact(border, dtype, isa, rng):
    x = pictures(rng, (2, 2, 5, 6), dtype)
    y = _geometry.resample(x, [[1, 0, 2, 0, 1, -1], [-1, 0, 5, 0, 1, 0]], (5, 6), border=border)
    assert np.array_equal(y[0, :, 1:, :4], x[0, :, :-1, 2:])
    assert np.array_equal(y[1], x[1, :, :, ::-1])


@pytest.mark.parametrize("matrix", [[1e300, 0, 0, 0, 1e300, 0], [1, 0, 1e18, 0, 1, -1e18], [0, 0, -1e9, 0, 0, 1e9]])
@pytest.mark.parametrize("border", BORDERS)
def test_places_far_away_are_outside(matrix, border, isa):
    x = np.full((1, 1, 3, 3), 5, np.float32)
    assert set(_geometry.resample(x, [matrix], (4, 4), border=border).flat) <= {0, 5}


# The three promises -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_threads_and_instruction_sets_change_no_bit(name, dtype, threads, keep_isa):
    x, results = numbers(dtype, (9, 3, 8, 9)), []
    if dtype == np.uint8 and name == "erasing":
        pytest.skip("its value is none of uint8")
    transform = ALL[name] if dtype != np.uint8 or name != "cutout" else Cutout(3, value=[5, 1, 2])
    for isa in _dispatch.usable():
        _dispatch.select(isa)
        for n in (1, 2, 3):
            threads(n)
            results.append(transform(x, np.random.default_rng(0)))
    assert all(np.array_equal(result, results[0]) for result in results)
    assert not np.array_equal(results[0], x)


@pytest.mark.parametrize("border", BORDERS)
def test_a_batch_changes_no_bit(border, dtype, isa, n_threads, rng):
    x = pictures(rng, (5, 2, 9, 8), dtype)
    matrix, noise = rng.normal(size=(5, 6)), rng.uniform(-1, 1, (5, 2, 9, 8)).astype(np.float32)
    y = _geometry.resample(x, matrix, (9, 8), noise, 1.2, 9, border)
    for n in range(5):
        one = slice(n, n + 1)
        assert np.array_equal(_geometry.resample(x[one], matrix[one], (9, 8), noise[one], 1.2, 9, border), y[one])


@pytest.mark.parametrize("name", ALL)
def test_the_generator_decides_all(name):
    x = numbers(np.float32)
    first, again, other = (ALL[name](x, _random.philox(3, _random.AUGMENT, step)) for step in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", ALL)
def test_the_input_is_left_alone(name):
    x = numbers(np.float64)
    before = x.copy()
    x.flags.writeable = False
    y = ALL[name](x, np.random.default_rng(0))
    assert np.array_equal(x, before) and not np.may_share_memory(x, y) and y.flags.c_contiguous and y.flags.writeable


@pytest.mark.parametrize("name", ALL)
def test_any_layout_and_byte_order(name):
    x = numbers(np.float32)
    want = ALL[name](x, np.random.default_rng(0))
    strided = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for given in (strided, x.astype(">f4"), np.repeat(x, 2, axis=3)[..., ::2], np.asfortranarray(x)):
        got = ALL[name](given, np.random.default_rng(0))
        assert got.dtype == np.float32 and np.array_equal(got, want)


@pytest.mark.parametrize("name", ALL)
def test_no_image_gives_none(name):
    size = {"crop": (7, 7), "resized": (6, 9), "composed": (8, 8)}.get(name, (8, 9))
    assert ALL[name](np.zeros((0, 3, 8, 9), np.float32), np.random.default_rng(0)).shape == (0, 3, *size)


# What the transforms do ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flip", "axis"), [(RandomHorizontalFlip, 3), (RandomVerticalFlip, 2)])
def test_flips(flip, axis, dtype, rng):
    x = numbers(dtype, (300, 2, 4, 5))
    assert np.array_equal(flip(1)(x, rng), np.flip(x, axis))
    assert np.array_equal(flip(0)(x, rng), x)
    y = flip(0.25)(x, rng)
    flipped = (y == np.flip(x, axis)).all(axis=(1, 2, 3))
    assert ((y == x).all(axis=(1, 2, 3)) | flipped).all()
    assert 45 <= flipped.sum() <= 105


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", [2, (1, 3), (9, 0)])
def test_shifts(size, border, dtype, rng):
    x = numbers(dtype, (400, 1, 4, 5))
    down, right = (size, size) if isinstance(size, int) else size
    padded = np.pad(x, [(0, 0), (0, 0), (down, down), (right, right)], border)
    y, seen = RandomShift(size, border)(x, rng), set()
    for image, around in zip(y, padded, strict=True):
        found = [
            (i, j)
            for i in range(2 * down + 1)
            for j in range(2 * right + 1)
            if np.array_equal(image, around[:, i : i + 4, j : j + 5])
        ]
        assert found
        seen |= set(found) if len(found) == 1 or border == "constant" else set()
    if border == "constant" and down < 4:
        assert len(seen) == (2 * down + 1) * (2 * right + 1)


@pytest.mark.parametrize("border", BORDERS)
def test_crops_are_parts_of_the_padded_image(border, dtype, rng):
    x = numbers(dtype, (200, 2, 6, 7))
    fill = {"constant_values": 9} if border == "constant" else {}
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (3, 3)], border, **fill)
    y, seen = RandomCrop((5, 8), (1, 3), border, 9)(x, rng), set()
    for image, around in zip(y, padded, strict=True):
        places = [(i, j) for i in range(4) for j in range(6)]
        found = [(i, j) for i, j in places if np.array_equal(image, around[:, i : i + 5, j : j + 8])]
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) == 24


def test_rotations_by_right_angles_are_exact(dtype):
    x = numbers(dtype, (2, 1, 5, 5))
    for turns in range(4):
        y = RandomRotation((90 * turns, 90 * turns), "nearest")(x, np.random.default_rng(0))
        assert np.array_equal(y, np.rot90(x, turns, axes=(2, 3)))


def test_resized_crops_have_their_size_and_shape(rng):
    # A picture of its own coordinates tells which part was taken.
    x = np.stack(np.meshgrid(np.arange(40.0), np.arange(60.0)))[None].repeat(500, 0)
    y = RandomResizedCrop(10, (0.2, 0.5), (0.5, 2))(x, rng)
    assert y.shape == (500, 2, 10, 10)
    width, height = (y[:, 0, 0, 8] - y[:, 0, 0, 1]) / 0.7, (y[:, 1, 8, 0] - y[:, 1, 1, 0]) / 0.7
    share = width * height / 2400
    assert 0.18 <= share.min() < 0.22 and 0.48 < share.max() <= 0.52
    assert 0.45 <= (width / height).min() < 0.6 and 1.7 < (width / height).max() <= 2.2
    # Where no box fits: the largest of the least ratio, in the middle.
    y = RandomResizedCrop((6, 4), (5, 5), (1, 1))(x[:1], rng)
    assert np.allclose(y[0, 0, 0], [4.5, 14.5, 24.5, 34.5])
    assert np.allclose(y[0, 1, :, 0], 10 + (np.arange(6) + 0.5) * 40 / 6 - 0.5)


def test_the_whole_image_resized_is_linear_interpolation(rng):
    x = rng.normal(size=(2, 3, 6, 4))
    crop = RandomResizedCrop((12, 8), (1, 1), (4 / 6, 4 / 6))
    y = crop(x, rng)
    for axis, length in ((2, 6), (3, 4)):
        place = np.clip((np.arange(2 * length) + 0.5) / 2 - 0.5, 0, length - 1)
        x = np.apply_along_axis(lambda line, place=place, length=length: np.interp(place, range(length), line), axis, x)
    np.testing.assert_allclose(y, x, atol=1e-13)


def test_erasing_fills_one_box(rng):
    x = np.zeros((1000, 2, 30, 40), np.float32)
    y = RandomErasing(0.6, (0.05, 0.2), (0.5, 2), (1, 2))(x, rng)
    assert np.array_equal(y[:, 1], 2 * y[:, 0])
    areas = []
    for image in y[:, 0]:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        if len(rows):
            assert image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert 0.4 <= len(columns) / len(rows) <= 2.3
            areas.append(image.mean())
    assert 530 <= len(areas) <= 670
    assert 0.04 <= min(areas) < 0.06 and 0.18 < max(areas) <= 0.21
    assert np.array_equal(RandomErasing(1, (5, 6))(x + 1, rng), x + 1)  # no box fits


def test_cutout_keeps_to_the_image(rng):
    y = Cutout((3, 5), 1)(np.zeros((2000, 1, 7, 8)), rng)[:, 0]
    middle = y.reshape(2000, -1).mean(0).reshape(7, 8)
    assert y.sum((1, 2)).max() == 15 and y.sum((1, 2)).min() == 2 * 3
    assert y.any(axis=(1, 2)).all()
    assert abs(middle[3, 4] - 15 / 56) < 0.04 and middle[0, 0] < middle[3, 4]


def test_elastic_is_small_and_smooth(rng):
    x = np.stack(np.meshgrid(np.arange(28.0), np.arange(28.0)))[None].repeat(50, 0)
    moved = (ElasticTransform(50, 5, padding_mode="edge")(x, rng) - x)[:, :, 4:-4, 4:-4]
    assert 0.4 < moved.std() < 1.2
    assert np.abs(np.diff(moved, axis=3)).max() < 0.9
    assert np.array_equal(ElasticTransform(0, 5)(x, rng), x)


def test_they_say_what_they_do():
    assert repr(Cutout(3)) == "Cutout(size=(3, 3), value=0.0)"
    composed = Compose([RandomShift(1), RandomHorizontalFlip(0.25)])
    shift = "RandomShift(size=(1, 1), padding_mode='constant', fill=0.0)"
    assert repr(composed) == f"Compose(transforms=[{shift}, RandomHorizontalFlip(p=0.25)])"
    given = "degrees=(-10.0, 20.0), interpolation='nearest', padding_mode='edge', fill=0.0"
    assert repr(RandomRotation((-10, 20), "nearest", "edge")) == f"RandomRotation({given})"


# Compose ------------------------------------------------------------------------------------------------------------


def test_crop_and_flip_are_one_move_of_the_same_pixels(dtype, monkeypatch):
    x = numbers(dtype)
    crop, flip = RandomCrop(6, 2, "reflect"), RandomHorizontalFlip()
    one, two = np.random.default_rng(1), np.random.default_rng(1)
    want = flip(crop(x, two), two)
    calls = []
    monkeypatch.setattr(transform, "move", lambda *a: calls.append(a) or _geometry.move(*a))
    assert np.array_equal(Compose([crop, Compose([flip])])(x, one), want)
    assert len(calls) == 1


def test_maps_are_multiplied(monkeypatch):
    x = np.stack(np.meshgrid(np.arange(40.0), np.arange(40.0)))[None].repeat(3, 0)
    parts = [RandomShift(2), RandomAffine(10, None, (0.9, 1.1)), RandomHorizontalFlip(), RandomRotation(10)]
    one, two = np.random.default_rng(1), np.random.default_rng(1)
    want = x
    for part in parts:
        want = part(want, two)
    calls = []
    monkeypatch.setattr(transform, "resample", lambda *a, **k: calls.append(a) or _geometry.resample(*a, **k))
    y = Compose(parts)(x, one)
    assert len(calls) == 1
    # A linear picture is interpolated exactly, once or twice.
    np.testing.assert_allclose(y[..., 14:26, 14:26], want[..., 14:26, 14:26], atol=1e-9)


def test_an_elastic_after_a_map_is_one_with_it(monkeypatch):
    x = numbers(np.float64, (3, 1, 20, 20))
    calls = []
    monkeypatch.setattr(transform, "resample", lambda *a, **k: calls.append(a) or _geometry.resample(*a, **k))
    Compose([RandomAffine(10), ElasticTransform(9, 2)])(x, np.random.default_rng(0))
    assert len(calls) == 1
    Compose([ElasticTransform(9, 2), RandomAffine(10)])(x, np.random.default_rng(0))
    assert len(calls) == 3


@pytest.mark.parametrize(
    "other",
    [RandomAffine(10, fill=1), RandomAffine(10, padding_mode="edge"), RandomAffine(10, interpolation="nearest")],
)
def test_unlike_maps_stay_apart(other):
    x = numbers(np.float64)
    one, two = np.random.default_rng(1), np.random.default_rng(1)
    first = RandomAffine(10)
    assert np.array_equal(Compose([first, other])(x, one), other(first(x, two), two))


def test_functions_of_ones_own_and_nothing_at_all(rng):
    x = numbers(np.float32)
    y = Compose([lambda x, rng: x + 1, Cutout(2, 7), lambda x, rng: x * 2])(x, rng)
    assert ((y == 2 * (x + 1)) | (y == 14)).all() and (y == 14).any()
    nothing = Compose([])(x, rng)
    assert np.array_equal(nothing, x) and not np.may_share_memory(nothing, x)


def test_a_function_that_returns_its_input_does_not_expose_it(rng):
    x = np.zeros((2, 1, 4, 4))
    assert Compose([lambda x, rng: x[:, :, ::-1], Cutout(9, 1)])(x, rng).any()
    assert not x.any()


# PyTorch and SciPy --------------------------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("border", "theirs"), [("constant", "zeros"), ("edge", "border"), ("symmetric", "reflection")])
def test_affine_is_pytorchs(border, theirs, mode, rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(6, 3, 11, 14))
    transform = RandomAffine(40, (0.2, 0.3), (0.6, 1.5), (-20, 20, -10, 10), mode, border)
    y = transform(x, np.random.default_rng(3))
    matrix, _ = transform.matrices(6, (11, 14), np.random.default_rng(3))
    # From pixels to -1..1, whose ends are the outer edges of the outermost pixels.
    to_pixels = np.array([[7, 0, 6.5], [0, 5.5, 5], [0, 0, 1]])
    theta = np.linalg.inv(to_pixels) @ matrix @ to_pixels
    grid = torch.nn.functional.affine_grid(torch.from_numpy(theta[:, :2]), x.shape, align_corners=False)
    want = torch.nn.functional.grid_sample(torch.from_numpy(x), grid, mode, theirs, align_corners=False).numpy()
    if mode == "nearest":
        assert (y == want).mean() > 0.999
    else:
        np.testing.assert_allclose(y, want, atol=1e-12)


@pytest.mark.torch
def test_reflection_at_pixels_is_pytorchs(rng):
    torch = pytest.importorskip("torch")
    x, matrix = rng.normal(size=(4, 2, 7, 9)), rng.normal(size=(4, 6)) * [1, 1, 9, 1, 1, 9]
    y = _geometry.resample(x, matrix, (7, 9), border="reflect")
    i, j = np.mgrid[:7, :9]
    column, row = (np.einsum("nk,khw->nhw", m, np.stack([j, i, i * 0 + 1])) for m in (matrix[:, :3], matrix[:, 3:]))
    grid = torch.from_numpy(np.stack([column / 4 - 1, row / 3 - 1], -1))
    want = torch.nn.functional.grid_sample(torch.from_numpy(x), grid, "bilinear", "reflection", align_corners=True)
    np.testing.assert_allclose(y, want.numpy(), atol=1e-12)


def torchvisions(angle, x, y, scale, shear_x, shear_y):
    """The inverse map of torchvision's `_get_inverse_affine_matrix`, from its documented forward one."""
    turn, shear_x, shear_y = np.deg2rad([angle, shear_x, shear_y])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    along_y = np.array([[1, 0], [-np.tan(shear_y), 1]])
    along_x = np.array([[1, -np.tan(shear_x)], [0, 1]])
    forward = np.eye(3)
    forward[:2, :2] = scale * rotation @ along_y @ along_x
    forward[:2, 2] = x, y
    return np.linalg.inv(forward)


def test_the_map_is_torchvisions(rng):
    for _ in range(50):
        angle, x, y, scale, shear_x, shear_y = rng.uniform([-180, -9, -9, 0.5, -60, -60], [180, 9, 9, 2, 60, 60])
        got = augment.affine_matrices((7, 10), *(np.array([v]) for v in (angle, x, y, scale, shear_x, shear_y)))[0]
        to_middle = np.array([[1, 0, 4.5], [0, 1, 3], [0, 0, 1]])
        want = to_middle @ torchvisions(angle, x, y, scale, shear_x, shear_y) @ np.linalg.inv(to_middle)
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_scipy_agrees(rng):
    ndimage = pytest.importorskip("scipy.ndimage")
    x, m = rng.normal(size=(1, 1, 12, 9)), np.array([0.9, 0.2, 0.3, -0.1, 1.1, -0.4])
    noise = rng.uniform(-1, 1, (1, 2, 12, 9)).astype(np.float32)
    for border, theirs in (("edge", "nearest"), ("reflect", "mirror"), ("symmetric", "reflect")):
        want = ndimage.affine_transform(
            x[0, 0], [[m[4], m[3]], [m[1], m[0]]], [m[5], m[2]], order=1, mode=theirs, prefilter=False
        )
        np.testing.assert_allclose(_geometry.resample(x, [m], (12, 9), border=border)[0, 0], want, atol=1e-12)
    i, j = np.mgrid[:12, :9]
    du, dv = (15 * ndimage.gaussian_filter(np.float64(f), 1.5, mode="mirror", truncate=4) for f in noise[0])
    want = ndimage.map_coordinates(x[0, 0], [i + dv, j + du], order=1, mode="nearest")
    y = _geometry.resample(x, [[1, 0, 0, 0, 1, 0]], (12, 9), noise, 1.5, 30, "edge")
    np.testing.assert_allclose(y[0, 0], want, atol=1e-12)


# Errors -------------------------------------------------------------------------------------------------------------

X = np.zeros((2, 3, 8, 9), np.float32)
BAD = [
    (ValueError, r"RandomHorizontalFlip: p must be in 0..1, got 1.5", lambda: RandomHorizontalFlip(1.5)),
    (ValueError, r"RandomVerticalFlip: p must be at least 0", lambda: RandomVerticalFlip(-0.1)),
    (TypeError, r"RandomErasing: p must be a number, got '1'", lambda: RandomErasing("1")),
    (ValueError, r"RandomShift: size must be at least 0, got -1", lambda: RandomShift(-1)),
    (TypeError, r"RandomCrop: size must be an integer, got 1.5", lambda: RandomCrop(1.5)),
    (ValueError, r"RandomCrop: padding_mode must be one of 'constant', 'edge'", lambda: RandomCrop(1, 1, "zeros")),
    (ValueError, r"RandomAffine: degrees must be at least 0, got -3", lambda: RandomAffine(-3)),
    (ValueError, r"RandomAffine: degrees must be \(least, largest\)", lambda: RandomAffine((3, -3))),
    (ValueError, r"RandomAffine: translate must be in 0..1, got \(2, 0\)", lambda: RandomAffine(0, (2, 0))),
    (ValueError, r"RandomAffine: translate must be 2 numbers, got 0.1", lambda: RandomAffine(0, 0.1)),
    (ValueError, r"RandomAffine: scale must be more than 0", lambda: RandomAffine(0, None, (0, 1))),
    (ValueError, r"RandomAffine: shear must be within 90 degrees", lambda: RandomAffine(0, shear=90)),
    (ValueError, r"RandomRotation: degrees must be 2 numbers", lambda: RandomRotation((1, 2, 3))),
    (ValueError, r"interpolation must be one of 'nearest', 'bilinear'", lambda: RandomAffine(1, interpolation="cubic")),
    (ValueError, r"ElasticTransform: sigma must be at least 0", lambda: ElasticTransform(1, -1)),
    (ValueError, r"RandomResizedCrop: ratio must be more than 0", lambda: RandomResizedCrop(1, ratio=(0, 1))),
    (ValueError, r"RandomErasing: scale must be \(least, largest\)", lambda: RandomErasing(scale=(0.5, 0.1))),
    (ValueError, r"Cutout: size must be at least 1, got 0", lambda: Cutout(0)),
    (TypeError, r"Compose: transforms must be a sequence", lambda: Compose(RandomShift(1))),
    (TypeError, r"Compose: transforms must be callable as \(x, rng\), got 3", lambda: Compose([3])),
    (TypeError, r"Compose: transforms must be callable.*RandomShift", lambda: Compose([RandomShift])),
    (TypeError, r"augment: rng must be a numpy.random.Generator, got 0", lambda: RandomShift(1)(X, 0)),
    (TypeError, r"augment: x has dtype int64, expected float32, float64 or uint8", lambda: call(X.astype(int))),
    (ValueError, r"augment: x has 3 dimensions \(3, 8, 9\), expected 4 \(N, C, H, W\)", lambda: call(X[0])),
    (ValueError, r"augment: x \(2, 3, 0, 9\) has images of no pixels", lambda: call(X[:, :, :0])),
    (ValueError, r"RandomCrop: size \(9, 9\) is larger than images of \(8, 9\) with", lambda: call(X, RandomCrop(9))),
    (ValueError, r"Cutout: value has 2 numbers, the images 3 channels", lambda: call(X, Cutout(1, [1, 2]))),
    (ValueError, r"fill must be an integer in 0..255 .* got 0.5", lambda: call(np.uint8(X), RandomShift(1, fill=0.5))),
    (ValueError, r"Cutout: value must be an integer in 0..255 .* got 256", lambda: call(np.uint8(X), Cutout(1, 256))),
]


def call(x, transform=None):
    return (transform or RandomShift(1))(x, np.random.default_rng(0))


@pytest.mark.parametrize(("error", "message", "bad"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_errors_name_argument_rule_and_value(error, message, bad):
    with pytest.raises(error, match=message):
        bad()
