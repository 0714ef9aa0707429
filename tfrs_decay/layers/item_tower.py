"""The item tower: one table of items, for the history and the candidates alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.data.events import Items
from tfrs_decay.layers.category_embedding import CategoryEmbedding
from tfrs_decay.layers.distinct import of_each
from tfrs_decay.layers.fusion import FUSIONS, Fusion
from tfrs_decay.layers.precomputed_tower import PrecomputedTower
from tfrs_decay.layers.tensors import (
    as_strings,
    checked_ids,
    id_table,
    table_rows,
)
from tfrs_decay.layers.text_tower import TextTower

ID_EMBEDDING = "id_embedding"
"""What the table of the ids' vectors is called, as a variable."""

Vectors = PrecomputedTower | Sequence[PrecomputedTower] | Mapping[str, PrecomputedTower]
Values = Sequence[str | None] | Mapping[str, str | None]


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class ItemTower(tf_keras.layers.Layer):
    """Item ids in, item vectors out: what an item's text says, plus what its id learns.

    Up to four kinds of parts are fused: the text, vectors made elsewhere, categories
    such as the brand, and the id. By default vector = text_tower(text) +
    id_embedding[id], made of length 1 with `normalize`. The id embedding starts small:
    what is known of a new item is its other parts, and an item that is not in the
    catalogue is those alone (`embed_texts`, `embed_items`).

    What an item lacks is zeros: a value of a category, or a vector, unless its
    `PrecomputedTower` has `unknown` for those ("" is a text, and is read). So is the id
    of an item that was never trained on, if `set_seen` was told: a random vector says
    nothing. In training an id always speaks, for it is being seen; but with
    `id_dropout` it is silenced now and then, so that the other parts learn to stand
    alone. Without any other part an unseen item is zeros altogether, as an unknown one.

    The same object serves histories and candidates, so there is one table and both uses
    train it. Each distinct item of a batch is computed once.

    Args:
        items: The catalogue, or a mapping from id to text.
        text: Reads the texts; its `dim` must be this layer's, but with "concat".
        dim: Width of the vectors.
        id_embedding: Learn a vector for each id, beside the other parts.
        normalize: Vectors of length 1, so that a dot product is a cosine.
        baked: The texts' encodings are kept in a table of this layer: see `bake`.
        vectors: A `PrecomputedTower`, which is then named "vectors"; a list of them,
            under their own names; or a mapping from name to tower. Their `dim` must be
            this layer's, but with "concat".
        categories: From a category's name, such as "brand", to the items' values: [n]
            in the catalogue's order, or a mapping from id to value. "" or None where an
            item has none. Each value has a learned vector.
        vocabularies: From a category's name to the values that have vectors of their
            own; all others share one, which starts at zeros. All that occur, when left
            out.
        fusion: How the parts become one vector: "sum"; "concat", one after the other
            and projected without bias; or "gated", a sum weighed by learned gates for
            each part and feature (see `layers.fusion`).
        id_dropout: Probability with which the id of a distinct item of a batch is zeros
            in training, from 0 to below 1. It is not scaled in return, for the other
            parts are to do without it. Repeatable from `tf_keras.utils.set_random_seed`
            on. A model of your own has to pass `training` to this layer.
        **kwargs: Keras' own, such as `name`.

    Raises:
        TypeError: The items are neither a catalogue nor a mapping, a value of a
            category is no string, or `vectors` holds something else than towers.
        ValueError: There is no part, dims differ, no item has a vector, categories do
            not fit the catalogue, or an option is out of its range.

    References:
        M. Volkovs, G. Yu, T. Poutanen. DropoutNet: addressing cold start in recommender
        systems. NeurIPS 2017.
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
        vectors: Vectors | None = None,
        categories: Mapping[str, Values] | None = None,
        vocabularies: Mapping[str, Sequence[str]] | None = None,
        fusion: str = "sum",
        id_dropout: float = 0.0,
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
        towers = _named(vectors)
        values = {
            name: _values(name, (categories or {})[name], items)
            for name in sorted(categories or {})
        }
        if text is None and not towers and not values and not id_embedding:
            raise ValueError(
                "give a text tower, or id_embedding=True, or both; or vectors, or "
                "categories."
            )
        if baked and text is None:
            raise ValueError("baked=True needs a text tower.")
        if text is not None and text.fields != items.fields:
            raise ValueError(
                f"text.fields={text.fields}, and an item has {items.fields} texts: "
                f"make it with TextTower(..., fields={items.fields})."
            )
        if fusion not in FUSIONS:
            raise ValueError(f"fusion={fusion!r} is not one of {FUSIONS}.")
        if not 0 <= id_dropout < 1:
            raise ValueError(f"id_dropout={id_dropout} must lie in 0 to below 1.")
        if id_dropout and not (id_embedding and (text or towers or values)):
            raise ValueError(
                f"id_dropout={id_dropout} makes other parts stand in for the id: it "
                "needs id_embedding=True, and text, vectors or categories."
            )
        if fusion != "concat":
            _check_dims(text, towers, dim)
        if baked and text is not None:
            text.load_when_read()
        self.items = items
        self.text = text
        self.dim = dim
        self.id_embedding = id_embedding
        self.normalize = normalize
        self.baked = baked
        self.fusion = fusion
        self.id_dropout = id_dropout
        self.vectors = towers
        self._values = values
        self._places = id_table(items.ids)
        self._texts = as_strings(items.texts, "texts")
        self._vector_places = {
            name: tf.constant(_places_of(name, tower, items))
            for name, tower in towers.items()
        }
        # An id should first say little beside what is known of an item, and so should
        # a category beside a text or a vector, which are of about unit length.
        alone, small = 1.0 / dim**0.5, 0.1 / dim**0.5
        self._id_spread = small if text or towers or values else alone
        self._categories = {
            name: CategoryEmbedding(
                _vocabulary(name, of_items, vocabularies or {}),
                dim,
                stddev=small if text or towers else alone,
                name=f"category_{name}",
                dtype=self.dtype_policy,
            )
            for name, of_items in values.items()
        }
        strange = sorted(set(vocabularies or {}) - set(values))
        if strange:
            raise ValueError(
                f"vocabularies names {strange[0]!r}, which is none of the categories "
                f"{sorted(values)}."
            )
        self._category_rows = {
            name: tf.constant(self._categories[name].rows_of(of_items))
            for name, of_items in values.items()
        }

    def build(self, input_shape: Any = None) -> None:
        """Makes the tables; the shape of the input does not matter."""
        if self.id_embedding:
            self._table = self.add_weight(
                name=ID_EMBEDDING,
                shape=(len(self.items), self.dim),
                initializer=tf_keras.initializers.RandomNormal(stddev=self._id_spread),
            )
            self._seen = self.add_weight(
                name="seen",
                shape=(len(self.items),),
                initializer="ones",
                trainable=False,
            )
        if self.text is not None:
            if not self.text.built:
                self.text.build()
            if self.baked:
                self._make_baked_table(self.text.hidden)
        for layer in self._categories.values():
            layer.build()
        self._fuse = Fusion(
            self.fusion,
            self._widths(),
            self.dim,
            name="fusion",
            dtype=self.dtype_policy,
        )
        self._fuse.build()
        super().build(input_shape)

    def _make(self) -> None:
        """Builds the layer where it was not called yet, outside of any graph."""
        if not self.built:
            with tf.init_scope():
                self.build(None)

    def _widths(self) -> dict[str, int]:
        """The parts in their order, and how wide each is."""
        widths = {}
        if self.text is not None:
            text_dim = self.text.dim
            widths["text"] = self.text.hidden if text_dim is None else text_dim
        for name, tower in self.vectors.items():
            widths[f"vectors/{name}"] = tower.output_width
        for name in self._categories:
            widths[f"categories/{name}"] = self.dim
        if self.id_embedding:
            widths["id"] = self.dim
        return widths

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
            training: Keras' own; matters to `id_dropout`, and to an unseen item.

        Returns:
            [..., dim]; zeros for an id that is not in the catalogue (see `known`).

        Raises:
            ValueError: The ids are not strings.
        """
        return of_each(self.places(ids), lambda place: self._of_places(place, training))

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
        return self._places.lookup(checked_ids(ids))

    def embed_texts(self, texts: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Vectors of items outside the catalogue: [...] strings -> [..., dim].

        Of items with several texts [..., fields] strings are read.

        Raises:
            ValueError: This tower reads no text.
        """
        return self.embed_items(texts=texts, training=training)

    def embed_items(
        self,
        *,
        texts: tf.Tensor | None = None,
        vectors: tf.Tensor | Mapping[str, tf.Tensor] | None = None,
        categories: Mapping[str, tf.Tensor] | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Vectors of items outside the catalogue, from what is known of them.

        An item gets the vector that it would have in the catalogue, untrained on. Texts
        and categories that are left out are zeros, as the id is; vectors are what the
        `PrecomputedTower` has for an unknown id.

        Args:
            texts: [...] strings; [..., fields] where items have several.
            vectors: [..., width] floating, made as those of the tower's own `vectors`;
                by name, where it has several.
            categories: By name, [...] strings; "" or, in a list, None where an item has
                none.
            training: Keras' own.

        Returns:
            [..., dim].

        Raises:
            ValueError: Nothing is given, this tower has no such part, or the shapes of
                two parts differ.
        """
        self._make()
        parts = {}
        if texts is not None:
            if self.text is None:
                raise ValueError(
                    "this tower has no text: it knows items by their "
                    f"{' and '.join(self._widths()) or 'id'} only."
                )
            parts["text"] = self.text(texts, training=training)
        for name, given in self._given_vectors(vectors).items():
            parts[f"vectors/{name}"] = self.vectors[name].project(
                tf.convert_to_tensor(given)
            )
        for name, given in (categories or {}).items():
            if name not in self._categories:
                raise ValueError(
                    f"categories holds {name!r}: this tower has "
                    f"{sorted(self._categories)}."
                )
            parts[f"categories/{name}"] = self._categories[name](_without_none(given))
        if not parts:
            raise ValueError("give texts, vectors or categories of the items.")
        shapes = {name: part.shape[:-1] for name, part in parts.items()}
        first = next(iter(shapes))
        for name, shape in shapes.items():
            if not shape.is_compatible_with(shapes[first]):
                raise ValueError(
                    f"{first} is of items of the shape {shapes[first]}, {name} of the "
                    f"shape {shape}: they must be the same."
                )
        parts = {**self._unknown_vectors(parts[first]), **parts}
        return self._finish(self._fuse(parts))

    def _unknown_vectors(self, beside: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the precomputed towers have for items without a vector, [..., width]."""
        shape = tf.shape(beside)[:-1]
        parts = {}
        for name, tower in self.vectors.items():
            if tower.unknown != "zeros":
                one = tower.embed_places(tf.constant([-1], tf.int64))[0]
                whole = tf.broadcast_to(one, tf.concat([shape, tf.shape(one)], axis=0))
                whole.set_shape([*beside.shape[:-1], tower.output_width])
                parts[f"vectors/{name}"] = whole
        return parts

    def _given_vectors(self, vectors: Any) -> dict[str, Any]:
        """What was given as `vectors`, by the name of its tower."""
        if vectors is None:
            return {}
        if not isinstance(vectors, Mapping):
            if len(self.vectors) != 1:
                raise ValueError(
                    f"this tower has the vectors {list(self.vectors)}: give a mapping "
                    "with these names."
                )
            return {next(iter(self.vectors)): vectors}
        strange = sorted(set(vectors) - set(self.vectors))
        if strange:
            raise ValueError(
                f"vectors holds {strange[0]!r}: this tower has {list(self.vectors)}."
            )
        return dict(vectors)

    @property
    def seen(self) -> np.ndarray | None:
        """[n] bool, the items whose id has been trained; None without ids."""
        if not (self.id_embedding and self.built):
            return None
        return self.is_seen().numpy()

    def is_seen(self) -> tf.Tensor:
        """[n] bool, `seen` in a graph; true for every item of a tower without ids."""
        self._make()
        if not self.id_embedding:
            return tf.ones([len(self.items)], tf.bool)
        return tf.convert_to_tensor(self._seen) > 0

    def set_seen(self, seen: Sequence[float] | np.ndarray) -> None:
        """Says which items were trained on; the ids of the others fall silent.

        `training.train` does so. Call it again whenever a model is trained further.

        Args:
            seen: [n] bool, or counts of events; an item with a count above 0 is seen.

        Raises:
            ValueError: This tower has no ids, or `seen` does not fit the catalogue.
        """
        if not self.id_embedding:
            raise ValueError("this tower has id_embedding=False: no id is seen or not.")
        counts = np.asarray(seen)
        if counts.shape != (len(self.items),) or counts.dtype.kind not in "bfiu":
            raise ValueError(
                f"seen is {counts.dtype} of the shape {counts.shape}: give "
                f"({len(self.items)},), booleans or counts."
            )
        if not (np.isfinite(counts) & (counts >= 0)).all():
            raise ValueError("seen must be finite and 0 or more for every item.")
        self._make()
        self._seen.assign((counts > 0).astype(np.float32))

    def add_items(
        self,
        ids: Sequence[str],
        texts: Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        vectors: Any = None,
        categories: Mapping[str, Values] | None = None,
        encoded: np.ndarray | None = None,
        batch_size: int = 128,
        progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    ) -> ItemTower:
        """A tower that knows more items, without training.

        This tower's weights are copied, so that the items that it has keep their
        vectors bit for bit, and neither tower changes with the other. The new items
        come last; their ids are unseen, so that their other parts speak. Of a baked
        tower only the new texts are encoded.

        Args:
            ids: [m] strings that are not in the catalogue.
            texts: [m] strings, or [m, fields] where items have several; "" for all when
                left out.
            vectors: [m, width], or a mapping from id to vector where some items have
                none; by name, where the tower has several `vectors`. An id whose vector
                the `PrecomputedTower` has already needs none. Where an id is the name
                of the only one, a single vector, [width], is that of the id.
            categories: By name, [m] values or a mapping from id to value. A value that
                is out of the vocabulary stays so.
            encoded: [m, hidden] what `text.encode_all(texts)` gave; encoded here when
                left out.
            batch_size: Texts a batch.
            progress: Wraps the iterable of batches.

        Returns:
            A new tower; this one is left as it is.

        Raises:
            TypeError: An id or a text is not a string.
            ValueError: An id is in the catalogue already, or something given does not
                fit.
        """
        self._make()
        if texts is None and self.items.fields > 1:
            texts = [[""] * self.items.fields for _ in ids]
        new = Items(list(ids), None if texts is None else list(texts))
        if not len(new):
            raise ValueError("ids is empty: there is nothing to add.")
        known = [one for one in new.ids if self.items.codes([one])[0] >= 0]
        if known:
            raise ValueError(
                f"{len(known)} of the ids are in the catalogue already, such as "
                f"{known[0]!r}: add new ones only."
            )
        if encoded is not None and not self.baked:
            raise ValueError("encoded is for a baked tower: this one is not.")
        strange = sorted(set(categories or {}) - set(self._values))
        if strange:
            raise ValueError(
                f"categories holds {strange[0]!r}: this tower has "
                f"{sorted(self._values)}."
            )
        made = type(self).from_config(
            {
                **self.get_config(),
                "items": Items(
                    [*self.items.ids, *new.ids], [*self.items.texts, *new.texts]
                ).get_config(),
                "vectors": self._vectors_with(new, vectors),
                "categories": {
                    name: [
                        *values,
                        *(
                            _values(name, categories[name], new)
                            if categories and name in categories
                            else [""] * len(new)
                        ),
                    ]
                    for name, values in self._values.items()
                },
            }
        )
        made.build(None)
        made._take_weights(self)
        if self.baked and made.text is not None:
            if encoded is None:
                encoded = made.text.encode_all(
                    new.texts, batch_size=batch_size, progress=progress
                )
            expected = (len(new), made.text.hidden)
            _check_encoded(encoded, expected)
            made._encoded.assign(tf.concat([self._encoded, encoded], axis=0))
        return made

    def _vectors_with(self, new: Items, vectors: Any) -> dict[str, PrecomputedTower]:
        """Copies of the precomputed towers, which know the new items' vectors."""
        if len(self.vectors) == 1 and self._is_by_id(vectors):
            vectors = {next(iter(self.vectors)): vectors}
        given = self._given_vectors(vectors)
        made = {}
        for name, tower in self.vectors.items():
            ids: list[str] = []
            rows: Any = []
            one = given.get(name)
            if isinstance(one, Mapping):
                strange = sorted(set(one) - set(new.ids))
                if strange:
                    raise ValueError(
                        f"vectors has one of {strange[0]!r}, which is not among ids."
                    )
                ids, rows = list(one), list(one.values())
            elif one is not None:
                ids, rows = new.ids.tolist(), one
            made[name] = tower.add_items(ids, rows)
        return made

    def _is_by_id(self, vectors: Any) -> bool:
        """Whether these are the vectors of ids, and not those of towers by name."""
        if not isinstance(vectors, Mapping):
            return False
        if not set(vectors) <= set(self.vectors):
            return True
        return any(
            not isinstance(one, Mapping) and len(one) > 0 and np.ndim(one[0]) == 0
            for one in vectors.values()
        )

    def _take_weights(self, other: ItemTower) -> None:
        """Copies the weights of a tower whose items are the first of this one's."""
        if self.id_embedding:
            n = len(other.items)
            # A new id adds nothing to the other parts, in training neither.
            none = tf.zeros_like(self._table[n:])
            self._table.assign(tf.concat([other._table, none], axis=0))
            more = tf.zeros([len(self.items) - n], self._seen.dtype)
            self._seen.assign(tf.concat([other._seen, more], axis=0))
        if self.text is not None and other.text is not None:
            if len(self.text.weights) != len(other.text.weights):
                # It has read a text, so that its encoder is loaded; and now this one's.
                self.text.load()
            self.text.set_weights(other.text.get_weights())
        for name, layer in self._categories.items():
            layer.set_weights(other._categories[name].get_weights())
        self._fuse.set_weights(other._fuse.get_weights())

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
        if self.text.fine_tune is not False:
            raise ValueError(
                f"the encoder is fine-tuned (fine_tune={self.text.fine_tune}), so its "
                "vectors change with every step: bake a frozen one."
            )
        self._make()
        if encoded is None:
            encoded = self.text.encode_all(
                self.items.texts, batch_size=batch_size, progress=progress
            )
        _check_encoded(encoded, (len(self.items), self.text.hidden))
        if not self.baked:
            self._make_baked_table(self.text.hidden)
            self.baked = True
        self._encoded.assign(encoded)
        return self

    def _of_places(self, place: tf.Tensor, training: bool | None) -> tf.Tensor:
        """[m] int64 places, -1 for an unknown item -> [m, dim]."""
        known = place >= 0
        place = tf.maximum(place, 0)
        parts = {}
        if self.text is not None:
            if self.baked:
                encoded = table_rows(self._encoded, place)
            else:
                encoded = self.text.encode(
                    tf.gather(self._texts, place), training=training
                )
            parts["text"] = self.text.project(encoded)
        for name, tower in self.vectors.items():
            rows = tf.gather(self._vector_places[name], place)
            parts[f"vectors/{name}"] = tower.embed_places(rows)
        for name, layer in self._categories.items():
            rows = tf.gather(self._category_rows[name], place)
            parts[f"categories/{name}"] = layer.embed_rows(rows)
        if self.id_embedding:
            parts["id"] = self._ids(place, training)
        vectors = self._finish(self._fuse(parts))
        return vectors * tf.cast(known, vectors.dtype)[:, None]

    def _ids(self, place: tf.Tensor, training: bool | None) -> tf.Tensor:
        vectors = table_rows(self._table, place)
        if not training:
            kept = table_rows(self._seen, place)
        elif self.id_dropout:
            kept = tf.random.uniform(tf.shape(place)) >= self.id_dropout
        else:
            return vectors
        return vectors * tf.cast(kept, vectors.dtype)[:, None]

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
            "vectors": {
                name: tf_keras.saving.serialize_keras_object(tower)
                for name, tower in self.vectors.items()
            },
            "categories": {name: list(one) for name, one in self._values.items()},
            "vocabularies": {
                name: list(layer.vocabulary) for name, layer in self._categories.items()
            },
            "fusion": self.fusion,
            "id_dropout": self.id_dropout,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ItemTower:
        """Makes the layer again from `get_config`; towers may be made already."""
        text = config["text"]
        return cls(
            **{
                **config,
                "items": Items.from_config(config["items"]),
                "text": text and tf_keras.layers.deserialize(text),
                "vectors": {
                    name: (
                        tf_keras.layers.deserialize(tower)
                        if isinstance(tower, Mapping)
                        else tower
                    )
                    for name, tower in config.get("vectors", {}).items()
                },
            }
        )


def _named(vectors: Vectors | None) -> dict[str, PrecomputedTower]:
    """The towers by name, in the order of their names."""
    if vectors is None:
        return {}
    if isinstance(vectors, PrecomputedTower):
        return {"vectors": vectors}
    if isinstance(vectors, Mapping):
        named = list(dict(vectors).items())
    elif isinstance(vectors, Sequence) and not isinstance(vectors, str):
        named = [(getattr(one, "name", ""), one) for one in vectors]
    else:
        raise TypeError(
            f"vectors is a {type(vectors).__name__}: give a PrecomputedTower, or a "
            "list or mapping of them."
        )
    for name, tower in named:
        if not isinstance(tower, PrecomputedTower):
            raise TypeError(
                f"vectors holds a {type(tower).__name__}: make it a "
                "PrecomputedTower(ids, vectors)."
            )
        if [other for other, _ in named].count(name) > 1:
            raise ValueError(
                f"vectors holds two towers named {name!r}: give a mapping from name to "
                "tower."
            )
    return dict(sorted(named))


def _check_dims(
    text: TextTower | None, towers: Mapping[str, PrecomputedTower], dim: int
) -> None:
    """Parts that are added up must be of one width."""
    if text is not None and text.dim != dim:
        raise ValueError(
            f"text.dim={text.dim} and dim={dim} must be the same: make it with "
            f"TextTower(..., dim={dim}), or fuse with fusion='concat'."
        )
    for name, tower in towers.items():
        if tower.output_width != dim:
            raise ValueError(
                f"vectors[{name!r}] gives vectors of width {tower.output_width}, and "
                f"dim={dim}: make it with PrecomputedTower(..., dim={dim}), or fuse "
                "with fusion='concat'."
            )


def _places_of(name: str, tower: PrecomputedTower, items: Items) -> np.ndarray:
    """[n] int64, where each item's vector is; or that no item has one."""
    places = tower.items.codes(items.ids.tolist())
    if (places < 0).all():
        raise ValueError(
            f"vectors[{name!r}] knows none of the {len(items)} items: its ids are such "
            f"as {tower.items.ids[0]!r}, the catalogue's such as {items.ids[0]!r}."
        )
    return places


def _values(name: str, values: Values, items: Items) -> tuple[str, ...]:
    """[n] the items' values of a category; "" for none."""
    if isinstance(values, Mapping):
        of_items = [values.get(one) for one in items.ids]
    elif isinstance(values, str) or len(values) != len(items):
        raise ValueError(
            f"categories[{name!r}] has {len(values)} values and the catalogue "
            f"{len(items)} items: give one for each, '' where an item has none; or a "
            "mapping from id to value."
        )
    else:
        of_items = list(values)
    for one, value in zip(items.ids, of_items, strict=True):
        if value is not None and not isinstance(value, str):
            raise TypeError(
                f"categories[{name!r}] is {value!r} for {one!r}, a "
                f"{type(value).__name__}: values are strings, or None."
            )
    return tuple(value or "" for value in of_items)


def _without_none(values: Any) -> Any:
    """Values of a category, "" in place of None."""
    if tf.is_tensor(values) or isinstance(values, tf.RaggedTensor):
        return values
    array = np.asarray(values, dtype=object)
    flat = ["" if one is None else one for one in array.ravel()]
    return np.array(flat, dtype=object).reshape(array.shape).tolist()


def _vocabulary(
    name: str, values: Sequence[str], vocabularies: Mapping[str, Sequence[str]]
) -> list[str]:
    """The values with vectors of their own."""
    if name not in vocabularies:
        found = sorted(set(values) - {""})
        if not found:
            raise ValueError(f"categories[{name!r}] has a value for no item.")
        return found
    given = list(vocabularies[name])
    if not given or "" in given or len(set(given)) != len(given):
        raise ValueError(
            f"vocabularies[{name!r}]={given!r} must be distinct values, none of them "
            "''."
        )
    return given


def _check_encoded(encoded: np.ndarray, expected: tuple[int, int]) -> None:
    if encoded.shape != expected or not np.isfinite(encoded).all():
        raise ValueError(
            f"encoded has the shape {encoded.shape}: give {expected}, finite."
        )


def unit_length(vectors: tf.Tensor) -> tf.Tensor:
    """Vectors of length 1, zeros for zeros: [..., dim], in their own dtype.

    In float16 the square of a small number, and any guard against dividing by it, is 0:
    the length is taken in float32.
    """
    wide = tf.math.l2_normalize(tf.cast(vectors, tf.float32), axis=-1)
    return tf.cast(wide, vectors.dtype)
