"""The item tower: text and id, one table, baked or not."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfrs_decay.data import Items
from tfrs_decay.decay import Constant
from tfrs_decay.layers import (
    ItemTower,
    PrecomputedTower,
    TextTower,
    TimeDecayPooling,
)

ITEMS = Items(["a", "b", "c"], ["red lantern", "blue mug", ""])


def with_text(encoder, **options):
    text = TextTower(encoder.preprocessor, encoder.encoder, dim=4)
    return ItemTower(ITEMS, text=text, dim=4, **options)


def test_a_vector_is_text_plus_id_of_length_one(tiny_encoder):
    tower = with_text(tiny_encoder)
    got = tower(tf.constant([["b", "a"]])).numpy()
    learned = tower.get_weights()[0]
    for vector, place in zip(got[0], [1, 0], strict=True):
        expected = tower.text(tf.constant(ITEMS.texts[place])).numpy() + learned[place]
        np.testing.assert_allclose(
            vector, expected / np.linalg.norm(expected), atol=1e-6
        )


def test_an_unknown_id_is_zeros_and_known_says_so():
    tower = ItemTower(ITEMS, dim=4)
    got = tower(tf.constant(["a", "zzz", ""])).numpy()
    assert np.abs(got[0]).sum() > 0
    np.testing.assert_array_equal(got[1:], np.zeros([2, 4]))
    ids = tf.constant(["a", "zzz", "c"])
    assert tower.known(ids).numpy().tolist() == [True, False, True]
    assert tower.places(ids).numpy().tolist() == [0, -1, 2]


def test_any_id_is_an_id_and_no_word_is_reserved():
    items = Items(["[UNK]", "a", "[MASK]", "0"])
    tower = ItemTower(items, dim=2)
    assert tower.places(tf.constant(items.ids.tolist())).numpy().tolist() == [
        0,
        1,
        2,
        3,
    ]
    np.testing.assert_array_equal(tower(tf.constant(["x"])), [[0.0, 0.0]])


def test_padding_is_masked_for_the_pooling_that_follows():
    tower = ItemTower(ITEMS, dim=2)
    pool = TimeDecayPooling(Constant())
    when = {"timestamps": [[0, 0]], "query_time": [9]}
    padded = pool(tower(tf.constant([["a", ""]])), **when)
    np.testing.assert_allclose(padded, tower(tf.constant(["a"])), rtol=1e-6)


def test_baked_equals_live_and_stays_so_as_the_projection_learns(tiny_encoder):
    live = with_text(tiny_encoder)
    baked = with_text(tiny_encoder)
    ids = tf.constant(["a", "b", "c", "b"])
    live(ids), baked(ids)
    baked.set_weights(live.get_weights())
    baked.bake()
    np.testing.assert_allclose(baked(ids), live(ids), atol=1e-5)
    kernel = live.text.trainable_weights[0].numpy() + 0.3
    for tower in (live, baked):
        tower.text.trainable_weights[0].assign(kernel)
    np.testing.assert_allclose(baked(ids), live(ids), atol=1e-5)


def test_a_baked_tower_needs_no_encoder_any_more(tiny_encoder, tmp_path):
    for part in ("preprocessor", "encoder"):
        shutil.copytree(tiny_encoder.encoder.parent / part, tmp_path / "hub" / part)
    text = TextTower(tmp_path / "hub/preprocessor", tmp_path / "hub/encoder", dim=4)
    ids = tf_keras.Input([None], dtype=tf.string)
    model = tf_keras.Model(ids, ItemTower(ITEMS, text=text, dim=4).bake()(ids))
    asked = tf.constant([["a", "c"]])
    before = model(asked).numpy()
    model.save(tmp_path / "model.keras")
    shutil.rmtree(tmp_path / "hub")
    again = tf_keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(asked), before, atol=1e-6)
    with pytest.raises(
        FileNotFoundError, match=r"hub/preprocessor.*tfrs-decay encoder"
    ):
        again.layers[-1].embed_texts(tf.constant(["new"]))


def test_a_loaded_tower_reads_new_texts_as_before(tiny_encoder, tmp_path):
    tower = with_text(tiny_encoder).bake()
    ids = tf_keras.Input([None], dtype=tf.string)
    model = tf_keras.Model(ids, tower(ids))
    model.save(tmp_path / "model.keras")
    again = tf_keras.models.load_model(tmp_path / "model.keras").layers[-1]
    text = tf.constant(["a new mug"])
    # First within a graph: the encoder is loaded outside of it, and stays.
    inside = tf.function(again.embed_texts)(text)
    np.testing.assert_allclose(inside, tower.embed_texts(text), atol=1e-6)
    np.testing.assert_allclose(again.embed_texts(text), inside, atol=1e-6)


def test_handles_are_found_again_from_another_folder(tiny_encoder, monkeypatch):
    monkeypatch.chdir(tiny_encoder.encoder.parent)
    text = TextTower("preprocessor", "encoder", dim=4)
    assert text.get_config()["encoder"] == str(tiny_encoder.encoder)


def test_encodings_made_elsewhere_can_be_baked(tiny_encoder):
    encoded = with_text(tiny_encoder).bake().text.encode_all(ITEMS.texts)
    tower = with_text(tiny_encoder).bake(encoded)
    again = with_text(tiny_encoder)
    again.build()
    again.set_weights([w for w in tower.get_weights() if w.shape != (3, 16)])
    ids = tf.constant(["a", "b"])
    np.testing.assert_allclose(tower(ids), again(ids), atol=1e-5)


def test_one_table_serves_history_and_candidates():
    tower = ItemTower(ITEMS, dim=4)
    tower.build()
    (table,) = tower.trainable_weights
    with tf.GradientTape() as tape:
        history = tower(tf.constant([["a", "a"]]))
        candidate = tower(tf.constant(["b"]))
        loss = tf.reduce_sum(history) + 2 * tf.reduce_sum(candidate[:, :2])
    gradient = tf.convert_to_tensor(tape.gradient(loss, table)).numpy()
    assert np.abs(gradient[0]).max() > 0  # from the history, where it stands twice
    assert np.abs(gradient[1]).max() > 0  # from the candidates
    assert np.abs(gradient[2]).max() == 0  # in neither


def test_an_item_outside_the_catalogue_is_its_text(tiny_encoder):
    tower = with_text(tiny_encoder, id_embedding=False)
    np.testing.assert_allclose(
        tower.embed_texts(tf.constant(["red lantern"])),
        tower(tf.constant(["a"])),
        atol=1e-6,
    )


def test_catalogue_vectors_are_the_catalogue_in_order():
    tower = ItemTower(ITEMS, dim=4)
    np.testing.assert_array_equal(
        tower.catalogue_vectors(batch_size=2), tower(tf.constant(["a", "b", "c"]))
    )


@pytest.mark.parametrize("baked", [False, True])
@pytest.mark.parametrize("folder", ["model.keras", "model"])
def test_saves_and_loads_within_a_model(tiny_encoder, tmp_path, folder, baked):
    tower = with_text(tiny_encoder)
    if baked:
        tower.bake()
    ids = tf_keras.Input([None], dtype=tf.string)
    model = tf_keras.Model(ids, tower(ids))
    asked = tf.constant([["a", "c", "unknown"]])
    before = model(asked).numpy()
    model.save(tmp_path / folder)
    again = tf_keras.models.load_model(tmp_path / folder)
    np.testing.assert_allclose(again(asked), before, atol=1e-6)


def test_config_round_trip(tiny_encoder):
    config = with_text(tiny_encoder, normalize=False, name="items").get_config()
    assert ItemTower.from_config(config).get_config() == config


def test_a_mapping_is_a_catalogue():
    tower = ItemTower({"x": "a mug", "y": ""}, dim=2)
    assert tower.items.ids.tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": {}}, "items is empty"),
        ({"id_embedding": False}, "give a text tower, or id_embedding=True"),
        ({"baked": True}, "baked=True needs a text tower"),
        ({"fusion": "mean"}, "fusion='mean' is not one of"),
        ({"id_dropout": 1.0}, "id_dropout=1.0 must lie in 0 to below 1"),
        ({"id_dropout": 0.5}, "id_dropout=0.5 makes other parts stand in"),
        (
            {"categories": {"brand": ["x"]}},
            r"'brand'\] has 1 values and the .* 3 items",
        ),
        ({"categories": {"brand": "xyz"}}, r"'brand'\] has 3 values .*mapping from id"),
        ({"categories": {"brand": {"zzz": "x"}}}, r"'brand'\] has a value for no item"),
        (
            {"categories": {"brand": ["x"] * 3}, "vocabularies": {"brand": ["x", "x"]}},
            r"vocabularies\['brand'\]=\['x', 'x'\] must be distinct values",
        ),
        ({"vocabularies": {"size": ["x"]}}, "vocabularies names 'size', which is none"),
        (
            {"vectors": PrecomputedTower(["zzz"], [[1.0]], dim=64)},
            r"knows none of the 3 items: its ids are such as 'zzz', .* as 'a'",
        ),
        (
            {"vectors": PrecomputedTower(["a"], [[1.0]])},
            r"vectors\['vectors'\] gives vectors of width 1, and dim=64: .*dim=64\)",
        ),
        (
            {"vectors": [PrecomputedTower(["a"], [[1.0]], name="v", dim=64)] * 2},
            "two towers named 'v': give a mapping",
        ),
    ],
)
def test_a_bad_choice_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        ItemTower(**{"items": ITEMS, **options})


def test_dims_that_differ_are_named(tiny_encoder):
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=3)
    with pytest.raises(
        ValueError, match=r"text.dim=3 and dim=4.*TextTower\(..., dim=4"
    ):
        ItemTower(ITEMS, text=text, dim=4)


def test_a_list_is_no_catalogue():
    with pytest.raises(TypeError, match=r"items is a list: give a .*Items, or a dict"):
        ItemTower(["a"], dim=2)


def test_what_is_no_part_is_named():
    with pytest.raises(TypeError, match="vectors is a ndarray: give a Precomputed"):
        ItemTower(ITEMS, vectors=np.zeros([3, 2]))
    with pytest.raises(TypeError, match="vectors holds a ndarray: make it a Precomp"):
        ItemTower(ITEMS, vectors={"image": np.zeros([3, 2])})
    with pytest.raises(TypeError, match=r"'brand'\] is 7 for 'b', a int: values are"):
        ItemTower(ITEMS, categories={"brand": ["x", 7, None]})


def test_ragged_ids_are_named():
    with pytest.raises(ValueError, match=r"item ids are ragged: .*to_tensor\(''\)"):
        ItemTower(ITEMS, dim=2).places(tf.ragged.constant([["a"], []]))


def test_numbers_are_no_ids():
    with pytest.raises(ValueError, match="item ids are int32: give strings"):
        ItemTower(ITEMS, dim=2)(tf.constant([1]))


def test_what_cannot_be_baked(tiny_encoder):
    with pytest.raises(ValueError, match="nothing to bake"):
        ItemTower(ITEMS, dim=2).bake()
    text = TextTower(
        tiny_encoder.preprocessor, tiny_encoder.encoder, dim=4, fine_tune=True
    )
    with pytest.raises(ValueError, match=r"fine-tuned .*bake a frozen one"):
        ItemTower(ITEMS, text=text, dim=4).bake()
    with pytest.raises(ValueError, match=r"encoded has the shape \(2, 16\).*\(3, 16\)"):
        with_text(tiny_encoder).bake(np.zeros([2, 16]))
    with pytest.raises(ValueError, match="finite"):
        with_text(tiny_encoder).bake(np.full([3, 16], np.nan))


def test_ids_alone_have_no_text_to_embed():
    with pytest.raises(ValueError, match="this tower has no text"):
        ItemTower(ITEMS, dim=2).embed_texts(tf.constant(["mug"]))


# One vector for a and c, and one of an item outside the catalogue.
IMAGES = np.array([[1.0, 0.0], [0.0, -1.0], [3.0, 1.0]], np.float32)
BRANDS = {"a": "north", "b": "south", "c": None, "elsewhere": "west"}
NORMAL = {"fusion": "sum", "normalize": False}


def fused(encoder, fusion="sum", dim=4, **options):
    """A tower of all four kinds of parts; the items lack some of them."""
    images = PrecomputedTower(["a", "c", "new"], IMAGES, dim=dim)
    return with_text(
        encoder,
        vectors={"image": images},
        categories={"brand": BRANDS},
        fusion=fusion,
        **options,
    )


def shaken(tower):
    """All trained weights at random, so that nothing is at its start."""
    tower.build()
    rng = np.random.default_rng(5)
    for weight in tower.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.5)
    return tower


def parts_of(tower, place):
    """The parts of an item, from the tower's public pieces: zeros where it has none."""
    tables = {one.name: one.numpy() for one in tower.trainable_weights}
    (ids,) = (value for name, value in tables.items() if "id_embedding" in name)
    (brands,) = (value for name, value in tables.items() if "rows" in name)
    image = {0: IMAGES[0], 2: IMAGES[1]}.get(place)
    return [
        tower.text(tf.constant(ITEMS.texts[place])).numpy(),
        np.zeros(4) if image is None else tower.vectors["image"].project(image).numpy(),
        np.zeros(4) if place == 2 else brands[1 + place],  # north, then south
        ids[place],
    ]


