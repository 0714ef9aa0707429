"""Figures as a table for people, as a dict for machines, and as words of caution."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise, zip_longest
from typing import Any

import numpy as np

from tfrs_decay.data.cleaning import counted
from tfrs_decay.evaluation.compare import Comparison
from tfrs_decay.evaluation.figures import Figures
from tfrs_decay.evaluation.metrics import NO_ITEM

FEW_LISTS = 0.05
"""Distinct lists a query below which a personal model is thought to have collapsed."""

FEW_QUERIES = 100
"""Queries below which figures tell little. A recall of 0.2 has a standard error of
sqrt(0.2 x 0.8 / 100) = 0.04 there, which is about what a decay is worth."""

LEGEND = (
    "any: everything may be recommended. new: what the user never had. "
    "*: the best. lists: how many different lists users got."
)
"""What a reader of the table is to know."""

HEADING = 14
"""Characters to which the names of models are wrapped where they stand side by side."""

Tracks = Mapping[str, Mapping[str, Figures]]
"""Track -> model -> figures, such as {"any": evaluate(...), "new": evaluate(...)}."""


def table(
    tracks: Tracks, k: int | None = None, *, vectors: np.ndarray | None = None
) -> str:
    """A plain-text table: models down, for each track Recall, NDCG and lists across.

    The best of each metric is marked with `*`: all that print the same as the best.
    `lists` is the number of distinct lists that users got. A model that a track does
    not have prints `-` there.

    Args:
        tracks: Figures by track and model.
        k: Items a list; the longest that was measured when left out.
        vectors: [n_items, dim], adds the mean `diversity_at_k` of lists of two items
            or more.

    Returns:
        Lines without trailing spaces, joined by newlines.

    Raises:
        ValueError: There are no tracks, a track has no models, or its models were
            measured at different k or on different numbers of queries.
    """
    if not tracks:
        raise ValueError("tracks={}: give at least one track.")
    models = list(dict.fromkeys(name for track in tracks.values() for name in track))
    columns = [["", "model", *models]]
    for name, track in tracks.items():
        columns += _columns(name, track, models, k, vectors)
    widths = _widths(columns)
    lines = []
    for row in range(1, len(models) + 2):
        cells = [
            # Names on the left, numbers on the right.
            column[row].ljust(width) if index == 0 else column[row].rjust(width)
            for index, (column, width) in enumerate(zip(columns, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([_headings(columns, widths), *lines])


def segment_table(
    figures: Mapping[str, Figures],
    segments: Mapping[str, np.ndarray],
    k: int | None = None,
) -> str:
    """A plain-text table: segments down, how large they are and models' Recall across.

    The best of each segment is marked with `*`: all that print the same as the best.

    Args:
        figures: Figures by model, of the same queries.
        segments: [t] bool by name, as `segments` gives them for these queries.
        k: Items a list; the longest that was measured when left out.

    Returns:
        Lines without trailing spaces, joined by newlines. A segment that no target is
        in says "none".

    Raises:
        ValueError: There are no figures, or a segment is not of one boolean for each
            target.
    """
    if not figures:
        raise ValueError("figures={}: give what `evaluate` returned.")
    longest = min(one.k for one in figures.values()) if k is None else k
    headings = [[f"Recall@{longest}"], ["queries"], ["targets"]]
    headings += [
        [
            f"{line} "
            for line in textwrap.wrap(
                one, HEADING, break_long_words=False, break_on_hyphens=False
            )
        ]
        for one in figures
    ]
    # The last lines of all headings stand side by side.
    rows = [
        list(line)
        for line in zip_longest(*(one[::-1] for one in headings), fillvalue="")
    ][::-1]
    everything = np.ones(len(next(iter(figures.values())).target), bool)
    for name, kept in {"all": everything, **segments}.items():
        some = [one.of_targets(kept) for one in figures.values()]
        if not kept.any():
            rows.append([name, "none", *[""] * (1 + len(some))])
            continue
        cells = [f"{one.recall(longest).mean():.4f}" for one in some]
        cells = [one + ("*" if one == max(cells) else " ") for one in cells]
        rows.append([name, f"{len(some[0]):,}", f"{kept.sum():,}", *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0])]
            + [one.rjust(width) for one, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    )


def verdict_table(found: Mapping[str, Comparison]) -> str:
    """A plain-text table of comparisons: names down, the difference and its verdict.

    Args:
        found: By name, as `verdicts` gives them.

    Returns:
        Lines joined by newlines.
    """
    width = max(map(len, found), default=0)
    return "\n".join(f"{name.ljust(width)}  {one}" for name, one in found.items())


def warnings(figures: Mapping[str, Figures]) -> list[str]:
    """What a reader of one track's figures should be told.

    A model that means to be personal and gives fewer distinct lists than 5% of the
    queries, or the same list to all, has most likely collapsed: users who share no
    taste get the same list. Two queries are the least that can tell. Models with
    `personal = False`, such as popularity, are passed over.

    Below 100 queries a first line says how little they tell, whatever the models are.

    Args:
        figures: Figures by model.

    Returns:
        One line a warning, none when there is nothing to say.
    """
    lines = []
    queries = min(map(len, figures.values()), default=FEW_QUERIES)
    if queries < FEW_QUERIES:
        # No spread of numbers in 0 to 1 is above 1/2.
        most = 0.5 / math.sqrt(queries)
        lines.append(
            f"only {counted(queries, 'query', 'queries')}: the standard error of a "
            f"recall can be {most:.2f}, and a smaller difference may be chance."
        )
    for name, one in figures.items():
        if not one.personal or len(one) < 2:
            continue
        distinct = one.distinct_lists()
        if distinct < FEW_LISTS * len(one) or distinct == 1:
            lists = "list" if distinct == 1 else "lists"
            lines.append(
                f"{name}: only {distinct:,} distinct {lists} for "
                f"{len(one):,} queries: it recommends nearly the same to everyone."
            )
    return lines


def as_dict(
    tracks: Tracks, *, vectors: np.ndarray | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    """Figures as plain numbers, ready for `json.dump`.

    Args:
        tracks: Figures by track and model; or by segment and model.
        vectors: [n_items, dim], adds "diversity@20": the mean over the lists of two
            items or more, where there are such lists.

    Returns:
        {track: {model: {"queries": ..., "recall@20": ..., "precision@20": ...,
        "ndcg@20": ..., "mrr@20": ..., "hit_rate@20": ..., "coverage@20": ...,
        "distinct_lists": ...}}}, the means over queries at each k that was asked for
        and the lists of the longest. Where there are no queries, `queries` stands
        alone.
    """
    return {
        track: {model: _numbers(one, vectors) for model, one in figures.items()}
        for track, figures in tracks.items()
    }


def verdicts_as_dict(found: Mapping[str, Comparison]) -> dict[str, dict[str, Any]]:
    """Comparisons as plain numbers with their verdict, ready for `json.dump`.

    Args:
        found: By name, as `verdicts` gives them.

    Returns:
        {name: {"difference": ..., "low": ..., ..., "verdict": ...}}, the attributes of
        `Comparison`.
    """
    return {
        name: {**asdict(one), "verdict": one.verdict} for name, one in found.items()
    }


def _numbers(figures: Figures, vectors: np.ndarray | None) -> dict[str, float]:
    numbers: dict[str, float] = {"queries": len(figures)}
    if not len(figures):
        return numbers
    for k in figures.ks:
        of_each = {
            "recall": figures.recall(k),
            "precision": figures.precision(k),
            "ndcg": figures.ndcg(k),
            "mrr": figures.mrr(k),
            "hit_rate": figures.hit_rate(k),
        }
        numbers |= {f"{name}@{k}": float(each.mean()) for name, each in of_each.items()}
        numbers[f"coverage@{k}"] = figures.coverage(k)
        diversity = None if vectors is None else _diversity(figures, vectors, k)
        if diversity is not None:
            numbers[f"diversity@{k}"] = diversity
    return {**numbers, "distinct_lists": figures.distinct_lists()}


def _diversity(figures: Figures, vectors: np.ndarray, k: int) -> float | None:
    """The mean over the lists that have a pair of items; None where none has."""
    paired = (figures.lists[:, :k] != NO_ITEM).sum(axis=1) > 1
    if not paired.any():
        return None
    return float(figures.where(paired).diversity(vectors, k).mean())


def _columns(
    name: str,
    figures: Mapping[str, Figures],
    models: list[str],
    k: int | None,
    vectors: np.ndarray | None,
) -> list[list[str]]:
    """A track's columns, each: the track's heading, its own, and the cells."""
    measured = {(one.k if k is None else k, len(one)) for one in figures.values()}
    if not measured:
        raise ValueError(
            f"track {name!r} has no models: give what `evaluate` returned."
        )
    if len(measured) != 1:
        raise ValueError(
            f"track {name!r} has figures at (k, queries) = {sorted(measured)}: models "
            "stand in one table when they were measured alike, at one k on the same "
            "queries."
        )
    k, queries = measured.pop()
    numbers = {
        f"Recall@{k}": {model: one.recall(k).mean() for model, one in figures.items()},
        f"NDCG@{k}": {model: one.ndcg(k).mean() for model, one in figures.items()},
    }
    columns = []
    for heading, of_model in numbers.items():
        written = {model: f"{number:.4f}" for model, number in of_model.items()}
        best = max(written.values())
        # A blank where the others have no star keeps the decimals in line.
        cells = [
            "- " if one is None else one + ("*" if one == best else " ")
            for one in map(written.get, models)
        ]
        columns.append(["", heading + " ", *cells])
    lists = [
        f"{figures[one].distinct_lists(k):,}" if one in figures else "-"
        for one in models
    ]
    columns.append(["", "lists", *lists])
    if vectors is not None:
        of_model = {
            model: _diversity(one, vectors, k) for model, one in figures.items()
        }
        cells = [
            "-" if one is None else f"{one:.4f}" for one in map(of_model.get, models)
        ]
        columns.append(["", f"diversity@{k}", *cells])
    columns[0][0] = f"{name} ({queries:,} queries)"
    return columns


def _widths(columns: list[list[str]]) -> list[int]:
    """Characters a column: its cells fit, and so does the heading of each track."""
    widths = [max(map(len, column[1:])) for column in columns]
    starts = [number for number, column in enumerate(columns) if column[0]]
    for first, end in pairwise([*starts, len(columns)]):
        gaps = 2 * (end - first - 1)
        missing = len(columns[first][0]) - sum(widths[first:end]) - gaps
        widths[first] += max(missing, 0)
    return widths


def _headings(columns: list[list[str]], widths: list[int]) -> str:
    """The tracks' names, each above the first of its columns."""
    line, position = "", 0
    for column, width in zip(columns, widths, strict=True):
        if column[0]:
            line = line.ljust(position) + column[0]
        position += width + 2
    return line
