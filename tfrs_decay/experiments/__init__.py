"""Two recommenders compared on traffic: replayed from a log, interleaved, or live.

`assign` says who sees what, `live` what came of it. `interleaved` needs fewer users,
and `replay` none: it asks a log of what another recommender showed. All three give an
`Outcome`, and `write_page` makes one page of it for people.
"""

from __future__ import annotations

from tfrs_decay.experiments.assignment import (
    SampleRatio,
    assign,
    hash_of,
    sample_ratio,
)
from tfrs_decay.experiments.interleaving import Draft, interleaved, team_draft
from tfrs_decay.experiments.live import live
from tfrs_decay.experiments.outcome import Outcome, Part, Rate, Weights
from tfrs_decay.experiments.page import page, write_page
from tfrs_decay.experiments.recommenders import (
    ExportedRecommender,
    Recommender,
    Request,
    compare_recommenders,
)
from tfrs_decay.experiments.replay import replay
from tfrs_decay.experiments.sign_test import SignTest, sign_test

__all__ = [
    "Draft",
    "ExportedRecommender",
    "Outcome",
    "Part",
    "Rate",
    "Recommender",
    "Request",
    "SampleRatio",
    "SignTest",
    "Weights",
    "assign",
    "compare_recommenders",
    "hash_of",
    "interleaved",
    "live",
    "page",
    "replay",
    "sample_ratio",
    "sign_test",
    "team_draft",
    "write_page",
]
