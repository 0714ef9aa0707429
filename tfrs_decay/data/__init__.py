"""From a raw behaviour log to batches, without a look into the future."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tfrs_decay.data.actions import actions_by_value
from tfrs_decay.data.cleaning import Cleaned, RawLog, clean, described_items
from tfrs_decay.data.events import Events, Items
from tfrs_decay.data.examples import example_table, write_examples
from tfrs_decay.data.grouplens import movielens, movielens_tfds
from tfrs_decay.data.growing import Grown, grow
from tfrs_decay.data.histories import (
    Queries,
    basket_queries,
    event_queries,
    events_at,
    events_before,
    sessions,
    with_actions,
)
from tfrs_decay.data.published import amazon_reviews, mind
from tfrs_decay.data.rules import Rules
from tfrs_decay.data.simulated import SimulatedShop, simulated_shop
from tfrs_decay.data.skipped import Skipped
from tfrs_decay.data.sources import (
    complete_journey,
    event_table,
    online_retail,
    open_log,
)
from tfrs_decay.data.split import (
    LeakWarning,
    TimeSplit,
    Window,
    leave_last_out,
    rolling_windows,
    split_by_time,
)
from tfrs_decay.data.storage import load_events, save_events
from tfrs_decay.data.vectors import ItemVectors, read_vectors
from tfrs_decay.data.weights import target_weights

if TYPE_CHECKING:
    from tfrs_decay.data.dataset import batches as batches
    from tfrs_decay.data.reading import read_examples as read_examples

__all__ = [
    "Cleaned",
    "Events",
    "Grown",
    "ItemVectors",
    "Items",
    "LeakWarning",
    "Queries",
    "RawLog",
    "Rules",
    "SimulatedShop",
    "Skipped",
    "TimeSplit",
    "Window",
    "actions_by_value",
    "amazon_reviews",
    "basket_queries",
    "batches",
    "clean",
    "complete_journey",
    "described_items",
    "event_queries",
    "event_table",
    "events_at",
    "events_before",
    "example_table",
    "grow",
    "leave_last_out",
    "load_events",
    "mind",
    "movielens",
    "movielens_tfds",
    "online_retail",
    "open_log",
    "read_examples",
    "read_vectors",
    "rolling_windows",
    "save_events",
    "sessions",
    "simulated_shop",
    "split_by_time",
    "target_weights",
    "with_actions",
    "write_examples",
]

_BATCHES = {
    "batches": "tfrs_decay.data.dataset",
    "read_examples": "tfrs_decay.data.reading",
}


def __getattr__(name: str) -> Any:
    # Batches are TensorFlow's; reading and cleaning a log should not load it.
    if name in _BATCHES:
        return getattr(importlib.import_module(_BATCHES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
