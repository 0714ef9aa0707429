"""From a log to a ranked list: windows, tables, examples, the head, and the cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import basket_queries
from tfrs_decay.data.split import events_until
from tfrs_decay.durations import Duration, to_seconds
from tfrs_decay.layers.candidates import CandidateFeatures
from tfrs_decay.popularity import PopularityTable
from tfrs_decay.ranking.choice import Choice, choose_head
from tfrs_decay.ranking.examples import MAX_HISTORY, Examples, make_examples
from tfrs_decay.ranking.tables import fit_tables
from tfrs_decay.ranking.towers import TowerVectors

Told = Callable[[str], None]


class Windows(NamedTuple):
    """Examples of windows before a cut.

    any: Newest first, where everything may be recommended.
    new: The same queries, where nothing that the user had may be.
    tables: Of the newest window.
    """

    any: list[Examples]
    new: list[Examples]
    tables: CandidateFeatures


class CombinedList(NamedTuple):
    """What ranks after a cut: candidates up to it, and a head trained before it.

    candidates: Their tables are of all events up to the cut.
    choice: The head, and what it was chosen among.
    recall: The share of targets that were among the candidates in the newest window.
    exclude_own: Whether what a user had was no candidate; serve it likewise.
    max_history: Latest events of a history that were read; serve as many.
    """

    candidates: CandidateFeatures
    choice: Choice
    recall: float
    exclude_own: bool
    max_history: int


def spans(
    events: Events,
    *,
    until: int,
    length: Duration = "30d",
    most: int = 6,
    before: float = 0.2,
) -> list[tuple[int, int]]:
    """Windows that end at a cut, one before the other, newest first.

    Args:
        events: Clean events.
        until: The cut, seconds since the epoch.
        length: Of each.
        most: How many there are at most.
        before: What share of the events up to the cut comes before the oldest of them
            at least: tables are fitted to it.

    Returns:
        Start and end of each: queries after the start and up to the end.

    Raises:
        ValueError: Not even two windows have so many events before them: one to train
            on, and one to choose by; or fewer than two are asked for.
    """
    if most < 2:
        raise ValueError(
            f"{most} windows: give two or more, one to train on and one to choose by."
        )
    seconds = int(to_seconds(length, "length"))
    time = np.sort(events.time[events.time <= until])
    enough = time[int(before * len(time))] if len(time) else until
    found = []
    for number in range(most):
        start = until - (number + 1) * seconds
        if start < enough:
            break
        found.append((start, start + seconds))
    if len(found) < 2:
        raise ValueError(
            f"length={length!r}: fewer than two windows of that length before the cut "
            f"leave {before:.0%} of the events before them; give a shorter one."
        )
    return found


def cuts(
    events: Events,
    *,
    until: int | None = None,
    length: Duration = "30d",
    windows: int = 6,
) -> list[int]:
    """The cuts of which `fit_combined_list` takes towers, the oldest first.

    Args:
        events: Clean events.
        until: As in `fit_combined_list`, and so are the others.
        length: Of the windows.
        windows: How many at most.

    Returns:
        The start of each window, and the cut that ends the newest.

    Raises:
        ValueError: There are no events, or as in `spans`.
    """
    until = _end(events, until)
    return np.unique(spans(events, until=until, length=length, most=windows)).tolist()


def make_windows(
    events: Events,
    *,
    until: int,
    tracks: Sequence[str] = ("any", "new"),
    actions: Sequence[str] | None = None,
    length: Duration = "30d",
    windows: int = 6,
    most_queries: int = 4_000,
    seed: int = 0,
    progress: Told = lambda _: None,
    towers: Mapping[int, TowerVectors] | None = None,
    **tables: Any,
) -> Windows:
    """Examples of the windows before a cut, each with the tables of its own start.

    A window in which nothing was asked is left out. The catalogue is that of all events
    given: what was first sold after a window has no event there, and is named by its
    vector alone, if at all.

    Args:
        events: Clean events; those after `until` are not looked at.
        until: The cut, seconds since the epoch.
        tracks: "any", "new", or both; the other one's list stays empty.
        actions: What is to be foreseen, as in `data.basket_queries`; all when left out.
        length: As in `spans`.
        windows: How many at most.
        most_queries: Drawn from a window that has more.
        seed: Of the draws.
        progress: Told of each window.
        towers: By cut, from `tower_vectors`: those of each window's start make one
            table more there.
        **tables: Further options of `fit_tables`, such as `vectors`.

    Raises:
        ValueError: A track is neither, fewer than two windows have a query, a cut has
            no towers, or as in `spans` and `fit_tables`.
    """
    strange = sorted(set(tracks) - {"any", "new"})
    if strange or not tracks:
        raise ValueError(f"tracks={list(tracks)}: give 'any', 'new', or both.")
    past = events_until(events, until)
    popularity = PopularityTable.of(past)
    made: dict[str, list[Examples]] = {"any": [], "new": []}
    newest = None
    found = spans(past, until=until, length=length, most=windows)
    of_cut = _towers_by_cut(towers, [start for start, _ in found])
    for start, stop in found:
        fitted = fit_tables(
            past, until=start, popularity=popularity, towers=of_cut[start], **tables
        )
        newest = newest or fitted
        queries = basket_queries(past, after=start, until=stop, actions=actions)
        queries = queries.drawn(most_queries, seed)
        for track in tracks:
            new = track == "new"
            asked = queries.with_new_targets(past) if new else queries
            if not len(asked):
                progress(f"a window without queries of track {track} is left out")
                continue
            examples = make_examples(fitted, asked, past, exclude_own=new)
            made[track].append(examples)
            progress(
                f"window {len(made[track])}, track {track}: {len(asked):,} queries, "
                f"{len(examples.features):,} candidates hold {examples.recall:.3f} of "
                "the targets"
            )
    for track in tracks:
        if len(made[track]) < 2:
            raise ValueError(
                f"track {track}: {len(made[track])} windows before the cut hold a query"
                + ("" if actions is None else f" for {list(actions)}")
                + "; two are needed, one to train on and one to choose by."
            )
    assert newest is not None  # `spans` gives two or more
    return Windows(made["any"], made["new"], newest)


def choose(
    windows: Windows, track: str, *, seed: int = 0, progress: Told = lambda _: None
) -> Choice:
    """The best head for a track, by `choose_head`.

    Args:
        windows: From `make_windows`.
        track: "any" or "new".
        seed: Of the training.
        progress: Told what is tried.
    """
    tables = windows.tables
    return choose_head(
        windows.any if track == "any" else windows.new,
        tables.feature_names,
        lasting=tables.lasting_names,
        alone=tables.alone_names,
        seed=seed,
        progress=progress,
    )


def fit_combined_list(
    events: Events,
    *,
    until: int | None = None,
    track: str = "any",
    actions: Sequence[str] | None = None,
    seed: int = 0,
    progress: Told = lambda _: None,
    length: Duration = "30d",
    windows: int = 6,
    most_queries: int = 4_000,
    towers: Mapping[int, TowerVectors] | None = None,
    **tables: Any,
) -> CombinedList:
    """Fits all of a combined list to the events up to a cut.

    Args:
        events: Clean events.
        until: The cut, seconds since the epoch; the last event when left out.
        track: "any", or "new" for a list without what the user had.
        actions: As in `make_windows`.
        seed: Of the draws and the training.
        progress: Told what is done.
        length: Of the windows, as in `spans`.
        windows: How many at most.
        most_queries: As in `make_windows`.
        towers: As in `make_windows`, with those of the cut itself.
        **tables: Further options of `fit_tables`, such as `vectors`.

    Raises:
        ValueError: There are too few events, or an argument does not fit.
        ImportError: SciPy is not installed.
    """
    until = _end(events, until)
    serving = _towers_by_cut(towers, [until])[until]
    made = make_windows(
        events,
        until=until,
        tracks=[track],
        actions=actions,
        length=length,
        windows=windows,
        most_queries=most_queries,
        seed=seed,
        progress=progress,
        towers=towers,
        **tables,
    )
    choice = choose(made, track, seed=seed, progress=progress)
    past = events_until(events, until)
    candidates = fit_tables(
        past,
        until=until,
        popularity=PopularityTable.of(past),
        towers=serving,
        **tables,
    )
    newest = (made.any or made.new)[0]
    return CombinedList(candidates, choice, newest.recall, track == "new", MAX_HISTORY)


def _end(events: Events, until: int | None) -> int:
    if not len(events):
        raise ValueError("there are no events to fit.")
    return int(events.time.max()) if until is None else until


def _towers_by_cut(
    towers: Mapping[int, TowerVectors] | None, cuts: Sequence[int]
) -> dict[int, TowerVectors | None]:
    """The towers of each cut; None for each where there are none at all."""
    if towers is None:
        return dict.fromkeys(cuts)
    missing = [cut for cut in cuts if cut not in towers]
    if missing:
        raise ValueError(
            f"towers are of the cuts {sorted(towers)}, and none is of {missing}: give "
            "those of every window's start and of the cut that ends the newest."
        )
    return {cut: towers[cut] for cut in cuts}