@pytest.mark.parametrize("normalize", [True, False])
def test_a_sum_of_all_parts_by_hand(tiny_encoder, normalize):
    tower = shaken(fused(tiny_encoder, normalize=normalize))
    got = tower(tf.constant([["b", "c"], ["zzz", "a"]])).numpy()
    for vector, place in zip([got[0, 0], got[0, 1], got[1, 1]], [1, 2, 0], strict=True):
        expected = sum(parts_of(tower, place))
        length = np.linalg.norm(expected) if normalize else 1
        np.testing.assert_allclose(vector, expected / length, rtol=1e-5, atol=1e-6)
    assert not got[1, 0].any()


@pytest.mark.parametrize("fusion", ["concat", "gated"])
def test_other_fusions_by_hand(tiny_encoder, fusion):
    tower = shaken(fused(tiny_encoder, fusion, normalize=False))
    got = tower(tf.constant(ITEMS.ids.tolist())).numpy()
    # The text's projection takes 16 numbers, and so does what fuses four parts of 4.
    wide = [one.numpy() for one in tower.trainable_weights if one.shape[0] == 16]
    kernel, bias = wide[1], (wide[2] if fusion == "gated" else 0)
    for place, vector in enumerate(got):
        parts = parts_of(tower, place)
        together = np.concatenate(parts) @ kernel + bias
        if fusion == "gated":
            gates = 1 / (1 + np.exp(-together))
            together = (gates.reshape(4, 4) * np.array(parts)).sum(0)
        np.testing.assert_allclose(vector, together, rtol=1e-4, atol=1e-5)


