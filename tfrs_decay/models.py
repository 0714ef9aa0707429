"""The two-tower model: decayed interest on one side, item vectors on the other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from tfrs_decay.data.times import refuse_dates
from tfrs_decay.layers import replicas
from tfrs_decay.layers.checks import require, require_at_most, require_same_shape
from tfrs_decay.layers.item_tower import ItemTower, unit_length
from tfrs_decay.layers.repeat import MODES, Repeats
from tfrs_decay.layers.streaming_probability import StreamingProbability
from tfrs_decay.layers.tensors import table_rows
from tfrs_decay.layers.time_decay_pooling import TimeDecayPooling
from tfrs_decay.losses import (
    LOSSES,
    SoftmaxCrossEntropy,
    beside_skipped,
    full_softmax,
)

LEAST_PROBABILITY = 1e-6
"""TFRS clips sampling probabilities here before it takes their logarithm."""

# What is read of a batch: integers, floating numbers and so on, and which ranks.
_HISTORY = {
    "history_item": ("strings", "[batch, time]"),
    "history_time": ("integers", "[batch, time]"),
    "history_length": ("integers", "[batch]"),
    "query_time": ("integers", "[batch]"),
}
_TARGETS = {"target_item": ("strings", "[batch] or [batch, targets]")}
_OPTIONAL = {
    "history_action": ("strings", "[batch, time]"),
    "history_category": ("strings", "[batch, time]"),
    "history_weight": ("floating numbers", "[batch, time]"),
    "history_vector": ("floating numbers", "[batch, time, dim]"),
    "target_length": ("integers", "[batch]"),
    "target_weight": ("floating numbers", "[batch] or [batch, targets]"),
    "negative_item": ("strings", "[batch, negatives]"),
    "negative_length": ("integers", "[batch]"),
    "target_from_list": ("booleans", "[batch] or [batch, targets]"),
}


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class DecayRetrieval(tfrs.Model):
    """Retrieval from a user's decayed interest, ready-made and open to subclassing.

    interest = query_tower(pooling(item_tower(history))), score = interest . item, and a
    further term for items that the user had before, where `repeats` asks for it. There
    is no user id: one more event changes the answer, for a user never seen too.

    It trains with `fit` on the batches of `tfrs_decay.data.batches`, or on any dict of
    the same names. The loss is by default `tfrs.tasks.Retrieval` over the batch's own
    targets as each other's negatives, corrected for how often an item is drawn (logQ),
    with the pairs left out that are no negatives: the same item, and the rest of the
    query's own basket. Where the catalogue is small, `loss="full"` takes every item as
    a negative instead, and corrects nothing. Where features hold what was shown to the
    user and not taken (`negative_item`), targets compete with that alone.

    Under a strategy of several replicas that step together, a batch is that of all:
    they are each other's negatives, and learn what one would of the whole batch.

    Override `interest_from_vectors` for another query side: training, evaluation and
    export all go through it. Where it still is the pooling and then something else,
    override `interest_from_pooled` instead, and what is served can go on from a kept
    state, too.

    Args:
        item_tower: Vectors of history items and candidates.
        pooling: Pools a history's vectors.
        query_tower: A layer [batch, dim] -> [batch, dim] on top of the pooled history;
            none when left out.
        temperature: Divides the scores in the loss; small values separate more.
        sampling_probability: [n] how likely each catalogue item is as a target, for the
            logQ correction; see `sampling_probability`. Or a
            `layers.StreamingProbability`, which estimates it while the model trains. No
            correction when left out.
        loss: "sampled", or "full": the softmax over the whole catalogue, but for items
            that `ItemTower.set_seen` was told are not trained on, which are nobody's
            negatives. Each step computes all item vectors and [batch, n] scores, so it
            is for catalogues of thousands, and for towers whose text is baked, if any.
            Of `task` only the `factorized_metrics` are then of use.
        repeats: What becomes of items that the user had before: the score of
            `layers.Repeats` is added to theirs, in training, evaluation and export. A
            `Repeats` of the same catalogue, or its mode, with the decays that it has by
            itself. "off": nothing. "never": they are not recommended, and in training
            they are neither targets nor negatives.
        **kwargs: Keras' own, such as `name`.

    Raises:
        TypeError: The item tower, the pooling or the repeats are something else.
        ValueError: The temperature is not above 0, the loss is none of the two, or the
            probabilities, the repeats or the query tower's width do not fit; or there
            are probabilities, or an encoder is fine-tuned, and `loss="full"`.

    References:
        X. Yi et al. Sampling-bias-corrected neural modeling for large corpus item
        recommendations. RecSys 2019.
    """

    def __init__(
        self,
        item_tower: ItemTower,
        pooling: TimeDecayPooling,
        *,
        query_tower: tf_keras.layers.Layer | None = None,
        temperature: float = 0.05,
        sampling_probability: (
            Sequence[float] | np.ndarray | StreamingProbability | None
        ) = None,
        loss: str = "sampled",
        repeats: str | Repeats = "off",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, layer, kind in (
            ("item_tower", item_tower, ItemTower),
            ("pooling", pooling, TimeDecayPooling),
        ):
            if not isinstance(layer, kind):
                raise TypeError(
                    f"{name} is a {type(layer).__name__}: give a {kind.__name__}."
                )
        if not temperature > 0:
            raise ValueError(f"temperature={temperature} must be above 0.")
        _check_loss(loss, item_tower)
        self.item_tower = item_tower
        self.pooling = pooling
        if pooling.compute_output_shape([None, None, item_tower.dim]).rank != 2:
            raise ValueError(
                "pooling gives several heads, [batch, heads, dim]: a query is one "
                "vector, so leave its combine at 'learned'."
            )
        self.query_tower = query_tower
        self.repeats = _repeats(repeats, len(item_tower.items))
        self.temperature = temperature
        # `loss` is an attribute of Keras' own, which `compile` sets.
        self.retrieval_loss = loss
        # All alike correct nothing: the logarithm of 1 is what is taken off.
        self._sampling_probability = tf.Variable(
            np.ones(len(item_tower.items), np.float32),
            trainable=False,
            name="sampling_probability",
        )
        self.streaming_probability = None
        if sampling_probability is not None:
            self._refuse_sampling()
        if isinstance(sampling_probability, StreamingProbability):
            self.streaming_probability = sampling_probability
        elif sampling_probability is not None:
            self.set_sampling_probability(sampling_probability)
        # The task takes no dtype, and under a policy of mixed precision would cast its
        # first input alone.
        policy = tf_keras.mixed_precision.global_policy()
        tf_keras.mixed_precision.set_global_policy("float32")
        try:
            self.task = tfrs.tasks.Retrieval(
                loss=SoftmaxCrossEntropy(), temperature=temperature
            )
        finally:
            tf_keras.mixed_precision.set_global_policy(policy)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Makes every variable at once: all shapes are known from the towers."""
        dim = self.item_tower.dim
        for layer, shape in (
            (self.item_tower, None),
            (self.pooling, [None, None, dim]),
            (self.query_tower, [None, dim]),
            (self.repeats, None),
        ):
            if layer is not None and not layer.built:
                layer.build(shape)
        if self.query_tower is not None:
            width = tf.TensorShape(self.query_tower.compute_output_shape([None, dim]))
            if width[-1] != dim:
                raise ValueError(
                    f"query_tower gives vectors of width {width[-1]}, and the items' "
                    f"have {dim}: their dot product needs the same."
                )
        self.built = True

    def set_sampling_probability(
        self, probability: Sequence[float] | np.ndarray
    ) -> None:
        """Replaces how likely each item is as a target, for the logQ correction.

        Args:
            probability: [n] in (0, 1], such as `sampling_probability` gives.

        Raises:
            ValueError: It does not fit the catalogue, or is out of its range; or this
                model estimates it itself, or samples nothing.
        """
        self._refuse_sampling()
        if self.streaming_probability is not None:
            raise ValueError(
                "this model estimates its sampling probabilities while it trains: make "
                "one without StreamingProbability to set them."
            )
        probability = np.asarray(probability, np.float32)
        _check_probability(probability, len(self.item_tower.items))
        self._sampling_probability.assign(probability)

    def _refuse_sampling(self) -> None:
        if self.retrieval_loss == "full":
            raise ValueError(
                "sampling_probability corrects loss='sampled', and loss='full' takes "
                "every item: leave it out."
            )

    def with_items(
        self, ids: Sequence[str], texts: Sequence[str] | None = None, **options: Any
    ) -> DecayRetrieval:
        """A model that knows more items, without training.

        They can stand in histories and be recommended at once, by what is known of
        them beside their ids; the scores of the items that were there do not change.
        All weights are copied, and the new model is not compiled. As a target, for the
        logQ correction, a new item is as likely as the least likely one.

        Args:
            ids: [m] strings that are not in the catalogue.
            texts: [m] strings; "" for all when left out.
            **options: Those of `layers.ItemTower.add_items`, such as `vectors`,
                `categories` and `progress`.

        Returns:
            A new model of this one's class, which must have its own `get_config` if it
            takes more arguments.

        Raises:
            TypeError: An id or a text is not a string.
            ValueError: An id is in the catalogue already, or something given does not
                fit.
        """
        tower = self.item_tower.add_items(ids, texts, **options)
        probability = self._sampling_probability.numpy()
        more = len(tower.items) - len(probability)
        made = type(self).from_config(
            {
                **self.get_config(),
                "item_tower": tower,
                "sampling_probability": tf_keras.saving.serialize_keras_object(
                    self.streaming_probability
                ),
                **self._further(lambda repeats: repeats.with_items(len(tower.items))),
            }
        )
        made._sampling_probability.assign(
            np.concatenate([probability, np.repeat(probability.min(), more)])
        )
        for old, new in zip(self.layers, made.layers, strict=True):
            if old not in (self.item_tower, self.repeats):
                new.set_weights(old.get_weights())
        return made

    def __call__(self, features: Any, *args: Any, **options: Any) -> Any:
        """Keras' own, which makes tensors of arrays before `call` can say what of."""
        if isinstance(features, Mapping):
            for name in ("history_time", "query_time"):
                if isinstance(features.get(name), np.ndarray):
                    refuse_dates(features[name], name)
        return super().__call__(features, *args, **options)

    def call(
        self, features: Mapping[str, tf.Tensor], training: bool | None = None
    ) -> tf.Tensor:
        """The interest of each query: [batch, dim], of length 1 or 0.

        Args:
            features: `history_item`, `history_time`, `history_length`, `query_time`
                and, where the pooling weighs actions, `history_action`, as
                `tfrs_decay.data.batches` describes them; where it does not, they are
                handed on and not read. `history_category`, [batch,
                time] strings, where its rates depend on the category, and
                `history_weight`, [batch, time] floating, a weight of each event's own,
                are handed to the pooling as well. `history_vector`, [batch, time, dim],
                are the history's item vectors where they are at hand, as they are in
                training: history and targets are computed at once. Items that are not
                in the catalogue count as padding.
            training: Keras' own.

        Raises:
            ValueError: A feature is missing, or of another kind or rank.
        """
        features = _checked(features, _HISTORY)
        ids = features["history_item"]
        vectors = features.get("history_vector")
        if vectors is None:
            vectors = self.item_tower(ids, training=training)
        length = features["history_length"]
        with tf.control_dependencies(length_checks(length, tf.shape(ids)[1])):
            mask = tf.sequence_mask(length, tf.shape(ids)[1])
        return self.interest_from_vectors(
            vectors,
            timestamps=features["history_time"],
            query_time=features["query_time"],
            actions=features.get("history_action"),
            categories=features.get("history_category"),
            event_weights=features.get("history_weight"),
            mask=mask & self.item_tower.known(ids),
            training=training,
        )

    def interest_from_vectors(
        self,
        vectors: tf.Tensor,
        *,
        timestamps: tf.Tensor,
        query_time: tf.Tensor,
        actions: tf.Tensor | None = None,
        categories: tf.Tensor | None = None,
        event_weights: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """The query side, from the vectors of the history's items.

        Args:
            vectors: [batch, time, dim].
            timestamps: [batch, time] int64 seconds.
            query_time: [batch] int64 seconds.
            actions: [batch, time] strings.
            categories: [batch, time] strings.
            event_weights: [batch, time] floating, 0 or more.
            mask: [batch, time] bool, True for events that count.
            training: Keras' own.

        Returns:
            [batch, dim]; of length 1 where the item vectors are, zeros for an empty
            history.
        """
        pooled = self.pooling(
            vectors,
            timestamps=timestamps,
            query_time=query_time,
            actions=actions,
            categories=categories,
            event_weights=event_weights,
            mask=mask,
        )
        return self.interest_from_pooled(pooled, training=training)

    def interest_from_pooled(
        self, pooled: tf.Tensor, *, training: bool | None = None
    ) -> tf.Tensor:
        """The query side after the pooling, which a kept state takes the place of.

        Args:
            pooled: [batch, dim] of `pooling`, or read from a `layers.InterestState`.
            training: Keras' own.

        Returns:
            As `interest_from_vectors`.
        """
        interest = pooled
        if self.query_tower is not None:
            # What a query tower makes of nothing, a bias, is nobody's interest.
            nothing = tf.reduce_all(tf.equal(interest, 0), axis=-1, keepdims=True)
            interest = self.query_tower(interest, training=training)
            interest = tf.where(nothing, tf.zeros_like(interest), interest)
        return unit_length(interest) if self.item_tower.normalize else interest

    def repeat_scores(
        self, features: Mapping[str, tf.Tensor], candidates: tf.Tensor | None = None
    ) -> tf.Tensor:
        """What `repeats` adds to the scores of items.

        Args:
            features: `history_item`, `history_time`, `history_length` and `query_time`,
                as in `call`. Of the events, all count alike, whatever the action.
            candidates: [batch, items] integer places in the catalogue, negative for
                none; the whole catalogue when left out.

        Returns:
            [batch, items] float32, or [batch, n]; 0 for what a user never had.

        Raises:
            ValueError: This model was made with `repeats="off"`, or a feature is
                missing, or of another kind or rank.
        """
        if self.repeats is None:
            raise ValueError("this model was made with repeats='off'.")
        features = _checked(features, _HISTORY)
        ids = features["history_item"]
        return self.repeats(
            self.item_tower.places(ids),
            features["history_time"],
            features["query_time"],
            candidates=candidates,
            mask=tf.sequence_mask(features["history_length"], tf.shape(ids)[1]),
        )

    def compute_loss(
        self, features: Mapping[str, tf.Tensor], training: bool = False
    ) -> tf.Tensor:
        """The retrieval loss of a batch, a scalar.

        Args:
            features: Those of `call`, and `target_item`: [batch] strings, or
                [batch, targets] with `target_length` [batch]. With `negative_item`,
                [batch, negatives] strings, and `negative_length` [batch], the targets
                of a query that has any compete with these alone, uncorrected, whatever
                the loss is for the others; of a basket those for which
                `target_from_list` is true, where it is there. The query's own targets
                among them, and what is not in the catalogue, are left out; one that
                stands twice counts twice.
            training: Keras' own.

        Returns:
            The mean over the batch's targets; of their losses times `target_weight`,
            [batch] or [batch, targets] floating, where features hold it: a weight is to
            be 1 on average, for the sum is divided by the number of targets. Targets
            that are not in the catalogue are left out; a batch without any target has
            loss 0. Of several replicas each gives the part of its own targets, and the
            mean is their sum.

        Raises:
            ValueError: A feature is missing, or of another kind or rank; there is
                `negative_item` without its lengths; TFRS's metrics are attached and
                there are repeats, which they do not know of; or `loss="full"` and a
                text that is not baked.
            tf.errors.InvalidArgumentError: At run time: `target_weight` is of another
                shape than `target_item`, or not finite and 0 or more; or a length is
                above the width of what it is of.
        """
        if self.repeats is not None and self.task.factorized_metrics:
            raise ValueError(
                "factorized_metrics rank by vectors alone, and this model's scores "
                f"have a term for repeats={self.repeats.repeats!r}: measure it by "
                "evaluation.evaluate."
            )
        features = _checked(features, {**_HISTORY, **_TARGETS})
        targets = features["target_item"]
        if targets.shape.rank == 1:
            targets = targets[:, None]
        valid = self.item_tower.known(targets)
        if "target_length" in features:
            valid &= tf.sequence_mask(features["target_length"], tf.shape(targets)[1])
        if self._never:
            valid &= self.repeat_scores(features, self.item_tower.places(targets)) >= 0
        if "negative_item" in features:
            features["negative_item"] = self._negatives(features, targets, valid)
            features["target_from_list"] = _listed(features, valid)
        query = tf.cast(tf.where(valid)[:, 0], tf.int32)
        ids = tf.boolean_mask(targets, valid)
        losses_of = {"sampled": self._sampled, "full": self._full}[self.retrieval_loss]
        losses = losses_of(features, query, ids, training)
        if "target_weight" in features:
            losses *= _weights_of(features, valid)
        # A mean over the targets, so that the loss reads the same at every batch size;
        # over those of all replicas, whose losses and gradients are added up.
        return tf.math.divide_no_nan(
            tf.reduce_sum(losses), replicas.total(tf.cast(tf.size(query), losses.dtype))
        )

    @property
    def losses(self) -> list[tf.Tensor]:
        """Keras' own, of regularization; of several replicas, each has its share."""
        return [one / replicas.count() for one in super().losses]

    @property
    def _never(self) -> bool:
        return self.repeats is not None and self.repeats.repeats == "never"

    def _sampled(
        self,
        features: dict[str, tf.Tensor],
        query: tf.Tensor,
        ids: tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        """[targets] losses; `query` and `ids` are each target's row and item."""
        place = self.item_tower.places(ids)
        # Histories and targets at once, so that an item of both is computed once.
        history = features["history_item"]
        several = [tf.reshape(history, [-1]), ids]
        if "negative_item" in features:
            several.append(tf.reshape(features["negative_item"], [-1]))
        vectors = self.item_tower(tf.concat(several, axis=0), training=training)
        of_history, candidates, *of_negatives = tf.split(
            vectors, [tf.size(one) for one in several]
        )
        interest = self._interest(features, of_history, training)
        # Scores are summed and compared in float32, whatever the towers compute in.
        candidates = tf.cast(candidates, tf.float32)
        if self.streaming_probability is None:
            probability = table_rows(self._sampling_probability, place)
        else:
            probability = self.streaming_probability(place, training=training)
        # The targets of other replicas are of other queries.
        candidates, place_of, probability = replicas.gather_own_first(
            candidates, place, probability
        )
        others = tf.size(place_of) - tf.size(query)
        query_of = tf.pad(query, [[0, others]], constant_values=-1)
        own_basket = query[:, None] == query_of[None, :]
        same_item = place[:, None] == place_of[None, :]
        positive = tf.eye(tf.size(query), tf.size(place_of), dtype=tf.bool)
        negative = ~(own_basket | same_item)
        queries = tf.gather(interest, query)
        own = tf.reduce_sum(queries * candidates[: tf.size(query)], axis=1)
        if self.repeats is not None:
            batch = tf.shape(interest)[0]
            term = self.repeat_scores(features, tf.tile(place_of[None, :], [batch, 1]))
            own += tf.gather_nd(term, tf.stack([query, tf.range(tf.size(query))], 1))
            if self._never:
                negative &= tf.gather(term, query, axis=0) >= 0
            else:
                # The task scores by the product of vectors: in a column for each query,
                # a candidate's vector holds what is added to its score.
                queries = tf.concat([queries, tf.one_hot(query, batch)], axis=1)
                candidates = tf.concat([candidates, tf.transpose(term)], axis=1)
        losses = self.task(
            queries,
            candidates,
            candidate_sampling_probability=probability,
            score_mask=positive | negative,
            compute_metrics=not training,
        )
        if not of_negatives:
            return losses
        return self._beside_skipped(
            features, interest, own, query, of_negatives[0], losses
        )

    def _full(
        self,
        features: dict[str, tf.Tensor],
        query: tf.Tensor,
        ids: tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        """As `_sampled`, with every item as a candidate of every query."""
        tower = self.item_tower
        if tower.text is not None and not tower.baked:
            raise ValueError(
                f"loss='full' would encode all {len(tower.items):,} texts at each "
                "step: bake the item tower (ItemTower.bake), or take loss='sampled'."
            )
        # The history is looked up in the catalogue, which is computed once.
        catalogue = tower(tf.constant(tower.items.ids.tolist()), training=training)
        past = tf.reshape(tower.places(features["history_item"]), [-1])
        of_history = tf.gather(catalogue, tf.maximum(past, 0))
        of_history *= tf.cast(past >= 0, of_history.dtype)[:, None]
        interest = self._interest(features, of_history, training)
        catalogue = tf.cast(catalogue, tf.float32)
        scores = tf.matmul(interest, catalogue, transpose_b=True)
        negative = tower.is_seen()
        if self.repeats is not None:
            term = self.repeat_scores(features)
            if self._never:
                negative &= term >= 0
            else:
                scores += term
        place = tower.places(ids)
        if not training:
            for metric in self.task.factorized_metrics:
                metric.update_state(
                    tf.gather(interest, query), tf.gather(catalogue, place)
                )
        losses = full_softmax(scores / self.temperature, query, place, negative)
        if "negative_item" not in features:
            return losses
        at = tf.reshape(tower.places(features["negative_item"]), [-1])
        return self._beside_skipped(
            features,
            interest,
            tf.gather_nd(scores, tf.stack([tf.cast(query, place.dtype), place], 1)),
            query,
            tf.gather(catalogue, tf.maximum(at, 0)),
            losses,
        )

    def _beside_skipped(
        self,
        features: dict[str, tf.Tensor],
        interest: tf.Tensor,
        own: tf.Tensor,
        query: tf.Tensor,
        vectors: tf.Tensor,
        losses: tf.Tensor,
    ) -> tf.Tensor:
        """[targets] losses, of which those beside skipped items are taken anew.

        `own` are the targets' scores, and `vectors` those of the skipped items,
        [batch * negatives, dim].
        """
        ids = features["negative_item"]
        shape = tf.concat([tf.shape(ids), [self.item_tower.dim]], axis=0)
        vectors = tf.reshape(tf.cast(vectors, tf.float32), shape)
        scores = tf.linalg.matvec(vectors, interest)
        there = self.item_tower.known(ids)
        if self.repeats is not None:
            term = self.repeat_scores(features, self.item_tower.places(ids))
            if self._never:
                there &= term >= 0
            else:
                scores += term
        return beside_skipped(
            losses,
            own / self.temperature,
            query,
            features["target_from_list"],
            scores / self.temperature,
            there,
        )

    def _negatives(
        self, features: Mapping[str, tf.Tensor], targets: tf.Tensor, valid: tf.Tensor
    ) -> tf.Tensor:
        """[batch, negatives] ids; "" for padding, and for the query's own targets."""
        if "negative_length" not in features:
            raise ValueError(
                "features have negative_item and lack negative_length: give how many "
                "of each row are no padding, [batch]."
            )
        ids, length = features["negative_item"], features["negative_length"]
        width = tf.shape(ids)[1]
        checks = length_checks(length, width, "negative_length", "negative_item")
        with tf.control_dependencies(checks):
            there = tf.sequence_mask(length, width)
        own = tf.where(valid, self.item_tower.places(targets), -1)
        place = self.item_tower.places(ids)
        taken = tf.reduce_any(place[:, :, None] == own[:, None, :], axis=2)
        return tf.where(there & ~taken, ids, "")

    def _interest(
        self, features: dict[str, tf.Tensor], of_history: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """[batch, dim] float32, of [batch * time, dim] vectors of the histories."""
        history, dim = features["history_item"], self.item_tower.dim
        shape = tf.concat([tf.shape(history), [dim]], axis=0)
        vectors = tf.ensure_shape(tf.reshape(of_history, shape), [*history.shape, dim])
        interest = self({**features, "history_vector": vectors}, training=training)
        return tf.cast(interest, tf.float32)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        probability: Any = self._sampling_probability.numpy()
        if self.streaming_probability is not None:
            probability = tf_keras.saving.serialize_keras_object(
                self.streaming_probability
            )
        elif (probability == 1).all():
            probability = None
        else:
            probability = probability.tolist()
        return {
            **super().get_config(),
            "item_tower": tf_keras.saving.serialize_keras_object(self.item_tower),
            "pooling": tf_keras.saving.serialize_keras_object(self.pooling),
            "query_tower": tf_keras.saving.serialize_keras_object(self.query_tower),
            "temperature": self.temperature,
            "sampling_probability": probability,
            **self._further(tf_keras.saving.serialize_keras_object),
        }

    def _further(self, written: Callable[[Repeats], Any]) -> dict[str, Any]:
        """The arguments that are not at their default: a subclass may not take them."""
        further: dict[str, Any] = {}
        if self.retrieval_loss != "sampled":
            further["loss"] = self.retrieval_loss
        if self.repeats is not None:
            further["repeats"] = written(self.repeats)
        return further

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> DecayRetrieval:
        """Makes the model again from `get_config`; layers may be made already."""
        layers = (
            *("item_tower", "pooling", "query_tower"),
            *("sampling_probability", "repeats"),
        )
        made = {
            name: tf_keras.layers.deserialize(value)
            for name, value in config.items()
            if isinstance(value, Mapping) and name in layers
        }
        return cls(**{**config, **made})


def sampling_probability(target_counts: np.ndarray) -> np.ndarray:
    """How likely each item is to be drawn as a target, for the logQ correction.

    One is added to every count, so that an item that was never a target has a
    probability as well.

    Args:
        target_counts: [n] how often each catalogue item is a training target.

    Returns:
        [n] float32, summing to 1.

    Raises:
        ValueError: A count is negative or not finite.
    """
    counts = np.asarray(target_counts, np.float64)
    if counts.ndim != 1 or not (np.isfinite(counts) & (counts >= 0)).all():
        raise ValueError("target_counts must be [n], finite and 0 or more.")
    return ((counts + 1) / (counts + 1).sum()).astype(np.float32)


def _checked(
    features: Mapping[str, Any], needed: Mapping[str, tuple[str, str]]
) -> dict[str, tf.Tensor]:
    """The features as tensors, or which one does not fit and what was expected."""
    missing = [name for name in needed if name not in features]
    if missing:
        raise ValueError(
            f"features lack {', '.join(missing)}; they have "
            f"{', '.join(sorted(features))}."
        )
    checked = dict(features)
    for name, (kind, shape) in {**needed, **_OPTIONAL}.items():
        if name not in features:
            continue
        tensor = features[name]
        if isinstance(tensor, tf.RaggedTensor):
            raise ValueError(
                f"{name} is ragged: give {shape}, padded (`to_tensor()`), with the "
                "lengths beside (`row_lengths()`)."
            )
        if not tf.is_tensor(tensor):
            tensor = np.asarray(tensor)
            if kind == "integers":
                refuse_dates(tensor, name)
            tensor = tf.convert_to_tensor(
                tensor.astype(object) if tensor.dtype.kind == "U" else tensor
            )
        fits = {
            "integers": tensor.dtype.is_integer,
            "floating numbers": tensor.dtype.is_floating,
            "strings": tensor.dtype == tf.string,
            "booleans": tensor.dtype == tf.bool,
        }[kind]
        ranks = [one.count(",") + 1 for one in shape.split(" or ")]
        if not fits or tensor.shape.rank not in (None, *ranks):
            raise ValueError(
                f"{name} is {tensor.dtype.name} of shape {tensor.shape}: give {kind} "
                f"{shape}."
            )
        checked[name] = tensor
    return checked


def length_checks(
    length: tf.Tensor,
    width: tf.Tensor,
    name: str = "history_length",
    column: str = "history_item",
) -> list[Any]:
    """Assertions that lengths [batch] lie in 0 to the width of what they are of."""
    wide = tf.cast(width, length.dtype)
    checks = [
        require(length >= 0, f"{name} is below 0.", length),
        require_at_most(length, wide, f"{name} is above the width of {column}."),
    ]
    return [check for check in checks if check is not None]


def _repeats(repeats: str | Repeats, n_items: int) -> Repeats | None:
    if isinstance(repeats, str):
        if repeats not in MODES:
            raise ValueError(f"repeats={repeats!r} is not one of {MODES}.")
        return None if repeats == "off" else Repeats(n_items, repeats=repeats)
    if not isinstance(repeats, Repeats):
        raise TypeError(
            f"repeats is a {type(repeats).__name__}: give a Repeats, or one of {MODES}."
        )
    if repeats.n_items != n_items:
        raise ValueError(
            f"repeats are of {repeats.n_items:,} items, and the catalogue has "
            f"{n_items:,}: make them for the same."
        )
    return repeats


def _check_loss(loss: str, item_tower: ItemTower) -> None:
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r} is not one of {LOSSES}.")
    text = item_tower.text
    if loss == "full" and text is not None and text.fine_tune is not False:
        raise ValueError(
            f"loss='full' would encode all {len(item_tower.items):,} texts at each "
            f"step, for the encoder is fine-tuned (fine_tune={text.fine_tune}): take "
            "loss='sampled', or a frozen encoder."
        )


def _listed(features: Mapping[str, tf.Tensor], valid: tf.Tensor) -> tf.Tensor:
    """[targets] bool, the targets that compete with what their query skipped."""
    if "target_from_list" not in features:
        return tf.ones_like(tf.boolean_mask(valid, valid))
    listed = features["target_from_list"]
    check = require_same_shape(
        listed,
        tf.shape(features["target_item"]),
        "target_from_list is not of the shape of target_item.",
    )
    with tf.control_dependencies([check] if check is not None else []):
        return tf.boolean_mask(tf.reshape(listed, tf.shape(valid)), valid)


def _weights_of(features: Mapping[str, tf.Tensor], valid: tf.Tensor) -> tf.Tensor:
    """[targets] float32, the weights of the targets that are valid."""
    weight = features["target_weight"]
    checks = [
        require_same_shape(
            weight,
            tf.shape(features["target_item"]),
            "target_weight is not of the shape of target_item.",
        )
    ]
    with tf.control_dependencies([one for one in checks if one is not None]):
        weight = tf.boolean_mask(tf.reshape(weight, tf.shape(valid)), valid)
    check = require(
        tf.math.is_finite(weight) & (weight >= 0),
        "target_weight must be finite and 0 or more, and is",
        weight,
    )
    with tf.control_dependencies([check] if check is not None else []):
        return tf.cast(weight, tf.float32)


def _check_probability(probability: np.ndarray, n: int) -> None:
    if probability.shape != (n,):
        raise ValueError(
            f"sampling_probability has the shape {probability.shape}: the catalogue "
            f"has {n} items, so give ({n},)."
        )
    if not ((probability > 0) & (probability <= 1)).all():
        raise ValueError("sampling_probability must lie in (0, 1] for every item.")
    if probability.min() < LEAST_PROBABILITY:
        warnings.warn(
            f"{int((probability < LEAST_PROBABILITY).sum())} sampling probabilities "
            f"are below {LEAST_PROBABILITY}, where TFRS clips them: these items are "
            "corrected as if they were drawn more often.",
            stacklevel=3,
        )
