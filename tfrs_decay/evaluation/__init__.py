"""Honest figures: the whole catalogue ranked, after a cut in time, beside baselines.

NumPy only, and SciPy where a class says so; `TwoTowerScores` alone loads TensorFlow. A
model of any kind is measured through a function from a block of queries to scores.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tfrs_decay.evaluation.available import Available
from tfrs_decay.evaluation.baselines import (
    OwnCounts,
    Popularity,
    RollingPopularity,
    Scorer,
)
from tfrs_decay.evaluation.calibration import (
    Bin,
    Calibration,
    Isotonic,
    Logistic,
    expected_calibration_error,
    reliability,
)
from tfrs_decay.evaluation.compare import Comparison, compare, holm, verdicts
from tfrs_decay.evaluation.diversified import Diversified
from tfrs_decay.evaluation.figures import Figures, blocks_of, evaluate
from tfrs_decay.evaluation.item_to_item import ItemToItem
from tfrs_decay.evaluation.metrics import (
    diversity_at_k,
    hit_rate_at_k,
    mrr_at_k,
    ndcg_at_k,
    novelty_at_k,
    precision_at_k,
    recall_at_k,
    self_information,
)
from tfrs_decay.evaluation.nearest import TIFUKNN, ItemKNN
from tfrs_decay.evaluation.ranking import top_items
from tfrs_decay.evaluation.report import (
    LEGEND,
    as_dict,
    segment_table,
    table,
    verdict_table,
    verdicts_as_dict,
    warnings,
)
from tfrs_decay.evaluation.segments import by_segment, segments

if TYPE_CHECKING:
    from tfrs_decay.evaluation.two_tower import TwoTowerScores as TwoTowerScores

__all__ = [
    "LEGEND",
    "TIFUKNN",
    "Available",
    "Bin",
    "Calibration",
    "Comparison",
    "Diversified",
    "Figures",
    "Isotonic",
    "ItemKNN",
    "ItemToItem",
    "Logistic",
    "OwnCounts",
    "Popularity",
    "RollingPopularity",
    "Scorer",
    "TwoTowerScores",
    "as_dict",
    "blocks_of",
    "by_segment",
    "compare",
    "diversity_at_k",
    "evaluate",
    "expected_calibration_error",
    "hit_rate_at_k",
    "holm",
    "mrr_at_k",
    "ndcg_at_k",
    "novelty_at_k",
    "precision_at_k",
    "recall_at_k",
    "reliability",
    "segment_table",
    "segments",
    "self_information",
    "table",
    "top_items",
    "verdict_table",
    "verdicts",
    "verdicts_as_dict",
    "warnings",
]


def __getattr__(name: str) -> Any:
    # A trained model is TensorFlow's; figures of any other should not load it.
    if name == "TwoTowerScores":
        return importlib.import_module("tfrs_decay.evaluation.two_tower").TwoTowerScores
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