def test_concat_takes_parts_of_any_width(tiny_encoder):
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder)
    images = PrecomputedTower(["a"], [[1.0, 2.0, 3.0]])
    tower = ItemTower(ITEMS, text=text, vectors=images, dim=5, fusion="concat")
    assert tower(tf.constant([["a", "b"]])).shape == (1, 2, 5)
    # Text 16, vectors 3, id 5.
    assert (16 + 3 + 5, 5) in [one.shape for one in tower.get_weights()]


def test_vectors_alone_are_an_item_tower():
    images = PrecomputedTower(["a", "c"], IMAGES[:2])
    tower = ItemTower(ITEMS, vectors=images, dim=2, id_embedding=False)
    got = tower(tf.constant(["a", "b", "c"])).numpy()
    np.testing.assert_array_equal(got, [[1, 0], [0, 0], [0, -1]])
    assert not tower.trainable_weights
    with pytest.raises(ValueError, match="id_embedding=False: no id is seen or not"):
        tower.set_seen([1, 1, 1])


def test_several_vectors_go_by_their_names():
    towers = [
        PrecomputedTower(["a"], [[1.0, 2.0]], name="sound"),
        PrecomputedTower(["a", "b"], [[10.0, 20.0], [30.0, 40.0]], name="image"),
    ]
    tower = ItemTower(ITEMS, vectors=towers, dim=2, id_embedding=False, **NORMAL)
    got = tower(tf.constant(["a", "b", "c"])).numpy()
    np.testing.assert_array_equal(got, [[11, 22], [30, 40], [0, 0]])
    both = tower.embed_items(vectors={"sound": [[1.0, 1.0]], "image": [[5.0, 6.0]]})
    np.testing.assert_array_equal(both, [[6, 7]])
    with pytest.raises(ValueError, match=r"has the vectors \['image', 'sound'\]: give"):
        tower.embed_items(vectors=[[1.0, 1.0]])


