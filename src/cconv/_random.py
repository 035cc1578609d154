"""Counter-based randomness (Philox: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

A draw depends on (seed, stream, step) alone: not on threads, ranks or what was drawn before. Resuming a run
therefore needs the counters and no generator state.
"""

from __future__ import annotations

import numpy as np

# Streams: one a purpose, so that a seed given to two of them does not make them draw the same numbers.
DEFAULT, SHUFFLE, DROPOUT, AUGMENT = range(4)

_WORD = 2**64

# Made when first drawn from: NumPy imports numpy.random when it is first touched, which takes longer than all of cconv.
_default: np.random.Generator | None = None


def philox(seed: int, stream: int, step: int) -> np.random.Generator:
    """The generator of one (seed, stream, step); each may draw 2**130 numbers before it meets the next step's."""
    return np.random.Generator(np.random.Philox(key=seed % _WORD + stream * _WORD, counter=step << 128))


def fresh_seed(rng: np.random.Generator | int | None = None) -> int:
    """A seed drawn from `rng`, or from the default generator."""
    return int(generator(rng).integers(2**63))


def generator(rng: np.random.Generator | int | None = None) -> np.random.Generator:
    """`rng` itself, a generator seeded by an int, or the default generator for None."""
    global _default
    if rng is None:
        if _default is None:
            _default = philox(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]), DEFAULT, 0)
        return _default
    if isinstance(rng, np.random.Generator):
        return rng
    return philox(_seed(rng), DEFAULT, 0)


def manual_seed(seed: int) -> None:
    """Seed the default generator, from which initialisers and shuffles draw where no ``rng`` or ``seed`` is given.

    Parameters
    ----------
    seed : int
        At least 0.
    """
    global _default
    _default = philox(_seed(seed), DEFAULT, 0)


def default_state() -> dict | None:
    """The default generator's state as plain values; None before anything was drawn from it."""
    return None if _default is None else _plain(_default.bit_generator.state)


def set_default_state(state: dict | None) -> None:
    """Take over what `default_state` gave."""
    global _default
    made = None
    if state is not None:
        made = philox(0, DEFAULT, 0)
        # NumPy reads its buffer there, unchecked.
        if type(state["buffer_pos"]) is not int or not 0 <= state["buffer_pos"] <= 4:
            raise ValueError(f"buffer_pos of the default generator is {state['buffer_pos']!r}, expected 0 to 4")
        made.bit_generator.state = {
            name: {n: np.array(v, np.uint64) for n, v in value.items()}
            if isinstance(value, dict)
            else np.array(value, np.uint64)
            if isinstance(value, list)
            else value
            for name, value in state.items()
        }
    _default = made


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _seed(seed) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be an integer or a numpy.random.Generator, got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    return int(seed)
