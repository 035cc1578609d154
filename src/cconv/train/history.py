"""The record of a training run."""

from __future__ import annotations

import math
from typing import Any


class History(list):
    """A list of one dict an epoch. ``history["loss"]`` is the list of that entry over the epochs, NaN where an epoch
    has none (one without validation, say).

    Entries are ``epoch`` (from 1), ``loss``, each metric, ``val_loss`` and the like where there is validation data,
    ``images_per_second`` of training, ``seconds`` of the whole epoch with its validation, and ``lr``.
    """

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        if not any(key in record for record in self):
            known = dict.fromkeys(name for record in self for name in record)
            raise KeyError(f"{key!r} is not in the history, which has {', '.join(known) or 'no epochs'}")
        return [record.get(key, math.nan) for record in self]
