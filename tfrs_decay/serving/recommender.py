"""The served graph of a two-tower model: raw history in, ranked items out."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfrs_decay.data.times import LATEST_SECOND
from tfrs_decay.layers.checks import checked_before
from tfrs_decay.layers.diversity import MaximalMarginalRelevance
from tfrs_decay.layers.history import places
from tfrs_decay.layers.item_tower import ItemTower
from tfrs_decay.layers.repeat import Repeats
from tfrs_decay.layers.time_decay_pooling import TimeDecayPooling
from tfrs_decay.layers.top_k import LOWEST_SCORE, top_k
from tfrs_decay.serving.kept_interest import KeptInterest
from tfrs_decay.serving.names import DEFAULT_K
from tfrs_decay.serving.signatures import (
    CHOICES,
    EVENTS,
    HISTORY,
    QUERY_TIME,
    RECOMMEND,
    Asked,
    Catalogue,
    Request,
    after,
    assert_text,
    concrete,
    how_many,
    latest,
    same_batch,
    specs,
)


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
        k: int = DEFAULT_K,
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
        # Functions alone are held of the model: nothing of it is saved but what the
        # graph does.
        self._interest_from_vectors = model.interest_from_vectors
        self._interest_from_pooled: Any = getattr(model, "interest_from_pooled", None)
        self._pooling, self.kept, left_out = _of_pooling(model)
        # No dict, which would be saved too.
        self.left_out = MappingProxyType(left_out)
        self._embed_texts = model.item_tower.embed_texts
        self._fields = model.item_tower.items.fields
        self._k = k
        repeats = repeats_of(model)
        self._repeat_scores = None if repeats is None else repeats.call
        # What pools by times alone needs them in no order.
        self._any_order = self._pooling is not None and repeats is None
        never = repeats is not None and repeats.repeats == "never"
        self._exclude_seen = exclude_seen or never
        self._max_history = max_history
        # Its call alone: there is nothing of it to save but what the graph does.
        self._diversify = None if diversity is None else diversity.call
        self._pool = None if diversity is None else diversity.pool
        self._weighed_actions = _weighed_actions(model)
        self._popularity = None if popularity is None else tf.constant(popularity)
        self.catalogue = Catalogue(items.ids)
        # [dim, n]: the product of one vector with all is faster by half like this.
        self.item_vectors = tf.Variable(
            np.ascontiguousarray(vectors.T), trainable=False, name="item_vectors"
        )

    def recommend(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers a batch of histories.

        An event of an unknown item (with no text given), an event after the query time
        and one whose action the pooling has no weight for are left out of the interest:
        a server answers where training would stop. With `exclude_seen` every item of
        the history is seen, whenever it was. A history without any event that counts
        is answered with popularity.

        Args:
            **inputs: The fields of `signatures.Request`.

        Returns:
            `item_id` [batch, k] strings, best first, "" where no item was left;
            `score` [batch, k] float32, the lowest finite float there.
        """
        request = Request(**inputs)
        asked = self.catalogue.read(request)
        history = self._history(request, asked)
        interest, known = self._interest(history, asked)
        scores = self._scores(interest)
        if self._repeat_scores is not None:
            scores += self._repeat_scores(
                history.place, history.time, asked.query_time, mask=history.counts
            )
            # Events may weigh nothing. What was had comes back all the same.
            known = tf.reduce_any(history.counts, axis=1)
        excluded = [asked.seen] if self._exclude_seen else []
        if asked.excluded is not None:
            excluded.append(asked.excluded)
        return self._answer(
            self._or_popular(scores, known),
            request.k,
            tf.concat(excluded, axis=1) if excluded else None,
        )

    def embed_user(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """The query side alone, for an index of item vectors outside.

        What `repeats` would add to the scores of items is not in it.

        Args:
            **inputs: Those fields of `signatures.Request` that say who asks and when.

        Returns:
            `vector` [batch, dim] float32, whose products with item vectors rank items;
            `known` [batch] bool, False where no event counts: recommend what is popular
            then.
        """
        request = Request(**inputs)
        asked = self.catalogue.read(request)
        vector, known = self._interest(self._history(request, asked), asked)
        return {"vector": vector, "known": known}

    def embed_item(self, *, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Item vectors of texts, as of items outside the catalogue.

        Args:
            text: [batch] strings, or [batch, fields] where items have several texts.

        Returns:
            `vector` [batch, dim] float32.
        """
        with after([assert_text(text, "text")]):
            text = tf.identity(text)
        return {"vector": tf.cast(self._embed_texts(text), tf.float32)}

    def explain(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """What each event contributes to the interest that is pooled from them.

        Args:
            **inputs: Those fields of `signatures.Request` that say who asks and when.

        Returns:
            `weight` [batch, time] float32, what each event's vector is multiplied by,
            in the order of the request: a mean over features where they fade at rates
            of their own, and over heads that are stacked; 0 for what is left out.
            `counted` [batch, time] bool, whether the event was read.

        Raises:
            TypeError: The model's interest is not what its `pooling` makes.
        """
        request = Request(**inputs)
        asked = self.catalogue.read(request)
        history = self._history(request, asked)
        pooled, weight = self._need(self._pooling, "explain")(
            history.vectors,
            timestamps=history.time,
            query_time=asked.query_time,
            actions=history.action,
            mask=history.counts,
            return_weights=True,
        )
        if pooled.shape.rank == 3:
            weight = tf.reduce_mean(weight, axis=1)
        if weight.shape.rank == 3:
            weight = tf.reduce_mean(weight, axis=2)
        shape = tf.shape(asked.place)
        row = tf.broadcast_to(tf.range(shape[0])[:, None], tf.shape(history.order))
        place = tf.stack([row, history.order], axis=-1)
        counts = history.counts
        # Of those that do not count several may have one place: nothing is added there.
        return {
            "weight": tf.scatter_nd(place, tf.where(counts, weight, 0.0), shape),
            "counted": tf.scatter_nd(place, tf.cast(counts, tf.int32), shape) > 0,
        }

    def update_interest(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds events to kept states.

        Args:
            **inputs: The `state_...` fields, from the last update or of a new user, and
                of `signatures.Request` the fields that say what was done since. What
                `recommend` leaves out is left out, but for how many events there are
                and for the query time, which is not known yet: an event moves the
                state's clock, before which it cannot be read.

        Returns:
            The fields after the events.

        Raises:
            TypeError: The model's interest is not what its `pooling` makes.
        """
        kept = self._need(self.kept, "update_interest")
        state = kept.read(inputs)
        request = Request(**{name: inputs[name] for name in EVENTS})
        # No event is after the latest time that is one.
        end = tf.fill(tf.shape(request.history_length), np.int64(LATEST_SECOND - 1))
        asked = self.catalogue.read(request._replace(query_time=end))
        checks = same_batch(
            "history_item", request.history_item, {"state_time": state.time}
        )
        with after(checks):
            vectors = self._vectors_of(asked.place)
        counts = self._counting(request, asked)
        return kept.update(
            state, vectors, asked.time, actions=request.history_action, mask=counts
        )

    def recommend_from_interest(
        self,
        *,
        query_time: tf.Tensor,
        exclude_item: tf.Tensor | None = None,
        exclude_length: tf.Tensor | None = None,
        k: tf.Tensor | None = None,
        **state: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Answers from kept states, which know no items: exclude those seen by name.

        Args:
            query_time: [batch] int64 seconds, not before the state's own.
            exclude_item: As in `signatures.Request`.
            exclude_length: As in `signatures.Request`.
            k: As in `signatures.Request`.
            **state: The `state_...` fields.

        Returns:
            As `recommend`.

        Raises:
            TypeError: The model's interest is not what its `pooling` makes, or scores
                have a term that needs the events.
        """
        kept = self._need(self.kept, "recommend_from_interest")
        found = kept.read(state)
        columns = {"exclude_item": exclude_item, "k": k}
        checks = [
            *same_batch("query_time", query_time, columns),
            *self.catalogue.choice_checks(k),
        ]
        with after(checks):
            pooled, there = kept.pooled(found, query_time)
        interest = tf.cast(self._interest_from_pooled(pooled), tf.float32)
        known = there & tf.reduce_any(interest != 0, axis=1)
        scores = self._or_popular(self._scores(interest), known)
        excluded = self.catalogue.excluded(exclude_item, exclude_length)
        return self._answer(scores, k, excluded)

    def _counting(self, request: Request, asked: Asked) -> tf.Tensor:
        """[batch, time] bool: known, or told by a text, and of a weighed action."""
        known = asked.place >= 0
        if request.history_text is not None:
            there = tf.strings.length(request.history_text) > 0
            known |= tf.reduce_any(there, axis=-1) if self._fields > 1 else there
        counts = known & asked.counts
        if self._weighed_actions is not None:
            action = places(request.history_action, self._weighed_actions)
            counts &= action < len(self._weighed_actions)
        return counts

    def _history(self, request: Request, asked: Asked) -> _History:
        """The events that are read, in the order of time where that matters."""
        counts = self._counting(request, asked)
        columns = asked.place, asked.time, request.history_action, counts

        def in_order() -> tuple[tf.Tensor, ...]:
            order, among = latest(asked.time, counts, self._max_history)
            ordered = (tf.gather(one, order, batch_dims=1) for one in columns[:-1])
            return order, *ordered, among

        def as_given() -> tuple[tf.Tensor, ...]:
            shape = tf.shape(counts)
            return tf.broadcast_to(tf.range(shape[1]), shape), *columns

        if not self._any_order:
            read = in_order()
        elif self._max_history is None:
            read = as_given()
        else:
            few = tf.shape(counts)[1] <= self._max_history
            read = tf.cond(few, as_given, in_order)
        order, place, time, action, counts = read
        vectors = self._vectors_of(place)
        if request.history_text is not None:
            known = place >= 0
            # The texts of known items are not read: they become one text, encoded once.
            text = tf.gather(request.history_text, order, batch_dims=1)
            unread = known | ~counts
            read = tf.where(unread[..., None] if self._fields > 1 else unread, "", text)
            with after([assert_text(read, "history_text")]):
                of_text = tf.cast(self._embed_texts(read), tf.float32)
            vectors = tf.where(known[..., None], vectors, of_text)
        return _History(order, place, time, action, counts, vectors)

    def _interest(self, history: _History, asked: Asked) -> tuple[tf.Tensor, tf.Tensor]:
        """[batch, dim] float32, and [batch] bool: whether there is any."""
        with checked_before():
            interest = self._interest_from_vectors(
                history.vectors,
                timestamps=history.time,
                query_time=asked.query_time,
                actions=history.action,
                mask=history.counts,
            )
        interest = tf.cast(interest, tf.float32)
        # Events may count and still weigh nothing: their actions weigh 0.
        some = tf.reduce_any(interest != 0, axis=1)
        return interest, tf.reduce_any(history.counts, axis=1) & some

    def _scores(self, interest: tf.Tensor) -> tf.Tensor:
        return tf.matmul(interest, self.item_vectors.value())

    def _vectors_of(self, place: tf.Tensor) -> tf.Tensor:
        """[..., dim], those of the first item for a negative place."""
        # By its value: TensorFlow copies a variable for each product with all of it
        # once it has been gathered from by its handle.
        columns = tf.gather(self.item_vectors.value(), tf.maximum(place, 0), axis=1)
        return tf.transpose(columns, [*range(1, columns.shape.rank), 0])

    def _or_popular(self, scores: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
        """The scores, and popularity where nothing is known of a user."""
        instead = (
            LOWEST_SCORE if self._popularity is None else self._popularity[None, :]
        )
        return tf.cond(
            tf.reduce_all(known),
            lambda: scores,
            lambda: tf.where(known[:, None], scores, instead),
        )

    def _answer(
        self, scores: tf.Tensor, k: tf.Tensor | None, excluded: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        most = how_many(k, self._k, tf.shape(scores)[1])
        longest = most if self._pool is None else tf.maximum(most, self._pool)
        best, place = top_k(scores, longest, excluded=excluded)
        if self._diversify is not None:
            # Those in question alone, numbered anew.
            among = tf.reshape(place, [-1])
            row = tf.reshape(tf.range(tf.size(place)), tf.shape(place))
            best, row = self._diversify(
                best, tf.where(place < 0, -1, row), self._vectors_of(among), most
            )
            place = tf.where(row < 0, -1, tf.gather(among, tf.maximum(row, 0)))
        return self.catalogue.answer(best, place, k)

    def _need(self, part: Any, signature: str) -> Any:
        """What a signature runs.

        Raises:
            TypeError: The model has none.
        """
        if part is None or signature in self.left_out:
            raise TypeError(f"there is no {signature}: {self.left_out[signature]}.")
        return part

    def signatures(self, *, texts: bool, parts: str = "all") -> dict[str, Any]:
        """Concrete functions by signature name, without those of `left_out`.

        Args:
            texts: Add `recommend_by_text` and `embed_item`, which run the encoder.
            parts: As in `export`.
        """
        with_list = parts != "query"
        fields = [] if self._fields == 1 else [self._fields]
        text = specs(history_text=([None, None, *fields], tf.string))
        inputs: dict[str, tuple[Any, Any]] = {}
        if with_list:
            for name, one in RECOMMEND.items():
                inputs[name] = (self.recommend, one)
            if texts:
                asked = {**HISTORY, **CHOICES, **text}
                inputs["recommend_by_text"] = (self.recommend, asked)
        else:
            inputs["serving_default"] = (self.embed_user, HISTORY)
        if parts != "recommend":
            if texts:
                text = specs(text=([None, *fields], tf.string))
                inputs["embed_item"] = (self.embed_item, text)
            inputs["embed_user"] = (self.embed_user, HISTORY)
            inputs["explain"] = (self.explain, HISTORY)
            if self.kept is not None:
                state = self.kept.specs
                inputs["update_interest"] = (self.update_interest, {**state, **EVENTS})
                if with_list:
                    inputs["recommend_from_interest"] = (
                        self.recommend_from_interest,
                        {**state, **QUERY_TIME, **CHOICES},
                    )
        return {
            name: concrete(*one)
            for name, one in inputs.items()
            if name not in self.left_out
        }


class _History(NamedTuple):
    """Events as a model reads them.

    Oldest first and those that do not count last, but where the order is the same to
    the model: there it may be that of the request.

    order: [batch, kept] int32, where in the request each stands.
    place: [batch, kept] int32 places in the catalogue, -1 for what is told by a text.
    time: [batch, kept] int64 seconds.
    action: [batch, kept] strings.
    counts: [batch, kept] bool.
    vectors: [batch, kept, dim] float32.
    """

    order: tf.Tensor
    place: tf.Tensor
    time: tf.Tensor
    action: tf.Tensor
    counts: tf.Tensor
    vectors: tf.Tensor


def _of_pooling(
    model: InterestModel,
) -> tuple[Callable[..., Any] | None, KeptInterest | None, dict[str, str]]:
    """A model's pooling and its kept state, and the signatures that lack them, why.

    A subclass with another `interest_from_vectors` may not pool at all, unless it has
    another `interest_from_pooled` as well.
    """
    by_state = ("update_interest", "recommend_from_interest")
    owners = [
        next((one for one in type(model).__mro__ if name in vars(one)), None)
        for name in ("interest_from_pooled", "interest_from_vectors")
    ]
    pooling = getattr(model, "pooling", None)
    if (
        not isinstance(pooling, TimeDecayPooling)
        or owners[0] is None
        or owners[1] is None
        or not issubclass(owners[0], owners[1])
    ):
        why = (
            f"a {type(model).__name__} has no TimeDecayPooling `pooling`, with an "
            "`interest_from_pooled` that makes its interest of what that gives"
        )
        return None, None, dict.fromkeys(["explain", *by_state], why)
    if not pooling.built:
        pooling.build([None, None, model.item_tower.dim])
    try:
        kept = KeptInterest(pooling)
    except (ImportError, ValueError) as error:
        why = f"this decay has no state that could be kept: {error}"
        return pooling.__call__, None, dict.fromkeys(by_state, why)
    left_out = {}
    repeats = repeats_of(model)
    if repeats is not None and repeats.repeats != "never":
        left_out["recommend_from_interest"] = (
            f"the scores have a term for repeats={repeats.repeats!r}, and a state does "
            "not know what was had"
        )
    return pooling.__call__, kept, left_out


def repeats_of(model: InterestModel) -> Repeats | None:
    """A model's term for what a user had before; None where it has none."""
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
