"""Pictures of decay: curves, what each event of a history weighs, and scores.

Everything takes arrays and gives a Matplotlib figure; no window is opened. `save`
writes it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tfrs_decay.durations import Duration, to_seconds
from tfrs_decay.writing import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DAY = 86_400
LONGEST_LABEL = 44
MOST_LABELS = 5


class Weighing(Protocol):
    """What has a curve: a decay."""

    @property
    def clocks(self) -> frozenset[str]:
        """What it runs over: "age" or "rank"."""

    def weight(self, elapsed: Any) -> Any:
        """[n] seconds or later events -> [n] or [n, features] weights."""


def decay_curves(
    decays: Mapping[str, Weighing], *, until: Duration | None = None
) -> Figure:
    """Weight over age, or over the number of later events, a line for each decay.

    Args:
        decays: By the name that the legend gives them. With a rate per feature, each
            feature is a thin line of its own.
        until: The greatest age drawn, 90 days when left out; or the greatest number of
            later events, 50 when left out.

    Raises:
        ValueError: There is nothing to draw, or one axis does not do for all.
        TypeError: `decays` is no mapping from names to decays.
    """
    if not isinstance(decays, Mapping) or not all(
        hasattr(one, "clocks") and hasattr(one, "weight") for one in decays.values()
    ):
        raise TypeError(
            f"decays={decays!r}: give a mapping from names to decays, such as "
            "{'a week': Exponential('7d')}."
        )
    if not decays:
        raise ValueError("decays={}: name at least one decay to draw.")
    clocks = {clock for decay in decays.values() for clock in decay.clocks}
    if len(clocks) > 1:
        raise ValueError(
            "decays run over age and over rank: a curve has one axis, so draw those of "
            "one clock at a time."
        )
    by_rank = clocks == {"rank"}
    if by_rank:
        last = 50.0 if until is None else _events(until)
        elapsed = np.arange(last + 1)
    else:
        last = to_seconds("90d" if until is None else until, "until")
        elapsed = np.linspace(0, last, 400)
    figure, axes = _figure(9, 4)
    for index, (name, decay) in enumerate(decays.items()):
        weight = np.asarray(decay.weight(elapsed))
        lines = weight if weight.ndim == 2 else weight[:, None]
        for number in range(lines.shape[1]):
            axes.plot(
                elapsed if by_rank else elapsed / DAY,
                lines[:, number],
                color=f"C{index}",
                linewidth=2 if lines.shape[1] == 1 else 0.5,
                label=name if number == 0 else None,
            )
    axes.set(
        xlabel="later events" if by_rank else "age (days)",
        ylabel="weight",
        ylim=(0, 1.05),
    )
    # Beside, for wherever it lay it could lie on a curve.
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def _events(until: Duration) -> float:
    if isinstance(until, (int, float, np.integer, np.floating)):
        if np.isfinite(until) and until > 0:
            return float(until)
    raise ValueError(f"until={until!r}: over the rank it is a number of events.")


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
            Less than a fiftieth of the axis beside a stem that has a number, a second
            number could not be read: that event is passed over, and the legend says so.
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
    passed_over = False
    for event in np.lexsort([age, -weights]) if len(labels) else ():
        if len(heaviest) == MOST_LABELS:
            break
        away = np.abs(age[heaviest] - age[event])
        if (away > np.ptp(age) / 50).all():
            heaviest.append(int(event))
        else:
            passed_over |= bool((away > 0).all())
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
            loc="upper left",
            bbox_to_anchor=(1, 1),
            frameon=False,
            handlelength=0,
            title="the heaviest, of close neighbours one" if passed_over else None,
            alignment="left",
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


def tuning_curves(
    curves: Mapping[tuple[str, str], Sequence[tuple[float, float]]],
    *,
    mean: float,
    measure: str = "Recall@20",
) -> Figure:
    """How well decays of different scales did: a panel a clock, a colour a family.

    Every decay is a dot. A family's line rises to its best and falls from there,
    through those that none farther out did better than: with further numbers, one scale
    can do well and badly.

    Args:
        curves: Pairs of scale and score, by clock ("age", in seconds, or "rank", in
            events) and family.
        mean: The plain mean's score, a line across.
        measure: What the scores are.

    Raises:
        ValueError: There is nothing to draw.
    """
    clocks = [by for by in ("age", "rank") if any(by == one for one, _ in curves)]
    if not clocks or not all(curves.values()):
        raise ValueError(f"curves={dict(curves)}: give one scale and score or more.")
    families = list(dict.fromkeys(family for _, family in curves))
    figure, _ = _figure(1.5 + 4.5 * len(clocks), 4)
    figure.clear()
    panels = figure.subplots(1, len(clocks), sharey=True, squeeze=False)[0]
    for by, axes in zip(clocks, panels, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.axhline(mean, color="0.4", linestyle="--", label="plain mean")
        for index, family in enumerate(families):
            points = np.asarray(curves.get((by, family), ()), np.float64)
            if not len(points):
                continue
            scale, score = points[np.argsort(points[:, 0], kind="stable")].T
            if by == "age":
                scale = scale / DAY
            color = f"C{index}"
            axes.plot(scale, score, ".", color=color, alpha=0.4, markersize=4)
            outline = _outline(score)
            axes.plot(scale[outline], score[outline], color=color, label=family)
        axes.set(
            xscale="log",
            xlabel="scale (days)" if by == "age" else "scale (later events)",
        )
    panels[0].set_ylabel(measure)
    panels[-1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _outline(score: np.ndarray) -> np.ndarray:
    """[n] bool: the best, and what no score farther from it, on its side, is above."""
    best = int(np.argmax(score))
    from_left = score >= np.maximum.accumulate(score)
    from_right = score[::-1] >= np.maximum.accumulate(score[::-1])
    return np.concatenate([from_left[:best], from_right[::-1][best:]])


def by_day(
    curves: Mapping[str, tuple[Any, Any, Any]], *, measure: str, first_day: int = 1
) -> Figure:
    """A figure of each day as a line, in the band of its interval.

    Args:
        curves: By the name that the legend gives them, mean, low and high: [days]
            each.
        measure: What the figure is.
        first_day: The number of the first day.

    Raises:
        ValueError: There is nothing to draw, or a line and its band differ in length.
    """
    if not curves:
        raise ValueError("curves={}: name at least one to draw.")
    figure, axes = _figure(9, 4)
    for index, (name, curve) in enumerate(curves.items()):
        mean, low, high = (np.asarray(one, np.float64) for one in curve)
        if mean.ndim != 1 or not mean.shape == low.shape == high.shape:
            raise ValueError(
                f"curves[{name!r}] has the shapes {mean.shape}, {low.shape} and "
                f"{high.shape}: give mean, low and high, a number a day each."
            )
        days = np.arange(first_day, first_day + len(mean))
        color = f"C{index}"
        axes.fill_between(days, low, high, color=color, alpha=0.15, linewidth=0)
        axes.plot(days, mean, color=color, linewidth=2, label=name)
    axes.set(xlabel="day", ylabel=measure)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Writes a figure as PNG, whole or not at all, and returns its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})
    return path


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
