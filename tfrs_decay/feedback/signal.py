"""What a day's impressions tell an update: rates, weights, and what was skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfrs_decay.data.cleaning import Cleaned, RawLog
from tfrs_decay.data.events import Events
from tfrs_decay.data.skipped import Skipped
from tfrs_decay.durations import Duration
from tfrs_decay.feedback.examination import TooFewClicks, fit_examination
from tfrs_decay.feedback.joining import join
from tfrs_decay.feedback.reporting import Report, report
from tfrs_decay.feedback.served import Served
from tfrs_decay.feedback.skipping import skipped
from tfrs_decay.feedback.weighting import position_weights


@dataclass(frozen=True, eq=False)
class TrainingSignal:
    """What came of what was shown, and what follows for training.

    Attributes:
        report: The rates; with how often places are looked at and what that weighs,
            where it is known, and else with a note of why not.
        event_weights: [e] float64, what each event of `report.joined.events` weighs as
            a target, above 0; None where all weigh alike.
        skipped: What each of them skipped, whose targets compete with that alone;
            nothing where they are to compete as ever. It knows in any case which of
            them a list led to.
    """

    report: Report
    event_weights: np.ndarray | None
    skipped: Skipped


def training_signal(
    served: Served,
    events: Events | Cleaned | RawLog,
    *,
    window: Mapping[str, Duration] | None = None,
    within: Sequence[str] | None = ("user", "item"),
    clip: float | None = 10.0,
    skips: bool = True,
    seed: int = 0,
) -> TrainingSignal:
    """Joins what was shown with a new log, for a model that is to learn of both.

    What was taken of a list competes with what was skipped there. An event that answers
    an impression weighs one over how often its place is looked at, and one that answers
    none weighs 1. Where the log tells too little of places (`Examination.trusted`), all
    events weigh alike, and the report says so.

    Args:
        served: What was shown.
        events: The new log, as for `join`.
        window: As in `join`.
        within: What impressions have to be alike in to be compared, as in
            `fit_examination`; None to weigh all events alike.
        clip: As in `position_weights`.
        skips: Whether targets are to compete with what was skipped (`skipped`).
        seed: Of the report's intervals.

    Raises:
        ValueError: As `join`, `fit_examination` and `position_weights`, but not for too
            few clicks.
        TypeError: As `join`.
    """
    joined = join(served, events, window=window)
    examination, weights, why_not = None, None, []
    if within is not None:
        try:
            examination = fit_examination(joined, within=within).trusted()
        except TooFewClicks as error:
            why_not = [f"places are not weighed: {error}"]
        else:
            weights = position_weights(joined, examination, clip=clip)
    passed = skipped(joined)
    if not skips:
        passed = passed.without_items()
    found = report(joined, examination=examination, weights=weights, seed=seed)
    return TrainingSignal(
        report=replace(found, notes=(*found.notes, *why_not)),
        event_weights=(
            None if weights is None else joined.event_weights(weights.weight)
        ),
        skipped=passed,
    )
