"""Scorers and queries in, the figures of every query out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.data.ranges import flat_ranges
from tfrs_decay.evaluation.baselines import Scorer
from tfrs_decay.evaluation.diversified import Diversified
from tfrs_decay.evaluation.metrics import (
    NO_ITEM,
    Hits,
    diversity_at_k,
    novelty_at_k,
)
from tfrs_decay.evaluation.ranking import ranked

Progress = Callable[[list[Queries]], Iterable[Queries]]
"""Gives the blocks back one by one and shows how far it is, as `tqdm` does."""

K = 20
"""Items a list is judged by, where nobody says how many."""


@dataclass(frozen=True, eq=False)
class Figures:
    """How one model did: the lists that it gave, beside what was wanted.

    A figure is asked for at any k up to the longest: `figures.recall(5)` is that of
    each query, `figures.recall(5).mean()` what is reported. The longest is meant where
    k is left out.

    Attributes:
        ks: The k that were asked for, rising.
        lists: [q, the longest k] int64 items, best first; -1 where none was left.
        lists_with_seen: As `lists`, before seen items were left out.
        queries: The q queries.
        target: [t] int64, the items that the queries' targets are of.
        n_items: Items of the catalogue.
        personal: Whether the model means to give different users different lists.
    """

    ks: tuple[int, ...]
    lists: np.ndarray
    lists_with_seen: np.ndarray
    queries: Queries
    target: np.ndarray
    n_items: int
    personal: bool = True

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def k(self) -> int:
        """The longest k."""
        return self.ks[-1]

    def recall(self, k: int | None = None) -> np.ndarray:
        """[q] float64, `recall_at_k` of each query."""
        return self._hits.first(self._length(k)).recall()

    def precision(self, k: int | None = None) -> np.ndarray:
        """[q] float64, `precision_at_k` of each query."""
        return self._hits.first(self._length(k)).precision()

    def ndcg(self, k: int | None = None) -> np.ndarray:
        """[q] float64, `ndcg_at_k` of each query."""
        return self._hits.first(self._length(k)).ndcg()

    def mrr(self, k: int | None = None) -> np.ndarray:
        """[q] float64, `mrr_at_k` of each query."""
        return self._hits.first(self._length(k)).mrr()

    def hit_rate(self, k: int | None = None) -> np.ndarray:
        """[q] float64, `hit_rate_at_k` of each query."""
        return self._hits.first(self._length(k)).hit_rate()

    def novelty(self, information: np.ndarray, k: int | None = None) -> np.ndarray:
        """[q] float64, `novelty_at_k` of each list.

        Args:
            information: [n_items], as `self_information` gives it.
            k: Items a list.
        """
        return novelty_at_k(self._first(k), self._of_catalogue(information))

    def diversity(self, vectors: np.ndarray, k: int | None = None) -> np.ndarray:
        """[q] float64, `diversity_at_k` of each list.

        Args:
            vectors: [n_items, dim].
            k: Items a list.
        """
        return diversity_at_k(self._first(k), self._of_catalogue(vectors))

    def coverage(self, k: int | None = None) -> float:
        """The share of the catalogue that stands in at least one list."""
        top = self._first(k)
        listed = np.zeros(self.n_items, bool)
        listed[top[top != NO_ITEM]] = True
        return float(listed.mean())

    def distinct_lists(self, k: int | None = None) -> int:
        """How many different lists the model gives before seen items are left out.

        Leaving them out makes lists differ that the model does not tell apart.
        """
        return len(np.unique(self.lists_with_seen[:, : self._length(k)], axis=0))

    def where(self, kept: np.ndarray) -> Figures:
        """The figures of the queries that `kept`, [q] bool, is true for."""
        return self.of_targets(np.repeat(kept, self.queries.target_count))

    def of_targets(self, kept: np.ndarray) -> Figures:
        """The same lists, held against those targets that `kept` is true for.

        Queries that are left without a target are left out. The segments of
        `evaluation.segments` are such choices.

        Args:
            kept: [t] bool.

        Raises:
            ValueError: `kept` is not of one boolean for each target.
        """
        kept = np.asarray(kept)
        if kept.dtype != np.bool_ or kept.shape != self.target.shape:
            raise ValueError(
                f"kept is {kept.dtype} of shape {kept.shape}: give booleans of shape "
                f"{self.target.shape}, one for each target of the queries."
            )
        left = np.unique(self.queries.query_of_target[kept])
        return replace(
            self,
            lists=self.lists[left],
            lists_with_seen=self.lists_with_seen[left],
            queries=self.queries.with_targets(kept),
            target=self.target[kept],
        )

    def _length(self, k: int | None) -> int:
        if k is None:
            return self.k
        if not 1 <= k <= self.k:
            raise ValueError(
                f"k={k}: the lists hold {self.k} items. Give a k from 1 to {self.k}, "
                "or evaluate at a longer one."
            )
        return int(k)

    def _first(self, k: int | None) -> np.ndarray:
        return self.lists[:, : self._length(k)]

    @cached_property
    def _hits(self) -> Hits:
        return Hits.of(self.lists, self.target, self.queries.target_offset)

    def _of_catalogue(self, told: np.ndarray) -> np.ndarray:
        if len(told) != self.n_items:
            raise ValueError(
                f"{len(told):,} items are told of and {self.n_items:,} are ranked: "
                "give one row for each item of the catalogue."
            )
        return told


def evaluate(
    scorers: Mapping[str, Scorer],
    queries: Queries,
    events: Events,
    *,
    k: int | Sequence[int] = K,
    exclude_seen: bool = False,
    block: int = 256,
    progress: Progress | None = None,
) -> dict[str, Figures]:
    """Ranks the whole catalogue for each query and keeps the first k.

    No candidates are sampled: figures on a sample can order models otherwise than the
    catalogue does.

    Args:
        scorers: Models by name, as they are to be reported. Lists of a `Diversified`
            are reordered after seen items were left out.
        queries: From `basket_queries`, after the cut.
        events: The events that the queries were made from.
        k: Items a list, or several lengths such as (5, 10, 20, 50): the catalogue is
            ranked once, for the longest.
        exclude_seen: Recommend only what is new to the user: items of the query's
            history are not candidates. The queries are then those of
            `queries.with_new_targets(events)`.
        block: Queries scored at a time: a model's scores take
            block x items x 8 bytes, twice, for one block is ranked while the next is
            scored.
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
    ks = _lengths(k)
    if block < 1:
        raise ValueError(f"block={block} must be 1 or more.")
    blocks = blocks_of(queries, block)
    if exclude_seen:
        # All of them before the first is scored: scoring may take an hour.
        for some in blocks:
            _check_targets_are_new(some, events)
    n_items = len(events.items)
    lists = {name: np.full((len(queries), ks[-1]), NO_ITEM) for name in scorers}
    # Before anything is excluded; the same arrays where nothing is.
    raw = {name: top.copy() for name, top in lists.items()} if exclude_seen else lists

    def rank(
        name: str, place: slice, scores: np.ndarray, seen: np.ndarray | None
    ) -> None:
        _refuse_nan(name, scores)
        raw[name][place] = _listed(scorers[name], scores, ks[-1])
        if seen is not None:
            lists[name][place] = _listed(scorers[name], scores, ks[-1], seen)

    done = 0
    # What was scored last is ranked while the next is scored.
    with ThreadPoolExecutor(max_workers=1) as apart:
        last: Future[None] | None = None
        for some in blocks if progress is None else progress(blocks):
            place = slice(done, done + len(some))
            done = place.stop
            seen = _seen(some, events) if exclude_seen else None
            for name, scorer in scorers.items():
                scores = _scored(name, scorer, some, n_items)
                if last is not None:
                    last.result()
                last = apart.submit(rank, name, place, scores, seen)
        if last is not None:
            last.result()
    if done != len(queries):
        raise ValueError(
            f"progress gave back {done:,} of {len(queries):,} queries: it has to yield "
            "every block once, in order."
        )
    target = events.item[queries.target]
    return {
        name: Figures(
            ks=ks,
            lists=top,
            lists_with_seen=raw[name],
            queries=queries,
            target=target,
            n_items=n_items,
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
    return [
        queries.between(start, min(start + size, len(queries)))
        for start in range(0, len(queries), size)
    ]


def _lengths(k: int | Sequence[int]) -> tuple[int, ...]:
    """Each k once, rising."""
    ks = tuple(k) if isinstance(k, Sequence) else (k,)
    if not ks or not all(isinstance(one, (int, np.integer)) for one in ks):
        raise ValueError(f"k={k!r} must be an integer or several.")
    if min(ks) < 1:
        raise ValueError(f"k={k} must be 1 or more.")
    return tuple(sorted({int(one) for one in ks}))


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
    row = queries.query_of_target
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
    return scores


def _listed(
    scorer: Scorer, scores: np.ndarray, k: int, seen: np.ndarray | None = None
) -> np.ndarray:
    """[b, k] int64 items: ranked, and reordered where the scorer does that."""
    if not isinstance(scorer, Diversified):
        return ranked(scores, k, seen)
    top = ranked(scores, max(k, scorer.pool), seen)
    # Beside -1 stands some score, which is not read.
    return scorer.reordered(top, np.take_along_axis(scores, top, axis=1))[:, :k]


def _refuse_nan(name: str, scores: np.ndarray) -> None:
    # The highest of all is nan where any is, and found faster.
    if np.isnan(scores.max()):
        raise ValueError(
            f"{name!r} gave {np.isnan(scores).sum():,} scores of {scores.size:,} that "
            "are nan, which has no rank: give -inf to an item that is to come last."
        )