def test_values_outside_a_vocabulary_share_a_row():
    tower = ItemTower(
        Items(["a", "b", "c", "d"]),
        dim=3,
        categories={"brand": ["x", "y", "z", ""]},
        vocabularies={"brand": ["x"]},
        id_embedding=False,
        normalize=False,
    )
    tower.build()
    (rows,) = tower.trainable_weights
    rows.assign([[1, 1, 1], [2, 3, 4]])
    got = tower(tf.constant(["a", "b", "c", "d"])).numpy()
    np.testing.assert_array_equal(got, [[2, 3, 4], [1, 1, 1], [1, 1, 1], [0, 0, 0]])
    new = tower.embed_items(categories={"brand": tf.constant(["never", "x", ""])})
    np.testing.assert_array_equal(new, got[[1, 0, 3]])


@pytest.mark.parametrize("fusion", ["sum", "concat", "gated"])
def test_an_item_outside_is_as_one_inside_without_its_id(tiny_encoder, fusion):
    tower = shaken(fused(tiny_encoder, fusion))
    tower.set_seen([0, 0, 0])
    inside = tower(tf.constant(["a", "b", "c"]))
    np.testing.assert_allclose(
        tower.embed_items(
            texts=tf.constant(["red lantern", "blue mug", ""]),
            vectors=np.array([IMAGES[0], [0, 0], IMAGES[1]]),
            categories={"brand": tf.constant(["north", "south", ""])},
        ),
        inside,
        atol=1e-6,
    )
    # What is left out is missing: b has no image, and c no brand.
    np.testing.assert_allclose(
        tower.embed_items(
            texts=tf.constant([["blue mug"]]), categories={"brand": [["south"]]}
        ),
        inside[None, 1:2],
        atol=1e-6,
    )
    only_text = tower.embed_texts(tf.constant(["blue mug"]))
    assert np.abs(only_text - inside[1]).max() > 1e-3


