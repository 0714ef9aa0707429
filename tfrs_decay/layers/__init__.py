"""Keras layers to put into a `tfrs.Model` of your own."""

from __future__ import annotations

from tfrs_decay.layers.candidates import CandidateFeatures, Candidates, Reading
from tfrs_decay.layers.diversity import MaximalMarginalRelevance
from tfrs_decay.layers.fine_tuning import LastLayers, LowRank
from tfrs_decay.layers.interest_state import InterestState
from tfrs_decay.layers.item_tower import ItemTower
from tfrs_decay.layers.neighbours import ItemNeighbours
from tfrs_decay.layers.precomputed_tower import PrecomputedTower
from tfrs_decay.layers.ranking_head import RankingHead, listwise_loss
from tfrs_decay.layers.recency_popularity import RecencyPopularity
from tfrs_decay.layers.repeat import Repeats
from tfrs_decay.layers.streaming_probability import StreamingProbability
from tfrs_decay.layers.text_tower import TextTower
from tfrs_decay.layers.time_decay_pooling import TimeDecayPooling
from tfrs_decay.layers.top_k import top_k

__all__ = [
    "CandidateFeatures",
    "Candidates",
    "InterestState",
    "ItemNeighbours",
    "ItemTower",
    "LastLayers",
    "LowRank",
    "MaximalMarginalRelevance",
    "PrecomputedTower",
    "RankingHead",
    "Reading",
    "RecencyPopularity",
    "Repeats",
    "StreamingProbability",
    "TextTower",
    "TimeDecayPooling",
    "listwise_loss",
    "top_k",
]
