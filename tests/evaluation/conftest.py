from __future__ import annotations

import random
from collections.abc import Callable

import pandas as pd
import pytest

from tfrs_decay.data import Events, RawLog, clean


@pytest.fixture(scope="session")
def make_events() -> Callable[..., Events]:
    """Makes events of (user, time, item) rows, whatever order they come in."""

    def make(*rows: tuple[str, int, str]) -> Events:
        mixed = random.Random(3).sample(rows, len(rows))
        table = pd.DataFrame(mixed, columns=["user", "time", "item"])
        return clean(RawLog(table, None, {})).events

    return make
