"""Training from what does not fit into memory: arrays on the disk, and iterables that make their batches."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import resource, sys
import numpy as np
import cconv
from cconv import data, nn, optim

cconv.set_num_threads(1)
model = nn.Sequential(nn.Conv2d(3, 2, 3, stride=8, rng=0), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2, rng=1))
trainer = cconv.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.01), seed=0, progress=False)
# Beside what is in use now, a third of the 768 MB that the set has.
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + (256 << 20),) * 2)
try:
    np.ones(300 << 20, np.uint8)
    sys.exit("no limit here")
except MemoryError:
    pass
N = 16_384
y = np.arange(N) % 2
"""


def run(code, folder, *arguments):
    if not sys.platform.startswith("linux"):
        pytest.skip("needs a limit on a process's data")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT + code, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "no limit here" in done.stderr:
        pytest.skip("this system does not keep a limit on a process's data")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """x.npy: 16,384 pictures of 64x64 as float32, 768 MB, nearly all of it a hole in the file."""
    place = tmp_path_factory.mktemp("large")
    x = np.lib.format.open_memmap(place / "x.npy", "w+", np.float32, (16_384, 3, 64, 64))
    x[::512, 0, ::8, ::8] = np.arange(32)[:, None, None]
    x.flush()
    return place


def test_training_from_a_memmap(folder):
    out = run(
        """
x = np.load("x.npy", mmap_mode="r")
assert x.nbytes == 768 << 20
train, test = data.split(data.Dataset(x, y), 0.75, stratified=True, rng=0)
history = trainer.fit(train, epochs=1, batch_size=256, validation=test)
history = trainer.fit((x, y), epochs=1, batch_size=256)
history = trainer.fit(data.Loader((x, y), 256, prefetch=2, sampler=data.BalancedSampler(y, 4096)), epochs=1)
print(len(history["loss"]), all(np.isfinite(history["loss"])), sorted(trainer.evaluate(test)))
""",
        folder,
    )
    assert out == "3 True ['accuracy', 'loss']\n"


def test_orders_and_places_do_not_change_what_is_learnt(folder):
    # From the disk, ahead or not, and from memory: the same bits.
    out = run(
        """
mapped = np.load("x.npy", mmap_mode="r")[:2048]
held = np.array(mapped)
start = model.state_dict()
results = set()
for x in (mapped, held):
    for prefetch in (0, 3):
        model.load_state_dict(start)
        loader = data.Loader((x, y[:2048]), 128, seed=3, prefetch=prefetch, augment=lambda x, rng: x[..., ::-1])
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        cconv.Trainer(model, nn.CrossEntropyLoss(), optimizer, seed=0, progress=False).fit(loader, epochs=2)
        results.add(b"".join(value.tobytes() for value in model.state_dict().values()))
print(len(results))
""",
        folder,
    )
    assert out == "1\n"


def test_training_from_an_iterable(folder):
    out = run(
        """
class Made:
    # Batches of one's own: 768 MB an epoch in all, 12 MB at a time.
    epoch = 0
    def set_epoch(self, epoch):
        self.epoch = epoch
    def __iter__(self):
        for number in range(64):
            rng = np.random.default_rng((self.epoch, number))
            labels = rng.integers(0, 2, 256)
            x = rng.random((256, 3, 64, 64), np.float32)
            x += labels[:, None, None, None]
            yield x, labels

history = trainer.fit(Made(), epochs=1)
history = trainer.fit(data.Prefetch(Made(), 2), epochs=1)
print(trainer.steps, history["loss"][1] < history["loss"][0])
""",
        folder,
    )
    assert out == "128 True\n"