def test_parts_that_do_not_fit_are_named(tiny_encoder):
    tower = fused(tiny_encoder)
    text = tf.constant(["mug", "cup"])
    with pytest.raises(ValueError, match="give texts, vectors or categories"):
        tower.embed_items()
    with pytest.raises(ValueError, match=r"holds 'sound': this tower has \['image'\]"):
        tower.embed_items(vectors={"sound": [[1.0, 2.0]]})
    with pytest.raises(ValueError, match=r"holds 'size': this tower has \['brand'\]"):
        tower.embed_items(texts=text, categories={"size": text})
    with pytest.raises(
        ValueError, match=r"text is of .*\(2,\), vectors/image .*\(1,\)"
    ):
        tower.embed_items(texts=text, vectors=[[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"this tower has no text: .* vectors/vectors"):
        ItemTower(
            ITEMS, vectors=PrecomputedTower(["a"], [[1.0]]), dim=1, id_embedding=False
        ).embed_texts(text)


@pytest.mark.parametrize("fusion", ["sum", "concat", "gated"])
def test_every_part_is_trained_but_the_vectors(tiny_encoder, fusion):
    tower = shaken(fused(tiny_encoder, fusion, id_dropout=0.0))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tower(tf.constant(["a", "b", "c"]), training=True) ** 3)
    weights = tower.trainable_weights
    # Id, text, image, brand; and what fuses them.
    assert len(weights) == 4 + {"sum": 0, "concat": 1, "gated": 2}[fusion]
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        dense = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(dense).all() and np.abs(dense).max() > 0, weight.name
    assert not any(one.shape == (3, 2) for one in weights)


def test_each_distinct_item_is_computed_once(tiny_encoder, monkeypatch):
    tower = fused(tiny_encoder)
    tower.build()
    image, rows = tower.vectors["image"], []
    true = image.embed_places
    monkeypatch.setattr(
        image, "embed_places", lambda place: rows.append(place.shape[0]) or true(place)
    )
    got = tower(tf.constant([["a", "b", "a"]] * 20)).numpy()
    assert rows == [2]
    np.testing.assert_array_equal(got, np.repeat(got[:1], 20, axis=0))


@pytest.mark.integration  # slow
def test_half_precision_fuses(tiny_encoder):
    for policy in ("mixed_float16", "mixed_bfloat16"):
        tf_keras.mixed_precision.set_global_policy(policy)
        try:
            for fusion in ("sum", "concat", "gated"):
                tower = shaken(fused(tiny_encoder, fusion, id_dropout=0.5))
                got = tower(tf.constant(["a", "b", "zzz"]), training=True)
                assert got.dtype.name == policy.removeprefix("mixed_")
                lengths = np.linalg.norm(tf.cast(got, tf.float32), axis=1)
                np.testing.assert_allclose(lengths, [1, 1, 0], atol=0.01)
                for weight in tower.weights:
                    assert weight.dtype == tf.float32
        finally:
            tf_keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("fusion", ["sum", "concat", "gated"])
@pytest.mark.parametrize("folder", ["model.keras", "model"])
def test_a_fused_tower_saves_and_loads(tiny_encoder, tmp_path, folder, fusion):
    tower = shaken(fused(tiny_encoder, fusion, id_dropout=0.25)).bake()
    tower.set_seen([True, False, True])
    ids = tf_keras.Input([None], dtype=tf.string)
    model = tf_keras.Model(ids, tower(ids))
    asked = tf.constant([["a", "b", "c", "unknown"]])
    before = model(asked).numpy()
    model.save(tmp_path / folder)
    again = tf_keras.models.load_model(tmp_path / folder)
    np.testing.assert_allclose(again(asked), before, atol=1e-6)
    layer = again.layers[-1]
    assert layer.seen.tolist() == [True, False, True]
    assert layer.id_dropout == 0.25
    outside = {"vectors": [[3.0, 1.0]], "categories": {"brand": tf.constant(["north"])}}
    np.testing.assert_allclose(
        layer.embed_items(**outside), tower.embed_items(**outside), atol=1e-6
    )


def test_config_of_a_fused_tower_round_trips_without_vectors(tiny_encoder):
    tower = fused(tiny_encoder, "gated", id_dropout=0.1)
    config = tower.get_config()
    assert "-1.0" not in json.dumps(config)
    again = ItemTower.from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config


def test_the_id_of_an_unseen_item_falls_silent(tiny_encoder):
    tower = shaken(with_text(tiny_encoder))
    ids = tf.constant(["a", "b", "c"])
    before = tower(ids).numpy()
    assert tower.seen.all()
    tower.set_seen([5, 0, 1])
    assert tower.seen.tolist() == [True, False, True]
    got = tower(ids).numpy()
    np.testing.assert_array_equal(got[[0, 2]], before[[0, 2]])
    np.testing.assert_allclose(
        got[1], tower.embed_texts(tf.constant("blue mug")), atol=1e-6
    )
    # Trained on, it is being seen.
    np.testing.assert_array_equal(tower(ids, training=True), before)
    np.testing.assert_array_equal(tower.catalogue_vectors(), got)


def test_ids_alone_know_nothing_of_an_unseen_item():
    tower = ItemTower(ITEMS, dim=4)
    tower.set_seen(np.array([True, False, True]))
    got = tower(tf.constant(["a", "b"])).numpy()
    assert got[0].any() and not got[1].any()


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ([1, 0], r"seen is int64 of the shape \(2,\): give \(3,\), booleans or"),
        (["a", "b", "c"], r"seen is <U1 of the shape \(3,\)"),
        ([1, -1, 0], "seen must be finite and 0 or more"),
        ([1, np.nan, 0], "seen must be finite and 0 or more"),
    ],
)
def test_what_cannot_be_seen_is_named(seen, message):
    with pytest.raises(ValueError, match=message):
        ItemTower(ITEMS, dim=2).set_seen(seen)


