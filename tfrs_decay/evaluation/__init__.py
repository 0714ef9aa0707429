"""Honest figures: the whole catalogue ranked, after a cut in time, beside baselines.

NumPy only. A model of any kind is measured through a function from a block of queries
to scores.
"""

from __future__ import annotations

from tfrs_decay.evaluation.baselines import (
    OwnCounts,
    Popularity,
    RollingPopularity,
    Scorer,
)
from tfrs_decay.evaluation.figures import Figures, blocks_of, evaluate
from tfrs_decay.evaluation.item_to_item import ItemToItem
from tfrs_decay.evaluation.metrics import ndcg_at_k, recall_at_k
from tfrs_decay.evaluation.ranking import top_items
from tfrs_decay.evaluation.report import LEGEND, as_dict, table, warnings

__all__ = [
    "LEGEND",
    "Figures",
    "ItemToItem",
    "OwnCounts",
    "Popularity",
    "RollingPopularity",
    "Scorer",
    "as_dict",
    "blocks_of",
    "evaluate",
    "ndcg_at_k",
    "recall_at_k",
    "table",
    "top_items",
    "warnings",
]
