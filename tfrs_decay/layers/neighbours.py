"""Item-to-item terms in a graph: a history in, scores of others out."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from tfrs_decay.neighbours.record import NO_NEIGHBOUR, Neighbours


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class ItemNeighbours(tf_keras.layers.Layer):
    """Scores of a history by a table of neighbours: EASE, a linear map, cosine.

    score(j) = sum over the events e of a row of weight_e B[item_e, j], with B the table
    that `tfrs_decay.neighbours` fits. Rows are worked off one after the other, so that
    what is held is one row of the catalogue, its events times m, and what comes out:
    never a matrix of items x items, nor of rows x items where candidates are given.

    The table is two weights that are not trained: they are saved with the layer's other
    weights, and not in the config, which holds their shape. So a layer that is made
    from a config alone has no neighbours until its weights are loaded.

    Numbers are float32 whatever the policy. Gradients reach the events' weights, so
    that a decay in front of the layer can learn.

    Args:
        neighbours: The table; left out where the weights will be loaded, and then
            `n_items` and `m` say its shape.
        n_items: Items of the catalogue, where the table is left out.
        m: Neighbours an item, where the table is left out.
        **kwargs: Keras' own, such as `name`.

    Raises:
        ValueError: The shape is missing, below 1, or not that of the table.

    >>> table = Neighbours([[1, 2], [0, -1], [-1, -1]], [[0.5, -0.25], [1, 0], [0, 0]])
    >>> layer = ItemNeighbours(table)
    >>> layer(tf.constant([[0, 1, -1]]), tf.constant([[2.0, 3.0, 9.0]])).numpy()
    array([[ 3. ,  1. , -0.5]], dtype=float32)
    """

    def __init__(
        self,
        neighbours: Neighbours | None = None,
        *,
        n_items: int | None = None,
        m: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if neighbours is not None:
            for name, given, own in (
                ("n_items", n_items, len(neighbours)),
                ("m", m, neighbours.m),
            ):
                if given not in (None, own):
                    raise ValueError(
                        f"{name}={given}, and the table's is {own}: leave {name} out."
                    )
            n_items, m = len(neighbours), neighbours.m
        for name, number in (("n_items", n_items), ("m", m)):
            if number is None or number < 1:
                raise ValueError(
                    f"{name}={number} must be 1 or more where neighbours are left out."
                )
        self.n_items = n_items
        self.m = m
        self._item, self._weight = (
            self.add_weight(
                name=name,
                shape=[n_items, m],
                dtype=dtype,
                initializer=tf_keras.initializers.Constant(nothing),
                trainable=False,
                experimental_autocast=False,
            )
            for name, dtype, nothing in (
                ("item", "int32", NO_NEIGHBOUR),
                ("weight", "float32", 0),
            )
        )
        if neighbours is not None:
            self.refresh(neighbours)

    def refresh(self, neighbours: Neighbours) -> None:
        """Puts another table in the place of this one; nothing else is trained anew.

        Args:
            neighbours: Of the same shape, such as one fitted up to a later cut.

        Raises:
            ValueError: It has another shape.
        """
        if (len(neighbours), neighbours.m) != (self.n_items, self.m):
            raise ValueError(
                f"the table is of {len(neighbours):,} items with {neighbours.m:,} "
                f"neighbours, and this layer's of {self.n_items:,} with {self.m:,}: "
                "make a new layer of it."
            )
        self._item.assign(neighbours.item)
        self._weight.assign(neighbours.weight)

    @property
    def neighbours(self) -> Neighbours:
        """The table that is in use, without what it cost.

        Raises:
            ValueError: Weights were loaded that are no table.
        """
        return Neighbours(self._item.numpy(), self._weight.numpy())

    def call(
        self, item: tf.Tensor, weight: tf.Tensor, candidates: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Scores all items, or some for each row.

        Args:
            item: [batch, time] integer places of a history's items; a negative one is
                padding or an item that is not in the table.
            weight: [batch, time] floats, what each event weighs; not looked at where
                the item is negative.
            candidates: [batch, c] integer places, in any order, twice as well; a
                negative one scores 0.

        Returns:
            [batch, n_items] float32, or [batch, c] with candidates.

        Raises:
            ValueError: An argument has another type or rank.
            InvalidArgumentError: A place is not below `n_items`, or a weight is not
                finite, or the shapes differ; at run time.
        """
        item = self._places(item, "item", "time")
        if isinstance(weight, tf.RaggedTensor):
            raise ValueError("weight is ragged: give it padded, weight.to_tensor().")
        weight = tf.convert_to_tensor(weight)
        if not weight.dtype.is_floating or weight.shape.rank not in (None, 2):
            raise ValueError(
                f"weight is {weight.dtype.name} of the shape {weight.shape}: give "
                "floats, [batch, time]."
            )
        check = tf.debugging.assert_equal(
            tf.shape(item),
            tf.shape(weight),
            message="item and weight differ in shape: give both as [batch, time].",
        )
        with tf.control_dependencies([] if check is None else [check]):
            weight = tf.cast(weight, tf.float32)
            weight = tf.where(item < 0, tf.zeros_like(weight), weight)
        weight = tf.debugging.assert_all_finite(
            weight, "weight must be finite where item is a place"
        )
        if candidates is None:
            return tf.map_fn(
                lambda row: self._scores(*row),
                (item, weight),
                fn_output_signature=tf.TensorSpec([self.n_items], tf.float32),
            )
        candidates = self._places(candidates, "candidates", "c")

        def of_candidates(row: tuple[tf.Tensor, ...]) -> tf.Tensor:
            item, weight, wanted = row
            found = tf.gather(self._scores(item, weight), tf.maximum(wanted, 0))
            return tf.where(wanted < 0, tf.zeros_like(found), found)

        return tf.map_fn(
            of_candidates,
            (item, weight, candidates),
            fn_output_signature=tf.TensorSpec(candidates.shape[1:], tf.float32),
        )

    def rows(self, item: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The neighbours of some items, as the table holds them.

        Args:
            item: [...] integer places, each of them of the catalogue.

        Returns:
            [..., m] int32 places, negative for no neighbour, and [..., m] float32
            weights, 0 there.
        """
        return tf.gather(self._item, item), tf.gather(self._weight, item)

    def _scores(self, item: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """[time] places and weights of one row -> [n_items]."""
        known = tf.maximum(item, 0)
        places, weights = self.rows(known)
        # Where there is no neighbour the place is negative, which the sum leaves out.
        return tf.math.unsorted_segment_sum(
            weights * weight[:, None], places, self.n_items
        )

    def _places(self, places: Any, name: str, second: str) -> tf.Tensor:
        """[batch, second] int32, each of them below `n_items`."""
        if isinstance(places, tf.RaggedTensor):
            raise ValueError(
                f"{name} is ragged: give it padded, {name}.to_tensor({NO_NEIGHBOUR})."
            )
        places = tf.convert_to_tensor(places)
        if not places.dtype.is_integer or places.shape.rank not in (None, 2):
            raise ValueError(
                f"{name} is {places.dtype.name} of the shape {places.shape}: give "
                f"integer places, [batch, {second}]."
            )
        check = tf.debugging.assert_less(
            places,
            tf.cast(self.n_items, places.dtype),
            message=f"{name} holds places that are not below n_items={self.n_items}.",
        )
        with tf.control_dependencies([] if check is None else [check]):
            # Far below 0 int32 would wrap around.
            return tf.cast(tf.maximum(tf.cast(places, tf.int64), -1), tf.int32)

    def get_config(self) -> dict[str, Any]:
        """The shape of the table, and not the table."""
        return {**super().get_config(), "n_items": self.n_items, "m": self.m}