def many(encoder, **options):
    items = Items([str(one) for one in range(2_000)], ["red lantern"] * 2_000)
    text = TextTower(encoder.preprocessor, encoder.encoder, dim=4)
    return items, ItemTower(items, text=text, dim=4, normalize=False, **options)


def test_id_dropout_silences_so_many_ids_and_scales_none(tiny_encoder):
    items, tower = many(tiny_encoder, id_dropout=0.3)
    ids = tf.constant(items.ids.tolist())
    whole = tower(ids).numpy()
    text = tower.embed_texts(tf.constant(["red lantern"])).numpy()
    got = tower(ids, training=True).numpy()
    silent = (np.abs(got - text) < 1e-7).all(axis=1)
    # Three standard deviations of a share of 2,000 draws are 0.031.
    assert abs(silent.mean() - 0.3) < 0.031
    np.testing.assert_allclose(got[~silent], whole[~silent], rtol=1e-6)
    np.testing.assert_array_equal(tower(ids, training=False), whole)


def test_id_dropout_draws_once_for_an_item_and_anew_for_a_step(tiny_encoder):
    items, tower = many(tiny_encoder, id_dropout=0.5)
    ids = tf.constant([items.ids.tolist()] * 2)
    draw = tf.function(lambda: tower(ids, training=True))
    rows = []
    for _ in range(2):
        tf_keras.utils.set_random_seed(4)
        draw = tf.function(lambda: tower(ids, training=True))
        rows.append([draw().numpy(), draw().numpy()])
    first, second = rows[0]
    np.testing.assert_array_equal(first[0], first[1])
    assert (first != second).any()
    np.testing.assert_array_equal(rows[0], rows[1])


def test_a_silenced_id_is_not_trained(tiny_encoder):
    items, tower = many(tiny_encoder, id_dropout=0.5)
    tower.build()
    (table,) = (one for one in tower.trainable_weights if one.shape[0] == 2_000)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tower(tf.constant(items.ids.tolist()), training=True))
    gradient = tf.convert_to_tensor(tape.gradient(loss, table)).numpy()
    assert set(gradient.ravel()) == {0.0, 1.0}
    assert 0.4 < gradient.mean() < 0.6


