"""What was recommended, joined with what came of it.

`Served` reads what a recommender showed, `join` finds which click or purchase answers
which impression, `report` tells the rates by day, segment and version. Places high in a
list are looked at more often: `fit_examination` learns how much more, and
`position_weights` undoes it, in rates of items and in the targets of training.
`skipped` finds what was passed over, which a model learns more from than from all that
was never shown. `training_signal` does all of it for an update.
"""

from __future__ import annotations

from tfrs_decay.feedback.examination import (
    Examination,
    TooFewClicks,
    fit_examination,
)
from tfrs_decay.feedback.joining import Joined, join
from tfrs_decay.feedback.page import page, write_page
from tfrs_decay.feedback.reporting import Measured, Report, report
from tfrs_decay.feedback.served import Served
from tfrs_decay.feedback.signal import TrainingSignal, training_signal
from tfrs_decay.feedback.skipping import skipped
from tfrs_decay.feedback.weighting import PositionWeights, position_weights

__all__ = [
    "Examination",
    "Joined",
    "Measured",
    "PositionWeights",
    "Report",
    "Served",
    "TooFewClicks",
    "TrainingSignal",
    "fit_examination",
    "join",
    "page",
    "position_weights",
    "report",
    "skipped",
    "training_signal",
    "write_page",
]
