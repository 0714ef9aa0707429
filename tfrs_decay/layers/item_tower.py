"""The item tower: one table of items, for the history and the candidates alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.data.events import Items
from tfrs_decay.layers.text_tower import TextTower


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class ItemTower(tf_keras.layers.Layer):
    """Item ids in, item vectors out: what an item's text says, plus what its id learns.

    vector = text_tower(text) + id_embedding[id], made of length 1 with `normalize`. The
    id embedding starts small: what is known of a new item is its text, and an item that
    is not in the catalogue is its text alone (`embed_texts`).

    The same object serves histories and candidates, so there is one table and both uses
    train it. Each distinct item of a batch is computed once.

    Args:
        items: The catalogue, or a mapping from id to text.
        text: Reads the texts; its `dim` must be this layer's. Ids alone when left out.
        dim: Width of the vectors.
        id_embedding: Learn a vector for each id, beside the text.
        normalize: Vectors of length 1, so that a dot product is a cosine.
        baked: The texts' encodings are kept in a table of this layer: see `bake`.
        **kwargs: Keras' own, such as `name`.

    Raises:
        TypeError: The items are neither a catalogue nor a mapping.
        ValueError: There is neither text nor id embedding, or the dims differ.
    """

    def __init__(
        self,
        items: Items | Mapping[str, str],
        *,
        text: TextTower | None = None,
        dim: int = 64,
        id_embedding: bool = True,
        normalize: bool = True,
        baked: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(items, (Items, Mapping)):
            raise TypeError(
                f"items is a {type(items).__name__}: give a tfrs_decay.data.Items, or "
                "a dict from id to text."
            )
        if not isinstance(items, Items):
            items = Items(list(items.keys()), list(items.values()))
        if not len(items):
            raise ValueError("items is empty: a tower needs a catalogue.")
        if text is None and not id_embedding:
            raise ValueError("give a text tower, or id_embedding=True, or both.")
        if text is not None and text.dim != dim:
            raise ValueError(
                f"text.dim={text.dim} and dim={dim} must be the same: make it with "
                f"TextTower(..., dim={dim})."
            )
        if baked and text is None:
            raise ValueError("baked=True needs a text tower.")
        if baked and text is not None:
            text.load_when_read()
        self.items = items
        self.text = text
        self.dim = dim
        self.id_embedding = id_embedding
        self.normalize = normalize
        self.baked = baked
        self._places = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(items.ids.tolist(), tf.string),
                tf.range(len(items), dtype=tf.int64),
            ),
            default_value=-1,
        )
        self._texts = tf.constant(items.texts.tolist(), tf.string)

    def build(self, input_shape: Any = None) -> None:
        """Makes the tables; the shape of the input does not matter."""
        if self.id_embedding:
            # Beside a text of about unit length, an id should first say little.
            spread = 1.0 if self.text is None else 0.1
            self._table = self.add_weight(
                name="id_embedding",
                shape=(len(self.items), self.dim),
                initializer=tf_keras.initializers.RandomNormal(
                    stddev=spread / self.dim**0.5
                ),
            )
        if self.text is not None:
            if not self.text.built:
                self.text.build()
            if self.baked:
                self._make_baked_table(self.text.hidden)
        super().build(input_shape)

    def _make_baked_table(self, hidden: int) -> None:
        self._encoded = self.add_weight(
            name="encoded_texts",
            shape=(len(self.items), hidden),
            initializer="zeros",
            trainable=False,
        )

    def call(self, ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Looks items up.

        Args:
            ids: [...] strings.
            training: Keras' own.

        Returns:
            [..., dim]; zeros for an id that is not in the catalogue (see `known`).

        Raises:
            ValueError: The ids are not strings.
        """
        place = self.places(ids)
        distinct, where = tf.unique(tf.reshape(place, [-1]))
        vectors = tf.gather(self._vectors(distinct, training), where)
        vectors = tf.reshape(vectors, tf.concat([tf.shape(place), [self.dim]], axis=0))
        vectors.set_shape([*place.shape, self.dim])
        return vectors

    def compute_mask(self, inputs: tf.Tensor, mask: Any = None) -> tf.Tensor:
        """Which ids are in the catalogue, [...] bool: pooling leaves the others out."""
        return self.known(inputs)

    def known(self, ids: tf.Tensor) -> tf.Tensor:
        """Which ids are in the catalogue: [...] strings -> [...] bool."""
        return self.places(ids) >= 0

    def places(self, ids: tf.Tensor) -> tf.Tensor:
        """Places in the catalogue: [...] strings -> [...] int64; -1 if unknown.

        Raises:
            ValueError: The ids are not strings, or ragged.
        """
        if isinstance(ids, tf.RaggedTensor):
            raise ValueError(
                "item ids are ragged: give them padded, ids.to_tensor('')."
            )
        ids = tf.convert_to_tensor(ids)
        if ids.dtype != tf.string:
            raise ValueError(
                f"item ids are {ids.dtype.name}: give strings "
                "(tf.strings.as_string turns numbers into them)."
            )
        return self._places.lookup(ids)

    def embed_texts(self, texts: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Vectors of items outside the catalogue: [...] strings -> [..., dim].

        Raises:
            ValueError: This tower reads no text.
        """
        if self.text is None:
            raise ValueError("this tower has no text: it knows items by their id only.")
        return self._finish(self.text(texts, training=training))

    def catalogue_vectors(
        self,
        *,
        batch_size: int = 1024,
        progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    ) -> np.ndarray:
        """The vectors of all items, in the catalogue's order: [n, dim] float32.

        Args:
            batch_size: Items a batch.
            progress: Wraps the iterable of batches.
        """
        starts = range(0, len(self.items), batch_size)
        return np.concatenate(
            [
                self(tf.constant(self.items.ids[at : at + batch_size].tolist())).numpy()
                for at in progress(starts)
            ]
        ).astype(np.float32)

    def bake(
        self,
        encoded: np.ndarray | None = None,
        *,
        batch_size: int = 128,
        progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    ) -> ItemTower:
        """Encodes all texts of the catalogue once, for an encoder that is frozen.

        From then on a step costs a lookup and the projection, which is still trained.
        The table is a weight: it is saved, loaded and exported with the layer.

        Args:
            encoded: [n, hidden] what `text.encode_all(items.texts)` gave another tower
                with the same encoder; encoded here when left out.
            batch_size: Texts a batch.
            progress: Wraps the iterable of batches.

        Returns:
            This layer.

        Raises:
            ValueError: There is no text, the encoder is fine-tuned, or `encoded` does
                not fit or is not finite.
        """
        if self.text is None:
            raise ValueError("there is nothing to bake: this tower reads no text.")
        if self.text.fine_tune:
            raise ValueError(
                "the encoder is fine-tuned (fine_tune=True), so its vectors change "
                "with every step: bake a frozen one."
            )
        if not self.built:
            self.build(None)
        if encoded is None:
            encoded = self.text.encode_all(
                self.items.texts.tolist(), batch_size=batch_size, progress=progress
            )
        expected = (len(self.items), self.text.hidden)
        if encoded.shape != expected or not np.isfinite(encoded).all():
            raise ValueError(
                f"encoded has the shape {encoded.shape}: give {expected}, finite."
            )
        if not self.baked:
            self._make_baked_table(self.text.hidden)
            self.baked = True
        self._encoded.assign(encoded)
        return self

    def _vectors(self, place: tf.Tensor, training: bool | None) -> tf.Tensor:
        known = place >= 0
        place = tf.maximum(place, 0)
        parts = []
        if self.text is not None:
            if self.baked:
                encoded = tf.gather(self._encoded, place)
            else:
                encoded = self.text.encode(
                    tf.gather(self._texts, place), training=training
                )
            parts.append(self.text.project(encoded))
        if self.id_embedding:
            parts.append(tf.gather(self._table, place))
        vectors = self._finish(tf.add_n(parts))
        return vectors * tf.cast(known, vectors.dtype)[:, None]

    def _finish(self, vectors: tf.Tensor) -> tf.Tensor:
        return unit_length(vectors) if self.normalize else vectors

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """The ids' shape and `dim`."""
        return tf.TensorShape(input_shape).concatenate([self.dim])

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "items": self.items.get_config(),
            "text": tf_keras.saving.serialize_keras_object(self.text),
            "dim": self.dim,
            "id_embedding": self.id_embedding,
            "normalize": self.normalize,
            "baked": self.baked,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ItemTower:
        """Makes the layer again from `get_config`."""
        text = config["text"]
        return cls(
            **{
                **config,
                "items": Items.from_config(config["items"]),
                "text": text and tf_keras.layers.deserialize(text),
            }
        )


def unit_length(vectors: tf.Tensor) -> tf.Tensor:
    """Vectors of length 1, zeros for zeros: [..., dim], in their own dtype.

    In float16 the square of a small number, and any guard against dividing by it, is 0:
    the length is taken in float32.
    """
    wide = tf.math.l2_normalize(tf.cast(vectors, tf.float32), axis=-1)
    return tf.cast(wide, vectors.dtype)
