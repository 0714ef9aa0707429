"""The combined list to one SavedModel: raw history in, ranked candidates out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_decay.data.events import Items
from tfrs_decay.layers.candidates import CandidateFeatures
from tfrs_decay.layers.history import FOREVER, History
from tfrs_decay.layers.own_items import NO_ITEM, place_among
from tfrs_decay.layers.ranking_head import RankingHead
from tfrs_decay.layers.top_k import LOWEST_SCORE, top_k
from tfrs_decay.serving.names import DEFAULT_K
from tfrs_decay.serving.signatures import (
    RECOMMEND,
    Catalogue,
    Request,
    concrete,
    how_many,
    latest,
)
from tfrs_decay.serving.versions import next_version, write_version
from tfrs_decay.serving.warmup import example


class CombinedRecommender(tf.Module):
    """The served graph of a combined list: what `export_combined` writes.

    Candidates are named, described and ranked in the graph, from the raw history, its
    times and a few tables, by TensorFlow's core ops. An answer holds candidates alone,
    so it may be shorter than it was asked for.

    Args:
        candidates: With the tables of the cut, such as `ranking.CombinedList` has them.
        head: Trained on such candidates.
        items: The catalogue.
        k: Items an answer has, where the request does not say.
        exclude_seen: Never return an item of the history: others are candidates in
            their place, as in training with `exclude_own`.
        max_history: Only the latest so many events that count are read, as in training;
            all for None.

    Raises:
        ValueError: `k` or `max_history` is below 1, or the catalogue or the head is of
            another size than the candidates'.
    """

    def __init__(
        self,
        candidates: CandidateFeatures,
        head: RankingHead,
        items: Items,
        *,
        k: int = DEFAULT_K,
        exclude_seen: bool = False,
        max_history: int | None = 500,
    ) -> None:
        super().__init__(name="combined_recommender")
        for name, number in (("k", k), ("max_history", max_history)):
            if number is not None and number < 1:
                raise ValueError(f"{name}={number} must be 1 or more.")
        n_items = candidates.repeats.n_items
        if len(items) != n_items:
            raise ValueError(
                f"items are {len(items):,}, and candidates are of {n_items:,}: give "
                "the catalogue that the tables were fitted to."
            )
        features = len(candidates.feature_names)
        if not head.built:
            raise ValueError("the head has no weights: train it first.")
        if head.n_features != features:
            raise ValueError(
                f"the head reads {head.n_features} features, and candidates have "
                f"{features}: give the head that was trained on them."
            )
        # Their methods alone: there is nothing to save but what the graph does.
        self._of_history = candidates.of_history
        self._day = candidates.popularity.nearest_day
        self._rank = head.call
        self._n_items = n_items
        self._k = k
        self._exclude_seen = exclude_seen
        self._max_history = max_history
        self.catalogue = Catalogue(items.ids)

    def recommend(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers a batch of histories.

        An event of an unknown item and one after the query time do not count. With
        `exclude_seen` every item of the history is seen, whenever it was. A history
        without any event that counts is answered with what is popular on the query's
        day. A query of a day before the table's is answered as of the table's first.

        Args:
            **inputs: The fields of `signatures.Request` but for texts. Actions are not
                looked at: every event that was fitted counts the same.

        Returns:
            `item_id` [batch, k] strings, best first, "" where no candidate was left;
            `score` [batch, k] float32, the lowest finite float there.
        """
        request = Request(**inputs)
        asked = self.catalogue.read(request)
        place, history_time, query_time = asked.place, asked.time, asked.query_time
        counts = (place >= 0) & asked.counts
        if self._max_history is not None:
            order, counts = latest(history_time, counts, self._max_history)
            place, history_time = (
                tf.gather(column, order, batch_dims=1)
                for column in (place, history_time)
            )
        age = tf.where(counts, query_time[:, None] - history_time, FOREVER)
        found = self._of_history(
            place,
            History(age, counts, history_time),
            self._day(query_time),
            exclude_own=self._exclude_seen,
        )
        score = tf.where(found.item < 0, LOWEST_SCORE, self._rank(found.features))
        excluded = [asked.seen] if self._exclude_seen else []
        if asked.excluded is not None:
            excluded.append(asked.excluded)
        if excluded:
            left_out = _among(found.item, tf.concat(excluded, axis=1))
            score = tf.where(left_out, LOWEST_SCORE, score)
        best, column = top_k(score, how_many(request.k, self._k, self._n_items))
        # A column more, so that there is something to look at without candidates.
        item = tf.pad(found.item, [[0, 0], [0, 1]], constant_values=-1)
        nothing = tf.shape(found.item)[1]
        column = tf.where(column < 0, nothing, column)
        return self.catalogue.answer(
            best, tf.gather(item, column, batch_dims=1), request.k
        )

    def signatures(self) -> dict[str, Any]:
        """Concrete functions by signature name."""
        return {
            name: concrete(self.recommend, inputs) for name, inputs in RECOMMEND.items()
        }


