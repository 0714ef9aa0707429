"""Scorers and queries in, the figures of every query out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.data.ranges import flat_ranges
from tfrs_decay.evaluation.baselines import Scorer
from tfrs_decay.evaluation.metrics import NO_ITEM, ndcg_at_k, recall_at_k
from tfrs_decay.evaluation.ranking import top_items

Progress = Callable[[list[Queries]], Iterable[Queries]]
"""Gives the blocks back one by one and shows how far it is, as `tqdm` does."""


@dataclass(frozen=True, eq=False)
class Figures:
    """How one model did.

    Attributes:
        k: Items a list.
        recall: [q] float64, `recall_at_k` of each query.
        ndcg: [q] float64, `ndcg_at_k` of each query.
        distinct_lists: How many different lists of k the model gives before seen items
            are left out: leaving them out makes lists differ that the model does not
            tell apart.
        coverage: The share of the catalogue that stands in at least one list.
        personal: Whether the model means to give different users different lists.
    """

    k: int
    recall: np.ndarray
    ndcg: np.ndarray
    distinct_lists: int
    coverage: float
    personal: bool = True

    def __len__(self) -> int:
        return len(self.recall)

    @property
    def mean_recall(self) -> float:
        """Recall@k, the mean over queries."""
        return float(self.recall.mean())

    @property
    def mean_ndcg(self) -> float:
        """NDCG@k, the mean over queries."""
        return float(self.ndcg.mean())


def evaluate(
    scorers: Mapping[str, Scorer],
    queries: Queries,
    events: Events,
    *,
    k: int = 20,
    exclude_seen: bool = False,
    block: int = 256,
    progress: Progress | None = None,
) -> dict[str, Figures]:
    """Ranks the whole catalogue for each query and measures the first k.

    No candidates are sampled: figures on a sample can order models otherwise than the
    catalogue does.

    Args:
        scorers: Models by name, as they are to be reported.
        queries: From `basket_queries`, after the cut.
        events: The events that the queries were made from.
        k: Items a list.
        exclude_seen: Recommend only what is new to the user: items of the query's
            history are not candidates. The queries are then those of
            `queries.with_new_targets(events)`.
        block: Queries scored at a time: a model's scores take
            block x items x 8 bytes.
        progress: Wraps the list of blocks and gives them back one by one.

    Returns:
        Figures by name, in the order of `scorers`.

    Raises:
        ValueError: There are no scorers or no queries, `k` or `block` is below 1, a
            target is excluded, the queries are not of these events, or a model's
            scores are not one finite or infinite number for each query and item.

    References:
        W. Krichene, S. Rendle. On sampled metrics for item recommendation. KDD 2020.
    """
    _check(scorers, queries, events)
    for name, number in (("k", k), ("block", block)):
        if number < 1:
            raise ValueError(f"{name}={number} must be 1 or more.")
    blocks = blocks_of(queries, block)
    if exclude_seen:
        # All of them before the first is scored: scoring may take an hour.
        for some in blocks:
            _check_targets_are_new(some, events)
    n_items = len(events.items)
    lists = {name: np.full((len(queries), k), NO_ITEM, np.int64) for name in scorers}
    # Before anything is excluded; the same arrays where nothing is.
    raw = {name: top.copy() for name, top in lists.items()} if exclude_seen else lists
    done = 0
    for some in blocks if progress is None else progress(blocks):
        place = slice(done, done + len(some))
        done = place.stop
        seen = _seen(some, events) if exclude_seen else None
        for name, scorer in scorers.items():
            scores = _scored(name, scorer, some, n_items)
            raw[name][place] = top_items(scores, k)
            if seen is not None:
                lists[name][place] = top_items(scores, k, seen)
    if done != len(queries):
        raise ValueError(
            f"progress gave back {done:,} of {len(queries):,} queries: it has to yield "
            "every block once, in order."
        )
    target = events.item[queries.target]
    return {
        name: Figures(
            k=k,
            recall=recall_at_k(top, target, queries.target_offset),
            ndcg=ndcg_at_k(top, target, queries.target_offset),
            distinct_lists=len(np.unique(raw[name], axis=0)),
            coverage=len(np.unique(top[top != NO_ITEM])) / n_items,
            personal=getattr(scorers[name], "personal", True),
        )
        for name, top in lists.items()
    }


def blocks_of(queries: Queries, size: int) -> list[Queries]:
    """Cuts queries into blocks of `size`, the last as it comes out; nothing is copied.

    Args:
        queries: Queries.
        size: Queries a block, 1 or more.
    """
    blocks = []
    for start in range(0, len(queries), size):
        some = slice(start, start + size)
        offset = queries.target_offset[start : start + size + 1]
        blocks.append(
            Queries(
                user=queries.user[some],
                time=queries.time[some],
                history_start=queries.history_start[some],
                history_stop=queries.history_stop[some],
                target=queries.target[offset[0] : offset[-1]],
                target_offset=offset - offset[0],
            )
        )
    return blocks


def _check(scorers: Mapping[str, Scorer], queries: Queries, events: Events) -> None:
    if not scorers:
        raise ValueError("scorers={}: name at least one model to evaluate.")
    if not len(queries):
        raise ValueError(
            "queries holds 0 queries, and their mean is not a number: check the cut "
            "that they were made with."
        )
    last = max(int(queries.history_stop.max()) - 1, int(queries.target.max()))
    if last >= len(events):
        raise ValueError(
            f"queries speak of event {last} and there are {len(events):,} events: give "
            "the events that the queries were made from."
        )


def _check_targets_are_new(queries: Queries, events: Events) -> None:
    row = np.repeat(np.arange(len(queries)), queries.target_count)
    item = events.item[queries.target]
    known = np.flatnonzero(_seen(queries, events)[row, item])
    if len(known):
        user = events.users[queries.user[row[known[0]]]]
        target = events.items.ids[item[known[0]]]
        raise ValueError(
            f"user {user!r} had the target {target!r} before: "
            "exclude_seen=True excludes it from the candidates, so give "
            "queries.with_new_targets(events)."
        )


def _seen(queries: Queries, events: Events) -> np.ndarray:
    """[b, n_items] bool, true for the items of each query's history."""
    row, event = flat_ranges(queries.history_start, queries.history_stop)
    seen = np.zeros((len(queries), len(events.items)), bool)
    seen[row, events.item[event]] = True
    return seen


def _scored(name: str, scorer: Scorer, queries: Queries, n_items: int) -> np.ndarray:
    scores = np.asarray(scorer(queries))
    if scores.shape != (len(queries), n_items) or scores.dtype.kind != "f":
        raise ValueError(
            f"{name!r} gave {scores.dtype} scores of shape {scores.shape}: a scorer "
            f"gives floats of shape {(len(queries), n_items)}, one for each query and "
            "item."
        )
    missing = np.isnan(scores).sum()
    if missing:
        raise ValueError(
            f"{name!r} gave {missing:,} scores of {scores.size:,} that are nan, which "
            "has no rank: give -inf to an item that is to come last."
        )
    return scores
