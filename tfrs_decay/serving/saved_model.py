"""A trained model to one SavedModel: raw history in, ranked items out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_decay.layers.diversity import MaximalMarginalRelevance
from tfrs_decay.layers.history import assert_seconds, places
from tfrs_decay.layers.item_tower import ItemTower
from tfrs_decay.layers.repeat import Repeats
from tfrs_decay.layers.top_k import LOWEST_SCORE, top_k
from tfrs_decay.serving.signatures import (
    CHOICES,
    HISTORY,
    Catalogue,
    how_many,
    latest,
    request_checks,
)
from tfrs_decay.serving.versions import next_version, write_version


class InterestModel(Protocol):
    """What can be exported: `DecayRetrieval`, or a model of your own with these two.

    Where it has `repeats`, a `layers.Repeats`, their scores are added.
    """

    item_tower: ItemTower

    def interest_from_vectors(
        self,
        vectors: tf.Tensor,
        *,
        timestamps: tf.Tensor,
        query_time: tf.Tensor,
        actions: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """[batch, time, dim] item vectors and their times -> [batch, dim] interest.

        Events come oldest first, those that the mask leaves out last. Their actions are
        what the request says: those without a weight are left out where the model has a
        `pooling` that would refuse them, a `TimeDecayPooling`, and else are the model's
        own affair.
        """


class Recommender(tf.Module):
    """The served graph: what `export` writes, callable in Python as well.

    The item vectors are computed once and kept as a matrix, for history and candidates
    alike, so that answering by id runs no encoder and needs TensorFlow's core ops only.

    Args:
        model: A trained model.
        k: Items an answer has, where the request does not say.
        popularity: [n] scores that an empty history is answered with, such as decayed
            popularity; without it the answer to an empty history holds no item.
        exclude_seen: Never return an item of the history; so it is where the model's
            repeats are "never".
        max_history: Only the latest so many events that count are pooled, as in
            training; all when left out.
        diversity: Reorders each answer by the item vectors, after what is excluded was
            left out; scores stay those of the items, and so no longer fall from place
            to place.

    Raises:
        TypeError: The model lacks what is exported, or `diversity` is something else.
        ValueError: `k` or `max_history` is below 1, the popularity does not fit the
            catalogue, or an item vector is not finite.
    """

    def __init__(
        self,
        model: InterestModel,
        *,
        k: int = 20,
        popularity: np.ndarray | None = None,
        exclude_seen: bool = False,
        max_history: int | None = None,
        diversity: MaximalMarginalRelevance | None = None,
    ) -> None:
        super().__init__(name="recommender")
        for name in ("item_tower", "interest_from_vectors"):
            if not hasattr(model, name):
                raise TypeError(
                    f"a {type(model).__name__} has no {name}: what is exported is a "
                    "DecayRetrieval, or a model with an item_tower and a method "
                    "interest_from_vectors(vectors, *, timestamps, query_time, "
                    "actions, mask)."
                )
        if not isinstance(diversity, (MaximalMarginalRelevance, type(None))):
            raise TypeError(
                f"diversity={diversity!r}: give a layers.MaximalMarginalRelevance, or "
                "leave it out."
            )
        items = model.item_tower.items
        for name, number in (("k", k), ("max_history", max_history)):
            if number is not None and number < 1:
                raise ValueError(f"{name}={number} must be 1 or more.")
        if popularity is not None:
            popularity = np.asarray(popularity, np.float32)
            if popularity.shape != (len(items),) or not np.isfinite(popularity).all():
                raise ValueError(
                    f"popularity has the shape {popularity.shape}: give one finite "
                    f"score for each of the {len(items)} items."
                )
        vectors = model.item_tower.catalogue_vectors()
        if not np.isfinite(vectors).all():
            broken = items.ids[~np.isfinite(vectors).all(axis=1)]
            raise ValueError(
                f"{len(broken)} of {len(items)} item vectors are not finite, such as "
                f"that of {broken[0]!r}: the model has not been trained to numbers."
            )
        self._interest_from_vectors = model.interest_from_vectors
        self._embed_texts = model.item_tower.embed_texts
        self._fields = model.item_tower.items.fields
        self._k = k
        repeats = _repeats(model)
        self._repeat_scores = None if repeats is None else repeats.call
        never = repeats is not None and repeats.repeats == "never"
        self._exclude_seen = exclude_seen or never
        self._max_history = max_history
        # Its call alone: there is nothing of it to save but what the graph does.
        self._diversify = None if diversity is None else diversity.call
        self._pool = None if diversity is None else diversity.pool
        self._weighed_actions = _weighed_actions(model)
        self._popularity = None if popularity is None else tf.constant(popularity)
        self.catalogue = Catalogue(items.ids)
        self.item_vectors = tf.Variable(vectors, trainable=False, name="item_vectors")

    def recommend(
        self,
        history_item: tf.Tensor,
        history_time: tf.Tensor,
        history_action: tf.Tensor,
        history_length: tf.Tensor,
        query_time: tf.Tensor,
        exclude_item: tf.Tensor | None = None,
        k: tf.Tensor | None = None,
        history_text: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Answers a batch of histories.

        Events beyond a row's length are padding, whatever they hold. An event of an
        unknown item (with no text given), an event after the query time and one whose
        action the pooling has no weight for are left out of the interest: a server
        answers where training would stop. With `exclude_seen` every item of the history
        is seen, whenever it was. A history without any event that counts is answered
        with popularity.

        An event at the query's own second counts, at age 0. Examples to train on are
        stricter, for there it could be the answer; here the caller says that it has
        happened.

        The arguments are a signature's inputs, which is why there are eight.

        Args:
            history_item: [batch, time] strings, ids.
            history_time: [batch, time] int64 seconds since the epoch, in any order.
            history_action: [batch, time] strings.
            history_length: [batch] int64, events of the row; the rest is padding.
            query_time: [batch] int64 seconds since the epoch.
            exclude_item: [batch, m] strings, ids never to return; "" for none.
            k: [batch] int32, items wanted; an answer has at most as many places as
                there are items, and a row that wants fewer than another is filled up
                with places that no item takes.
            history_text: [batch, time] strings, or [batch, time, fields] where items
                have several texts, read where the id is unknown.

        Returns:
            `item_id` [batch, k] strings, best first, "" where no item was left;
            `score` [batch, k] float32, the lowest finite float there.
        """
        within = tf.sequence_mask(history_length, tf.shape(history_item)[1])
        checks = request_checks(
            history_item,
            history_time,
            history_action,
            history_length,
            query_time,
            exclude_item,
            k,
        )
        with tf.control_dependencies(checks):
            place = self.catalogue.places.lookup(history_item)
        in_seconds = assert_seconds(tf.where(within, history_time, 0), "history_time")
        with tf.control_dependencies([] if in_seconds is None else [in_seconds]):
            history_time = tf.identity(history_time)
        seen = tf.where(within, place, -1)
        counts = place >= 0
        if history_text is not None:
            there = tf.strings.length(history_text) > 0
            counts |= tf.reduce_any(there, axis=-1) if self._fields > 1 else there
        counts &= within & (history_time <= query_time[:, None])
        if self._weighed_actions is not None:
            action = places(history_action, self._weighed_actions)
            counts &= action < len(self._weighed_actions)
        order, counts = latest(history_time, counts, self._max_history)
        place, history_time, history_action = (
            tf.gather(column, order, batch_dims=1)
            for column in (place, history_time, history_action)
        )
        vectors = tf.gather(self.item_vectors, tf.maximum(place, 0))
        if history_text is not None:
            known = place >= 0
            # The texts of known items are not read: they become one text, encoded once.
            history_text = tf.gather(history_text, order, batch_dims=1)
            unread = known | ~counts
            read = tf.where(
                unread[..., None] if self._fields > 1 else unread, "", history_text
            )
            of_text = tf.cast(self._embed_texts(read), tf.float32)
            vectors = tf.where(known[..., None], vectors, of_text)
        interest = self._interest_from_vectors(
            vectors,
            timestamps=history_time,
            query_time=query_time,
            actions=history_action,
            mask=counts,
        )
        scores = tf.matmul(
            tf.cast(interest, tf.float32), self.item_vectors, transpose_b=True
        )
        if self._repeat_scores is not None:
            scores += self._repeat_scores(place, history_time, query_time, mask=counts)
        no_interest = ~tf.reduce_any(counts, axis=1)
        if self._repeat_scores is None:
            # Events may count and still weigh nothing: their actions weigh 0. What was
            # had comes back all the same.
            no_interest |= tf.reduce_all(tf.equal(interest, 0), axis=1)
        instead = (
            LOWEST_SCORE if self._popularity is None else self._popularity[None, :]
        )
        scores = tf.where(no_interest[:, None], instead, scores)
        return self._answer(scores, k, self._excluded(seen, exclude_item))

    def _excluded(
        self, seen: tf.Tensor, exclude_item: tf.Tensor | None
    ) -> tf.Tensor | None:
        excluded = [seen] if self._exclude_seen else []
        if exclude_item is not None:
            excluded.append(self.catalogue.places.lookup(exclude_item))
        return tf.concat(excluded, axis=1) if excluded else None

    def _answer(
        self, scores: tf.Tensor, k: tf.Tensor | None, excluded: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        most = how_many(k, self._k, tf.shape(scores)[1])
        longest = most if self._pool is None else tf.maximum(most, self._pool)
        best, place = top_k(scores, longest, excluded=excluded)
        if self._diversify is not None:
            best, place = self._diversify(best, place, self.item_vectors, most)
        return self.catalogue.answer(best, place, k)

    def signatures(self, *, texts: bool) -> dict[str, Any]:
        """Concrete functions by signature name; `texts` adds `recommend_by_text`."""
        shape = [None, None] if self._fields == 1 else [None, None, self._fields]
        text = {"history_text": tf.TensorSpec(shape, tf.string, "history_text")}
        inputs = {"serving_default": HISTORY, "recommend": {**HISTORY, **CHOICES}}
        if texts:
            inputs["recommend_by_text"] = {**HISTORY, **CHOICES, **text}
        return {
            name: tf.function(self.recommend).get_concrete_function(**specs)
            for name, specs in inputs.items()
        }


def _repeats(model: InterestModel) -> Repeats | None:
    repeats = getattr(model, "repeats", None)
    return repeats if isinstance(repeats, Repeats) else None


def _weighed_actions(model: InterestModel) -> tuple[str, ...] | None:
    """The only actions that a model's pooling does not refuse; None where it takes all.

    What it leaves out by itself still takes up one of the latest `max_history`, as it
    does in training.
    """
    pooling = getattr(model, "pooling", None)
    weights = getattr(pooling, "action_weights", None)
    if weights is None or getattr(pooling, "unknown_action", "ignore") == "ignore":
        return None
    return tuple(weights)


def export(
    model: InterestModel,
    directory: str | os.PathLike[str],
    *,
    k: int = 20,
    popularity: np.ndarray | None = None,
    exclude_seen: bool = False,
    max_history: int | None = None,
    diversity: MaximalMarginalRelevance | None = None,
    texts: bool = False,
    version: int | None = None,
) -> Path:
    """Writes a model as a SavedModel that TensorFlow Serving can serve.

    Signatures, all named and batchable on axis 0 (see `Recommender.recommend`):
    `serving_default` takes a history and the query time; `recommend` takes exclusions
    and `k` as well; `recommend_by_text`, with `texts`, takes the texts of items that
    are not in the catalogue, and needs TF Text's ops in the server.

    The version appears whole or not at all: it is written beside its place and renamed.

    Args:
        model: A trained model.
        directory: The model's folder, which holds a folder a version.
        k: Items an answer has where the request does not say.
        popularity: [n] scores that an empty history is answered with; without it the
            answer to one holds no item.
        exclude_seen: Never return an item of the history; so it is where the model's
            repeats are "never".
        max_history: Only the latest so many events are pooled: as many as in training.
        diversity: Picks the items of an answer so that they are not all of one kind,
            as in `Recommender`; `evaluation.Diversified` says what that costs.
        texts: Export the text tower too.
        version: The version's number; seconds since the epoch, or one above the
            highest that is there, when left out.

    Returns:
        The version's folder.

    Raises:
        FileExistsError: The version is there already.
        ValueError: An argument does not fit, or `texts` without a text tower.
        TypeError: The model lacks what is exported, or `diversity` is something else.
    """
    version = next_version(directory, version)
    recommender = Recommender(
        model,
        k=k,
        popularity=popularity,
        exclude_seen=exclude_seen,
        max_history=max_history,
        diversity=diversity,
    )
    if texts and model.item_tower.text is None:
        raise ValueError("texts=True, and the item tower has no text tower.")
    signatures = recommender.signatures(texts=texts)
    if texts:
        recommender.text = model.item_tower.text
    metadata = {
        **_metadata(model, k, exclude_seen, texts),
        "popularity": popularity is not None,
        "diversity": (
            None
            if diversity is None
            else {"trade_off": diversity.trade_off, "pool": diversity.pool}
        ),
    }
    return write_version(recommender, signatures, directory, version, metadata)


def _metadata(
    model: InterestModel, k: int, exclude_seen: bool, texts: bool
) -> dict[str, Any]:
    items = model.item_tower.items
    repeats = _repeats(model)
    weights = getattr(getattr(model, "pooling", None), "action_weights", None)
    return {
        "actions": None if weights is None else sorted(weights),
        "k": k,
        "exclude_seen": exclude_seen,
        "repeats": "off" if repeats is None else repeats.repeats,
        "reads_texts": texts,
        "fields": items.fields,
        "dim": model.item_tower.dim,
        "tensorflow": tf.__version__,
        "texts": dict(zip(items.ids.tolist(), items.titles.tolist(), strict=True)),
    }
