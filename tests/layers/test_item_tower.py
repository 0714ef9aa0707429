"""The item tower: text and id, one table, baked or not."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfrs_decay.data import Items
from tfrs_decay.decay import Constant
from tfrs_decay.layers import ItemTower, TextTower, TimeDecayPooling

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
