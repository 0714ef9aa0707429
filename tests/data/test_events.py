"""The catalogue, and parts of a log."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tfrs_decay.data import Events, Items


def test_items_know_their_codes() -> None:
    items = Items(["b", "a"], ["second", "first"])
    assert len(items) == 2
    codes = items.codes(["a", "b", "c", "", "a"])
    assert codes.tolist() == [1, 0, -1, -1, 1] and codes.dtype == np.int64
    assert items.codes([]).tolist() == []
    assert repr(items) == "Items(2 items)"


def test_items_without_texts_have_empty_ones() -> None:
    assert Items(["a", "b"]).texts.tolist() == ["", ""]
    assert len(Items([])) == 0


def test_items_can_be_written_down_and_made_again() -> None:
    items = Items(["b", "a"], ["second", ""])
    config = items.get_config()
    assert config == {"ids": ["b", "a"], "texts": ["second", ""]}
    assert Items.from_config(config).get_config() == config
    assert Items.from_config(config).codes(["a"]).tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((["a", "b"], ["x"]), ValueError, "2 ids and 1 texts: give one text for each"),
        ((["a", ""],), ValueError, "ids holds '': the empty id stands for no item"),
        ((["a", "b", "a"],), ValueError, "ids holds 'a' 2 times: ids are unique"),
        ((["a", 7],), TypeError, "ids holds 7, a int: .* by strings"),
        ((["a"], [None]), TypeError, "texts holds None, a NoneType: .* by strings"),
    ],
)
def test_items_refuse_what_is_no_catalogue(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Items(*arguments)


def test_items_of_several_texts() -> None:
    items = Items(["a", "b"], [("red", "lamp"), ["", "mug"]])
    assert items.texts.tolist() == [["red", "lamp"], ["", "mug"]]
    assert items.fields == 2 and Items(["a"], ["red"]).fields == 1
    assert items.titles.tolist() == ["red | lamp", "mug"]
    again = Items.from_config(items.get_config())
    assert again.get_config() == items.get_config()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            [["red", "lamp"], ["mug"]],
            r"texts holds \['mug'\] at 1 and \['red', 'lamp'\]",
        ),
        ([["red", "lamp"], "mug"], "texts holds 'mug' at 1"),
        ([[], []], r"texts holds \[\] at 0"),
    ],
)
def test_items_of_other_numbers_of_texts_are_named(texts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Items(["a", "b"], texts)
    with pytest.raises(TypeError, match="texts holds None, a NoneType"):
        Items(["a", "b"], [["red", None], ["mug", ""]])  # type: ignore[list-item]


def test_a_part_of_the_events_keeps_their_vocabularies() -> None:
    events = Events(
        user=np.array([0, 0, 1]),
        time=np.array([1, 2, 3]),
        action=np.array([0, 1, 0]),
        item=np.array([1, 0, 0]),
        users=np.array(["u", "v"], dtype=object),
        actions=("buy", "view"),
        items=Items(["a", "b"]),
        value=np.array([1.0, 2.0, 3.0]),
        context={"shop": np.array(["x", "", "y"], dtype=object)},
    )
    some = events.where(events.time > 1)
    assert some.user.tolist() == [0, 1] and some.item.tolist() == [0, 0]
    assert some.value is not None and some.value.tolist() == [2.0, 3.0]
    assert some.context["shop"].tolist() == ["", "y"]
    assert some.users is events.users and some.items is events.items
    assert events.where(events.time > 9).time.tolist() == []
    taken = {"length": np.array(["x", "", "y"], dtype=object)}
    with pytest.raises(ValueError, match=r"context=\['length'\]: 'length' is one of"):
        dataclasses.replace(events, context=taken)
