"""The combined list: candidates from many sources, ranked by one small network.

What is counted and fitted (`Tables`) is of the events up to a cut, and the queries that
train the network come after it: in training the network sees what it will see in
serving, statistics of the past alone. So training goes back window by window from the
cut of the log, with the tables of each window's own start:

    tables up to a | queries of a..b      tables up to b | queries of b..cut     serving

and the tables of the cut itself serve.
"""

from tfrs_decay.ranking.choice import Choice, choose_head
from tfrs_decay.ranking.examples import Examples, make_examples
from tfrs_decay.ranking.fitting import (
    CombinedList,
    Windows,
    choose,
    cuts,
    fit_combined_list,
    make_windows,
    spans,
)
from tfrs_decay.ranking.head import fit_head, head_scores
from tfrs_decay.ranking.scores import RankedScores
from tfrs_decay.ranking.tables import fit_tables
from tfrs_decay.ranking.towers import TowerVectors, tower_vectors

__all__ = [
    "Choice",
    "CombinedList",
    "Examples",
    "RankedScores",
    "TowerVectors",
    "Windows",
    "choose",
    "choose_head",
    "cuts",
    "fit_combined_list",
    "fit_head",
    "fit_tables",
    "head_scores",
    "make_examples",
    "make_windows",
    "spans",
    "tower_vectors",
]
