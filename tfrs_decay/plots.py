"""Pictures of decay: curves, what each event of a history weighs, and scores.

Everything takes arrays and gives a Matplotlib figure; no window is opened. `save`
writes it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.decay import Decay
from tfrs_decay.durations import Duration, to_seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DAY = 86_400
LONGEST_LABEL = 44
MOST_LABELS = 5


def decay_curves(decays: Mapping[str, Decay], *, until: Duration = "90d") -> Figure:
    """Weight over age, a line for each decay.

    Args:
        decays: By the name that the legend gives them. With a rate per feature, each
            feature is a thin line of its own.
        until: The greatest age drawn.

    Raises:
        ValueError: There is nothing to draw.
    """
    if not decays:
        raise ValueError("decays={}: name at least one decay to draw.")
    seconds = np.linspace(0, to_seconds(until, "until"), 400)
    figure, axes = _figure(7, 4)
    for index, (name, decay) in enumerate(decays.items()):
        weight = np.asarray(decay.weight(seconds))
        lines = weight if weight.ndim == 2 else weight[:, None]
        for number in range(lines.shape[1]):
            axes.plot(
                seconds / DAY,
                lines[:, number],
                color=f"C{index}",
                linewidth=2 if lines.shape[1] == 1 else 0.5,
                label=name if number == 0 else None,
            )
    axes.set(xlabel="age (days)", ylabel="weight", ylim=(0, 1.05))
    axes.legend(frameon=False)
    return figure


def history_weights(
    times: Sequence[int] | np.ndarray,
    weights: Sequence[float] | np.ndarray,
    query_time: int,
    *,
    labels: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """A user's history as stems: when each event was, and what it weighs now.

    Args:
        times: [n] seconds since the epoch.
        weights: [n] the weights, as `TimeDecayPooling.weights_of_events` gives them.
        query_time: Now, seconds since the epoch.
        labels: [n] what to write at the events: at the five heaviest, one a moment.
        title: Above the picture.

    Raises:
        ValueError: The lengths differ.
    """
    times, weights = np.asarray(times), np.asarray(weights)
    if times.shape != weights.shape or times.ndim != 1:
        raise ValueError(
            f"times has the shape {times.shape} and weights {weights.shape}: give one "
            "weight for each event."
        )
    if len(labels) not in (0, len(times)):
        raise ValueError(f"{len(labels)} labels for {len(times)} events.")
    figure, axes = _figure(11, 4)
    age = (query_time - times) / DAY
    if len(times):
        axes.stem(age, weights, markerfmt=".", basefmt=" ")
    # Numbers stand at the stems, names beside: the heaviest, no two of one moment.
    heaviest: list[int] = []
    for event in np.lexsort([age, -weights]) if labels else ():
        near = np.abs(age[heaviest] - age[event]) <= np.ptp(age) / 50
        if len(heaviest) < MOST_LABELS and not near.any():
            heaviest.append(int(event))
    for number, event in enumerate(heaviest, start=1):
        name = f"{number}  {weights[event]:.3f}  {_short(labels[event])}"
        axes.plot([], [], " ", label=name)
        axes.annotate(
            str(number),
            (age[event], weights[event]),
            xytext=(0, 4),
            textcoords="offset points",
            horizontalalignment="center",
            fontsize=8,
        )
    if heaviest:
        axes.legend(
            loc="upper left", bbox_to_anchor=(1, 1), frameon=False, handlelength=0
        )
    axes.set(xlabel="days before the query", ylabel="weight", title=title)
    axes.invert_xaxis()
    axes.set_ylim(bottom=0)
    return figure


def item_scores(
    labels: Sequence[str], scores: Sequence[float] | np.ndarray, *, title: str = ""
) -> Figure:
    """Scores as bars, in the order given, the first on top.

    Args:
        labels: [k] the items' texts.
        scores: [k] their scores.
        title: Above the picture.

    Raises:
        ValueError: The lengths differ.
    """
    if len(labels) != len(scores):
        raise ValueError(f"{len(labels)} labels for {len(scores)} scores.")
    figure, axes = _figure(8, 0.9 + 0.3 * len(labels))
    places = np.arange(len(labels))
    axes.barh(places, scores)
    axes.set_yticks(places, [_short(label) for label in labels], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="score", title=title)
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Writes a figure as PNG, whole or not at all, and returns its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial.png")
    figure.savefig(partial, dpi=110, metadata={"Software": None})
    return partial.replace(path)


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    try:
        from matplotlib.figure import Figure as MatplotlibFigure
    except ImportError:
        raise ImportError(
            "pictures need Matplotlib: pip install 'tfrs-decay[plots]'"
        ) from None
    figure = MatplotlibFigure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"