NEW = {
    "ids": ["new", "newer"],
    "texts": ["a blue lantern", "red lantern"],
    "categories": {"brand": ["north", "never heard of"]},
}


@pytest.mark.parametrize("baked", [False, True])
@pytest.mark.parametrize("fusion", ["sum", "concat", "gated"])
def test_more_items_without_training(tiny_encoder, fusion, baked):
    tower = shaken(fused(tiny_encoder, fusion))
    if baked:
        tower.bake()
    tower.set_seen([1, 0, 1])
    more = tower.add_items(**NEW)
    old = tf.constant([["a", "b"], ["c", "zzz"]])
    np.testing.assert_array_equal(more(old), tower(old))
    assert more.seen.tolist() == [True, False, True, False, False]
    assert more.items.ids.tolist() == ["a", "b", "c", "new", "newer"]
    # The image of "new" was there already, and "newer" has none.
    np.testing.assert_allclose(
        more(tf.constant(["new", "newer"])),
        tower.embed_items(
            texts=tf.constant(NEW["texts"]),
            vectors=np.array([IMAGES[2], [0, 0]]),
            categories={"brand": tf.constant(NEW["categories"]["brand"])},
        ),
        atol=1e-5,
    )
    for weight in more.trainable_weights:
        weight.assign(tf.zeros_like(weight))
    assert tower(old).numpy()[0].any()  # they share nothing
    assert len(tower.items) == 3


def test_more_items_bring_their_vectors(tiny_encoder):
    tower = shaken(fused(tiny_encoder))
    ids = ["x", "y"]
    expected = tower.embed_items(
        texts=tf.constant(["", ""]), vectors=np.array([[1.0, 2.0], [3.0, 4.0]])
    )
    for vectors in (
        [[1, 2], [3, 4]],
        {"image": [[1, 2], [3, 4]]},
        {"y": [3, 4], "x": [1, 2]},
        {"image": {"y": [3, 4], "x": [1, 2]}},
    ):
        more = tower.add_items(ids, vectors=vectors)
        np.testing.assert_allclose(more(tf.constant(ids)), expected, atol=1e-6)
    one = tower.add_items(ids, vectors={"y": [3, 4]})
    assert one.vectors["image"].known(tf.constant(ids)).numpy().tolist() == [
        False,
        True,
    ]


def test_of_a_baked_tower_only_new_texts_are_encoded(tiny_encoder):
    tower = with_text(tiny_encoder).bake()
    seen = []
    more = tower.add_items(
        ["x", "y"],
        ["red", "mug"],
        batch_size=1,
        progress=lambda it: seen.extend(it) or seen,
    )
    assert len(seen) == 2
    encoded = tower.text.encode_all(["red", "mug"])
    again = tower.add_items(["x", "y"], ["red", "mug"], encoded=encoded)
    ids = tf.constant(["a", "x", "y"])
    np.testing.assert_allclose(again(ids), more(ids), atol=1e-6)
    with pytest.raises(
        ValueError, match=r"encoded has the shape \(2, 3\): .*\(2, 16\)"
    ):
        tower.add_items(["x", "y"], ["red", "mug"], encoded=np.zeros([2, 3]))


def test_more_items_for_a_tower_that_was_loaded(tiny_encoder, tmp_path):
    tower = shaken(fused(tiny_encoder, "gated")).bake()
    ids = tf_keras.Input([None], dtype=tf.string)
    tf_keras.Model(ids, tower(ids)).save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras").layers[-1]
    more, direct = loaded.add_items(**NEW), tower.add_items(**NEW)
    asked = tf.constant(["a", "b", "new", "newer"])
    np.testing.assert_allclose(more(asked), direct(asked), atol=1e-6)
    third = more.add_items(["newest"], ["mug"])
    np.testing.assert_array_equal(third(asked), more(asked))
    assert third.seen.tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ids": []}, "ids is empty: there is nothing to add"),
        ({"ids": ["x", "b"]}, "1 of the ids are in the catalogue already, .* 'b'"),
        ({"ids": ["x", "x"]}, "ids holds 'x' 2 times"),
        ({"ids": ["x"], "texts": []}, "1 ids and 0 texts"),
        ({"ids": ["x"], "categories": {"size": ["L"]}}, "categories holds 'size'"),
        ({"ids": ["x"], "categories": {"brand": []}}, r"'brand'\] has 0 values"),
        ({"ids": ["x"], "vectors": [[1, 2], [3, 4]]}, "1 ids and 2 vectors"),
        ({"ids": ["x"], "vectors": {"y": [1, 2]}}, "one of 'y', which is not among"),
        ({"ids": ["new"], "vectors": [[1, 2]]}, "have a vector already, such as 'new'"),
        ({"ids": ["x"], "encoded": np.zeros([1, 16])}, "encoded is for a baked tower"),
    ],
)
def test_items_that_cannot_be_added_are_named(tiny_encoder, given, message):
    with pytest.raises(ValueError, match=message):
        fused(tiny_encoder).add_items(**given)


