"""Steps and trainings that are not looked at."""

from __future__ import annotations

import contextlib
from typing import Any

from ..findings import Report


class NotNow:
    """No look at this step."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        return None


NOT_NOW = NotNow()


class Unwatched:
    """In the place of a Monitor, where none is wanted."""

    report = Report()

    def watching(self) -> contextlib.AbstractContextManager[None]:
        return NOT_NOW

    def begin(self, *arguments: Any, **options: Any) -> None:
        """Nothing, as all others."""

    gradients = done = end_epoch = failed = end = begin
