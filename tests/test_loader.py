"""Loader: orders, parts, augmentation, sampling, and the thread that prepares ahead."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback

import numpy as np
import pytest

import cconv
from cconv._random import AUGMENT, philox
from cconv.data import BalancedSampler, Dataset, Loader, Prefetch, RandomShift, WeightedSampler, batches

X = np.arange(200.0).reshape(50, 4)
Y = np.arange(50)


def noise(x, rng):
    return x + rng.standard_normal(x.shape)


def same(left, right):
    """Whether two lists of batches are the same to the bit."""
    return len(left) == len(right) and all(
        len(a) == len(b) and all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))
        for a, b in zip(left, right, strict=True)
    )


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "cconv prefetch"]


def no_thread_is_left():
    until = time.monotonic() + 5
    while threads() and time.monotonic() < until:
        time.sleep(0.01)
    return not threads()


# Orders


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_every_epoch_is_that_of_batches(drop_last, prefetch):
    loader = Loader((X, Y), 8, seed=3, drop_last=drop_last, prefetch=prefetch)
    for epoch in (0, 1, 7):
        expected = list(batches(X, Y, 8, rng=3, epoch=epoch, drop_last=drop_last))
        assert same(list(loader.batches(epoch)), expected)
        assert len(loader) == len(expected) and loader.examples == sum(len(y) for _, y in expected)


def test_the_order_of_a_seed_is_that_of_earlier_versions():
    assert [y.tolist() for _, y in Loader((X[:7], Y[:7]), 3, seed=0).batches(1)] == ORDER
    trainer_order = []
    model = cconv.nn.Linear(4, 50, rng=0, dtype=np.float64)
    loss = cconv.nn.CrossEntropyLoss()
    trainer = cconv.Trainer(
        model, loss, cconv.optim.SGD(model.parameters(), lr=1e-9), seed=0, progress=False, doctor=False
    )
    forward = loss.forward
    loss.forward = lambda logits, y: (trainer_order.append(y.tolist()), forward(logits, y))[1]
    trainer.fit((X[:7], Y[:7]), epochs=2, batch_size=3)
    assert trainer_order[3:] == ORDER


ORDER = [[4, 2, 5], [6, 0, 3], [1]]


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("start", [0, 1, 5, 7])
def test_an_epoch_is_taken_up_anywhere_to_the_same_bits(start, prefetch):
    options = {"seed": 1, "augment": noise}
    whole = list(Loader((X, Y), 8, **options).batches(4))
    assert same(list(Loader((X, Y), 8, prefetch=prefetch, **options).batches(4, start)), whole[start:])


def test_batches_before_the_start_cost_nothing():
    prepared = []
    loader = Loader((X, Y), 8, seed=0, augment=lambda x, rng: (prepared.append(len(x)), x)[1])
    list(loader.batches(0, start=5))
    assert prepared == [8, 2]


def test_a_loop_gives_the_next_epoch_each_time():
    loader = Loader((X, Y), 8, seed=3)
    assert loader.epoch == 0
    first, second = list(loader), list(loader)
    assert same(first, list(loader.batches(0))) and same(second, list(loader.batches(1))) and loader.epoch == 2
    loader.set_epoch(0)
    assert same(list(loader), first)


def test_without_a_seed_one_is_drawn_once():
    cconv.manual_seed(5)
    one, other = Loader((X, Y), 8), Loader((X, Y), 8)
    cconv.manual_seed(5)
    again = Loader((X, Y), 8)
    assert one.seed == again.seed != other.seed
    assert same(list(one.batches(0)), list(one.batches(0)))
    assert same(list(one.batches(2)), list(Loader((X, Y), 8, seed=one.seed).batches(2)))
    assert (
        Loader((X, Y), 8, seed=np.random.default_rng(1)).seed == Loader((X, Y), 8, seed=np.random.default_rng(1)).seed
    )


def test_without_shuffle_batches_are_views_in_order():
    loader = Loader((X, Y), 8, shuffle=False)
    assert np.concatenate([y for _, y in loader]).tolist() == Y.tolist()
    assert all(np.shares_memory(x, X) for x, _ in loader)


# What data may be


def test_a_dataset_with_weights_and_several_inputs_and_outputs():
    weights = Y / 10
    x = {"left": X, "right": X.astype(np.float32) * 2}
    y = Y, -Y
    for data in (Dataset(x, y, sample_weight=weights), (x, y, weights), [x, y, weights]):
        for inputs, (a, b), weight in Loader(data, 8, seed=0, prefetch=2):
            assert list(inputs) == ["left", "right"] and inputs["right"].dtype == np.float32
            assert np.array_equal(inputs["left"][:, 0] / 4, a) and np.array_equal(inputs["right"][:, 0] / 8, a)
            assert np.array_equal(a, -b) and np.array_equal(weight, a / 10)
    assert [len(part) for part in next(iter(Loader(((X, X), Y), 8)))] == [2, 8]


def test_a_dataset_of_several_arrays_is_indexed_together():
    data = Dataset({"a": X, "b": X + 1}, (Y, -Y), "toys", sample_weight=Y / 10)
    x, y, weight = data[3]
    assert x["b"].tolist() == [13, 14, 15, 16] and y == (3, -3) and weight == 0.3
    some = data[Y > 40]
    assert len(some) == 9 and some.y[1].tolist() == [-y for y in range(41, 50)] and some.sample_weight[0] == 4.1
    assert repr(data) == (
        "Dataset(toys: x['a'] (50, 4) float64, x['b'] (50, 4) float64, y[0] (50,) int64, y[1] (50,) int64, "
        "sample_weight (50,) float64)"
    )
    with pytest.raises(
        ValueError, match=r"Dataset: x\[0\] \(50, 4\), x\[1\] \(3, 4\) and y \(50,\) must have the same"
    ):
        Dataset((X, X[:3]), Y)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_memmap_stays_one_and_its_batches_are_arrays(tmp_path, shuffle):
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = Dataset(x, Y)
    assert type(data.x) is np.memmap
    found = list(Loader(data, 8, shuffle=shuffle, seed=0))
    assert same(found, list(Loader((X, Y), 8, shuffle=shuffle, seed=0)))
    for part, _ in found:
        assert type(part) is np.ndarray and part.flags.writeable and not np.shares_memory(part, x)


def test_an_empty_set_has_no_batches():
    assert len(Loader((X[:0], Y[:0]), 8)) == 0 and list(Loader((X[:0], Y[:0]), 8, prefetch=1)) == []
    assert list(Loader((X[:5], Y[:5]), 8, drop_last=True)) == []


# Augmentation


def test_augmentation_draws_from_seed_epoch_and_batch_alone():
    loader = Loader((X, Y), 8, shuffle=False, augment=noise, seed=11)
    for batch, (x, _) in enumerate(loader.batches(3)):
        rows = X[8 * batch : 8 * batch + 8]
        assert np.array_equal(x, noise(rows, philox(11, AUGMENT, 3 * 2**32 + batch)))
    list(loader)
    assert same(
        list(loader.batches(3, 6)), list(Loader((X, Y), 8, shuffle=False, augment=noise, seed=11).batches(3))[6:]
    )


def test_augmentation_in_place_does_not_reach_the_data():
    before = X.copy()

    def zero(x, rng):
        x[...] = 0
        return x

    for shuffle in (False, True):
        assert all(not x.any() for x, _ in Loader((X, Y), 8, shuffle=shuffle, augment=zero))
    assert np.array_equal(X, before)


def test_augmentation_is_given_the_whole_of_several_inputs():
    def swap(x, rng):
        return x[1], x[0]

    (a, b), _ = next(iter(Loader(((X, -X), Y), 8, augment=swap, shuffle=False)))
    assert np.array_equal(a, -X[:8]) and np.array_equal(b, X[:8])


@pytest.mark.parametrize(
    ("augment", "error", "message"),
    [
        (lambda x, rng: None, TypeError, "augment must return x, a ndarray as it was given, got NoneType"),
        (lambda x, rng: (x, x), TypeError, "a ndarray as it was given, got tuple"),
        (lambda x, rng: x[:3], ValueError, r"as many examples as it was given, 8, got x \(3, 4\)"),
    ],
)
@pytest.mark.parametrize("prefetch", [0, 2])
def test_what_augmentation_returns_is_checked(augment, error, message, prefetch):
    with pytest.raises(error, match=message):
        list(Loader((X, Y), 8, augment=augment, prefetch=prefetch))


# Sampling


def test_balanced_sampling_gives_every_class_equally_often():
    y = np.repeat(["a", "b", "c"], [90, 9, 1])
    sampler = BalancedSampler(y)
    rng = np.random.default_rng(0)
    seen = []
    for epoch in range(6):
        chosen = sampler.indices(epoch, rng)
        counts = np.bincount(chosen, minlength=100)
        assert sorted(counts[y == name].sum() for name in "abc") == [33, 33, 34]
        # Within a class all come equally often, but for one.
        assert all(np.ptp(counts[y == name]) <= 1 for name in "abc")
        seen.append(tuple(chosen))
    assert len(set(seen)) == 6
    assert np.unique(np.concatenate(seen)).size > 90
    assert len(BalancedSampler(y, 7).indices(0, rng)) == 7


def test_a_sampler_decides_the_order_from_seed_and_epoch():
    y = np.array([0] * 40 + [1] * 10)
    options = {"batch_size": 8, "sampler": BalancedSampler(y, 30), "seed": 2}
    loader = Loader((X, Y), **options)
    assert loader.examples == 30 and len(loader) == 4
    first, second = (np.concatenate([y for _, y in loader.batches(e)]) for e in (0, 1))
    assert len(first) == 30 and sorted(y[first]) == [0] * 15 + [1] * 15 and not np.array_equal(first, second)
    assert same(list(loader.batches(1)), list(Loader((X, Y), shuffle=False, prefetch=2, **options).batches(1)))


def test_a_permuting_function_as_a_sampler_is_shuffle():
    loader = Loader((X, Y), 8, sampler=lambda epoch, rng: rng.permutation(50), seed=4)
    assert same(list(loader.batches(2)), list(Loader((X, Y), 8, seed=4).batches(2)))


def test_weighted_sampling():
    rng = np.random.default_rng(0)
    weights = np.array([0, 1, 2, 0, 5, 0.0])
    counts = np.bincount(WeightedSampler(weights, 80_000).indices(0, rng), minlength=6)
    assert np.allclose(counts / 10_000, weights, atol=0.1) and not counts[weights == 0].any()
    assert len(WeightedSampler(weights).indices(0, rng)) == 6
    once = [WeightedSampler(weights, 3, replacement=False).indices(0, rng).tolist() for _ in range(4000)]
    assert all(sorted(chosen) == [1, 2, 4] for chosen in once)
    # The first draw is in proportion to the weights, the second to what is left.
    firsts = np.bincount([chosen[0] for chosen in once], minlength=6) / 4000
    assert np.allclose(firsts, weights / 8, atol=0.03)
    after_four = [chosen[1] for chosen in once if chosen[0] == 4]
    assert abs(np.mean(np.array(after_four) == 2) - 2 / 3) < 0.04
    huge = WeightedSampler([1e308, 1e308, 5e-324], 2, replacement=False).indices(0, rng)
    assert sorted(huge) == [0, 1]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BalancedSampler(np.zeros((3, 2))), ValueError, r"y must be an array \(N,\) of at least one label"),
        (lambda: BalancedSampler([]), ValueError, r"got shape \(0,\)"),
        (lambda: BalancedSampler([1, 2], 0), ValueError, "num_samples must be at least 1, got 0"),
        (lambda: WeightedSampler([1, -1]), ValueError, r"finite, at least 0 and not all 0, got \[1, -1\]"),
        (lambda: WeightedSampler([0, 0]), ValueError, "not all 0"),
        (lambda: WeightedSampler([]), ValueError, "not all 0"),
        (lambda: WeightedSampler([1, np.inf]), ValueError, "finite"),
        (lambda: WeightedSampler("ab"), TypeError, "real numbers"),
        (lambda: WeightedSampler([[1]]), ValueError, r"an array \(N,\), got shape \(1, 1\)"),
        (
            lambda: WeightedSampler([1, 0], 2, replacement=False),
            ValueError,
            "num_samples=2 .* more than the 1 examples",
        ),
        (lambda: Loader(X), TypeError, r"data must be a Dataset, \(x, y\) or \(x, y, sample_weight\), got ndarray"),
        (lambda: Loader((X,)), TypeError, "got a tuple of 1"),
        (lambda: Loader((X, Y[:3])), ValueError, r"Loader: x \(50, 4\) and y \(3,\) must have the same length"),
        (lambda: Loader((X, Y, Y[:3])), ValueError, r"y \(50,\) and sample_weight \(3,\) must have the same length"),
        (lambda: Loader(((), Y)), ValueError, r"x holds no array: \(\)"),
        (lambda: Loader((X, Y), 0), ValueError, "batch_size must be at least 1, got 0"),
        (lambda: Loader((X, Y), 8, prefetch=-1), ValueError, "prefetch must be at least 0, got -1"),
        (lambda: Loader((X, Y), 8, prefetch=True), TypeError, "prefetch must be an integer, got True"),
        (lambda: Loader((X, Y), 8, seed=-1), ValueError, "seed must be at least 0, got -1"),
        (lambda: Loader((X, Y), 8, seed=1.5), TypeError, "seed must be an integer"),
        (lambda: Loader((X, Y), 8, augment=3), TypeError, r"augment must be a callable \(x, rng\) -> x, got 3"),
        (lambda: Loader((X, Y), 8, augment=dict), TypeError, "got the class dict"),
        (lambda: Loader((X, Y), 8, sampler=BalancedSampler), TypeError, "got the class BalancedSampler"),
        (lambda: Loader((X, Y), 8, sampler=Y), TypeError, r"sampler must have indices\(epoch, rng\)"),
        (
            lambda: Loader((X, Y), sampler=lambda e, r: [0, 50]),
            ValueError,
            r"indices in 0\.\.49, got 0 to 50 in epoch 0",
        ),
        (lambda: Loader((X, Y), sampler=lambda e, r: [-1]), ValueError, "got -1 to -1"),
        (lambda: Loader((X, Y), sampler=lambda e, r: [0.5]), TypeError, "of integers, got float64"),
        (lambda: Loader((X, Y), sampler=lambda e, r: Y > 3), TypeError, "of integers, got bool"),
        (
            lambda: Loader((X, Y), sampler=lambda e, r: range(e + 1)).batches(1),
            ValueError,
            "as many .* got 2 in epoch 1",
        ),
        (lambda: Loader((X, Y), 8).batches(0, 8), ValueError, "start must be at most 7, an epoch's batches, got 8"),
        (lambda: Loader((X, Y), 8).batches(-1), ValueError, "epoch must be at least 0, got -1"),
        (lambda: Loader((X, Y), 8).set_epoch("1"), TypeError, "epoch must be an integer, got '1'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_fingerprint_is_plain_and_says_what_decides_the_batches():
    loader = Loader((X, Y), 8, sampler=BalancedSampler(Y % 3), augment=noise, seed=np.int64(3), prefetch=2)
    assert json.loads(json.dumps(loader.fingerprint())) == {
        "examples": 50,
        "batches": 7,
        "batch_size": 8,
        "shuffle": False,
        "drop_last": False,
        "sampler": "BalancedSampler",
        "augment": "noise",
        "seed": 3,
    }
    assert Loader((X, Y), 8, seed=3).fingerprint()["sampler"] is None
    # Another shift is another augmentation.
    shifts = [Loader((X, Y), 8, augment=RandomShift(size)).fingerprint()["augment"] for size in (1, 2)]
    assert shifts[0] != shifts[1]
    assert repr(loader) == "Loader(50 examples, 7 batches of 8)"


# The thread


@pytest.mark.parametrize("prefetch", [1, 2, 100])
def test_prefetch_gives_the_same_bits_and_ends(prefetch):
    options = {"seed": 1, "augment": noise}
    assert same(list(Loader((X, Y), 8, prefetch=prefetch, **options)), list(Loader((X, Y), 8, **options)))
    assert no_thread_is_left()


def test_no_more_batches_than_asked_for_lie_ready():
    prepared = []
    loader = Loader((X, Y), 2, prefetch=3, augment=lambda x, rng: (prepared.append(1), x)[1])
    loop = loader.batches(0)
    assert not threads()
    for taken in range(1, 6):
        next(loop)
        until = time.monotonic() + 5
        while len(prepared) < taken + 3 and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(0.02)
        assert len(prepared) == taken + 3
    loop.close()
    assert no_thread_is_left()


def fails_at_the_third(x, rng):
    if 16 in x[:, 0] / 4:
        raise ArithmeticError("spoilt")
    return x


def test_an_exception_in_the_thread_surfaces_in_its_turn_with_its_traceback():
    loop = Loader((X, Y), 8, shuffle=False, prefetch=4, augment=fails_at_the_third).batches(0)
    next(loop), next(loop)
    with pytest.raises(ArithmeticError, match="spoilt") as caught:
        next(loop)
    assert "fails_at_the_third" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert no_thread_is_left()
    assert list(loop) == []


def test_a_loop_left_early_ends_its_thread():
    loader = Loader((X, Y), 2, prefetch=2, augment=noise)
    for _ in loader:
        break
    assert no_thread_is_left()
    with pytest.raises(KeyError):
        for _ in loader:
            raise KeyError
    assert no_thread_is_left()
    dropped = loader.batches(0)
    next(dropped)
    del dropped
    assert no_thread_is_left()
    ring = [loader.batches(0)]
    ring.append(ring)
    next(ring[0])
    del ring
    gc.collect()
    assert no_thread_is_left()


def test_several_loops_at_once():
    loader = Loader((X, Y), 8, prefetch=2, augment=noise, seed=0)
    pairs = list(zip(loader.batches(0), loader.batches(1), loader.batches(0), strict=True))
    assert same([a for a, _, _ in pairs], [c for _, _, c in pairs])
    assert same([b for _, b, _ in pairs], list(Loader((X, Y), 8, augment=noise, seed=0).batches(1)))


def test_the_thread_works_in_the_callers_context():
    def divide(x, rng):
        return x / 0

    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        list(Loader((X, Y), 8, prefetch=1, augment=divide))


def test_memory_does_not_grow():
    import tracemalloc

    x = np.zeros((64, 1000))
    loader = Loader((x, np.arange(64)), 8, prefetch=3, augment=noise)
    tracemalloc.start()
    try:
        for _ in range(20):
            for _ in loader:
                pass
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(200):
            for _ in loader:
                pass
        gc.collect()
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now - before < 50_000
    # 3 ready, 1 in preparation (with its rows and its noise), 1 or 2 with the consumer, 64,000 bytes each.
    assert peak - before < 9 * 64_000


SCRIPT = """
import os, signal, sys, threading, time
import numpy as np
from cconv.data import Loader
x, y = np.arange(200.0).reshape(50, 4), np.arange(50)
"""


def run(code, timeout=30, **options):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT + code], capture_output=True, text=True, timeout=timeout, **options
    )


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise KeyError('no')"])
@pytest.mark.parametrize("held", ["next(loop)", "next(loop); keep = loop; sys.modules['kept'] = loop"])
def test_a_script_that_ends_in_the_middle_of_an_epoch_ends(ending, held):
    code = f"loop = iter(Loader((x, y), 2, prefetch=2, augment=lambda x, rng: x + 1))\n{held}\n{ending}"
    done = run(code)
    assert done.returncode == {"": 0, "sys.exit(3)": 3}.get(ending, 1)
    assert "KeyError" in done.stderr if "raise" in ending else not done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_anew():
    # The child goes on with a loop that the parent began, and both run the rest; Python warns of forks beside threads.
    done = run(
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
loader = Loader((x, y), 4, prefetch=3, seed=1, augment=lambda x, rng: x + rng.random(x.shape))
expected = [x.tolist() for x, _ in Loader((x, y), 4, seed=1, augment=loader.augment).batches(0)]
for spent in (0, 1, 5, 12):
    loop = loader.batches(0)
    before = [next(loop)[0].tolist() for _ in range(spent)]
    child = os.fork()
    found = before + [x.tolist() for x, _ in loop]
    assert found == expected, spent
    again = [x.tolist() for x, _ in loader.batches(0)]
    assert again == expected
    if not child:
        os._exit(0 if threading.active_count() == 1 else 5)
    assert os.waitpid(child, 0)[1] == 0
child = os.fork()
if not child:
    dropped = loader.batches(0)
    next(dropped)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_while_waiting_for_the_thread_ends_at_once():
    code = """