# Items of several texts

TWO = Items(["a", "b"], [["red lantern", "a warm light"], ["blue mug", ""]])


@pytest.mark.parametrize("baked", [False, True])
def test_an_item_of_several_texts_is_all_of_them(tiny_encoder, tmp_path, baked):
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=4, fields=2)
    tower = ItemTower(TWO, text=text, dim=4, id_embedding=False, normalize=False)
    if baked:
        tower.bake()
    got = tower(tf.constant([["b"], ["a"]])).numpy()[:, 0]
    expected = text(tf.constant(TWO.texts[::-1].tolist())).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    outside = tower.embed_texts(tf.constant(TWO.texts[::-1].tolist()))
    np.testing.assert_allclose(outside, got, atol=1e-5)
    more = tower.add_items(["c", "d"], [["red lantern", "a warm light"], ["", "mug"]])
    np.testing.assert_allclose(more(tf.constant(["c"])), got[1:], atol=1e-5)
    assert more.add_items(["e"]).items.texts[-1].tolist() == ["", ""]
    ids = tf_keras.Input([], dtype=tf.string)
    tf_keras.Model(ids, tower(ids)).save(tmp_path / "model.keras")
    again = tf_keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(tf.constant(["b", "a"])), got, atol=1e-6)


def test_a_tower_of_other_fields_is_named(tiny_encoder):
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=4)
    with pytest.raises(ValueError, match=r"text.fields=1, and an item has 2 texts"):
        ItemTower(TWO, text=text, dim=4)


# As in the catalogue, and bad input by name


@pytest.mark.parametrize("unknown", ["zeros", "mean", "learned"])
@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_an_item_outside_is_as_it_would_be_inside(unknown, fusion):
    vectors = PrecomputedTower(["a"], [[1.0, 2.0]], unknown=unknown)
    tower = ItemTower(
        {"a": "", "b": ""},
        vectors=vectors,
        categories={"brand": ["x", "y"]},
        dim=2,
        fusion=fusion,
    )
    tower.set_seen([1, 0])
    inside = tower(tf.constant([["b"], ["b"]]))
    outside = tower.embed_items(categories={"brand": tf.constant([["y"], ["y"]])})
    np.testing.assert_allclose(outside, inside, atol=1e-6)
    assert outside.shape == (2, 1, 2)


def test_a_value_may_be_missing_and_ids_are_strings():
    tower = ItemTower(ITEMS, categories={"brand": ["x", "y", None]}, dim=2)
    got = tower.embed_items(categories={"brand": ["x", None]})
    expected = tower.embed_items(categories={"brand": tf.constant(["x", ""])})
    np.testing.assert_array_equal(got, expected)
    with pytest.raises(ValueError, match="values hold nan, a float32: give strings"):
        tower.embed_items(categories={"brand": ["x", float("nan")]})
    with pytest.raises(ValueError, match="item ids hold None, a NoneType: give strin"):
        tower(["a", None])


def test_a_text_without_utf_8_is_named(tiny_encoder):
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=2, hidden=16)
    with pytest.raises(ValueError, match=r"texts hold '\\udc80', which has no UTF-8"):
        ItemTower({"a": "\udc80"}, text=text, dim=2)


def test_an_id_may_be_called_as_the_vectors_are():
    vectors = PrecomputedTower(["a"], [[1.0, 2.0]])
    tower = ItemTower({"a": ""}, vectors=vectors, dim=2, id_embedding=False)
    for given in (
        {"vectors": [3.0, 4.0]},
        {"vectors": [[3.0, 4.0]]},
        {"vectors": {"vectors": [3.0, 4.0]}},
        [[3.0, 4.0]],
    ):
        more = tower.add_items(["vectors"], vectors=given)
        got = more(tf.constant(["vectors"]))
        np.testing.assert_allclose(got, [[0.6, 0.8]], rtol=1e-6)
