"""How fast interest fades in a log, found by search on its validation period."""

from __future__ import annotations

from tfrs_decay.tuning.folder import TuningFolder, read_best
from tfrs_decay.tuning.objectives import (
    LinearObjective,
    Objective,
    TwoTowerObjective,
)
from tfrs_decay.tuning.search import Score, Search, Trial, Tuned, tune

__all__ = [
    "LinearObjective",
    "Objective",
    "Score",
    "Search",
    "Trial",
    "Tuned",
    "TuningFolder",
    "TwoTowerObjective",
    "read_best",
    "tune",
]