def _among(item: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """[batch, c] bool: whether places are among [batch, m] others, some negative."""
    others = tf.sort(tf.where(others < 0, NO_ITEM, others), axis=1)
    return place_among(others, item) < tf.shape(others)[1]


def export_combined(
    candidates: CandidateFeatures,
    head: RankingHead,
    items: Items,
    directory: str | os.PathLike[str],
    *,
    k: int = DEFAULT_K,
    exclude_seen: bool = False,
    max_history: int | None = 500,
    recall: float | None = None,
    chosen: str | None = None,
    validated: Mapping[str, tuple[float, float]] | None = None,
    server: str | None = "2.19",
    warmup: bool | None = None,
    version: int | None = None,
) -> Path:
    """Writes a combined list as a SavedModel that TensorFlow Serving can serve.

    Its signatures are those of `export` that answer a history: `serving_default` takes
    it and the query time, `recommend` exclusions and `k` as well, `recommend_now` the
    history alone. The version appears whole or not at all. The tables go with it: where
    `popularity.latest()` was put in by `refresh` before, only its last row an item.

    What is popular is known up to the cut, and grows old with the version, where in
    training each query saw the day before it: write a version daily, from
    `candidates.popularity.refresh` with the table rolled forward. Nothing is trained
    again for that.

    Args:
        candidates: As in `CombinedRecommender`; and so are the next two.
        head: Trained on such candidates.
        items: The catalogue.
        directory: The model's folder, which holds a folder a version.
        k: Items an answer has where the request does not say.
        exclude_seen: Never return an item of the history.
        max_history: Only the latest so many events are read.
        recall: The share of targets that were among the candidates before the cut, as
            `ranking.CombinedList` has it: written to `assets.extra/tfrs_decay.json`.
        chosen: What the head is, as `ranking.Choice.name` says it: written too.
        validated: What it was chosen among, Recall and NDCG by name: written too.
        server: As in `export`; and so is `warmup`.
        warmup: Write requests that a server runs before it serves.
        version: The version's number; seconds since the epoch, or one above the highest
            that is there, when left out.

    Returns:
        The version's folder.

    Raises:
        FileExistsError: The version is there already.
        ImportError: `warmup=True` without the extra `serving`.
        ValueError: An argument does not fit, or an op is missing in that server.
    """
    version = next_version(directory, version)
    recommender = CombinedRecommender(
        candidates,
        head,
        items,
        k=k,
        exclude_seen=exclude_seen,
        max_history=max_history,
    )
    metadata = {
        "actions": None,
        "k": k,
        "exclude_seen": exclude_seen,
        "reads_texts": False,
        "popularity": True,
        "combined": {
            "recall": recall,
            "most_candidates": candidates.width,
            "head": {
                "name": chosen,
                "hidden": list(head.hidden),
                "members": head.members,
                "features": candidates.feature_names,
            },
            "validated": {
                name: {"recall": figures[0], "ndcg": figures[1]}
                for name, figures in (validated or {}).items()
            },
        },
        "tensorflow": tf.__version__,
        "texts": dict(zip(items.ids.tolist(), items.titles.tolist(), strict=True)),
    }
    return write_version(
        recommender,
        recommender.signatures(),
        directory,
        version,
        metadata,
        example=example(items.ids, None, {}),
        server=server,
        warmup=warmup,
    )
