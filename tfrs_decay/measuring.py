"""A run measured: everything that `tfrs-decay evaluate` prints and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrs_decay import evaluation
from tfrs_decay.evaluation import Comparison, Diversified, Figures, Scorer
from tfrs_decay.evaluation.figures import K
from tfrs_decay.evaluation.two_tower import TwoTowerScores
from tfrs_decay.runs import Progress, Run, evaluate_run, scorers_of


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """How a run's model does, for whom, and beside what.

    Attributes:
        tracks: Figures by track and model, the run's own model first.
        segments: [t] bool by track and segment.
        verdicts: By track, each other model's Recall less that of the first, at the
            longest k; of no model where the queries are one user's.
        vectors: [n_items, dim] what diversity is measured by; None where it is not.
    """

    tracks: Mapping[str, Mapping[str, Figures]]
    segments: Mapping[str, Mapping[str, np.ndarray]]
    verdicts: Mapping[str, Mapping[str, Comparison]]
    vectors: np.ndarray | None

    def report(self) -> str:
        """All of it in words: tables, and verdicts below them."""
        (first, figures), *_ = self.tracks["any"].items()
        tables = [
            evaluation.table(self.tracks, k, vectors=self.vectors) for k in figures.ks
        ]
        parts = ["\n\n".join(tables) + f"\n{evaluation.LEGEND}"]
        for track, of_track in self.tracks.items():
            parts.append(
                f"Track {track}, by segment:\n"
                + evaluation.segment_table(of_track, self.segments[track])
            )
            parts.append(
                f"Track {track}, Recall@{figures.k} less that of {first}; intervals "
                "are over users, p is adjusted by Holm:\n"
                + (
                    evaluation.verdict_table(self.verdicts[track])
                    or "no verdict: the queries are those of one user"
                )
            )
        return "\n\n".join(parts)

    def warnings(self) -> list[str]:
        """What a reader should be told, a line each."""
        return [
            f"({track}): {line}"
            for track, figures in self.tracks.items()
            for line in evaluation.warnings(figures)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers: a key for each track, and "segments" and "verdicts"."""
        return {
            **evaluation.as_dict(self.tracks, vectors=self.vectors),
            "segments": {
                track: evaluation.as_dict(
                    evaluation.by_segment(figures, self.segments[track])
                )
                for track, figures in self.tracks.items()
            },
            "verdicts": {
                track: evaluation.verdicts_as_dict(found)
                for track, found in self.verdicts.items()
            },
        }


def measure(
    run: Run,
    *,
    k: int | Sequence[int] = K,
    diversity: Sequence[float] = (),
    progress: Progress | None = None,
) -> MeasuredRun:
    """Measures a run's model after its test cut.

    Args:
        run: A finished run.
        k: Items a list, or several lengths.
        diversity: Trade-offs of `evaluation.Diversified` to measure the model with as
            well, each as a further model.
        progress: As in `evaluate_run`.

    Raises:
        ValueError: No query lies after the cut, or `k` or a trade-off is out of its
            range.
    """
    events = run.events()
    scorers = scorers_of(run, events)
    model = scorers["decay"]
    assert isinstance(model, TwoTowerScores)
    diversified: dict[str, Scorer] = {
        f"decay, trade-off {one:g}": Diversified(
            model, model.item_vectors, trade_off=one
        )
        for one in diversity
    }
    # Beside the model that they are made of.
    scorers = {"decay": model, **diversified, **scorers}
    tracks = evaluate_run(run, k=k, scorers=scorers, progress=progress)
    return MeasuredRun(
        tracks=tracks,
        segments={
            name: evaluation.segments(
                figures["decay"].queries, events, until=run.split.test
            )
            for name, figures in tracks.items()
        },
        verdicts={name: _verdicts(figures) for name, figures in tracks.items()},
        vectors=model.item_vectors if diversity else None,
    )


def _verdicts(figures: Mapping[str, Figures]) -> dict[str, Comparison]:
    users = figures["decay"].queries.user
    if len(np.unique(users)) < 2:
        return {}
    return evaluation.verdicts(
        {name: one.recall() for name, one in figures.items()}, users, against="decay"
    )
