"""Timing what is to be compared in turns, so that noise meets all of it alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def turns(
    steps: dict[str, Callable[[], Any]], rounds: int, *, calls: int
) -> dict[str, list[float]]:
    """Seconds of each step, in turns of `calls` calls after one to warm up.

    A server answers with the same graph again and again: what another one left in the
    processor's caches would be no part of its price.
    """
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            for _ in range(calls):
                start = time.perf_counter()
                step()
                if number:
                    spent[name].append(time.perf_counter() - start)
    return spent
