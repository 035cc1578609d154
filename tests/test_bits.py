"""The three promises: the same bits at any number of threads, on every instruction set with fused multiply-add, and for
an image alone as in any batch."""

from __future__ import annotations

import numpy as np
import pytest
from cases import DRAWS, FORWARD, draw_call, same_bits

from cconv import _dispatch
from cconv import functional as F

pytestmark = pytest.mark.usefixtures("poison")

FUSED = [name for name in _dispatch.usable() if name != "baseline"]
# A convolution has many paths, the rest few.
SEEDS = {"conv2d": 40, "batch_norm": 24, "group_norm": 24, "layer_norm": 24}
CALLS = [(name, seed) for name in DRAWS for seed in range(SEEDS.get(name.removesuffix("_backward"), 8))]


@pytest.mark.parametrize(("name", "seed"), CALLS)
def test_threads_change_no_bit(name, seed, isa, dtype, threads):
    call = draw_call(name, seed, dtype)
    threads(1)
    alone = call()
    for n in (2, 3):
        threads(n)
        assert same_bits(call(), alone), n


@pytest.mark.skipif(len(FUSED) < 2, reason="needs two instruction sets with fused multiply-add")
@pytest.mark.parametrize(("name", "seed"), CALLS)
def test_instruction_sets_change_no_bit(name, seed, dtype, threads, keep_isa):
    call = draw_call(name, seed, dtype)
    threads(2)
    results = []
    for isa in FUSED:
        _dispatch.select(isa)
        results.append(call())
    assert all(same_bits(result, results[0]) for result in results[1:])


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name, seed in CALLS if name in FORWARD])
def test_a_batch_changes_no_bit(name, seed, isa, dtype, threads):
    call = draw_call(name, seed, dtype)
    if not call.images:
        pytest.skip("takes statistics or random numbers of the whole batch")
    threads(3)
    y = call()[: 1 if name == "batch_norm" else None]
    for n in range(len(y[0])):
        assert same_bits(call.of_image(n)()[: len(y)], [result[n : n + 1] for result in y])


def test_large_batches_change_no_bit(isa, dtype, threads, rng):
    """A batch so large, or weights so many, that images go through in chunks."""
    x, weight = rng.normal(size=(13, 576, 3, 3)).astype(dtype), rng.normal(size=(20, 576, 3, 3)).astype(dtype)
    threads(2)
    y = F.conv2d(x, weight, padding=1)
    for n in (0, 12):
        assert np.array_equal(F.conv2d(x[n : n + 1], weight, padding=1), y[n : n + 1])


@pytest.mark.parametrize("filters", [3, 17])
def test_chunks_of_images_change_no_bit(filters, isa, dtype, threads, rng):
    """More images than chunks over which a weight's gradient is summed, by dot products and by outer products."""
    arrays = [rng.normal(size=s).astype(dtype) for s in ((45, filters, 4, 5), (45, 4, 6, 7), (filters, 4, 3, 3))]
    threads(1)
    alone = F.conv2d_backward(*arrays)
    for n in (2, 3):
        threads(n)
        assert same_bits(F.conv2d_backward(*arrays), alone), n