loader = Loader((x, y), 2, prefetch=2, augment=lambda x, rng: (time.sleep(0.3), x)[1])
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
started = time.monotonic()
try:
    for _ in loader:
        pass
except KeyboardInterrupt:
    print(time.monotonic() - started < 5)
    time.sleep(1)
    print([t for t in threading.enumerate() if t.name == "cconv prefetch"])
    for batch in loader.batches(3, 23):
        print(len(batch[1]))
"""
    done = run(code)
    assert (done.stdout.split("\n"), done.stderr) == (["True", "[]", "2", "2", ""], "")


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_stuck_augmentation_does_not_keep_the_process():
    code = """
loader = Loader((x, y), 2, prefetch=2, augment=lambda x, rng: time.sleep(1000))
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
next(iter(loader))
"""
    done = run(code)
    assert done.returncode in (1, -signal.SIGINT) and "KeyboardInterrupt" in done.stderr


# Iterables of one's own


class Counting:
    """Batches of random numbers, made as they are asked for; `alive` says whether its generator was closed."""

    alive = 0

    def __init__(self, n=5, fails_at=None):
        self.n, self.fails_at, self.epoch = n, fails_at, 0

    def __len__(self):
        return self.n

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        self.alive += 1
        try:
            for number in range(self.n):
                if number == self.fails_at:
                    raise ArithmeticError("spoilt")
                yield self.epoch, number
        finally:
            self.alive -= 1


@pytest.mark.parametrize("most", [1, 3, 100])
def test_prefetch_of_an_iterable(most):
    batches = Counting()
    loop = Prefetch(batches, most)
    assert len(loop) == 5
    for epoch in (0, 4):
        loop.set_epoch(epoch)
        assert list(loop) == [(epoch, number) for number in range(5)]
    assert not batches.alive and no_thread_is_left()
    assert list(Prefetch([])) == []
    loop.set_epoch(1)
    Prefetch([]).set_epoch(1)


def test_prefetch_of_an_iterable_left_early_or_failing():
    batches = Counting(100)
    for _ in Prefetch(batches):
        break
    assert no_thread_is_left() and not batches.alive
    batches = Counting(100, fails_at=2)
    loop = iter(Prefetch(batches))
    assert [next(loop), next(loop)] == [(0, 0), (0, 1)]
    with pytest.raises(ArithmeticError, match="spoilt") as caught:
        next(loop)
    assert "__iter__" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert no_thread_is_left() and not batches.alive


def test_prefetch_refuses():
    with pytest.raises(TypeError, match="batches must be an iterable, got int"):
        Prefetch(3)
    with pytest.raises(ValueError, match="prefetch must be at least 1, got 0"):
        Prefetch([], 0)
    once = Prefetch(iter([1, 2]))
    assert list(once) == [1, 2]
    with pytest.raises(ValueError, match="an iterator, used up after one loop"):
        iter(once)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_cannot_go_on_with_an_iterable():
    done = run(
        """
import warnings
from cconv.data import Prefetch
warnings.simplefilter("ignore", DeprecationWarning)
whole = Prefetch(range(100))
loop = iter(whole)
next(loop)
child = os.fork()
if not child:
    try:
        next(loop)
    except RuntimeError as error:
        assert "begin a new one" in str(error)
        os._exit(0 if list(whole) == list(range(100)) else 5)
    os._exit(6)
assert list(loop) == list(range(1, 100))
assert os.waitpid(child, 0)[1] == 0
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
