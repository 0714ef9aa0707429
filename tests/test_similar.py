"""Items near a text, by a tower's vectors and by an encoder's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_decay.data import Items
from tfrs_decay.layers import ItemTower, TextTower
from tfrs_decay.similar import nearest_items, nearest_texts, table

ITEMS = Items(["a", "b", "c"], ["red lantern", "blue mug", "red mug"])


@pytest.fixture(scope="module")
def tower(tiny_encoder):
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=4)
    return ItemTower(ITEMS, text=text, dim=4).bake()


def cosine(one, others):
    return others @ one / np.linalg.norm(others, axis=1) / np.linalg.norm(one)


def test_nearest_by_a_tower_are_by_its_vectors_cosine(tower):
    near, other = nearest_items(tower, ["red lantern", "blue"], k=2)
    for text, found in (("red lantern", near), ("blue", other)):
        asked = tower.embed_texts(tf.constant([text])).numpy()[0]
        expected = cosine(asked, tower.catalogue_vectors())
        order = np.argsort(-expected)[:2]
        assert [one.item for one in found] == [ITEMS.ids[place] for place in order]
        np.testing.assert_allclose([one.score for one in found], expected[order], 1e-5)
        texts = dict(zip(ITEMS.ids, ITEMS.texts, strict=True))
        assert all(one.text == texts[one.item] for one in found)


def test_nearest_by_an_encoder_has_the_text_itself_first(tower):
    (near,) = nearest_texts(tower.text, ITEMS, ["blue mug"])
    assert near[0].item == "b" and near[0].score == pytest.approx(1, abs=1e-5)
    assert len(near) == 3  # as many as there are
    assert [one.score for one in near] == sorted(one.score for one in near)[::-1]


def test_a_table_for_people(tower):
    near = nearest_texts(tower.text, ITEMS, ["blue mug"])[0]
    first, second, *_ = table("blue mug", near).splitlines()
    assert first == "Nearest to 'blue mug':"
    assert second.split() == ["1", "1.0000", "b", "blue", "mug"]


def test_what_cannot_be_asked_is_named(tower):
    with pytest.raises(TypeError, match="texts='red' is a single string: give a list"):
        nearest_items(tower, "red")
    with pytest.raises(ValueError, match="texts hold None: give strings"):
        nearest_items(tower, ["red", None])
    with pytest.raises(ValueError, match="k=0 must be 1 or more"):
        nearest_items(tower, ["red"], k=0)
    with pytest.raises(ValueError, match="no text: it knows items by their ids alone"):
        nearest_items(ItemTower(ITEMS, dim=4), ["red"])
