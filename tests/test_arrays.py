"""What all operations take and give: arrays of any layout in, untouched; C-contiguous arrays of the same dtype out."""

from __future__ import annotations

import numpy as np
import pytest
from cases import DRAWS, draw_call, same_bits


def fortran(a):
    return np.asfortranarray(a)


def reversed_view(a):
    """Negative strides on every axis."""
    return a[(slice(None, None, -1),) * a.ndim].copy()[(slice(None, None, -1),) * a.ndim]


def sliced(a):
    """Every second number of a larger array, the others NaN (or far out of range)."""
    big = np.full([2 * n for n in a.shape], np.nan if a.dtype.kind == "f" else 10**9, a.dtype)
    view = big[(slice(None, None, 2),) * a.ndim]
    view[...] = a
    return view


def transposed(a):
    """The axes lie in memory in reversed order."""
    return a.T.copy().T


def other_byte_order(a):
    return a.astype(a.dtype.newbyteorder())


def unaligned(a):
    """One byte off, as in a memory-mapped file after a header."""
    memory = np.empty(a.nbytes + 1, np.uint8)
    view = memory[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    assert not view.flags.aligned or not a.size
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def as_list(a):
    """Of arrays: what np.stack would take."""
    return list(a)


def subclass(a):
    return a.view(np.memmap)


LAYOUTS = (fortran, reversed_view, sliced, transposed, other_byte_order, unaligned, read_only, as_list, subclass)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", DRAWS)
def test_any_layout(name, layout, dtype):
    call = draw_call(name, 3, dtype)
    expected = call()
    arrays = {k: layout(a) for k, a in call.arrays.items()}
    before = {k: np.array(a) for k, a in arrays.items()}
    results = call._replace(arrays=arrays)()
    assert same_bits(results, expected)
    for result in results:
        assert type(result) is np.ndarray and result.flags.c_contiguous and result.flags.writeable
        assert result.dtype.isnative and result.dtype in (dtype, np.int64)
    for k, a in arrays.items():
        np.testing.assert_array_equal(a, before[k])


@pytest.mark.parametrize("name", DRAWS)
def test_a_result_shares_no_memory(name, dtype):
    """Not with an argument, not with the next result of the same call."""
    call = draw_call(name, 5, dtype)
    first = call()
    copies = [result.copy() for result in first]
    second = call()
    for result in first:
        assert not any(np.shares_memory(result, a) for a in (*call.arrays.values(), *second))
    draw_call(name, 6, dtype)()
    assert same_bits(first, copies)
